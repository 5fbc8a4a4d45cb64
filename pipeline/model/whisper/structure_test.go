package whisper_test

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
	pb "npuw/schema/onnxpb"
)

// written writes an encoder in some forms, changed, into a folder of its own. Its values are those of the config.
func written(t *testing.T, forms string, change func(g *pb.GraphProto)) (string, whisperonnx.Config) {
	t.Helper()
	c, err := whisperonnx.Odd.With(forms)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := whisperonnx.Write(path, c); err != nil {
		t.Fatal(err)
	}
	rewrite(t, path, change)
	return path, c
}

// rewrite changes the graph in a file.
func rewrite(t *testing.T, path string, change func(g *pb.GraphProto)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m pb.ModelProto
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	change(m.Graph)
	if b, err = proto.Marshal(&m); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// nodes gives the nodes of an operator, in order.
func nodes(g *pb.GraphProto, op string) []*pb.NodeProto {
	return slices.DeleteFunc(slices.Clone(g.Node), func(n *pb.NodeProto) bool { return n.GetOpType() != op })
}

// before puts a node in front of operand i of n.
func before(g *pb.GraphProto, n *pb.NodeProto, i int, op string, more ...string) *pb.NodeProto {
	x := &pb.NodeProto{OpType: proto.String(op), Input: append([]string{n.Input[i]}, more...), Output: []string{n.Input[i] + " after " + op}}
	n.Input[i] = x.Output[0]
	g.Node = append(g.Node, x)
	return x
}

func constant(g *pb.GraphProto, name string, values ...float32) {
	t := &pb.TensorProto{Name: &name, DataType: proto.Int32(1), FloatData: values}
	if len(values) > 1 {
		t.Dims = []int64{int64(len(values))}
	}
	g.Initializer = append(g.Initializer, t)
}

func intAttribute(name string, values ...int64) *pb.AttributeProto {
	if len(values) == 1 {
		return &pb.AttributeProto{Name: &name, I: &values[0], Type: pb.AttributeProto_INT.Enum()}
	}
	return &pb.AttributeProto{Name: &name, Ints: values, Type: pb.AttributeProto_INTS.Enum()}
}

func floatAttribute(name string, v float32) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, F: &v, Type: pb.AttributeProto_FLOAT.Enum()}
}

func textAttribute(name, v string) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, S: []byte(v), Type: pb.AttributeProto_STRING.Enum()}
}

// fuseBiases makes the vector that is added to what an operator gives its operand at.
func fuseBiases(op string, at int) func(g *pb.GraphProto) {
	return func(g *pb.GraphProto) {
		for _, n := range nodes(g, op) {
			for _, add := range nodes(g, "Add") {
				i := slices.Index(add.Input, n.Output[0])
				if i < 0 || !slices.ContainsFunc(g.Initializer, func(t *pb.TensorProto) bool { return t.GetName() == add.Input[1-i] && len(t.Dims) == 1 }) {
					continue
				}
				for len(n.Input) < at {
					n.Input = append(n.Input, "")
				}
				n.Input = append(n.Input, add.Input[1-i])
				add.OpType, add.Input = proto.String("Identity"), n.Output[:1]
			}
		}
	}
}

// quantizeActivations puts a QuantizeLinear and a DequantizeLinear before each product with codes, as static quantization does.
func quantizeActivations(g *pb.GraphProto) {
	constant(g, "step", 0.05)
	g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("middle"), DataType: proto.Int32(2), RawData: []byte{128}})
	made := map[string]bool{}
	for _, dq := range nodes(g, "DequantizeLinear") {
		for _, n := range nodes(g, "MatMul") {
			if x := n.Input[0]; n.Input[1] == dq.Output[0] {
				n.Input[0] = x + " codes back"
				if made[x] {
					continue
				}
				made[x] = true
				g.Node = append(g.Node,
					&pb.NodeProto{OpType: proto.String("QuantizeLinear"), Input: []string{x, "step", "middle"}, Output: []string{x + " codes"}},
					&pb.NodeProto{OpType: proto.String("DequantizeLinear"), Input: []string{x + " codes", "step", "middle"}, Output: []string{x + " codes back"}})
			}
		}
	}
}

// joinKeysAndValues makes one product of those that give n its keys and values: [positions, heads, 2, d_model/heads].
func joinKeysAndValues(g *pb.GraphProto, n *pb.NodeProto) {
	const heads, size, bytes = 3, 12, 4
	products := nodes(g, "MatMul")
	by := func(i int) *pb.NodeProto {
		return products[slices.IndexFunc(products, func(m *pb.NodeProto) bool { return m.Output[0] == n.Input[i] })]
	}
	key, value := by(1), by(2)
	k, v := initializer(g, key.Input[1]), initializer(g, value.Input[1]) // [K, N]
	joined := &pb.TensorProto{Name: proto.String(k.GetName() + " and " + v.GetName()), DataType: k.DataType, Dims: []int64{k.Dims[0], 2 * k.Dims[1]}}
	for at := 0; at < len(k.RawData); at += size * bytes {
		joined.RawData = append(joined.RawData, k.RawData[at:][:size*bytes]...)
		joined.RawData = append(joined.RawData, v.RawData[at:][:size*bytes]...)
	}
	shape := &pb.TensorProto{Name: proto.String(joined.GetName() + " shape"), DataType: proto.Int32(7), Dims: []int64{5}, Int64Data: []int64{0, 0, heads, 2, size}}
	g.Initializer = append(slices.DeleteFunc(g.Initializer, func(t *pb.TensorProto) bool { return t == k || t == v }), joined, shape)
	g.Node = slices.DeleteFunc(g.Node, func(m *pb.NodeProto) bool { return m == value })
	key.Input[1] = joined.GetName()
	n.Input[2] = ""
	before(g, n, 1, "Reshape", shape.GetName())
}

// What stands between the parts of an encoder and changes nothing, or not what weights mean.
func TestStructureIsFound(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		forms  string
		change func(g *pb.GraphProto)
	}{
		"nodes in any order": {"stripped", func(g *pb.GraphProto) { slices.Reverse(g.Node) }},
		"Casts, Dropout and Identity": {"stripped", func(g *pb.GraphProto) {
			for op, movers := range map[string][]string{"MatMul": {"Identity", "Dropout", "Cast"}, "Softmax": {"Dropout"}, "Erf": {"Cast"}, "Add": {"Cast", "Identity"}, "Mul": {"Identity"}} {
				for i, n := range nodes(g, op) {
					if mover := before(g, n, 0, movers[i%len(movers)]); mover.GetOpType() == "Cast" {
						mover.Attribute = []*pb.AttributeProto{intAttribute("to", 1)}
					}
				}
			}
		}},
		"a Clip against overflow": {"stripped", func(g *pb.GraphProto) {
			constant(g, "low", -64504)
			constant(g, "high", 64504)
			adds := nodes(g, "Add")
			before(g, adds[len(adds)-1], 0, "Identity")
			norm := nodes(g, "ReduceMean")
			clip := before(g, norm[len(norm)-2], 0, "Clip", "low", "high") // of the sum before layer_norm
			for _, n := range g.Node {
				if n != clip && n.GetOpType() == "Sub" && n.Input[0] == clip.Input[0] {
					n.Input[0] = clip.Output[0]
				}
			}
		}},
		"quantized activations": {"qdq,stripped", quantizeActivations},
		"QLinearMatMul": {"qdq,stripped", func(g *pb.GraphProto) {
			quantizeActivations(g)
			for _, dq := range nodes(g, "DequantizeLinear") {
				for _, n := range nodes(g, "MatMul") {
					if n.Input[1] != dq.Output[0] {
						continue
					}
					// The product takes codes and gives codes, of which the next node makes floats.
					x := strings.TrimSuffix(n.Input[0], " back")
					n.OpType, n.Input = proto.String("QLinearMatMul"), append(append([]string{x, "step", "middle"}, dq.Input...), "step", "middle")
					y := n.Output[0]
					n.Output[0] = y + " codes"
					g.Node = append(g.Node, &pb.NodeProto{OpType: proto.String("DequantizeLinear"), Input: []string{n.Output[0], "step", "middle"}, Output: []string{y}})
				}
			}
		}},
		"biases in MatMulNBits":           {"q4asym,stripped", fuseBiases("MatMulNBits", 5)},
		"biases in DynamicQuantizeMatMul": {"int8fuse,stripped", fuseBiases("DynamicQuantizeMatMul", 4)},
		"scalars as codes": {"stripped", func(g *pb.GraphProto) {
			constant(g, "eps step", 1e-5)
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("one"), DataType: proto.Int32(2), RawData: []byte{1}})
			for _, n := range nodes(g, "Sqrt") {
				add := g.Node[slices.IndexFunc(g.Node, func(m *pb.NodeProto) bool { return m.Output[0] == n.Input[0] })]
				add.Input[1] = "eps of " + add.Output[0]
				g.Node = append(g.Node, &pb.NodeProto{OpType: proto.String("DequantizeLinear"), Input: []string{"one", "eps step"}, Output: []string{add.Input[1]}})
			}
		}},
		"operands exchanged": {"stripped", func(g *pb.GraphProto) {
			for _, op := range []string{"Add", "Mul"} {
				for _, n := range nodes(g, op) {
					slices.Reverse(n.Input)
				}
			}
		}},
		"the scale behind the scores": {"stripped", func(g *pb.GraphProto) {
			scale := float32(math.Sqrt(12))
			constant(g, "scale", scale)
			constant(g, "one", 1)
			for _, n := range nodes(g, "Softmax") {
				before(g, n, 0, "Div", "scale")
			}
			for _, n := range nodes(g, "Constant") {
				if raw := n.Attribute[0].GetT().GetRawData(); len(raw) == 4 && math.Abs(float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))-1/scale)) < 1e-6 {
					binary.LittleEndian.PutUint32(raw, math.Float32bits(1))
				}
			}
		}},
		"another output first": {"stripped", func(g *pb.GraphProto) {
			g.Output = append([]*pb.ValueInfoProto{{Name: proto.String("input_features")}}, g.Output...)
		}},
		"Attention told its usual scale": {"attention,stripped", func(g *pb.GraphProto) {
			for _, n := range nodes(g, "Attention") {
				n.Attribute = append(n.Attribute, floatAttribute("scale", float32(1/math.Sqrt(12))), intAttribute("unidirectional", 0), intAttribute("qkv_hidden_sizes", 36, 36, 36))
			}
		}},
		"operands left out at the end": {"attention,stripped", func(g *pb.GraphProto) {
			for _, n := range nodes(g, "Attention") {
				n.Input = append(n.Input, "", "", "")
			}
		}},
		"linear layers in their GELU": {"fastgelu,stripped", func(g *pb.GraphProto) {
			fused := 0
			for _, n := range nodes(g, "FastGelu") {
				i := slices.IndexFunc(g.Node, func(m *pb.NodeProto) bool { return m.GetOpType() == "MatMul" && m.Output[0] == n.Input[0] })
				if i < 0 {
					continue // of a convolution
				}
				n.OpType = proto.String("GemmFastGelu")
				n.Input = []string{g.Node[i].Input[0], g.Node[i].Input[1], n.Input[1]}
				g.Node = slices.Delete(g.Node, i, i+1)
				fused++
			}
			if fused == 0 {
				panic("no FastGelu behind a MatMul")
			}
		}},
		"keys and values in one product": {"mha,stripped", func(g *pb.GraphProto) {
			for _, n := range nodes(g, "MultiHeadAttention") {
				joinKeysAndValues(g, n)
			}
		}},
		"Split of sizes": {"split,stripped", func(g *pb.GraphProto) {
			for _, n := range nodes(g, "Split") {
				n.Attribute = append(n.Attribute, intAttribute("split", 36, 36, 36))
			}
		}},
		"Split by a value": {"split,stripped", func(g *pb.GraphProto) {
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("sizes"), DataType: proto.Int32(7), Dims: []int64{3}, Int64Data: []int64{36, 36, 36}})
			for _, n := range nodes(g, "Split") {
				n.Input = append(n.Input, "sizes")
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, c := written(t, x.forms, x.change)
			m, got, err := recognise(t, path)
			if err == nil {
				err = c.Check(&m.Catalogue, got)
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Notes) > 0 && !strings.Contains(got.Notes[0], "k_proj") {
				t.Errorf("notes %q", got.Notes)
			}
		})
	}
}

// A graph without names that is not followed to its end: the error names the node and operator where it is left.
func TestStructureIsNotFound(t *testing.T) {
	t.Parallel()
	first := func(op, with string) func(g *pb.GraphProto) {
		return func(g *pb.GraphProto) { nodes(g, op)[0].OpType = &with }
	}
	attributed := func(op string, a ...*pb.AttributeProto) func(g *pb.GraphProto) {
		return func(g *pb.GraphProto) { n := nodes(g, op)[0]; n.Attribute = append(n.Attribute, a...) }
	}
	for name, x := range map[string]struct {
		forms  string
		change func(g *pb.GraphProto)
		want   error
		parts  []string
	}{
		"another activation":        {"gelu,stripped", first("BiasGelu", "BiasSelu"), source.ErrUnsupported, []string{"com.microsoft.BiasSelu node", "not understood"}},
		"ReLU between convolutions": {"gelu,stripped", first("Gelu", "Relu"), source.ErrUnsupported, []string{"com.microsoft.Relu node", "the GELU of conv1"}},
		"no Softmax":                {"stripped", first("Softmax", "Sigmoid"), source.ErrUnsupported, []string{"Sigmoid node", "Softmax of the scores"}},
		"no norm at the end":        {"opset17,stripped", func(g *pb.GraphProto) { g.Output[0].Name = &nodes(g, "Add")[0].Output[0] }, source.ErrUnsupported, []string{"Add node", "its last LayerNorm"}},
		"no sum before a norm": {"opset17,stripped", func(g *pb.GraphProto) {
			adds := nodes(g, "Add")
			adds[len(adds)-1].OpType = proto.String("Max")
		}, source.ErrUnsupported, []string{"LayerNormalization node", "its last LayerNorm"}},
		"a norm of another sum": {"opset17,stripped", func(g *pb.GraphProto) {
			norms := nodes(g, "LayerNormalization")
			norms[1].Input[0] = norms[0].Input[0]
		}, source.ErrUnsupported, []string{"is a LayerNorm of Add node", "final_layer_norm"}},
		"a Clip that clips": {"opset17,stripped", func(g *pb.GraphProto) {
			constant(g, "low", 0)
			constant(g, "high", 6)
			before(g, nodes(g, "LayerNormalization")[2], 0, "Clip", "low", "high")
		}, source.ErrUnsupported, []string{"self_attn_layer_norm"}},
		"no input":                   {"stripped", func(g *pb.GraphProto) { before(g, nodes(g, "Conv")[0], 0, "Relu") }, source.ErrUnsupported, []string{"Relu node", "its input"}},
		"an output that is an input": {"stripped", func(g *pb.GraphProto) { g.Output[0].Name = proto.String("input_features") }, source.ErrUnsupported, []string{`"input_features"`, "its last LayerNorm"}},
		"no output":                  {"stripped", func(g *pb.GraphProto) { g.Output = nil }, source.ErrUnsupported, []string{"no output"}},
		"an activation in Conv":      {"stripped", attributed("Conv", textAttribute("activation", "Relu")), source.ErrUnsupported, []string{"Conv node", "conv1"}},
		"an activation in Gemm": {"gemm,stripped", func(g *pb.GraphProto) {
			n := nodes(g, "Gemm")[4] // fc1
			n.OpType, n.Domain = proto.String("FusedGemm"), proto.String(onnx.Microsoft)
			n.Attribute = append(n.Attribute, textAttribute("activation", "Relu"))
		}, source.ErrUnsupported, []string{"the GELU of fc1"}},
		"attention to earlier positions alone": {"attention,stripped", attributed("Attention", intAttribute("unidirectional", 1)), source.ErrUnsupported, []string{"com.microsoft.Attention node", "unidirectional"}},
		"rotated":                              {"mha,stripped", attributed("MultiHeadAttention", intAttribute("do_rotary", 1)), source.ErrUnsupported, []string{"com.microsoft.MultiHeadAttention node", "do_rotary"}},
		"a mask": {"mha,stripped", func(g *pb.GraphProto) {
			n := nodes(g, "MultiHeadAttention")[0]
			n.Input = append(n.Input, "", "input_features")
		}, source.ErrUnsupported, []string{"operand 5"}},
		"biases before and in attention": {"mha,stripped", func(g *pb.GraphProto) {
			constant(g, "spare", make([]float32, 36)...)
			before(g, nodes(g, "MultiHeadAttention")[0], 0, "Add", "spare")
		}, source.ErrUnsupported, []string{"com.microsoft.MultiHeadAttention node", "adds biases to what has them already"}},
		"joined twice": {"mha-sliced,stripped", func(g *pb.GraphProto) {
			n := nodes(g, "MultiHeadAttention")[0]
			n.Input[1], n.Input[2] = "", ""
		}, source.ErrUnsupported, []string{"com.microsoft.MultiHeadAttention node", "a part of a joined product, and joined itself"}},
		"Attention without weights": {"attention,stripped", func(g *pb.GraphProto) {
			nodes(g, "Attention")[0].Input[1] = "input_features"
		}, source.ErrUnsupported, []string{"com.microsoft.Attention node", "is given no weights"}},
		"scores of no product": {"stripped", func(g *pb.GraphProto) {
			softmax := nodes(g, "Softmax")[0]
			g.Node[slices.IndexFunc(g.Node, func(m *pb.NodeProto) bool { return m.Output[0] == softmax.Input[0] })].OpType = proto.String("Max")
		}, source.ErrUnsupported, []string{"Max node", "the product of queries and keys"}},
		"an output that attention does not give": {"attention,stripped", func(g *pb.GraphProto) {
			n := nodes(g, "Attention")[0]
			n.Output = append([]string{"first"}, n.Output...)
		}, source.ErrUnsupported, []string{"com.microsoft.Attention node", "self-attention"}},
		"no heads":                  {"mha,stripped", func(g *pb.GraphProto) { nodes(g, "MultiHeadAttention")[0].Attribute = nil }, source.ErrCorrupt, []string{"no num_heads"}},
		"values of another size":    {"attention,stripped", attributed("Attention", intAttribute("qkv_hidden_sizes", 36, 36, 72)), source.ErrUnsupported, []string{"qkv_hidden_sizes [36 36 72]"}},
		"no keys":                   {"operator,stripped", func(g *pb.GraphProto) { nodes(g, "Attention")[0].Input[1] = "" }, source.ErrUnsupported, []string{"Attention node", "k_proj"}},
		"folded scale in Attention": {"attention,stripped", attributed("Attention", floatAttribute("scale", 1)), source.ErrUnsupported, []string{"com.microsoft.Attention node", "a scale of 1, expected"}},
		"folded scale": {"stripped", func(g *pb.GraphProto) {
			constant(g, "three", 3)
			for _, n := range nodes(g, "Softmax") {
				before(g, n, 0, "Mul", "three")
			}
		}, source.ErrUnsupported, []string{"MatMul node", "0.866025, expected", "1/sqrt(36/3)"}},
		"a bias on keys": {"attention,stripped", func(g *pb.GraphProto) {
			for _, w := range g.Initializer {
				if len(w.Dims) == 1 && w.Dims[0] == 3*36 {
					w.RawData[4*36+3] = 64
				}
			}
		}, source.ErrParameters, []string{"k_proj.bias", "does not have"}},
		"slices that overlap": {"mha-sliced,stripped", func(g *pb.GraphProto) {
			n := nodes(g, "Slice")[1]
			n.Input = slices.Clone(nodes(g, "Slice")[0].Input)
		}, source.ErrUnsupported, []string{"MatMul node", "not cut into 3 parts"}},
		"a slice left out": {"mha-sliced,stripped", func(g *pb.GraphProto) {
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("end"), DataType: proto.Int32(7), Dims: []int64{1}, Int64Data: []int64{100}})
			nodes(g, "Slice")[2].Input[2] = "end"
		}, source.ErrUnsupported, []string{"MatMul node", "of the 108 outputs", "100 are used"}},
		"a slice of positions": {"mha-sliced,stripped", func(g *pb.GraphProto) {
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("axis"), DataType: proto.Int32(7), Dims: []int64{1}, Int64Data: []int64{1}})
			nodes(g, "Slice")[0].Input[3] = "axis"
		}, source.ErrUnsupported, []string{"Slice node", "what q_proj makes"}},
		"either of two layers": {"nested,stripped", func(g *pb.GraphProto) {
			n := nodes(g, "If")[0]
			n.Attribute[1].G = n.Attribute[0].G
		}, source.ErrUnsupported, []string{"If node", "then_branch", "else_branch"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, _ := written(t, x.forms, x.change)
			_, _, err := recognise(t, path)
			if !errors.Is(err, x.want) {
				t.Fatalf("%v, expected %v", err, x.want)
			}
			for _, part := range append(x.parts, path) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v, expected %q in it", err, part)
				}
			}
		})
	}
}

// A graph that is not followed is no fault where every name is there; it is noted.
func TestNamesWithoutStructure(t *testing.T) {
	t.Parallel()
	path, c := written(t, "", func(g *pb.GraphProto) { nodes(g, "Erf")[0].OpType = proto.String("Sigmoid") })
	m, got, err := recognise(t, path)
	if err == nil {
		err = c.Check(&m.Catalogue, got)
	}
	if err != nil || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "Mul node") || !strings.Contains(got.Notes[0], "the GELU of conv1") {
		t.Fatalf("%+v, %v", got, err)
	}
	if p := got.Parameters[5]; len(p.Ways) != 1 || p.Ways[0] != "path" {
		t.Errorf("%+v, expected one that its path alone names", p)
	}
}

// Where paths alone name parameters, two nodes of one path are told, both.
func TestOneNameTwice(t *testing.T) {
	t.Parallel()
	path := edited(t, func(g *pb.GraphProto) {
		node(g, "/layers.0/self_attn/k_proj/MatMul").Name = proto.String("/layers.0/self_attn/v_proj/MatMul")
		nodes(g, "Erf")[0].OpType = proto.String("Sigmoid")
	})
	_, _, err := recognise(t, path)
	const node = `MatMul node "/layers.0/self_attn/v_proj/MatMul"`
	if !errors.Is(err, source.ErrParameters) || strings.Count(err.Error(), node) != 2 ||
		!strings.Contains(err.Error(), `gives parameter "encoder.layers.0.self_attn.v_proj.weight", and so does `) {
		t.Errorf("%v, expected both nodes of the name", err)
	}
}

// Optimizers tie equal tensors, whatever they are called: a name counts only where the tensor has one use.
func TestTiedBiases(t *testing.T) {
	t.Parallel()
	tie := func(g *pb.GraphProto) {
		one, other := initializer(g, "layers.0.fc1.bias"), initializer(g, "layers.1.fc1.bias")
		one.RawData = other.RawData
		g.Initializer = slices.DeleteFunc(g.Initializer, func(t *pb.TensorProto) bool { return t == other })
		add := node(g, "/layers.1/fc1/Add")
		add.Input[slices.Index(add.Input, "layers.1.fc1.bias")] = "layers.0.fc1.bias"
	}
	path := edited(t, tie)
	_, got, err := recognise(t, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range got.Parameters {
		want := ""
		if p.Name == "encoder.layers.1.fc1.bias" {
			want = `its tensor is called "layers.0.fc1.bias", and has 2 uses`
		}
		if p.Note != want || p.Tensor.Name == "layers.0.fc1.bias" && len(p.Ways) != 2 {
			t.Errorf("%s: %q, named by %v; expected note %q", p.Name, p.Note, p.Ways, want)
		}
	}
	// Without a path and without structure there is no name left.
	path = edited(t, func(g *pb.GraphProto) {
		tie(g)
		node(g, "/layers.1/fc1/Add").Name = nil
		nodes(g, "Erf")[0].OpType = proto.String("Sigmoid")
	})
	if _, _, err := recognise(t, path); !errors.Is(err, source.ErrUnsupported) || !strings.Contains(err.Error(), "no name") {
		t.Errorf("%v, expected that a tied tensor's name does not count", err)
	}
}
