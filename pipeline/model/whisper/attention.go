package whisper

import (
	"fmt"
	"math"

	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// projection is what makes q, k or v: a linear layer, or a part of one that makes several of them side by side.
type projection struct {
	linear
	part, biasPart cut
	scale          float64 // that it is multiplied with afterwards; NaN where that is computed
}

// cut tells which part of an axis of n is meant; nil is all of it.
type cut func(n uint64) onnx.Part

// attention is self-attention before its out_proj.
type attention struct {
	node    *onnx.Node
	q, k, v projection
	scale   float64 // of the scores, beside those of q and k; 0 for 1/sqrt(d_model/heads), NaN where it is computed
}

// attention finds the attention that gives v.
func (t *tracer) attention(v *onnx.Value) (*attention, error) {
	v = t.back(v)
	n := v.Producer
	switch {
	case v.Output != 0:
	case n != nil && n.Domain == onnx.Microsoft && n.Op == "Attention":
		return t.fusedAttention(n)
	case is(n, "MultiHeadAttention"):
		return t.multiHeadAttention(n)
	case is(n, "Attention"):
		// ONNX's own, from operator set 23 on: of queries, keys and values.
		return t.project(&attention{node: n, scale: t.scaleOf(n)}, input(n, 0), input(n, 1), input(n, 2))
	case is(n, "MatMul", "FusedMatMul") && len(n.In) == 2 && len(t.weights[n]) == 0:
		return t.decomposedAttention(n)
	}
	return nil, t.unfit(v, "self-attention (Softmax between two products, Attention or MultiHeadAttention)")
}

// scaleOf reads the attribute by which attention operators give their scale; 0 is the usual one.
func (t *tracer) scaleOf(n *onnx.Node) float64 {
	scale, ok := n.Float("scale", 0)
	if !ok {
		return math.NaN()
	}
	return float64(scale)
}

// decomposedAttention is softmax(q k) v; product is the second product.
func (t *tracer) decomposedAttention(product *onnx.Node) (*attention, error) {
	const want = "Softmax of the scores in attention"
	if product.In[0] == nil || product.In[1] == nil {
		return nil, t.unfit(product.Out[0], want)
	}
	softmax := t.back(product.In[0])
	if !is(softmax.Producer, "Softmax") || input(softmax.Producer, 0) == nil {
		return nil, t.unfit(softmax, want)
	}
	scores, scale := t.scores(softmax.Producer.In[0])
	n := scores.Producer
	if !is(n, "MatMul", "FusedMatMul") || len(n.In) != 2 || len(t.weights[n]) > 0 {
		return nil, t.unfit(scores, "the product of queries and keys in attention")
	}
	if alpha, ok := n.Float("alpha", 1); n.Op == "FusedMatMul" && ok {
		scale *= float64(alpha)
	}
	return t.project(&attention{node: n, scale: scale}, n.In[0], n.In[1], product.In[1])
}

// project finds the projections that make q, k and v.
func (t *tracer) project(a *attention, q, k, v *onnx.Value) (*attention, error) {
	for _, p := range []struct {
		name string
		from *onnx.Value
		to   *projection
	}{{"q_proj", q, &a.q}, {"k_proj", k, &a.k}, {"v_proj", v, &a.v}} {
		if p.from == nil {
			return nil, t.m.Graph.Fail(a.node, source.ErrUnsupported, "is given no operand that "+p.name+" makes", exportPlainly)
		}
		budget := maxSpread
		found := t.projection(p.from, projection{scale: 1}, &budget)
		if found == nil && p.to != &a.q && t.cached(p.from) {
			continue
		}
		if found == nil {
			return nil, t.unfit(p.from, "what "+p.name+" makes, split into heads")
		}
		*p.to = *found
	}
	return a, nil
}

// unscaled follows v backwards through multiplication with scalars, and gives what they amount to.
func (t *tracer) unscaled(v *onnx.Value) (*onnx.Value, float64) {
	scale := 1.0
	for range maxSpread {
		v = t.back(v)
		n := v.Producer
		if !is(n, "Mul", "Div") || len(n.In) != 2 {
			break
		}
		if x, ok := t.scalar(n.In[1]); ok && n.In[0] != nil {
			if n.Op == "Div" {
				x = 1 / x
			}
			v, scale = n.In[0], scale*x
		} else if x, ok := t.scalar(n.In[0]); ok && n.In[1] != nil && n.Op == "Mul" {
			v, scale = n.In[1], scale*x
		} else {
			break
		}
	}
	return v, scale
}

// projection finds the linear layer that v comes from, through scales, Slice and Split; p is what is known of it so far. It is nil
// if v comes from none. budget is how many nodes may still be looked at.
func (t *tracer) projection(v *onnx.Value, p projection, budget *int) *projection {
	v, scale := t.unscaled(v)
	p.scale *= scale
	if *budget--; *budget < 0 || v.Producer == nil {
		return nil
	}
	n := v.Producer
	switch {
	case is(n, "Mul", "Div") && t.results[v] == nil:
		// A scale that is computed from shapes. What comes from a linear layer is not it.
		p.scale = math.NaN()
		for _, in := range n.In {
			if in == nil {
				continue
			}
			if found := t.projection(in, p, budget); found != nil {
				return found
			}
		}
		return nil
	case is(n, "Add", "BiasAdd"):
		w, other := t.vector(n)
		if w == nil || p.bias != nil {
			return nil
		}
		p.bias, p.biasPart = w, p.part
		return t.projection(other, p, budget)
	case t.appended(n) != nil:
		return t.projection(t.appended(n), p, budget)
	case is(n, "Slice", "Split"):
		part := sliced(v)
		if part == nil || p.part != nil {
			return nil
		}
		p.part = part
		return t.projection(n.In[0], p, budget)
	}
	l := t.product(v)
	if l == nil || l.bias != nil && p.bias != nil {
		return nil
	}
	if p.weight, p.in = l.weight, l.in; l.bias != nil {
		p.bias, p.biasPart = l.bias, p.part
	}
	return &p
}

// sliced tells which part of the last axis v is, the output of a Slice or Split; nil if it is something else.
func sliced(v *onnx.Value) cut {
	n := v.Producer
	if input(n, 0) == nil {
		return nil
	}
	last := func(axis int64) bool { return axis == -1 || axis == 2 } // of [batch, positions, N]
	if n.Op == "Split" {
		return splitPart(n, v.Output, last)
	}
	one := func(i int, attribute string, byDefault int64) int64 {
		list := []int64{byDefault}
		if a := n.Attribute(attribute); a != nil {
			list = a.Ints
		} else if in := input(n, i); in != nil {
			list = in.Ints()
		}
		if len(list) != 1 {
			return onnx.Unknown
		}
		return list[0]
	}
	start, end := one(1, "starts", onnx.Unknown), one(2, "ends", onnx.Unknown)
	if start < 0 || end <= start || !last(one(3, "axes", 0)) || one(4, "steps", 1) != 1 {
		return nil
	}
	return func(n uint64) onnx.Part {
		return onnx.Part{First: uint64(start), Run: min(uint64(end), n) - min(uint64(start), n), Apart: n}
	}
}

// splitPart is the part of output i of the Split n.
func splitPart(n *onnx.Node, i int, last func(int64) bool) cut {
	axis, ok := n.Int("axis", 0)
	if !ok || !last(axis) {
		return nil
	}
	var sizes []int64
	if a := n.Attribute("split"); a != nil {
		sizes = a.Ints
	} else if in := input(n, 1); in != nil {
		if sizes = in.Ints(); len(sizes) == 0 {
			return nil
		}
	}
	if sizes == nil {
		count := uint64(len(n.Out))
		return func(n uint64) onnx.Part { return onnx.Part{First: n / count * uint64(i), Run: n / count, Apart: n} }
	}
	if i >= len(sizes) {
		return nil
	}
	var part onnx.Part
	for _, size := range sizes[:i+1] {
		if size < 0 {
			return nil
		}
		part.First, part.Run = part.First+part.Run, uint64(size)
	}
	return func(n uint64) onnx.Part { return onnx.Part{First: part.First, Run: part.Run, Apart: n} }
}

// third is part i of three equal parts side by side: how Attention and MultiHeadAttention have the weights and biases of q, k, v.
func third(i uint64) cut {
	return func(n uint64) onnx.Part { return onnx.Part{First: n / 3 * i, Run: n / 3, Apart: n} }
}

// share is part i of the parts that each of as many heads has side by side: [heads, parts, d_model/heads].
func share(heads, parts, i uint64) cut {
	return func(n uint64) onnx.Part {
		size := n / heads / parts
		return onnx.Part{First: size * i, Run: size, Apart: size * parts}
	}
}

// fusedAttention is com.microsoft.Attention: "The weights for input projection of Q, K and V are merged. The data is stacked on
// the second dimension" (ContribOperators.md).
func (t *tracer) fusedAttention(n *onnx.Node) (*attention, error) {
	w, bias := t.weights[n][1], t.weights[n][2]
	if w == nil || n.In[0] == nil {
		return nil, t.m.Graph.Fail(n, source.ErrUnsupported, "is given no weights", exportPlainly)
	}
	if err := t.plainAttention(n, 3); err != nil {
		return nil, err
	}
	if sizes := n.Attribute("qkv_hidden_sizes"); sizes != nil {
		for _, s := range sizes.Ints {
			if len(sizes.Ints) != 3 || s != sizes.Ints[0] {
				return nil, t.m.Graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("qkv_hidden_sizes %v, expected three of a size", sizes.Ints[:min(len(sizes.Ints), 4)]), exportPlainly)
			}
		}
	}
	a := &attention{node: n, scale: t.scaleOf(n)}
	for i, p := range []*projection{&a.q, &a.k, &a.v} {
		*p = projection{linear: linear{w, bias, n.In[0]}, part: third(uint64(i)), biasPart: third(uint64(i)), scale: 1}
	}
	return a, nil
}

// plainAttention fails if n is told to leave out positions (from operand mask on), to attend to earlier ones alone, or to rotate.
func (t *tracer) plainAttention(n *onnx.Node, mask int) error {
	for _, name := range []string{"unidirectional", "do_rotary"} {
		if v, ok := n.Int(name, 0); !ok || v != 0 {
			return t.m.Graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("has %s, which an encoder does not", name), exportPlainly)
		}
	}
	for i := mask; i < len(n.In); i++ {
		if n.In[i] != nil {
			return t.m.Graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("has operand %d, a mask or a past, which an encoder does not", i), exportPlainly)
		}
	}
	return nil
}

// multiHeadAttention is com.microsoft.MultiHeadAttention. Its query is that alone, or with keys and values, as
// [batch, positions, heads, 3, d_model/heads]; its key that alone, or with values, as [.., heads, 2, ..]. It adds the biases, which
// lie side by side.
func (t *tracer) multiHeadAttention(n *onnx.Node) (*attention, error) {
	if err := t.plainAttention(n, 4); err != nil {
		return nil, err
	}
	heads, ok := n.Int("num_heads", 0)
	if !ok || heads < 1 {
		return nil, t.m.Graph.Fail(n, source.ErrCorrupt, "no num_heads", exportPlainly)
	}
	query, key, value := input(n, 0), input(n, 1), input(n, 2)
	packed := []struct {
		from *onnx.Value
		part cut
	}{{query, nil}, {key, nil}, {value, nil}}
	switch h := uint64(heads); {
	case key == nil && value == nil:
		for i := range packed {
			packed[i].from, packed[i].part = query, share(h, 3, uint64(i))
		}
	case value == nil:
		packed[1].part, packed[2].from, packed[2].part = share(h, 2, 0), key, share(h, 2, 1)
	}
	a, err := t.project(&attention{node: n, scale: t.scaleOf(n)}, packed[0].from, packed[1].from, packed[2].from)
	if err != nil {
		return nil, err
	}
	for i, p := range []*projection{&a.q, &a.k, &a.v} {
		if part := packed[i].part; part != nil {
			if p.part != nil {
				return nil, t.m.Graph.Fail(n, source.ErrUnsupported, "its operand is a part of a joined product, and joined itself", exportPlainly)
			}
			if p.part = part; p.bias != nil {
				p.biasPart = part
			}
		}
		if bias := t.weights[n][3]; bias != nil {
			if p.bias != nil {
				return nil, t.m.Graph.Fail(n, source.ErrUnsupported, "adds biases to what has them already", exportPlainly)
			}
			p.bias, p.biasPart = bias, third(uint64(i))
		}
	}
	return a, nil
}
