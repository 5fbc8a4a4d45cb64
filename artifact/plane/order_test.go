package plane

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// resolve fits a notation to axes with the sizes given.
func resolve(t *testing.T, notation string, axes ...layout.Axis) layout.Layout {
	t.Helper()
	spec, err := layout.Parse(notation)
	if err != nil {
		t.Fatal(err)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// w4 is a weight [K=64, N=4] of codes in u4 with a zero point and a scale for 32 neighbours along K, in the order of AMD's W4: codes, zeros,
// scales, each record filled to 128 bytes. Planes stand in the order of their roles all the same.
func w4(t *testing.T) Storage {
	t.Helper()
	axes := []layout.Axis{{Name: 'K', Extent: 64, Padded: 64}, {Name: 'N', Extent: 4, Padded: 4}}
	block := []uint64{32, 1}
	groups := resolve(t, "K* N*", Grid(axes, block)...)
	return Storage{Encoding: Scaled, Axes: axes, Bytes: 256, Planes: []Plane{
		{Role: Values, Format: element.U4, Bytes: 128 + 64, RecordElements: 128, RecordBytes: 128, Layout: resolve(t, "K* K32 N4", axes...)},
		{Role: Scales, Format: element.BF16, Offset: 66, Bytes: 128 + 8, RecordElements: 4, RecordBytes: 128, Block: block, Layout: groups},
		{Role: Zeros, Format: element.U4, Offset: 64, Bytes: 128 + 2, RecordElements: 4, RecordBytes: 128, Block: block, Layout: groups},
	}}
}

// TestAnyOrder: planes may lie in another order than that of their roles, in records and contiguous, so long as they are apart.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	contiguous := func(t *testing.T) Storage {
		s := w4(t)
		for i, at := range []struct{ offset, bytes uint64 }{{64, 128}, {0, 16}, {192, 4}} {
			p := &s.Planes[i]
			p.Offset, p.Bytes, p.RecordElements, p.RecordBytes = at.offset, at.bytes, 0, 0
		}
		return s
	}
	for _, c := range []struct {
		name   string
		s      Storage
		change func(p []Plane)
		want   string
		gaps   [][4]uint64
	}{
		{"codes, zeros, scales", w4(t), nil, "", [][4]uint64{{74, 54, 128, 2}}},
		{"a gap between", w4(t), func(p []Plane) { p[1].Offset = 120 }, "", [][4]uint64{{66, 54, 128, 2}}},
		{"scales over zeros", w4(t), func(p []Plane) { p[1].Offset = 65 }, "scales: 136 bytes at 65 of records of 128, of which 66 are taken", nil},
		{"zeros over codes", w4(t), func(p []Plane) { p[2].Offset = 63 }, "zeros: 130 bytes at 63", nil},
		{"beyond the record", w4(t), func(p []Plane) { p[1].Offset = 121 }, "scales: 136 bytes at 121", nil},
		{"scales, codes, zeros", contiguous(t), nil, "", [][4]uint64{{16, 48, 0, 1}, {196, 60, 0, 1}}},
		{"codes over scales", contiguous(t), func(p []Plane) { p[0].Offset = 8 }, "values: 128 bytes at 8 of 256, where planes before end at 16", nil},
		{"beyond the operand", contiguous(t), func(p []Plane) { p[2].Offset = 253 }, "zeros: 4 bytes at 253 of 256", nil},
	} {
		if c.change != nil {
			c.change(c.s.Planes)
		}
		err := c.s.Validate()
		if c.want != "" || err != nil {
			if c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			continue
		}
		var gaps [][4]uint64
		c.s.Gaps(func(at, n, apart, count uint64) bool {
			gaps = append(gaps, [4]uint64{at, n, apart, count})
			return true
		})
		if !slices.Equal(gaps, c.gaps) {
			t.Errorf("%s: gaps %v, want %v", c.name, gaps, c.gaps)
		}
	}
}

// TestReadW4 writes codes, zeros and scales where AMD's order has them and reads the values.
func TestReadW4(t *testing.T) {
	t.Parallel()
	s := w4(t)
	data := make([]byte, s.Bytes)
	want := make([]float64, 64*4)
	for k := range 64 {
		for n := range 4 {
			record := data[k/32*128:]
			code, zero, scale := byte(k*5+n)%16, byte(k/32*4+n), float32(n+1)*0.5
			record[(k%32*4+n)/2] |= code << (n % 2 * 4)
			record[64+n/2] &^= 0xf << (n % 2 * 4)
			record[64+n/2] |= zero << (n % 2 * 4)
			binary.LittleEndian.PutUint16(record[66+2*n:], uint16(math.Float32bits(scale)>>16))
			want[k*4+n] = (float64(code) - float64(zero)) * float64(scale)
		}
	}
	got := make([]float64, len(want))
	r := NewReader(&s, func(b []byte, off uint64) error {
		copy(b, data[off:])
		return nil
	})
	if err := r.Float64(got, []uint64{0, 0}, []uint64{64, 4}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}
