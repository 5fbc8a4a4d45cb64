package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// output is standard output. It remembers the first error, so that no command has to ask of every line whether it was written.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

// isTerminal reports whether what is written to w appears on a screen.
func isTerminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// interruptible gives a context that the first interrupt ends, so that what was begun can be removed. The second interrupt kills.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// checkOutput refuses a path at which a file would replace something that is wanted: a folder, a device, or what is read.
func checkOutput(path string, inputs ...string) error {
	if path == "" {
		return callErrorf("the output (-o) has no name")
	}
	there, err := os.Stat(path)
	if err != nil {
		return nil // nothing there, or the attempt to write will tell
	}
	switch {
	case there.IsDir():
		return fmt.Errorf("%s: is a folder; give the output (-o) the name of a file in it", path)
	case !there.Mode().IsRegular():
		return fmt.Errorf("%s: is not a regular file (%v); give the output (-o) another name", path, there.Mode().Type())
	}
	for _, input := range inputs {
		if read, err := os.Stat(input); err == nil && os.SameFile(there, read) {
			return fmt.Errorf("%s: would be overwritten while it is read; give the output (-o) another name", path)
		}
	}
	return nil
}

// writeFile puts what write writes at path when all of it is there, or nothing.
func writeFile(path string, write func(io.Writer) error) error {
	dir, base := filepath.Split(path)
	name := filepath.Join(dir, "."+base+".npuw-tmp-"+strconv.FormatUint(rand.Uint64(), 36))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("%s: %w", path, cause(err))
	}
	w := bufio.NewWriter(f)
	err = errors.Join(write(w), w.Flush(), f.Close())
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		os.Remove(name)
	}
	return err
}

// cause leaves out the path and operation, of which the path may be that of a temporary file.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// stoppable is a writer that fails once its context is done.
type stoppable struct {
	ctx context.Context
	w   io.Writer
}

func (s *stoppable) Write(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(b)
}
