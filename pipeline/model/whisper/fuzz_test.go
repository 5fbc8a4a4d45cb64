package whisper_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// Whatever a graph is, the answer is a whole encoder or decoder or an error about its file. Seeds are such of two dimensions, in every form.
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
	for _, d := range decoderForms {
		for _, forms := range []string{"", "stripped,gather,opset17", "skipnorm,gelu", "sdpa,stripped", "q4"} {
			c, err := whisperonnx.Config{DModel: 2, Layers: 1, Heads: 2, FFN: 3, Mels: 2, Positions: 2}.With(forms)
			if err != nil {
				f.Fatal(err)
			}
			d.Layers, d.FFN, d.Positions, d.Vocab = 1, 3, 2, 5
			if err := whisperonnx.WriteDecoder(path, c, d); err != nil {
				f.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(file)
		}
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

// Whatever tensors of a state dict are called and config.json says, the answer is whole models or an error about a file. A line of names is
// a tensor's name, and its sizes, a byte each.
func FuzzState(f *testing.F) {
	var small strings.Builder
	for _, x := range checkpoints.Whisper(whisperonnx.Config{DModel: 2, Layers: 1, Heads: 2, FFN: 3, Mels: 2, Positions: 2}, checkpoints.Decoder{Layers: 1, FFN: 3, Positions: 2, Vocab: 5}) {
		small.WriteString(x.Name)
		for _, n := range x.Shape {
			small.WriteString(" " + string(rune('0'+n)))
		}
		small.WriteString("\n")
	}
	f.Add(small.String()+"proj_out.weight 5 2", `{"encoder_attention_heads": 2, "decoder_attention_heads": 2}`, int64(2))
	f.Add(strings.ReplaceAll(small.String(), "model.", ""), "{}", int64(1))
	f.Add(checkpoints.OpenAI(small.String()), `{"d_model": 3}`, int64(-1))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, names, config string, heads int64) {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		c := &source.Catalogue{Path: filepath.Join(dir, "model"), Files: []*source.File{{}}, Sizes: map[string]int64{"dims.n_audio_head": heads, "dims.n_text_head": heads}}
		for line := range strings.Lines(names) {
			parts := strings.Split(strings.TrimSuffix(line, "\n"), " ")
			x := source.Tensor{Name: parts[0], Type: element.F16}
			n := 1
			for _, size := range parts[1:] {
				k := len(size)
				if k == 1 {
					k = int(size[0] & 15)
				}
				x.Shape, n = append(x.Shape, uint64(k)), n*k
			}
			if n > 1<<16 || c.Tensor(x.Name) != nil {
				return
			}
			x.Data.Inline = make([]byte, 2*n)
			c.Tensors = append(c.Tensors, x)
		}
		models, err := whisper.FromState(c)
		if err != nil {
			if e := (*source.Error)(nil); !errors.As(err, &e) || e.Problem == "" || e.Err == nil {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for _, m := range models {
			taken := map[string]bool{}
			for _, p := range m.Parameters {
				if len(p.Axes) != len(p.Shape) || !slices.Equal(p.Shape, p.Tensor.Shape) || taken[p.Name] || taken[p.Tensor.Name+" "] {
					t.Fatalf("%s: %+v", m.Family, p)
				}
				taken[p.Name], taken[p.Tensor.Name+" "] = true, true
			}
		}
	})
}
