package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"npuw/artifact"
)

func inspectCommand() *cobra.Command {
	var asJSON, hex bool
	c := &cobra.Command{
		Use:   "inspect FILE.npuw",
		Short: "Show header, segments, operands with their error, parameters and model of an artifact",
		Long: "Show what an artifact says about itself. Header and index are checked, the data is not: `npuw verify` does that.\n" +
			"--hex draws the bytes of header and index instead, each part with its name.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFiles("npuw"),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&hex, "hex", false, "draw the bytes of header and index")
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
			return printJSON(out, inspectListing{listHeader(&a.Header), a.Index.List(true)})
		}
		return printArtifact(out, a)
	}
	return c
}

type inspectListing struct {
	Header headerListing `json:"header"`
	artifact.Listing
}

type headerListing struct {
	Version          int    `json:"version"`
	RequiredFeatures uint64 `json:"required_features"`
	OptionalFeatures uint64 `json:"optional_features"`
	FileBytes        uint64 `json:"file_bytes"`
	PageBytes        uint64 `json:"page_bytes"`
	IndexOffset      uint64 `json:"index_offset"`
	IndexBytes       uint64 `json:"index_bytes"`
	Digest           string `json:"xxh3_128"`
}

func listHeader(h *artifact.Header) headerListing {
	return headerListing{
		artifact.Version, h.RequiredFeatures, h.OptionalFeatures, h.FileBytes, h.PageBytes, h.IndexOffset, h.IndexBytes, h.Digest.String(),
	}
}

func printArtifact(w io.Writer, a *artifact.File) error {
	h := &a.Header
	fmt.Fprintf(w, "%s: .npuw version %d, %d bytes, pages of %d, index of %d bytes at %d\ncontent   %v\n",
		a.Path, artifact.Version, h.FileBytes, h.PageBytes, h.IndexBytes, h.IndexOffset, h.Digest)
	a.Index.PrintModel(w)
	fmt.Fprintf(w, "\n")
	if err := a.Index.PrintOperands(w, true); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n")
	return a.Index.PrintParameters(w)
}

func verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "verify FILE.npuw...",
		Short:             "Check every byte of artifacts",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeFiles("npuw"),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var faults []error
		for _, path := range args {
			if err := verify(path); err != nil {
				faults = append(faults, err)
				continue
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", path)
		}
		return errors.Join(faults...)
	}
	return c
}

func verify(path string) error {
	a, err := artifact.Open(path)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Verify()
}

func extractCommand() *cobra.Command {
	var format, output string
	var operand bool
	c := &cobra.Command{
		Use:   "extract FILE.npuw NAME",
		Short: "Write the values of a parameter or an operand",
		Long: "Write the logical values (no padding, no tiles) of a parameter, row-major in its own shape, or of an operand, row-major in the order of its\n" +
			"axes. A name that both have means the parameter, unless --operand is given. All numbers are little-endian.",
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []cobra.Completion{"npuw"}, cobra.ShellCompDirectiveFilterFileExt
			}
			return completeNames(args[0]), cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVar(&format, "format", "f32", "f32, or raw: as encoded in the artifact")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write (default: standard output)")
	c.Flags().BoolVar(&operand, "operand", false, "NAME is an operand")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"f32", "raw"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if format != "f32" && format != "raw" {
			return fmt.Errorf("--format %q: f32 or raw was expected", format)
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
		if output == "" {
			w := bufio.NewWriter(cmd.OutOrStdout())
			return errors.Join(write(w), w.Flush())
		}
		return writeFile(output, write)
	}
	return c
}

// find gives the values of a parameter, or of an operand.
func find(a *artifact.File, name string, operand bool) (*artifact.Values, error) {
	if !operand && a.Parameter(name) >= 0 {
		return a.ParameterValues(name)
	}
	return a.OperandValues(name)
}

func completeNames(path string) []cobra.Completion {
	a, err := artifact.Open(path)
	if err != nil {
		return nil
	}
	defer a.Close()
	var names []cobra.Completion
	for _, p := range a.Index.Parameters {
		names = append(names, p.Name)
	}
	for _, o := range a.Index.Operands {
		if a.Parameter(o.Name) < 0 {
			names = append(names, o.Name)
		}
	}
	return names
}

// writeFile puts what write writes at path when all of it is there, or nothing.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".npuw-extract-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	err = errors.Join(write(w), w.Flush(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
