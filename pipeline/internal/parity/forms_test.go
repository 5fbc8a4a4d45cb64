package parity

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/families"
	"npuw/schema/pyreader"
)

// TestParityOfForms shows that the forms in which whisperonnx writes an encoder mean to ONNX Runtime what they are meant to: all
// compute the same. And what its own optimizer makes of each, at every level, holds the same parameters.
func TestParityOfForms(t *testing.T) {
	needORT(t)
	plain := whisperonnx.Odd
	input := make([]float32, plain.Mels*2*plain.Positions)
	for i := range input {
		input[i] = float32(math.Sin(float64(i)))
	}
	path := filepath.Join(pyreader.TempDir(t), "plain.onnx")
	if err := whisperonnx.Write(path, plain); err != nil {
		t.Fatal(err)
	}
	wants := map[whisperonnx.Quantized][]float32{"": runONNX(t, plain, path, input)}
	for _, form := range append(whisperonnx.Forms(), "", "gemm,sdpa,opset17", "gelu,opset17,fusedmatmul", "opset17,sdpa,stripped") {
		c, err := plain.With(form)
		if err != nil {
			t.Fatal(err)
		}
		if c.Type != 0 && c.Type != element.F32 {
			continue // ONNX Runtime's CPU kernels have few of the other types
		}
		t.Run("form "+form, func(t *testing.T) {
			dir := pyreader.TempDir(t)
			path := filepath.Join(dir, "m.onnx")
			if err := whisperonnx.Write(path, c); err != nil {
				t.Fatal(err)
			}
			want := wants[c.Quantized]
			if want == nil {
				twin := plain
				twin.Quantized, twin.Dequantized = c.Quantized, true
				twinPath := filepath.Join(dir, "twin.onnx")
				if err := whisperonnx.Write(twinPath, twin); err != nil {
					t.Fatal(err)
				}
				want = runONNX(t, twin, twinPath, input)
				wants[c.Quantized] = want
			}
			// Its CPU kernel of MultiHeadAttention takes no packed operands, tied LayerNorms are another model, and these quantize what
			// the weights are multiplied with.
			if c.Attention != whisperonnx.MultiHeadPack && !c.Tied && c.Quantized != whisperonnx.Dynamic && c.Quantized != whisperonnx.Fused8 {
				worst, _ := difference(runONNX(t, c, path, input), want)
				if allowed := map[bool]float64{false: 1e-6, true: 1e-4}[c.FastGelu]; !(worst <= allowed) {
					t.Errorf("another output than the plain form's, by %g", worst)
				}
			}
			for _, level := range []string{"basic", "extended", "all"} {
				optimized := filepath.Join(dir, fmt.Sprintf("%s.onnx", level))
				ort(t, path, level, optimized)
				catalogue, models, err := families.Open(optimized)
				if err != nil || len(models) != 1 {
					t.Errorf("optimized, level %s: %d models, %v", level, len(models), err)
					continue
				}
				if err := c.Check(catalogue, models[0]); err != nil {
					t.Errorf("optimized, level %s: %v", level, err)
				}
				catalogue.Close()
			}
		})
	}
}
