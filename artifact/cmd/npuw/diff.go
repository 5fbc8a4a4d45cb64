package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"npuw/artifact"
	"npuw/artifact/diff"
)

func diffCommand() *cobra.Command {
	var asJSON, all, values bool
	var delta string
	c := &cobra.Command{
		Use:   "diff A.npuw B.npuw",
		Short: "Show what differs between two artifacts, by name and by how much",
		Long: "Show what differs between two artifacts: what they say of themselves, operands and parameters that only one has, and of\n" +
			"those in both how they are stored and by how much their values differ. Parameters are compared by their values, whatever\n" +
			"operand, format or layout they are in. Differences are those of B from A; rel. L2 is relative to A.\n\n" +
			"Data is read and compared; that it is what the digests say, `npuw verify` checks.\n\n" +
			"Exit status: 0 when nothing differs, 1 when something does, 2 for a fault. With --values only the values of\n" +
			"parameters count: 0 when both have the same.\n\n" +
			"With --delta nothing is compared: what `npuw patch` needs to make B.npuw of A.npuw is written, the segments that A.npuw\n" +
			"does not have, compressed. Both are verified before. Exit status: 0, or 2 for a fault.",
		Example: "  npuw diff before.npuw after.npuw\n  npuw diff --values tiled.npuw rowmajor.npuw && echo the same weights\n" +
			"  npuw diff --delta update.npuwd before.npuw after.npuw",
		Args:              needs("A.npuw", "B.npuw"),
		ValidArgsFunction: completeFiles("npuw"),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "list all that differs, not only the worst")
	c.Flags().BoolVar(&values, "values", false, "let the exit status say whether parameters have the same values")
	c.Flags().StringVar(&delta, "delta", "", "write the delta from A.npuw to B.npuw: OUT.npuwd")
	nameValues(c, map[string]string{"delta": "OUT.npuwd"})
	c.MarkFlagsMutuallyExclusive("delta", "all", "values")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("delta") {
			if delta == "" {
				return noName("--delta")
			}
			if err := writeDelta(cmd, args[0], args[1], delta, asJSON); err != nil {
				return &statusError{err, 2}
			}
			return nil
		}
		r, err := compareFiles(cmd, args[0], args[1])
		if err == nil {
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.Print(cmd.OutOrStdout(), all)
			}
		}
		switch {
		case err != nil:
			return &statusError{err, 2}
		case values && !r.SameValues, !values && !r.Same:
			return &statusError{nil, 1}
		}
		return nil
	}
	return c
}

// compareFiles compares two artifacts, until a signal.
func compareFiles(cmd *cobra.Command, a, b string) (r *diff.Report, err error) {
	fa, err := artifact.Open(a)
	if err != nil {
		return nil, err
	}
	defer fa.Close()
	fb, err := artifact.Open(b)
	if err != nil {
		return nil, err
	}
	defer fb.Close()
	err = interruptible(cmd, "nothing was written", func(ctx context.Context) error {
		r, err = diff.Compare(ctx, fa, fb)
		return err
	})
	return r, err
}

// statusError ends the command with an exit status of its own. Without an error there is nothing to tell.
type statusError struct {
	error
	status int
}

func (e *statusError) Error() string {
	if e.error == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.error.Error()
}

func (e *statusError) Unwrap() error { return e.error }
