package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"npuw/artifact/layout/explain"
	"npuw/artifact/target"
)

// layoutFlags are the flags of `npuw layout`.
type layoutFlags struct {
	shape, pad, element, format, target, svg string
	asJSON                                   bool
}

func layoutCommand() *cobra.Command {
	var f layoutFlags
	c := &cobra.Command{
		Use:   "layout LAYOUT --shape SIZES",
		Short: "Explain a layout: where elements go, how a DMA would stream them, the first tiles drawn",
		Long: "Explain a layout, digits from outermost to innermost in memory: how far each moves along its axis and in memory, the padded\n" +
			"size, the canonical form and its hash, the position of an element as a formula, the buffer descriptors with which\n" +
			"the DMAs of an NPU would stream the elements in this order (and why one is not enough, or none can do it), and a drawing\n" +
			"of the first elements and tiles. Row-major means the axes in the order of --shape, the last one fastest.\n\n" +
			"A digit is an axis and how many values it takes, or * for what remains. Orders that digits cannot say are refused:\n" +
			"digits that do not place every element exactly once, and those that mix axes, such as XNNPACK's rotation (sr > 1).",
		Example: "  npuw layout 'N* K* K8 N8 K8 N4' --shape K=512,N=2048 --element K=100,N=70\n" +
			"  npuw layout 'K* N*' --shape K=1280,N=5120 --pad K=64,N=128 --svg rowmajor.svg\n" +
			"  npuw layout 'N* K* N8 K8' --shape K=512,N=512 --format bfp16 --target npu2",
		Args: oneLayout,
	}
	flags := c.Flags()
	flags.StringVar(&f.shape, "shape", "", "the SIZES of all axes: K=512,N=2048")
	flags.StringVar(&f.pad, "pad", "", "the SIZES of which axes are made multiples, beyond what the layout asks: K=64,N=128")
	flags.StringVar(&f.element, "element", "", "compute the place of the element at these INDICES: K=100,N=70")
	flags.StringVar(&f.format, "format", "bf16", "the element FORMAT")
	flags.StringVar(&f.target, "target", "npu1", "the NPU whose DMAs are meant: TARGET")
	flags.StringVar(&f.svg, "svg", "", "also draw the first tiles as a picture, in the file FILE")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	nameValues(c, map[string]string{
		"shape": "SIZES", "pad": "SIZES", "element": "INDICES", "format": "FORMAT", "target": "TARGET", "svg": "FILE.svg",
	})
	requireFlag(c, "shape", "--shape SIZES, as in --shape K=512,N=2048,")
	complete := func(names []string) cobra.CompletionFunc {
		return cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)
	}
	c.ValidArgsFunction = cobra.NoFileCompletions
	_ = c.RegisterFlagCompletionFunc("format", complete(target.FormatNames()))
	_ = c.RegisterFlagCompletionFunc("target", complete(target.Names()))
	_ = c.RegisterFlagCompletionFunc("svg", completeFiles("svg"))
	for _, flag := range []string{"shape", "pad", "element"} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
	}
	c.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) }
	return c
}

// oneLayout wants one argument. More are most likely a layout that the shell has split at its spaces.
func oneLayout(cmd *cobra.Command, args []string) error {
	err := needs("LAYOUT")(cmd, args)
	if len(args) > 1 {
		err = fmt.Errorf("%w; put the layout in quotes, as in 'N* K* K8 N8 K8 N4'", err)
	}
	return err
}

// run explains a layout.
func (f *layoutFlags) run(cmd *cobra.Command, notation string) error {
	request, err := f.request(cmd, notation)
	if err != nil {
		return err
	}
	x, err := explain.New(request)
	if errors.Is(err, explain.ErrRequest) {
		return &callError{err}
	}
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("svg") {
		if err := checkOutput("--svg", f.svg); err != nil {
			return err
		}
		err := interruptible(cmd, "no file was written", func(ctx context.Context) error {
			return writeFile(f.svg, func(w io.Writer) error { return x.WriteSVG(&stoppable{ctx, w}) })
		})
		if err != nil {
			return err
		}
	}
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), x)
	}
	return writeThrough(cmd.OutOrStdout(), x.WriteText)
}

// request reads the flags.
func (f *layoutFlags) request(cmd *cobra.Command, notation string) (explain.Request, error) {
	r := explain.Request{Notation: notation}
	for _, sizes := range []struct {
		flag, text string
		into       *[]explain.Size
	}{{"shape", f.shape, &r.Shape}, {"pad", f.pad, &r.Pad}, {"element", f.element, &r.Element}} {
		if !cmd.Flags().Changed(sizes.flag) {
			continue
		}
		var err error
		if *sizes.into, err = explain.ParseSizes(sizes.text); err != nil {
			return r, callErrorf("--%s: %w", sizes.flag, err)
		}
	}
	var err error
	if r.Format, err = target.ParseFormat(f.format); err != nil {
		return r, callErrorf("--format: %w", err)
	}
	if r.Target, err = target.Lookup(f.target); err != nil {
		return r, callErrorf("--target: %w", err)
	}
	return r, nil
}
