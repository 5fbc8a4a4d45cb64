package plane

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// model is a storage with random bytes in it, read by FORMAT.md's formulas alone, one element at a time.
type model struct {
	Storage
	bytes []byte
}

// bit is the first bit of the element at a grid place, by FORMAT.md's formula; halves of bytes are counted from the low bits.
func (p *Plane) bit(place []uint64) uint64 {
	at := uint64(0)
	for _, d := range p.Layout.Digits {
		at = at*d.Size + place[d.Axis]/d.Stride%d.Size
	}
	if p.Format == element.BFP16 {
		at /= 8
	}
	w := map[element.Format]uint64{
		element.F32: 32, element.F16: 16, element.BF16: 16, element.I8: 8, element.U8: 8, element.I4: 4, element.U4: 4, element.NF4: 4,
		element.BFP16: 72, element.E8M0: 8,
	}[p.Format]
	bit := 8*p.Offset + at*w
	if e := p.RecordElements; e != 0 {
		bit = 8*p.Offset + at/e*p.RecordBytes*8 + at%e*w
	}
	if p.HighFirst {
		bit ^= 4
	}
	return bit
}

// word is n bits at a bit.
func (m *model) word(bit uint64, n int) uint64 {
	v := uint64(0)
	for i := range n {
		at := bit + uint64(i)
		v |= uint64(m.bytes[at/8]>>(at%8)&1) << i
	}
	return v
}

var nf4Table = [16]float64{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// value decodes the element of a plane for an index of the operand.
func (m *model) value(p *Plane, index []uint64) float64 {
	place := slices.Clone(index)
	for a, b := range p.Block {
		place[a] /= b
	}
	bit := p.bit(place)
	switch p.Format {
	case element.F32:
		return float64(math.Float32frombits(uint32(m.word(bit, 32))))
	case element.BF16:
		return float64(math.Float32frombits(uint32(m.word(bit, 16) << 16)))
	case element.F16:
		w := m.word(bit, 16)
		sign, exponent, fraction := 1-2*float64(w>>15), int(w>>10&31), float64(w&1023)
		switch exponent {
		case 0:
			return sign * math.Ldexp(fraction, -24)
		case 31:
			return math.Inf(int(sign)) * (1 - 2*min(fraction, 0.5)) // infinite, or 0 times that
		}
		return sign * math.Ldexp(1024+fraction, exponent-25)
	case element.I8:
		return float64(int8(m.word(bit, 8)))
	case element.U8:
		return float64(m.word(bit, 8))
	case element.I4:
		return float64((int(m.word(bit, 4))+8)%16 - 8)
	case element.U4:
		return float64(m.word(bit, 4))
	case element.NF4:
		return nf4Table[m.word(bit, 4)]
	case element.E8M0:
		if e := int(m.word(bit, 8)); e < 255 {
			return math.Ldexp(1, e-127)
		}
		return math.NaN()
	}
	inner := 0 // which of an element's eight values
	for _, d := range p.Layout.Digits {
		if d.Size > 1 {
			inner = int(place[d.Axis] / d.Stride % d.Size % 8)
		}
	}
	return math.Ldexp(float64(int8(m.word(bit+8+8*uint64(inner), 8))), int(m.word(bit, 8))-133)
}

// at is the value for an index.
func (m *model) at(index []uint64) float64 {
	code := m.value(&m.Planes[0], index)
	if m.Encoding == Plain {
		return code
	}
	scale := m.value(&m.Planes[1], index)
	if len(m.Planes) == 2 {
		return code * scale
	}
	if third := m.value(&m.Planes[2], index); m.Planes[2].Role == Zeros {
		return (code - third) * scale
	} else {
		return float64(code*scale) + third
	}
}

func (m *model) read(b []byte, off uint64) error {
	if off > uint64(len(m.bytes)) || uint64(len(b)) > uint64(len(m.bytes))-off {
		return fmt.Errorf("%d bytes at %d of %d", len(b), off, len(m.bytes))
	}
	copy(b, m.bytes[off:])
	return nil
}

// TestPlaces compares Runs and Gaps with the formula of an element's place, bit by bit.
func TestPlaces(t *testing.T) {
	t.Parallel()
	forRandom(t, 3000, func(t *testing.T, r *rand.Rand, m *model) {
		taken := make([]int, 8*m.Bytes)
		for i := range m.Planes {
			p := &m.Planes[i]
			w, per := uint64(p.Format.Bits()), uint64(p.Format.Values())
			bits := make([]uint64, p.elements()) // where each element begins, in memory order
			eachIndex(paddedOf(p.Layout.Axes), func(place []uint64) {
				position := uint64(0)
				for _, d := range p.Layout.Digits {
					position = position*d.Size + place[d.Axis]/d.Stride%d.Size
				}
				bits[position/per] = p.bit(place)
			})
			last := uint64(0)
			for _, bit := range bits {
				for b := range w {
					taken[bit+b]++
				}
				last = max(last, bit/8+(w+7)/8)
			}
			if last != p.Offset+p.Bytes {
				t.Errorf("plane %d ends at byte %d, its elements at %d", i, p.Offset+p.Bytes, last)
			}
			first := r.Uint64N(p.elements())
			n := r.Uint64N(p.elements() - first + 1)
			checkRuns(t, p, bits, first, n)
		}
		m.Gaps(func(at, n, apart, count uint64) bool {
			for i := range count {
				for b := 8 * (at + i*apart); b < 8*(at+i*apart+n); b++ {
					taken[b]++
				}
			}
			return true
		})
		for bit, n := range taken {
			if n != 1 {
				t.Errorf("bit %d of byte %d is of %d elements and gaps", bit%8, bit/8, n)
				return
			}
		}
	})
}

func paddedOf(axes []layout.Axis) []uint64 {
	var list []uint64
	for _, a := range axes {
		list = append(list, a.Padded)
	}
	return list
}

// checkRuns checks the pieces that the n elements from first on lie in.
func checkRuns(t *testing.T, p *Plane, bits []uint64, first, n uint64) {
	t.Helper()
	next, stop := first, false
	p.Runs(first, n, func(at, number, count uint64) bool {
		if stop || number != next || count == 0 || number+count > first+n {
			t.Errorf("elements %d to %d come after %d of %d to %d", number, number+count, next, first, first+n)
			return false
		}
		for i := range count {
			bit, want := bits[number+i]&^7, 8*at
			if w := uint64(p.Format.Bits()); w == 4 {
				want += (number%2*4 + i*4) &^ 7
			} else {
				want += i * w
			}
			if bit != want {
				t.Errorf("element %d lies in byte %d, in a run at %d", number+i, bit/8, want/8)
				return false
			}
		}
		next = number + count
		stop = next%3 == 1 // stops early once in a while
		return !stop
	})
	if next != first+n && !stop {
		t.Errorf("runs end at %d, want %d", next, first+n)
	}
}

// TestReader compares boxes that a Reader decodes with the values that the formulas give.
func TestReader(t *testing.T) {
	t.Parallel()
	forRandom(t, 2000, func(t *testing.T, r *rand.Rand, m *model) {
		reader := NewReader(&m.Storage, m.read)
		for range 4 {
			begin, size := make([]uint64, len(m.Axes)), make([]uint64, len(m.Axes))
			for a, axis := range m.Axes {
				begin[a] = r.Uint64N(axis.Padded)
				size[a] = 1 + r.Uint64N(axis.Padded-begin[a])
				if r.IntN(3) == 0 {
					begin[a], size[a] = 0, axis.Padded
				}
			}
			if n, err := reader.Elements(begin, size); err != nil || n < volume(size) && m.Planes[0].Role == Values {
				t.Errorf("%d elements around a box of %d: %v", n, size, err)
			}
			got := make([]float64, volume(size))
			if err := reader.Float64(got, begin, size); err != nil {
				t.Error(err)
				return
			}
			n, index := 0, make([]uint64, len(begin))
			eachIndex(size, func(i []uint64) {
				for a := range i {
					index[a] = begin[a] + i[a]
				}
				want := m.at(index)
				if got[n] != want && !(math.IsNaN(got[n]) && math.IsNaN(want)) || math.Signbit(got[n]) != math.Signbit(want) && want == 0 {
					t.Errorf("%v of the box %d from %d is %v, want %v", index, size, begin, got[n], want)
				}
				n++
			})
		}
	})
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	s := contiguous()
	reader := NewReader(&s, func(b []byte, _ uint64) error { clear(b); return nil })
	for _, r := range []struct {
		n           int
		begin, size []uint64
	}{
		{6, []uint64{0, 0}, []uint64{2, 4}},
		{0, []uint64{0, 0}, []uint64{0, 4}},
		{8, []uint64{7, 0}, []uint64{2, 4}},
		{2, []uint64{0}, []uint64{2}},
		{8, []uint64{math.MaxUint64, 0}, []uint64{2, 4}},
		{0, nil, nil},
		{0, []uint64{0, 0}, []uint64{1 << 32, 1 << 32}},
	} {
		if err := reader.Float64(make([]float64, r.n), r.begin, r.size); err == nil {
			t.Errorf("%d values of %d from %d: no error", r.n, r.size, r.begin)
		}
	}
	if _, err := reader.Elements([]uint64{0, 4}, []uint64{1, 1}); err == nil {
		t.Error("elements of a box outside: no error")
	}
	for i := range s.Planes {
		reads := 0
		reader := NewReader(&s, func([]byte, uint64) error {
			if reads++; reads > i {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
		if err := reader.Float64(make([]float64, 32), []uint64{0, 0}, []uint64{8, 4}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read %d fails: %v", i, err)
		}
	}
}

// TestSpread reads from a storage whose scales lie far apart for codes that lie together.
func TestSpread(t *testing.T) {
	t.Parallel()
	axes := []layout.Axis{{Name: 'K', Extent: 1 << 26, Padded: 1 << 26}}
	s := Storage{Encoding: Scaled, Axes: axes, Bytes: 9 << 26, Planes: []Plane{
		on(axes, Plane{Format: element.I8, Bytes: 1 << 26}, digits(0, 1<<26, 1)),
		on(axes, Plane{Role: Scales, Format: element.F32, Offset: 1 << 26, Bytes: 4 << 26}, digits(0, 1<<25, 1, 0, 2, 1<<25)),
	}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	reader := NewReader(&s, func(b []byte, _ uint64) error { clear(b); return nil })
	begin, size := []uint64{1<<25 - 1}, []uint64{2}
	if n, err := reader.Elements(begin, size); n != 1<<26 || err != nil {
		t.Errorf("%d elements around a box of 2: %v", n, err)
	}
	if err := reader.Float64(make([]float64, 2), begin, size); err == nil {
		t.Error("2^26 scales are read for 2 values")
	}
	if err := reader.Float64(make([]float64, 1), begin, []uint64{1}); err != nil {
		t.Error(err)
	}
}
