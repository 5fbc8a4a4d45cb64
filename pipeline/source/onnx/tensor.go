package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// tensor is a TensorProto without its data: what it is, and where in the file its data stands.
type tensor struct {
	at       int64
	span     span
	name     string
	typ      DataType
	shape    []uint64
	elements uint64

	segment bool
	raw     *span // raw_data
	typed   typed // one of the *_data fields
	outside bool  // data_location is EXTERNAL
	entries []entry
}

// typed is where the values of a *_data field stand.
type typed struct {
	num     protowire.Number // of the field, 0 if there is none
	records int              // occurrences in the message
	first   span             // of the first, contents only
	packed  bool             // the first is packed
}

type entry struct {
	key, value string
	at         int64
}

func (t *tensor) String() string { return fmt.Sprintf("tensor %.200q", t.name) }

func (t *tensor) weighty() bool { return (&Constant{Type: t.typ, Elements: t.elements}).Weighty() }

// tensor reads a TensorProto, passing over its data.
func (p *parser) tensor(f field) *tensor {
	t := &tensor{at: f.at, span: f.span, shape: []uint64{}}
	for f := range p.fields(f.span, "TensorProto") {
		switch f.num {
		case 1:
			p.dims(f, t)
		case 2:
			t.typ = DataType(p.int(f))
		case 3:
			if p.once(f, &t.segment) {
				for f := range p.fields(f.span, "TensorProto.Segment") {
					if f.num <= 2 {
						p.int(f)
					}
				}
			}
		case 4, 5, 7, 10, 11:
			p.typedField(f, t)
		case 6, 12: // string_data, doc_string
			p.want(f, protowire.BytesType)
		case 8:
			t.name = p.string(f)
		case 9:
			if p.want(f, protowire.BytesType) {
				raw := f.span // bytes: the last one given counts
				t.raw = &raw
			}
		case 13:
			key, value := p.entry(f, true)
			if p.keep(f.at, 64) {
				t.entries = append(t.entries, entry{key, value, f.at})
			}
		case 14:
			location := p.int(f)
			if location != 0 && location != 1 {
				p.fail(f.at, f.message, source.ErrUnsupported, fmt.Sprintf("data_location %d, which this version does not know", location), notReadYet)
			}
			t.outside = location == 1
		}
	}
	n, ok := source.Elements(t.shape)
	if !ok {
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("shape %v has more than 2^63 elements", t.shape), exportAgain)
	}
	t.elements = n
	return t
}

func (p *parser) dims(f field, t *tensor) {
	for v := range p.numbers(f, protowire.VarintType) {
		switch {
		case v > math.MaxInt64:
			p.fail(f.at, f.message, source.ErrCorrupt, fmt.Sprintf("axis of length %d", int64(v)), exportAgain)
			return
		case len(t.shape) == maxRank:
			p.fail(f.at, f.message, source.ErrLimit, fmt.Sprintf("more than %d axes", maxRank), overLimit)
			return
		}
		t.shape = append(t.shape, v)
	}
}

// wireTypes gives the wire type of the elements of each *_data field.
var wireTypes = map[protowire.Number]protowire.Type{
	4: protowire.Fixed32Type, 5: protowire.VarintType, 7: protowire.VarintType, 10: protowire.Fixed64Type, 11: protowire.VarintType,
}

// typedField notes an occurrence of float_data, int32_data, int64_data, double_data or uint64_data.
func (p *parser) typedField(f field, t *tensor) {
	packed := f.typ == protowire.BytesType
	if packed && f.span.len() == 0 {
		return
	}
	if !packed && !p.want(f, wireTypes[f.num]) || packed && !p.wellPacked(f, wireTypes[f.num]) {
		return
	}
	if t.typed.num != 0 && t.typed.num != f.num {
		p.fail(f.at, f.message, source.ErrCorrupt, fmt.Sprintf("values in fields %d and %d, expected in one", t.typed.num, f.num), exportAgain)
		return
	}
	if t.typed.records == 0 {
		t.typed = typed{num: f.num, first: f.span, packed: packed}
	}
	t.typed.records++
}

// wellPacked checks the form of a packed field: whole numbers, whether or not anything will read them.
func (p *parser) wellPacked(f field, typ protowire.Type) bool {
	switch typ {
	case protowire.Fixed32Type, protowire.Fixed64Type:
		size := int64(4)
		if typ == protowire.Fixed64Type {
			size = 8
		}
		if f.span.len()%size != 0 {
			p.fail(f.at, f.message, source.ErrCorrupt, fmt.Sprintf("packed field %d of %d bytes, not a multiple of %d", f.num, f.span.len(), size), exportAgain)
		}
	default:
		for range p.numbers(f, typ) {
		}
	}
	return p.err == nil
}

// another counts t as one more constant, and reports whether there may be so many.
func (p *parser) another(t *tensor) bool {
	if !p.keep(t.at, constantMemory+int64(len(t.shape))*8) {
		return false
	}
	if p.constants++; p.constants > maxConstants {
		p.fail(t.at, t.String(), source.ErrLimit, fmt.Sprintf("more than %d constants", maxConstants), overLimit)
	}
	return p.err == nil
}

// constant adds the tensor t to g under the name of its value; node is the Constant node that holds it, nil for an
// initializer.
func (p *parser) constant(g *Graph, name string, t *tensor, node *Node) {
	if !p.another(t) {
		return
	}
	t.name = name
	if name == "" {
		p.fail(t.at, "", source.ErrCorrupt, "a constant without a name", exportAgain)
		return
	}
	if t.segment {
		p.fail(t.at, t.String(), source.ErrUnsupported, "is stored in segments", notReadYet)
		return
	}
	c := Constant{Name: name, Type: t.typ, Shape: t.shape, Elements: t.elements, Tensor: -1, Node: node, offset: t.at}
	if format := t.typ.Format(); format != 0 {
		c.Tensor = len(g.tensors)
		s := source.Tensor{Name: name, Type: format, Shape: t.shape}
		if t.outside {
			g.external = append(g.external, p.outside(t, len(g.Constants)))
		} else {
			s.Data = p.floats(t, format)
		}
		g.tensors = append(g.tensors, s)
	} else {
		p.integers(g, &c, t)
	}
	g.Constants = append(g.Constants, c)
}

// integers notes where the data of c, the next constant of g and none of floats, is, and reads it if it may be a shape.
func (p *parser) integers(g *Graph, c *Constant, t *tensor) {
	kept := t.typ.integral() && t.elements <= maxInts && p.keep(t.at, int64(t.elements)*8)
	located := t.typ.rawBits() > 0 && p.keep(t.at, dataMemory)
	if t.outside {
		if located {
			c.Raw = &source.Data{}
		}
		if kept || located {
			g.external = append(g.external, p.outside(t, len(g.Constants)))
		}
		return
	}
	if kept {
		c.Ints = p.ints(t)
	}
	if located {
		c.Raw = p.raw(t)
	}
}

// oneSource checks that the values of t stand in one place only, and in the *_data field that its type uses.
func (p *parser) oneSource(t *tensor, num protowire.Number) {
	switch {
	case t.typed.num != 0 && t.raw != nil:
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("values both in raw_data and in field %d", t.typed.num), exportAgain)
	case t.typed.num != 0 && t.typed.num != num:
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%s values in field %d, expected in field %d", t.typ, t.typed.num, num), exportAgain)
	}
}

// floats says where the values of a float tensor are, and decodes them where they do not stand in the file as such.
func (p *parser) floats(t *tensor, format element.Format) source.Data {
	num := map[element.Format]protowire.Number{element.F32: 4, element.F64: 10, element.F16: 5, element.BF16: 5}[format]
	p.oneSource(t, num)
	size, ok := source.Bytes(t.shape, format)
	if !ok {
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("shape %v has more than 2^63 bytes", t.shape), exportAgain)
	}
	if p.err != nil {
		return source.Data{}
	}
	place := span{t.span.start, t.span.start} // of a tensor without elements
	switch {
	case t.raw != nil:
		place = *t.raw
	case t.typed.records == 1 && t.typed.packed && num != 5:
		place = t.typed.first
	case t.typed.records > 0:
		return source.Data{Offset: t.span.start, Size: size, Inline: p.decode(t, size)}
	}
	if place.len() != size {
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%d bytes of data, expected %d for %s %v", place.len(), size, t.typ, t.shape), exportAgain)
	}
	return source.Data{Offset: place.start, Size: size}
}

// decode collects the values of t's *_data field into little-endian elements, size bytes in all.
func (p *parser) decode(t *tensor, size int64) []byte {
	if !p.fitsInline(t, size) {
		return nil
	}
	data := make([]byte, 0, size)
	for v := range p.values(t) {
		if int64(len(data)) == size {
			p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("more than the %d values of shape %v", t.elements, t.shape), exportAgain)
			break
		}
		switch t.typed.num {
		case 4:
			data = binary.LittleEndian.AppendUint32(data, uint32(v))
		case 10:
			data = binary.LittleEndian.AppendUint64(data, v)
		default: // the bits of a 16-bit float, each in an int32
			if v > math.MaxUint16 {
				p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%s value %#x, expected 16 bits", t.typ, v), exportAgain)
				return nil
			}
			data = binary.LittleEndian.AppendUint16(data, uint16(v))
		}
	}
	if p.err == nil && int64(len(data)) != size {
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%d bytes of values, expected %d for %s %v", len(data), size, t.typ, t.shape), exportAgain)
	}
	return data
}

// fitsInline counts the size bytes of t that are to be collected, unless they are more than may be.
func (p *parser) fitsInline(t *tensor, size int64) bool {
	if size > maxInline-p.inline {
		p.fail(t.at, t.String(), source.ErrLimit, fmt.Sprintf("more than %d bytes of tensor data that is not stored as plain bytes", maxInline), "save the model again with raw_data")
		return false
	}
	p.inline += size
	return true
}

// values yields the raw bits of the elements of t's *_data field, in order.
func (p *parser) values(t *tensor) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		for f := range p.fields(t.span, "TensorProto") {
			if f.num != t.typed.num {
				continue
			}
			for v := range p.numbers(f, wireTypes[f.num]) {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// ints reads the values of an INT32, INT64 or BOOL tensor of at most maxInts elements.
func (p *parser) ints(t *tensor) []int64 {
	num, size := protowire.Number(5), t.typ.integerSize()
	if t.typ == typeInt64 {
		num = 7
	}
	p.oneSource(t, num)
	if p.err != nil {
		return nil
	}
	out := make([]int64, 0, t.elements)
	if t.raw != nil {
		if t.raw.len() != size*int64(t.elements) {
			p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%d bytes of data, expected %d for %s %v", t.raw.len(), size*int64(t.elements), t.typ, t.shape), exportAgain)
			return nil
		}
		for at := t.raw.start; at < t.raw.end && p.err == nil; at += windowSize {
			out = appendInts(out, p.peek(at, int(min(windowSize, t.raw.end-at))), t.typ)
		}
		return out
	}
	for v := range p.values(t) {
		if uint64(len(out)) == t.elements {
			p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("more than the %d values of shape %v", t.elements, t.shape), exportAgain)
			return nil
		}
		if num == 5 {
			v = uint64(int32(v)) // protobuf keeps the low 32 bits
		}
		out = append(out, int64(v))
	}
	if p.err == nil && uint64(len(out)) != t.elements {
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%d values, expected %d", len(out), t.elements), exportAgain)
	}
	return out
}

// integral reports whether the values of small tensors of type t are kept.
func (t DataType) integral() bool { return t == typeInt32 || t == typeInt64 || t == typeBool }

// integerSize is the size of an element of INT32, INT64 or BOOL, in bytes.
func (t DataType) integerSize() int64 {
	switch t {
	case typeInt64:
		return 8
	case typeInt32:
		return 4
	}
	return 1
}

// appendInts decodes little-endian INT32 or INT64 values, or BOOL ones.
func appendInts(out []int64, b []byte, typ DataType) []int64 {
	switch typ {
	case typeInt64:
		for ; len(b) >= 8; b = b[8:] {
			out = append(out, int64(binary.LittleEndian.Uint64(b)))
		}
	case typeInt32:
		for ; len(b) >= 4; b = b[4:] {
			out = append(out, int64(int32(binary.LittleEndian.Uint32(b))))
		}
	default:
		for _, v := range b {
			out = append(out, int64(v))
		}
	}
	return out
}

// constantNodes adds the Constant nodes of a graph to its constants, and refuses weights in attributes of other nodes.
func (p *parser) constantNodes(g *Graph) {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.standard("Constant") {
			p.constantNode(g, n)
		}
		for j := range n.Attributes {
			if a := &n.Attributes[j]; a.weighty && !(n.standard("Constant") && a.tensor != nil) {
				p.fail(n.offset, n.String(), source.ErrUnsupported, fmt.Sprintf("attribute %.100q holds weights", a.Name), notReadYet)
			}
			n.Attributes[j].tensor = nil
		}
		if p.err != nil {
			return
		}
	}
}

// constantNode adds the one output of a Constant node to the constants of its graph.
func (p *parser) constantNode(g *Graph, n *Node) {
	if len(n.Outputs) != 1 || len(n.Attributes) != 1 {
		p.fail(n.offset, n.String(), source.ErrCorrupt, fmt.Sprintf("%d outputs and %d attributes, expected one of each", len(n.Outputs), len(n.Attributes)), exportAgain)
		return
	}
	a := &n.Attributes[0]
	t := &tensor{at: n.offset, name: n.Outputs[0], elements: 1, shape: []uint64{}}
	switch {
	case a.Name == "value" && a.tensor != nil:
		p.constant(g, n.Outputs[0], a.tensor, n)
	case a.Name == "value_float" && a.Type == AttributeFloat:
		t.typ = typeFloat
		p.listed(g, t, n, []float32{a.Float}, nil)
	case a.Name == "value_floats" && (a.Type == AttributeFloats):
		t.typ, t.elements, t.shape = typeFloat, uint64(len(a.Floats)), []uint64{uint64(len(a.Floats))}
		p.listed(g, t, n, a.Floats, nil)
	case a.Name == "value_int" && a.Type == AttributeInt:
		t.typ = typeInt64
		p.listed(g, t, n, nil, []int64{a.Int})
	case a.Name == "value_ints" && a.Type == AttributeInts:
		t.typ, t.elements, t.shape = typeInt64, uint64(len(a.Ints)), []uint64{uint64(len(a.Ints))}
		p.listed(g, t, n, nil, a.Ints)
	case (a.Name == "value_string" && a.Type == AttributeString) || (a.Name == "value_strings" && a.Type == AttributeStrings):
		t.typ = typeString
		p.listed(g, t, n, nil, nil)
	default:
		p.fail(n.offset, n.String(), source.ErrUnsupported, fmt.Sprintf("value given as %.100q, which this version does not read", a.Name), notReadYet)
	}
}

// listed adds a constant whose values are attributes of the node itself.
func (p *parser) listed(g *Graph, t *tensor, n *Node, floats []float32, ints []int64) {
	if !p.another(t) {
		return
	}
	c := Constant{Name: t.name, Type: t.typ, Shape: t.shape, Elements: t.elements, Tensor: -1, Node: n, offset: t.at}
	if t.typ == typeFloat {
		data := make([]byte, 0, 4*len(floats))
		for _, v := range floats {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		c.Tensor = len(g.tensors)
		g.tensors = append(g.tensors, source.Tensor{
			Name: t.name, Type: element.F32, Shape: t.shape, Data: source.Data{Offset: t.at, Size: int64(len(data)), Inline: data},
		})
	}
	if len(ints) <= maxInts {
		c.Ints = ints
	}
	g.Constants = append(g.Constants, c)
}
