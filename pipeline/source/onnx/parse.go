package onnx

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"npuw/pipeline/source"
)

// parser turns the messages of schema/onnx.proto into a Model. Numbers in the switches are that schema's field numbers.
type parser struct {
	*reader
	nodes, constants int
	inline           int64 // bytes of tensor data decoded so far
	located          bool  // the error names the node in which it was found
}

// approximate sizes in memory of what the walk keeps, with room for the values that names become, and the maps over them.
const (
	stringMemory    = 224
	nodeMemory      = 512
	attributeMemory = 192
	constantMemory  = 512
	dataMemory      = 96
	valueMemory     = 128
)

func (p *parser) model() *Model {
	m := &Model{Catalogue: source.Catalogue{Kind: "onnx", Path: p.file}, Opsets: map[string]int64{}}
	var seenGraph bool
	for f := range p.fields(span{0, p.size}, "ModelProto") {
		switch f.num {
		case 1:
			m.Version = p.int(f)
		case 2, 3, 4, 6: // producer_name, producer_version, domain, doc_string
			p.want(f, protowire.BytesType)
		case 5: // model_version
			p.want(f, protowire.VarintType)
		case 7:
			if p.once(f, &seenGraph) {
				m.Graph = p.graph(f.span, 0)
			}
		case 8:
			p.opset(f, m.Opsets)
		case 14:
			p.entry(f, false)
		case 20:
			p.fail(f.at, f.message, source.ErrUnsupported, "training graphs, which may hold weights", notReadYet)
		case 25:
			p.function(f)
		}
	}
	return m
}

func (p *parser) opset(f field, opsets map[string]int64) {
	if !p.want(f, protowire.BytesType) {
		return
	}
	var domain string
	var version int64
	for f := range p.fields(f.span, "OperatorSetIdProto") {
		switch f.num {
		case 1:
			domain = p.string(f)
		case 2:
			version = p.int(f)
		}
	}
	if domain == "ai.onnx" {
		domain = ""
	}
	if old, ok := opsets[domain]; ok && old != version {
		p.fail(f.at, f.message, source.ErrCorrupt, fmt.Sprintf("domain %.100q is imported in versions %d and %d", domain, old, version), exportAgain)
	}
	opsets[domain] = version
}

// entry reads a StringStringEntryProto; without keeping it only its form is checked.
func (p *parser) entry(f field, keep bool) (key, value string) {
	if !p.want(f, protowire.BytesType) {
		return "", ""
	}
	for f := range p.fields(f.span, "StringStringEntryProto") {
		switch {
		case f.num > 2:
		case !keep:
			p.want(f, protowire.BytesType)
		case f.num == 1:
			key = p.string(f)
		default:
			value = p.string(f)
		}
	}
	return key, value
}

// function reads a model-local function. Its nodes are not part of the graph, so it must hold no weights.
func (p *parser) function(f field) {
	if !p.want(f, protowire.BytesType) {
		return
	}
	g := &Graph{file: p.file}
	for f := range p.fields(f.span, "FunctionProto") {
		switch f.num {
		case 1:
			g.Name = p.string(f)
		case 4, 5, 6, 8, 10: // input, output, attribute, doc_string, domain
			p.want(f, protowire.BytesType)
		case 7:
			p.node(f, g, 1)
		case 9:
			p.opset(f, map[string]int64{})
		case 11:
			p.attribute(f, &Node{}, 1)
		}
	}
	p.constantNodes(g)
	p.refuseWeights(g, f.at, fmt.Sprintf("function %.200q", g.Name))
}

// graph reads a GraphProto, depth graphs below the main one.
func (p *parser) graph(s span, depth int) *Graph {
	g := &Graph{file: p.file}
	initializers := map[string]span{} // by name
	for f := range p.fields(s, "GraphProto") {
		switch f.num {
		case 1:
			p.node(f, g, depth)
		case 2:
			g.Name = p.string(f)
		case 5:
			if p.want(f, protowire.BytesType) {
				t := p.tensor(f)
				if first, again := initializers[t.name]; again && p.another(t) && p.equal(first, f.span) {
					break // what quantizes weights that two branches share writes them twice
				}
				initializers[t.name] = f.span
				p.constant(g, t.name, t, nil)
			}
		case 10: // doc_string
			p.want(f, protowire.BytesType)
		case 11:
			g.Inputs = append(g.Inputs, p.valueInfo(f))
		case 12:
			g.Outputs = append(g.Outputs, p.valueInfo(f))
		case 13: // value_info: types of inner values, which the operators determine anyway
			p.valueInfo(f)
		case 15:
			p.fail(f.at, f.message, source.ErrUnsupported, "a sparse initializer", "make it dense: sparse weights are not read yet")
		}
	}
	p.constantNodes(g)
	return g
}

func (p *parser) node(f field, g *Graph, depth int) {
	if !p.want(f, protowire.BytesType) || !p.keep(f.at, nodeMemory) {
		return
	}
	n := Node{offset: f.at}
	for f := range p.fields(f.span, "NodeProto") {
		switch f.num {
		case 1:
			n.Inputs = p.operand(f, n.Inputs)
		case 2:
			n.Outputs = p.operand(f, n.Outputs)
		case 3:
			n.Name = p.string(f)
		case 4:
			n.Op = p.string(f)
		case 5:
			p.attribute(f, &n, depth)
		case 6: // doc_string
			p.want(f, protowire.BytesType)
		case 7:
			n.Domain = p.string(f)
		}
	}
	if n.Domain == "ai.onnx" {
		n.Domain = ""
	}
	p.locate(n.String())
	if p.nodes++; p.nodes > maxNodes && p.err == nil {
		p.fail(f.at, n.String(), source.ErrLimit, fmt.Sprintf("more than %d nodes, of which this is the first too many", maxNodes), overLimit)
	}
	g.Nodes = append(g.Nodes, n)
}

// locate says where the error was found, if there is one and nothing has said so more closely.
func (p *parser) locate(where string) {
	e, ok := p.err.(*source.Error)
	if !ok || p.located {
		return
	}
	p.located = true
	switch {
	case e.Thing == "":
		e.Thing = where
	case !strings.HasPrefix(e.Thing, where):
		e.Thing = where + ": " + e.Thing
	}
}

func (p *parser) operand(f field, list []string) []string {
	if len(list) == maxOperands {
		p.fail(f.at, f.message, source.ErrLimit, fmt.Sprintf("more than %d inputs or outputs", maxOperands), overLimit)
		return list
	}
	return append(list, p.string(f))
}

// refuseWeights fails if a function, or a graph nested in it, holds weights. It is found at offset at and called where.
func (p *parser) refuseWeights(g *Graph, at int64, where string) {
	g.Walk(func(g *Graph) {
		for i := range g.Constants {
			if c := &g.Constants[i]; c.Weighty() {
				p.fail(at, where, source.ErrUnsupported, fmt.Sprintf("holds the weights %.200q", c.Name),
					"weights inside functions are not read yet: inline the functions (onnx.inliner does it)")
			}
		}
	})
}

// attribute adds an AttributeProto to n.
func (p *parser) attribute(f field, n *Node, depth int) {
	if !p.want(f, protowire.BytesType) || !p.keep(f.at, attributeMemory) {
		return
	}
	a := Attribute{}
	var declared AttributeType
	var seenT, seenG bool
	bodies := len(n.Bodies)
	for f := range p.fields(f.span, "AttributeProto") {
		switch f.num {
		case 1:
			a.Name = p.string(f)
		case 5:
			if p.once(f, &seenT) {
				a.Type, a.tensor = AttributeTensor, p.tensor(f)
				a.weighty = a.weighty || a.tensor.weighty()
			}
		case 6:
			if p.once(f, &seenG) {
				a.Type = AttributeGraph
				p.body(f, n, &a, depth)
			}
		case 10: // tensors
			if p.want(f, protowire.BytesType) && p.tensor(f).weighty() {
				a.weighty = true
			}
		case 11: // graphs
			if p.want(f, protowire.BytesType) {
				p.body(f, n, &a, depth)
			}
		case 13, 21: // doc_string, ref_attr_name
			p.want(f, protowire.BytesType)
		case 20:
			declared = AttributeType(p.int(f))
		case 22, 23: // sparse_tensor, sparse_tensors
			a.weighty = p.want(f, protowire.BytesType)
		default:
			p.plainValue(f, &a)
		}
	}
	if p.err != nil {
		p.locate(fmt.Sprintf("%s: attribute %.100q", n, a.Name))
	}
	for i := range n.Bodies[bodies:] {
		n.Bodies[bodies+i].Attribute = a.Name // which may stand behind them in the file
	}
	if declared != 0 {
		a.Type = declared // given from IR version 2 on; before that the field that is there says it
	}
	p.addAttribute(f.at, n, a)
}

// body reads a graph that is nested in n, itself a node of a graph depth graphs below the main one.
func (p *parser) body(f field, n *Node, a *Attribute, depth int) {
	if depth >= maxDepth {
		p.fail(f.at, "", source.ErrLimit, fmt.Sprintf("a graph more than %d graphs deep", maxDepth), overLimit)
		return
	}
	n.Bodies = append(n.Bodies, Body{Graph: p.graph(f.span, depth+1)})
}

// plainValue reads the attribute values that are not messages.
func (p *parser) plainValue(f field, a *Attribute) {
	switch f.num {
	case 2:
		if p.want(f, protowire.Fixed32Type) {
			a.Type, a.Float = AttributeFloat, math.Float32frombits(uint32(f.scalar))
		}
	case 3:
		a.Type, a.Int = AttributeInt, p.int(f)
	case 4:
		a.Type, a.String = AttributeString, p.string(f)
	case 7:
		a.Type = AttributeFloats
		for v := range p.numbers(f, protowire.Fixed32Type) {
			if !p.keep(f.at, 8) {
				return
			}
			a.Floats = append(a.Floats, math.Float32frombits(uint32(v)))
		}
	case 8:
		a.Type = AttributeInts
		for v := range p.numbers(f, protowire.VarintType) {
			if !p.keep(f.at, 16) {
				return
			}
			a.Ints = append(a.Ints, int64(v))
		}
	case 9:
		a.Type = AttributeStrings
		p.want(f, protowire.BytesType)
	}
}

func (p *parser) addAttribute(at int64, n *Node, a Attribute) {
	if p.err != nil {
		return
	}
	if len(n.Attributes) >= maxAttributes {
		p.fail(at, n.String(), source.ErrLimit, fmt.Sprintf("more than %d attributes", maxAttributes), overLimit)
		return
	}
	if n.Attribute(a.Name) != nil {
		p.fail(at, n.String(), source.ErrCorrupt, fmt.Sprintf("attribute %.100q is given twice", a.Name), exportAgain)
		return
	}
	n.Attributes = append(n.Attributes, a)
}

func (p *parser) valueInfo(f field) ValueInfo {
	v := ValueInfo{}
	if !p.want(f, protowire.BytesType) || !p.keep(f.at, valueMemory) {
		return v
	}
	var seen bool
	for f := range p.fields(f.span, "ValueInfoProto") {
		switch f.num {
		case 1:
			v.Name = p.string(f)
		case 2:
			if p.once(f, &seen) {
				p.valueType(f.span, &v)
			}
		case 3:
			p.want(f, protowire.BytesType)
		}
	}
	return v
}

// valueType reads a TypeProto; what is not a tensor leaves v without a type.
func (p *parser) valueType(s span, v *ValueInfo) {
	var seenTensor, seenShape bool
	for f := range p.fields(s, "TypeProto") {
		if f.num == 6 {
			p.want(f, protowire.BytesType)
		}
		if f.num != 1 || !p.once(f, &seenTensor) {
			continue
		}
		for f := range p.fields(f.span, "TypeProto.Tensor") {
			switch f.num {
			case 1:
				v.Type = DataType(p.int(f))
			case 2:
				if p.once(f, &seenShape) {
					v.HasShape = true
					p.dimensions(f.span, v)
				}
			}
		}
	}
}

func (p *parser) dimensions(s span, v *ValueInfo) {
	for f := range p.fields(s, "TensorShapeProto") {
		if f.num != 1 || !p.want(f, protowire.BytesType) || !p.keep(f.at, 32) {
			continue
		}
		if len(v.Shape) == maxRank {
			p.fail(f.at, f.message, source.ErrLimit, fmt.Sprintf("more than %d axes", maxRank), overLimit)
			return
		}
		var d Dimension
		for f := range p.fields(f.span, "TensorShapeProto.Dimension") {
			switch f.num { // a oneof: the last one given counts
			case 1:
				d = Dimension{Value: p.int(f), Known: true}
			case 2:
				d = Dimension{Symbol: p.string(f)}
			case 3:
				p.want(f, protowire.BytesType)
			}
		}
		v.Shape = append(v.Shape, d)
	}
}
