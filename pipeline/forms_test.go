package pipeline

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/schema/pyreader"
)

// A model gives the same artifact, byte for byte, in whatever form it is exported or optimized.
func TestEveryFormPacksTheSame(t *testing.T) {
	t.Parallel()
	sizes := []whisperonnx.Config{
		whisperonnx.Odd,
		{DModel: 70, Layers: 1, Heads: 5, FFN: 131, Mels: 13, Positions: 33, Seed: 7},
		{DModel: 132, Layers: 2, Heads: 2, FFN: 257, Mels: 81, Positions: 65, Seed: 8},
	}
	forms := append(whisperonnx.Forms(), "gemm,stripped", "nested,stripped,external,opset17", "attention,constants,external,stripped", "optimized,nested",
		"q4,stripped", "q4asym,external", "int8dyn,stripped,sdpa", "qdq4,constants", "bnb4,nested,stripped")
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, size := range sizes {
		plain := packed(t, size)
		twins := map[whisperonnx.Quantized][]byte{"": plain} // those of quantized forms have the values of the codes
		for _, form := range forms {
			c, err := size.With(form)
			if err != nil {
				t.Fatal(err)
			}
			if c.Type != size.Type || c.Tied {
				continue // other values
			}
			if twins[c.Quantized] == nil {
				twin := size
				twin.Quantized, twin.Dequantized = c.Quantized, true
				twins[c.Quantized] = packed(t, twin)
			}
			if !bytes.Equal(packed(t, c), twins[c.Quantized]) {
				t.Errorf("d_model %d: the form %q gives another artifact than the plain one", size.DModel, form)
			}
		}
	}
}

// A real export whose weights were quantized packs as the one with the same weights dequantized by the tool that did it, where both lie
// beside the checkout.
func TestQuantizedFixturesPackAsTheirTwins(t *testing.T) {
	t.Parallel()
	folder := whisperonnx.Beside("shared/fixtures/whisper-tiny")
	if folder == "" {
		t.Skip("no folder shared/fixtures beside the checkout")
	}
	twins, err := filepath.Glob(filepath.Join(folder, "*-dq.onnx"))
	if err != nil || len(twins) == 0 {
		t.Fatal(twins, err)
	}
	for _, twin := range twins {
		path := strings.TrimSuffix(twin, "-dq.onnx") + ".onnx"
		for _, recipe := range []string{"whisper-encoder/npu1-tiled", "whisper-encoder/npu1-rowmajor-bias"} {
			if !bytes.Equal(packedFile(t, path, recipe), packedFile(t, twin, recipe)) {
				t.Errorf("%s by %s gives another artifact than its twin", path, recipe)
			}
		}
	}
}

// Nothing but structure is left of a stripped file; of others, names are found in more than one way.
func TestHowNamesAreFound(t *testing.T) {
	t.Parallel()
	for form, alone := range map[string]int{"": 0, "gemm": 0, "stripped": 37, "tied,stripped": 37, "attention,stripped": 37, "attention": 10} {
		c, err := whisperonnx.Odd.With(form)
		if err != nil {
			t.Fatal(err)
		}
		b := prepared(t, c)
		got := 0
		for _, p := range b.Model.Parameters {
			if len(p.Ways) == 1 && p.Ways[0] == "structure" {
				got++
			}
			if len(p.Ways) == 0 || p.Note != "" || strings.Contains(form, "attention") != (p.Part != "") && strings.Contains(p.Name, "q_proj") {
				t.Errorf("form %q: %+v", form, p)
			}
		}
		if got != alone {
			t.Errorf("form %q: %d parameters are named by structure alone, expected %d", form, got, alone)
		}
	}
}

func prepared(t *testing.T, c whisperonnx.Config) *Build {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "model.onnx")
	if err := whisperonnx.Write(path, c); err != nil {
		t.Fatal(err)
	}
	b, err := Prepare(path, "")
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// packedFile gives the bytes of the artifact of the model at path.
func packedFile(t *testing.T, path, recipe string) []byte {
	t.Helper()
	b, err := Prepare(path, recipe)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	if _, err := b.Pack(context.Background(), out, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	artifact, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}

// packed gives the bytes of the artifact of a model.
func packed(t *testing.T, c whisperonnx.Config) []byte {
	t.Helper()
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	if _, err := prepared(t, c).Pack(context.Background(), out, pack.Options{NoSync: true}); err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	artifact, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}
