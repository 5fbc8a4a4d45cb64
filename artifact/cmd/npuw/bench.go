package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/runtime/device"
)

const (
	maxBenchRuns = 100_000
	// maxBenchBuffer bounds each buffer that is allocated for a contract: what an artifact says of its kernels is not to be trusted.
	maxBenchBuffer = 1 << 30
)

// benchFlags are the flags of `npuw bench`.
type benchFlags struct {
	runFlags // those that open a device
	runs     int
}

func benchCommand() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use:   "bench FILE.npuw",
		Short: "Measure how fast a device loads and reads an artifact",
		Long: "Measure on a device how long loading an artifact takes, with and without its digests checked, and how fast each kernel runs\n" +
			"that weights are bound to: one operand for each of its arguments, activations of small numbers, one run to warm up. The\n" +
			"file is in the page cache by then. A latency is that of a whole run as a program sees it; GB/s is the bytes of the\n" +
			"weights over the median latency.\n\n" +
			"Where nothing is bound, the reference device computes a GEMM with the largest matrix among the operands.\n\n" +
			"Results name the device as it reports itself: those of a stand-in are not those of an NPU.",
		Example: "  npuw bench model.npuw\n" +
			"  npuw bench model.npuw --device xrt --kernels dist/kernels --runs 100\n" +
			"  npuw bench model.npuw --json | jq '.kernels[].median_seconds'",
		Args:              needs("FILE.npuw"),
		ValidArgsFunction: completeFiles("npuw"),
	}
	flags := c.Flags()
	flags.StringVar(&f.device, "device", "cpu", "the DEVICE to measure: cpu, or xrt")
	flags.StringVarP(&f.kernels, "kernels", "k", "", "find the xclbins for --device xrt in the folder DIR")
	flags.IntVarP(&f.runs, "runs", "n", 20, "run each kernel N times, and load N/4+1 times")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	nameValues(c, map[string]string{"device": "DEVICE", "kernels": "DIR", "runs": "N"})
	_ = c.RegisterFlagCompletionFunc("device", cobra.FixedCompletions([]cobra.Completion{"cpu", "xrt"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.MarkFlagDirname("kernels")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f.activations = element.F32.String()
		if err := f.check(cmd, args[0]); err != nil {
			return err
		}
		if f.runs < 1 || f.runs > maxBenchRuns {
			return callErrorf("--runs %d: 1 to %d was expected", f.runs, maxBenchRuns)
		}
		return interruptible(cmd, "nothing was measured to its end", func(ctx context.Context) error {
			result, err := f.measure(ctx, args[0])
			switch {
			case err != nil:
				return err
			case f.asJSON:
				return printJSON(cmd.OutOrStdout(), result)
			}
			return result.print(cmd.OutOrStdout())
		})
	}
	return c
}

// measure measures loading, then kernels.
func (f *benchFlags) measure(ctx context.Context, path string) (result *benchListing, err error) {
	d, npu, err := f.openDevice(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	result = &benchListing{Artifact: path, Device: d.Name(), NPU: npu, Runs: f.runs, Kernels: []benchKernel{}}
	if result.Load, err = measureLoad(ctx, d, path, f.runs/4+1); err != nil {
		return nil, err
	}
	m, err := device.Load(ctx, d, path, device.LoadOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	b := bench{device: d, model: m, runs: f.runs}
	kernels := boundKernels(m.Index)
	result.Bound = len(kernels) > 0
	if !result.Bound && f.device == "cpu" {
		kernels = statedGEMM(m.Index)
	}
	for _, k := range kernels {
		measured, err := b.measure(ctx, k)
		switch {
		case errors.Is(err, device.ErrUnsupported) || errors.Is(err, artifact.ErrUnsupported):
			result.Skipped = append(result.Skipped, contractListing{k.contract.Name, err.Error()})
		case err != nil:
			return nil, fmt.Errorf("%s: contract %q: %w", path, k.contract.Name, err)
		default:
			result.Kernels = append(result.Kernels, *measured)
		}
	}
	return result, nil
}

// measureLoad loads an artifact once to warm up, then n times with its digests checked and n times without.
func measureLoad(ctx context.Context, d device.Device, path string, n int) (benchLoad, error) {
	result := benchLoad{Loads: n}
	r, err := load(ctx, d, path, device.LoadOptions{})
	if err != nil {
		return result, err
	}
	for _, s := range r.Segments {
		if s.Mapped {
			result.MappedBytes += s.Bytes
		} else {
			result.CopiedBytes += s.Bytes
		}
	}
	var checked, unchecked []float64
	for range n {
		if r, err = load(ctx, d, path, device.LoadOptions{}); err != nil {
			return result, err
		}
		checked = append(checked, r.Elapsed.Seconds())
		if r, err = load(ctx, d, path, device.LoadOptions{SkipDigests: true}); err != nil {
			return result, err
		}
		unchecked = append(unchecked, r.Elapsed.Seconds())
	}
	result.CheckedSeconds, result.UncheckedSeconds = median(checked), median(unchecked)
	return result, nil
}

// load loads an artifact, and closes it.
func load(ctx context.Context, d device.Device, path string, opts device.LoadOptions) (*device.Report, error) {
	m, err := device.Load(ctx, d, path, opts)
	if err != nil {
		return nil, err
	}
	return &m.Report, m.Close()
}

// benchable is a contract with operands for its weights, by argument name.
type benchable struct {
	contract *kernel.Contract
	operands map[string]string
}

// boundKernels gives the contracts of an index that an operand is bound to as a weight, with the first operand for each argument.
func boundKernels(x *artifact.Index) []benchable {
	operands := make([]map[string]string, len(x.Contracts))
	for _, b := range x.Bindings {
		a := &x.Contracts[b.Contract].Arguments[b.Argument]
		if a.Role != kernel.Weight {
			continue
		}
		if operands[b.Contract] == nil {
			operands[b.Contract] = map[string]string{}
		}
		if _, taken := operands[b.Contract][a.Name]; !taken {
			operands[b.Contract][a.Name] = x.Operands[b.Operand].Name
		}
	}
	var list []benchable
	for i, of := range operands {
		if of != nil {
			list = append(list, benchable{&x.Contracts[i], of})
		}
	}
	return list
}

// statedGEMM states a GEMM of as many rows as the model has positions, with the largest operand of axes K and N; none without these.
func statedGEMM(x *artifact.Index) []benchable {
	rows := slices.IndexFunc(x.Model.Attributes, func(a artifact.Attribute) bool {
		return a.Name == "positions" && a.Kind == artifact.Integer && a.Integer > 0 && a.Integer <= maxBenchBuffer
	})
	var weight *artifact.Operand
	var k, n layout.Axis
	for i := range x.Operands {
		o := &x.Operands[i]
		axes := slices.Clone(o.Layout.Axes)
		slices.SortFunc(axes, func(a, b layout.Axis) int { return int(a.Name) - int(b.Name) })
		if !o.Supported() || x.Segments[o.Segment].Kind != artifact.Weights || len(axes) != 2 || axes[0].Name != 'K' || axes[1].Name != 'N' {
			continue
		}
		if weight == nil || o.Bytes > weight.Bytes {
			weight, k, n = o, axes[0], axes[1]
		}
	}
	if rows < 0 || weight == nil || max(k.Extent, n.Extent) > maxBenchBuffer || min(k.Extent, n.Extent) == 0 {
		return nil
	}
	positions := uint64(x.Model.Attributes[rows].Integer)
	m := axisOf('M', positions)
	k, n = axisOf('K', k.Extent), axisOf('N', n.Extent)
	c := &kernel.Contract{
		Name: weight.Name, Operation: kernel.GEMM, Xclbin: kernel.None, Instructions: kernel.None, Shape: []layout.Axis{m, k, n},
		Arguments: []kernel.Argument{
			kernel.Buffer("a", 0, kernel.Activation, element.F32, rowMajor(m, k)),
			kernel.Stored("b", 1, kernel.Weight, weight.Storage()),
			kernel.Buffer("c", 2, kernel.Output, element.F32, rowMajor(m, n)),
		},
	}
	return []benchable{{c, map[string]string{"b": weight.Name}}}
}

func axisOf(name byte, extent uint64) layout.Axis {
	return layout.Axis{Name: name, Extent: extent, Padded: extent}
}

func rowMajor(rows, cols layout.Axis) layout.Layout {
	return layout.Layout{
		Axes:   []layout.Axis{rows, cols},
		Digits: []layout.Digit{{Axis: 0, Size: rows.Padded, Stride: 1}, {Axis: 1, Size: cols.Padded, Stride: 1}},
	}
}

// bench runs kernels on a device with the operands of a model.
type bench struct {
	device device.Device
	model  *device.Model
	runs   int
}

// measure opens a kernel, runs it, and closes it and its buffers.
func (b *bench) measure(ctx context.Context, of benchable) (result *benchKernel, err error) {
	c := of.contract
	k, err := b.device.Open(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	result = &benchKernel{Name: c.Name, Operation: operationName(c), Device: b.device.Name(), Shape: listShape(c), Weights: []string{}}
	if _, devices := listPlacements(b.device); devices != nil {
		result.Device = devices[c]
	}
	args := device.Arguments{}
	var made []device.Buffer
	defer func() {
		for _, buffer := range made {
			err = errors.Join(err, buffer.Close())
		}
	}()
	for i := range c.Arguments {
		a := &c.Arguments[i]
		name, bound := of.operands[a.Name]
		switch {
		case bound:
			buffer, o, err := b.model.Operand(name)
			if err != nil {
				return nil, err
			}
			args[a.Name] = device.Value{Buffer: buffer}
			result.Weights = append(result.Weights, name)
			result.WeightBytes += o.Bytes
		case a.Role == kernel.Instructions: // the kernel's own
		case a.Kind == kernel.ScalarArgument:
			args[a.Name] = device.Value{Scalar: 1}
		default:
			buffer, err := b.allocate(a)
			if buffer != nil {
				made = append(made, buffer)
			}
			if err != nil {
				return nil, fmt.Errorf("argument %q: %w", a.Name, err)
			}
			args[a.Name] = device.Value{Buffer: buffer}
		}
	}
	took, err := timeRuns(ctx, k, args, b.runs)
	if err != nil {
		return nil, err
	}
	result.rate(c, took)
	return result, nil
}

// allocate makes a buffer for an argument, and fills it with small numbers if the kernel reads it. After an error it may give a buffer
// to close.
func (b *bench) allocate(a *kernel.Argument) (device.Buffer, error) {
	if a.Bytes > maxBenchBuffer {
		return nil, fmt.Errorf("%w: it has %d bytes; at most %d are measured", device.ErrUnsupported, a.Bytes, maxBenchBuffer)
	}
	buffer, err := b.device.Allocate(int64(a.Bytes), a.MemoryGroup)
	if err != nil {
		return nil, err
	}
	if a.Role != kernel.Activation && a.Role != kernel.Weight {
		return buffer, nil
	}
	host, err := buffer.Host()
	if err != nil {
		return buffer, err
	}
	if a.Encoding != plane.Plain || !a.Format.Plain() {
		return buffer, fmt.Errorf("%w: no operand is bound to it, and it cannot be filled with numbers in %v", device.ErrUnsupported, a.Format)
	}
	values := []float32{-0.375, -0.25, -0.125, 0, 0.125, 0.25, 0.375} // exact in every element format
	pattern := make([]byte, len(values)*a.Format.Size())
	if err := element.Encode(pattern, values, a.Format); err != nil {
		return buffer, fmt.Errorf("%w: %w", device.ErrUnsupported, err)
	}
	for n := copy(host, pattern); n < len(host); {
		n += copy(host[n:], host[:n])
	}
	return buffer, buffer.ToDevice()
}

// timeRuns gives the seconds that each of n runs took, after one to warm up.
func timeRuns(ctx context.Context, k device.Kernel, args device.Arguments, n int) ([]float64, error) {
	if _, err := k.Run(ctx, args); err != nil {
		return nil, err
	}
	var took []float64
	for range n {
		start := time.Now()
		if _, err := k.Run(ctx, args); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start).Seconds())
	}
	return took, nil
}

// median is the middle of values, of which there is one or more; it sorts them.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
