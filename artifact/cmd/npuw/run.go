package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"npuw/artifact/element"
	"npuw/runtime/device"
	"npuw/runtime/whisper"
)

// runFlags are the flags of `npuw run`.
type runFlags struct {
	input, output, expect, dump string
	device, kernels             string
	activations                 string
	tolerance                   float64
	jobs                        int
	profile, asJSON             bool
}

func runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run FILE.npuw --input MEL.f32",
		Short: "Compute a model from its artifact",
		Long: "Compute the Whisper encoder straight from an artifact, on a device. All files of values are little-endian\n" +
			"float32, row-major: the input is a log-mel spectrogram [mels, 2 x positions], the output [positions, d_model].\n" +
			"The digest of every segment is checked first.\n\n" +
			"With --expect the output is compared, and an absolute error beyond --tolerance is a failure. With weights in BF16\n" +
			"the output is off by about 0.03 from a reference that has them unrounded. The relative error is that of the worst single value, zeros left out.\n\n" +
			"On the device xrt, GEMMs whose contracts the artifact has run on the NPU, all else on the processor. Their xclbins are\n" +
			"found in the folder --kernels by their content; folders in it are not looked into. `npuw device` lists the NPUs.",
		Example: "  npuw run model.npuw --input mel.f32 --output y.f32\n" +
			"  npuw run model.npuw --input mel.f32 --expect onnxruntime.f32 --tolerance 0.05 --profile\n" +
			"  npuw run model.npuw --input mel.f32 --output y.f32 --device xrt --kernels dist/kernels",
		Args:              needs("FILE.npuw"),
		ValidArgsFunction: completeFiles("npuw"),
	}
	flags := c.Flags()
	flags.StringVarP(&f.input, "input", "i", "", "read the log-mel spectrogram from MEL.f32")
	flags.StringVarP(&f.output, "output", "o", "", "write the result to the file OUT.f32")
	flags.StringVar(&f.expect, "expect", "", "compare the result with WANT.f32")
	flags.Float64Var(&f.tolerance, "tolerance", 1e-4, "the largest absolute error that --expect accepts")
	flags.StringVar(&f.device, "device", "cpu", "the DEVICE to compute on: cpu, or xrt")
	flags.StringVarP(&f.kernels, "kernels", "k", "", "find the xclbins for --device xrt in the folder DIR")
	flags.StringVar(&f.activations, "activations", "f32", "element FORMAT of what GEMMs and convolutions read: f32, or bf16")
	flags.IntVarP(&f.jobs, "jobs", "j", 0, "work with N workers (default: one a processor)")
	flags.BoolVar(&f.profile, "profile", false, "print what each kind of kernel, and each step, took")
	flags.StringVar(&f.dump, "dump", "", "write every intermediate result to the folder DIR")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	nameValues(c, map[string]string{
		"input": "MEL.f32", "output": "OUT.f32", "expect": "WANT.f32", "tolerance": "ERROR", "device": "DEVICE",
		"kernels": "DIR", "activations": "FORMAT", "jobs": "N", "dump": "DIR",
	})
	requireFlag(c, "input", "-i MEL.f32")
	c.MarkFlagsOneRequired("output", "expect", "dump", "profile")
	for name, values := range map[string][]cobra.Completion{"device": {"cpu", "xrt"}, "activations": {"f32", "bf16"}} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	_ = c.MarkFlagDirname("kernels")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd, args[0]); err != nil {
			return err
		}
		left := "no file was written"
		if f.dump != "" {
			left = "only what was computed by then is in " + f.dump
		}
		return interruptible(cmd, left, func(ctx context.Context) error { return f.run(ctx, args[0], cmd.OutOrStdout()) })
	}
	return c
}

// check refuses values of flags that mean nothing, and an output that would replace what is read.
func (f *runFlags) check(cmd *cobra.Command, path string) error {
	switch {
	case f.device != "cpu" && f.device != "xrt":
		return callErrorf("--device %q: cpu or xrt was expected", f.device)
	case f.device == "xrt" && f.kernels == "":
		return callErrorf("--kernels DIR is missing: --device xrt finds its xclbins there")
	case f.device == "cpu" && cmd.Flags().Changed("kernels"):
		return callErrorf("--kernels is for --device xrt")
	case f.activations != "f32" && f.activations != "bf16":
		return callErrorf("--activations %q: f32 or bf16 was expected", f.activations)
	case !(f.tolerance >= 0):
		return callErrorf("--tolerance %v: 0 or more was expected", f.tolerance)
	case f.jobs < 0:
		return callErrorf("--jobs %d: 0 or more was expected", f.jobs)
	case !cmd.Flags().Changed("output"):
		return nil
	}
	return checkOutput("-o", f.output, path, f.input, f.expect)
}

// run computes, and prints what it found.
func (f *runFlags) run(ctx context.Context, path string, out io.Writer) (err error) {
	d, npu, err := f.openDevice(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	m, err := device.Load(ctx, d, path, device.LoadOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	result := runListing{Artifact: path, Activations: f.activations, NPU: npu, Load: listLoad(&m.Report)}
	if err := f.encode(ctx, d, m, &result); err != nil {
		return err
	}
	if f.asJSON {
		err = printJSON(out, result)
	} else {
		err = result.print(out)
	}
	if c := result.Comparison; err == nil && c != nil && !c.Passed {
		err = c.why
	}
	return err
}

// encode runs the encoder and fills result.
func (f *runFlags) encode(ctx context.Context, d device.Device, m *device.Model, result *runListing) (err error) {
	format, err := element.ParseFormat(f.activations)
	if err != nil {
		return err
	}
	opts := whisper.Options{Activations: format}
	var profile profile
	if f.profile || f.dump != "" {
		opts.Trace = func(s whisper.Step) error { return f.trace(&profile, &s) }
	}
	e, err := whisper.New(ctx, d, m, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	result.Placements, profile.devices = listPlacements(d)
	s := e.Sizes
	mel, err := readValues(f.input, s.Mels, 2*s.Positions, "mels, 2 x positions")
	if err != nil {
		return err
	}
	if i := notFinite(mel); i >= 0 {
		return fmt.Errorf("%s: %s; the input must be finite", f.input, describe(mel, i, 2*s.Positions, "mel", "frame"))
	}
	var want []float32
	if f.expect != "" {
		if want, err = readValues(f.expect, s.Positions, s.DModel, "positions, d_model"); err != nil {
			return err
		}
	}
	if f.dump != "" {
		if err := os.MkdirAll(f.dump, 0o777); err != nil {
			return err
		}
	}
	start := time.Now()
	got, err := e.Run(ctx, mel)
	if err != nil {
		return err
	}
	result.Seconds = time.Since(start).Seconds()
	result.Shape = [2]uint64{s.Positions, s.DModel}
	if f.output != "" {
		if err := writeValues(f.output, got); err != nil {
			return err
		}
	}
	if f.expect != "" {
		result.Comparison = compare(got, want, f.tolerance)
		result.Comparison.why = result.Comparison.failure(f.expect, got, want, s.DModel, m.Index)
	}
	if f.profile {
		result.Kinds, result.Steps = profile.list()
	}
	return nil
}

// trace notes a step, and writes what it gave with --dump.
func (f *runFlags) trace(p *profile, s *whisper.Step) error {
	p.add(s)
	if f.dump == "" {
		return nil
	}
	values, err := s.Output()
	if err != nil {
		return err
	}
	return writeValues(filepath.Join(f.dump, fmt.Sprintf("%04d-%s.%dx%d.f32", p.count, s.Name, s.Rows, s.Cols)), values)
}

// readValues reads a file of rows x cols little-endian float32; what says what rows and columns are.
func readValues(path string, rows, cols uint64, what string) ([]float32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	if !info.Mode().IsRegular() { // to open a pipe would wait for its other end
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	defer file.Close()
	if want := 4 * rows * cols; uint64(info.Size()) != want {
		return nil, fmt.Errorf("%s: %d bytes; float32 [%d, %d] (%s), %d bytes, was expected", path, info.Size(), rows, cols, what, want)
	}
	values := make([]float32, rows*cols)
	if _, err := io.ReadFull(file, element.Memory(values)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	element.Swapped(values)
	return values, nil
}

// writeValues writes little-endian float32, all or nothing.
func writeValues(path string, values []float32) error {
	b := make([]byte, 4*len(values))
	if err := element.Encode(b, values, element.F32); err != nil {
		return err
	}
	return writeFile(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
