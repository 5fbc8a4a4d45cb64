package artifact

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/schema/pyreader"
)

// sample is an artifact whose every byte is known without the code under test: values come from valueOf, and each operand
// has a formula for what it holds and one for where, written out by hand.
type sample struct {
	index    *Index
	page     uint64
	operands []sampleOperand
	streams  map[int][]byte // what segments of instructions hold
}

type sampleOperand struct {
	name       string
	format     element.Format
	axes       []layout.Axis
	digits     []layout.Digit
	pad        float64
	placements []Placement
	fills      []Fill
	logical    func(i []uint64) float64 // the element at an index inside the extents
	position   func(i []uint64) uint64  // of a padded index, in elements

	// Of operands whose elements are not each a value by itself: how many bytes, and planes or all that they hold.
	size   uint64
	planes []samplePlane
	raw    func() []byte
}

// valueOf is element number n of a parameter: an integer that every element format holds exactly.
func valueOf(parameter int, n uint64) float64 {
	return float64(int((n*37+uint64(parameter)*101)%251) - 125)
}

// from makes the box of a placement: begin, size, step, axis for each axis of the parameter.
func from(v ...uint64) []PlacedAxis {
	var box []PlacedAxis
	for ; len(v) > 0; v = v[4:] {
		box = append(box, PlacedAxis{v[0], v[1], v[2], int(v[3])})
	}
	return box
}

func axes(v ...any) []layout.Axis {
	var list []layout.Axis
	for ; len(v) > 0; v = v[3:] {
		list = append(list, layout.Axis{Name: v[0].(string)[0], Extent: uint64(v[1].(int)), Padded: uint64(v[2].(int))})
	}
	return list
}

func digits(v ...uint64) []layout.Digit {
	var list []layout.Digit
	for ; len(v) > 0; v = v[3:] {
		list = append(list, layout.Digit{Axis: int(v[0]), Size: v[1], Stride: v[2]})
	}
	return list
}

func placed(parameter int, scale float64, from []PlacedAxis, to ...uint64) Placement {
	return Placement{Parameter: parameter, Scale: scale, From: from, To: to}
}

// Positions of the sample's parameters.
const (
	linearWeight = iota
	linearBias
	convWeight
	convOuter
	splitWeight
	qWeight
	kWeight
	vWeight
	qBias
	vBias
	tied
	thirds
	epsilon
)

func sampleParameters() []Parameter {
	return append([]Parameter{
		{"linear.weight", "NK", []uint64{40, 70}},
		{"linear.bias", "N", []uint64{40}},
		{"conv.weight", "NCX", []uint64{7, 5, 3}},
		{"conv.outer", "NCX", []uint64{7, 5, 3}},
		{"split.weight", "NK", []uint64{12, 6}},
		{"q.weight", "NK", []uint64{4, 8}},
		{"k.weight", "NK", []uint64{4, 8}},
		{"v.weight", "NK", []uint64{4, 8}},
		{"q.bias", "N", []uint64{4}},
		{"v.bias", "N", []uint64{4}},
		{"tied", "N", []uint64{3}},
		{"thirds", "N", []uint64{5}},
		{"epsilon", "", nil},
	}, planeParameters()...)
}

// byRow is the position in rows of the given width.
func byRow(width uint64) func(i []uint64) uint64 {
	return func(i []uint64) uint64 { return i[0]*width + i[1] }
}

func alone(i []uint64) uint64 { return i[0] }

// vector is a parameter as it is.
func vector(parameter int) func(i []uint64) float64 {
	return func(i []uint64) float64 { return valueOf(parameter, i[0]) }
}

// wholeOperands hold one parameter each.
func wholeOperands() []sampleOperand {
	return []sampleOperand{
		{ // N* K* K8 N8 K8 N4
			name: "linear", format: element.BF16, axes: axes("K", 70, 128, "N", 40, 64),
			digits:     digits(1, 2, 32, 0, 2, 64, 0, 8, 8, 1, 8, 4, 0, 8, 1, 1, 4, 1),
			placements: []Placement{placed(linearWeight, 1, from(0, 40, 1, 1, 0, 70, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return valueOf(linearWeight, i[1]*70+i[0]) },
			position: func(i []uint64) uint64 {
				k, n := i[0], i[1]
				return n/32*4096 + k/64*2048 + k/8%8*256 + n/4%8*32 + k%8*4 + n%4
			},
		},
		{
			name: "bias", format: element.F32, axes: axes("N", 40, 64), digits: digits(0, 64, 1), pad: 1,
			placements: []Placement{placed(linearBias, 1, from(0, 40, 1, 0), 0)},
			logical:    vector(linearBias), position: alone,
		},
		{ // K = C*X, C outermost
			name: "conv", format: element.F16, axes: axes("K", 15, 16, "N", 7, 8), digits: digits(0, 16, 1, 1, 8, 1), pad: -2,
			placements: []Placement{placed(convWeight, 1, from(0, 7, 1, 1, 0, 5, 3, 0, 0, 3, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return valueOf(convWeight, i[1]*15+i[0]/3*3+i[0]%3) },
			position:   byRow(8),
		},
		{ // K = C*X, X outermost
			name: "conv.outer", format: element.F32, axes: axes("K", 15, 15, "N", 7, 7), digits: digits(0, 15, 1, 1, 7, 1),
			placements: []Placement{placed(convOuter, 1, from(0, 7, 1, 1, 0, 5, 1, 0, 0, 3, 5, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return valueOf(convOuter, i[1]*15+i[0]%5*3+i[0]/5) },
			position:   byRow(7),
		},
	}
}

// partOperands hold parts of parameters.
func partOperands() []sampleOperand {
	return []sampleOperand{
		{
			name: "split.0", format: element.BF16, axes: axes("K", 6, 6, "N", 7, 8), digits: digits(1, 8, 1, 0, 6, 1),
			placements: []Placement{placed(splitWeight, 1, from(0, 7, 1, 1, 0, 6, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return valueOf(splitWeight, i[1]*6+i[0]) },
			position:   func(i []uint64) uint64 { return i[1]*6 + i[0] },
		},
		{
			name: "split.1", format: element.F16, axes: axes("K", 6, 8, "N", 5, 5), digits: digits(0, 8, 1, 1, 5, 1),
			placements: []Placement{placed(splitWeight, 1, from(7, 5, 1, 1, 0, 6, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return valueOf(splitWeight, (i[1]+7)*6+i[0]) },
			position:   byRow(5),
		},
		{ // q, k, v side by side, their biases as row 8; k has none
			name: "qkv", format: element.BF16, axes: axes("K", 9, 16, "N", 12, 16), digits: digits(1, 4, 4, 0, 16, 1, 1, 4, 1), pad: 0.5,
			placements: []Placement{
				placed(qWeight, 0.125, from(0, 4, 1, 1, 0, 8, 1, 0), 0, 0), placed(qBias, 0.125, from(0, 4, 1, 1), 8, 0),
				placed(kWeight, 1, from(0, 4, 1, 1, 0, 8, 1, 0), 0, 4),
				placed(vWeight, 1, from(0, 4, 1, 1, 0, 8, 1, 0), 0, 8), placed(vBias, 1, from(0, 4, 1, 1), 8, 8),
			},
			fills: []Fill{{Begin: []uint64{8, 4}, Size: []uint64{1, 4}, Value: 0.25}},
			logical: func(i []uint64) float64 {
				k, n := i[0], i[1]%4
				switch part := i[1] / 4; {
				case k == 8 && part == 1:
					return 0.25
				case k == 8 && part == 0:
					return valueOf(qBias, n) * 0.125
				case k == 8:
					return valueOf(vBias, n)
				case part == 0:
					return valueOf(qWeight, n*8+k) * 0.125
				default:
					return valueOf(qWeight+int(part), n*8+k)
				}
			},
			position: func(i []uint64) uint64 { return i[1]/4*64 + i[0]*4 + i[1]%4 },
		},
	}
}

// oddOperands hold vectors in ways that are allowed and of no use.
func oddOperands() []sampleOperand {
	return []sampleOperand{
		{
			name: "tied.0", format: element.BF16, axes: axes("N", 3, 4), digits: digits(0, 4, 1),
			placements: []Placement{placed(tied, 1, from(0, 3, 1, 0), 0)}, logical: vector(tied), position: alone,
		},
		{ // the same once more, in three axes and marked strides: M1 N2@2 L3 N2@1
			name: "tied.1", format: element.F32, axes: axes("L", 3, 3, "M", 1, 1, "N", 3, 4), digits: digits(1, 1, 9, 2, 2, 1, 0, 3, 1, 2, 2, 2),
			placements: []Placement{placed(tied, 1, from(0, 3, 1, 2), 0, 0, 0), placed(tied, 2, from(0, 3, 1, 2), 1, 0, 0)},
			fills:      []Fill{{Begin: []uint64{2, 0, 0}, Size: []uint64{1, 1, 3}, Value: -7}},
			logical: func(i []uint64) float64 {
				if i[0] == 2 {
					return -7
				}
				return valueOf(tied, i[2]) * float64(i[0]+1)
			},
			position: func(i []uint64) uint64 { return i[2]%2*6 + i[0]*2 + i[2]/2 },
		},
		{ // scaled by 3, one element in two
			name: "thirds", format: element.F32, axes: axes("N", 10, 10), digits: digits(0, 10, 1),
			placements: []Placement{placed(thirds, 3, from(0, 5, 2, 0), 1)},
			fills: []Fill{
				{Begin: []uint64{0}, Size: []uint64{1}},
				{Begin: []uint64{2}, Size: []uint64{1}},
				{Begin: []uint64{4}, Size: []uint64{1}},
				{Begin: []uint64{6}, Size: []uint64{1}},
				{Begin: []uint64{8}, Size: []uint64{1}},
			},
			logical: func(i []uint64) float64 {
				if i[0]%2 == 0 {
					return 0
				}
				return 3 * valueOf(thirds, i[0]/2)
			},
			position: alone,
		},
		{
			name: "epsilon", format: element.F32, axes: axes("N", 1, 2), digits: digits(0, 2, 1),
			placements: []Placement{placed(epsilon, 1, nil, 0)},
			logical:    func([]uint64) float64 { return valueOf(epsilon, 0) }, position: alone,
		},
	}
}

// newSample is an artifact with something of everything.
func newSample(page uint64) *sample {
	s := &sample{page: page, streams: map[int][]byte{}, index: &Index{
		Producer: Producer{"npuw test", 7, "sample"},
		Model: Model{"sample-model", []Attribute{
			{Name: "layers", Integer: -3}, {Name: "eps", Kind: Real, Real: 1e-5}, {Name: "note", Kind: Text, Text: "Größe 1 µm"}, {Name: "zero"},
		}},
		Parameters: sampleParameters(),
		Xclbins:    []Xclbin{{"a.xclbin", [16]byte{1, 2, 3, 15: 9}, 12345, Digest{6, 7}}},
	}}
	s.segment("layer.0", 3, wholeOperands())
	s.segment("empty", NoGroup, nil)
	s.stream("code", []byte("\x01\x02instructions\xff"))
	s.segment("layer.1", NoGroup, append(partOperands(), oddOperands()...))
	linear := &s.index.Operands[0]
	s.index.Contracts = []Contract{
		{
			Name: "gemm", Operation: kernel.GEMM, Epilogue: kernel.GELUEpilogue, Kernel: "MLIR_AIE", Xclbin: 0, Instructions: 2,
			Shape: axes("M", 3, 4, "K", 70, 128, "N", 40, 64),
			Arguments: []Argument{
				{Name: "opcode", Kind: kernel.ScalarArgument, Role: kernel.Constant, MemoryGroup: NoGroup},
				{Name: "code", Index: 1, Role: kernel.Instructions, MemoryGroup: 1, Bytes: 300},
				kernel.Buffer("a", 3, kernel.Activation, element.BF16, layout.Layout{Axes: axes("M", 3, 4, "K", 70, 128), Digits: digits(0, 4, 1, 1, 128, 1)}),
				{Name: "b", Index: 4, Role: kernel.Weight, MemoryGroup: 3, Bytes: linear.Bytes, Format: element.BF16, Layout: linear.Layout},
				kernel.Buffer("c", 5, kernel.Output, element.F32, layout.Layout{Axes: axes("M", 3, 4, "N", 40, 64), Digits: digits(0, 4, 1, 1, 64, 1)}),
			},
		},
		{Name: "other", Operation: "LOCAL", Xclbin: None, Instructions: None},
	}
	s.index.Bindings = []Binding{{Operand: 0, Contract: 0, Argument: 3}}
	s.addPlanes()
	return s
}

// newSmallSample is as small as an artifact with a weight gets: a linear layer's, [3,5], in bf16 tiles.
func newSmallSample() *sample {
	s := &sample{page: 4096, index: &Index{
		Producer:   Producer{"npuw", 1, "example"},
		Model:      Model{Family: "example"},
		Parameters: []Parameter{{"fc.weight", "NK", []uint64{3, 5}}},
	}}
	s.segment("weights", NoGroup, []sampleOperand{{
		name: "fc.weight", format: element.BF16, axes: axes("K", 5, 8, "N", 3, 4), digits: digits(0, 2, 4, 1, 2, 2, 0, 4, 1, 1, 2, 1),
		placements: []Placement{placed(0, 1, from(0, 3, 1, 1, 0, 5, 1, 0), 0, 0)},
		logical:    func(i []uint64) float64 { return float64(10*i[1] + i[0] + 1) },
		position:   func(i []uint64) uint64 { return i[0]/4*16 + i[1]/2*8 + i[0]%4*2 + i[1]%2 },
	}})
	s.index.Operands[0].Statistics = element.Stats{Elements: 15, MaxAbsValue: 25, SumXX: 3565}
	return s
}

// segment adds a segment of operands, at the 256-byte boundaries that come next.
func (s *sample) segment(name string, group int32, operands []sampleOperand) {
	number, end := len(s.index.Segments), uint64(0)
	for _, o := range operands {
		at := (end + 255) / 256 * 256
		elements, logical := uint64(1), uint64(1)
		for _, a := range o.axes {
			elements, logical = elements*a.Padded, logical*a.Extent
		}
		x := Operand{
			Name: o.name, Segment: number, Offset: at, Bytes: o.size, Format: o.format, Layout: layout.Layout{Axes: o.axes, Digits: o.digits},
			Placements: o.placements, Fills: o.fills,
			Statistics: element.Stats{Elements: logical, Inexact: 1, Underflowed: 2, NonFinite: 3, MaxAbsError: 0.5, MaxAbsValue: 4, SumXX: 5, SumXD: -0.25, SumDD: 0.125},
		}
		for i := range o.planes {
			x.Encoding, x.Planes = plane.Scaled, append(x.Planes, o.planes[i].indexed())
		}
		switch {
		case x.Planes != nil:
			x.Format, x.Layout, x.PadBits = x.Planes[0].Format, x.Planes[0].Layout, x.Planes[0].PadBits
		case o.raw == nil:
			x.PadBits, x.Bytes = bitsOf(o.pad, o.format), elements*uint64(o.format.Size())
		}
		s.index.Operands = append(s.index.Operands, x)
		end = at + x.Bytes
	}
	s.operands = append(s.operands, operands...)
	s.add(Segment{Name: name, MemoryGroup: group}, end)
}

func (s *sample) stream(name string, b []byte) {
	s.streams[len(s.index.Segments)] = b
	s.add(Segment{Name: name, Kind: Instructions, MemoryGroup: 1}, uint64(len(b)))
}

func (s *sample) add(g Segment, used uint64) {
	g.Offset = s.page
	if n := len(s.index.Segments); n > 0 {
		g.Offset = s.index.Segments[n-1].Offset + s.index.Segments[n-1].Bytes
	}
	g.Bytes = max(1, (used+s.page-1)/s.page) * s.page
	s.index.Segments = append(s.index.Segments, g)
}

// bitsOf encodes a value that the format holds exactly.
func bitsOf(v float64, f element.Format) uint64 {
	bits := math.Float32bits(float32(v))
	switch f {
	case element.F32:
		return uint64(bits)
	case element.BF16:
		return uint64(bits >> 16)
	}
	if bits&0x7fffffff == 0 {
		return uint64(bits >> 16)
	}
	return uint64(bits>>16&0x8000 | (bits>>23&0xff-112)<<10 | bits>>13&0x3ff)
}

// eachIndex calls do with every index of a box, the last axis first.
func eachIndex(size []uint64, do func(i []uint64)) {
	i := make([]uint64, len(size))
	for {
		do(i)
		a := len(i) - 1
		for ; a >= 0; a-- {
			if i[a]++; i[a] < size[a] {
				break
			}
			i[a] = 0
		}
		if a < 0 {
			return
		}
	}
}

// bytes is what an operand holds.
func (o *sampleOperand) bytes() []byte {
	switch {
	case o.raw != nil:
		return o.raw()
	case o.planes == nil:
		return o.plainBytes()
	}
	b := make([]byte, o.size)
	for i := range o.planes {
		o.planes[i].put(b)
	}
	return b
}

// data is what all segments hold.
func (s *sample) data() []byte {
	last := s.index.Segments[len(s.index.Segments)-1]
	b := make([]byte, last.Offset+last.Bytes-s.page)
	for i := range s.operands {
		o := &s.index.Operands[i]
		copy(b[s.index.Segments[o.Segment].Offset-s.page+o.Offset:], s.operands[i].bytes())
	}
	for i, stream := range s.streams {
		copy(b[s.index.Segments[i].Offset-s.page:], stream)
	}
	return b
}

// write makes the artifact with a Writer.
func (s *sample) write(t testing.TB, path string) {
	t.Helper()
	w, err := Create(path, s.index, s.page, false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for i := len(s.operands) - 1; i >= 0; i-- {
		o := &s.index.Operands[i]
		if _, err := w.WriteAt(s.operands[i].bytes(), int64(s.index.Segments[o.Segment].Offset+o.Offset)); err != nil {
			t.Fatal(err)
		}
	}
	for i, stream := range s.streams {
		if _, err := w.WriteAt(stream, int64(s.index.Segments[i].Offset)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Seal(0); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

// file writes the artifact into a folder of the test and opens it.
func (s *sample) file(t testing.TB) *File {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "sample.npuw")
	s.write(t, path)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
