package plane

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// split cuts an axis into random digits.
func split(r *rand.Rand, axis int, size uint64, innermost uint64) []layout.Digit {
	var list []layout.Digit
	stride := uint64(1)
	if innermost > 1 {
		list, stride = append(list, layout.Digit{Axis: axis, Size: innermost, Stride: 1}), innermost
	}
	for stride < size {
		step := 2 + r.Uint64N(4)
		for size/stride%step != 0 {
			if step++; step > size/stride {
				step = size / stride
			}
		}
		list = append(list, layout.Digit{Axis: axis, Size: step, Stride: stride})
		stride *= step
	}
	if r.IntN(4) == 0 {
		list = append(list, layout.Digit{Axis: axis, Size: 1, Stride: 1 + r.Uint64N(9)})
	}
	return list
}

// arrange gives a plane a random layout of its grid; in bfp16 eight neighbours lie innermost.
func arrange(r *rand.Rand, axes []layout.Axis, p *Plane) {
	p.Layout = layout.Layout{Axes: Grid(axes, p.Block)}
	whole := -1
	for a, axis := range p.Layout.Axes {
		if p.Format == element.BFP16 && axis.Padded%8 == 0 {
			whole = a
		}
	}
	var inner []layout.Digit
	for a, axis := range p.Layout.Axes {
		digits := split(r, a, axis.Padded, 1)
		if a == whole {
			run := uint64(8)
			if axis.Padded%16 == 0 && r.IntN(2) == 0 {
				run = 16
			}
			digits = split(r, a, axis.Padded, run)
			inner, digits = digits[:1], digits[1:]
		}
		p.Layout.Digits = append(p.Layout.Digits, digits...)
	}
	r.Shuffle(len(p.Layout.Digits), func(i, j int) {
		d := p.Layout.Digits
		d[i], d[j] = d[j], d[i]
	})
	p.Layout.Digits = append(p.Layout.Digits, inner...)
}

var (
	plainFormats = []element.Format{element.F32, element.F16, element.BF16}
	codeFormats  = []element.Format{element.I8, element.U8, element.I4, element.U4, element.NF4}
)

func choose[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// randomStorage is a sound storage of some thousand elements at most; nil when what was drawn is none.
func randomStorage(r *rand.Rand) *Storage {
	s := &Storage{Encoding: Encoding(r.IntN(2))}
	for a := range 1 + r.IntN(3) {
		padded := choose(r, []uint64{1, 2, 3, 4, 6, 8, 12, 16, 24})
		s.Axes = append(s.Axes, layout.Axis{Name: byte('A' + a), Extent: 1 + r.Uint64N(padded), Padded: padded})
	}
	if s.Encoding == Plain {
		p := Plane{Format: choose(r, append(plainFormats, element.BFP16))}
		arrange(r, s.Axes, &p)
		p.Bytes, _ = BytesOf(p.Format, p.elements())
		s.Bytes, s.Planes = p.Bytes, []Plane{p}
	} else {
		drawPlanes(r, s)
		if s.Planes == nil {
			return nil
		}
	}
	if s.Validate() != nil {
		return nil
	}
	return s
}

// drawPlanes draws planes of codes, in records or not; none when the numbers drawn do not go into each other.
func drawPlanes(r *rand.Rand, s *Storage) {
	scales := plainFormats
	codes := Plane{Format: choose(r, codeFormats)}
	planes := []Plane{codes}
	switch signed := codes.Format == element.I8 || codes.Format == element.I4 || codes.Format == element.NF4; {
	case codes.Format != element.NF4 && r.IntN(2) == 0:
		planes = append(planes, Plane{Role: Scales, Format: choose(r, scales)}, Plane{Role: Zeros, Format: codes.Format})
	case !signed:
		planes = append(planes, Plane{Role: Scales, Format: choose(r, scales)}, Plane{Role: Minimums, Format: choose(r, scales)})
	default:
		planes = append(planes, Plane{Role: Scales, Format: choose(r, append(scales, element.E8M0))})
	}
	for i := range planes {
		p := &planes[i]
		if i > 0 || r.IntN(3) == 0 {
			for _, axis := range s.Axes {
				b := uint64(1)
				if i > 0 {
					b = choose(r, []uint64{1, 2, 3, 4, axis.Padded, axis.Padded + 1})
				}
				p.Block = append(p.Block, b)
			}
		}
		arrange(r, s.Axes, p)
		p.HighFirst = p.Format.Size() == 0 && r.IntN(2) == 0
	}
	if r.IntN(2) == 0 {
		end := uint64(0)
		for _, i := range r.Perm(len(planes)) {
			p := &planes[i]
			p.Bytes, _ = BytesOf(p.Format, p.elements())
			p.Offset = end + gap(r)
			end = p.Offset + p.Bytes
		}
		s.Bytes, s.Planes = end+gap(r), planes
		return
	}
	drawRecords(r, s, planes)
}

// gap is a number of bytes that belong to no element, often 0.
func gap(r *rand.Rand) uint64 { return r.Uint64N(2) * r.Uint64N(4) }

// drawRecords interleaves planes.
func drawRecords(r *rand.Rand, s *Storage, planes []Plane) {
	var counts []uint64 // of records that all planes can have
	for n := uint64(1); n <= planes[0].elements(); n++ {
		if !slices.ContainsFunc(planes, func(p Plane) bool { return p.elements()%n != 0 || p.Format.Size() == 0 && p.elements()/n%2 != 0 }) {
			counts = append(counts, n)
		}
	}
	if counts == nil {
		return
	}
	n, end := choose(r, counts), uint64(0)
	for _, i := range r.Perm(len(planes)) {
		p := &planes[i]
		p.RecordElements = p.elements() / n
		p.Offset = end + gap(r)
		part, _ := BytesOf(p.Format, p.RecordElements)
		end = p.Offset + part
	}
	size := end + gap(r)
	for i := range planes {
		p := &planes[i]
		part, _ := BytesOf(p.Format, p.RecordElements)
		p.RecordBytes, p.Bytes = size, (n-1)*size+part
	}
	s.Bytes, s.Planes = n*size, planes
}

// eachIndex calls do with every index of a box at 0, the last axis first.
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

// forRandom runs a test on random storages, the same in every run, and wants that all kinds came up.
func forRandom(t *testing.T, n int, test func(t *testing.T, r *rand.Rand, m *model)) {
	t.Helper()
	if testing.Short() {
		n /= 8
	}
	seen := map[string]int{}
	for seed := 0; seed < n; seed++ {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		s := randomStorage(r)
		if s == nil {
			continue
		}
		for i := range s.Planes {
			p := &s.Planes[i]
			seen[fmt.Sprintf("%v %v", p.Role, p.Format)]++
			seen[fmt.Sprintf("records %v", p.RecordElements > 0)]++
			seen[fmt.Sprintf("high first %v", p.HighFirst)]++
		}
		m := &model{*s, make([]byte, s.Bytes)}
		for i := range m.bytes {
			m.bytes[i] = byte(r.Uint32())
		}
		if test(t, r, m); t.Failed() {
			t.Fatalf("seed %d: axes %v, %v", seed, s.Axes, s.String())
		}
	}
	for _, f := range append(codeFormats, plainFormats...) {
		if seen["values "+f.String()] == 0 {
			t.Errorf("no storage of %v came up", f)
		}
	}
	if len(seen) < 24 {
		t.Errorf("not every kind of storage came up: %v", seen)
	}
}
