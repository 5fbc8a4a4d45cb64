package artifact

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// bandElements is how many elements Extract gathers at a time, give or take a row.
const bandElements = 1 << 18

// Values is what an operand or a parameter holds, to be written row-major.
type Values struct {
	Name   string
	Shape  []uint64
	Format element.Format // of the operands the values lie in; 0 when they differ
	Exact  bool           // every scale is a power of two: nothing but encoding stands between these and the values packed

	file   *File
	pieces []piece
}

// piece is a box of the values and where it lies: for values of an operand, all of it.
type piece struct {
	operand *Operand
	Placement
}

// OperandValues gives the logical values of an operand, in the order of its axes.
func (a *File) OperandValues(name string) (*Values, error) {
	o := a.Operand(name)
	if o == nil {
		return nil, &Error{File: a.Path, Offset: -1, Thing: fmt.Sprintf("operand %q", name), Err: ErrNotFound}
	}
	p := Placement{Scale: 1, To: make([]uint64, len(o.Layout.Axes))}
	v := &Values{Name: name, file: a}
	for i, axis := range o.Layout.Axes {
		v.Shape = append(v.Shape, axis.Extent)
		p.From = append(p.From, PlacedAxis{Size: axis.Extent, Step: 1, Axis: i})
	}
	return v, v.add(piece{o, p})
}

// ParameterValues gives a parameter's values, in its own shape, recovered from the operands that hold it.
func (a *File) ParameterValues(name string) (*Values, error) {
	i := a.Parameter(name)
	if i < 0 {
		return nil, &Error{File: a.Path, Offset: -1, Thing: fmt.Sprintf("parameter %q", name), Err: ErrNotFound}
	}
	parameter := &a.Index.Parameters[i]
	v := &Values{Name: name, Shape: parameter.Shape, file: a}
	var boxes [][]PlacedAxis
	for j := range a.Index.Operands {
		for _, p := range a.Index.Operands[j].Placements {
			if p.Parameter == i {
				boxes = append(boxes, p.From)
				if err := v.add(piece{&a.Index.Operands[j], p}); err != nil {
					return nil, err
				}
			}
		}
	}
	if n, err := distinctVolume(boxes); err != nil || n != parameter.Elements() {
		return nil, &Error{File: a.Path, Offset: -1, Thing: fmt.Sprintf("parameter %q", name), Detail: "its values cannot all be recovered from the operands", Err: ErrUnsupported}
	}
	return v, nil
}

func (v *Values) add(p piece) error {
	o := p.operand
	if !o.Supported() {
		return &Error{File: v.file.Path, Offset: -1, Thing: fmt.Sprintf("operand %q", o.Name), Detail: fmt.Sprintf("encoding %d in %v; use a newer npuw", o.Encoding, o.Format), Err: ErrUnsupported}
	}
	mantissa, _ := math.Frexp(p.Scale)
	exact := math.Abs(mantissa) == 0.5
	if len(v.pieces) == 0 {
		v.Format, v.Exact = o.Format, exact
	}
	if v.Format != o.Format {
		v.Format = 0
	}
	v.Exact = v.Exact && exact
	v.pieces = append(v.pieces, p)
	return nil
}

// WriteFloat32 writes the values as little-endian float32, rounded where a scale has to be undone.
func (v *Values) WriteFloat32(w io.Writer) error { return v.write(w, element.F32, false) }

// WriteRaw writes the elements as they are encoded, in Format. It fails where there is no one format or a scale other than 1.
func (v *Values) WriteRaw(w io.Writer) error {
	for _, p := range v.pieces {
		if p.Scale != 1 || v.Format == 0 {
			return &Error{File: v.file.Path, Offset: -1, Thing: v.Name, Detail: "lies scaled, or in operands of several formats; ask for f32", Err: ErrUnsupported}
		}
	}
	return v.write(w, v.Format, true)
}

// write goes through the values in bands of whole rows, a row being what one index of the first axis spans.
func (v *Values) write(w io.Writer, format element.Format, raw bool) error {
	rows, row := uint64(1), uint64(1)
	if len(v.Shape) > 0 {
		rows = v.Shape[0]
		row = volume(v.Shape[1:])
	}
	if row > math.MaxInt32 {
		return &Error{File: v.file.Path, Offset: -1, Thing: v.Name, Detail: fmt.Sprintf("rows of %d elements", row), Err: ErrUnsupported}
	}
	step := min(rows, max(bandElements/row, 64)&^63)
	size := uint64(format.Size())
	out := make([]byte, step*row*size)
	for begin := uint64(0); begin < rows; begin += step {
		b := band{values: v, begin: begin, end: min(begin+step, rows), raw: raw}
		b.out = out[:(b.end-begin)*row*size]
		for _, p := range v.pieces {
			if err := b.fill(p); err != nil {
				return inFile(err, v.file.Path)
			}
		}
		if _, err := w.Write(b.out); err != nil {
			return err
		}
	}
	return nil
}

// band is a range of rows of the values while it is gathered.
type band struct {
	values     *Values
	begin, end uint64
	raw        bool
	out        []byte
}

// fill gathers what piece p holds of the band.
func (b *band) fill(p piece) error {
	from := append([]PlacedAxis(nil), p.From...)
	to := append([]uint64(nil), p.To...)
	if len(from) > 0 { // cut the box to the rows of the band
		f := &from[0]
		lo, hi := max(f.Begin, b.begin), min(f.Begin+f.Size, b.end)
		if lo >= hi {
			return nil
		}
		to[f.Axis] += (lo - f.Begin) * f.Step
		f.Begin, f.Size = lo, hi-lo
	}
	window, err := p.operand.windowAround(from, to)
	if err != nil {
		return err
	}
	size := p.operand.Format.Size()
	packed := make([]byte, window.Layout.Elements()*uint64(size))
	s := &b.values.file.Index.Segments[p.operand.Segment]
	var fault error
	window.Runs(func(at, from, n uint64) bool {
		piece := packed[at*uint64(size):][:n*uint64(size)]
		fault = readFull(b.values.file, piece, int64(s.Offset+p.operand.Offset+from*uint64(size)), fmt.Sprintf("operand %q", p.operand.Name))
		return fault == nil
	})
	if fault != nil {
		return fault
	}
	g := gatherer{packed: packed, size: size, from: from, shape: b.values.Shape, first: b.begin}
	for a := range to {
		to[a] -= window.Begin[a]
		g.position = append(g.position, window.Layout.AxisOffsets(a, 0, window.Size[a]))
		if g.position[a] == nil {
			return &Error{Offset: -1, Thing: fmt.Sprintf("operand %q", p.operand.Name), Detail: "too wide an axis", Err: ErrUnsupported}
		}
	}
	return g.gather(to, func(row []byte, at uint64) error {
		if b.raw {
			copy(b.out[at*uint64(size):], row)
			return nil
		}
		values := make([]float32, len(row)/size)
		if err := element.ToFloat32(values, row, p.operand.Format); err != nil {
			return err
		}
		for i, x := range values {
			if p.Scale != 1 {
				x = float32(float64(x) / p.Scale)
			}
			binary.LittleEndian.PutUint32(b.out[(at+uint64(i))*4:], math.Float32bits(x))
		}
		return nil
	})
}

// windowAround is the smallest window of the operand that holds every element of a box: only the axis on which the box's first
// axis is placed is cut, the others are whole.
func (o *Operand) windowAround(from []PlacedAxis, to []uint64) (layout.Window, error) {
	n := len(o.Layout.Axes)
	begin, size := make([]uint64, n), make([]uint64, n)
	for a, axis := range o.Layout.Axes {
		size[a] = axis.Padded
	}
	if len(from) > 0 {
		a := from[0].Axis
		lo, hi := to[a], to[a]
		for _, f := range from {
			if f.Axis == a {
				hi += (f.Size - 1) * f.Step
			}
		}
		granules := o.Layout.Granules(a)
		for i, g := range granules {
			b, e := lo/g*g, (hi/g+1)*g
			if i == len(granules)-1 || b/granules[i+1] == (e-1)/granules[i+1] {
				begin[a], size[a] = b, e-b
				break
			}
		}
	}
	return o.Layout.Window(begin, size)
}

// gatherer collects the elements of a box from a packed window.
type gatherer struct {
	packed   []byte
	size     int        // bytes of an element
	position [][]uint64 // for each axis of the window, what an index adds to the position
	from     []PlacedAxis
	shape    []uint64 // of the values
	first    uint64   // the row at which the output begins
}

// gather calls emit for each row of the box along its last axis: the elements' bytes, and the place of the first in the output.
func (g *gatherer) gather(to []uint64, emit func(row []byte, at uint64) error) error {
	last := len(g.from) - 1
	inner := PlacedAxis{Size: 1, Step: 1}
	if last >= 0 {
		inner = g.from[last]
	}
	row := make([]byte, inner.Size*uint64(g.size))
	index := make([]uint64, max(last, 0)) // counts through all axes but the last
	for {
		var at, base uint64 // base: where the first element of the row is
		q := append([]uint64(nil), to...)
		for j := range g.from {
			at *= g.shape[j]
			at += g.from[j].Begin
			if j == 0 {
				at -= g.first
			}
			if j < last {
				at += index[j]
				q[g.from[j].Axis] += index[j] * g.from[j].Step
			}
		}
		for a := range q {
			if a != inner.Axis {
				base += g.position[a][q[a]]
			}
		}
		table := g.position[inner.Axis][q[inner.Axis]:]
		for i := range inner.Size {
			p := (base + table[i*inner.Step]) * uint64(g.size)
			copy(row[i*uint64(g.size):][:g.size], g.packed[p:])
		}
		if err := emit(row, at); err != nil {
			return err
		}
		j := last - 1
		for ; j >= 0; j-- {
			if index[j]++; index[j] < g.from[j].Size {
				break
			}
			index[j] = 0
		}
		if j < 0 {
			return nil
		}
	}
}
