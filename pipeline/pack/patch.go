package pack

import "npuw/artifact/layout"

// patchAt gives the values of the patch of rows x cols whose first is in row and column of the window, row-major, rows stride apart: in
// place where the source has them so, else collected.
func (r *reader[T]) patchAt(row, col uint64, rows, cols int) (values []T, stride int) {
	last := len(r.window.Size) - 1
	for i := range r.parts {
		p := &r.parts[i]
		first, end := max(col, p.begin[last]), min(col+uint64(cols), p.end[last])
		if first >= end {
			continue
		}
		s := strip{begin: -1, col: int(first - col), cols: int(end - first)}
		if p.at != nil {
			s.columns = p.at[last][first-p.begin[last]:][:s.cols]
		}
		for r.next(&s, p, row, rows) {
			if s.rows == rows && s.cols == cols {
				if values, stride, ok := p.inPlace(&s); ok {
					return values, stride
				}
			}
			r.collect(p, &s, row, col, cols)
		}
	}
	return r.patch[:], cols
}

// strip is a part of a patch that comes from one box: rows and cols of it from row begin and column col on. An element is at the sum of
// what its row and its column say in the part's values.
type strip struct {
	begin, rows int
	col, cols   int
	at, columns []int64
}

// next finds the next rows of a patch, which begins in row of the window, that are in a part and neighbours.
func (r *reader[T]) next(s *strip, p *part[T], row uint64, rows int) bool {
	first := s.begin < 0
	switch len(r.window.Size) {
	case 1:
		r.space[0] = 0
		s.begin, s.rows, s.at = 0, 1, r.space[:1]
	case 2:
		low, high := max(row, p.begin[0]), min(row+uint64(rows), p.end[0])
		if low >= high {
			return false
		}
		s.begin, s.rows = int(low-row), int(high-low)
		if p.at != nil {
			s.at = p.at[0][low-p.begin[0]:][:s.rows]
		}
	default:
		return r.nextOfMany(s, p, row, rows)
	}
	return first
}

// nextOfMany is next for rows that are along several axes.
func (r *reader[T]) nextOfMany(s *strip, p *part[T], row uint64, rows int) bool {
	axes := r.window.Layout.Axes
	var space [layout.MaxAxes]uint64
	index, from := space[:len(axes)], max(s.begin+s.rows, 0)
	s.rows = 0
	matrixIndex(index, axes, row+uint64(from), 0)
	for i := from; i < rows; i++ {
		at, inside := p.rowAt(index[:len(axes)-1])
		if !inside && s.rows > 0 {
			break
		}
		if inside {
			r.space[s.rows] = at
			s.rows++
			s.begin = i + 1 - s.rows
		}
		nextRow(index, axes)
	}
	s.at = r.space[:s.rows]
	return s.rows > 0
}

// rowAt gives where the row at an index of the window, on all axes but the last, is in the part's values.
func (p *part[T]) rowAt(index []uint64) (at int64, inside bool) {
	for a, i := range index {
		if i < p.begin[a] || i >= p.end[a] {
			return 0, false
		}
		if p.at != nil {
			at += p.at[a][i-p.begin[a]]
		}
	}
	return at, true
}

// inPlace gives a strip of the source as it lies, where that is row-major and holds the values of the operand.
func (p *part[T]) inPlace(s *strip) (values []T, stride int, ok bool) {
	if p.at == nil || !p.box.plain() {
		return nil, 0, false
	}
	if step, even := evenStep(s.columns); !even || step != 1 && s.cols > 1 {
		return nil, 0, false
	}
	apart, even := evenStep(s.at)
	if !even {
		return nil, 0, false
	}
	return p.values[s.at[0]+s.columns[0]:], max(int(apart), s.cols), true
}

// collect brings a strip of the patch in row and column of the window, which has so many columns, to r.patch.
func (r *reader[T]) collect(p *part[T], s *strip, row, col uint64, cols int) {
	patch, values := r.patch[s.begin*cols+s.col:], p.values
	switch step, even := evenStep(s.columns); {
	case p.at == nil:
		for i := range s.rows {
			for k := range patch[i*cols:][:s.cols] {
				patch[i*cols+k] = T(p.box.constant)
			}
		}
	case even && (step == 1 || s.cols == 1):
		for i, at := range s.at {
			copy(patch[i*cols:][:s.cols], values[at+s.columns[0]:])
		}
	default: // the source has columns one after another: read along them
		rows := s.at
		for k, column := range s.columns {
			to, values := k, values[column:]
			for _, at := range rows {
				patch[to] = values[at]
				to += cols
			}
		}
	}
	if double, ok := any(patch).([]float64); ok && !p.box.plain() {
		axes := r.window.Layout.Axes
		index := make([]uint64, len(axes)) // in the box
		for i := range s.rows {
			matrixIndex(index, axes, row+uint64(s.begin+i), col+uint64(s.col))
			for a := range index {
				index[a] += r.window.Begin[a] - p.box.begin[a]
			}
			p.box.apply(double[i*cols:][:s.cols], index)
		}
	}
}

// apply makes source values what the operand holds: those of a row that begins at an index of the box.
func (b *box) apply(x []float64, index []uint64) {
	if f := b.factor; f.values != nil {
		each(x, f, index, func(x, factor float64) float64 { return factor * x })
	}
	if f := b.addend; f.values != nil {
		each(x, f, index, func(x, addend float64) float64 { return x + addend })
	}
	if b.scale != 1 {
		for i := range x {
			x[i] *= b.scale
		}
	}
}

// each applies do to the values of a row and what is along their axis.
func each(x []float64, along along, index []uint64, do func(x, y float64) float64) {
	values := along.values[index[along.axis]:]
	if along.axis == len(index)-1 {
		for i, y := range values[:len(x)] {
			x[i] = do(x[i], y)
		}
		return
	}
	for i := range x {
		x[i] = do(x[i], values[0])
	}
}

// matrixIndex sets index to that of a row and column of the matrix that axes make.
func matrixIndex(index []uint64, axes []layout.Axis, row, col uint64) {
	last := len(axes) - 1
	index[last] = col
	for a := last - 1; a >= 0; a-- {
		index[a] = row % axes[a].Extent
		row /= axes[a].Extent
	}
}

// nextRow moves an index to the next row of the matrix.
func nextRow(index []uint64, axes []layout.Axis) {
	for a := len(axes) - 2; a >= 0; a-- {
		if index[a]++; index[a] < axes[a].Extent {
			return
		}
		index[a] = 0
	}
}
