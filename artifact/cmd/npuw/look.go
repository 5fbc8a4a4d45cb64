package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"npuw/artifact"
)

func inspectCommand() *cobra.Command {
	var asJSON, hex bool
	c := &cobra.Command{
		Use:   "inspect FILE.npuw",
		Short: "Show header, segments, operands with their error, parameters and model of an artifact",
		Long: "Show what an artifact says about itself. Header and index are checked, the data is not: `npuw verify`\n" +
			"does that. Segments have their offset in the file, operands theirs in the segment (+). An operand's\n" +
			"error is what encoding it cost: the largest absolute error, and the error's L2 norm relative to that of the\n" +
			"source. --json has more figures.\n\n" +
			"--hex draws the bytes of header and index instead, each part with its name.",
		Example:           "  npuw inspect model.npuw\n  npuw inspect --json model.npuw | jq '.operands[] | {name, layout}'",
		Args:              needs("FILE.npuw"),
		ValidArgsFunction: completeFiles("npuw"),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&hex, "hex", false, "draw the bytes of header and index")
	c.MarkFlagsMutuallyExclusive("json", "hex")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		out := cmd.OutOrStdout()
		if hex {
			return artifact.Dump(out, args[0])
		}
		a, err := artifact.Open(args[0])
		if err != nil {
			return err
		}
		defer a.Close()
		if asJSON {
			return printJSON(out, a.List())
		}
		return printArtifact(out, a)
	}
	return c
}

func printArtifact(w io.Writer, a *artifact.File) error {
	h := &a.Header
	fmt.Fprintf(w, "%s: .npuw version %d, %d bytes, pages of %d, index of %d bytes at %d\ncontent   %v\n",
		a.Path, artifact.Version, h.FileBytes, h.PageBytes, h.IndexBytes, h.IndexOffset, h.Digest)
	a.Index.PrintModel(w)
	fmt.Fprintln(w)
	if err := a.Index.PrintOperands(w, true); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := a.Index.PrintParameters(w); err != nil {
		return err
	}
	return a.Index.PrintContracts(w)
}

func verifyCommand() *cobra.Command {
	var kernels string
	c := &cobra.Command{
		Use:   "verify FILE.npuw|DIR...",
		Short: "Check every byte of artifacts, or sets of a release",
		Long: "Check every byte of artifacts: header, index, the digest of each segment, padding, and the zeros between. Prints \"FILE: ok\"\n" +
			"for each that is sound, and the first fault of each other, with its offset in bytes; then the exit status is 1.\n\n" +
			"With --kernels also check that the contracts of each fit the xclbins in the folder DIR, which are found by their content\n" +
			"under whatever name; folders in it are not looked into.\n\n" +
			"A folder is checked as the set of a release: that its files are those that release.json lists and no others, their\n" +
			"digests, what it says of artifacts, all of those, and that they fit the xclbins of the set.",
		Example:           "  npuw verify dist/*.npuw\n  npuw verify --kernels dist/kernels dist/*.npuw\n  npuw verify dist",
		Args:              needs("FILE.npuw..."),
		ValidArgsFunction: completeFiles("npuw"),
	}
	c.Flags().StringVarP(&kernels, "kernels", "k", "", "check contracts against the xclbins in the folder DIR")
	nameValues(c, map[string]string{"kernels": "DIR"})
	_ = c.MarkFlagDirname("kernels")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkKernelsFlag(cmd, kernels); err != nil {
			return err
		}
		faulty := 0
		for _, path := range args {
			ok, err := verify(cmd.Context(), path, kernels)
			switch {
			case err == nil:
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", path, ok)
			case len(args) == 1:
				return err
			default:
				faulty++
				fmt.Fprintf(cmd.ErrOrStderr(), "npuw: %v\n", err)
			}
		}
		if faulty > 0 {
			return fmt.Errorf("%d of %d files are not sound artifacts", faulty, len(args))
		}
		return nil
	}
	return c
}

func extractCommand() *cobra.Command {
	var format, output string
	var operand bool
	c := &cobra.Command{
		Use:   "extract FILE.npuw NAME",
		Short: "Write the values of a parameter or an operand",
		Long: "Write the logical values (no padding, no tiles) of a parameter, row-major in its own shape, which is PyTorch's,\n" +
			"or of an operand, row-major in the order of its axes. A name that both have means the parameter, unless\n" +
			"--operand is given. Numbers are little-endian; there is no header. Where a scale had to be undone that is no power of\n" +
			"two, values are rounded, and a line on standard error says so.",
		Example: "  npuw extract model.npuw encoder.conv1.weight -o values.f32",
		Args:    needs("FILE.npuw", "NAME"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []cobra.Completion{"npuw"}, cobra.ShellCompDirectiveFilterFileExt
			}
			return completeNames(args[0]), cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVar(&format, "format", "f32", "element FORMAT to write: f32, or raw: as the artifact has them")
	c.Flags().StringVarP(&output, "output", "o", "", "write to the file OUT (default: standard output)")
	c.Flags().BoolVar(&operand, "operand", false, "NAME is an operand's")
	nameValues(c, map[string]string{"format": "FORMAT", "output": "OUT"})
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"f32", "raw"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, args []string) error {
		toFile := cmd.Flags().Changed("output")
		switch {
		case format != "f32" && format != "raw":
			return callErrorf("--format %q: f32 or raw was expected", format)
		case !toFile && isTerminal(cmd.OutOrStdout()):
			return callErrorf("the values are no text; name a file with -o, or pipe them into a program")
		}
		a, err := artifact.Open(args[0])
		if err != nil {
			return err
		}
		defer a.Close()
		values, err := find(a, args[1], operand)
		if err != nil {
			return err
		}
		write := values.WriteFloat32
		if format == "raw" {
			write = values.WriteRaw
		}
		if err := writeOutput(cmd, toFile, output, args[0], write); err != nil || values.Exact {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "npuw: %s: divided by a scale and rounded, not exactly what was packed\n", args[1])
		return nil
	}
	return c
}

// find gives the values of a parameter, or of an operand.
func find(a *artifact.File, name string, operand bool) (*artifact.Values, error) {
	switch {
	case a.Parameter(name) >= 0 && !operand:
		return a.ParameterValues(name)
	case a.Operand(name) != nil:
		return a.OperandValues(name)
	}
	what, names := "parameter or operand", allNames(a)
	if operand {
		what, names = "operand", operandNames(a)
	}
	advice := fmt.Sprintf("`npuw inspect %s` lists what there is", a.Path)
	if like := near(name, names); len(like) > 0 {
		advice = "near: " + strings.Join(like, ", ")
	}
	return nil, fmt.Errorf("%s: no %s is named %q; %s", a.Path, what, name, advice)
}

func operandNames(a *artifact.File) []string {
	var names []string
	for i := range a.Index.Operands {
		names = append(names, a.Index.Operands[i].Name)
	}
	return names
}

// allNames gives the names of parameters, then of operands that are not named like a parameter.
func allNames(a *artifact.File) []string {
	var names []string
	for _, p := range a.Index.Parameters {
		names = append(names, p.Name)
	}
	isParameter := func(name string) bool { return a.Parameter(name) >= 0 }
	return append(names, slices.DeleteFunc(operandNames(a), isParameter)...)
}

func completeNames(path string) []cobra.Completion {
	a, err := artifact.Open(path)
	if err != nil {
		return nil
	}
	defer a.Close()
	return allNames(a)
}
