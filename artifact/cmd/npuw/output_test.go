package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"npuw/schema/pyreader"
)

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "values")
	for _, text := range []string{"first", "second"} {
		write := func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}
		if err := writeFile(path, write); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	broken := errors.New("broken")
	err := writeFile(path, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<20))
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "second" {
		t.Errorf("after a failure: %.10q, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestOutputRemembers wants the first error of standard output to be kept, and nothing written after it.
func TestOutputRemembers(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	var b bytes.Buffer
	o := &output{w: &limited{w: &b, left: 1, err: full}}
	for range 3 {
		_, _ = o.Write([]byte("line\n"))
	}
	if !errors.Is(o.err, full) || b.String() != "line\n" {
		t.Errorf("%v after %q", o.err, b.String())
	}
}

// limited fails after some writes, once.
type limited struct {
	w    io.Writer
	left int
	err  error
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left--; l.left == -1 {
		return 0, l.err
	}
	return l.w.Write(b)
}
