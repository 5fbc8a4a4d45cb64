package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

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

// checkOutput refuses a path, given with -o, at which a file would replace something that is wanted: a folder, a device, or what is
// read.
func checkOutput(path string, inputs ...string) error { return checkOutputOf("-o", path, inputs...) }

// checkOutputOf is checkOutput for the path given with a flag.
func checkOutputOf(flag, path string, inputs ...string) error {
	if path == "" {
		return callErrorf("the output (%s) has no name", flag)
	}
	there, err := os.Stat(path)
	if err != nil {
		dir := filepath.Dir(path)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: there is no folder %s; create the folder first", path, dir)
		}
		return nil // nothing there, or the attempt to write will tell
	}
	switch {
	case there.IsDir():
		return fmt.Errorf("%s: is a folder; give the output (%s) the name of a file in it", path, flag)
	case !there.Mode().IsRegular():
		return fmt.Errorf("%s: is not a regular file (%v); give the output (%s) another name", path, there.Mode().Type(), flag)
	}
	for _, input := range inputs {
		if read, err := os.Stat(input); err == nil && os.SameFile(there, read) {
			return fmt.Errorf("%s: would be overwritten while it is read; give the output (%s) another name", path, flag)
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
	err = writeThrough(f, write)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(name, path)
	}
	if err == nil {
		return nil
	}
	os.Remove(name)
	if c := cause(err); c != err {
		err = fmt.Errorf("%s: %w", path, c)
	}
	return err
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
