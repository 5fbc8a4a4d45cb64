package main

import (
	"bytes"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// How a name was found is told where that is not in the usual ways.
func TestSourceTellsHowNamesAreFound(t *testing.T) {
	t.Parallel()
	tensor := source.Tensor{Name: "qkv", Type: element.F32, Shape: []uint64{4}}
	c := &source.Catalogue{Path: "m.onnx", Kind: "onnx", Files: []*source.File{{Path: "m.onnx"}}}
	m := &model.Model{Family: "f", Notes: []string{"the biases are 0"}, Parameters: []model.Parameter{
		{Name: "usual", Axes: "N", Shape: []uint64{4}, Tensor: tensor, Origin: "usual in Add node", Ways: []model.Way{model.ByPath, model.ByStructure}},
		{Name: "part", Axes: "N", Shape: []uint64{4}, Tensor: tensor, Origin: "qkv, N 4:8 of 12 in Attention node", Part: "N 4:8 of 12", Ways: []model.Way{model.ByStructure}},
		{Name: "tied", Axes: "N", Shape: []uint64{4}, Tensor: tensor, Origin: "other in Add node", Ways: []model.Way{model.ByPath, model.ByStructure}, Note: "its tensor is called other, and has 2 uses"},
	}}
	l := listSource(c, m)
	checkSource(t, l, m, `m.onnx: onnx, 0 tensors
model     f
note      the biases are 0

parameter  shape  type  tensor and node
usual      N=4    f32   usual in Add node
part       N=4    f32   qkv, N 4:8 of 12 in Attention node (named by structure alone)
tied       N=4    f32   other in Add node (its tensor is called other, and has 2 uses)
`, `"part": "N 4:8 of 12"`, `"named_by": [`, `"structure"`, `"note": "its tensor is called other, and has 2 uses"`, `"the biases are 0"`)
}

// Values that are computed are told from those that the file holds, and codes that can be kept from others.
func TestSourceTellsWhatIsStored(t *testing.T) {
	t.Parallel()
	tensor := func(stored string, c *source.Codes) source.Tensor {
		return source.Tensor{Name: "w", Type: element.F32, Shape: []uint64{4}, Stored: stored, Codes: c}
	}
	u4 := &source.Codes{Scheme: element.Scheme{Codes: element.U4, Scales: element.F16, Zeros: element.U4}}
	c := &source.Catalogue{Path: "m.onnx", Kind: "onnx", Files: []*source.File{{Path: "m.onnx"}}}
	m := &model.Model{Family: "f", Parameters: []model.Parameter{
		{Name: "plain", Axes: "N", Shape: []uint64{4}, Tensor: tensor("", nil), Origin: "w"},
		{Name: "kept", Axes: "N", Shape: []uint64{4}, Tensor: tensor("4-bit codes", u4), Origin: "w"},
		{Name: "other", Axes: "N", Shape: []uint64{4}, Tensor: tensor("FP4 codes", nil), Origin: "w"},
	}}
	checkSource(t, listSource(c, m), m, `m.onnx: onnx, 0 tensors
model     f

parameter  shape  type                tensor and node
plain      N=4    f32                 w
kept       N=4    f32 of u4*f16-zero  w
other      N=4    f32 of FP4 codes    w
`, `"stored": "4-bit codes",`, `"codes": "u4*f16-zero",`, `"stored": "FP4 codes",`)
}

// checkSource compares what is printed, and looks for parts of the JSON.
func checkSource(t *testing.T, l sourceListing, m *model.Model, want string, parts ...string) {
	t.Helper()
	var out bytes.Buffer
	if err := printSource(&out, l, m); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("%s\nexpected\n%s", out.String(), want)
	}
	out.Reset()
	if err := printJSON(&out, l); err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in %s", part, out.String())
		}
	}
}

// Tensors that hold no floats are told, too.
func TestSourceTellsOtherTypes(t *testing.T) {
	t.Parallel()
	c := &source.Catalogue{
		Path: "m", Kind: "safetensors", Files: []*source.File{{Path: "m"}}, Others: map[string]string{"step": "I64", "mask": "BOOL"},
		Tensors: []source.Tensor{{Name: "w", Type: element.F32, Shape: []uint64{4}, Data: source.Data{Offset: 64, Size: 16}}},
	}
	var out bytes.Buffer
	if err := printSource(&out, listSource(c)); err != nil {
		t.Fatal(err)
	}
	const want = `m: safetensors, 1 tensors
holds no parameters of a model

tensor  type  shape  bytes  place
w       f32   [4]    16     at 64 of m
mask    BOOL                no floats
step    I64                 no floats
`
	if out.String() != want {
		t.Errorf("%s\nexpected\n%s", out.String(), want)
	}
}
