package artifact

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/layout"
)

// scale is n, or a tenth of it with -short.
func scale(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// list gives the indices that a placement names on its operand's one axis, by going through its box.
func list(p *Placement) []uint64 {
	size := make([]uint64, len(p.From))
	for j, f := range p.From {
		size[j] = f.Size
	}
	var all []uint64
	eachIndex(size, func(i []uint64) {
		q := p.To[0]
		for j, f := range p.From {
			q += i[j] * f.Step
		}
		all = append(all, q)
	})
	return all
}

// TestImages compares what is said of random placements with what going through their elements shows.
func TestImages(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() *Placement {
		p := &Placement{To: []uint64{rng.Uint64N(20)}}
		for range rng.IntN(4) {
			p.From = append(p.From, PlacedAxis{Size: 1 + rng.Uint64N(4), Step: 1 + rng.Uint64N(13)})
		}
		return p
	}
	seen := map[string]int{}
	for range scale(20000) {
		left := uint64(maxListed)
		p, q := random(), random()
		mine, theirs := list(p), list(q)
		distinct := slices.Clone(mine)
		slices.Sort(distinct)
		wantOnce := len(slices.Compact(distinct)) == len(mine)
		once, err := p.image().namesOnce(&left)
		if err != nil || once != wantOnce {
			t.Fatalf("%+v names an element once: %v, want %v (%v)", p, once, wantOnce, err)
		}
		wantApart := !slices.ContainsFunc(mine, func(i uint64) bool { return slices.Contains(theirs, i) })
		apart, err := p.image().apart(q.image(), &left)
		if err != nil || apart != wantApart {
			t.Fatalf("%+v and %+v are apart: %v, want %v (%v)", p, q, apart, wantApart, err)
		}
		seen[fmt.Sprint(once, apart)]++
	}
	if len(seen) != 4 {
		t.Errorf("not every case came up: %v", seen)
	}
}

// TestIrregular gives placements that can only be told apart by listing more indices than is done.
func TestIrregular(t *testing.T) {
	t.Parallel()
	p := Placement{To: []uint64{0}, From: []PlacedAxis{{Size: 1 << 20, Step: 6}, {Size: 1 << 20, Step: 10}, {Size: 1 << 10, Step: 15}}}
	left := uint64(maxListed)
	if _, err := p.image().namesOnce(&left); err == nil {
		t.Error("2^50 indices have been listed")
	}
	q := Placement{To: []uint64{1}, From: p.From[:2]}
	short := Placement{To: []uint64{2}, From: []PlacedAxis{{Size: 2, Step: 6}, {Size: 2, Step: 10}}}
	for _, pair := range [][2]*Placement{{&p, &q}, {&short, &q}} { // either may be the one that is too long
		left := uint64(maxListed)
		if _, err := pair[0].image().apart(pair[1].image(), &left); err == nil {
			t.Error("2^40 indices have been listed")
		}
	}
}

func TestDistinctVolume(t *testing.T) {
	t.Parallel()
	boxes := [][]PlacedAxis{from(0, 2, 1, 0, 0, 3, 1, 1), from(2, 1, 1, 0, 0, 3, 1, 1), from(0, 2, 5, 0, 0, 3, 9, 0)}
	if n, err := distinctVolume(boxes); n != 9 || err != nil {
		t.Errorf("%d: %v", n, err)
	}
	if _, err := distinctVolume(append(boxes, from(1, 2, 1, 0, 0, 1, 1, 1))); err == nil {
		t.Error("boxes that overlap: no error")
	}
	if _, err := distinctVolume(make([][]PlacedAxis, maxBoxes+1)); err == nil || !strings.Contains(err.Error(), "4097 placements") {
		t.Errorf("too many: %v", err)
	}
	// Four quarters, of which no two are apart on both axes, one of them twice.
	quarters := [][]PlacedAxis{from(0, 2, 1, 0, 0, 3, 1, 1), from(0, 2, 1, 0, 3, 4, 1, 1), from(2, 5, 1, 0, 0, 3, 1, 1), from(2, 5, 1, 0, 3, 4, 1, 1), from(2, 5, 1, 0, 0, 3, 1, 1)}
	if n, err := distinctVolume(quarters); n != 49 || err != nil {
		t.Errorf("quarters: %d, %v", n, err)
	}
	// So many that they cannot be a shape's, but are added up.
	const all = uint64(layout.MaxElements)
	huge := [][]PlacedAxis{from(0, all, 1, 0), from(all, all, 1, 0), from(2*all, all, 1, 0), from(3*all, all-1, 1, 0)}
	if n, err := distinctVolume(huge); n != 4*(all-1)+3 || err != nil {
		t.Errorf("almost 2^64: %d, %v", n, err)
	}
	var sum total
	for range 5 {
		sum.add(all)
	}
	if sum != math.MaxUint64 {
		t.Errorf("5 * 2^62: %d, want the largest number", sum)
	}
	if n, err := distinctVolume([][]PlacedAxis{nil, nil}); n != 1 || err != nil {
		t.Errorf("a parameter without axes: %d, %v", n, err)
	}
}

// randomLayout is a layout of up to three axes with random digits, and padding.
func randomLayout(rng *rand.Rand) layout.Layout {
	var l layout.Layout
	for a := range 1 + rng.IntN(3) {
		padded := uint64(1)
		for range rng.IntN(4) {
			size := 1 + rng.Uint64N(4)
			l.Digits = append(l.Digits, layout.Digit{Axis: a, Size: size, Stride: padded})
			padded *= size
		}
		l.Axes = append(l.Axes, layout.Axis{Name: byte('A' + a), Extent: 1 + rng.Uint64N(padded), Padded: padded})
	}
	rng.Shuffle(len(l.Digits), func(i, j int) { l.Digits[i], l.Digits[j] = l.Digits[j], l.Digits[i] })
	return l
}

// TestPadding compares the padding that is found with that which going through every element shows.
func TestPadding(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for range scale(500) {
		l := randomLayout(rng)
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		pad := []byte{0xcd, 0xab}
		n := l.Elements()
		b := make([]byte, 2*n)
		var padding []uint64
		index := make([]uint64, len(l.Axes))
		for p := range n {
			l.Index(p, index)
			if slices.ContainsFunc(l.Axes, func(a layout.Axis) bool { return index[a.Name-'A'] >= a.Extent }) {
				padding = append(padding, p)
				b[2*p], b[2*p+1] = 0xcd, 0xab
			}
		}
		if (newPadding(l, pad) == nil) != (len(padding) == 0) {
			t.Fatalf("%v of %s: %d elements of padding", l, l.Shape(), len(padding))
		}
		for _, wrong := range append(padding, n) {
			want := -1
			if wrong < n {
				want = int(2*wrong) + rng.IntN(2)
				b[want] ^= 1
			}
			if got := firstWrong(newPadding(l, pad), b, rng); got != want && len(padding) > 0 {
				t.Fatalf("%v of %s: wrong padding found at %d, is at %d", l, l.Shape(), got, want)
			}
			if want >= 0 {
				b[want] ^= 1
			}
		}
	}
}

// firstWrong looks at an operand of 16-bit elements in pieces of random length.
func firstWrong(p *padding, b []byte, rng *rand.Rand) int {
	for at := 0; p != nil && at < len(b); {
		n := min(2*(1+rng.IntN(20)), len(b)-at)
		if i := p.check(uint64(at/2), b[at:at+n]); i >= 0 {
			return at + i
		}
		at += n
	}
	return -1
}
