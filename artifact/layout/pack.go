package layout

import (
	"bytes"
	"math"
	"math/bits"
)

// block is the side of the patches in which Pack and Unpack work, in elements: small enough that a patch and where it goes
// stay in the first-level cache, whichever way the layout turns it.
const block = 64

// Pack writes the elements of src to dst in the layout's order. An element has elem bytes, of any meaning. In src the element
// at an index is at the sum of the index's values times strides, one an axis, in elements; no stride is negative, and 0
// repeats an element along its axis. Where the index is beyond Extent, dst gets pad, of elem bytes; nil is all zeros.
// dst holds Elements()*elem bytes or more, of which those beyond are left alone. It must not overlap src.
func (l Layout) Pack(dst, src []byte, strides []int64, elem int, pad []byte) error {
	if pad != nil && len(pad) != elem {
		return outside("a pad value of %d bytes for elements of %d", len(pad), elem)
	}
	t, err := l.transfer(dst, src, strides, elem)
	if err != nil {
		return err
	}
	for _, a := range l.Axes {
		if a.Extent < a.Padded {
			fill(dst[:t.scatter.bytes], pad)
			break
		}
	}
	return t.run(func(index []uint64, at, stride, rows, cols int) error {
		patch := src[at:]
		if t.stage != nil {
			copyRows(t.stage, patch, cols*elem, stride*elem, rows, cols*elem)
			patch, stride = t.stage, cols
		}
		return t.scatter.Place(dst, patch, stride, index, t.rowAxis, t.colAxis, rows, cols)
	})
}

// Unpack is the inverse of Pack: it writes the logical elements of src, which is in the layout's order, to dst, where strides
// say. Padding is not read, and bytes of dst that belong to no element are left alone.
func (l Layout) Unpack(dst, src []byte, strides []int64, elem int) error {
	t, err := l.transfer(src, dst, strides, elem)
	if err != nil {
		return err
	}
	return t.run(func(index []uint64, at, stride, rows, cols int) error {
		if t.stage == nil {
			return t.scatter.Gather(dst[at:], src, stride, index, t.rowAxis, t.colAxis, rows, cols)
		}
		err := t.scatter.Gather(t.stage, src, cols, index, t.rowAxis, t.colAxis, rows, cols)
		copyRows(dst[at:], t.stage, stride*elem, cols*elem, rows, cols*elem)
		return err
	})
}

// copyRows copies rows of n bytes that lie toStride apart in dst and fromStride apart in src.
func copyRows(dst, src []byte, toStride, fromStride, rows, n int) {
	for i := range rows {
		copy(dst[i*toStride:][:n], src[i*fromStride:])
	}
}

// fill repeats value over b; nil is zero.
func fill(b, value []byte) {
	if len(bytes.Trim(value, "\x00")) == 0 {
		clear(b)
		return
	}
	for n := copy(b, value); n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// transfer is a checked Pack or Unpack, cut into patches.
type transfer struct {
	scatter          *Scatter
	extents, sizes   []uint64 // of the logical elements, and of a patch
	strides          []int64
	rowAxis, colAxis int // -1: a patch has one row, or one column
	// stage holds one patch, dense, where patches are to be turned: rows that lie a power of two apart, as those of weights
	// do, would throw each other out of the cache. Otherwise it is nil.
	stage []byte
}

// transfer checks the buffers of a Pack or Unpack and chooses the patches.
func (l Layout) transfer(packed, plain []byte, strides []int64, elem int) (*transfer, error) {
	size, err := l.byteSize(elem)
	switch {
	case err != nil:
		return nil, err
	case len(packed) < size:
		return nil, outside("the packed buffer has %d bytes, the layout covers %d", len(packed), size)
	case len(strides) != len(l.Axes):
		return nil, outside("%d strides for %d axes", len(strides), len(l.Axes))
	}
	// The caller holds as many elements as the axes multiplied, so tables as long as the axes added up are in proportion.
	s := newScatter(l, elem, size)
	t := &transfer{scatter: s, strides: strides, rowAxis: -1, colAxis: -1}
	if err := t.checkPlain(l, len(plain)/elem); err != nil {
		return nil, err
	}
	t.choosePatch(l)
	return t, nil
}

// checkPlain checks that a buffer of n elements holds every logical element.
func (t *transfer) checkPlain(l Layout, n int) error {
	last, empty := uint64(0), false
	for i, a := range l.Axes {
		t.extents = append(t.extents, a.Extent)
		if a.Extent == 0 {
			empty = true
			continue
		}
		hi, span := bits.Mul64(uint64(t.strides[i]), a.Extent-1)
		if t.strides[i] < 0 || hi != 0 || span > math.MaxInt64-last {
			return outside("a stride of %d for the %d elements of axis %c", t.strides[i], a.Extent, a.Name)
		}
		last += span
	}
	if !empty && last >= uint64(n) {
		return outside("the last element is at %d of a buffer of %d", last, n)
	}
	return nil
}

// choosePatch sets rows, columns and size of the patches. Columns are neighbours in the plain buffer, rows lie along the other
// axis that changes fastest in the packed one.
func (t *transfer) choosePatch(l Layout) {
	t.sizes = make([]uint64, len(l.Axes))
	for i, a := range l.Axes {
		t.sizes[i] = 1
		if t.strides[i] == 1 && a.Extent > 1 {
			t.colAxis = i
		}
	}
	for _, d := range l.Digits {
		if d.Size > 1 && d.Axis != t.colAxis && l.Axes[d.Axis].Extent > 1 {
			t.rowAxis = d.Axis
		}
	}
	if t.rowAxis >= 0 {
		t.sizes[t.rowAxis] = block
	}
	if t.colAxis >= 0 {
		t.sizes[t.colAxis] = block
		if t.colAxis == t.scatter.inner {
			run := uint64(t.scatter.run)
			t.sizes[t.colAxis] = ((block-1)/run + 1) * run
		}
	}
	if s := t.scatter; t.rowAxis >= 0 && t.rowAxis == s.inner && s.elem <= 4 {
		t.stage = make([]byte, block*block*s.elem)
	}
}

// run calls do for every patch: the index at which it begins, where that is in the plain buffer in bytes, how far apart its
// rows are there in elements, and its size.
func (t *transfer) run(do func(index []uint64, at, stride, rows, cols int) error) error {
	for _, extent := range t.extents {
		if extent == 0 {
			return nil
		}
	}
	index := make([]uint64, len(t.extents))
	for {
		at, stride, rows, cols := 0, 0, 1, 1
		for i, value := range index {
			at += int(value) * int(t.strides[i])
			switch count := int(min(t.sizes[i], t.extents[i]-value)); i {
			case t.rowAxis:
				rows, stride = count, int(t.strides[i])
			case t.colAxis:
				cols = count
			}
		}
		if err := do(index, at*t.scatter.elem, stride, rows, cols); err != nil {
			return err
		}
		i := len(index) - 1
		for ; i >= 0; i-- {
			if index[i] += t.sizes[i]; index[i] < t.extents[i] {
				break
			}
			index[i] = 0
		}
		if i < 0 {
			return nil
		}
	}
}
