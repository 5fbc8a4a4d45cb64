package artifact

import (
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
)

const noneU32 = 1<<32 - 1 // "none" in a u32 that names an entry

// decoder turns an index into Go values. It proves that the buffer is well-formed; what the values mean is checked by
// Index.check.
type decoder struct {
	*flat
	idx Index

	// The vectors that operands, parameters and contracts name ranges of.
	numbers    []uint64
	axes       []layout.Axis
	digits     []layout.Digit
	planes     []plane
	placedAxes []PlacedAxis
	placements []Placement
	fills      []Fill
	arguments  []Argument

	// How many of these have been taken by their owners.
	takenPlacements, takenFills, takenArguments int
}

// plane is a Plane of the index.
type plane struct {
	at                                                 int
	offset, bytes, padBits, recordElements, recordSize uint64
	block                                              []uint64
	digits                                             []layout.Digit
	role, order                                        uint8
	element                                            element.Format
}

// decodeIndex decodes the index in b, which begins at base of the file.
func decodeIndex(b []byte, base int64) (*Index, error) {
	d := &decoder{flat: openFlat(b, base)}
	f, x := d.flat, &d.idx
	d.numbers = readEntries(f, slotNumbers, func(at int, v *uint64) { *v = f.u64(at) })
	d.axes = readEntries(f, slotAxes, d.axis)
	d.digits = readEntries(f, slotDigits, d.digit)
	d.planes = readEntries(f, slotPlanes, d.plane)
	d.placedAxes = readEntries(f, slotPlacedAxes, d.placedAxis)
	d.placements = readEntries(f, slotPlacements, d.placement)
	d.fills = readEntries(f, slotFills, d.fill)
	x.Segments = readEntries(f, slotSegments, d.segment)
	x.Operands = readEntries(f, slotOperands, d.operand)
	x.Parameters = readEntries(f, slotParameters, d.parameter)
	x.Model.Attributes = readEntries(f, slotAttributes, d.attribute)
	x.Notes = readEntries(f, slotNotes, d.note)
	x.Xclbins = readEntries(f, slotXclbins, d.xclbin)
	d.arguments = readEntries(f, slotArguments, d.argument)
	x.Contracts = readEntries(f, slotContracts, d.contract)
	x.Bindings = readEntries(f, slotBindings, d.binding)
	readEntries(f, slotProducer, func(at int, _ *struct{}) { x.Producer = Producer{f.string(at), f.u32(at + 16), f.string(at + 8)} })
	readEntries(f, slotModel, func(at int, _ *struct{}) { x.Model.Family = f.string(at) })
	d.checkTaken(slotPlacements, d.takenPlacements)
	d.checkTaken(slotFills, d.takenFills)
	d.checkTaken(slotArguments, d.takenArguments)
	if f.err != nil {
		return nil, f.err
	}
	return x, nil
}

// checkTaken refuses entries that nothing owns.
func (d *decoder) checkTaken(s slot, taken int) {
	if n := d.count[s]; taken != n {
		d.fail(d.at[s], "%s: %d entries, of which %d belong to something", slots[s].name, n, taken)
	}
}

func (d *decoder) axis(at int, v *layout.Axis) {
	*v = layout.Axis{Extent: d.u64(at), Padded: d.u64(at + 8), Name: d.b[at+16]}
}

func (d *decoder) digit(at int, v *layout.Digit) {
	*v = layout.Digit{Size: d.u64(at), Stride: d.u64(at + 8), Axis: int(d.b[at+16])}
}

func (d *decoder) plane(at int, v *plane) {
	*v = plane{
		at: at, offset: d.u64(at), bytes: d.u64(at + 8), padBits: d.u64(at + 16), recordElements: d.u64(at + 24), recordSize: d.u64(at + 32),
		block: subrange(d.flat, d.numbers, at+40, maxAxes), digits: subrange(d.flat, d.digits, at+48, maxDigits),
		role: d.b[at+56], element: element.Format(d.b[at+57]), order: d.b[at+58],
	}
}

func (d *decoder) placedAxis(at int, v *PlacedAxis) {
	*v = PlacedAxis{d.u64(at), d.u64(at + 8), d.u64(at + 16), int(d.b[at+24])}
}

func (d *decoder) placement(at int, v *Placement) {
	v.Scale, v.Parameter = d.f64(at), int(d.u32(at+24))
	v.From, v.To = subrange(d.flat, d.placedAxes, at+8, maxAxes), subrange(d.flat, d.numbers, at+16, maxAxes)
}

func (d *decoder) fill(at int, v *Fill) {
	*v = Fill{
		Value: d.f64(at), Begin: subrange(d.flat, d.numbers, at+8, maxAxes), Size: subrange(d.flat, d.numbers, at+16, maxAxes),
	}
}

func (d *decoder) segment(at int, v *Segment) {
	*v = Segment{
		Name: d.string(at), Offset: d.u64(at + 8), Bytes: d.u64(at + 16), Digest: Digest{d.u64(at + 24), d.u64(at + 32)},
		MemoryGroup: int32(d.u32(at + 40)), Kind: SegmentKind(d.b[at+44]),
	}
}

// origin is where a placement without a place lies: its first so many entries.
var origin [maxAxes]uint64

func (d *decoder) operand(at int, o *Operand) {
	o.Name, o.Segment, o.Encoding, o.Offset, o.Bytes = d.string(at), int(d.u32(at+56)), d.b[at+60], d.u64(at+40), d.u64(at+48)
	o.Placements = owned(d.flat, d.placements, &d.takenPlacements, at+24, maxBoxes)
	o.Fills = owned(d.flat, d.fills, &d.takenFills, at+32, maxBoxes)
	d.statistics(at+64, &o.Statistics)
	o.Layout.Axes = subrange(d.flat, d.axes, at+8, maxAxes)
	for i := range o.Placements {
		if p := &o.Placements[i]; p.To == nil {
			p.To = origin[:len(o.Layout.Axes):len(o.Layout.Axes)]
		}
	}
	planes := subrange(d.flat, d.planes, at+16, maxPlanes)
	foreign := o.Segment < len(d.idx.Segments) && d.idx.Segments[o.Segment].Kind > Instructions
	if o.Encoding == 0 && !foreign && d.err == nil {
		d.valuesOf(o, at, planes)
	}
}

// valuesOf takes the plane of encoding 0 into the operand. One of an unknown element format, like an operand of another encoding,
// is left without digits, and nothing more is said of it.
func (d *decoder) valuesOf(o *Operand, at int, planes []plane) {
	if len(planes) != 1 {
		d.fail(at, "operand %q: %d planes, encoding 0 has one", o.Name, len(planes))
		return
	}
	p := &planes[0]
	o.Format = p.element
	switch {
	case o.Format == 0 || o.Format == element.F64:
		d.fail(p.at, "operand %q: %v is no element format of an operand", o.Name, o.Format)
	case !o.Format.Known():
	case !p.plain(o.Bytes, len(o.Layout.Axes)):
		d.fail(p.at, "operand %q: the plane of encoding 0 must be the whole operand, values, without blocks or records", o.Name)
	default:
		o.PadBits, o.Layout.Digits = p.padBits, p.digits
	}
}

// plain reports whether a plane is one of encoding 0, of so many bytes.
func (p *plane) plain(bytes uint64, axes int) bool {
	return p.offset == 0 && p.bytes == bytes && p.recordElements == 0 && p.recordSize == 0 && p.role == 0 && p.order == 0 &&
		(len(p.block) == 0 || len(p.block) == axes && !slices.ContainsFunc(p.block, func(b uint64) bool { return b != 1 }))
}

func (d *decoder) statistics(at int, s *element.Stats) {
	s.Elements, s.Inexact, s.Underflowed, s.NonFinite = d.u64(at), d.u64(at+8), d.u64(at+16), d.u64(at+24)
	s.MaxAbsError, s.MaxAbsValue = d.f64(at+32), d.f64(at+40)
	s.SumXX, s.SumXD, s.SumDD = d.f64(at+48), d.f64(at+56), d.f64(at+64)
}

func (d *decoder) parameter(at int, v *Parameter) {
	v.Name, v.Axes, v.Shape = d.string(at), d.string(at+8), subrange(d.flat, d.numbers, at+16, maxAxes)
}

func (d *decoder) attribute(at int, v *Attribute) {
	*v = Attribute{
		Name: d.string(at), Text: d.string(at + 8), Integer: int64(d.u64(at + 16)), Real: d.f64(at + 24), Kind: AttributeKind(d.b[at+32]),
	}
}

func (d *decoder) note(at int, v *Note) {
	*v = Note{Parameter: int(d.u32(at)), Operand: int(d.u32(at + 4)), Kind: d.b[at+8]}
}

func (d *decoder) xclbin(at int, x *Xclbin) {
	*x = Xclbin{Name: d.string(at), Bytes: d.u64(at + 24), Digest: Digest{d.u64(at + 32), d.u64(at + 40)}}
	copy(x.UUID[:], d.b[at+8:])
}

func (d *decoder) argument(at int, a *Argument) {
	*a = Argument{
		Name: d.string(at), Bytes: d.u64(at + 24), Index: d.u32(at + 32), MemoryGroup: int32(d.u32(at + 36)),
		Kind: kernel.ArgumentKind(d.b[at+40]), Role: kernel.ArgumentRole(d.b[at+41]),
	}
	a.Layout.Axes = subrange(d.flat, d.axes, at+8, maxAxes)
	planes, encoding := subrange(d.flat, d.planes, at+16, maxPlanes), d.b[at+42]
	switch {
	case d.err != nil || encoding != 0 || len(planes) == 0:
	case len(planes) > 1 || !planes[0].plain(a.Bytes, len(a.Layout.Axes)) || planes[0].padBits != 0 || planes[0].element == 0:
		d.fail(at, "argument %q: planes other than one of values, as long as it is, which encoding 0 has", a.Name)
	default:
		a.Format, a.Layout.Digits = planes[0].element, planes[0].digits
	}
}

func (d *decoder) contract(at int, v *Contract) {
	*v = Contract{
		Name: d.string(at), Operation: kernel.Operation(d.string(at + 8)), Kernel: d.string(at + 16), Epilogue: kernel.Epilogue(d.string(at + 24)),
		Shape: subrange(d.flat, d.axes, at+32, maxAxes), Arguments: owned(d.flat, d.arguments, &d.takenArguments, at+40, maxEntries),
		Xclbin: entryOrNone(d.u32(at + 48)), Instructions: entryOrNone(d.u32(at + 52)),
	}
}

func entryOrNone(v uint32) int {
	if v == noneU32 {
		return None
	}
	return int(v)
}

func (d *decoder) binding(at int, v *Binding) {
	*v = Binding{int(d.u32(at)), int(d.u32(at + 4)), int(d.u32(at + 8))}
}
