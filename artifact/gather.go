package artifact

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// A window may hold so many elements for each of those that are wanted; a small one may hold more. Of planes that are joined, each
// has a window, and values in it take 8 bytes.
const (
	windowExcess = 64
	windowSmall  = 1 << 14
	windowJoined = 8 // part of the usual window
)

// gatherer collects boxes of values from operands. Its memory is used again from one to the next.
type gatherer struct {
	file   *File
	window uint64 // how many elements of an operand may be read at a time
	raw    bool   // values are elements as they are; else float32
	elem   int    // bytes of a value

	out         []byte   // the values of the band, row-major
	begin, size []uint64 // of the band

	// Of operands whose planes have to be joined: a reader of the last one, and what it has decoded.
	joined  *Operand
	reader  *plane.Reader
	decoded []float64

	packed []byte    // a window of an operand, as it lies in the file
	row    []byte    // elements of the window, in the order of the values
	values []float32 // the same, decoded
}

// band fills out with the values of a box. Pieces outside it are left out.
func (g *gatherer) band(pieces []piece, begin, size []uint64) error {
	g.begin, g.size = begin, size
	for i := range pieces {
		p := &pieces[i]
		from, to := slices.Clone(p.From), slices.Clone(p.To)
		empty := false
		for j := range from { // what the piece holds of the band
			f := &from[j]
			lo, hi := max(f.Begin, begin[j]), min(f.Begin+f.Size, begin[j]+size[j])
			if empty = lo >= hi; empty {
				break
			}
			to[f.Axis] += (lo - f.Begin) * f.Step
			f.Begin, f.Size = lo, hi-lo
		}
		if empty {
			continue
		}
		if err := g.box(p, from, to); err != nil {
			return err
		}
	}
	return nil
}

// box gathers the box from of the values, whose first element is at index to of the piece's operand. Where the window around it
// is too large, or its elements lie far apart in it, the box is halved: the window around one element is that element.
func (g *gatherer) box(p *piece, from []PlacedAxis, to []uint64) error {
	most := max(windowSmall, windowExcess*placedVolume(from))
	if !p.operand.single() {
		g.open(p.operand)
		size := boxAround(from, to)
		n, err := g.reader.Elements(to, size)
		switch {
		case err != nil:
			return p.fault(err)
		case n <= min(g.window/windowJoined, most):
			return g.join(p, size, from, to)
		}
		return g.halve(p, from, to)
	}
	window, err := p.operand.Layout.WindowAround(to, boxAround(from, to))
	switch {
	case err != nil:
		return p.fault(err)
	case window.Layout.Elements() <= min(g.window, most):
		return g.gather(p, window, from, to)
	}
	return g.halve(p, from, to)
}

// fault says that the operand of a piece is not as it should be.
func (p *piece) fault(err error) error {
	return &Error{Offset: -1, Thing: fmt.Sprintf("operand %q", p.operand.Name), Detail: err.Error(), Err: ErrCorrupt}
}

// halve gathers a box in two halves of its longest axis.
func (g *gatherer) halve(p *piece, from []PlacedAxis, to []uint64) error {
	widest := 0
	for j := range from {
		if from[j].Size > from[widest].Size {
			widest = j
		}
	}
	low, high, there := slices.Clone(from), slices.Clone(from), slices.Clone(to)
	half := from[widest].Size / 2
	low[widest].Size = half
	high[widest].Begin += half
	high[widest].Size -= half
	there[high[widest].Axis] += half * high[widest].Step
	if err := g.box(p, low, to); err != nil {
		return err
	}
	return g.box(p, high, there)
}

// boxAround is the size of the box of an operand that begins at index to and holds every element of a box of values.
func boxAround(from []PlacedAxis, to []uint64) []uint64 {
	size := make([]uint64, len(to))
	for a := range size {
		size[a] = 1
	}
	for _, f := range from {
		size[f.Axis] += (f.Size - 1) * f.Step
	}
	return size
}

// gather reads a window and gathers a box from it.
func (g *gatherer) gather(p *piece, window layout.Window, from []PlacedAxis, to []uint64) error {
	o, elem := p.operand, uint64(p.operand.Format.Size())
	g.packed = resize(g.packed, window.Layout.Elements()*elem)
	thing, base := fmt.Sprintf("operand %q", o.Name), g.file.Index.Segments[o.Segment].Offset+o.Offset
	var err error
	window.Runs(func(at, there, n uint64) bool {
		err = readFull(g.file, g.packed[at*elem:(at+n)*elem], int64(base+there*elem), thing)
		return err == nil
	})
	if err != nil {
		return err
	}
	w := walk{begin: g.begin, size: g.size, from: from, to: make([]uint64, len(to))}
	for a := range to {
		w.to[a] = to[a] - window.Begin[a]
		w.position = append(w.position, window.Layout.AxisOffsets(a, 0, window.Size[a]))
	}
	w.rows(func(base, at uint64, table []uint64, inner PlacedAxis) {
		g.row = resize(g.row, inner.Size*elem)
		for i := range inner.Size {
			from := (base + table[i*inner.Step]) * elem
			copy(g.row[i*elem:(i+1)*elem], g.packed[from:])
		}
		if e := g.put(at, p); err == nil {
			err = e
		}
	})
	return err
}

// open makes the reader one of an operand whose planes have to be joined.
func (g *gatherer) open(o *Operand) {
	if g.joined == o {
		return
	}
	storage, base := o.Storage(), int64(g.file.Index.Segments[o.Segment].Offset+o.Offset)
	thing := fmt.Sprintf("operand %q", o.Name)
	g.joined, g.reader = o, plane.NewReader(&storage, func(b []byte, off uint64) error {
		return readFull(g.file, b, base+int64(off), thing)
	})
}

// join gathers a box from an operand whose planes have to be joined, out of one of the size given at index to: its values are decoded
// row-major, then gathered.
func (g *gatherer) join(p *piece, size []uint64, from []PlacedAxis, to []uint64) error {
	g.decoded = resize(g.decoded, volume(size))
	if err := g.reader.Float64(g.decoded, to, size); err != nil {
		if known := (*Error)(nil); errors.As(err, &known) {
			return known
		}
		return p.fault(err)
	}
	w := walk{begin: g.begin, size: g.size, from: from, to: make([]uint64, len(to)), position: rowMajorOffsets(size)}
	w.rows(func(base, at uint64, table []uint64, inner PlacedAxis) {
		out := g.out[at*uint64(g.elem):]
		for i := range inner.Size {
			x := g.decoded[base+table[i*inner.Step]]
			if p.Scale != 1 {
				x /= p.Scale
			}
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(float32(x)))
		}
	})
	return nil
}

// rowMajorOffsets gives, for each axis of a box, what an index on it adds to a position in it.
func rowMajorOffsets(size []uint64) [][]uint64 {
	l := rowMajor(make([]layout.Axis, len(size)))
	for a, n := range size {
		l.Axes[a] = layout.Axis{Name: byte('A' + a), Extent: n, Padded: n}
		l.Digits[a].Size = n
	}
	tables := make([][]uint64, len(size))
	for a, n := range size {
		tables[a] = l.AxisOffsets(a, 0, n)
	}
	return tables
}

// put writes the row that has been gathered to its place in the band.
func (g *gatherer) put(at uint64, p *piece) error {
	out := g.out[at*uint64(g.elem):]
	if g.raw {
		copy(out, g.row)
		return nil
	}
	g.values = resize(g.values, uint64(len(g.row)/p.operand.Format.Size()))
	if err := element.ToFloat32(g.values, g.row, p.operand.Format); err != nil {
		return err
	}
	for i, x := range g.values {
		if p.Scale != 1 {
			x = float32(float64(x) / p.Scale)
		}
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(x))
	}
	return nil
}

// resize gives a slice of n elements, in the memory of s where it is large enough.
func resize[T any](s []T, n uint64) []T {
	if uint64(cap(s)) < n {
		return make([]T, n)
	}
	return s[:n]
}

// walk goes through a box of values, row-major.
type walk struct {
	begin, size []uint64     // the band in which the values stand
	from        []PlacedAxis // the box, inside the band
	to          []uint64     // its first element's index in a window
	position    [][]uint64   // for each axis of the window, what an index adds to an element's position
}

// rows calls do for each row of the box along its last axis. Element i of inner.Size lies at base + table[i*inner.Step] in the
// window, and goes to at + i of the band.
func (w *walk) rows(do func(base, at uint64, table []uint64, inner PlacedAxis)) {
	last := len(w.from) - 1
	inner := PlacedAxis{Size: 1, Step: 1}
	if last >= 0 {
		inner = w.from[last]
	}
	index := make([]uint64, max(last, 0)) // counts through all axes but the last
	q := make([]uint64, len(w.to))
	for {
		copy(q, w.to)
		var at, base uint64
		for j, f := range w.from {
			at = at*w.size[j] + f.Begin - w.begin[j]
			if j < last {
				at += index[j]
				q[f.Axis] += index[j] * f.Step
			}
		}
		for a := range q {
			if a != inner.Axis {
				base += w.position[a][q[a]]
			}
		}
		do(base, at, w.position[inner.Axis][q[inner.Axis]:], inner)
		j := last - 1
		for ; j >= 0; j-- {
			if index[j]++; index[j] < w.from[j].Size {
				break
			}
			index[j] = 0
		}
		if j < 0 {
			return
		}
	}
}
