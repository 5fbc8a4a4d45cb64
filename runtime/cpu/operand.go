package cpu

import (
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

const (
	// maxValues bounds the values of all axes of one operand together, and so its tables: 128 MiB.
	maxValues = 1 << 24
	// stageElements is how many elements are converted at a time: with their float32 values they fit in a first-level cache.
	stageElements = 4096
)

// operand is a buffer argument as a matrix or a vector of float32.
type operand struct {
	argument int             // position in the contract's arguments
	format   element.Format  // of its values, or codes
	layout   layout.Layout   // of these
	scatter  *layout.Scatter // of elements that are values by themselves; nil: joined has them
	joined   *joined
	row, col int // axes of the layout; row is -1 for a vector
}

// newOperand makes the tables of a storage that has been proved.
func newOperand(argument int, s *plane.Storage) *operand {
	first := &s.Planes[0]
	l := layout.Layout{Axes: slices.Clone(first.Layout.Axes), Digits: slices.Clone(first.Layout.Digits)}
	o := &operand{argument: argument, format: first.Format, layout: l, row: -1}
	if s.Encoding == plane.Plain && first.Format.Values() == 1 {
		o.scatter = layout.NewScatter(l, first.Format.Size())
	} else {
		o.joined = newJoined(s)
	}
	return o
}

// position is an index into an operand, a value an axis.
type position [layout.MaxAxes]uint64

// read decodes rows x cols elements from (row, col) on into dst, whose rows are stride apart.
func (o *operand) read(s *scratch, data []byte, dst []float32, stride, row, col, rows, cols int) error {
	return o.readAt(s, data, dst, stride, o.at(row, col), rows, cols)
}

func (o *operand) at(row, col int) position {
	var at position
	if o.row >= 0 {
		at[o.row] = uint64(row)
	}
	at[o.col] = uint64(col)
	return at
}

// readAt is read from any position on.
func (o *operand) readAt(s *scratch, data []byte, dst []float32, stride int, at position, rows, cols int) error {
	if o.joined != nil {
		return o.stages(at, rows, cols, func(at position, row, col, rows, cols int) error {
			o.joined.read(s, data, dst[row*stride+col:], stride, at, o.row, o.col, rows, cols)
			return nil
		})
	}
	if o.format == element.F32 {
		if err := o.scatter.Gather(element.Memory(dst), data, stride, at[:len(o.layout.Axes)], o.row, o.col, rows, cols); err != nil {
			return err
		}
		for i := range rows {
			element.Swapped(dst[i*stride:][:cols])
		}
		return nil
	}
	return o.stages(at, rows, cols, func(at position, row, col, rows, cols int) error {
		stage := s.stage[:rows*cols*o.format.Size()]
		if err := o.scatter.Gather(stage, data, cols, at[:len(o.layout.Axes)], o.row, o.col, rows, cols); err != nil {
			return err
		}
		if cols == stride {
			return element.ToFloat32(dst[row*stride:][:rows*cols], stage, o.format)
		}
		size := cols * o.format.Size()
		for i := range rows {
			if err := element.ToFloat32(dst[(row+i)*stride+col:][:cols], stage[i*size:][:size], o.format); err != nil {
				return err
			}
		}
		return nil
	})
}

// write encodes rows x cols values of src, whose rows are stride apart, to (row, col) and on. It may overwrite src.
func (o *operand) write(s *scratch, data []byte, src []float32, stride, row, col, rows, cols int) error {
	at := o.at(row, col)
	if o.format == element.F32 {
		for i := range rows {
			element.Swapped(src[i*stride:][:cols])
		}
		return o.scatter.Place(data, element.Memory(src), stride, at[:len(o.layout.Axes)], o.row, o.col, rows, cols)
	}
	return o.stages(at, rows, cols, func(at position, row, col, rows, cols int) error {
		size := cols * o.format.Size()
		stage := s.stage[:rows*size]
		for i := range rows {
			if err := element.Encode(stage[i*size:][:size], src[(row+i)*stride+col:][:cols], o.format); err != nil {
				return err
			}
		}
		return o.scatter.Place(data, stage, cols, at[:len(o.layout.Axes)], o.row, o.col, rows, cols)
	})
}

// stages calls do for parts of at most stageElements: where each begins in the operand and, as row and col, in the whole.
func (o *operand) stages(at position, rows, cols int, do func(at position, row, col, rows, cols int) error) error {
	width := min(cols, stageElements)
	height := stageElements / max(width, 1)
	for row := 0; row < rows; row += height {
		for col := 0; col < cols; col += width {
			part := at
			if o.row >= 0 {
				part[o.row] += uint64(row)
			}
			part[o.col] += uint64(col)
			if err := do(part, row, col, min(height, rows-row), min(width, cols-col)); err != nil {
				return err
			}
		}
	}
	return nil
}

// scratch is the memory in which one worker computes.
type scratch struct {
	a, b, c, d []float32
	stage      [stageElements * 2]byte // elements of less than 4 bytes, dense

	// Of joined values: codes, or elements of bfp16; scales, zeros and minimums.
	elements []byte
	lines    [3]line
}

// grown gives n values of a scratch, which it makes longer if it must. They hold anything.
func grown[T any](values *[]T, n int) []T {
	if cap(*values) < n {
		*values = make([]T, n)
	}
	return (*values)[:n]
}
