package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"npuw/artifact"
	"npuw/artifact/export"
	"npuw/artifact/internal/whole"
	"npuw/pipeline/refill"
)

var exportFormats = []string{"safetensors", "npz", "onnx"}

// exportFlags are the flags of `npuw export`.
type exportFlags struct {
	format, source, prefix, output string
	skipMissing, asJSON, quiet     bool
}

func exportCommand() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export FILE.npuw -o OUT",
		Short: "Write all parameters for other programs: safetensors, npz, or the model with these values",
		Long: "Write the parameters of an artifact, every byte of which is verified first, as other programs read them.\n\n" +
			"safetensors, npz: each parameter as float32, under its canonical name, in PyTorch's shape. `--prefix model.` gives the names of a\n" +
			"Hugging Face checkpoint. A parameter that was folded into an operand is not there any more: that is an error which names it,\n" +
			"or with --skip-missing a line on standard error.\n\n" +
			"onnx: a copy of --source, the model that was packed, with the artifact's values as its weights, each in the type and the axes of its\n" +
			"tensor: what that computes in ONNX Runtime shows what packing cost. Nothing else of the model changes. Data files beside it are\n" +
			"copied too, under their own names, so the output needs a folder of its own then.\n\n" +
			"Where a scale had to be undone that is no power of two, values are rounded, and a line on standard error says so.",
		Example: "  npuw export model.npuw -o model.safetensors\n" +
			"  npuw export model.npuw --prefix model. -o model.safetensors\n" +
			"  npuw export model.npuw --source model.onnx -o packed.onnx",
		Args:              needs("FILE.npuw"),
		ValidArgsFunction: completeFiles("npuw"),
	}
	flags := c.Flags()
	flags.StringVar(&f.format, "format", "", "the FORMAT to write: safetensors, npz or onnx (default: what OUT ends in)")
	flags.StringVarP(&f.output, "output", "o", "", "the file to write: OUT")
	flags.StringVar(&f.source, "source", "", "for onnx: the model that was packed, MODEL.onnx")
	flags.StringVar(&f.prefix, "prefix", "", "for safetensors and npz: put TEXT before every name")
	flags.BoolVar(&f.skipMissing, "skip-missing", false, "for safetensors and npz: leave out what cannot be recovered")
	flags.BoolVar(&f.asJSON, "json", false, "print what was written as JSON")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but errors and what is left out or rounded")
	nameValues(c, map[string]string{"format": "FORMAT", "output": "OUT", "source": "MODEL.onnx", "prefix": "TEXT"})
	requireFlag(c, "output", "-o OUT")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(exportFormats, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("source", completeFiles("onnx"))
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		a, err := artifact.Open(args[0])
		if err != nil {
			return err
		}
		defer a.Close()
		return f.run(cmd, a)
	}
	return c
}

// check finds the format, and what does not go with it.
func (f *exportFlags) check(cmd *cobra.Command) error {
	if f.output == "" {
		return noName("-o")
	}
	named := cmd.Flags().Changed("format")
	if !named {
		f.format = strings.TrimPrefix(filepath.Ext(f.output), ".")
	}
	switch known := slices.Contains(exportFormats, f.format); {
	case !known && named:
		return callErrorf("--format %q: safetensors, npz or onnx was expected", f.format)
	case !known:
		return callErrorf("-o %s: the name ends in no format that is written; give --format safetensors, npz or onnx", f.output)
	case f.format == "onnx" && f.source == "":
		return callErrorf("onnx needs the model that was packed: --source MODEL.onnx")
	case f.format == "onnx" && (f.skipMissing || f.prefix != ""):
		return callErrorf("onnx keeps all parameters of the model and their names: no --skip-missing and no --prefix")
	case f.format != "onnx" && f.source != "":
		return callErrorf("--source is for onnx")
	case !utf8.ValidString(f.prefix) || strings.ContainsFunc(f.prefix, artifact.IsControl):
		return callErrorf("--prefix %q: plain text was expected", f.prefix)
	}
	return nil
}

// run exports an artifact and says what was written.
func (f *exportFlags) run(cmd *cobra.Command, a *artifact.File) error {
	list := exportListing{Format: f.format, Rounded: []string{}, Missing: []missingListing{}}
	err := interruptible(cmd, "no file was written", func(ctx context.Context) error {
		if err := verifyUntil(ctx, a); err != nil {
			return err
		}
		set, err := export.Recover(a)
		if err != nil {
			return err
		}
		if err := f.tellMissing(cmd.ErrOrStderr(), set); err != nil {
			return err
		}
		list.describe(set)
		if f.format == "onnx" {
			return f.writeONNX(ctx, cmd, set, &list)
		}
		return f.writeValues(ctx, cmd, set, &list)
	})
	if err != nil {
		return err
	}
	return list.print(cmd, f)
}

// verifyUntil verifies an artifact, or gives up when ctx ends.
func verifyUntil(ctx context.Context, a *artifact.File) error {
	done := make(chan error, 1)
	go func() { done <- a.Verify() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tellMissing names what cannot be recovered, which is an error unless it was asked for.
func (f *exportFlags) tellMissing(w io.Writer, set *export.Set) error {
	for _, m := range set.Missing {
		fmt.Fprintf(w, "npuw: %v\n", m.Err)
	}
	missing, all := len(set.Missing), len(set.File.Index.Parameters)
	switch {
	case len(set.Parameters) == 0:
		return fmt.Errorf("%s: there is no parameter that could be recovered", set.File.Path)
	case missing == 0 || f.skipMissing:
		return nil
	case f.format == "onnx":
		return fmt.Errorf("%s: %d of %d parameters cannot be recovered; pack by a recipe that folds nothing, to see what rounding costs", set.File.Path, missing, all)
	default:
		return fmt.Errorf("%s: %d of %d parameters cannot be recovered; --skip-missing writes the others", set.File.Path, missing, all)
	}
}

// writeValues writes safetensors or npz.
func (f *exportFlags) writeValues(ctx context.Context, cmd *cobra.Command, set *export.Set, list *exportListing) error {
	if err := checkOutput("-o", f.output, set.File.Path); err != nil {
		return err
	}
	write := set.WriteSafetensors
	if f.format == "npz" {
		write = set.WriteNPZ
	}
	p := f.progress(cmd, set.Bytes())
	defer p.done()
	list.Files = []string{f.output}
	return writeFile(f.output, func(w io.Writer) error {
		return write(&counted{&stoppable{ctx, w}, p.add}, f.prefix)
	})
}

// writeONNX writes the source model with the values of an artifact.
func (f *exportFlags) writeONNX(ctx context.Context, cmd *cobra.Command, set *export.Set, list *exportListing) error {
	m, err := refill.Open(f.source, set)
	if err != nil {
		return err
	}
	defer m.Close()
	p := f.progress(cmd, m.Bytes())
	defer p.done()
	create := func(path string) (refill.File, error) { return whole.Create(whole.OS{}, path) }
	result, err := m.Write(ctx, f.output, refill.Options{Create: create, Progress: p.add})
	if err != nil {
		return err
	}
	list.Files, list.RoundedToTensors = result.Paths, result.Rounded
	return nil
}

func (f *exportFlags) progress(cmd *cobra.Command, bytes int64) *progress {
	if f.quiet {
		return &progress{}
	}
	return newProgress(cmd.ErrOrStderr(), f.output, bytes)
}

// counted is a writer that tells how many bytes were written.
type counted struct {
	w   io.Writer
	add func(int64)
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.add(int64(n))
	return n, err
}

// exportListing is what `npuw export --json` prints.
type exportListing struct {
	Format           string           `json:"format"`
	Files            []string         `json:"files"`
	Bytes            int64            `json:"bytes"` // of the files
	Parameters       int              `json:"parameters"`
	Values           int64            `json:"values"`
	Rounded          []string         `json:"rounded"`                      // parameters for which a scale was undone that is no power of two
	RoundedToTensors int64            `json:"rounded_to_tensors,omitempty"` // values that the tensors of an ONNX model could not hold
	Missing          []missingListing `json:"missing"`
}

type missingListing struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// describe says what there is to be written.
func (l *exportListing) describe(set *export.Set) {
	l.Parameters, l.Values = len(set.Parameters), set.Bytes()/4
	l.Rounded = append(l.Rounded, set.Rounded()...)
	for _, m := range set.Missing {
		why := m.Err.Error()
		if e := (*artifact.Error)(nil); errors.As(m.Err, &e) { // without file and parameter, which stand beside it
			why = e.Detail
		}
		l.Missing = append(l.Missing, missingListing{m.Name, why})
	}
}

// print says what was written: as JSON, or in lines of text.
func (l *exportListing) print(cmd *cobra.Command, f *exportFlags) error {
	for _, path := range l.Files {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		l.Bytes += info.Size()
	}
	for _, name := range l.Rounded {
		fmt.Fprintf(cmd.ErrOrStderr(), "npuw: %s: divided by a scale and rounded, not exactly what was packed\n", name)
	}
	if l.RoundedToTensors > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "npuw: %d values were rounded to the types of the model's tensors; a float32 model holds them as they are\n", l.RoundedToTensors)
	}
	switch {
	case f.asJSON:
		return printJSON(cmd.OutOrStdout(), l)
	case !f.quiet:
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d parameters, %d values, %d bytes (%s)\n", strings.Join(l.Files, ", "), l.Parameters, l.Values, l.Bytes, l.Format)
	}
	return nil
}
