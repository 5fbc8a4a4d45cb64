package whisper_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// Whatever a graph is, the answer is a whole encoder or an error about its file. Seeds are encoders of two dimensions, in every form.
func FuzzRecognise(f *testing.F) {
	path := filepath.Join(f.TempDir(), "model.onnx")
	for _, forms := range append(whisperonnx.Forms(), "", "gemm,sdpa,opset17", "nested,stripped,constants", "optimized,stripped", "skipnorm,fastgelu,mha-sliced", "q4asym,stripped", "int8dyn,nested,stripped") {
		c, err := whisperonnx.Config{DModel: 2, Layers: 1, Heads: 2, FFN: 3, Mels: 2, Positions: 2}.With(forms)
		if err != nil {
			f.Fatal(err)
		}
		if c.External {
			continue
		}
		if err := whisperonnx.Write(path, c); err != nil {
			f.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := onnx.Open(path)
		if err != nil {
			return // FuzzWalk's matter
		}
		defer m.Close()
		got, err := whisper.Recognise(m)
		if err != nil {
			if e := (*source.Error)(nil); !errors.As(err, &e) || e.Problem == "" || e.Err == nil {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for i := range got.Parameters {
			p := &got.Parameters[i]
			if len(p.Axes) != len(p.Shape) || len(p.Perm) != len(p.Shape) || len(p.Tensor.Shape) != len(p.Shape) || len(p.Ways) == 0 {
				t.Fatalf("%+v", p)
			}
			if size, ok := source.Bytes(p.Shape, p.Tensor.Type); !ok || size != p.Tensor.Data.Size {
				t.Fatalf("%+v: %d bytes, expected %d", p, p.Tensor.Data.Size, size)
			}
			for j, axis := range p.Perm {
				if p.Tensor.Shape[axis] != p.Shape[j] {
					t.Fatalf("%+v: axis %d", p, j)
				}
			}
			if err := m.ReadAt(make([]byte, min(p.Tensor.Data.Size, 64)), &p.Tensor, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}
