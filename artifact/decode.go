package artifact

import (
	"encoding/binary"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// Sizes of the index's structs; FORMAT.md, section 5. Every struct but Note, Binding and the facts of producers, contracts
// holds 64-bit fields and is aligned to 8 bytes.
const (
	axisBytes           = 24
	digitBytes          = 24
	segmentFactsBytes   = 40
	operandFactsBytes   = 24
	planeFactsBytes     = 48
	placementFactsBytes = 16
	placedAxisBytes     = 32
	fillFactsBytes      = 8
	statisticsBytes     = 72
	attributeFactsBytes = 24
	producerFactsBytes  = 4
	noteBytes           = 12
	xclbinFactsBytes    = 40
	contractFactsBytes  = 8
	argumentFactsBytes  = 24
	bindingBytes        = 12
)

const noneU32 = 1<<32 - 1 // "none" in a u32 that names an entry

// decoder turns an index into Go values. It proves that the buffer is well-formed; what the values mean is checked by
// Index.check.
type decoder struct {
	f       *flat
	idx     *Index
	axes    slab[layout.Axis]
	digits  slab[layout.Digit]
	placed  slab[PlacedAxis]
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

// decodeIndex reads the index in b, which lies at position base of the file. trace, when not nil, is told of every part.
func decodeIndex(b []byte, base int64, trace func(at, n int, what string)) (*Index, error) {
	d := &decoder{f: newFlat(b, base), idx: new(Index)}
	d.f.trace = trace
	root := d.f.root("index")
	d.producer(root.sub(0, "producer"))
	d.model(root.sub(1, "model"))
	x := d.idx
	root.each(2, maxEntries, "segments", "segment", func(n int) { x.Segments = make([]Segment, n) }, d.segment)
	root.each(3, maxEntries, "operands", "operand", func(n int) { x.Operands = make([]Operand, n) }, d.operand)
	root.each(4, maxEntries, "parameters", "parameter", func(n int) { x.Parameters = make([]Parameter, n) }, d.parameter)
	d.notes(root)
	root.each(6, maxEntries, "xclbins", "xclbin", func(n int) { x.Xclbins = make([]Xclbin, n) }, d.xclbin)
	root.each(7, maxEntries, "contracts", "contract", func(n int) { x.Contracts = make([]Contract, n) }, d.contract)
	d.bindings(root)
	if d.f.err != nil {
		return nil, d.f.err
	}
	return d.idx, nil
}

func (d *decoder) producer(t table) {
	d.idx.Producer.Name = t.text(0, "producer name")
	if at, ok := t.structure(1, producerFactsBytes, 4); ok {
		d.idx.Producer.Revision = d.f.u32(at)
	}
	d.idx.Producer.Recipe = t.text(2, "recipe name")
}

func (d *decoder) model(t table) {
	m := &d.idx.Model
	m.Family = t.text(0, "model family")
	t.each(1, maxEntries, "attributes", "attribute", func(n int) { m.Attributes = make([]Attribute, n) }, func(i int, e table) {
		a := &m.Attributes[i]
		a.Name = e.text(0, "attribute name")
		if at, ok := e.structure(1, attributeFactsBytes, 8); ok {
			a.Integer, a.Real, a.Kind = int64(d.f.u64(at)), d.f.f64(at+8), AttributeKind(d.f.b[at+16])
		}
		a.Text = e.text(2, "attribute text")
	})
}

func (d *decoder) segment(i int, t table) {
	s := &d.idx.Segments[i]
	s.Name = t.text(0, "segment name")
	if at, ok := t.structure(1, segmentFactsBytes, 8); ok {
		f := d.f
		s.Offset, s.Bytes = f.u64(at), f.u64(at+8)
		s.Digest = Digest{f.u64(at + 16), f.u64(at + 24)}
		s.Kind, s.MemoryGroup = SegmentKind(f.b[at+32]), int32(f.u32(at+36))
	}
}

func (d *decoder) operand(i int, t table) {
	o, f := &d.idx.Operands[i], d.f
	o.Name = t.text(0, "operand name")
	if at, ok := t.structure(1, operandFactsBytes, 8); ok {
		o.Segment, o.Encoding = int(f.u32(at)), f.b[at+4]
		o.Offset, o.Bytes = f.u64(at+8), f.u64(at+16)
	}
	o.Layout.Axes = d.axisList(t, 2)
	t.each(3, maxPlanes, "planes", "plane", func(int) {}, func(p int, e table) {
		digits, at := d.plane(e)
		if at >= 0 && p == 0 && o.Encoding == 0 {
			o.Layout.Digits = digits
			o.PadBits, o.Format = f.u64(at+16), element.Format(f.b[at+41])
			d.plainPlane(e, o, at)
		} else if o.Encoding == 0 {
			f.fail(e.at, "operand %q: encoding 0 has one plane", o.Name)
		}
	})
	if o.Encoding == 0 && o.Format == 0 {
		f.fail(t.at, "operand %q: encoding 0 has one plane with an element format", o.Name)
	}
	t.each(4, maxEntries, "placements", "placement", func(n int) { o.Placements = d.places.take(n) }, func(p int, e table) {
		d.placement(&o.Placements[p], len(o.Layout.Axes), e)
	})
	t.each(5, maxEntries, "fills", "fill", func(n int) { o.Fills = make([]Fill, n) }, func(p int, e table) {
		if at, ok := e.structure(0, fillFactsBytes, 8); ok {
			o.Fills[p] = Fill{d.list(e, 1, "fill begin"), d.list(e, 2, "fill size"), f.f64(at)}
		}
	})
	if at, ok := t.structure(6, statisticsBytes, 8); ok {
		s := &o.Statistics
		s.Elements, s.Inexact, s.Underflowed, s.NonFinite = f.u64(at), f.u64(at+8), f.u64(at+16), f.u64(at+24)
		s.MaxAbsError, s.MaxAbsValue = f.f64(at+32), f.f64(at+40)
		s.SumXX, s.SumXD, s.SumDD = f.f64(at+48), f.f64(at+56), f.f64(at+64)
	}
}

// plane reads a plane's digits and the position of its facts (-1: none).
func (d *decoder) plane(t table) (digits []layout.Digit, at int) {
	at, ok := t.structure(0, planeFactsBytes, 8)
	if !ok {
		at = -1
	}
	return d.digitList(t, 2), at
}

// plainPlane checks what encoding 0 promises of its one plane.
func (d *decoder) plainPlane(t table, o *Operand, at int) {
	f := d.f
	for _, b := range d.list(t, 1, "plane block") {
		if b != 1 {
			f.fail(t.at, "operand %q: encoding 0 has no blocks", o.Name)
		}
	}
	if f.u64(at) != 0 || f.u64(at+8) != o.Bytes || f.u64(at+24) != 0 || f.u64(at+32) != 0 || f.b[at+40] != 0 {
		f.fail(at, "operand %q: the plane of encoding 0 must be the whole operand, contiguous", o.Name)
	}
}

func (d *decoder) placement(p *Placement, axes int, t table) {
	f := d.f
	if at, ok := t.structure(0, placementFactsBytes, 8); ok {
		p.Parameter, p.Scale = int(f.u32(at)), f.f64(at+8)
	}
	at, n := t.vector(1, placedAxisBytes, 8, "placement from")
	p.From = d.placed.take(n)
	for i := range p.From {
		at := at + i*placedAxisBytes
		p.From[i] = PlacedAxis{f.u64(at), f.u64(at + 8), f.u64(at + 16), int(f.b[at+24])}
	}
	if p.To = d.list(t, 2, "placement to"); p.To == nil {
		p.To = d.numbers.take(min(axes, maxAxes))
	}
}

func (d *decoder) parameter(i int, t table) {
	d.idx.Parameters[i] = Parameter{t.text(0, "parameter name"), t.text(1, "parameter axes"), d.list(t, 2, "parameter shape")}
}

func (d *decoder) notes(root table) {
	at, n := root.vector(5, noteBytes, 4, "notes")
	d.idx.Notes = make([]Note, n)
	for i := range d.idx.Notes {
		at := at + i*noteBytes
		d.idx.Notes[i] = Note{d.f.b[at], int(d.f.u32(at + 4)), int(d.f.u32(at + 8))}
	}
}

func (d *decoder) xclbin(i int, t table) {
	x, f := &d.idx.Xclbins[i], d.f
	x.Name = t.text(0, "xclbin name")
	if at, ok := t.structure(1, xclbinFactsBytes, 8); ok {
		copy(x.UUID[:], f.b[at:at+16])
		x.Bytes, x.Digest = f.u64(at+16), Digest{f.u64(at + 24), f.u64(at + 32)}
	}
}

func (d *decoder) contract(i int, t table) {
	c, f := &d.idx.Contracts[i], d.f
	c.Name, c.Operation, c.Kernel = t.text(0, "contract name"), t.text(1, "operation"), t.text(2, "kernel name")
	c.Xclbin, c.Instructions = None, None
	if at, ok := t.structure(3, contractFactsBytes, 4); ok {
		if v := f.u32(at); v != noneU32 {
			c.Xclbin = int(v)
		}
		if v := f.u32(at + 4); v != noneU32 {
			c.Instructions = int(v)
		}
	}
	c.Shape = d.axisList(t, 4)
	t.each(5, maxEntries, "arguments", "argument", func(n int) { c.Arguments = make([]Argument, n) }, func(j int, e table) {
		a := &c.Arguments[j]
		a.Name = e.text(0, "argument name")
		if at, ok := e.structure(1, argumentFactsBytes, 8); ok {
			a.Index, a.MemoryGroup, a.Bytes = f.u32(at), int32(f.u32(at+4)), f.u64(at+8)
			a.Kind, a.Role, a.Format = ArgumentKind(f.b[at+16]), ArgumentRole(f.b[at+17]), element.Format(f.b[at+18])
		}
		a.Layout = layout.Layout{Axes: d.axisList(e, 2), Digits: d.digitList(e, 3)}
	})
}

func (d *decoder) bindings(root table) {
	at, n := root.vector(8, bindingBytes, 4, "bindings")
	d.idx.Bindings = make([]Binding, n)
	for i := range d.idx.Bindings {
		at := at + i*bindingBytes
		d.idx.Bindings[i] = Binding{int(d.f.u32(at)), int(d.f.u32(at + 4)), int(d.f.u32(at + 8))}
	}
}

func (d *decoder) axisList(t table, slot int) []layout.Axis {
	at, n := t.vector(slot, axisBytes, 8, "axes")
	axes := d.axes.take(n)
	for i := range axes {
		at := at + i*axisBytes
		axes[i] = layout.Axis{Name: d.f.b[at], Extent: d.f.u64(at + 8), Padded: d.f.u64(at + 16)}
	}
	return axes
}

func (d *decoder) digitList(t table, slot int) []layout.Digit {
	at, n := t.vector(slot, digitBytes, 8, "digits")
	digits := d.digits.take(n)
	for i := range digits {
		at := at + i*digitBytes
		digits[i] = layout.Digit{Axis: int(d.f.b[at]), Size: d.f.u64(at + 8), Stride: d.f.u64(at + 16)}
	}
	return digits
}

func (d *decoder) list(t table, slot int, what string) []uint64 {
	at, n := t.vector(slot, 8, 8, what)
	list := d.numbers.take(n)
	for i := range list {
		list[i] = binary.LittleEndian.Uint64(d.f.b[at+8*i:])
	}
	return list
}
