package layout

import (
	"fmt"
	"math"
	"math/bits"
)

// maxTable bounds the table of one call of AxisOffsets and the tables of one Scatter, in values: 128 MiB.
const maxTable = 1 << 24

func outside(format string, args ...any) error {
	return fmt.Errorf("layout: "+format, args...)
}

// Scatter moves dense two-dimensional patches into a packed buffer and out of it. It holds a table of offsets for each axis,
// so it is made once for a layout, usually that of a Window, and used for every patch. It may be used by several goroutines
// at once.
type Scatter struct {
	elem   int
	bytes  int     // length of the packed buffer
	tables [][]int // for each axis, what each value adds to an element's position, in bytes
	// inner is the axis on which neighbours are neighbours in memory, in aligned runs of run elements; -1 if there is none.
	inner int
	run   int
	err   error // why there are no tables; reported by every call
}

// NewScatter makes the tables for a layout of elements of elem bytes, 8 bytes for each value of each axis. Where that cannot
// be done (the layout is invalid, an element has no bytes, the tables or the packed buffer are too large), every call of
// Place and Gather returns why.
func NewScatter(l Layout, elem int) *Scatter {
	size, err := l.byteSize(elem)
	if err != nil {
		return &Scatter{err: err}
	}
	values := uint64(0)
	for _, a := range l.Axes {
		values += min(a.Padded, maxTable+1)
	}
	if values > maxTable {
		return &Scatter{err: outside("axes of more than %d values together (%s) are packed window by window", maxTable, l)}
	}
	return newScatter(l, elem, size)
}

// newScatter makes the tables of a valid layout of size bytes.
func newScatter(l Layout, elem, size int) *Scatter {
	s := &Scatter{elem: elem, bytes: size, inner: -1, run: 1, tables: make([][]int, len(l.Axes))}
	for axis := range l.Axes {
		s.tables[axis] = l.table(axis, elem)
	}
	digits := l.Canonical().Digits
	if n := len(digits); n > 0 && digits[n-1].Stride == 1 {
		s.inner, s.run = digits[n-1].Axis, int(digits[n-1].Size)
	}
	return s
}

// byteSize checks that the layout is valid and returns the size of its elements, of elem bytes each.
func (l Layout) byteSize(elem int) (int, error) {
	if err := l.Validate(); err != nil {
		return 0, err
	}
	if elem < 1 {
		return 0, outside("elements of %d bytes", elem)
	}
	hi, size := bits.Mul64(l.Elements(), uint64(elem))
	if hi != 0 || size > math.MaxInt {
		return 0, outside("%d elements of %d bytes do not fit in memory", l.Elements(), elem)
	}
	return int(size), nil
}

// table returns what each value of the axis adds to a position, in bytes.
func (l Layout) table(axis, elem int) []int {
	table := make([]int, l.Axes[axis].Padded)
	steps := l.steps()
	for _, i := range l.byStride(axis) {
		// The digits below this one have filled the values up to its stride.
		lower := table[:l.Digits[i].Stride]
		step := int(steps[i]) * elem
		for v := 1; v < int(l.Digits[i].Size); v++ {
			upper := table[v*len(lower):][:len(lower)]
			for j, offset := range lower {
				upper[j] = offset + v*step
			}
		}
	}
	return table
}

// Place writes a patch of rows x cols elements to where they belong in packed. The patch is dense: its columns are
// neighbours and its rows patchStride elements apart. Its first element is the one at index, a padded index with one value
// an axis; its rows go along rowAxis and its columns along colAxis; for a single row, or a single column, that axis is not
// used. packed holds the whole layout, and bytes beyond are left alone.
//
// It is fastest where neighbours in memory lie along colAxis or rowAxis and the patch begins on a run of them.
func (s *Scatter) Place(packed, patch []byte, patchStride int, index []uint64, rowAxis, colAxis, rows, cols int) error {
	r, err := s.rect(packed, patch, patchStride, index, rowAxis, colAxis, rows, cols)
	if err != nil || rows == 0 || cols == 0 {
		return err
	}
	r.move()
	return nil
}

// Gather is the inverse of Place: it reads a patch of rows x cols elements from packed. Elements between the patch's rows
// are left alone.
func (s *Scatter) Gather(patch, packed []byte, patchStride int, index []uint64, rowAxis, colAxis, rows, cols int) error {
	r, err := s.rect(packed, patch, patchStride, index, rowAxis, colAxis, rows, cols)
	if err != nil || rows == 0 || cols == 0 {
		return err
	}
	r.toPatch = true
	r.move()
	return nil
}

// rect checks a call of Place or Gather.
func (s *Scatter) rect(packed, patch []byte, patchStride int, index []uint64, rowAxis, colAxis, rows, cols int) (rect, error) {
	if s.err != nil {
		return rect{}, s.err
	}
	if rows == 1 {
		rowAxis = -1
	}
	if cols == 1 {
		colAxis = -1
	}
	axes := len(s.tables)
	switch {
	case len(packed) < s.bytes:
		return rect{}, outside("the packed buffer has %d bytes, the layout covers %d", len(packed), s.bytes)
	case len(index) != axes:
		return rect{}, outside("an index of %d values for %d axes", len(index), axes)
	case rowAxis >= axes || rowAxis < 0 && rows != 1:
		return rect{}, outside("rows along axis %d of %d", rowAxis, axes)
	case colAxis >= axes || colAxis < 0 && cols != 1:
		return rect{}, outside("columns along axis %d of %d", colAxis, axes)
	case rowAxis == colAxis && rowAxis >= 0:
		return rect{}, outside("rows and columns both along axis %d", colAxis)
	case !holds(len(patch)/s.elem, patchStride, rows, cols):
		return rect{}, outside("a patch of %d rows, %d apart, of %d columns in a buffer of %d elements", rows, patchStride, cols, len(patch)/s.elem)
	}
	r := rect{packed: packed, patch: patch, rows: single, cols: single, elem: s.elem, rowRun: 1, colRun: 1}
	if rows > 1 {
		r.stride = patchStride * s.elem
	}
	for axis, table := range s.tables {
		count := 1
		switch axis {
		case rowAxis:
			count = rows
		case colAxis:
			count = cols
		}
		if count > len(table) || index[axis] > uint64(len(table)-count) {
			return rect{}, outside("%d values from %d on axis %d, whose padded extent is %d", count, index[axis], axis, len(table))
		}
		part := table[index[axis]:][:count]
		switch axis {
		case rowAxis:
			r.rows = part
		case colAxis:
			r.cols = part
		default:
			r.packed = r.packed[part[0]:]
		}
	}
	switch s.inner {
	case -1:
	case rowAxis:
		r.rowRun, r.rowBegin = s.run, int(index[rowAxis]%uint64(s.run))
	case colAxis:
		r.colRun, r.colBegin = s.run, int(index[colAxis]%uint64(s.run))
	}
	return r, nil
}

// single is the table of a single row or column, which is part of where the patch begins.
var single = []int{0}

// holds reports whether n elements hold rows of cols elements, stride apart.
func holds(n, stride, rows, cols int) bool {
	if stride < 0 || rows < 0 || cols < 0 {
		return false
	}
	if rows == 0 || cols == 0 {
		return true
	}
	hi, last := bits.Mul64(uint64(rows-1), uint64(stride))
	return cols <= n && hi == 0 && last <= uint64(n-cols)
}
