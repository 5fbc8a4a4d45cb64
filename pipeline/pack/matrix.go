package pack

import (
	"fmt"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
)

// maxExtent bounds an axis: tables of a window, and the statistics of patches, grow with it.
const maxExtent = 16 << 20

// matrix is how an operand is packed: as a matrix whose columns are its last axis and whose rows are all others, row-major, cut
// into windows of the layout. Windows begin at multiples of element.PatchSize rows and columns, so that statistics,
// which are summed by patches, do not depend on the cut. Windows that share blocks of values to be quantized make a band; without
// blocks, each is one by itself.
type matrix struct {
	operand *recipe.Operand
	model   *model.Model
	storage plane.Storage
	records *records // nil: planes are contiguous
	boxes   []box
	double  bool // values are worked out in float64; else in float32, which is exact

	// An element of the buffer in which a window is packed has size bytes and high x wide values of the matrix: 1 x 1, or for
	// bfp16 eight, of which one is 8. A code of 4 bits takes a byte there.
	size       int
	high, wide int
	// On wholeAxis windows are cut at multiples of whole, where elements or bytes hold several neighbours.
	wholeAxis int
	whole     uint64

	target uint64   // about how many elements a window holds
	outer  int      // the axis along which the rows of the largest source follow each other
	step   []uint64 // the size of a window on each axis
	count  []uint64 // the number of windows on each axis

	block []uint64 // how many indices of each axis a block spans; nil: values are not quantized
	per   []uint64 // how many windows a band has on each axis
	bands []uint64 // the number of bands on each axis
}

func newMatrix(o *recipe.Operand, m *model.Model, target uint64) (*matrix, error) {
	x := &matrix{operand: o, model: m, storage: o.Storage(), target: target, high: 1, wide: 1, whole: 1}
	x.records = newRecords(&x.storage)
	if err := x.init(); err != nil {
		return nil, x.fault(err)
	}
	return x, nil
}

// fault names the operand in an error.
func (x *matrix) fault(err error) error { return fmt.Errorf("operand %q: %w", x.operand.Name, err) }

func (x *matrix) init() error {
	axes := x.operand.Layout.Axes
	for _, axis := range axes {
		if axis.Extent > maxExtent {
			return fmt.Errorf("axis %c of %d indices, at most %d can be packed", axis.Name, axis.Extent, maxExtent)
		}
	}
	var err error
	if x.boxes, err = newBoxes(x.operand, x.model); err != nil {
		return err
	}
	if err := x.measureElements(); err != nil {
		return err
	}
	x.double = slices.ContainsFunc(x.boxes, func(b box) bool { return b.double() })
	largest := uint64(0)
	for i := range x.boxes {
		if b := &x.boxes[i]; b.parameter != nil && volume(b.size) > largest {
			largest, x.outer = volume(b.size), b.outer
		}
	}
	x.step, x.count = make([]uint64, len(axes)), make([]uint64, len(axes))
	for a, axis := range axes {
		x.step[a] = axis.Padded
	}
	if err := x.cut(); err != nil {
		return err
	}
	for a, axis := range axes {
		x.count[a] = (axis.Padded-1)/x.step[a] + 1
	}
	return x.join()
}

// measureElements finds what an element holds.
func (x *matrix) measureElements() error {
	o := x.operand
	x.size = max(o.Format.Size(), 1)
	switch {
	case o.Format.Values() > 1:
		x.whole = uint64(o.Format.Values())
	case o.Format.Bits()%8 != 0:
		x.whole = 2
	default:
		return nil
	}
	d, ok := innermost(o.Layout)
	if !ok || d.Stride != 1 || d.Size%x.whole != 0 {
		return fmt.Errorf("layout %v: in %v the innermost digit was expected to be a multiple of %d neighbours", o.Layout, o.Format, x.whole)
	}
	x.wholeAxis = d.Axis
	if o.Format.Values() == 1 {
		return nil
	}
	axes := o.Layout.Axes
	if last := len(axes) - 1; d.Axis == last {
		x.wide = int(x.whole)
		return nil
	}
	x.high = int(x.whole)
	before, after := volume(extents(axes[:d.Axis])), volume(extents(axes[d.Axis+1:len(axes)-1]))
	if after != 1 || before != 1 && axes[d.Axis].Extent%x.whole != 0 {
		return fmt.Errorf("blocks of %v along axis %c of %d: expected along the last axis, or the one before it where that is the first or a multiple of %d",
			o.Format, axes[d.Axis].Name, len(axes), x.whole)
	}
	return nil
}

func extents(axes []layout.Axis) []uint64 {
	list := make([]uint64, len(axes))
	for i, a := range axes {
		list[i] = a.Extent
	}
	return list
}

// innermost is the last digit of a size other than 1.
func innermost(l layout.Layout) (d layout.Digit, ok bool) {
	for _, d := range slices.Backward(l.Digits) {
		if d.Size > 1 {
			return d, true
		}
	}
	return d, false
}

// elements is a window's layout of values as one of elements.
func (x *matrix) elements(l layout.Layout) layout.Layout {
	per := uint64(x.high * x.wide)
	if per == 1 {
		return l
	}
	l = layout.Layout{Axes: slices.Clone(l.Axes), Digits: slices.Clone(l.Digits)}
	a := &l.Axes[x.wholeAxis]
	a.Extent, a.Padded = (a.Extent+per-1)/per, a.Padded/per
	for i := range l.Digits {
		switch d := &l.Digits[i]; {
		case d.Axis != x.wholeAxis || d.Size == 1:
		case d.Stride == 1:
			d.Size /= per
		default:
			d.Stride /= per
		}
	}
	return l
}

// keepsNonFinite reports whether the operand takes values that are not finite.
func (x *matrix) keepsNonFinite() bool {
	return x.operand.KeepNonFinite && x.operand.Format.Plain()
}

// patches is the number of rows and columns of patches of the whole operand.
func (x *matrix) patches() (rows, cols int) {
	axes := x.operand.Layout.Axes
	last := len(axes) - 1
	r := volume(extents(axes[:last]))
	return int((r + element.PatchSize - 1) / element.PatchSize), int((axes[last].Extent + element.PatchSize - 1) / element.PatchSize)
}
