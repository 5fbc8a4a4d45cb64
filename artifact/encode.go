package artifact

import (
	"encoding/binary"

	flatbuffers "github.com/google/flatbuffers/go"

	"npuw/artifact/layout"
	fb "npuw/schema/npuwfb"
)

// encodeIndex writes idx as the FlatBuffer of FORMAT.md, section 5, zero-padded to a length that a header may state. A vector
// that is empty has offset 0, which the generated setters take for absent.
func encodeIndex(idx *Index) []byte {
	e := encoder{flatbuffers.NewBuilder(4096)}
	b := e.Builder
	producer := e.producer(&idx.Producer)
	model := e.model(&idx.Model)
	segments := vectorOf(e, idx.Segments, e.segment)
	operands := vectorOf(e, idx.Operands, e.operand)
	parameters := vectorOf(e, idx.Parameters, e.parameter)
	notes := structsOf(e, idx.Notes, &noteStruct, func(n Note) {
		fb.CreateNote(b, fb.NoteKind(n.Kind), uint32(n.Parameter), uint32(n.Operand))
	})
	xclbins := vectorOf(e, idx.Xclbins, e.xclbin)
	contracts := vectorOf(e, idx.Contracts, e.contract)
	bindings := structsOf(e, idx.Bindings, &bindingStruct, func(v Binding) {
		fb.CreateBinding(b, uint32(v.Operand), uint32(v.Contract), uint32(v.Argument))
	})
	fb.IndexStart(b)
	fb.IndexAddProducer(b, producer)
	fb.IndexAddModel(b, model)
	fb.IndexAddSegments(b, segments)
	fb.IndexAddOperands(b, operands)
	fb.IndexAddParameters(b, parameters)
	fb.IndexAddNotes(b, notes)
	fb.IndexAddXclbins(b, xclbins)
	fb.IndexAddContracts(b, contracts)
	fb.IndexAddBindings(b, bindings)
	b.FinishWithFileIdentifier(fb.IndexEnd(b), []byte(flatIdentifier))
	index := b.FinishedBytes()
	return append(index, make([]byte, max((len(index)+7)&^7, minIndexBytes)-len(index))...)
}

type encoder struct{ *flatbuffers.Builder }

// vectorOf writes a vector of tables; 0, no vector, when there are none.
func vectorOf[T any](e encoder, list []T, write func(*T) flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	if len(list) == 0 {
		return 0
	}
	at := make([]flatbuffers.UOffsetT, len(list))
	for i := range list {
		at[i] = write(&list[i])
	}
	e.StartVector(4, len(at), 4)
	for i := len(at) - 1; i >= 0; i-- {
		e.PrependUOffsetT(at[i])
	}
	return e.EndVector(len(at))
}

// structsOf writes a vector of structs; 0 when there are none.
func structsOf[T any](e encoder, list []T, s *structType, write func(T)) flatbuffers.UOffsetT {
	return vectorOfFixed(e, list, s.size, s.align, write)
}

// vectorOfFixed writes a vector of elements of n bytes each.
func vectorOfFixed[T any](e encoder, list []T, n, align int, write func(T)) flatbuffers.UOffsetT {
	if len(list) == 0 {
		return 0
	}
	e.StartVector(n, len(list), align)
	for i := len(list) - 1; i >= 0; i-- {
		write(list[i])
	}
	return e.EndVector(len(list))
}

func (e encoder) axes(axes []layout.Axis) flatbuffers.UOffsetT {
	return structsOf(e, axes, &axisStruct, func(a layout.Axis) { fb.CreateAxis(e.Builder, a.Name, a.Extent, a.Padded) })
}

func (e encoder) digits(digits []layout.Digit) flatbuffers.UOffsetT {
	return structsOf(e, digits, &digitStruct, func(d layout.Digit) { fb.CreateDigit(e.Builder, byte(d.Axis), d.Size, d.Stride) })
}

func (e encoder) numbers(list []uint64) flatbuffers.UOffsetT {
	return vectorOfFixed(e, list, 8, 8, func(v uint64) { e.PrependUint64(v) })
}

func (e encoder) producer(p *Producer) flatbuffers.UOffsetT {
	b := e.Builder
	name, recipe := b.CreateString(p.Name), b.CreateString(p.Recipe)
	fb.ProducerStart(b)
	fb.ProducerAddName(b, name)
	fb.ProducerAddFacts(b, fb.CreateProducerFacts(b, p.Revision))
	fb.ProducerAddRecipe(b, recipe)
	return fb.ProducerEnd(b)
}

func (e encoder) model(m *Model) flatbuffers.UOffsetT {
	b := e.Builder
	attributes := vectorOf(e, m.Attributes, func(a *Attribute) flatbuffers.UOffsetT {
		name, text := b.CreateString(a.Name), flatbuffers.UOffsetT(0)
		if a.Text != "" {
			text = b.CreateString(a.Text)
		}
		fb.AttributeStart(b)
		fb.AttributeAddName(b, name)
		fb.AttributeAddFacts(b, fb.CreateAttributeFacts(b, a.Integer, a.Real, fb.AttributeKind(a.Kind)))
		fb.AttributeAddText(b, text)
		return fb.AttributeEnd(b)
	})
	family := b.CreateString(m.Family)
	fb.ModelStart(b)
	fb.ModelAddFamily(b, family)
	fb.ModelAddAttributes(b, attributes)
	return fb.ModelEnd(b)
}

func (e encoder) segment(s *Segment) flatbuffers.UOffsetT {
	b := e.Builder
	name := b.CreateString(s.Name)
	fb.SegmentStart(b)
	fb.SegmentAddName(b, name)
	fb.SegmentAddFacts(b, fb.CreateSegmentFacts(b, s.Offset, s.Bytes, s.Digest.Lo, s.Digest.Hi, fb.SegmentKind(s.Kind), s.MemoryGroup))
	return fb.SegmentEnd(b)
}

func (e encoder) operand(o *Operand) flatbuffers.UOffsetT {
	b := e.Builder
	name, axes := b.CreateString(o.Name), e.axes(o.Layout.Axes)
	digits := e.digits(o.Layout.Digits)
	planes := vectorOf(e, []struct{}{{}}, func(*struct{}) flatbuffers.UOffsetT {
		fb.PlaneStart(b)
		fb.PlaneAddFacts(b, fb.CreatePlaneFacts(b, 0, o.Bytes, o.PadBits, 0, 0, fb.PlaneRoleValues, fb.ElementFormat(o.Format)))
		fb.PlaneAddDigits(b, digits)
		return fb.PlaneEnd(b)
	})
	placements := vectorOf(e, o.Placements, e.placement)
	fills := vectorOf(e, o.Fills, func(f *Fill) flatbuffers.UOffsetT {
		begin, size := e.numbers(f.Begin), e.numbers(f.Size)
		fb.FillStart(b)
		fb.FillAddFacts(b, fb.CreateFillFacts(b, f.Value))
		fb.FillAddBegin(b, begin)
		fb.FillAddSize(b, size)
		return fb.FillEnd(b)
	})
	fb.OperandStart(b)
	fb.OperandAddName(b, name)
	fb.OperandAddFacts(b, fb.CreateOperandFacts(b, uint32(o.Segment), fb.Encoding(o.Encoding), o.Offset, o.Bytes))
	fb.OperandAddAxes(b, axes)
	fb.OperandAddPlanes(b, planes)
	fb.OperandAddPlacements(b, placements)
	fb.OperandAddFills(b, fills)
	s := &o.Statistics
	fb.OperandAddStatistics(b, fb.CreateStatistics(b, s.Elements, s.Inexact, s.Underflowed, s.NonFinite,
		s.MaxAbsError, s.MaxAbsValue, s.SumXX, s.SumXD, s.SumDD))
	return fb.OperandEnd(b)
}

func (e encoder) placement(p *Placement) flatbuffers.UOffsetT {
	b := e.Builder
	from := structsOf(e, p.From, &placedAxisStruct, func(a PlacedAxis) {
		fb.CreatePlacedAxis(b, a.Begin, a.Size, a.Step, byte(a.Axis))
	})
	var to flatbuffers.UOffsetT
	for _, v := range p.To {
		if v != 0 {
			to = e.numbers(p.To)
			break
		}
	}
	fb.PlacementStart(b)
	fb.PlacementAddFacts(b, fb.CreatePlacementFacts(b, uint32(p.Parameter), p.Scale))
	fb.PlacementAddFrom(b, from)
	fb.PlacementAddTo(b, to)
	return fb.PlacementEnd(b)
}

func (e encoder) parameter(p *Parameter) flatbuffers.UOffsetT {
	b := e.Builder
	name, axes, shape := b.CreateString(p.Name), b.CreateString(p.Axes), e.numbers(p.Shape)
	fb.ParameterStart(b)
	fb.ParameterAddName(b, name)
	fb.ParameterAddAxes(b, axes)
	fb.ParameterAddShape(b, shape)
	return fb.ParameterEnd(b)
}

func (e encoder) xclbin(x *Xclbin) flatbuffers.UOffsetT {
	b := e.Builder
	name := b.CreateString(x.Name)
	fb.XclbinStart(b)
	fb.XclbinAddName(b, name)
	fb.XclbinAddFacts(b, fb.CreateXclbinFacts(b, binary.LittleEndian.Uint64(x.UUID[:]), binary.LittleEndian.Uint64(x.UUID[8:]),
		x.Bytes, x.Digest.Lo, x.Digest.Hi))
	return fb.XclbinEnd(b)
}

func (e encoder) contract(c *Contract) flatbuffers.UOffsetT {
	b := e.Builder
	arguments := vectorOf(e, c.Arguments, func(a *Argument) flatbuffers.UOffsetT {
		name, axes, digits := b.CreateString(a.Name), e.axes(a.Layout.Axes), e.digits(a.Layout.Digits)
		fb.ArgumentStart(b)
		fb.ArgumentAddName(b, name)
		fb.ArgumentAddFacts(b, fb.CreateArgumentFacts(b, a.Index, a.MemoryGroup, a.Bytes,
			fb.ArgumentKind(a.Kind), fb.ArgumentRole(a.Role), fb.ElementFormat(a.Format)))
		fb.ArgumentAddAxes(b, axes)
		fb.ArgumentAddDigits(b, digits)
		return fb.ArgumentEnd(b)
	})
	name, operation, kernel := b.CreateString(c.Name), b.CreateString(string(c.Operation)), b.CreateString(c.Kernel)
	var epilogue flatbuffers.UOffsetT
	if c.Epilogue != "" {
		epilogue = b.CreateString(string(c.Epilogue))
	}
	shape := e.axes(c.Shape)
	fb.ContractStart(b)
	fb.ContractAddName(b, name)
	fb.ContractAddOperation(b, operation)
	fb.ContractAddKernel(b, kernel)
	fb.ContractAddFacts(b, fb.CreateContractFacts(b, u32OrNone(c.Xclbin), u32OrNone(c.Instructions)))
	fb.ContractAddShape(b, shape)
	fb.ContractAddArguments(b, arguments)
	fb.ContractAddEpilogue(b, epilogue)
	return fb.ContractEnd(b)
}

func u32OrNone(i int) uint32 {
	if i == None {
		return noneU32
	}
	return uint32(i)
}
