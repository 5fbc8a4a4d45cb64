package whisperonnx

import (
	"math"
	"strings"

	pb "npuw/schema/onnxpb"
)

// encoder adds every node, in the order in which tracing meets them.
func (g *graph) encoder() {
	conv := func(scope, x string, stride int64) string {
		return g.node(scope, "Conv", []*pb.AttributeProto{
			ints("dilations", 1), integerAttribute("group", 1), ints("kernel_shape", 3), ints("pads", 1, 1), ints("strides", stride),
		}, x, g.weight(scope[1:]+".weight"), g.weight(scope[1:]+".bias"))
	}
	x := g.gelu("", conv("/conv1", "input_features", 1), "")
	x = g.gelu("", conv("/conv2", x, 2), "")
	x = g.node("", "Transpose", []*pb.AttributeProto{ints("perm", 0, 2, 1)}, x)
	s := sum{a: x, b: g.positions()}
	for i := range g.Layers {
		if g.Nested {
			s = sum{a: g.layerInBranch(layerOf(i), g.sum(s))}
			continue
		}
		s = g.layer(layerOf(i), s)
	}
	g.norm("/layer_norm", s, "last_hidden_state")
}

// positions adds the positions.
func (g *graph) positions() string {
	w := g.weight("embed_positions.weight")
	if !g.Gather {
		return w
	}
	number := func(v int) string { return g.node("", "Constant", constant(integer(v))) }
	all := g.node("", "Range", nil, number(0), number(g.Positions), number(1))
	return g.node("/embed_positions", "Gather", nil, w, all)
}

// sum is a sum still to be added up, in a scope: of a, b and, before a SkipLayerNormalization, a bias. b and bias may be "".
type sum struct{ scope, a, b, bias string }

// sum adds up s.
func (g *graph) sum(s sum) string {
	if s.b == "" {
		return s.a
	}
	return g.node(s.scope, "Add", nil, s.a, s.b)
}

// layer adds one transformer layer, of s.
func (g *graph) layer(scope string, s sum) sum {
	h, x := g.norm(scope+"/self_attn_layer_norm", s, "")
	h, bias := g.attention(scope+"/self_attn", h)
	return g.mlp(scope, sum{scope, x, h, bias})
}

// mlp adds the second half of a layer.
func (g *graph) mlp(scope string, s sum) sum {
	h, x := g.norm(scope+"/final_layer_norm", s, "")
	if g.fusesGelu() {
		h = g.product(scope+"/fc1", h, g.FFN)
		h = g.gelu(scope+"/activation_fn", h, g.weight(stateName(scope)+".fc1.bias"))
	} else {
		h = g.gelu(scope+"/activation_fn", g.linear(scope+"/fc1", h, g.FFN), "")
	}
	h, bias := g.branch(scope+"/fc2", h)
	return sum{scope, x, h, bias}
}

// branch adds the linear layer before a sum, and gives its bias if that is to be added there.
func (g *graph) branch(scope, x string) (h, bias string) {
	if g.SkipNorm && !g.Gemm && !g.Nested { // a branch gives one value, which is a sum
		return g.product(scope, x, g.DModel), g.weight(stateName(scope) + ".bias")
	}
	return g.linear(scope, x, g.DModel), ""
}

// norm adds a LayerNorm of s, and gives what s amounts to, too. output names its last value, "" for the usual name.
func (g *graph) norm(scope string, s sum, output string) (h, x string) {
	eps := floatAttribute("epsilon", 1e-5)
	parameter := func(kind string) string { return g.weight(stateName(scope) + "." + kind) }
	last := func(op string, attributes []*pb.AttributeProto, inputs ...string) string {
		if output == "" {
			return g.node(scope, op, attributes, inputs...)
		}
		g.add("", g.name(scope, op), op, []string{output}, attributes, inputs...)
		return output
	}
	if g.SkipNorm && s.b != "" {
		return g.skipNorm(scope, s, output, eps, parameter("weight"), parameter("bias"))
	}
	x = g.sum(s)
	if g.opset() >= 17 {
		return last("LayerNormalization", []*pb.AttributeProto{integerAttribute("axis", -1), eps}, x, parameter("weight"), parameter("bias")), x
	}
	scaled := g.node(scope, "Mul", nil, g.normal(scope, x), parameter("weight"))
	return last("Add", nil, scaled, parameter("bias")), x
}

// skipNorm is norm as one operator of ONNX Runtime's, which gives the sum as its output 3.
func (g *graph) skipNorm(scope string, s sum, output string, eps *pb.AttributeProto, scale, shift string) (h, x string) {
	name := g.name(scope, "SkipLayerNormalization")
	outputs := []string{name + "_output_0", "", "", name + "_output_3"}
	if output != "" {
		outputs = []string{output}
	}
	inputs := []string{s.a, s.b, scale, shift}
	if s.bias != "" {
		inputs = append(inputs, s.bias)
	}
	g.add(microsoft, name, "SkipLayerNormalization", outputs, []*pb.AttributeProto{eps}, inputs...)
	return outputs[0], name + "_output_3"
}

// normal adds (x - mean) / deviation, as opset 14 has it.
func (g *graph) normal(scope, x string) string {
	axes := []*pb.AttributeProto{ints("axes", -1)}
	centred := g.node(scope, "Sub", nil, x, g.node(scope, "ReduceMean", axes, x))
	squared := g.node(scope, "Pow", nil, centred, g.scalar(scope, 2))
	variance := g.node(scope, "ReduceMean", axes, squared)
	deviation := g.node(scope, "Sqrt", nil, g.node(scope, "Add", nil, variance, g.scalar(scope, 1e-5)))
	return g.node(scope, "Div", nil, centred, deviation)
}

func (g *graph) fusesGelu() bool { return (g.FusedGelu || g.FastGelu) && !g.Gemm }

// gelu adds the GELU of x, or of x + bias if there is one: x * (erf(x / sqrt 2) + 1) / 2.
func (g *graph) gelu(scope, x, bias string) string {
	switch {
	case g.FastGelu && bias != "":
		return g.fused(scope, "FastGelu", nil, x, bias)
	case g.FastGelu:
		return g.fused(scope, "FastGelu", nil, x)
	case bias != "":
		return g.fused(scope, "BiasGelu", nil, x, bias)
	case g.FusedGelu:
		return g.fused(scope, "Gelu", nil, x)
	}
	erf := g.node(scope, "Erf", nil, g.node(scope, "Div", nil, x, g.scalar(scope, math.Sqrt2)))
	twice := g.node(scope, "Mul", nil, x, g.node(scope, "Add", nil, erf, g.scalar(scope, 1)))
	return g.node(scope, "Mul", nil, twice, g.scalar(scope, 0.5))
}

// linear adds x W + b; k_proj has no b.
func (g *graph) linear(scope, x string, outputs int) string {
	biased := !strings.HasSuffix(scope, "/k_proj")
	if !g.Gemm {
		x = g.product(scope, x, outputs)
		if biased {
			x = g.node(scope, "Add", nil, g.weight(stateName(scope)+".bias"), x)
		}
		return x
	}
	inputs := []string{g.reshape(scope, x, -1, g.inputs(scope)), g.weight(stateName(scope) + ".weight")}
	if biased {
		inputs = append(inputs, g.weight(stateName(scope)+".bias"))
	}
	x = g.node(scope, "Gemm", []*pb.AttributeProto{integerAttribute("transB", 1)}, inputs...)
	return g.reshape(scope, x, -1, g.Positions, outputs)
}

// product adds x W.
func (g *graph) product(scope, x string, outputs int) string {
	switch {
	case g.quantizes(scope):
		return g.quantizedProduct(scope, x)
	case g.Gemm:
		x = g.node(scope, "Gemm", []*pb.AttributeProto{integerAttribute("transB", 1)}, g.reshape(scope, x, -1, g.inputs(scope)), g.weight(stateName(scope)+".weight"))
		return g.reshape(scope, x, -1, g.Positions, outputs)
	case g.FusedMatMul:
		return g.fused(scope, "FusedMatMul", []*pb.AttributeProto{integerAttribute("transB", 1), floatAttribute("alpha", 1)}, x, g.weight(stateName(scope)+".weight"))
	}
	return g.node(scope, "MatMul", nil, x, g.weight(stateName(scope)+".weight"))
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
	return g.node(scope, "Reshape", nil, x, g.integers(scope, shape...))
}

// integers adds a Constant node with a list of INT64.
func (g *graph) integers(scope string, values ...int) string {
	t := integer(values[0], int64(len(values)))
	for _, v := range values[1:] {
		t.RawData = append(t.RawData, integer(v).GetRawData()...)
	}
	return g.node(scope, "Constant", constant(t))
}

// layerInBranch adds one transformer layer in a branch of an If that nothing but the input decides, and its MLP in another in that;
// the other branches give their input back.
func (g *graph) layerInBranch(scope, x string) string {
	return g.inBranch(scope, x, func() string {
		h, x := g.norm(scope+"/self_attn_layer_norm", sum{a: x}, "")
		h, bias := g.attention(scope+"/self_attn", h)
		x = g.sum(sum{scope, x, h, bias})
		return g.inBranch(scope, x, func() string { return g.sum(g.mlp(scope, sum{a: x})) })
	})
}
