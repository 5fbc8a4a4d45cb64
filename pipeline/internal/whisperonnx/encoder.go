package whisperonnx

import (
	"math"
	"strings"

	pb "npuw/schema/onnxpb"
)

// encoder adds every node, in the order in which tracing meets them.
func (g *graph) encoder() {
	w := g.parameterNames()
	conv := func(scope, x string, stride int64) string {
		return g.node(scope, "Conv", []*pb.AttributeProto{
			ints("dilations", 1), integerAttribute("group", 1), ints("kernel_shape", 3), ints("pads", 1, 1), ints("strides", stride),
		}, x, w(scope[1:]+".weight"), w(scope[1:]+".bias"))
	}
	x := g.gelu("", conv("/conv1", "input_features", 1))
	x = g.gelu("", conv("/conv2", x, 2))
	x = g.node("", "Transpose", []*pb.AttributeProto{ints("perm", 0, 2, 1)}, x)
	x = g.node("", "Add", nil, x, w("embed_positions.weight"))
	for i := range g.Layers {
		x = g.layer(layerOf(i), x, w)
	}
	g.norm("/layer_norm", x, "last_hidden_state", w)
}

// parameterNames gives a function that adds the weights of a parameter, named as in a state dict, where they are first
// used, and gives the name of their value.
func (g *graph) parameterNames() func(name string) string {
	byName := map[string]*Parameter{}
	list := g.Parameters()
	for i := range list {
		byName[list[i].Name] = &list[i]
	}
	return func(name string) string { return g.parameter(byName["encoder."+name]) }
}

// layer adds one transformer layer.
func (g *graph) layer(scope, x string, w func(string) string) string {
	h := g.norm(scope+"/self_attn_layer_norm", x, "", w)
	h = g.attention(scope+"/self_attn", h, w)
	x = g.node(scope, "Add", nil, x, h)
	h = g.norm(scope+"/final_layer_norm", x, "", w)
	h = g.linear(scope+"/fc1", h, g.FFN, w)
	h = g.gelu(scope+"/activation_fn", h)
	h = g.linear(scope+"/fc2", h, g.DModel, w)
	return g.node(scope, "Add", nil, x, h)
}

// norm adds a LayerNorm as opset 14 has it; output names its last value, "" for the usual name.
func (g *graph) norm(scope, x, output string, w func(string) string) string {
	axes := []*pb.AttributeProto{ints("axes", -1)}
	centred := g.node(scope, "Sub", nil, x, g.node(scope, "ReduceMean", axes, x))
	squared := g.node(scope, "Pow", nil, centred, g.scalar(scope, 2))
	variance := g.node(scope, "ReduceMean", axes, squared)
	deviation := g.node(scope, "Sqrt", nil, g.node(scope, "Add", nil, variance, g.scalar(scope, 1e-5)))
	normal := g.node(scope, "Div", nil, centred, deviation)
	scaled := g.node(scope, "Mul", nil, normal, w(stateName(scope)+".weight"))
	if output == "" {
		return g.node(scope, "Add", nil, scaled, w(stateName(scope)+".bias"))
	}
	g.add(g.name(scope, "Add"), "Add", output, nil, scaled, w(stateName(scope)+".bias"))
	return output
}

// gelu adds x * (erf(x / sqrt 2) + 1) / 2.
func (g *graph) gelu(scope, x string) string {
	erf := g.node(scope, "Erf", nil, g.node(scope, "Div", nil, x, g.scalar(scope, math.Sqrt2)))
	twice := g.node(scope, "Mul", nil, x, g.node(scope, "Add", nil, erf, g.scalar(scope, 1)))
	return g.node(scope, "Mul", nil, twice, g.scalar(scope, 0.5))
}

// linear adds x W + b; k_proj has no b.
func (g *graph) linear(scope, x string, outputs int, w func(string) string) string {
	name, biased := stateName(scope), !strings.HasSuffix(scope, "/k_proj")
	if !g.Gemm {
		x = g.node(scope, "MatMul", nil, x, w(name+".weight"))
		if biased {
			x = g.node(scope, "Add", nil, w(name+".bias"), x)
		}
		return x
	}
	inputs := []string{g.reshape(scope, x, -1, g.inputs(scope)), w(name + ".weight")}
	if biased {
		inputs = append(inputs, w(name+".bias"))
	}
	x = g.node(scope, "Gemm", []*pb.AttributeProto{integerAttribute("transB", 1)}, inputs...)
	return g.reshape(scope, x, -1, g.Positions, outputs)
}

// inputs is K of the linear layer in a scope.
func (g *graph) inputs(scope string) int {
	if strings.HasSuffix(scope, "/fc2") {
		return g.FFN
	}
	return g.DModel
}

// reshape adds a Reshape to a shape known beforehand.
func (g *graph) reshape(scope, x string, shape ...int) string {
	t := integer(shape[0], int64(len(shape)))
	for _, s := range shape[1:] {
		t.RawData = append(t.RawData, integer(s).GetRawData()...)
	}
	return g.node(scope, "Reshape", nil, x, g.node(scope, "Constant", constant(t)))
}

// attention adds self-attention.
func (g *graph) attention(scope, x string, w func(string) string) string {
	batch, positions := g.dimension(scope, x, 0), g.dimension(scope, x, 1)
	q := g.linear(scope+"/q_proj", x, g.DModel, w)
	q = g.node(scope, "Mul", nil, q, g.scalar(scope, 1/math.Sqrt(float64(g.DModel/g.Heads))))
	rows := []*pb.AttributeProto{ints("perm", 0, 2, 1, 3)}
	q = g.node(scope, "Transpose", rows, g.split(scope, q))
	k := g.split(scope, g.linear(scope+"/k_proj", x, g.DModel, w))
	v := g.split(scope, g.linear(scope+"/v_proj", x, g.DModel, w))
	v = g.node(scope, "Transpose", rows, v)
	k = g.node(scope, "Transpose", []*pb.AttributeProto{ints("perm", 0, 2, 3, 1)}, k)
	scores := g.node(scope, "Softmax", []*pb.AttributeProto{integerAttribute("axis", -1)}, g.node(scope, "MatMul", nil, q, k))
	joined := g.node(scope, "Transpose", rows, g.node(scope, "MatMul", nil, scores, v))
	joined = g.reshapeTo(scope, joined, []string{batch, positions}, g.DModel)
	return g.linear(scope+"/out_proj", joined, g.DModel, w)
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
