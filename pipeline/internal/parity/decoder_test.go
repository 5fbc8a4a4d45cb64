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
		path := filepath.Join(dir, "m.onnx")
		got := logits(t, path, "all", c, d)
		if want == nil {
			want = got
		}
		if worst, _ := difference(got, want); !(worst <= 1e-5) {
			t.Errorf("%s: other logits, by %g", name, worst)
		}
		checkOptimized(t, name, path, c, d)
	}
}

// TestParityOfQuantizedDecoders shows the same of decoders whose weights, and embeddings, are codes: each gives the logits of the decoder
// of floats that the codes stand for. Products of bytes are near them: their activations are rounded, too.
func TestParityOfQuantizedDecoders(t *testing.T) {
	needORT(t)
	dir := pyreader.TempDir(t)
	for _, x := range []struct {
		forms  string
		head   whisperonnx.Head
		cache  whisperonnx.Cache
		tables bool
		near   float64
	}{
		{"q4", whisperonnx.Own, whisperonnx.Merged, false, 1e-5},
		{"q4,gather,stripped", whisperonnx.Copied, whisperonnx.Merged, true, 1e-5},
		{"q4asym,opset17", whisperonnx.Own, whisperonnx.NoCache, true, 1e-5},
		{"q8", whisperonnx.Copied, whisperonnx.Unshared, true, 1e-5},
		{"bnb4", whisperonnx.Tied, whisperonnx.Merged, false, 1e-5},
		{"qdq,gather", whisperonnx.Tied, whisperonnx.Merged, true, 1e-5},
		{"qdq,gather", whisperonnx.Tied, whisperonnx.NoCache, true, 1e-5},
		{"qdq4", whisperonnx.Copied, whisperonnx.NoCache, true, 1e-5},
		{"int8dyn", whisperonnx.Tied, whisperonnx.Merged, true, 1e-2},
		{"int8dyn,gather", whisperonnx.Copied, whisperonnx.NoCache, true, 1e-2},
		{"int8dyn,gather,stripped", whisperonnx.Own, whisperonnx.Unshared, true, 1e-2},
	} {
		d := whisperonnx.Decoder{Layers: 2, FFN: 33, Positions: 7, Vocab: 65, Head: x.head, Cache: x.cache, Tables: x.tables}
		c, err := whisperonnx.Odd.With(x.forms)
		if err != nil {
			t.Fatal(err)
		}
		twin := c
		twin.Dequantized = true
		name := fmt.Sprintf("forms %q, head %q, cache %q, tables %v", x.forms, x.head, x.cache, x.tables)
		path := filepath.Join(dir, "m.onnx")
		want, got := logits(t, path, "disabled", twin, d), logits(t, path, "disabled", c, d)
		worst, cosine := difference(got, want)
		t.Logf("%s: max error %.3g, cosine %.9f", name, worst, cosine)
		if !(worst <= x.near) {
			t.Errorf("%s: other logits than the decoder of floats, by %g", name, worst)
		}
		if x.cache == whisperonnx.NoCache || c.Quantized != whisperonnx.QDQ { // whose codes its optimizer does not find around a branch
			checkOptimized(t, name, path, c, d)
		}
	}
}

// logits writes the decoder d beside c's encoder to path, and gives what ONNX Runtime computes with it, optimized to a
// level.
func logits(t *testing.T, path, level string, c whisperonnx.Config, d whisperonnx.Decoder) []float32 {
	t.Helper()
	if err := whisperonnx.WriteDecoder(path, c, d); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(filepath.Dir(path), "logits.f32")
	ort(t, "decoder", path, out, fmt.Sprint(c.DModel), fmt.Sprint(c.Heads), fmt.Sprint(d.Layers), level)
	return readFloats(t, out, 4*d.Vocab)
}

// checkOptimized compares the parameters in what ONNX Runtime's optimizer makes of the file at path, at every level, with those of d.
func checkOptimized(t *testing.T, name, path string, c whisperonnx.Config, d whisperonnx.Decoder) {
	t.Helper()
	for _, level := range []string{"basic", "extended", "all"} {
		optimized := filepath.Join(filepath.Dir(path), level+".onnx")
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
