// Command npuw packs the weights of a model into a .npuw artifact, and looks into artifacts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the command. It returns the exit status: 0 when all is well, 1 when something is wrong with what it was given to work on,
// 2 when with how it was called.
func run(args []string, stdout, stderr io.Writer) int {
	out := &output{w: stdout}
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	if err == nil && out.err != nil {
		err = &workError{fmt.Errorf("standard output: %w", out.err)}
	}
	return tell(err, cmd.CommandPath(), stderr)
}

// tell says what went wrong in a command, and returns the exit status.
func tell(err error, command string, stderr io.Writer) int {
	var work *workError
	isWork := errors.As(err, &work)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted; no file was written")
	}
	fmt.Fprintf(stderr, "npuw: %v\n", err)
	if isWork {
		return 1
	}
	fmt.Fprintf(stderr, "Run '%s --help' for how to call it.\n", command)
	return 2
}

// workError marks an error of the work itself, as against one of the call.
type workError struct{ error }

func (e *workError) Unwrap() error { return e.error }

// callError marks an error of the call that only a command itself can find.
type callError struct{ error }

func (e *callError) Unwrap() error { return e.error }

func callErrorf(format string, args ...any) error { return &callError{fmt.Errorf(format, args...)} }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "npuw",
		Short: "Model weights for NPU kernels, packed ahead of time",
		Long: "npuw packs the weights of a model into one .npuw artifact, in the element formats and\n" +
			"layouts that compiled NPU kernels read, and looks into artifacts.",
		Example: "  npuw sources model.onnx\n" +
			"  npuw pack model.onnx -o model.npuw\n" +
			"  npuw inspect model.npuw",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddGroup(&cobra.Group{ID: "make", Title: "Make artifacts:"}, &cobra.Group{ID: "use", Title: "Use artifacts:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			c.RunE = markErrors(c.RunE)
		}
		root.AddCommand(commands...)
	}
	add("make", sourcesCommand(), recipesCommand(), planCommand(), packCommand())
	add("use", inspectCommand(), verifyCommand(), extractCommand(), runCommand(), xclbinCommand())
	return root
}

// markErrors makes a workError of every error of a command that is not a callError.
func markErrors(work func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := work(cmd, args)
		var call *callError
		if err == nil || errors.As(err, &call) {
			return err
		}
		return &workError{err}
	}
}

// needs wants one argument for each name. A last name that ends in "..." stands for one or more.
func needs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return callErrorf("%s is missing", strings.TrimSuffix(names[len(args)], "..."))
		}
		if many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "..."); len(args) > len(names) && !many {
			return callErrorf("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

// completeFiles completes file names with the given endings.
func completeFiles(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}
