package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInterrupted wants no output, and no temporary file, of work that was interrupted.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	artifact := packTest(t, "whisper-tiny-encoder", "")
	for _, args := range [][]string{
		{"pack", filepath.Join(testdata, "whisper-tiny-encoder.onnx"), "--quiet", "-o"},
		{"extract", artifact, "encoder.conv1.weight", "-o"},
	} {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		root := rootCommand()
		root.SetArgs(append(args, filepath.Join(dir, "out")))
		if err := root.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want an interruption", args[0], err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%s: left %v, %v", args[0], entries, err)
		}
	}
}

// TestInterruptedMessage wants an interruption told in words, with status 1 and no advice on how to call the command.
func TestInterruptedMessage(t *testing.T) {
	t.Parallel()
	var message strings.Builder
	if status := tell(&workError{context.Canceled}, "npuw pack", &message); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if want := "npuw: interrupted; no file was written\n"; message.String() != want {
		t.Errorf("%q, want %q", message.String(), want)
	}
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
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
