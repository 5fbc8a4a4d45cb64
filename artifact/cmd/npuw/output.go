package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"npuw/artifact"
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
	w = unfiltered(w)
	if o, ok := w.(*output); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printJSON prints v so that a terminal obeys nothing in it.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escape(b.Bytes(), `\u%04x`, `\u%04x`)) // all in strings, and none beyond 16 bits
	return err
}

// checkOutput refuses the path given with a flag where it has no name, or a file would replace something that is wanted there.
func checkOutput(flag, path string, inputs ...string) error {
	if path == "" {
		return noName(flag)
	}
	return artifact.CheckOutput(path, inputs...)
}

func noName(flag string) error { return callErrorf("the output (%s) has no name", flag) }

// writeFile puts what write writes at path when all of it is there, or nothing.
func writeFile(path string, write func(io.Writer) error) error {
	return artifact.WriteWhole(path, true, func(w io.Writer) error { return writeThrough(w, write) })
}

// writeOutput writes what is made of the file input to the file output, whole or not at all, or where toFile is false to standard output.
func writeOutput(cmd *cobra.Command, toFile bool, output, input string, write func(io.Writer) error) error {
	if !toFile {
		return writeThrough(unfiltered(cmd.OutOrStdout()), write)
	}
	if err := checkOutput("-o", output, input); err != nil {
		return err
	}
	return interruptible(cmd, "no file was written", func(ctx context.Context) error {
		return writeFile(output, func(w io.Writer) error { return write(&stoppable{ctx, w}) })
	})
}

// writeThrough gives write a buffer before w.
func writeThrough(w io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriter(w)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}

// cause leaves out the operation and the paths of an error of the operating system: one may be that of a temporary file.
func cause(err error) error {
	switch e := err.(type) {
	case *os.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
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
