package artifact

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// position is where an element of a layout with the digits given lies.
func position(digits []layout.Digit, index []uint64) uint64 {
	p := uint64(0)
	for _, d := range digits {
		p = p*d.Size + index[d.Axis]/d.Stride%d.Size
	}
	return p
}

// blocksFile is a file with one operand of i8 that holds a parameter, a scale of f32 for each block, all of random bytes; and what the
// operand holds at an index.
func blocksFile(t *testing.T, l layout.Layout, blocks []uint64, scales []layout.Digit, shape []uint64, p Placement) (*File, func(i []uint64) float64) {
	t.Helper()
	d := newSmallSample().damaged()
	o := &d.index.Operands[0]
	second := plane.Plane{Role: plane.Scales, Format: element.F32, Block: blocks, Layout: layout.Layout{Axes: plane.Grid(l.Axes, blocks), Digits: scales}}
	second.Offset, second.Bytes = (l.Elements()+63)&^63, 4*second.Layout.Elements()
	o.Encoding, o.Format, o.Layout, o.PadBits = plane.Scaled, element.I8, l, 0
	o.Planes = []plane.Plane{{Format: element.I8, Bytes: l.Elements(), Layout: l}, second}
	o.Bytes, o.Placements, o.Statistics = second.Offset+second.Bytes, []Placement{p}, element.Stats{Elements: o.Elements()}
	d.index.Parameters[0] = Parameter{"p", "ABCDEFGH"[:len(shape)], shape}
	d.data = make([]byte, (o.Bytes+4095)&^4095)
	d.index.Segments[0].Bytes, d.index.Segments[0].Digest = uint64(len(d.data)), Digest{}
	r := rand.New(rand.NewPCG(1, 5))
	for i := range l.Elements() {
		d.data[i] = byte(r.Uint32())
	}
	for i := second.Offset; i < o.Bytes; i += 4 {
		binary.LittleEndian.PutUint32(d.data[i:], math.Float32bits(r.Float32()+0.1))
	}
	data := d.data
	f, err := openBytes(d.bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f, func(i []uint64) float64 {
		place := slices.Clone(i)
		for a, b := range blocks {
			place[a] /= b
		}
		scale := math.Float32frombits(binary.LittleEndian.Uint32(data[second.Offset+4*position(scales, place):]))
		return float64(int8(data[position(l.Digits, i)])) * float64(scale)
	}
}

// TestLargeBlocks takes values that are gathered in several bands and windows, from operands whose scales lie in an order of their own.
func TestLargeBlocks(t *testing.T) {
	t.Parallel()
	tiled := digits(1, 8, 32, 0, 2, 64, 0, 8, 8, 1, 8, 4, 0, 8, 1, 1, 4, 1)
	for _, r := range []struct {
		name   string
		axes   []layout.Axis
		digits []layout.Digit
		blocks []uint64
		scales []layout.Digit
		shape  []uint64
		from   []PlacedAxis
		to     []uint64
	}{
		{"tiles, transposed", axes("K", 100, 128, "N", 250, 256), tiled, []uint64{32, 1}, digits(1, 256, 1, 0, 4, 1), []uint64{250, 100}, from(0, 250, 1, 1, 0, 100, 1, 0), []uint64{0, 0}},
		{"blocks of both axes", axes("K", 100, 128, "N", 250, 256), tiled, []uint64{5, 7}, digits(0, 2, 13, 1, 37, 1, 0, 13, 1), []uint64{100, 250}, from(0, 100, 1, 0, 0, 250, 1, 1), []uint64{0, 0}},
		{"one scale", axes("K", 100, 128, "N", 250, 256), tiled, []uint64{128, 256}, nil, []uint64{100, 250}, from(0, 100, 1, 0, 0, 250, 1, 1), []uint64{0, 0}},
		{"a row longer than a band", axes("K", 2, 2, "N", 15000, 15000), digits(0, 2, 1, 1, 15000, 1), []uint64{1, 4}, digits(1, 3750, 1, 0, 2, 1), []uint64{2, 15000}, from(0, 2, 1, 0, 0, 15000, 1, 1), []uint64{0, 0}},
		{"X outermost, in steps", axes("K", 3*400, 3*400, "N", 20, 20), digits(0, 3*400, 1, 1, 20, 1), []uint64{16, 1}, digits(1, 20, 1, 0, 75, 1), []uint64{20, 400, 3}, from(0, 20, 1, 1, 0, 400, 1, 0, 0, 3, 400, 0), []uint64{0, 0}},
		{"a part", axes("K", 1000, 1000, "N", 60, 60), digits(0, 1000, 1, 1, 60, 1), []uint64{1, 60}, digits(0, 100, 1, 0, 10, 100), []uint64{50, 3, 7}, from(0, 50, 19, 0, 0, 3, 7, 0, 0, 7, 8, 1), []uint64{33, 5}},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			l := layout.Layout{Axes: r.axes, Digits: r.digits}
			f, at := blocksFile(t, l, r.blocks, r.scales, r.shape, placed(0, 0.75, r.from, r.to...))
			v, err := f.ParameterValues("p")
			if err != nil {
				t.Fatal(err)
			}
			var want []float32
			q := make([]uint64, len(r.axes))
			eachIndex(r.shape, func(i []uint64) {
				copy(q, r.to)
				for j, p := range r.from {
					q[p.Axis] += i[j] * p.Step
				}
				want = append(want, float32(at(q)/0.75))
			})
			for _, limits := range []limits{usualLimits, {band: 7000, window: 9000}, {band: 300, window: 600}} {
				v.limits = limits
				if got := float32s(t, v); !slices.Equal(got, want) {
					t.Errorf("%+v: other values", limits)
				}
			}
		})
	}
}
