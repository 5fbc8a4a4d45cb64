// Whispermodel writes the encoder or the decoder of a Whisper of any size, with random weights from a fixed seed, as an ONNX file to try npuw on:
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
	out := flags.String("out", "", "the file to write (default whisper-SIZE-PART.onnx)")
	part := flags.String("part", "encoder", "what of it: "+strings.Join(parts, ", "))
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
	d, err := decoderOf(*part, *size)
	if err != nil {
		return err
	}
	bytes := c.Bytes()
	if d != nil {
		bytes = d.Bytes(c)
	}
	c.External = c.External || whisperonnx.NeedsExternal(bytes)
	if *out == "" {
		*out = fmt.Sprintf("whisper-%s-%s.onnx", *size, *part)
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o777); err != nil {
		return err
	}
	if d != nil {
		err = whisperonnx.WriteDecoderContext(ctx, *out, c, *d)
	} else {
		err = whisperonnx.WriteContext(ctx, *out, c)
	}
	if err != nil {
		return err
	}
	where := *out
	if c.External {
		where += " and " + filepath.Base(*out) + "_data"
	}
	_, err = fmt.Fprintf(stdout, "%s: %d bytes of random weights\n", where, bytes)
	return err
}

// parts are what of a Whisper is written, as Optimum calls the files.
var parts = []string{"encoder", "decoder", "decoder_merged", "decoder_with_past"}

// decoderOf gives the decoder that part stands for, nil for the encoder.
func decoderOf(part, size string) (*whisperonnx.Decoder, error) {
	d, err := whisperonnx.DecoderSize(size)
	switch part {
	case "encoder":
		return nil, err
	case "decoder":
	case "decoder_merged":
		d.Cache, d.Head = whisperonnx.Merged, whisperonnx.Tied
	case "decoder_with_past":
		d.Cache = whisperonnx.WithPast
	default:
		return nil, fmt.Errorf("no part %q; there are %s", part, strings.Join(parts, ", "))
	}
	return &d, err
}
