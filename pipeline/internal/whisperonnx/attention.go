package whisperonnx

import (
	"math"

	pb "npuw/schema/onnxpb"
)

// Permutations of [batch, positions, heads, d_model/heads] and of what it becomes.
var (
	byHeads  = []*pb.AttributeProto{ints("perm", 0, 2, 1, 3)}
	keys     = []*pb.AttributeProto{ints("perm", 0, 2, 3, 1)}
	lastTwo  = []*pb.AttributeProto{ints("perm", 0, 2, 1)}
	lastAxis = []*pb.AttributeProto{integerAttribute("axis", -1)}
)

// attention adds self-attention and its out_proj, whose bias it gives if that is still to be added.
func (g *graph) attention(scope, x string) (h, bias string) {
	switch g.Attention {
	case Fused:
		h = g.fused(scope, "Attention", g.heads("num_heads"), x, g.joined(scope, "weight", false), g.joined(scope, "bias", false))
	case MultiHead, MultiHeadPack, MultiHeadCut:
		h = g.multiHead(scope, x)
	case Operator:
		h = g.node(scope, "Attention", append(g.heads("q_num_heads"), g.heads("kv_num_heads")...),
			g.linear(scope+"/q_proj", x, g.DModel), g.linear(scope+"/k_proj", x, g.DModel), g.linear(scope+"/v_proj", x, g.DModel))
	case ThreeAxes:
		h = g.threeAxes(scope, x)
	case SDPA:
		h = g.sdpa(scope, x)
	default:
		h = g.eager(scope, x)
	}
	return g.branch(scope+"/out_proj", h)
}

func (g *graph) heads(name string) []*pb.AttributeProto {
	return []*pb.AttributeProto{integerAttribute(name, int64(g.Heads))}
}

// scale adds what queries are multiplied with.
func (g *graph) scale(scope string) string {
	return g.scalar(scope, 1/math.Sqrt(float64(g.DModel/g.Heads)))
}

// eager is attention as transformers' eager mode traces.
func (g *graph) eager(scope, x string) string {
	batch, positions := g.dimension(scope, x, 0), g.dimension(scope, x, 1)
	var q, k, v string
	if g.Attention == Split {
		all := g.node(scope, "Add", nil, g.node(scope, "MatMul", nil, x, g.joined(scope, "weight", false)), g.joined(scope, "bias", false))
		out := g.outputs(scope, "Split", lastAxis, 3, all)
		q, k, v = out[0], out[1], out[2]
	} else {
		q = g.linear(scope+"/q_proj", x, g.DModel)
	}
	if g.FusedMatMul {
		q = g.node(scope, "Transpose", byHeads, g.split(scope, q))
	} else {
		q = g.node(scope, "Transpose", byHeads, g.split(scope, g.node(scope, "Mul", nil, q, g.scale(scope))))
	}
	if g.Attention != Split {
		k = g.linear(scope+"/k_proj", x, g.DModel)
	}
	k = g.split(scope, k)
	if g.Attention != Split {
		v = g.linear(scope+"/v_proj", x, g.DModel)
	}
	v = g.node(scope, "Transpose", byHeads, g.split(scope, v))
	var scores string
	if g.FusedMatMul { // which transposes the keys, and scales
		k = g.node(scope, "Transpose", byHeads, k)
		scale := floatAttribute("alpha", float32(1/math.Sqrt(float64(g.DModel/g.Heads))))
		scores = g.fused(scope, "FusedMatMul", []*pb.AttributeProto{integerAttribute("transB", 1), scale}, q, k)
	} else {
		k = g.node(scope, "Transpose", keys, k)
		scores = g.node(scope, "MatMul", nil, q, k)
	}
	joined := g.node(scope, "MatMul", nil, g.node(scope, "Softmax", lastAxis, scores), v)
	return g.merge(scope, joined, batch, positions)
}

// merge adds what turns [batch, heads, positions, d_model/heads] into [batch, positions, d_model].
func (g *graph) merge(scope, x, batch, positions string) string {
	return g.reshapeTo(scope, g.node(scope, "Transpose", byHeads, x), []string{batch, positions}, g.DModel)
}

// threeAxes is attention as transformers' eager mode was traced up to 4.47: of [batch * heads, positions, d_model/heads].
func (g *graph) threeAxes(scope, x string) string {
	batch, positions := g.dimension(scope, x, 0), g.dimension(scope, x, 1)
	heads := func(x string) string {
		return g.reshape(scope, g.node(scope, "Transpose", byHeads, g.split(scope, x)), -1, g.Positions, g.DModel/g.Heads)
	}
	q := heads(g.node(scope, "Mul", nil, g.linear(scope+"/q_proj", x, g.DModel), g.scale(scope)))
	k := heads(g.linear(scope+"/k_proj", x, g.DModel))
	v := heads(g.linear(scope+"/v_proj", x, g.DModel))
	scores := g.node(scope, "MatMul", nil, q, g.node(scope, "Transpose", lastTwo, k))
	h := g.node(scope, "MatMul", nil, g.node(scope, "Softmax", lastAxis, scores), v)
	return g.merge(scope, g.reshape(scope, h, -1, g.Heads, g.Positions, g.DModel/g.Heads), batch, positions)
}

// sdpa is torch's scaled_dot_product_attention as it is exported: queries and keys are both multiplied with the root of the scale,
// which is computed from the shape of the queries.
func (g *graph) sdpa(scope, x string) string {
	batch, positions := g.dimension(scope, x, 0), g.dimension(scope, x, 1)
	q := g.node(scope, "Transpose", byHeads, g.split(scope, g.linear(scope+"/q_proj", x, g.DModel)))
	k := g.split(scope, g.linear(scope+"/k_proj", x, g.DModel))
	v := g.node(scope, "Transpose", byHeads, g.split(scope, g.linear(scope+"/v_proj", x, g.DModel)))
	scale := g.rootOfScale(scope, q)
	scores := g.node(scope, "MatMul", nil, g.node(scope, "Mul", nil, q, scale), g.node(scope, "Mul", nil, g.node(scope, "Transpose", keys, k), scale))
	return g.merge(scope, g.node(scope, "MatMul", nil, g.node(scope, "Softmax", lastAxis, scores), v), batch, positions)
}

// rootOfScale adds what computes the root of the scale from the shape of queries.
func (g *graph) rootOfScale(scope, q string) string {
	size := g.node(scope, "Slice", nil, g.node(scope, "Shape", nil, q), g.integers(scope, -1), g.integers(scope, math.MaxInt64))
	cast := g.node(scope, "Cast", []*pb.AttributeProto{integerAttribute("to", int64(g.dataType()))}, size)
	return g.node(scope, "Sqrt", nil, g.node(scope, "Div", nil, g.scalar(scope, 1), g.node(scope, "Sqrt", nil, cast)))
}

// multiHead is attention by com.microsoft.MultiHeadAttention, which adds the biases, unless they are packed.
func (g *graph) multiHead(scope, x string) string {
	var inputs []string
	switch d := g.DModel; g.Attention {
	case MultiHeadPack:
		all := g.node(scope, "Add", nil, g.node(scope, "MatMul", nil, x, g.joined(scope, "weight", true)), g.joined(scope, "bias", true))
		return g.fused(scope, "MultiHeadAttention", g.heads("num_heads"), g.reshape(scope, all, 0, 0, g.Heads, 3, d/g.Heads))
	case MultiHeadCut:
		all := g.node(scope, "MatMul", nil, x, g.joined(scope, "weight", false))
		for i := range 3 {
			inputs = append(inputs, g.node(scope, "Slice", nil, all, g.integers(scope, i*d), g.integers(scope, (i+1)*d), g.integers(scope, -1)))
		}
	default:
		for _, p := range []string{"/q_proj", "/k_proj", "/v_proj"} {
			inputs = append(inputs, g.product(scope+p, x, d))
		}
	}
	return g.fused(scope, "MultiHeadAttention", g.heads("num_heads"), append(inputs, g.joined(scope, "bias", false))...)
}

// dimension adds what reads the size of axis of x.
func (g *graph) dimension(scope, x string, axis int) string {
	shape := g.node(scope, "Shape", nil, x)
	index := g.node(scope, "Constant", constant(integer(axis)))
	return g.node(scope, "Gather", []*pb.AttributeProto{integerAttribute("axis", 0)}, shape, index)
}

// split adds the reshape of [batch, positions, d_model] to [batch, positions, heads, d_model/heads].
func (g *graph) split(scope, x string) string {
	sizes := []string{g.dimension(scope, x, 0), g.dimension(scope, x, 1)}
	return g.reshapeTo(scope, x, sizes, g.Heads, g.DModel/g.Heads)
}

// reshapeTo adds a Reshape to sizes that are computed, then some that are known.
func (g *graph) reshapeTo(scope, x string, sizes []string, known ...int) string {
	var parts []string
	for _, s := range sizes {
		parts = append(parts, g.node(scope, "Unsqueeze", nil, s, g.anonymousZero()))
	}
	for _, n := range known {
		parts = append(parts, g.node(scope, "Constant", constant(integer(n, 1))))
	}
	shape := g.node(scope, "Concat", []*pb.AttributeProto{integerAttribute("axis", 0)}, parts...)
	return g.node(scope, "Reshape", []*pb.AttributeProto{integerAttribute("allowzero", 0)}, x, shape)
}
