package onnx

import (
	"slices"
	"strings"
)

// Value is one value of a graph: an input, an initializer, or one output of one node.
type Value struct {
	Name     string
	Producer *Node     // that computes it; nil for an input, an initializer, and a name that nothing defines
	Output   int       // index in Producer.Out
	Constant *Constant // what an initializer or a Constant node holds
	Uses     []Use     // in the order of the nodes
	Origin   *Origin   // the constant that it carries, nil if it carries none
	// Branches are, of an output of an If, the values that its branches give for it, in the order of Node.Bodies. Gives is the
	// other way round: the output that this value of a branch becomes.
	Branches []*Value
	Gives    *Value
}

// Use is one operand of one node.
type Use struct {
	Node  *Node
	Input int // index in Node.In; -1 where a graph nested in Node gives the value as its result
}

// Origin is the constant that a value carries: the value is it, or made of it by Identity, Cast from float to float,
// Transpose, a Gather of all of it in order, or an If whose branch is known. A Cast to a narrower type rounds what the graph computes with; the constant holds
// what the file holds.
type Origin struct {
	Constant *Constant
	// Perm maps axes: axis i of the value is axis Perm[i] of the constant.
	Perm []int
	// StateName is the name that is called like an entry of a state dict, of the values on the way to the constant the one
	// nearest to this; "" if none is.
	StateName string
}

// Shape gives the shape of the value, in its own order of axes.
func (o *Origin) Shape() []uint64 {
	shape := make([]uint64, len(o.Perm))
	for i, axis := range o.Perm {
		shape[i] = o.Constant.Shape[axis]
	}
	return shape
}

// at is the origin of a value of that name which is o unchanged.
func (o *Origin) at(name string) *Origin {
	if o == nil || !isStateName(name) {
		return o
	}
	named := *o
	named.StateName = name
	return &named
}

// isStateName reports whether a value is called like an entry of a state dict, not like the output of a node.
func isStateName(name string) bool {
	return (strings.HasSuffix(name, ".weight") || strings.HasSuffix(name, ".bias")) && !strings.ContainsAny(name, "/:")
}

// Value gives the value that name means in g: one of g or of the graphs around it; nil if there is none.
func (g *Graph) Value(name string) *Value {
	for ; g != nil; g = g.outer {
		if v := g.values[name]; v != nil {
			return v
		}
	}
	return nil
}

// Taken gives the branch of an If that counts: the one that a constant condition chooses, or else the one that holds or uses
// weights, when only one does, or else the first, when none does. It is nil if both do, and for any other node.
func (n *Node) Taken() *Graph { return n.taken }

// Walk calls visit for g and every graph nested in it, each before those nested in it, in the order of the file.
func (g *Graph) Walk(visit func(*Graph)) {
	visit(g)
	for i := range g.Nodes {
		for _, b := range g.Nodes[i].Bodies {
			b.Graph.Walk(visit)
		}
	}
}

// carrier reports whether n passes its first input on as a value of the same numbers.
func (n *Node) carrier() bool {
	if n.standard("Gather") {
		return n.gathersAll()
	}
	if len(n.In) != 1 || n.In[0] == nil || len(n.Out) == 0 || n.Out[0] == nil {
		return false
	}
	if n.standard("Cast") {
		to, ok := n.Int("to", 0)
		return ok && DataType(int32(to)).Format() != 0
	}
	return n.standard("Identity") || n.standard("Transpose")
}

// gathersAll reports whether n takes all of a constant along its first axis, in order: as an embedding of all positions does.
func (n *Node) gathersAll() bool {
	axis, ok := n.Int("axis", 0)
	if !ok || axis != 0 || len(n.In) != 2 || n.In[0] == nil || n.In[1] == nil || n.In[0].Origin == nil || len(n.Out) == 0 || n.Out[0] == nil {
		return false
	}
	shape := n.In[0].Origin.Shape()
	if len(shape) == 0 {
		return false
	}
	indices := n.In[1]
	for range maxChain {
		p := indices.Producer
		if p == nil || !p.standard("Cast") && !p.standard("Identity") || len(p.In) != 1 || p.In[0] == nil {
			break
		}
		indices = p.In[0]
	}
	if c := indices.Constant; c != nil {
		if len(c.Shape) != 1 || uint64(len(c.Ints)) != shape[0] {
			return false
		}
		for i, v := range c.Ints {
			if v != int64(i) {
				return false
			}
		}
		return true
	}
	p := indices.Producer
	if p == nil || !p.standard("Range") || len(p.In) != 3 {
		return false
	}
	for i, want := range []int64{0, int64(shape[0]), 1} {
		if v := p.In[i].Ints(); len(v) != 1 || v[0] != want {
			return false
		}
	}
	return true
}

// Unknown stands in what Ints gives for an element that is not constant.
const Unknown int64 = -1 << 63

// Ints gives the elements of a small integer value, as a Reshape takes them: a constant, or put together by Concat,
// Unsqueeze, Gather, Identity and Cast; an element computed otherwise is Unknown. It is nil where even the number of elements is
// not known, or is past 64, and for a nil value.
func (v *Value) Ints() []int64 {
	steps := maxShapeInts
	return v.ints(&steps)
}

// ints is Ints, for as many steps, which bounds the work on graphs that share parts.
func (v *Value) ints(steps *int) []int64 {
	if *steps--; *steps < 0 || v == nil {
		return nil
	}
	if v.Constant != nil {
		if len(v.Constant.Ints) > maxShapeInts {
			return nil
		}
		return v.Constant.Ints
	}
	n := v.Producer
	switch {
	case n == nil || v.Output != 0:
		return nil
	case (n.standard("Identity") || n.standard("Cast")) && len(n.In) == 1:
		return n.In[0].ints(steps)
	case n.standard("Unsqueeze") && len(n.In) > 0:
		// Of a single number, as exporters use it to build shapes.
		if v := n.In[0].ints(steps); len(v) == 1 {
			return v
		}
		return []int64{Unknown}
	case n.standard("Gather") && len(n.In) == 2 && n.In[1] != nil:
		// Of a Shape, by a list of axes.
		if c := n.In[1].Constant; c != nil && len(c.Shape) == 1 && c.Elements <= maxShapeInts {
			return slices.Repeat([]int64{Unknown}, int(c.Elements))
		}
		return nil
	case n.standard("Concat"):
		out := []int64{}
		for _, part := range n.In {
			v := part.ints(steps)
			if v == nil || len(out)+len(v) > maxShapeInts {
				return nil
			}
			out = append(out, v...)
		}
		return out
	}
	return nil
}
