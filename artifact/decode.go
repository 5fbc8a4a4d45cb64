package artifact

import (
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
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
	planes     []decodedPlane
	placedAxes []PlacedAxis
	placements []Placement
	fills      []Fill
	arguments  []Argument

	// How many of these have been taken by their owners.
	takenPlacements, takenFills, takenArguments int

	// Planes with their grids, by where axes and planes lie in the index: operands of one shape share theirs.
	gridded map[[4]uint32][]plane.Plane
}

// decodedPlane is a Plane of the index, whose Layout has no axes yet.
type decodedPlane struct {
	at    int
	order uint8
	plane.Plane
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

func (d *decoder) plane(at int, p *decodedPlane) {
	p.at, p.order = at, d.b[at+58]
	p.Role, p.Format, p.HighFirst = plane.Role(d.b[at+56]), element.Format(d.b[at+57]), p.order == 1
	p.Offset, p.Bytes, p.PadBits = d.u64(at), d.u64(at+8), d.u64(at+16)
	p.RecordElements, p.RecordBytes = d.u64(at+24), d.u64(at+32)
	p.Block, p.Layout.Digits = subrange(d.flat, d.numbers, at+40, maxAxes), subrange(d.flat, d.digits, at+48, maxDigits)
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
	o.Name, o.Segment, o.Encoding, o.Offset, o.Bytes = d.string(at), int(d.u32(at+56)), plane.Encoding(d.b[at+60]), d.u64(at+40), d.u64(at+48)
	o.Placements = owned(d.flat, d.placements, &d.takenPlacements, at+24, maxBoxes)
	o.Fills = owned(d.flat, d.fills, &d.takenFills, at+32, maxBoxes)
	d.statistics(at+64, &o.Statistics)
	o.Layout.Axes = subrange(d.flat, d.axes, at+8, maxAxes)
	for i := range o.Placements {
		if p := &o.Placements[i]; p.To == nil {
			p.To = origin[:len(o.Layout.Axes):len(o.Layout.Axes)]
		}
	}
	foreign := o.Segment < len(d.idx.Segments) && d.idx.Segments[o.Segment].Kind > Instructions
	planes := subrange(d.flat, d.planes, at+16, maxPlanes)
	if d.err != nil || foreign || !o.Encoding.Known() {
		return
	}
	o.Format, o.PadBits, o.Layout.Digits, o.Planes = d.storage("operand", o.Name, o.Encoding, o.Bytes, at+8, at+16, o.Layout.Axes, planes)
	if o.Format == element.F64 {
		d.fail(at, "operand %q: %v is no element format of an operand", o.Name, o.Format)
	}
}

// known reports whether this version knows the role and the element format of a plane. 0 is known to be no element format.
func (p *decodedPlane) known() bool {
	return p.Role <= plane.Minimums && (p.Format.Known() || p.Format == 0)
}

// whole reports whether a plane is all of so many bytes, of values in a known format, without records.
func (p *decodedPlane) whole(bytes uint64) bool {
	return p.Offset == 0 && p.Bytes == bytes && p.RecordElements == 0 && p.RecordBytes == 0 && p.Role == plane.Values && p.order == 0 && p.Format.Known()
}

// storage gives what an operand or argument says of its planes. Where a role or an element format is not known, nothing but those is
// taken: it is of no use here.
func (d *decoder) storage(thing, name string, e plane.Encoding, bytes uint64, axesAt, planesAt int, axes []layout.Axis, list []decodedPlane) (
	f element.Format, padBits uint64, digits []layout.Digit, planes []plane.Plane,
) {
	if e == plane.Plain && len(list) == 1 && list[0].Block == nil && list[0].whole(bytes) { // most are
		return list[0].Format, list[0].PadBits, list[0].Layout.Digits, nil
	}
	for i := range list {
		if !list[i].known() {
			return list[0].Format, 0, nil, unknownPlanes(list)
		}
	}
	if len(list) == 0 || e == plane.Plain && len(list) != 1 || len(list) > 3 {
		d.fail(planesAt, "%s %q: %d planes, which encoding %d has not", thing, name, len(list), e)
		return 0, 0, nil, nil
	}
	for i := range list {
		p := &list[i]
		switch b := p.Block; {
		case p.Format == 0:
			d.fail(p.at, "%s %q: a plane without an element format", thing, name)
		case p.order > 1:
			d.fail(p.at, "%s %q: order %d of the halves of a byte", thing, name, p.order)
		case b != nil && len(b) != len(axes) || slices.Contains(b, 0):
			d.fail(p.at, "%s %q: blocks %d of %d axes", thing, name, b, len(axes))
		}
	}
	if d.err != nil {
		return 0, 0, nil, nil
	}
	p := &list[0]
	if e != plane.Plain {
		return p.Format, p.PadBits, p.Layout.Digits, d.grids(axesAt, planesAt, axes, list)
	}
	if !p.whole(bytes) || slices.ContainsFunc(p.Block, func(b uint64) bool { return b != 1 }) {
		d.fail(p.at, "%s %q: the plane of encoding 0 must be all of it, values, without blocks or records", thing, name)
	}
	return p.Format, p.PadBits, p.Layout.Digits, nil
}

// unknownPlanes gives roles and element formats of planes, one of which is not known; nil where the element format of the first says
// that by itself.
func unknownPlanes(list []decodedPlane) []plane.Plane {
	if len(list) == 1 && list[0].Role == plane.Values {
		return nil
	}
	planes := make([]plane.Plane, len(list))
	for i := range list {
		planes[i] = plane.Plane{Role: list[i].Role, Format: list[i].Format}
	}
	return planes
}

// grids gives planes the axes of their grids.
func (d *decoder) grids(axesAt, planesAt int, axes []layout.Axis, list []decodedPlane) []plane.Plane {
	key := [4]uint32{d.u32(axesAt), d.u32(axesAt + 4), d.u32(planesAt), d.u32(planesAt + 4)}
	if known := d.gridded[key]; known != nil {
		return known
	}
	planes := make([]plane.Plane, len(list))
	for i := range list {
		planes[i] = list[i].Plane
		planes[i].Layout.Axes = plane.Grid(axes, planes[i].Block)
	}
	if d.gridded == nil {
		d.gridded = map[[4]uint32][]plane.Plane{}
	}
	d.gridded[key] = planes
	return planes
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
	a.Encoding = plane.Encoding(d.b[at+42])
	planes := subrange(d.flat, d.planes, at+16, maxPlanes)
	if len(planes) == 0 && a.Encoding != plane.Plain {
		d.fail(at, "argument %q: encoding %d without planes", a.Name, a.Encoding)
	}
	if len(planes) > 0 && len(a.Layout.Axes) == 0 {
		d.fail(at, "argument %q: planes without axes", a.Name)
	}
	if d.err != nil || !a.Encoding.Known() || len(planes) == 0 {
		return
	}
	a.Format, _, a.Layout.Digits, a.Planes = d.storage("argument", a.Name, a.Encoding, a.Bytes, at+8, at+16, a.Layout.Axes, planes)
	if supported(a.Encoding, a.Format, a.Planes) && slices.ContainsFunc(planes, func(p decodedPlane) bool { return p.PadBits != 0 }) {
		d.fail(at, "argument %q: planes with padding, which only operands have", a.Name)
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
