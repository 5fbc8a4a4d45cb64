package boxes

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

func TestMain(m *testing.M) { os.Exit(pyreader.Compared(m, artifact.Open).Run()) }

// stored makes a parameter of this shape whose element at index i, row-major, is i, in a file whose tensor has its axes where perm says.
func stored(t *testing.T, shape []uint64, perm []int) (*source.Catalogue, *model.Parameter) {
	t.Helper()
	p := &model.Parameter{Name: "w", Shape: shape, Perm: perm}
	p.Tensor = source.Tensor{Name: "t", Type: element.F32, Shape: make([]uint64, len(shape))}
	n := uint64(1)
	for axis, at := range perm {
		p.Tensor.Shape[at] = shape[axis]
		n *= shape[axis]
	}
	const before = 12 // bytes of something else
	data := make([]byte, before+4*n)
	index := make([]uint64, len(shape))
	for i := range n {
		for axis, rest := len(shape)-1, i; axis >= 0; axis-- {
			index[axis] = rest % shape[axis]
			rest /= shape[axis]
		}
		at, in := uint64(0), make([]uint64, len(shape))
		for axis, place := range perm {
			in[place] = index[axis]
		}
		for place, x := range in {
			at = at*p.Tensor.Shape[place] + x
		}
		binary.LittleEndian.PutUint32(data[before+4*at:], uint32(i))
	}
	path := filepath.Join(pyreader.TempDir(t), "data")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := source.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &source.Catalogue{Path: path, Files: []*source.File{f}}
	t.Cleanup(func() { c.Close() })
	p.Tensor.Data = source.Data{Offset: before, Size: int64(4 * n)}
	return c, p
}

// However a tensor lies, it is written the same, in pieces or at once.
func TestWrite(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		shape []uint64
		perm  []int
	}{
		{[]uint64{}, []int{}},
		{[]uint64{7}, []int{0}},
		{[]uint64{5, 33}, []int{0, 1}},
		{[]uint64{5, 33}, []int{1, 0}},
		{[]uint64{1, 33}, []int{1, 0}},
		{[]uint64{3, 4, 5}, []int{2, 0, 1}},
		{[]uint64{3, 4, 5}, []int{1, 2, 0}},
		{[]uint64{3, 1, 5}, []int{2, 1, 0}},
		{[]uint64{130, 110}, []int{1, 0}}, // pieces of some rows
		{[]uint64{130, 110}, []int{0, 1}},
		{[]uint64{2, 1100}, []int{1, 0}}, // a row is more than a piece
		{[]uint64{3, 2, 600}, []int{1, 0, 2}},
		{[]uint64{2, 3, 5, 401}, []int{3, 1, 2, 0}},
	} {
		c, p := stored(t, test.shape, test.perm)
		var got bytes.Buffer
		if err := write(&got, c, p, 1000); err != nil {
			t.Fatal(err)
		}
		n := uint64(1)
		for _, s := range test.shape {
			n *= s
		}
		if got.Len() != int(4*n) {
			t.Fatalf("%v by %v: %d bytes, expected %d", test.shape, test.perm, got.Len(), 4*n)
		}
		for i := range n {
			if x := binary.LittleEndian.Uint32(got.Bytes()[4*i:]); x != uint32(i) {
				t.Fatalf("%v by %v: element %d is %d", test.shape, test.perm, i, x)
			}
		}
	}
}

func TestReadBox(t *testing.T) {
	t.Parallel()
	c, p := stored(t, []uint64{4, 6}, []int{1, 0}) // [6,4] in the file
	raw := make([]byte, 4*2*3)
	if err := Read(c, p, Box{Begin: []uint64{1, 2}, Size: []uint64{2, 3}}, raw); err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint32{8, 14, 9, 15, 10, 16} { // (1,2), (2,2), (1,3)...
		if got := binary.LittleEndian.Uint32(raw[4*i:]); got != want {
			t.Errorf("element %d is %d, expected %d", i, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	_, good := stored(t, []uint64{4, 6}, []int{1, 0})
	if err := Check(good); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(*model.Parameter){
		"of no whole bytes":   func(p *model.Parameter) { p.Tensor.Type = element.I4 },
		"of another shape":    func(p *model.Parameter) { p.Shape = []uint64{6, 4} },
		"an axis that is not": func(p *model.Parameter) { p.Perm = []int{2, 0} },
		"fewer axes":          func(p *model.Parameter) { p.Perm = []int{0} },
	} {
		_, p := stored(t, []uint64{4, 6}, []int{1, 0})
		edit(p)
		if Check(p) == nil || Write(new(bytes.Buffer), nil, p) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
