// Command npuw packs the weights of a model into a .npuw artifact, and looks into artifacts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the command: 0 when all is well, 1 when something is wrong with what it was given to work on, 2 when with how it was
// called.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted; nothing was written")
	}
	fmt.Fprintf(stderr, "npuw: %v\n", err)
	var started *workError
	if errors.As(err, &started) {
		return 1
	}
	fmt.Fprintf(stderr, "Run 'npuw help' for how to call it.\n")
	return 2
}

// workError marks an error of the work itself, as against one of the command line.
type workError struct{ error }

func (e *workError) Unwrap() error { return e.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "npuw",
		Short:         "Model weights for NPU kernels, packed ahead of time",
		Long:          "npuw packs the weights of a model into one .npuw artifact, in the element formats and layouts that compiled NPU kernels\nread, and looks into artifacts.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(packCommand(), planCommand(), sourcesCommand(), recipesCommand(), inspectCommand(), verifyCommand(), extractCommand())
	for _, c := range root.Commands() {
		work := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if err := work(cmd, args); err != nil {
				return &workError{err}
			}
			return nil
		}
	}
	return root
}

// completeFiles completes file names with the given endings.
func completeFiles(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}
