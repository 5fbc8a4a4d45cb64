package whisper

import "npuw/pipeline/source/onnx"

// linear is a linear layer: product with weights, then bias, if there is one.
type linear struct {
	weight, bias *onnx.Weight
	in           *onnx.Value
}

// linear finds the linear layer that gives v, nil if none does.
//
//	in -> MatMul, FusedMatMul (w) -> Add (bias)
//	in -> Gemm, FusedGemm (w, bias)
//	in -> MatMulNBits, DynamicQuantizeMatMul, ... (w, bias)
//	in -> DynamicQuantizeLinear -> MatMulInteger (w) -> Cast -> Mul (scales) -> Add (bias)
func (t *tracer) linear(v *onnx.Value) *linear {
	v = t.back(v)
	var bias *onnx.Weight
	if is(v.Producer, "Add", "BiasAdd") {
		w, other := t.vector(v.Producer)
		if w == nil {
			return nil
		}
		bias, v = w, t.back(other)
	}
	l := t.product(v)
	if l == nil || l.bias != nil && bias != nil {
		return nil
	}
	if bias != nil {
		l.bias = bias
	}
	return l
}

// product finds the product with weights that is v itself.
func (t *tracer) product(v *onnx.Value) *linear {
	if w := t.results[v]; w != nil && w.Axes == "NK" {
		return &linear{weight: w, in: w.Node.In[0]}
	}
	n := v.Producer
	if v.Output != 0 || n == nil {
		return nil
	}
	at, ok := products[n.Op]
	if !ok || !is(n, n.Op) {
		return nil
	}
	w := t.weights[n][at.weight]
	if w == nil || n.In[0] == nil || n.Attribute("activation") != nil {
		return nil
	}
	return &linear{w, t.weights[n][at.bias], n.In[0]}
}

// products are the operators that multiply with weights, and the operands that weights and bias are: those of no bias of their own have
// no weights there.
var products = map[string]struct{ weight, bias int }{
	"MatMul": {1, 2}, "FusedMatMul": {1, 2}, "TransposeMatMul": {1, 2}, "Gemm": {1, 2}, "FusedGemm": {1, 2},
	"MatMulNBits": {1, 5}, "MatMulBnb4": {1, 5}, "DynamicQuantizeMatMul": {1, 4}, "MatMulIntegerToFloat": {1, 6},
	"QLinearMatMul": {3, 8}, "QGemm": {3, 6},
}

// gelu is the activation: x/2 * (1 + erf(x/sqrt 2)), or its approximation by tanh, which ONNX Runtime puts in its place on request.
type gelu struct {
	in    *onnx.Value
	bias  *onnx.Weight // fused into it: of the layer before
	fused *linear      // the whole layer before, if that is fused into it
}

// gelu finds the GELU that gives v, nil if none does.
func (t *tracer) gelu(v *onnx.Value) *gelu {
	v = t.back(v)
	n := v.Producer
	switch {
	case n == nil:
		return nil
	case is(n, "Gelu", "BiasGelu", "FastGelu") && input(n, 0) != nil:
		return &gelu{in: n.In[0], bias: t.weights[n][1]}
	case is(n, "GemmFastGelu") && t.weights[n][1] != nil && n.In[0] != nil:
		return &gelu{fused: &linear{t.weights[n][1], t.weights[n][2], n.In[0]}}
	case is(n, "Mul"):
		if in := t.decomposedGelu(v); in != nil {
			return &gelu{in: in}
		}
	}
	return nil
}

// decomposedGelu finds the x that v is a GELU of: all that v is computed from but constants, by arithmetic with an Erf or Tanh
// in it. Exporters arrange that arithmetic in many ways.
func (t *tracer) decomposedGelu(v *onnx.Value) *onnx.Value {
	var x *onnx.Value
	curved := false
	seen := map[*onnx.Value]bool{}
	for queue := []*onnx.Value{v}; len(queue) > 0; {
		v, queue = t.back(queue[0]), queue[1:]
		n := v.Producer
		switch _, constant := t.scalar(v); {
		case seen[v] || constant:
			continue
		case len(seen) == maxSpread:
			return nil
		}
		seen[v] = true
		if is(n, "Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh") && len(t.weights[n]) == 0 && t.results[v] == nil {
			curved = curved || is(n, "Erf", "Tanh")
			for _, in := range n.In {
				if in == nil {
					return nil
				}
				queue = append(queue, in)
			}
			continue
		}
		if x != nil {
			return nil
		}
		x = v
	}
	if !curved {
		return nil
	}
	return x
}

// activated finds the linear layer whose GELU v is, nil if it is none.
func (t *tracer) activated(v *onnx.Value) *linear {
	g := t.gelu(v)
	switch {
	case g == nil:
		return nil
	case g.fused != nil:
		return g.fused
	}
	l := t.linear(g.in)
	if l == nil || g.bias != nil && l.bias != nil {
		return nil
	}
	if g.bias != nil {
		l.bias = g.bias
	}
	return l
}

// conv finds the convolution that gives v, nil if none does. A bias may be added by itself, as a column.
func (t *tracer) conv(v *onnx.Value) *linear {
	v = t.back(v)
	n := v.Producer
	if is(n, "Add") {
		bias, other := t.vectorBefore(n, 1)
		if bias == nil {
			return nil
		}
		c := t.conv(other)
		if c == nil || c.bias != nil {
			return nil
		}
		c.bias = bias
		return c
	}
	if w := t.results[v]; w != nil && w.Axes == "NCX" {
		return &linear{weight: w, in: w.Node.In[0]}
	}
	weight, bias, rest := 1, 2, 3
	if is(n, "QLinearConv") {
		weight, bias, rest = 3, 8, 9
	} else if !is(n, "Conv", "FusedConv") {
		return nil
	}
	if t.weights[n][weight] == nil || n.In[0] == nil || n.Attribute("activation") != nil || input(n, rest) != nil {
		return nil
	}
	return &linear{t.weights[n][weight], t.weights[n][bias], n.In[0]}
}

// sum finds the node that adds a branch to the residual stream, or the positions to what the convolutions give: that of v, nil
// if v is no such sum. It is an Add, or a SkipLayerNormalization, which gives the sum as its output 3.
func (t *tracer) sum(v *onnx.Value) *onnx.Node {
	v = t.back(v)
	switch n := v.Producer; {
	case n == nil:
		return nil
	case is(n, "SkipLayerNormalization") && v.Output == 3:
		return n
	case is(n, "Add") && len(n.In) == 2:
		if w, _ := t.vector(n); w == nil { // which would be a bias
			return n
		}
	}
	return nil
}

// norm is a LayerNorm.
type norm struct {
	scale, shift *onnx.Weight
	of           *onnx.Node // the sum that it normalizes
}

// norm finds the LayerNorm that gives v, nil if none does.
//
//	x -> LayerNormalization (scale, shift)
//	a, b -> SkipLayerNormalization (scale, shift)               of a + b
//	x -> x - ReduceMean(x) -> Div or Mul (by the deviation) -> Mul (scale) -> Add (shift)
func (t *tracer) norm(v *onnx.Value) *norm {
	v = t.back(v)
	n := v.Producer
	switch {
	case v.Output != 0:
	case is(n, "LayerNormalization"):
		return t.normOf(t.weights[n][1], t.weights[n][2], input(n, 0))
	case is(n, "SkipLayerNormalization") && t.weights[n][2] != nil:
		return &norm{t.weights[n][2], t.weights[n][3], n}
	case is(n, "Add"):
		shift, scaled := t.vector(n)
		if shift == nil {
			return nil
		}
		mul := t.back(scaled).Producer
		if !is(mul, "Mul") {
			return nil
		}
		scale, normal := t.vector(mul)
		if scale == nil {
			return nil
		}
		return t.normOf(scale, shift, t.centred(normal))
	}
	return nil
}

func (t *tracer) normOf(scale, shift *onnx.Weight, x *onnx.Value) *norm {
	if scale == nil || x == nil {
		return nil
	}
	of := t.sum(x)
	if of == nil {
		return nil
	}
	return &norm{scale, shift, of}
}

// centred finds the x of (x - mean of x) over its deviation.
func (t *tracer) centred(v *onnx.Value) *onnx.Value {
	n := t.back(v).Producer
	if !is(n, "Div", "Mul") {
		return nil
	}
	for _, in := range n.In {
		if in == nil {
			continue
		}
		sub := t.back(in).Producer
		if !is(sub, "Sub") || len(sub.In) != 2 || sub.In[0] == nil || sub.In[1] == nil {
			continue
		}
		mean := t.back(sub.In[1]).Producer
		if is(mean, "ReduceMean") && input(mean, 0) != nil && t.back(mean.In[0]) == t.back(sub.In[0]) {
			return sub.In[0]
		}
	}
	return nil
}
