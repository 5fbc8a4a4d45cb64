package plane

import (
	"fmt"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// maxWindow bounds how many elements of a plane are read for one box: a layout that spreads a box over more cannot be read in
// pieces.
const maxWindow = 1 << 24

// Reader reads values of a storage that Validate has proved. It is for one goroutine, and uses its memory again.
type Reader struct {
	s   *Storage
	at  func(b []byte, off uint64) error
	box [4]planeBox // of each plane

	packed, elements []byte
}

// planeBox is what a plane holds for a box of indices: the value for index i is values[the sum of place[a][i_a - begin_a]].
type planeBox struct {
	values []float64
	place  [][]uint64
}

// NewReader reads values of s from the bytes of its operand: at reads all of b from off on.
func NewReader(s *Storage, at func(b []byte, off uint64) error) *Reader { return &Reader{s: s, at: at} }

// Float64 decodes the values of the box [begin, begin+size) of the padded index space into dst, row-major: as they are defined, without
// rounding but that of a minimum. Errors are those of reading, and a box that Elements says is too large to read.
func (r *Reader) Float64(dst []float64, begin, size []uint64) error {
	if !inside(r.s.Axes, begin, size) || uint64(len(dst)) != volume(size) {
		return fmt.Errorf("%d values of %d from %d, of axes padded to %v", len(dst), size, begin, r.s.Axes)
	}
	for i := range r.s.Planes {
		if err := r.read(&r.box[i], &r.s.Planes[i], begin, size); err != nil {
			return fmt.Errorf("%v: %w", r.s.Planes[i].Role, err)
		}
	}
	row := int(size[len(size)-1])
	index := make([]uint64, len(size)-1) // of the row, in the box
	for {
		r.row(dst[:row], index)
		dst = dst[row:]
		a := len(index) - 1
		for ; a >= 0; a-- {
			if index[a]++; index[a] < size[a] {
				break
			}
			index[a] = 0
		}
		if a < 0 {
			return nil
		}
	}
}

// inside reports whether a box has values and lies in the padded index space.
func inside(axes []layout.Axis, begin, size []uint64) bool {
	if len(begin) != len(axes) || len(size) != len(axes) {
		return false
	}
	for a, axis := range axes {
		if size[a] == 0 || size[a] > axis.Padded || begin[a] > axis.Padded-size[a] {
			return false
		}
	}
	return true
}

// Elements is how many values of one plane, the largest part of those that lie around the box, are read and held for it; no more than
// 1<<24 can be. It is an error when the box is not inside the padded index space.
func (r *Reader) Elements(begin, size []uint64) (uint64, error) {
	if !inside(r.s.Axes, begin, size) {
		return 0, fmt.Errorf("%d values from %d, of axes padded to %v", size, begin, r.s.Axes)
	}
	most := uint64(0)
	for i := range r.s.Planes {
		p := &r.s.Planes[i]
		w, err := p.window(p.grid(begin, size))
		if err != nil {
			return 0, fmt.Errorf("%v: %w", p.Role, err)
		}
		most = max(most, w.Layout.Elements())
	}
	return most, nil
}

// row joins what the planes hold for the row at an index.
func (r *Reader) row(dst []float64, index []uint64) {
	line := func(i int) (values []float64, place []uint64) {
		b := &r.box[i]
		base := uint64(0)
		for a, v := range index {
			base += b.place[a][v]
		}
		return b.values[base:], b.place[len(index)]
	}
	codes, place := line(0)
	for c := range dst {
		dst[c] = codes[place[c]]
	}
	if r.s.Encoding == Plain {
		return
	}
	scales, scaleAt := line(1)
	switch {
	case len(r.s.Planes) == 2:
		for c := range dst {
			dst[c] *= scales[scaleAt[c]]
		}
	case r.s.Planes[2].Role == Zeros:
		zeros, zeroAt := line(2)
		for c := range dst {
			dst[c] = (dst[c] - zeros[zeroAt[c]]) * scales[scaleAt[c]]
		}
	default:
		minimums, minimumAt := line(2)
		for c := range dst {
			dst[c] = float64(dst[c]*scales[scaleAt[c]]) + minimums[minimumAt[c]]
		}
	}
}

// read decodes the elements of a plane around a box, and works out where in them each index of the box is.
func (r *Reader) read(b *planeBox, p *Plane, begin, size []uint64) error {
	first, count := p.grid(begin, size)
	w, err := p.window(first, count)
	if err != nil {
		return err
	}
	if n := w.Layout.Elements(); n > maxWindow {
		return fmt.Errorf("layout %v spreads %d values over %d, which are too many to read for them", p.Layout, volume(count), n)
	}
	if err := r.decode(b, p, &w); err != nil {
		return err
	}
	b.place = b.place[:0]
	for a := range begin {
		table, span := w.Layout.AxisOffsets(a, first[a]-w.Begin[a], count[a]), p.span(a)
		if span == 1 {
			b.place = append(b.place, table)
			continue
		}
		wide := make([]uint64, size[a])
		for i := range wide {
			wide[i] = table[(begin[a]+uint64(i))/span-first[a]]
		}
		b.place = append(b.place, wide)
	}
	return nil
}

// grid is the box of the plane's grid whose elements a box of indices needs.
func (p *Plane) grid(begin, size []uint64) (first, count []uint64) {
	first, count = make([]uint64, len(begin)), make([]uint64, len(begin))
	for a := range begin {
		span := p.span(a)
		first[a] = begin[a] / span
		count[a] = (begin[a]+size[a]-1)/span - first[a] + 1
	}
	return first, count
}

// span is how many indices of an axis one element spans.
func (p *Plane) span(axis int) uint64 {
	if p.Block == nil {
		return 1
	}
	return p.Block[axis]
}

// window is the smallest window of the plane that holds a box of its grid, of whole elements.
func (p *Plane) window(begin, size []uint64) (layout.Window, error) {
	begin, size = slices.Clone(begin), slices.Clone(size)
	if v := uint64(p.Format.Values()); v > 1 {
		d, _ := innermost(p.Layout)
		end := (begin[d.Axis] + size[d.Axis] + v - 1) / v * v
		begin[d.Axis] = begin[d.Axis] / v * v
		size[d.Axis] = end - begin[d.Axis]
	}
	return p.Layout.WindowAround(begin, size)
}

// decode reads and decodes a window, whose values come as they lie.
func (r *Reader) decode(b *planeBox, p *Plane, w *layout.Window) error {
	n := w.Layout.Elements()
	b.values = grown(b.values, n)
	per, size := uint64(p.Format.Values()), uint64(max(p.Format.Size(), 1))
	r.elements = grown(r.elements, n/per*size)
	var err error
	w.Runs(func(at, to, n uint64) bool {
		err = r.readRun(p, r.elements[at/per*size:], to/per, n/per)
		return err == nil
	})
	if err != nil {
		return err
	}
	return element.ToFloat64(b.values, r.elements, p.Format)
}

// readRun reads n elements from first on into dst, those of 4 bits one a byte.
func (r *Reader) readRun(p *Plane, dst []byte, first, n uint64) error {
	size := uint64(p.Format.Size())
	var err error
	p.Runs(first, n, func(at, number, count uint64) bool {
		if size > 0 {
			err = r.at(dst[(number-first)*size:][:count*size], at)
		} else {
			err = r.read4(p, dst[number-first:][:count], at, number%2 == 1)
		}
		return err == nil
	})
	return err
}

// read4 reads 4-bit elements from the byte at on, of which two share each: with an odd one at either end, its neighbour is read too.
func (r *Reader) read4(p *Plane, dst []byte, at uint64, odd bool) error {
	skip := 0
	if odd {
		skip = 1
	}
	r.packed = grown(r.packed, uint64(skip+len(dst)+1)/2)
	if err := r.at(r.packed, at); err != nil {
		return err
	}
	packed := r.packed
	if odd {
		var pair [2]byte
		if err := element.Unpack4(pair[:], packed[:1], p.HighFirst); err != nil {
			return err
		}
		dst[0], dst, packed = pair[1], dst[1:], packed[1:]
	}
	return element.Unpack4(dst, packed, p.HighFirst)
}

func volume(size []uint64) uint64 {
	n := uint64(1)
	for _, s := range size {
		n *= s
	}
	return n
}

// grown gives a slice of n elements, in the memory of s where it is large enough.
func grown[T any](s []T, n uint64) []T {
	if uint64(cap(s)) < n {
		return make([]T, n)
	}
	return s[:n]
}
