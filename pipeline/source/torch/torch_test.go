package torch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/source"
)

func write(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, b []byte) *source.Catalogue {
	t.Helper()
	c, err := Open(write(t, b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// formats give the file of what is saved, in the new format and in the old.
var formats = map[string]func(checkpoints.Saved) []byte{"zip": checkpoints.TorchZip, "legacy": checkpoints.TorchLegacy}

// Checkpoints that PyTorch wrote: every tensor has the values that the same weights have in safetensors.
func TestRealFiles(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		tensors int
		format  element.Format
		sizes   int
	}{
		"whisper-tiny.pytorch_model.bin": {90, element.F32, 0},
		"whisper-tiny.legacy.bin":        {90, element.F32, 0},
		"whisper-tiny.openai.pt":         {89, element.F16, 10},
	} {
		path := filepath.Join("../../../testdata/whisper-tiny", name)
		if _, err := os.Stat(path); err != nil {
			if path = whisperonnx.Beside("shared/fixtures/whisper-tiny/" + name); path == "" {
				continue // too large to be part of this repository
			}
		}
		c, err := Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		defer c.Close()
		if c.Kind != "torch" || len(c.Tensors) != x.tensors || len(c.Sizes) != x.sizes || len(c.Others) != 0 {
			t.Errorf("%s: %s, %d tensors, sizes %v, others %v", name, c.Kind, len(c.Tensors), c.Sizes, c.Others)
		}
		for i := range c.Tensors {
			tensor := &c.Tensors[i]
			size, _ := source.Bytes(tensor.Shape, x.format)
			if tensor.Type != x.format || tensor.Data.Size != size || tensor.Data.Decoder != nil {
				t.Errorf("%s: %+v", name, tensor)
			}
			if err := c.ReadAt(make([]byte, size), tensor, 0); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if x.sizes > 0 && (c.Sizes["dims.n_audio_head"] != 4 || c.Sizes["dims.n_vocab"] != 384) {
			t.Errorf("%s: %v", name, c.Sizes)
			continue
		}
		if logits := c.Tensor("proj_out.weight"); logits != nil && logits.Data.Offset != c.Tensor("model.decoder.embed_tokens.weight").Data.Offset {
			t.Errorf("%s: the projection to logits does not share the bytes of the embedding: %+v", name, logits)
		}
	}
}

// Tensors are views of storages: parts of them, shared ones, in any strides.
func TestViews(t *testing.T) {
	t.Parallel()
	s := &checkpoints.Storage{Class: "HalfStorage", Elements: 24, Bytes: make([]byte, 48)}
	for i := range s.Bytes {
		s.Bytes[i] = byte(i / 2)
	}
	views := map[string]struct {
		view    checkpoints.View
		want    []int // elements of the storage
		located bool  // nothing is computed
	}{
		"all":            {checkpoints.View{Shape: []int{4, 6}, Stride: []int{6, 1}}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}, true},
		"a part":         {checkpoints.View{Offset: 7, Shape: []int{3}, Stride: []int{1}}, []int{7, 8, 9}, true},
		"a scalar":       {checkpoints.View{Offset: 23, Shape: []int{}, Stride: []int{}}, []int{23}, true},
		"axes of one":    {checkpoints.View{Offset: 2, Shape: []int{1, 3, 1}, Stride: []int{99, 1, 77}}, []int{2, 3, 4}, true},
		"nothing":        {checkpoints.View{Offset: 24, Shape: []int{0, 5}, Stride: []int{5, 1}}, nil, true},
		"transposed":     {checkpoints.View{Shape: []int{3, 4}, Stride: []int{1, 6}}, []int{0, 6, 12, 18, 1, 7, 13, 19, 2, 8, 14, 20}, false},
		"columns":        {checkpoints.View{Offset: 1, Shape: []int{3, 2}, Stride: []int{6, 1}}, []int{1, 2, 7, 8, 13, 14}, false},
		"every second":   {checkpoints.View{Shape: []int{4}, Stride: []int{2}}, []int{0, 2, 4, 6}, false},
		"three axes":     {checkpoints.View{Shape: []int{2, 3, 2}, Stride: []int{12, 1, 6}}, []int{0, 6, 1, 7, 2, 8, 12, 18, 13, 19, 14, 20}, false},
		"the first axis": {checkpoints.View{Shape: []int{3, 2, 2}, Stride: []int{1, 6, 3}}, []int{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}, false},
		"overlapping":    {checkpoints.View{Shape: []int{2, 3}, Stride: []int{2, 1}}, []int{0, 1, 2, 2, 3, 4}, false},
		"repeated":       {checkpoints.View{Shape: []int{2, 2}, Stride: []int{0, 1}}, []int{0, 1, 0, 1}, false},
	}
	saved := checkpoints.Saved{}
	for name, x := range views {
		x.view.Name, x.view.Of = name, s
		saved.Views = append(saved.Views, x.view)
	}
	for format, save := range formats {
		c := open(t, save(saved))
		for name, x := range views {
			tensor := c.Tensor(name)
			want := make([]byte, 0, 2*len(x.want))
			for _, i := range x.want {
				want = append(want, s.Bytes[2*i:][:2]...)
			}
			if tensor.Data.Size != int64(len(want)) || x.located != (tensor.Data.Decoder == nil) || tensor.Type != element.F16 {
				t.Errorf("%s: %s: %+v", format, name, tensor)
				continue
			}
			for from := 0; from <= len(want); from += 2 {
				for to := from; to <= len(want); to += 2 {
					got := make([]byte, to-from)
					if err := c.ReadAt(got, tensor, int64(from)); err != nil || !bytes.Equal(got, want[from:to]) {
						t.Fatalf("%s: %s: bytes %d to %d are %v, expected %v: %v", format, name, from, to, got, want[from:to], err)
					}
				}
			}
		}
	}
}

// What does not count is passed over; a state dict may stand under a key.
func TestNests(t *testing.T) {
	t.Parallel()
	views := checkpoints.Views([]checkpoints.Tensor{{Name: "w", Type: element.BF16, Shape: []int{2}, Bytes: []byte{1, 2, 3, 4}}})
	views = append(views, checkpoints.View{Name: "step", Of: &checkpoints.Storage{Class: "LongStorage", Elements: 1, Bytes: make([]byte, 8)}})
	for format, save := range formats {
		for _, nest := range []string{"", "model_state_dict", "state_dict", "model"} {
			c := open(t, save(checkpoints.Saved{Views: views, Nest: nest, Numbers: map[string]map[string]int{"dims": {"n": 7}}}))
			if len(c.Tensors) != 1 || c.Tensors[0].Type != element.BF16 || c.Others["step"] != "int64" {
				t.Errorf("%s under %q: %+v", format, nest, c)
			}
			if want := map[bool]int64{true: 7}[nest != ""]; c.Sizes["dims.n"] != want {
				t.Errorf("%s under %q: sizes %v", format, nest, c.Sizes)
			}
		}
		if _, err := Open(write(t, save(checkpoints.Saved{Views: views, Nest: "optimizer"}))); !errors.Is(err, source.ErrNotRecognised) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestRefusesViews(t *testing.T) {
	t.Parallel()
	s := func(elements, size int) *checkpoints.Storage {
		return &checkpoints.Storage{Class: "FloatStorage", Elements: elements, Bytes: make([]byte, size)}
	}
	for name, x := range map[string]struct {
		view checkpoints.View
		want error
		says string
	}{
		"past the end":           {checkpoints.View{Of: s(4, 16), Shape: []int{5}, Stride: []int{1}}, source.ErrCorrupt, "goes past its storage of 4"},
		"past the end by offset": {checkpoints.View{Of: s(4, 16), Offset: 1, Shape: []int{4}, Stride: []int{1}}, source.ErrCorrupt, "goes past"},
		"by stride":              {checkpoints.View{Of: s(4, 16), Shape: []int{2, 2}, Stride: []int{3, 1}}, source.ErrCorrupt, "goes past"},
		"before the beginning":   {checkpoints.View{Of: s(4, 16), Offset: -1, Shape: []int{2}, Stride: []int{1}}, source.ErrCorrupt, "goes past"},
		"a negative stride":      {checkpoints.View{Of: s(4, 16), Offset: 3, Shape: []int{4}, Stride: []int{-1}}, source.ErrCorrupt, "-1 in it"},
		"a negative size":        {checkpoints.View{Of: s(4, 16), Shape: []int{-4}, Stride: []int{1}}, source.ErrCorrupt, "-4 in it"},
		"expanded":               {checkpoints.View{Of: s(1, 4), Shape: []int{1 << 30}, Stride: []int{0}}, source.ErrUnsupported, "it was expanded"},
		"sizes past 2^63":        {checkpoints.View{Of: s(1, 4), Shape: slices.Repeat([]int{1 << 30}, 3), Stride: []int{0, 0, 0}}, source.ErrCorrupt, "goes past"},
		"strides past 2^63":      {checkpoints.View{Of: s(9, 36), Shape: []int{3, 3}, Stride: []int{1 << 30, 1 << 30}}, source.ErrCorrupt, "goes past"},
		"strides of another":     {checkpoints.View{Of: s(4, 16), Shape: []int{2, 2}, Stride: []int{1}}, source.ErrCorrupt, "strides [1]"},
		"33 axes":                {checkpoints.View{Of: s(4, 16), Shape: slices.Repeat([]int{1}, 33), Stride: slices.Repeat([]int{1}, 33)}, source.ErrCorrupt, "at most 32"},
		"a storage of no class":  {checkpoints.View{Of: &checkpoints.Storage{Class: "QInt8Storage", Elements: 1, Bytes: []byte{1}}}, source.ErrUnsupported, `"torch.QInt8Storage"`},
		"a storage too small":    {checkpoints.View{Of: s(4, 12), Shape: []int{4}, Stride: []int{1}}, nil, ""},
		"a storage too large":    {checkpoints.View{Of: s(4, 20), Shape: []int{4}, Stride: []int{1}}, source.ErrCorrupt, ""},
		"a long name":            {checkpoints.View{Name: strings.Repeat("n", maxName+1), Of: s(4, 16), Shape: []int{4}, Stride: []int{1}}, source.ErrCorrupt, "too long"},
	} {
		for format, save := range formats {
			path := write(t, save(checkpoints.Saved{Views: []checkpoints.View{x.view}}))
			c, err := Open(path)
			want := x.want
			if want == nil { // what each format makes of it
				want = map[string]error{"zip": source.ErrCorrupt, "legacy": source.ErrTruncated}[format]
			}
			if c != nil || !errors.Is(err, want) || !strings.Contains(err.Error(), x.says) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("%s: %s: %v, expected %v with %q", format, name, err, want, x.says)
			}
		}
	}
	twice := checkpoints.View{Name: "w", Of: s(1, 4)}
	for format, save := range formats {
		if _, err := Open(write(t, save(checkpoints.Saved{Views: []checkpoints.View{twice, twice}}))); !errors.Is(err, source.ErrCorrupt) || !strings.Contains(err.Error(), "there twice") {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// Tensors of newer types are of a storage without one.
func TestTypesOfTheirOwn(t *testing.T) {
	t.Parallel()
	v3 := func(dtype string) string {
		return "\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v3\n((X\x07\x00\x00\x00storagectorch.storage\nUntypedStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x01K\x02\x85K\x01\x85\x89)ctorch\n" +
			dtype + "\ntRu."
	}
	run := func(text string) (*source.Catalogue, error) {
		m := &machine{text: []byte(text), path: "f"}
		v, err := m.run()
		if err != nil {
			return nil, err
		}
		r := reader{path: "f"}
		return r.catalogue(v, func(*storage) (int64, error) { return 100, nil })
	}
	for dtype, other := range map[string]string{"float8_e4m3fn": "", "float8_e5m2": "", "uint16": "over"} {
		c, err := run(v3(dtype))
		switch {
		case other != "": // two elements of two bytes from the second on: one too many
			if !errors.Is(err, source.ErrCorrupt) || !strings.Contains(err.Error(), "goes past its storage of 2") {
				t.Errorf("%s: %v", dtype, err)
			}
		case err != nil || len(c.Tensors) != 1 || c.Tensors[0].Type != element.F16 || c.Tensors[0].Data.Size != 4 || c.Tensors[0].Data.Offset != 101:
			t.Errorf("%s: %+v, %v", dtype, c, err)
		}
	}
	for _, dtype := range []string{"FloatStorage", "float4"} {
		if _, err := run(v3(dtype)); err == nil {
			t.Errorf("%s: no error", dtype)
		}
	}
	parameter := "\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_parameter\n(" +
		"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89)tR\x88)tRu."
	if c, err := run(parameter); err != nil || fmt.Sprint(c.Tensors[0].Shape) != "[4]" {
		t.Errorf("%+v, %v", c, err)
	}
}
