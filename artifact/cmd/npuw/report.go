package main

import (
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"npuw/artifact"
	page "npuw/artifact/report" // this package has a function of that name
)

func reportCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "report FILE.npuw",
		Short: "Draw an artifact as a page: segments, operands, their error, layouts, contracts",
		Long: "Draw what an artifact says about itself as one HTML page: the file as a map of segments and operands, sizes against the\n" +
			"source, what encoding cost by layer, kind and element format, each layout as a picture, contracts and what is bound to\n" +
			"them, and all operands as a table that can be sorted. The page needs nothing beside it and no network. Header and\n" +
			"index are checked, the data is not: `npuw verify` does that.",
		Example:           "  npuw report model.npuw -o model.html\n  npuw report model.npuw | ssh host 'cat > model.html'",
		Args:              needs("FILE.npuw"),
		ValidArgsFunction: completeFiles("npuw"),
	}
	c.Flags().StringVarP(&output, "output", "o", "", "write to the file OUT.html (default: standard output)")
	nameValues(c, map[string]string{"output": "OUT.html"})
	_ = c.RegisterFlagCompletionFunc("output", completeFiles("html"))
	c.RunE = func(cmd *cobra.Command, args []string) error {
		toFile := cmd.Flags().Changed("output")
		if !toFile && isTerminal(cmd.OutOrStdout()) {
			return callErrorf("the page is for a browser; name a file with -o")
		}
		a, err := artifact.Open(args[0])
		if err != nil {
			return err
		}
		defer a.Close()
		write := func(w io.Writer) error { return page.Write(w, filepath.Base(args[0]), a.Header, a.Index) }
		return writeOutput(cmd, toFile, output, args[0], write)
	}
	return c
}
