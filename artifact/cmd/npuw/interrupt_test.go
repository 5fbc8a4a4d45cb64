package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"npuw/schema/pyreader"
)

// interruptMain is a program that sends itself a signal while it writes a file: interrupt NUMBER FILE.
func interruptMain() {
	var number int
	_, _ = fmt.Sscan(os.Args[1], &number)
	c := &cobra.Command{SilenceErrors: true, SilenceUsage: true}
	c.SetArgs(nil)
	c.RunE = markErrors(func(cmd *cobra.Command, _ []string) error {
		return interruptible(cmd, "no file was written", func(ctx context.Context) error {
			return writeFile(os.Args[2], func(w io.Writer) error {
				self, err := os.FindProcess(os.Getpid())
				if err == nil {
					err = self.Signal(syscall.Signal(number))
				}
				if err != nil {
					return err
				}
				<-ctx.Done()
				_, err = (&stoppable{ctx, w}).Write([]byte("half"))
				return err
			})
		})
	})
	os.Exit(tell(c.ExecuteContext(context.Background()), "interrupt", os.Stderr))
}

// TestInterrupted wants no output, and no temporary file, of work that was interrupted.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	artifact := packTest(t, "whisper-tiny-encoder", "")
	for _, args := range [][]string{
		{"pack", filepath.Join(testdata, "whisper-tiny-encoder.onnx"), "--quiet", "-o"},
		{"extract", artifact, "encoder.conv1.weight", "-o"},
		{"compress", artifact, "--quiet", "-o"},
		{"export", artifact, "--format", "npz", "-o"},
		{"export", artifact, "--format", "onnx", "--source", filepath.Join(testdata, "whisper-tiny-encoder.onnx"), "-o"},
		{"run", artifact, "--input", filepath.Join(testdata, "whisper-tiny-encoder.in.f32"), "-o"},
	} {
		dir := pyreader.TempDir(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		root := rootCommand()
		root.SetArgs(append(args, filepath.Join(dir, "out")))
		err := root.ExecuteContext(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want an interruption", args[0], err)
		}
		var message strings.Builder
		if status := tell(err, "npuw", &message); status != 1 || message.String() != "npuw: interrupted; no file was written\n" {
			t.Errorf("%s: exit status %d, %q", args[0], status, message.String())
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%s: left %v, %v", args[0], entries, err)
		}
	}
}
