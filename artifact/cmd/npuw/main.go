// Command npuw packs the weights of a model into a .npuw artifact, and looks into artifacts.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the command. It returns the exit status: 0 when all is well, 1 when something is wrong with what it was given to work on,
// 2 when with how it was called, 128 and the signal's number when a signal ended it. diff has its own, as Unix's diff.
func run(args []string, stdout, stderr io.Writer) int {
	out := &output{w: stdout}
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(&plain{w: out})
	root.SetErr(&plain{w: stderr})
	cmd, err := root.ExecuteC()
	if out.err != nil && (err == nil || errors.Is(err, out.err)) {
		full := &workError{fmt.Errorf("standard output: %w", cause(out.err))}
		if special := new(statusError); errors.As(err, &special) {
			err = &statusError{full, special.status}
		} else {
			err = full
		}
	}
	return tell(err, cmd.CommandPath(), root.ErrOrStderr())
}

// tell says what went wrong in a command, and returns the exit status.
func tell(err error, command string, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	special := new(statusError)
	if errors.As(err, &special) && special.error == nil {
		return special.status
	}
	fmt.Fprintf(stderr, "npuw: %v\n", err)
	var signalled *interruption
	if errors.As(err, &signalled) && signalled.signal > 0 {
		return 128 + int(signalled.signal)
	}
	if special.status > 0 {
		return special.status
	}
	if work := new(workError); errors.As(err, &work) {
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
			"layouts that compiled NPU kernels read, and looks into artifacts.\n\n" +
			"Exit status: 0; 1 for a fault in what it was given to work on; 2 for a fault in the call; 129, 130 or 143\n" +
			"when SIGHUP, SIGINT or SIGTERM ended it: then no output file was written or replaced. That of diff says\n" +
			"whether there is a difference.",
		Example: "  npuw sources model.onnx\n" +
			"  npuw pack model.onnx -o model.npuw\n" +
			"  npuw inspect model.npuw",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddGroup(&cobra.Group{ID: "make", Title: "Make artifacts:"}, &cobra.Group{ID: "use", Title: "Use artifacts:"},
		&cobra.Group{ID: "ship", Title: "Ship artifacts:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			c.RunE = markErrors(c.RunE)
		}
		root.AddCommand(commands...)
	}
	add("make", sourcesCommand(), recipesCommand(), planCommand(), packCommand(), layoutCommand())
	add("use", inspectCommand(), reportCommand(), verifyCommand(), diffCommand(), extractCommand(), exportCommand(), runCommand(), benchCommand(), xclbinCommand(), deviceCommand())
	add("ship", compressCommand(), decompressCommand(), patchCommand())
	root.SetFlagErrorFunc(flagError)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	refuseUnknown(root)
	return root
}

// markErrors makes a workError of every error of a command that is not a callError.
func markErrors(work func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := work(cmd, args)
		var call *callError
		if special := new(statusError); err == nil || errors.As(err, &call) || errors.As(err, &special) {
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

// needsModel checks arguments that are the files of a model: one, or its encoder's and its decoder's.
func needsModel(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return needs("SOURCE")(cmd, args)
	}
	return needs("SOURCE", "DECODER")(cmd, args)
}

// requireFlag wants a flag to be given, after the arguments; shown is what it says of one that is missing.
func requireFlag(c *cobra.Command, flag, shown string) {
	_ = c.MarkFlagRequired(flag) // for completion
	arguments := c.Args
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := arguments(cmd, args); err != nil {
			return err
		}
		if !cmd.Flags().Changed(flag) {
			return callErrorf("%s is missing", shown)
		}
		return nil
	}
}

// nameValues gives flags the names by which help shows their values.
func nameValues(c *cobra.Command, names map[string]string) {
	for flag, name := range names {
		f := c.Flags().Lookup(flag)
		f.Value = namedValue{f.Value, name}
	}
}

// namedValue is the value of a flag, with a name.
type namedValue struct {
	value
	name string
}

type value interface {
	String() string
	Set(string) error
	Type() string
}

func (v namedValue) Type() string { return v.name }

// flagError says what was expected of a flag's value, in place of which Go function failed on it.
func flagError(_ *cobra.Command, err error) error {
	var number *strconv.NumError
	if !errors.As(err, &number) {
		return err
	}
	what := map[string]string{"ParseInt": "a whole number", "ParseFloat": "a number", "ParseBool": "true or false"}[number.Func]
	if errors.Is(number, strconv.ErrRange) {
		what = "a smaller number"
	}
	return callErrorf("%s%s was expected", strings.TrimSuffix(err.Error(), number.Error()), what)
}

// refuseUnknown makes it an error to ask for completions of an unknown shell, or for help on an unknown command.
func refuseUnknown(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.Args = cobra.ArbitraryArgs
			c.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return cmd.Help()
				}
				return callErrorf("completion %q: bash, zsh, fish or powershell was expected", args[0])
			}
			for _, shell := range c.Commands() {
				shell.RunE = markErrors(shell.RunE) // of writing
			}
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				_, _, err := root.Find(args)
				return err
			}
		}
	}
}

// completeFiles completes file names with the given endings.
func completeFiles(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}
