package artifact

import (
	"encoding/binary"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
)

const noneU32 = 1<<32 - 1 // "none" in a u32 that names an entry

// decoder turns an index into Go values. It proves that the buffer is well-formed; what the values mean is checked by
// Index.check.
type decoder struct {
	f       *flat
	idx     *Index
	axes    shared[layout.Axis]
	digits  shared[layout.Digit]
	placed  shared[PlacedAxis]
	numbers slab[uint64]
	places  slab[Placement]
}

// slab hands out pieces of larger allocations: an index holds thousands of short slices.
type slab[T any] struct{ free []T }

func (s *slab[T]) take(n int) []T {
	if n == 0 {
		return nil
	}
	if n > len(s.free) {
		s.free = make([]T, max(n, 256))
	}
	piece := s.free[:n:n]
	s.free = s.free[n:]
	return piece
}

// shared is a slab of slices made from vectors of structs. Where the same bytes come again, as layouts do, it gives out the slice
// that it has.
type shared[T any] struct {
	slab[T]
	seen [16]struct {
		raw  []byte
		list []T
	}
}

// read gives the slice made from a vector of structs s, each by one call of decode.
func (c *shared[T]) read(t table, slot int, s *structType, decode func(f *flat, at int) T) []T {
	at, n := t.structs(slot, s)
	if n == 0 {
		return nil
	}
	raw := t.f.b[at : at+n*s.size]
	word := binary.LittleEndian.Uint64(raw[8:]) + binary.LittleEndian.Uint64(raw[len(raw)-16:])*3 + uint64(n)
	e := &c.seen[(word^word>>6)%uint64(len(c.seen))]
	if string(e.raw) == string(raw) {
		return e.list
	}
	list := c.take(n)
	for i := range list {
		if !t.f.gapIsZero(at+i*s.size, s) {
			return nil
		}
		list[i] = decode(t.f, at+i*s.size)
	}
	e.raw, e.list = raw, list
	return list
}

// decodeIndex reads the index in b, which lies at position base of the file. Nothing in the result refers to b. trace, when not
// nil, is told of every part.
func decodeIndex(b []byte, base int64, trace func(part)) (*Index, error) {
	d := &decoder{f: &flat{b: b, base: base, trace: trace}, idx: new(Index)}
	root := d.f.root(&indexTable)
	d.producer(root.sub(0, &producerTable))
	d.model(root.sub(1, &modelTable))
	x := d.idx
	root.each(2, &segmentTable, func(n int) { x.Segments = make([]Segment, n) }, d.segment)
	root.each(3, &operandTable, func(n int) { x.Operands = make([]Operand, n) }, d.operand)
	root.each(4, &parameterTable, func(n int) { x.Parameters = make([]Parameter, n) }, d.parameter)
	d.notes(root)
	root.each(6, &xclbinTable, func(n int) { x.Xclbins = make([]Xclbin, n) }, d.xclbin)
	root.each(7, &contractTable, func(n int) { x.Contracts = make([]Contract, n) }, d.contract)
	d.bindings(root)
	if d.f.err != nil {
		return nil, d.f.err
	}
	return d.idx, nil
}

func (d *decoder) producer(t table) {
	p := &d.idx.Producer
	p.Name = t.text(0)
	if at, ok := t.structure(1); ok {
		p.Revision = d.f.u32(at)
	}
	p.Recipe = t.text(2)
}

func (d *decoder) model(t table) {
	m := &d.idx.Model
	m.Family = t.text(0)
	t.each(1, &attributeTable, func(n int) { m.Attributes = make([]Attribute, n) }, func(i int, e table) {
		a := &m.Attributes[i]
		a.Name = e.text(0)
		if at, ok := e.structure(1); ok {
			a.Integer, a.Real, a.Kind = int64(d.f.u64(at)), d.f.f64(at+8), AttributeKind(d.f.b[at+16])
		}
		a.Text = e.text(2)
	})
}

func (d *decoder) segment(i int, t table) {
	s, f := &d.idx.Segments[i], d.f
	s.Name = t.text(0)
	if at, ok := t.structure(1); ok {
		s.Offset, s.Bytes = f.u64(at), f.u64(at+8)
		s.Digest = Digest{f.u64(at + 16), f.u64(at + 24)}
		s.Kind, s.MemoryGroup = SegmentKind(f.b[at+32]), int32(f.u32(at+36))
	}
}

func (d *decoder) operand(i int, t table) {
	o, f := &d.idx.Operands[i], d.f
	o.Name = t.text(0)
	if at, ok := t.structure(1); ok {
		o.Segment, o.Encoding = int(f.u32(at)), f.b[at+4]
		o.Offset, o.Bytes = f.u64(at+8), f.u64(at+16)
	}
	o.Layout.Axes = d.axisList(t, 2)
	planes := 0
	t.each(3, &planeTable, func(n int) { planes = n }, func(_ int, e table) { d.plane(o, e) })
	if o.Encoding == 0 && planes != 1 {
		f.fail(t.at, "operand %q: %d planes, encoding 0 has one", o.Name, planes)
	}
	t.each(4, &placementTable, func(n int) { o.Placements = d.places.take(n) }, func(p int, e table) {
		d.placement(&o.Placements[p], len(o.Layout.Axes), e)
	})
	t.each(5, &fillTable, func(n int) { o.Fills = make([]Fill, n) }, func(p int, e table) {
		if at, ok := e.structure(0); ok {
			o.Fills[p] = Fill{d.list(e, 1), d.list(e, 2), f.f64(at)}
		}
	})
	if at, ok := t.structure(6); ok {
		s := &o.Statistics
		s.Elements, s.Inexact, s.Underflowed, s.NonFinite = f.u64(at), f.u64(at+8), f.u64(at+16), f.u64(at+24)
		s.MaxAbsError, s.MaxAbsValue = f.f64(at+32), f.f64(at+40)
		s.SumXX, s.SumXD, s.SumDD = f.f64(at+48), f.f64(at+56), f.f64(at+64)
	}
}

// plane reads a plane. That of encoding 0 goes into the operand. What makes an operand unsupported leaves its Format unknown;
// nothing more is said of its planes then.
func (d *decoder) plane(o *Operand, t table) {
	f := d.f
	at, ok := t.structure(0)
	block, digits := d.list(t, 1), d.digitList(t, 2)
	foreign := o.Segment < len(d.idx.Segments) && d.idx.Segments[o.Segment].Kind > Instructions
	if !ok || f.err != nil || o.Encoding != 0 || foreign {
		return
	}
	o.Format = element.Format(f.b[at+41])
	switch {
	case o.Format == 0 || o.Format == element.F64:
		f.fail(at, "operand %q: %v is no element format of an operand", o.Name, o.Format)
	case !o.Format.Plain():
		return
	case f.u64(at) != 0 || f.u64(at+8) != o.Bytes || f.u64(at+24) != 0 || f.u64(at+32) != 0 || f.b[at+40] != 0:
		f.fail(at, "operand %q: the plane of encoding 0 must be the whole operand, values, without records", o.Name)
	case len(block) > 0 && len(block) != len(o.Layout.Axes) || slices.ContainsFunc(block, func(b uint64) bool { return b != 1 }):
		f.fail(t.at, "operand %q: blocks %v, encoding 0 has none", o.Name, block)
	}
	o.PadBits, o.Layout.Digits = f.u64(at+16), digits
}

func (d *decoder) placement(p *Placement, axes int, t table) {
	f := d.f
	if at, ok := t.structure(0); ok {
		p.Parameter, p.Scale = int(f.u32(at)), f.f64(at+8)
	}
	p.From = d.placed.read(t, 1, &placedAxisStruct, func(f *flat, at int) PlacedAxis {
		return PlacedAxis{f.u64(at), f.u64(at + 8), f.u64(at + 16), int(f.b[at+24])}
	})
	if p.To = d.list(t, 2); p.To == nil {
		p.To = d.numbers.take(min(axes, maxAxes))
	}
}

func (d *decoder) parameter(i int, t table) {
	d.idx.Parameters[i] = Parameter{t.text(0), t.text(1), d.list(t, 2)}
}

func (d *decoder) notes(root table) {
	at, n := root.structs(5, &noteStruct)
	for i := range root.room(5, n) {
		at := at + i*noteStruct.size
		if d.f.gapIsZero(at, &noteStruct) {
			d.idx.Notes = append(d.idx.Notes, Note{d.f.b[at], int(d.f.u32(at + 4)), int(d.f.u32(at + 8))})
		}
	}
}

func (d *decoder) xclbin(i int, t table) {
	x, f := &d.idx.Xclbins[i], d.f
	x.Name = t.text(0)
	if at, ok := t.structure(1); ok {
		copy(x.UUID[:], f.b[at:at+16])
		x.Bytes, x.Digest = f.u64(at+16), Digest{f.u64(at + 24), f.u64(at + 32)}
	}
}

func (d *decoder) contract(i int, t table) {
	c := &d.idx.Contracts[i]
	c.Name, c.Operation, c.Kernel = t.text(0), kernel.Operation(t.text(1)), t.text(2)
	c.Epilogue = kernel.Epilogue(t.text(6))
	if at, ok := t.structure(3); ok {
		c.Xclbin, c.Instructions = entryOrNone(d.f.u32(at)), entryOrNone(d.f.u32(at+4))
	}
	c.Shape = d.axisList(t, 4)
	t.each(5, &argumentTable, func(n int) { c.Arguments = make([]Argument, n) }, func(j int, e table) {
		a, f := &c.Arguments[j], d.f
		a.Name = e.text(0)
		if at, ok := e.structure(1); ok {
			a.Index, a.MemoryGroup, a.Bytes = f.u32(at), int32(f.u32(at+4)), f.u64(at+8)
			a.Kind, a.Role, a.Format = kernel.ArgumentKind(f.b[at+16]), kernel.ArgumentRole(f.b[at+17]), element.Format(f.b[at+18])
		}
		a.Layout = layout.Layout{Axes: d.axisList(e, 2), Digits: d.digitList(e, 3)}
	})
}

func entryOrNone(v uint32) int {
	if v == noneU32 {
		return None
	}
	return int(v)
}

func (d *decoder) bindings(root table) {
	at, n := root.structs(8, &bindingStruct)
	for i := range root.room(8, n) {
		at := at + i*bindingStruct.size
		d.idx.Bindings = append(d.idx.Bindings, Binding{int(d.f.u32(at)), int(d.f.u32(at + 4)), int(d.f.u32(at + 8))})
	}
}

func (d *decoder) axisList(t table, slot int) []layout.Axis {
	return d.axes.read(t, slot, &axisStruct, func(f *flat, at int) layout.Axis {
		return layout.Axis{Name: f.b[at], Extent: f.u64(at + 8), Padded: f.u64(at + 16)}
	})
}

func (d *decoder) digitList(t table, slot int) []layout.Digit {
	return d.digits.read(t, slot, &digitStruct, func(f *flat, at int) layout.Digit {
		return layout.Digit{Axis: int(f.b[at]), Size: f.u64(at + 8), Stride: f.u64(at + 16)}
	})
}

func (d *decoder) list(t table, slot int) []uint64 {
	at, n := t.vector(slot, 8, 8, formNumbers, nil)
	list := d.numbers.take(n)
	for i := range list {
		list[i] = d.f.u64(at + 8*i)
	}
	return list
}
