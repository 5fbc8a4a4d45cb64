package pipeline

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/schema/pyreader"
)

// checkKept packs a quantized model with its linear layers kept, and compares each of their weights with the twin's, bit for bit. The
// twin has the same values in f32.
func checkKept(t *testing.T, model, twin string) {
	t.Helper()
	dir := pyreader.TempDir(t)
	got, want := packBy(t, model, "whisper-encoder/npu1-source", dir), packBy(t, twin, "whisper-encoder/f32", dir)
	linears := 0
	for i := range got.Index.Operands {
		o := &got.Index.Operands[i]
		if !strings.HasSuffix(o.Name, "_proj.weight") && !strings.Contains(o.Name, ".fc1.weight") && !strings.Contains(o.Name, ".fc2.weight") {
			continue
		}
		linears++
		if s := o.Statistics; len(o.Planes) == 0 || s.Inexact != 0 || s.NonFinite != 0 || s.SumDD != 0 {
			t.Errorf("%s: %s with %+v; kept codes were expected, without an error", o.Name, o.FormatText(), s)
		}
		if a, b := parameter(t, got, o.Name), parameter(t, want, o.Name); !slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }) {
			t.Errorf("%s: other values than the source's codes stand for", o.Name)
		}
	}
	if layers := layersOf(got); linears != 6*layers {
		t.Errorf("%d linear layers, 6 of each of %d layers were expected", linears, layers)
	}
}

func layersOf(f *artifact.File) int {
	for _, a := range f.Index.Model.Attributes {
		if a.Name == "layers" {
			return int(a.Integer)
		}
	}
	return 0
}

// Real exports keep their codes: what comes back is what the exact dequantization gives and, where they lie beside the checkout, what
// their twins hold, which a tool of ONNX Runtime's dequantized.
func TestKeptExports(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"q4", "q4asym", "q4f16", "bnb4", "int8pc", "uint8", "qdq-int8pc"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			model := filepath.Join("..", "testdata", "whisper-tiny", "whisper-tiny-encoder-"+form+".onnx")
			checkKept(t, model, model)
			if twin := whisperonnx.Beside("shared/fixtures/whisper-tiny/whisper-tiny-encoder-" + form + "-dq.onnx"); twin != "" {
				checkKept(t, model, twin)
			}
		})
	}
}

// Every quantized form of odd sizes keeps its codes, but for NF4 whose blocks run from one row into the next.
func TestKeptForms(t *testing.T) {
	t.Parallel()
	sizes := []whisperonnx.Config{{DModel: 128, Layers: 1, Heads: 2, FFN: 256, Mels: 9, Positions: 5, Seed: 3}, whisperonnx.Odd}
	if testing.Short() {
		sizes = sizes[:1] // the one that every form goes with
	}
	for _, size := range sizes {
		for _, form := range whisperonnx.Forms() {
			c, err := size.With(form)
			if err != nil {
				t.Fatal(err)
			}
			if c.Quantized == "" {
				continue
			}
			dir := pyreader.TempDir(t)
			model, twin := filepath.Join(dir, "m.onnx"), filepath.Join(dir, "twin.onnx")
			if err := whisperonnx.Write(model, c); err != nil {
				t.Fatal(err)
			}
			if c.Quantized == whisperonnx.NF4 && size.DModel%64 != 0 {
				b, err := Prepare(model, "whisper-encoder/npu1-source")
				if err == nil {
					b.Close()
				}
				if err == nil || !strings.Contains(err.Error(), "which no operand can hold as it is; write a rule for it that states a format: F32") {
					t.Errorf("d_model %d, %s: %v", size.DModel, form, err)
				}
				continue
			}
			c.Dequantized = true
			if err := whisperonnx.Write(twin, c); err != nil {
				t.Fatal(err)
			}
			t.Run(form, func(t *testing.T) { checkKept(t, model, twin) })
		}
	}
}

// A plan tells what is kept of a model that is quantized, and a float model keeps its values.
func TestKeptPlan(t *testing.T) {
	t.Parallel()
	for form, want := range map[string]int{"": 0, "q4": 12} {
		b, err := Prepare(filepath.Join("..", "testdata", "whisper-tiny", strings.TrimSuffix("whisper-tiny-encoder-"+form, "-")+".onnx"), "whisper-encoder/npu1-source")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if kept := b.Plan.Kept(); len(kept) != want {
			t.Errorf("%q: %d operands are kept, expected %d: %v", form, len(kept), want, kept)
		}
		x, err := b.Pack(t.Context(), filepath.Join(pyreader.TempDir(t), "x.npuw"), pack.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		if s := x.Operands[slices.IndexFunc(x.Operands, func(o artifact.Operand) bool { return strings.HasSuffix(o.Name, "fc1.weight") })].Statistics; s.Inexact != 0 {
			t.Errorf("%q: %+v", form, s)
		}
	}
}
