package parity

import (
	"fmt"
	"path/filepath"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/families"
	"npuw/schema/pyreader"
)

// TestParityOfDecoders shows that the forms in which whisperonnx writes a decoder mean the same to ONNX Runtime: all give the same
// logits. And what its optimizer makes of each, at every level, holds the same parameters.
func TestParityOfDecoders(t *testing.T) {
	needORT(t)
	dir := pyreader.TempDir(t)
	size := whisperonnx.Decoder{Layers: 2, FFN: 33, Positions: 7, Vocab: 65}
	var want []float32
	for _, x := range []struct {
		forms string
		head  whisperonnx.Head
		cache whisperonnx.Cache
	}{
		{"", whisperonnx.Copied, whisperonnx.NoCache},
		{"gather,opset17", whisperonnx.Tied, whisperonnx.NoCache},
		{"skipnorm,gelu", whisperonnx.Tied, whisperonnx.NoCache},
		{"constants", whisperonnx.Copied, whisperonnx.NoCache},
		{"", whisperonnx.Tied, whisperonnx.Merged},
		{"gather,opset17", whisperonnx.Copied, whisperonnx.Unshared},
		{"stripped", whisperonnx.Tied, whisperonnx.Merged},
		{"sdpa,gather,opset17,stripped", whisperonnx.Tied, whisperonnx.Merged},
		{"stripped,opset17", whisperonnx.Copied, whisperonnx.NoCache},
	} {
		d := size
		d.Head, d.Cache = x.head, x.cache
		c, err := whisperonnx.Odd.With(x.forms)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("forms %q, head %q, cache %q", x.forms, x.head, x.cache)
		path, out := filepath.Join(dir, "m.onnx"), filepath.Join(dir, "logits.f32")
		if err := whisperonnx.WriteDecoder(path, c, d); err != nil {
			t.Fatal(err)
		}
		ort(t, "decoder", path, out, fmt.Sprint(c.DModel), fmt.Sprint(c.Heads), fmt.Sprint(d.Layers))
		got := readFloats(t, out, 4*d.Vocab)
		if want == nil {
			want = got
		}
		if worst, _ := difference(got, want); !(worst <= 1e-5) {
			t.Errorf("%s: other logits, by %g", name, worst)
		}
		for _, level := range []string{"basic", "extended", "all"} {
			optimized := filepath.Join(dir, level+".onnx")
			ort(t, path, level, optimized)
			catalogue, models, err := families.Open(optimized)
			if err != nil || len(models) != 1 {
				t.Errorf("%s, optimized, level %s: %d models, %v", name, level, len(models), err)
				continue
			}
			if err := d.Check(c, catalogue, models[0]); err != nil {
				t.Errorf("%s, optimized, level %s: %v", name, level, err)
			}
			catalogue.Close()
		}
	}
}
