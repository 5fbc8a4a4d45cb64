package parity

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/export"
	"npuw/pipeline/internal/partfile"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/recipe"
	"npuw/pipeline/refill"
	"npuw/schema/pyreader"
)

// TestParityOfRefilled: ONNX Runtime, given the model with an artifact's values as its weights, computes what npuw computes from the
// artifact itself, whatever the element formats and layouts are: so that is what packing cost, and nothing else.
func TestParityOfRefilled(t *testing.T) {
	needORT(t)
	for _, form := range []string{"", "external", "attention,opset17"} {
		t.Run("form "+form, func(t *testing.T) {
			c, err := whisperonnx.Tiny.With(form)
			if err != nil {
				t.Fatal(err)
			}
			model := filepath.Join(pyreader.TempDir(t), "m.onnx")
			if err := whisperonnx.Write(model, c); err != nil {
				t.Fatal(err)
			}
			input := make([]float32, c.Mels*2*c.Positions)
			in := rand.New(rand.NewPCG(1, 1))
			for i := range input {
				input[i] = float32(in.NormFloat64())
			}
			original := runONNX(t, c, model, input)
			for _, r := range recipe.BuiltinsFor("whisper-encoder") {
				packed := packBy(t, model, r.Name)
				refilled := refillBy(t, model, packed)
				got := runONNX(t, c, refilled, input)
				worst, _ := difference(got, runPacked(t, packed, element.F32, input))
				if !(worst <= tolerance) {
					t.Errorf("%s: differs from what npuw computes by %g, at most %g allowed", r.Name, worst, tolerance)
				}
				cost, cosine := difference(got, original)
				t.Logf("%s: ONNX Runtime and npuw differ by %.3g; packing cost %.3g at most, cosine %.9f", r.Name, worst, cost, cosine)
				if exact := r.Name == "whisper-encoder/f32"; exact != (cost == 0) {
					t.Errorf("%s: the output has changed by %g", r.Name, cost)
				}
			}
		})
	}
}

// refillBy writes a model with the values of an artifact, and gives its path.
func refillBy(t *testing.T, model, packed string) string {
	t.Helper()
	a, err := artifact.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	set, err := export.Recover(a)
	if err != nil {
		t.Fatal(err)
	}
	m, err := refill.Open(model, set)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	path := filepath.Join(pyreader.TempDir(t), "m.onnx")
	create := func(path string) (refill.File, error) { return partfile.Create(path) }
	if _, err := m.Write(t.Context(), path, refill.Options{Create: create}); err != nil {
		t.Fatal(err)
	}
	return path
}
