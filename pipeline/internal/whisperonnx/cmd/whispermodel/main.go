// Whispermodel writes the encoder of a Whisper of any size, with random weights from a fixed seed, as an ONNX file to try npuw on:
// what `go tool mage testdata:model` runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"npuw/pipeline/internal/whisperonnx"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "whispermodel:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("whispermodel", flag.ContinueOnError)
	flags.SetOutput(stderr)
	size := flags.String("size", "base", "which Whisper: "+strings.Join(whisperonnx.Sizes(), ", "))
	out := flags.String("out", "", "the file to write (default whisper-SIZE-encoder.onnx)")
	form := flags.String("form", "", "how to write it, separated by commas: "+strings.Join(whisperonnx.Forms(), ", "))
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	c, err := whisperonnx.Size(*size)
	if err != nil {
		return err
	}
	if c, err = c.With(*form); err != nil {
		return err
	}
	c.External = c.External || c.NeedsExternal()
	if *out == "" {
		*out = "whisper-" + *size + "-encoder.onnx"
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o777); err != nil {
		return err
	}
	if err := whisperonnx.WriteContext(ctx, *out, c); err != nil {
		return err
	}
	where := *out
	if c.External {
		where += " and " + filepath.Base(*out) + "_data"
	}
	_, err = fmt.Fprintf(stdout, "%s: %d bytes of random weights\n", where, c.Bytes())
	return err
}
