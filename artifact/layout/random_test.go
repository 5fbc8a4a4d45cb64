package layout

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// randomLayout returns a layout of up to four axes and some thousand elements: every axis split into digits at random, the
// digits of all axes shuffled.
func randomLayout(r *rand.Rand) Layout {
	var l Layout
	names := r.Perm(26)
	room := uint64(4096)
	for axis := range 1 + r.IntN(4) {
		padded := uint64(1)
		for range r.IntN(5) {
			size := 1 + r.Uint64N(9)
			if size > room {
				break
			}
			l.Digits = append(l.Digits, Digit{Axis: axis, Size: size, Stride: padded})
			padded *= size
			room /= size
		}
		if padded == 1 {
			l.Digits = append(l.Digits, Digit{Axis: axis, Size: 1, Stride: 1 + r.Uint64N(3)})
		}
		extent := padded - r.Uint64N(padded)/2
		l.Axes = append(l.Axes, Axis{Name: 'A' + byte(names[axis]), Extent: extent, Padded: padded})
	}
	r.Shuffle(len(l.Digits), func(i, j int) { l.Digits[i], l.Digits[j] = l.Digits[j], l.Digits[i] })
	return l
}

// forRandom runs a test on random layouts, the same in every run; the name of a subtest is its seed.
func forRandom(t *testing.T, n int, test func(t *testing.T, r *rand.Rand, l Layout)) {
	t.Helper()
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 2))
		l := randomLayout(r)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			if err := l.Validate(); err != nil {
				t.Fatal(err)
			}
			test(t, r, l)
			if t.Failed() {
				t.Logf("layout %s, axes %v", l, l.Axes)
			}
		})
	}
}

func TestRandomBijection(t *testing.T) {
	t.Parallel()
	forRandom(t, 200, func(t *testing.T, _ *rand.Rand, l Layout) {
		canonical := l.Canonical()
		if err := canonical.Validate(); err != nil {
			t.Fatalf("canonical form: %v", err)
		}
		var tables [][]uint64
		for axis, a := range l.Axes {
			tables = append(tables, l.AxisOffsets(axis, 0, a.Padded))
		}
		seen := make([]bool, l.Elements())
		back := make([]uint64, len(l.Axes))
		eachIndex(padded(l), func(index []uint64) {
			at, sum := l.Offset(index), uint64(0)
			if at >= l.Elements() || seen[at] {
				t.Fatalf("%s: %v lies at %d, which is taken or beyond %d", l, index, at, l.Elements())
			}
			seen[at] = true
			if l.Index(at, back); !slices.Equal(back, index) {
				t.Fatalf("%s: %v lies at %d, where Index finds %v", l, index, at, back)
			}
			if got := canonical.Offset(index); got != at {
				t.Fatalf("%s: %v lies at %d, in its canonical form %s at %d", l, index, at, canonical, got)
			}
			for axis, v := range index {
				sum += tables[axis][v]
			}
			if sum != at {
				t.Fatalf("%s: the AxisOffsets of %v add up to %d, it lies at %d", l, index, sum, at)
			}
		})
	})
}

func TestRandomNotationRoundTrip(t *testing.T) {
	t.Parallel()
	forRandom(t, 200, func(t *testing.T, _ *rand.Rand, l Layout) {
		if got := resolve(t, l.String(), l.Axes...); !reflect.DeepEqual(got, l) {
			t.Errorf("%q parses and resolves to %v, want %v", l, got, l)
		}
	})
}

// TestRandomEqual compares Equal and Hash with the definition, every element at the same position, for pairs of orders of
// the same axes and for digits split in two.
func TestRandomEqual(t *testing.T) {
	t.Parallel()
	forRandom(t, 200, func(t *testing.T, r *rand.Rand, l Layout) {
		other := Layout{Axes: slices.Clone(l.Axes), Digits: slices.Clone(l.Digits)}
		other.Axes[0].Extent = 0
		if len(other.Digits) > 1 {
			i := r.IntN(len(other.Digits) - 1)
			other.Digits[i], other.Digits[i+1] = other.Digits[i+1], other.Digits[i]
		}
		same := true
		eachIndex(padded(l), func(index []uint64) { same = same && l.Offset(index) == other.Offset(index) })
		if got := l.Equal(other); got != same {
			t.Errorf("%s and %s: Equal is %t, positions say %t", l, other, got, same)
		}
		if got := l.Hash() == other.Hash(); got != same {
			t.Errorf("%s and %s: equal hashes is %t, positions say %t", l, other, got, same)
		}
		var split []Digit
		for _, d := range l.Digits {
			if d.Size%2 == 0 && len(split) < 20 {
				split = append(split, Digit{d.Axis, d.Size / 2, d.Stride * 2}, Digit{d.Axis, 2, d.Stride}, Digit{d.Axis, 1, 7})
			} else {
				split = append(split, d)
			}
		}
		if o := (Layout{l.Axes, split}); !l.Equal(o) || l.Hash() != o.Hash() {
			t.Errorf("%s and %s, digits split, are not equal", l, o)
		}
	})
}

func TestRandomPack(t *testing.T) {
	t.Parallel()
	forRandom(t, 150, func(t *testing.T, r *rand.Rand, l Layout) {
		position := func(_, i []uint64) uint64 { return l.Offset(i) }
		for _, elem := range []int{1, 2, 4, 1 + r.IntN(20)} {
			testPack(t, l, position, r.Perm(len(l.Axes)), int64(r.IntN(3)), elem)
		}
	})
}

// randomBox returns a legal box: on each axis a random granule and a random run of its multiples.
func randomBox(r *rand.Rand, l Layout) (begin, size []uint64) {
	for axis, a := range l.Axes {
		granules := l.Granules(axis)
		i := r.IntN(len(granules))
		g, limit := granules[i], a.Padded
		if i+1 < len(granules) {
			limit = granules[i+1]
		}
		at := r.Uint64N(a.Padded/limit) * limit
		first := r.Uint64N(limit / g)
		begin = append(begin, at+first*g)
		size = append(size, (1+r.Uint64N(limit/g-first))*g)
	}
	return begin, size
}

func TestRandomWindows(t *testing.T) {
	t.Parallel()
	forRandom(t, 200, func(t *testing.T, r *rand.Rand, l Layout) {
		for range 10 {
			begin, size := randomBox(r, l)
			w, err := l.Window(begin, size)
			if err != nil {
				t.Fatalf("%s, box of %v from %v: %v", l, size, begin, err)
			}
			if err := w.Layout.Validate(); err != nil {
				t.Fatalf("%s, box of %v from %v: %v", l, size, begin, err)
			}
			checkRuns(t, l, w)
		}
	})
}

// checkRuns compares the runs of a window with Offset of the window's layout and of the whole.
func checkRuns(t *testing.T, l Layout, w Window) {
	t.Helper()
	index, inside := make([]uint64, len(l.Axes)), make([]uint64, len(l.Axes))
	next, end := uint64(0), uint64(0)
	w.Runs(func(windowOffset, layoutOffset, n uint64) bool {
		if windowOffset != next || n == 0 {
			t.Fatalf("%s: a run of %d at %d, want one at %d", l, n, windowOffset, next)
		}
		if next > 0 && layoutOffset <= end {
			t.Fatalf("%s: the run at %d of the whole begins where the last ended at %d, or before", l, layoutOffset, end)
		}
		for i := range n {
			w.Layout.Index(windowOffset+i, inside)
			for axis := range index {
				index[axis] = inside[axis] + w.Begin[axis]
			}
			if got := l.Offset(index); got != layoutOffset+i {
				t.Fatalf("%s: %v lies at %d, the run says %d", l, index, got, layoutOffset+i)
			}
			if logical(l, index) != logical(w.Layout, inside) {
				t.Fatalf("%s: whole and window disagree on whether %v is padding", l, index)
			}
		}
		next, end = windowOffset+n, layoutOffset+n
		return true
	})
	if next != w.Layout.Elements() {
		t.Fatalf("%s: runs end at %d of the window's %d elements", l, next, w.Layout.Elements())
	}
}

// TestRandomTiling packs a whole operand window by window, for a granule an axis, and compares it with Pack.
func TestRandomTiling(t *testing.T) {
	t.Parallel()
	forRandom(t, 100, func(t *testing.T, r *rand.Rand, l Layout) {
		const elem = 4
		strides, n := dense(l.Axes, r.Perm(len(l.Axes)), 1)
		src := make([]byte, n*elem)
		for i := range src {
			src[i] = byte(r.Uint32())
		}
		pad := []byte{1, 2, 3, 4}
		want := make([]byte, l.Elements()*elem)
		if err := l.Pack(want, src, strides, elem, pad); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		var cut, pieces []uint64
		for axis, a := range l.Axes {
			granules := l.Granules(axis)
			g := granules[r.IntN(len(granules))]
			cut, pieces = append(cut, g), append(pieces, a.Padded/g)
		}
		begin := make([]uint64, len(cut))
		eachIndex(pieces, func(index []uint64) {
			at := int64(0)
			for axis := range begin {
				begin[axis] = index[axis] * cut[axis]
				at += int64(begin[axis]) * strides[axis]
			}
			w, err := l.Window(begin, cut)
			if err != nil {
				t.Fatal(err)
			}
			buffer := make([]byte, w.Layout.Elements()*elem)
			if err := w.Layout.Pack(buffer, src[min(at*elem, int64(len(src))):], strides, elem, pad); err != nil {
				t.Fatal(err)
			}
			w.Runs(func(windowOffset, layoutOffset, n uint64) bool {
				copy(got[layoutOffset*elem:], buffer[windowOffset*elem:][:n*elem])
				return true
			})
		})
		if !bytes.Equal(got, want) {
			t.Errorf("%s: windows of %v do not make up the whole", l, cut)
		}
	})
}

// TestRandomPatches places and gathers patches at random, with every choice of axes, and compares element by element.
func TestRandomPatches(t *testing.T) {
	t.Parallel()
	forRandom(t, 300, func(t *testing.T, r *rand.Rand, l Layout) {
		for range 20 {
			checkPatch(t, r, l, []int{1, 2, 4, 8, 3}[r.IntN(5)])
		}
	})
}

func checkPatch(t *testing.T, r *rand.Rand, l Layout, elem int) {
	t.Helper()
	s := NewScatter(l, elem)
	axes := r.Perm(len(l.Axes))
	rowAxis, colAxis := -1, axes[0]
	if len(axes) > 1 {
		rowAxis = axes[1]
	}
	index := make([]uint64, len(l.Axes))
	for i, a := range l.Axes {
		index[i] = r.Uint64N(a.Padded)
	}
	rows, cols := 1, 1+r.IntN(int(l.Axes[colAxis].Padded-index[colAxis]))
	if rowAxis >= 0 {
		rows += r.IntN(int(l.Axes[rowAxis].Padded - index[rowAxis]))
	}
	stride := cols + r.IntN(3)
	patch := make([]byte, ((rows-1)*stride+cols)*elem)
	for i := range patch {
		patch[i] = byte(r.Uint32())
	}
	want := make([]byte, l.Elements()*uint64(elem))
	at := slices.Clone(index)
	wantPatch := make([]byte, len(patch))
	for i := range rows {
		for j := range cols {
			if rowAxis >= 0 {
				at[rowAxis] = index[rowAxis] + uint64(i)
			}
			at[colAxis] = index[colAxis] + uint64(j)
			value := patch[(i*stride+j)*elem:][:elem]
			copy(want[l.Offset(at)*uint64(elem):], value)
			copy(wantPatch[(i*stride+j)*elem:], value)
		}
	}
	got := make([]byte, len(want))
	if err := s.Place(got, patch, stride, index, rowAxis, colAxis, rows, cols); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: wrong result of placing %dx%d elements of %d bytes at %v, rows along %d, columns along %d", l, rows, cols, elem, index, rowAxis, colAxis)
	}
	gotPatch := make([]byte, len(patch))
	if err := s.Gather(gotPatch, want, stride, index, rowAxis, colAxis, rows, cols); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(gotPatch, wantPatch) {
		t.Fatalf("%s: wrong result of gathering %dx%d elements of %d bytes at %v, rows along %d, columns along %d", l, rows, cols, elem, index, rowAxis, colAxis)
	}
}
