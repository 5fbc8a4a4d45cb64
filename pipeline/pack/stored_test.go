package pack

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// stored is a parameter and how a file stores it.
type stored struct {
	name   string // "": w
	axes   string
	shape  []int
	perm   []int // axis i of the parameter is axis perm[i] of the tensor; nil: as it is
	format element.Format
	values []float64 // in PyTorch's order, exact in format
}

// elements is the number of the parameter's elements.
func (s *stored) elements() int {
	n := 1
	for _, size := range s.shape {
		n *= size
	}
	return n
}

// order makes perm, where it is nil, that of a tensor stored as it is.
func (s *stored) order() {
	if s.perm == nil {
		for i := range s.shape {
			s.perm = append(s.perm, i)
		}
	}
}

// random fills s with finite values of all magnitudes that its type has.
func (s *stored) random(seed uint64) *stored {
	s.order()
	r := rand.New(rand.NewPCG(seed, 1))
	for range s.elements() {
		var x float64
		switch s.format {
		case element.F64:
			x = math.Ldexp(r.Float64()*2-1, r.IntN(260)-250) // below what float32 has, never beyond what f16 has
		case element.F16:
			x = math.Ldexp(float64(r.IntN(4095)-2047), r.IntN(28)-24)
		case element.BF16:
			x = math.Ldexp(float64(r.IntN(511)-255), r.IntN(130)-125)
		default:
			x = float64(math.Float32frombits(r.Uint32() &^ (1 << 30))) // below 2
		}
		s.values = append(s.values, x)
	}
	return s
}

// at is the value with an index in PyTorch's order.
func (s *stored) at(index []int) float64 { return s.values[flat(index, s.shape)] }

// raw are the bytes of the tensor.
func (s *stored) raw(shape []uint64) []byte {
	size := s.format.Size()
	raw := make([]byte, len(s.values)*size)
	for i, x := range s.values {
		index := unflat(i, s.shape)
		at := 0
		for axis := range shape {
			at = at*int(shape[axis]) + index[slices.Index(s.perm, axis)]
		}
		bits := math.Float64bits(x)
		if s.format != element.F64 {
			bits, _ = rounded(x, s.format)
		}
		appendBits(raw[:at*size], bits, size)
	}
	return raw
}

// store makes a file that holds parameters, and the model of them.
func store(t testing.TB, list ...*stored) (*source.Catalogue, *model.Model) {
	t.Helper()
	c, m := &source.Catalogue{Kind: "test", Path: filepath.Join(pyreader.TempDir(t), "weights")}, &model.Model{Family: "test"}
	var file []byte
	for _, s := range list {
		s.order()
		p := model.Parameter{Name: s.name, Axes: s.axes, Perm: s.perm}
		if p.Name == "" {
			p.Name = "w"
		}
		p.Tensor = source.Tensor{Name: "tensor " + p.Name, Type: s.format, Shape: make([]uint64, len(s.shape))}
		for i, axis := range s.perm {
			p.Shape = append(p.Shape, uint64(s.shape[i]))
			p.Tensor.Shape[axis] = uint64(s.shape[i])
		}
		raw := s.raw(p.Tensor.Shape)
		p.Tensor.Data = source.Data{Offset: int64(len(file)), Size: int64(len(raw))}
		file = append(file, raw...)
		c.Tensors, m.Parameters = append(c.Tensors, p.Tensor), append(m.Parameters, p)
	}
	if err := os.WriteFile(c.Path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := source.OpenFile(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	c.Files = []*source.File{f}
	t.Cleanup(func() { c.Close() })
	return c, m
}

// flat is the row-major position of i in a box.
func flat(i, box []int) int {
	at := 0
	for a, v := range i {
		at = at*box[a] + v
	}
	return at
}

// unflat is the index in a box of a row-major position.
func unflat(at int, box []int) []int {
	index := make([]int, len(box))
	for a := len(box) - 1; a >= 0; a-- {
		index[a] = at % box[a]
		at /= box[a]
	}
	return index
}
