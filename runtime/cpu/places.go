package cpu

import (
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// places says where the elements of a plane lie in the bytes of an argument: at the sum of one term an axis.
type places struct {
	format element.Format
	span   [layout.MaxAxes]uint64 // how many indices of each axis an element spans
	inner  int                    // the axis along which the values of an element lie, where it has several
	base   int                    // the first element: bytes, or of 4-bit elements half bytes
	tables [][]int                // for each axis, what each element along it adds, in the same unit
	second uint                   // of 4-bit elements, how far the first of a byte is to be shifted down
	// Where records cut the layout so that terms do not add up, tables count elements, of which record lie in each stride.
	record, stride int
}

// newPlaces makes the tables of a plane of a storage that has been proved.
func newPlaces(p *plane.Plane) *places {
	l, span, inner := elementGrid(p)
	unit, base := p.Format.Size(), int(p.Offset)
	record, stride := int(p.RecordElements), int(p.RecordBytes)
	t := &places{format: p.Format, span: span, inner: inner, tables: make([][]int, len(l.Axes))}
	if unit == 0 {
		unit, base, stride = 1, 2*base, 2*stride
	}
	if p.HighFirst {
		t.second = 4
	}
	t.base = base
	added := record == 0 || cuts(l, p.RecordElements)
	if !added {
		t.record, t.stride = record, stride
	}
	for a, axis := range l.Axes {
		t.tables[a] = make([]int, axis.Padded)
		for i, e := range l.AxisOffsets(a, 0, axis.Padded) {
			switch e := int(e); {
			case !added:
				t.tables[a][i] = e
			case record == 0:
				t.tables[a][i] = e * unit
			default:
				t.tables[a][i] = e/record*stride + e%record*unit
			}
		}
	}
	return t
}

// elementGrid is the layout of a plane's elements, and how many indices of each axis one spans: its blocks, or of bfp16 eight
// neighbours along the innermost axis.
func elementGrid(p *plane.Plane) (l layout.Layout, span [layout.MaxAxes]uint64, inner int) {
	for a := range span {
		if span[a] = 1; a < len(p.Block) {
			span[a] = p.Block[a]
		}
	}
	values := uint64(p.Format.Values())
	if values == 1 {
		return p.Layout, span, -1
	}
	l = layout.Layout{Axes: append([]layout.Axis(nil), p.Layout.Axes...), Digits: append([]layout.Digit(nil), p.Layout.Digits...)}
	last := len(l.Digits) - 1
	for l.Digits[last].Size == 1 {
		last--
	}
	a := l.Digits[last].Axis
	span[a] = values
	l.Axes[a].Extent, l.Axes[a].Padded = (l.Axes[a].Extent+values-1)/values, l.Axes[a].Padded/values
	for d := range l.Digits {
		switch digit := &l.Digits[d]; {
		case d == last:
			digit.Size /= values
		case digit.Axis == a:
			digit.Stride = max(digit.Stride/values, 1)
		}
	}
	return l, span, a
}

// cuts reports whether records of n elements begin where a digit, or a part of one, steps: then what axes add to a position is added up
// without a carry from within a record to the next.
func cuts(l layout.Layout, n uint64) bool {
	inside := uint64(1) // elements of the digits that are looked at
	for d := len(l.Digits) - 1; d >= 0 && inside < n; d-- {
		size := l.Digits[d].Size
		if inside*size > n {
			return n%inside == 0 && size%(n/inside) == 0
		}
		inside *= size
	}
	return inside == n
}

// rect is a rectangle of elements: what its place on other axes, its row and its column add.
type rect struct {
	base       int
	rows, cols []int
}

// single is the table of a vector's only row.
var single = []int{0}

// rect is the smallest rectangle of elements for rows x cols indices from at on; axis row is -1 for a vector.
func (t *places) rect(at position, row, col, rows, cols int) rect {
	r := rect{rows: single, cols: single}
	for a, table := range t.tables {
		first := at[a] / t.span[a]
		switch a {
		case row:
			r.rows = table[first : (at[a]+uint64(rows)-1)/t.span[a]+1]
		case col:
			r.cols = table[first : (at[a]+uint64(cols)-1)/t.span[a]+1]
		default:
			r.base += table[first]
		}
	}
	return r
}

// gather copies a rectangle of elements into the memory of dst, dense, those of 4 bits one a byte.
func (t *places) gather(dst *[]byte, data []byte, r *rect) []byte {
	size := max(t.format.Size(), 1)
	width := len(r.cols) * size
	out := grown(dst, len(r.rows)*width)
	for i, row := range r.rows {
		line := out[i*width:][:width]
		at := t.base + r.base + row
		switch {
		case t.record != 0:
			t.gatherRecords(line, data, r.base+row, r.cols)
		case t.format.Size() == 0:
			for c, col := range r.cols {
				line[c] = t.half(data, at+col)
			}
		case size == 1:
			from := data[at:]
			for c, col := range r.cols {
				line[c] = from[col]
			}
		default:
			from := data[at:]
			for c, col := range r.cols {
				copy(line[c*size:][:size], from[col:])
			}
		}
	}
	return out
}

// gatherRecords is a row of gather where terms do not add up to bytes, but to the number of an element.
func (t *places) gatherRecords(line, data []byte, first int, cols []int) {
	size := t.format.Size()
	for c, col := range cols {
		record, inside := (first+col)/t.record, (first+col)%t.record
		if size == 0 {
			line[c] = t.half(data, t.base+record*t.stride+inside)
			continue
		}
		copy(line[c*size:][:size], data[t.base+record*t.stride+inside*size:])
	}
}

// half is the 4-bit element at a place in half bytes.
func (t *places) half(data []byte, at int) byte {
	return data[at>>1] >> (uint(at)&1<<2 ^ t.second) & 0xf
}
