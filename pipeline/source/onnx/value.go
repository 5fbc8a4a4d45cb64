package onnx

import (
	"slices"
	"strings"

	"npuw/pipeline/source"
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
// Transpose, Reshape, DequantizeLinear, a Gather or GatherBlockQuantized of all of it in order, or an If whose branch is known. A Cast to
// a narrower type rounds what the graph computes with; the constant holds what the file holds.
type Origin struct {
	Constant *Constant
	// Perm maps axes: axis i of the value is axis Perm[i] of the constant, or of what a Reshape made of it; -1 is one of length 1 that a
	// Reshape added.
	Perm []int
	// StateName is the name of an entry of a state dict after which a value is called, of those on the way to the constant the one
	// nearest to this; "" if none is.
	StateName string
	// Decoded is the node that makes values of the constant, which is codes; nil where the value is the constant's elements.
	Decoded *Node

	shape []uint64 // that Perm is about; nil: the constant's
}

// tensorShape is the shape that Perm is about.
func (o *Origin) tensorShape() []uint64 {
	if o.shape != nil {
		return o.shape
	}
	return o.Constant.Shape
}

// Shape gives the shape of the value, in its own order of axes.
func (o *Origin) Shape() []uint64 {
	shape, of := make([]uint64, len(o.Perm)), o.tensorShape()
	for i, axis := range o.Perm {
		shape[i] = 1
		if axis >= 0 {
			shape[i] = of[axis]
		}
	}
	return shape
}

// straight reports whether the value has its elements in the order of the constant.
func (o *Origin) straight() bool {
	next, shape := 0, o.tensorShape()
	for _, axis := range o.Perm {
		if axis < 0 || shape[axis] == 1 {
			continue
		}
		for ; next < axis; next++ {
			if shape[next] != 1 {
				return false
			}
		}
		if next++; axis != next-1 {
			return false
		}
	}
	return true
}

// weighty reports whether the value may be trained values.
func (o *Origin) weighty() bool {
	return o.Constant.Weighty() || o.Decoded != nil && o.Constant.Elements > 1
}

// at is the origin of a value of that name which is o unchanged.
func (o *Origin) at(name string) *Origin {
	if o != nil {
		if name = stateName(name); name != "" {
			named := *o
			named.StateName = name
			return &named
		}
	}
	return o
}

// stateName is the entry of a state dict that a value is called after, by itself, as one of two exports that were merged, or as the codes that a
// quantizer made of it; "" for the output of a node.
func stateName(name string) string {
	if strings.ContainsAny(name, "/:") {
		return ""
	}
	name = withoutQuantizer(beforeMerge(withoutQuantizer(name)))
	if strings.HasSuffix(name, ".weight") || strings.HasSuffix(name, ".bias") {
		return name
	}
	return ""
}

// beforeMerge is what a value was called before Optimum merged two exports into one: it adds "_merged_0" and the like.
func beforeMerge(name string) string {
	base, digits, ok := cutLast(name, "_merged_")
	if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return name
	}
	return base
}

// withoutQuantizer takes off what ONNX Runtime's quantizers add to the names of nodes and weights: "_quantized", "_quant",
// "_DequantizeLinear_Output", "_Bnb4", "_Q4", "_Q4G32".
func withoutQuantizer(name string) string {
	for _, suffix := range []string{"_quantized", "_quant", "_DequantizeLinear_Output", "_Bnb4"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base
		}
	}
	if base, bits, ok := cutLast(name, "_Q"); ok && bits != "" && strings.Trim(bits, "0123456789G") == "" {
		return base
	}
	return name
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

// carries reports whether n makes of constants nothing but another constant: its own uses are to be looked at.
func (n *Node) carries() bool {
	return n.carrier() || n.dequantizes() || n.standard("Reshape") && len(n.Out) == 1 && n.Out[0] != nil && n.Out[0].Origin != nil
}

// reshaped is the origin of what the Reshape n makes of o; nil where the shape is not constant, or the elements of o are not in the order
// of the file and get other axes than ones of length 1.
func (n *Node) reshaped(o *Origin) *Origin {
	to := n.In[1].Ints()
	shape, ok := newShape(o.Shape(), to)
	if !ok || to == nil {
		return nil
	}
	out := *o
	out.Perm = make([]int, len(shape))
	var long []int // axes of o that are longer than 1
	for i, size := range o.Shape() {
		if size != 1 {
			long = append(long, o.Perm[i])
		}
	}
	of, same := o.tensorShape(), true
	for i, size := range shape {
		out.Perm[i] = -1
		if size == 1 {
			continue
		}
		if same = same && len(long) > 0 && of[long[0]] == size; !same {
			break
		}
		out.Perm[i], long = long[0], long[1:]
	}
	switch {
	case same && len(long) == 0:
		return &out
	case !o.straight():
		return nil
	}
	out.shape = shape
	for i := range out.Perm {
		out.Perm[i] = i
	}
	return &out
}

// newShape is what a Reshape to the given numbers makes of shape: 0 keeps an axis, one -1 is what is left.
func newShape(shape []uint64, to []int64) ([]uint64, bool) {
	total, ok := source.Elements(shape)
	if !ok || total == 0 || len(to) > maxRank {
		return nil, false
	}
	out := make([]uint64, len(to))
	left, open := total, -1
	for i, v := range to {
		switch {
		case v == 0 && i < len(shape):
			out[i] = shape[i]
		case v == -1 && open < 0:
			open = i
			continue
		case v <= 0:
			return nil, false
		default:
			out[i] = uint64(v)
		}
		if left%out[i] != 0 {
			return nil, false
		}
		left /= out[i]
	}
	if open >= 0 {
		out[open], left = left, 1
	}
	return out, left == 1
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
	return n.takesAll(n.In[0].Origin)
}

// takesAll reports whether the indices that n, a Gather of o, is given are all of its first axis, in order.
func (n *Node) takesAll(o *Origin) bool {
	shape := o.Shape()
	if len(shape) == 0 || n.In[1] == nil {
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
