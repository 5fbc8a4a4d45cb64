package layout

import (
	"fmt"
	"slices"
)

// Window is the part of a layout inside a box of the padded index space: a piece of an operand, small enough to be held in
// memory. Packed by its own layout it is a buffer whose runs are contiguous in the whole operand, in the same order.
type Window struct {
	Begin, Size []uint64 // the box, one value an axis: [Begin, Begin+Size)
	// Layout is over the box, with index 0 at Begin: Padded is Size, and Extent is how much of the box is logical. Its
	// digits are those of the whole, in their order, each with the values that the box covers.
	Layout Layout

	base  uint64 // position in the whole of the window's first element
	run   uint64 // elements of every run
	outer []loop // what varies from run to run, outermost first
}

// loop is a digit whose neighbouring values are apart in the whole layout.
type loop struct{ count, step uint64 }

// Window cuts a box out of the layout, [begin, begin+size) on each axis. On every axis the box must be a run of values of
// one digit: sorted by stride, the digits above that one are constant within the box, and those below take all their
// values. Granules lists where such cuts can be made.
func (l Layout) Window(begin, size []uint64) (Window, error) {
	if err := l.Validate(); err != nil {
		return Window{}, err
	}
	if len(begin) != len(l.Axes) || len(size) != len(l.Axes) {
		return Window{}, fmt.Errorf("layout window: begin of %d and size of %d axes, the layout has %d", len(begin), len(size), len(l.Axes))
	}
	w := Window{
		Begin:  slices.Clone(begin),
		Size:   slices.Clone(size),
		Layout: Layout{Axes: slices.Clone(l.Axes), Digits: slices.Clone(l.Digits)},
	}
	steps := l.steps()
	for i, a := range l.Axes {
		if size[i] == 0 || size[i] > a.Padded || begin[i] > a.Padded-size[i] {
			return Window{}, fmt.Errorf("layout window: %d elements from %d of axis %c, whose padded extent is %d", size[i], begin[i], a.Name, a.Padded)
		}
		if err := w.cut(i, l, steps); err != nil {
			return Window{}, err
		}
	}
	w.findRuns(l, steps)
	return w, nil
}

// cut fits the digits of one axis to the box.
func (w *Window) cut(axis int, l Layout, steps []uint64) error {
	a := &w.Layout.Axes[axis]
	begin, size := w.Begin[axis], w.Size[axis]
	a.Extent = min(a.Extent-min(a.Extent, begin), size)
	a.Padded = size
	order := l.byStride(axis)
	for _, i := range slices.Backward(order) {
		d := &w.Layout.Digits[i]
		value := begin / d.Stride
		w.base += value * steps[i]
		if (begin+size-1)/d.Stride == value {
			d.Size = 1
			begin -= value * d.Stride
			continue
		}
		if begin%d.Stride != 0 || size%d.Stride != 0 {
			return fmt.Errorf("layout window: %d elements from %d of axis %c are not a run of whole steps of %d (layout %s)",
				w.Size[axis], w.Begin[axis], a.Name, d.Stride, l)
		}
		d.Size = size / d.Stride
		return nil
	}
	return nil
}

// findRuns splits the digits into the innermost ones that are contiguous in the whole layout too, and the others.
func (w *Window) findRuns(l Layout, steps []uint64) {
	w.run = 1
	i := len(l.Digits) - 1
	for whole := true; i >= 0 && whole; i-- {
		w.run *= w.Layout.Digits[i].Size
		whole = w.Layout.Digits[i].Size == l.Digits[i].Size
	}
	for ; i >= 0; i-- {
		if n := w.Layout.Digits[i].Size; n > 1 {
			w.outer = append(w.outer, loop{n, steps[i]})
		}
	}
	slices.Reverse(w.outer)
}

// RunLength is the length of every run that Runs gives, in elements.
func (w Window) RunLength() uint64 { return w.run }

// Runs calls yield for the contiguous pieces of the window, in elements: n elements at windowOffset of the packed window are
// the n at layoutOffset of the whole. Both offsets ascend, and pieces are as long as they can be. It stops when yield
// returns false.
func (w Window) Runs(yield func(windowOffset, layoutOffset, n uint64) bool) {
	if w.run == 0 {
		return
	}
	var values [MaxDigits]uint64
	offset := w.base
	for at := uint64(0); ; at += w.run {
		if !yield(at, offset, w.run) {
			return
		}
		i := len(w.outer) - 1
		for ; i >= 0; i-- {
			values[i]++
			offset += w.outer[i].step
			if values[i] < w.outer[i].count {
				break
			}
			values[i] = 0
			offset -= w.outer[i].count * w.outer[i].step
		}
		if i < 0 {
			return
		}
	}
}

// WindowAround cuts out the smallest window that holds the box [begin, begin+size) of the padded index space, where no size is 0.
func (l Layout) WindowAround(begin, size []uint64) (Window, error) {
	from, length := make([]uint64, len(begin)), make([]uint64, len(begin))
	for a := range begin {
		lo, hi := begin[a], begin[a]+size[a]-1
		granules := l.Granules(a)
		for i, g := range granules {
			b, e := lo/g*g, (hi/g+1)*g
			if i == len(granules)-1 || b/granules[i+1] == (e-1)/granules[i+1] {
				from[a], length[a] = b, e-b
				break
			}
		}
	}
	return l.Window(from, length)
}

// Granules returns, ascending, the lengths g at which an axis may be cut: every [i*g, (i+1)*g) is a legal window, and so are
// neighbours together that stay within one multiple of the next larger granule. They are the strides of the axis's digits,
// from 1, and last its padded extent. It returns nil for an axis that the layout has not.
func (l Layout) Granules(axis int) []uint64 {
	if axis < 0 || axis >= len(l.Axes) {
		return nil
	}
	granules := []uint64{1}
	for _, i := range l.byStride(axis) {
		granules = append(granules, l.Digits[i].Stride)
	}
	return slices.Compact(append(granules, l.Axes[axis].Padded))
}
