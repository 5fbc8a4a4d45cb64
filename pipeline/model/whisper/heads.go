package whisper

import (
	"fmt"
	"math"
	"strings"

	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// readHeads finds the number of heads in the reshapes that split q, k and v of every layer, or in the
// attention operators that do, and checks that all agree.
func (e *exported) readHeads() error {
	for i := range e.layers {
		for _, attention := range e.attentions {
			if err := e.readHeadsOf(fmt.Sprintf("%slayers.%d.%s", e.prefix, i, attention)); err != nil {
				return err
			}
		}
	}
	return nil
}

// readHeadsOf looks at the attention of that name.
func (e *exported) readHeadsOf(attention string) error {
	found := false
	for _, projection := range []string{"q_proj", "k_proj", "v_proj"} {
		p := e.byName[attention+"."+projection+".weight"]
		if p == nil {
			continue // of keys and values that come from a cache
		}
		for _, split := range e.splits(p.Node) {
			if e.heads == 0 {
				e.heads = split.heads
			}
			if split.heads != e.heads {
				return e.m.Graph.Fail(split.node, source.ErrMismatch, fmt.Sprintf("splits d_model %d into %d heads, an earlier node into %d", e.dModel, split.heads, e.heads),
					"layers with different heads are no Whisper: export the model again")
			}
			found = true
		}
	}
	if !found {
		return e.fail(attention, source.ErrUnsupported, fmt.Sprintf("no node found that splits q, k or v into [batch, positions, heads, %d/heads]", e.dModel),
			"export attention without fusing it")
	}
	return nil
}

// split is a node that takes [batch, positions, d_model] as [batch, positions, heads, d_model/heads].
type split struct {
	node  *onnx.Node
	heads uint64
}

// splits follows the output of a projection forward through what keeps its rows, to the nodes that split heads.
func (e *exported) splits(from *onnx.Node) []split {
	const most = 64 // values; a projection and its split are a few nodes apart
	found := e.splitsOf(from, 0)
	if len(found) > 0 || len(from.Out) == 0 || from.Out[0] == nil {
		return found
	}
	queue := []*onnx.Value{from.Out[0]}
	for i := 0; i < len(queue) && i < most; i++ {
		if next := queue[i].Gives; next != nil {
			queue = append(queue, next)
		}
		for _, use := range queue[i].Uses {
			n := use.Node
			if here := e.splitsOf(n, use.Input); len(here) > 0 {
				found = append(found, here...)
				continue
			}
			if len(queue) < most && is(n, "Add", "BiasAdd", "Mul", "Div", "Cast", "Identity", "Reshape", "Slice", "Split", "QuantizeLinear", "DequantizeLinear") && use.Input >= 0 {
				for _, out := range n.Out {
					if out != nil {
						queue = append(queue, out)
					}
				}
			}
		}
	}
	return found
}

// splitsOf is what n splits operand input into heads.
func (e *exported) splitsOf(n *onnx.Node, input int) []split {
	switch {
	case is(n, "Attention", "MultiHeadAttention"):
		for _, name := range []string{"num_heads", "q_num_heads"} { // Microsoft's, ONNX's
			if heads, ok := n.Int(name, 0); ok && heads > 0 && e.dModel%uint64(heads) == 0 {
				return []split{{n, uint64(heads)}}
			}
		}
	case is(n, "Reshape") && input == 0 && len(n.In) == 2:
		if shape := n.In[1].Ints(); len(shape) == 4 {
			if heads, ok := headsOf(shape, int64(e.dModel)); ok {
				return []split{{n, heads}}
			}
		}
	}
	return nil
}

// headsOf reads the heads from the shape of a split; one of its last two numbers may be left to the reshape (-1).
func headsOf(shape []int64, d int64) (uint64, bool) {
	heads, size := shape[2], shape[3]
	switch {
	case heads > 0 && size > 0 && heads <= d && size <= d && heads*size == d:
	case heads > 0 && size == -1 && d%heads == 0:
	case heads == -1 && size > 0 && d%size == 0:
		heads = d / size
	default:
		return 0, false
	}
	return uint64(heads), true
}

// checkScale fails if attention is scaled otherwise than by 1/sqrt(d_model/heads), as far as the graph says how: then weights hold a
// part of the scale.
func (e *exported) checkScale(a *attention) error {
	want := 1 / math.Sqrt(float64(e.dModel)/float64(e.heads))
	scale := a.q.scale * a.k.scale * a.scale
	if a.scale == 0 {
		scale = a.q.scale * a.k.scale * want
	}
	if math.Abs(scale-want) > want/100 { // false where a scale is computed, and so NaN
		return e.m.Graph.Fail(a.node, source.ErrUnsupported, fmt.Sprintf("attends with a scale of %.6g, expected 1/sqrt(%d/%d) = %.6g", scale, e.dModel, e.heads, want),
			"export without scales folded into weights")
	}
	return nil
}

// readEps finds the epsilon of every LayerNorm, and checks that all agree.
func (e *exported) readEps() error {
	first := ""
	for _, s := range e.specs(e.sizes) {
		if !strings.HasSuffix(s.name, "layer_norm.weight") {
			continue
		}
		p := e.byName[s.name]
		if p == nil {
			continue // in another branch
		}
		eps, err := e.epsOf(p.Node)
		if err != nil {
			return err
		}
		if first == "" {
			first, e.eps = s.name, eps
		}
		if eps != e.eps {
			return e.fail(s.name, source.ErrMismatch, fmt.Sprintf("epsilon %g, and %g for %s", eps, e.eps, first), "one epsilon for all is expected: export the model again")
		}
	}
	return nil
}

// epsOf finds the epsilon of the LayerNorm that n scales: n is a LayerNormalization, a SkipLayerNormalization, or the Mul after
// (x - mean) / Sqrt(variance + epsilon).
func (e *exported) epsOf(n *onnx.Node) (float64, error) {
	eps, ok := 0.0, false
	if byDefault, fused := map[string]float32{"LayerNormalization": 1e-5, "SkipLayerNormalization": 1e-12}[n.Op]; fused {
		var v float32
		v, ok = n.Float("epsilon", byDefault)
		eps = float64(v)
	} else if o := e.epsConstant(n); o != nil {
		var err error
		if eps, err = e.m.ScalarOf(o); err != nil {
			return 0, err
		}
		ok = true
	}
	if !ok || !(eps > 0 && eps < 1) {
		return 0, e.m.Graph.Fail(n, source.ErrUnsupported, "the epsilon of its LayerNorm is not found, or is not between 0 and 1", "export LayerNorm as torch.onnx does")
	}
	return eps, nil
}

// epsConstant walks Mul <- Div <- Sqrt <- Add <- constant back from a LayerNorm's Mul.
func (e *exported) epsConstant(mul *onnx.Node) *onnx.Origin {
	div := e.producer(mul, "Div", 0, 1)
	sqrt := e.producer(div, "Sqrt", 1)
	add := e.producer(sqrt, "Add", 0)
	if add == nil {
		return nil
	}
	for _, v := range add.In {
		if v != nil && v.Origin != nil && v.Origin.Constant.Elements == 1 {
			return v.Origin
		}
	}
	return nil
}

// producer gives the node with operator op that computes one of the given inputs of n, nil if there is none.
func (e *exported) producer(n *onnx.Node, op string, inputs ...int) *onnx.Node {
	if n == nil {
		return nil
	}
	for _, i := range inputs {
		if v := input(n, i); v != nil {
			if p := e.trace.back(v).Producer; is(p, op) {
				return p
			}
		}
	}
	return nil
}
