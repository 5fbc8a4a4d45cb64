package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

// interruption is the error of work that was stopped before its end.
type interruption struct {
	error
	signal syscall.Signal // 0: none, but the end of the command's context
	left   string         // what there is of the output
}

func (e *interruption) Error() string { return "interrupted; " + e.left }

func (e *interruption) Unwrap() error { return e.error }

// interruptible does work with a context that the first signal ends, so that what was begun can be removed; the second one kills. The
// error is then an *interruption; left says what there is of the output. What the command was started to ignore (nohup) is ignored.
func interruptible(cmd *cobra.Command, left string, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	wanted := slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}, signal.Ignored)
	signals := make(chan os.Signal, 1)
	if len(wanted) > 0 { // of no signals, Notify makes all
		signal.Notify(signals, wanted...)
	}
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			number, _ := s.(syscall.Signal)
			cancel(&interruption{context.Canceled, number, left})
		case <-ctx.Done():
		}
	}()
	err := work(ctx)
	if err == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	stopped := &interruption{error: err, left: left}
	errors.As(context.Cause(ctx), &stopped)
	return stopped
}
