package generic_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/generic"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
	pb "npuw/schema/onnxpb"
)

// Whatever a file is, the answer is a model whose parameters can be read and stand in an artifact, or an error about the file. Seeds are
// the graphs of the tests, and encoders in every form.
func FuzzGeneric(f *testing.F) {
	path := filepath.Join(f.TempDir(), "model.onnx")
	for _, forms := range append(whisperonnx.Forms(), "") {
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
	for _, x := range operatorTests {
		file, err := proto.Marshal(x.model)
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
			return // onnx's FuzzWalk's matter
		}
		defer m.Close()
		got, err := generic.FromONNX(m)
		if err != nil {
			if e := (*source.Error)(nil); !errors.As(err, &e) || e.Problem == "" || e.Err == nil {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		names := map[string]bool{}
		for i := range got.Parameters {
			p := &got.Parameters[i]
			if p.Name == "" || len(p.Name) > 1024 || names[p.Name] {
				t.Fatalf("name %q, there already: %t", p.Name, names[p.Name])
			}
			names[p.Name] = true
			if n := len(p.Axes); n == 0 || n > 8 || n != len(p.Shape) || n != len(p.Perm) || n != len(p.Tensor.Shape) || len(p.Ways) != 1 {
				t.Fatalf("%+v", p)
			}
			for j, axis := range p.Perm {
				if p.Tensor.Shape[axis] != p.Shape[j] || p.Shape[j] == 0 {
					t.Fatalf("%+v: axis %d", p, j)
				}
			}
			size, ok := source.Bytes(p.Shape, p.Tensor.Type)
			if stated := max(p.Tensor.Data.Size, int64(len(p.Tensor.Data.Inline))); !ok || size != stated {
				t.Fatalf("%+v: %d bytes, expected %d", p, stated, size)
			}
			if err := m.ReadAt(make([]byte, min(size, 64)/int64(p.Tensor.Type.Size())*int64(p.Tensor.Type.Size())), &p.Tensor, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// list is for tables of tests.
func list(tensors ...*pb.TensorProto) []*pb.TensorProto { return tensors }
