package artifact

import (
	"encoding/binary"
	"hash/maphash"
	"slices"

	flatbuffers "github.com/google/flatbuffers/go"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	fb "npuw/schema/npuwfb"
)

// encodeIndex writes idx as the FlatBuffer of FORMAT.md, section 5, zero-padded to a length that a header may state. Equal strings
// and equal lists are written once. Vectors lie in the order of their slots.
func encodeIndex(idx *Index) []byte { return newEncoder(idx).encode(idx) }

func (e *encoder) encode(idx *Index) []byte {
	b := flatbuffers.NewBuilder(4096)
	var at [slotCount]flatbuffers.UOffsetT // FlatBuffers are built from the end
	at[slotBindings] = vectorOf(b, slotBindings, idx.Bindings, func(v *Binding) {
		fb.CreateBinding(b, uint32(v.Operand), uint32(v.Contract), uint32(v.Argument))
	})
	at[slotArguments] = vectorOf(b, slotArguments, e.arguments, e.argument(b))
	at[slotContracts] = vectorOf(b, slotContracts, e.contracts, e.contract(b))
	at[slotXclbins] = vectorOf(b, slotXclbins, idx.Xclbins, func(x *Xclbin) {
		n := e.text(x.Name)
		fb.CreateXclbin(b, n.first, n.count, binary.LittleEndian.Uint64(x.UUID[:]), binary.LittleEndian.Uint64(x.UUID[8:]), x.Bytes, x.Digest.Lo, x.Digest.Hi)
	})
	at[slotNotes] = vectorOf(b, slotNotes, idx.Notes, func(n *Note) {
		fb.CreateNote(b, uint32(n.Parameter), uint32(n.Operand), fb.NoteKind(n.Kind))
	})
	at[slotAttributes] = vectorOf(b, slotAttributes, idx.Model.Attributes, func(a *Attribute) {
		n, t := e.text(a.Name), e.text(a.Text)
		fb.CreateAttribute(b, n.first, n.count, t.first, t.count, a.Integer, a.Real, fb.AttributeKind(a.Kind))
	})
	at[slotParameters] = vectorOf(b, slotParameters, idx.Parameters, func(p *Parameter) {
		n, a, s := e.text(p.Name), e.text(p.Axes), e.numbers.add(p.Shape)
		fb.CreateParameter(b, n.first, n.count, a.first, a.count, s.first, s.count)
	})
	at[slotOperands] = vectorOf(b, slotOperands, e.operands, e.operand(b))
	at[slotSegments] = vectorOf(b, slotSegments, idx.Segments, func(s *Segment) {
		n := e.text(s.Name)
		fb.CreateSegment(b, n.first, n.count, s.Offset, s.Bytes, s.Digest.Lo, s.Digest.Hi, s.MemoryGroup, fb.SegmentKind(s.Kind))
	})
	at[slotFills] = vectorOf(b, slotFills, e.fills, func(f *Fill) {
		begin, size := e.numbers.add(f.Begin), e.numbers.add(f.Size)
		fb.CreateFill(b, f.Value, begin.first, begin.count, size.first, size.count)
	})
	at[slotPlacements] = vectorOf(b, slotPlacements, e.placements, e.placement(b))
	at[slotPlacedAxes] = vectorOf(b, slotPlacedAxes, e.placedAxes.list, func(a *PlacedAxis) {
		fb.CreatePlacedAxis(b, a.Begin, a.Size, a.Step, byte(a.Axis))
	})
	at[slotPlanes] = vectorOf(b, slotPlanes, e.planes.list, func(p *encodedPlane) {
		fb.CreatePlane(b, p.offset, p.bytes, p.padBits, p.recordElements, p.recordBytes, p.block.first, p.block.count, p.digits.first, p.digits.count,
			fb.PlaneRole(p.role), fb.ElementFormat(p.element), p.order)
	})
	at[slotDigits] = vectorOf(b, slotDigits, e.digits.list, func(d *layout.Digit) { fb.CreateDigit(b, d.Size, d.Stride, byte(d.Axis)) })
	at[slotAxes] = vectorOf(b, slotAxes, e.axes.list, func(a *layout.Axis) { fb.CreateAxis(b, a.Extent, a.Padded, a.Name) })
	at[slotNumbers] = vectorOf(b, slotNumbers, e.numbers.list, func(n *uint64) { b.PrependUint64(*n) })
	producer, recipe, family := e.text(idx.Producer.Name), e.text(idx.Producer.Recipe), e.text(idx.Model.Family)
	if len(e.characters) > 0 {
		at[slotText] = b.CreateByteVector(e.characters)
	}
	fb.IndexStart(b)
	fb.IndexAddProducer(b, fb.CreateProducer(b, producer.first, producer.count, recipe.first, recipe.count, idx.Producer.Revision))
	fb.IndexAddModel(b, fb.CreateModel(b, family.first, family.count))
	for s := slotText; s < slotCount; s++ {
		b.PrependUOffsetTSlot(int(s), at[s], 0) // leaves out what is empty
	}
	b.FinishWithFileIdentifier(fb.IndexEnd(b), []byte(flatIdentifier))
	index := b.FinishedBytes()
	return append(index, make([]byte, max((len(index)+7)&^7, minIndexBytes)-len(index))...)
}

// vectorOf writes the vector of a slot; 0, no vector, when there are no entries.
func vectorOf[T any](b *flatbuffers.Builder, s slot, list []T, write func(*T)) flatbuffers.UOffsetT {
	if len(list) == 0 {
		return 0
	}
	b.StartVector(slots[s].of.size, len(list), slots[s].of.align)
	for i := len(list) - 1; i >= 0; i-- {
		write(&list[i])
	}
	return b.EndVector(len(list))
}

// span is a Range, or a Text.
type span struct{ first, count uint32 }

// pool is a vector that others name ranges of. Equal ranges are the same.
type pool[T comparable] struct {
	list []T
	seed maphash.Seed
	seen map[uint64][]span
}

func newPool[T comparable]() pool[T] {
	return pool[T]{seed: maphash.MakeSeed(), seen: map[uint64][]span{}}
}

func (p *pool[T]) add(list []T) span {
	if len(list) == 0 {
		return span{}
	}
	var hash uint64
	for _, v := range list {
		hash = hash*31 + maphash.Comparable(p.seed, v)
	}
	for _, s := range p.seen[hash] {
		if slices.Equal(p.list[s.first:s.first+s.count], list) {
			return s
		}
	}
	s := span{uint32(len(p.list)), uint32(len(list))}
	p.list = append(p.list, list...)
	p.seen[hash] = append(p.seen[hash], s)
	return s
}

// encoder collects what the entries of an index name. Its vectors are filled in the order of the index, before any is written:
// FlatBuffers are built from the end.
type encoder struct {
	characters []byte
	texts      map[string]span
	badText    string // the first that no index may have
	numbers    pool[uint64]
	axes       pool[layout.Axis]
	digits     pool[layout.Digit]
	planes     pool[encodedPlane]
	placedAxes pool[PlacedAxis]

	operands   []encodedOperand
	placements []encodedPlacement
	fills      []Fill
	contracts  []encodedContract
	arguments  []encodedArgument
}

type encodedPlane struct {
	offset, bytes, padBits, recordElements, recordBytes uint64
	block, digits                                       span
	role                                                plane.Role
	element                                             element.Format
	order                                               fb.NibbleOrder
}

type encodedOperand struct {
	*Operand
	axes, planes, placements, fills span
}

type encodedPlacement struct {
	*Placement
	from, to span
}

type encodedContract struct {
	*Contract
	shape, arguments span
}

type encodedArgument struct {
	*Argument
	axes, planes span
}

func newEncoder(x *Index) *encoder {
	e := &encoder{
		texts: map[string]span{}, numbers: newPool[uint64](), axes: newPool[layout.Axis](), digits: newPool[layout.Digit](),
		planes: newPool[encodedPlane](), placedAxes: newPool[PlacedAxis](),
	}
	for _, s := range []string{x.Producer.Name, x.Producer.Recipe, x.Model.Family} {
		e.text(s)
	}
	for i := range x.Segments {
		e.text(x.Segments[i].Name)
	}
	for i := range x.Operands {
		e.addOperand(&x.Operands[i])
	}
	for i := range x.Parameters {
		p := &x.Parameters[i]
		e.text(p.Name)
		e.text(p.Axes)
		e.numbers.add(p.Shape)
	}
	for i := range x.Model.Attributes {
		e.text(x.Model.Attributes[i].Name)
		e.text(x.Model.Attributes[i].Text)
	}
	for i := range x.Xclbins {
		e.text(x.Xclbins[i].Name)
	}
	for i := range x.Contracts {
		e.addContract(&x.Contracts[i])
	}
	return e
}

// text is where a string lies.
func (e *encoder) text(s string) span {
	if s == "" {
		return span{}
	}
	at, known := e.texts[s]
	if !known {
		if e.badText == "" && (len(s) > maxString || !plainText([]byte(s))) {
			e.badText = s
		}
		at = span{uint32(len(e.characters)), uint32(len(s))}
		e.characters = append(e.characters, s...)
		e.texts[s] = at
	}
	return at
}

// grown is the range of the last n of so many entries.
func grown(entries, n int) span {
	if n == 0 {
		return span{}
	}
	return span{uint32(entries - n), uint32(n)}
}

func (e *encoder) addOperand(o *Operand) {
	e.text(o.Name)
	for i := range o.Placements {
		p := &o.Placements[i]
		to := span{}
		if slices.ContainsFunc(p.To, func(v uint64) bool { return v != 0 }) {
			to = e.numbers.add(p.To)
		}
		e.placements = append(e.placements, encodedPlacement{p, e.placedAxes.add(p.From), to})
	}
	for i := range o.Fills {
		e.numbers.add(o.Fills[i].Begin)
		e.numbers.add(o.Fills[i].Size)
	}
	e.fills = append(e.fills, o.Fills...)
	e.operands = append(e.operands, encodedOperand{
		o, e.axes.add(o.Layout.Axes), e.addPlanes(o.Storage(), true),
		grown(len(e.placements), len(o.Placements)), grown(len(e.fills), len(o.Fills)),
	})
}

// addPlanes adds the planes of a storage, with their padding or without.
func (e *encoder) addPlanes(s plane.Storage, padding bool) span {
	list := make([]encodedPlane, len(s.Planes))
	for i := range s.Planes {
		p := &s.Planes[i]
		list[i] = encodedPlane{
			offset: p.Offset, bytes: p.Bytes, recordElements: p.RecordElements, recordBytes: p.RecordBytes,
			block: e.numbers.add(p.Block), digits: e.digits.add(p.Layout.Digits), role: p.Role, element: p.Format,
		}
		if padding {
			list[i].padBits = p.PadBits
		}
		if p.HighFirst {
			list[i].order = fb.NibbleOrderHighFirst
		}
	}
	return e.planes.add(list)
}

func (e *encoder) addContract(c *Contract) {
	for _, s := range []string{c.Name, string(c.Operation), c.Kernel, string(c.Epilogue)} {
		e.text(s)
	}
	for i := range c.Arguments {
		a := &c.Arguments[i]
		e.text(a.Name)
		planes := span{}
		if a.Format != 0 {
			planes = e.addPlanes(a.Storage(), false)
		}
		e.arguments = append(e.arguments, encodedArgument{a, e.axes.add(a.Layout.Axes), planes})
	}
	e.contracts = append(e.contracts, encodedContract{c, e.axes.add(c.Shape), grown(len(e.arguments), len(c.Arguments))})
}

func (e *encoder) operand(b *flatbuffers.Builder) func(o *encodedOperand) {
	return func(o *encodedOperand) {
		n, s := e.text(o.Name), &o.Statistics
		fb.CreateOperand(b, n.first, n.count, o.axes.first, o.axes.count, o.planes.first, o.planes.count,
			o.placements.first, o.placements.count, o.fills.first, o.fills.count,
			o.Offset, o.Bytes, uint32(o.Segment), fb.Encoding(o.Encoding),
			s.Elements, s.Inexact, s.Underflowed, s.NonFinite, s.MaxAbsError, s.MaxAbsValue, s.SumXX, s.SumXD, s.SumDD)
	}
}

func (e *encoder) placement(b *flatbuffers.Builder) func(p *encodedPlacement) {
	return func(p *encodedPlacement) {
		fb.CreatePlacement(b, p.Scale, p.from.first, p.from.count, p.to.first, p.to.count, uint32(p.Parameter))
	}
}

func (e *encoder) contract(b *flatbuffers.Builder) func(c *encodedContract) {
	return func(c *encodedContract) {
		name, operation, kernel, epilogue := e.text(c.Name), e.text(string(c.Operation)), e.text(c.Kernel), e.text(string(c.Epilogue))
		fb.CreateContract(b, name.first, name.count, operation.first, operation.count, kernel.first, kernel.count, epilogue.first, epilogue.count,
			c.shape.first, c.shape.count, c.arguments.first, c.arguments.count, u32OrNone(c.Xclbin), u32OrNone(c.Instructions))
	}
}

func (e *encoder) argument(b *flatbuffers.Builder) func(a *encodedArgument) {
	return func(a *encodedArgument) {
		n := e.text(a.Name)
		fb.CreateArgument(b, n.first, n.count, a.axes.first, a.axes.count, a.planes.first, a.planes.count,
			a.Bytes, a.Index, a.MemoryGroup, fb.ArgumentKind(a.Kind), fb.ArgumentRole(a.Role), fb.Encoding(a.Encoding))
	}
}

func u32OrNone(i int) uint32 {
	if i == None {
		return noneU32
	}
	return uint32(i)
}
