package pack

import (
	"fmt"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/source"
)

// reader reads what the windows of an operand hold, and gives it patch by patch. Its memory is used again for the next.
type reader[T float32 | float64] struct {
	matrix *matrix
	window layout.Window
	parts  []part[T]

	raw    []byte                                   // source elements that are not T
	values []T                                      // of all parts, as they follow each other in the source
	tables []int64                                  // of all parts
	patch  [element.PatchSize * element.PatchSize]T // one patch, row-major, where the source has it in another order
	space  [element.PatchSize]int64                 // where the rows of a strip are
}

// part is what a window holds of a box.
type part[T float32 | float64] struct {
	box        *box
	begin, end []uint64  // of the window, on each axis
	at         [][]int64 // for each axis, what each index from begin on adds to a position in values
	span       span      // of the source
	values     []T       // of the span
}

// load reads the source values of the i-th window of a band.
func (r *reader[T]) load(c *source.Catalogue, x *matrix, b *band, i int) error {
	r.matrix = x
	var err error
	if r.window, err = x.window(b, i); err != nil {
		return x.fault(err)
	}
	r.parts, r.tables = r.parts[:0], r.tables[:0]
	total := int64(0)
	for i := range x.boxes {
		p, ok := r.cut(&x.boxes[i])
		if !ok {
			continue
		}
		if p.box.parameter != nil {
			p.span = spanOf(p.at, p.box.outer)
			if p.span.length > (maxWindowElements-total)/p.span.count {
				return x.fault(fmt.Errorf("the source has its elements so far apart that %d x %d would be read for one window (at most %d)",
					p.span.count, p.span.length, maxWindowElements))
			}
			total += p.span.elements()
		}
		r.parts = append(r.parts, p)
	}
	r.values = resize(r.values, int(total))
	rest := r.values
	for i := range r.parts {
		p := &r.parts[i]
		if p.box.parameter == nil {
			continue
		}
		p.values, rest = rest[:p.span.elements()], rest[p.span.elements():]
		if err := r.read(c, p); err != nil {
			return err
		}
	}
	return nil
}

// cut gives what the window holds of a box. The tables are of positions in the source.
func (r *reader[T]) cut(b *box) (p part[T], ok bool) {
	axes := r.window.Layout.Axes
	p.box = b
	p.begin, p.end = make([]uint64, len(axes)), make([]uint64, len(axes))
	for a, axis := range axes {
		first, end := r.window.Begin[a], r.window.Begin[a]+axis.Extent
		low, high := max(first, b.begin[a]), min(end, b.begin[a]+b.size[a])
		if low >= high {
			return p, false
		}
		p.begin[a], p.end[a] = low-first, high-first
	}
	if b.parameter == nil {
		return p, true
	}
	p.at = make([][]int64, len(axes))
	for a := range axes {
		n := int(p.end[a] - p.begin[a])
		r.tables = slices.Grow(r.tables, n)[:len(r.tables)+n]
		p.at[a] = r.tables[len(r.tables)-n:]
		b.offsets(p.at[a], a, r.window.Begin[a]+p.begin[a]-b.begin[a])
	}
	return p, true
}

// span is the part of a source that is read: count pieces, each of length elements from first + i*apart.
type span struct {
	first, apart  int64
	count, length int64
}

func (s span) elements() int64 { return s.count * s.length }

// spanOf finds what is to be read for tables of positions in a source: for each index along the outer axis, the elements of all other
// axes. An outer axis without an even step is not read piece by piece. The tables become those of positions in what is read.
func spanOf(at [][]int64, outer int) span {
	s := span{count: 1, length: 1}
	step, pieces := evenStep(at[outer])
	for a, table := range at {
		low, high := slices.Min(table), slices.Max(table)
		s.first += low
		if a == outer && pieces {
			continue
		}
		s.length += high - low
		for i := range table {
			table[i] -= low
		}
	}
	if pieces {
		s.apart, s.count = step, int64(len(at[outer]))
		for i := range at[outer] {
			at[outer][i] = int64(i) * s.length
		}
	}
	if s.apart == s.length || s.count == 1 { // the pieces follow each other: one read
		s.length *= s.count
		s.apart, s.count = s.length, 1
	}
	return s
}

// evenStep is the distance between neighbours, where it is the same for all and not negative. A single element has any: 0.
func evenStep(at []int64) (step int64, even bool) {
	if len(at) < 2 {
		return 0, true
	}
	step = at[1] - at[0]
	for i := 2; i < len(at); i++ {
		if at[i]-at[i-1] != step {
			return 0, false
		}
	}
	return step, step >= 0
}

// read reads the pieces of a part's span one behind the other.
func (r *reader[T]) read(c *source.Catalogue, p *part[T]) error {
	t, s := &p.box.parameter.Tensor, p.span
	size := int64(t.Type.Size())
	for i := range s.count {
		values := p.values[i*s.length:][:s.length]
		raw := element.Memory(values)
		direct := isFormat(values, t.Type)
		if !direct {
			r.raw = resize(r.raw, int(s.length*size))
			raw = r.raw
		}
		if err := c.ReadAt(raw, t, (s.first+i*s.apart)*size); err != nil {
			return err
		}
		if direct {
			element.Swapped(values)
		} else if err := decode(values, raw, t.Type); err != nil {
			return r.matrix.fault(err)
		}
	}
	return nil
}

// isFormat reports whether values lie in memory as elements of f.
func isFormat[T float32 | float64](values []T, f element.Format) bool {
	if _, double := any(values).([]float64); double {
		return f == element.F64
	}
	return f == element.F32
}

func decode[T float32 | float64](values []T, raw []byte, f element.Format) error {
	if v, double := any(values).([]float64); double {
		return element.ToFloat64(v, raw, f)
	}
	return element.ToFloat32(any(values).([]float32), raw, f)
}
