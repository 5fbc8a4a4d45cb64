package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/families"
)

func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, form := range []string{"", "attention,stripped", "external,opset17"} {
		out := filepath.Join(dir, "new", form+"m.onnx")
		var stdout bytes.Buffer
		if err := run(context.Background(), []string{"-size=odd", "-out", out, "-form", form}, &stdout, os.Stderr); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(stdout.String(), out) || strings.Contains(form, "external") != strings.Contains(stdout.String(), "m.onnx_data") {
			t.Errorf("form %q: said %q", form, stdout.String())
		}
		c, models, err := families.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		want, err := whisperonnx.Odd.With(form)
		if err == nil {
			err = want.Check(c, models[0])
		}
		if err != nil {
			t.Errorf("form %q: %v", form, err)
		}
	}
}

func TestRunDecoder(t *testing.T) {
	t.Parallel()
	for part, d := range map[string]whisperonnx.Decoder{"decoder": {}, "decoder_merged": {Head: whisperonnx.Tied, Cache: whisperonnx.Merged}} {
		d.Layers, d.FFN, d.Positions, d.Vocab = whisperonnx.OddDecoder.Layers, whisperonnx.OddDecoder.FFN, whisperonnx.OddDecoder.Positions, whisperonnx.OddDecoder.Vocab
		out := filepath.Join(t.TempDir(), "m.onnx")
		var stdout bytes.Buffer
		if err := run(context.Background(), []string{"-size=odd", "-out", out, "-part", part, "-form=external"}, &stdout, os.Stderr); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(stdout.String(), "m.onnx_data") {
			t.Errorf("%s: said %q", part, stdout.String())
		}
		c, models, err := families.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := d.Check(whisperonnx.Odd, c, models[0]); err != nil {
			t.Errorf("%s: %v", part, err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out := filepath.Join(dir, "m.onnx")
	stopped, stop := context.WithCancel(context.Background())
	stop()
	for _, x := range []struct {
		ctx  context.Context
		args []string
		says string
	}{
		{context.Background(), []string{"-size=huge"}, `no size "huge"; there are base,`},
		{context.Background(), []string{"-size=odd", "-form=round"}, `no form "round"; there are 3d,`},
		{context.Background(), []string{"-size=odd", "-form=gemm,split"}, "different things"},
		{context.Background(), []string{"-size=odd", "-part=middle"}, `no part "middle"; there are encoder, decoder,`},
		{context.Background(), []string{"-size=odd", "-part=decoder", "-form=gemm"}, "no such decoder"},
		{context.Background(), []string{"-size=odd", "more"}, `"more"`},
		{context.Background(), []string{"-size=odd", "-out", dir}, dir},
		{stopped, []string{"-size=base", "-form=external"}, "canceled"},
	} {
		err := run(x.ctx, append([]string{"-out", out}, x.args...), os.Stdout, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%v: %v, expected %q", x.args, err, x.says)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
