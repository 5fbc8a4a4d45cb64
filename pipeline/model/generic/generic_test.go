package generic_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"npuw/pipeline/model"
	"npuw/pipeline/model/generic"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// line writes what a test expects of a parameter: name, axes, shape, and how the axes lie in the tensor where that is not in order.
func line(p *model.Parameter) string {
	s := fmt.Sprintf("%s %s %v", p.Name, p.Axes, p.Shape)
	if !slices.IsSorted(p.Perm) {
		s += fmt.Sprintf(" perm %v", p.Perm)
	}
	if p.Note != "" {
		s += " (" + p.Note + ")"
	}
	return s
}

func lines(m *model.Model) []string {
	var list []string
	for i := range m.Parameters {
		list = append(list, line(&m.Parameters[i]))
	}
	return list
}

// operatorTests are graphs, and what becomes of their constants.
var operatorTests = map[string]struct {
	model *pb.ModelProto
	want  []string
}{
	"MatMul": {
		graph(list(tensor("onnx::MatMul_7", 4, 3), tensor("fc.bias", 3)), node("MatMul", "/layers.0/fc/MatMul", "x onnx::MatMul_7", "u"), node("Add", "/layers.0/fc/Add", "fc.bias u", "y")),
		[]string{"layers.0.fc.weight NK [3 4] perm [1 0]", "fc.bias N [3]"},
	},
	"MatMul with weights on the left": {graph(list(tensor("mix", 4, 3)), node("MatMul", "", "mix x", "y")), []string{"mix NK [4 3]"}},
	"MatMul with a vector":            {graph(list(tensor("v", 4)), node("MatMul", "", "x v", "y")), []string{"v N [4]"}},
	"batched MatMul":                  {graph(list(tensor("heads", 2, 4, 3)), node("MatMul", "", "x heads", "y")), []string{"heads BNK [2 3 4] perm [0 2 1]"}},
	"FusedMatMul": {
		graph(list(tensor("a", 4, 3), tensor("b", 4, 3)), node("microsoft.FusedMatMul", "", "x a", "u", number("transB", 1)), node("microsoft.FusedMatMul", "", "b u", "y", number("transA", 1))),
		[]string{"a NK [4 3]", "b NK [3 4] perm [1 0]"},
	},
	"Transpose before a MatMul": {graph(list(tensor("w", 3, 4)), node("Transpose", "", "w", "wt"), node("MatMul", "", "x wt", "y")), []string{"w NK [3 4]"}},
	"Gemm": {
		graph(list(tensor("w", 3, 4), tensor("b", 1, 3), tensor("left", 5, 2)), node("Gemm", "", "x w b", "u", number("transB", 1)), node("Gemm", "", "left u", "y", number("transA", 1))),
		[]string{"w NK [3 4]", "b N [3]", "left NK [2 5] perm [1 0]"},
	},
	"Conv": {
		graph(list(tensor("c1", 2, 3, 5), tensor("c2", 2, 3, 5, 7), tensor("c3", 2, 3, 5, 7, 9), tensor("b", 2)), node("Conv", "", "x c1 b", "u"), node("Conv", "", "u c2", "v"), node("microsoft.FusedConv", "", "v c3", "y")),
		[]string{"c1 NCX [2 3 5]", "b N [2]", "c2 NCYX [2 3 5 7]", "c3 NCZYX [2 3 5 7 9]"},
	},
	"Conv in groups": {graph(list(tensor("dw", 6, 1, 3, 3)), node("Conv", "", "x dw", "y", number("group", 6))), []string{"dw NIYX [6 1 3 3]"}},
	"ConvTranspose": {
		graph(list(tensor("up", 3, 2, 4, 4), tensor("b", 2), tensor("grouped", 4, 2, 3)), node("ConvTranspose", "", "x up b", "u"), node("ConvTranspose", "", "u grouped", "y", number("group", 2))),
		[]string{"up CNYX [3 2 4 4]", "b N [2]", "grouped ABC [4 2 3]"},
	},
	"normalizations": {
		graph(list(tensor("g", 3), tensor("b", 3), tensor("m", 3), tensor("v", 3), tensor("rms", 3)),
			node("BatchNormalization", "", "x g b m v", "u"), node("microsoft.SkipSimplifiedLayerNormalization", "", "u x rms", "y")),
		[]string{"g N [3]", "b N [3]", "m N [3]", "v N [3]", "rms N [3]"},
	},
	"anonymous normalization": {
		graph(list(tensor("1", 3), tensor("2", 3), tensor("3", 3), tensor("4", 3)), node("BatchNormalization", "/bn1/BatchNormalization", "x 1 2 3 4", "y")),
		[]string{"bn1.weight N [3]", "bn1.bias N [3]", "bn1.running_mean N [3]", "bn1.running_var N [3]"},
	},
	"LSTM": {
		graph(list(tensor("W", 2, 12, 5), tensor("R", 2, 12, 3), tensor("B", 2, 24), tensor("P", 2, 9)), node("LSTM", "", "x W R B - - - P", "y")),
		[]string{"W BNK [2 12 5]", "R BNK [2 12 3]", "B BN [2 24]", "P BN [2 9]"},
	},
	"embeddings": {
		graph(list(tensor("tokens", 9, 4), tensor("positions", 6, 4), ints("from", 0), ints("to", 5), ints("axes", 0), tensor("gates", 8, 4), tensor("columns", 9, 4)),
			node("Gather", "", "tokens x", "u"), node("Slice", "", "positions from length axes", "p"), node("Add", "", "u p", "v"), node("Slice", "", "gates from to axes", "g"), node("Mul", "", "v g", "w"),
			node("Gather", "", "columns w", "y", number("axis", 1))),
		[]string{"tokens PN [9 4]", "positions PN [6 4]", "gates AB [8 4]", "columns AB [9 4]"},
	},
	"a layer of BERT": {
		graph(list(tensor("emb.words.weight", 9, 4), tensor("emb.positions", 1, 6, 4), tensor("norm.gamma", 4), tensor("norm.beta", 4), tensor("onnx::MatMul_3", 4, 4), tensor("query.bias", 4)),
			node("Gather", "", "emb.words.weight x", "a"), node("Add", "", "a emb.positions", "b"), node("LayerNormalization", "", "b norm.gamma norm.beta", "c"),
			node("MatMul", "/layer.0/attention/query/MatMul", "c onnx::MatMul_3", "d"), node("Add", "", "query.bias d", "y")),
		[]string{"emb.words.weight PN [9 4]", "emb.positions PN [6 4]", "norm.gamma N [4]", "norm.beta N [4]", "layer.0.attention.query.weight NK [4 4] perm [1 0]", "query.bias N [4]"},
	},
	"the same, fused": {
		graph(list(tensor("1", 9, 4), tensor("2", 6, 4), tensor("3", 2, 4), tensor("4", 4), tensor("5", 4)), node("microsoft.EmbedLayerNormalization", "Embed_0", "x x 1 2 3 4 5", "y")),
		[]string{"Embed_0.words PN [9 4]", "Embed_0.positions PN [6 4]", "Embed_0.segments PN [2 4]", "Embed_0.weight N [4]", "Embed_0.bias N [4]"},
	},
	"what is broadcast": {
		graph(list(tensor("channel", 1, 3, 1, 1), tensor("table", 1, 3, 4), tensor("many", 2, 3, 4), tensor("slope", 3, 1, 1)),
			node("Mul", "", "x channel", "u"), node("Add", "", "u table", "v"), node("Sub", "", "v many", "w"), node("PRelu", "", "w slope", "y")),
		[]string{"channel N [3]", "table PN [3 4]", "many ABC [2 3 4]", "slope N [3]"},
	},
	"an operator that is not known": {
		graph(list(tensor("ranks", 2, 3, 1, 2), tensor("line", 5)), node("example.Mystery", "/deep/Mystery", "x ranks line", "y")),
		[]string{"ranks ABCD [2 3 1 2]", "line A [5]"},
	},
	"its anonymous constant": {graph(list(tensor("12", 5)), node("example.Mystery", "/deep/Mystery_1", "x 12", "y")), []string{"deep.constant A [5]"}},
	"a node without a path":  {graph(list(tensor("12", 1, 8, 3)), node("LSTM", "LSTM_7", "x 12", "y")), []string{"LSTM_7.weight_ih BNK [1 8 3]"}},
	"a node of another name": {graph(list(tensor("12", 4, 3)), node("MatMul", "/a/fused_product/", "x 12", "y")), []string{"a.fused_product.weight NK [3 4] perm [1 0]"}},
	"more than eight axes":   {graph(list(tensor("deep", 1, 2, 1, 2, 1, 2, 1, 2, 3, 2)), node("example.Mystery", "", "x deep", "y")), []string{"deep ABCDEFGH [1 2 1 2 1 2 1 12]"}},
	"numbers of a graph and trained numbers": {
		graph(list(tensor("logit_scale"), tensor("onnx::Mul_4"), tensor("head.bias", 1), tensor("19", 1), tensor("low")),
			node("Constant", "", "", "p.Constant_3", value(tensor(""))), node("Constant", "", "", "shift", value(tensor("", 1))), node("Add", "", "x p.Constant_3", "s"), node("Add", "", "s shift", "t"), node("Mul", "", "t logit_scale", "u"), node("Mul", "", "u onnx::Mul_4", "v"), node("Clip", "", "v low", "w"),
			node("Conv", "", "w kernel head.bias", "z"), node("PRelu", "/act/PRelu", "z 19", "y")),
		[]string{"shift N [1]", "logit_scale N [1]", "head.bias N [1]", "act.weight N [1]"},
	},
	"a constant with two roles": {
		graph(list(tensor("tied", 9, 4)), node("Gather", "/emb/Gather", "tied x", "u"), node("Transpose", "", "tied", "t"), node("MatMul", "/head/MatMul", "u t", "y")),
		[]string{`tied NK [9 4] (PN in Gather node "/emb/Gather")`},
	},
	"a matrix turned two ways": {
		graph(list(tensor("w", 4, 4)), node("MatMul", "a", "x w", "u"), node("Gemm", "b", "u w", "y", number("transB", 1))),
		[]string{`w NK [4 4] perm [1 0] (NK in Gemm node "b", turned otherwise)`},
	},
	"branches and loops": {
		graph(list(tensor("outer", 4, 3)),
			node("If", "", "flag", "u",
				body("then_branch", "o", list(tensor("w", 4, 3)), node("MatMul", "", "x w", "o")),
				body("else_branch", "o", list(tensor("w", 4, 3), tensor("inner", 3)), node("MatMul", "", "x w", "p"), node("Add", "", "p inner", "o"))),
			node("Loop", "", "n flag u", "v", body("body", "z", list(tensor("state", 3)), node("MatMul", "", "x outer", "z"))),
			node("If", "", "flag", "y", body("then_branch", "k", list(tensor("k", 2, 2))), body("else_branch", "l", list(tensor("l", 2, 2))))),
		[]string{`w NK [3 4] perm [1 0]`, `w_2 NK [3 4] perm [1 0] (named after "w")`, "inner N [3]", "outer NK [3 4] perm [1 0]", "k AB [2 2]", "l AB [2 2]"},
	},
	"Constant nodes": {
		graph(nil, node("Constant", "", "", "/fc/Constant_output_0", value(tensor("", 4, 3))), node("MatMul", "/fc/MatMul", "x /fc/Constant_output_0", "y")),
		[]string{"fc.weight NK [3 4] perm [1 0]"},
	},
	"a path whose name is taken": {
		graph(list(tensor("fc.weight", 5), tensor("7", 4, 3), tensor("8", 4, 3)), node("MatMul", "/fc/MatMul", "x 7", "u"), node("MatMul", "/fc/MatMul_1", "u 8", "v"), node("Add", "", "v fc.weight", "y")),
		[]string{`fc.weight_2 NK [3 4] perm [1 0] (named after "fc.weight")`, `fc.weight_3 NK [3 4] perm [1 0] (named after "fc.weight")`, "fc.weight N [5]"},
	},
	"dequantized weights": {
		graph(list(codes("w", 2, 3, 1, 1), tensor("s", 2), tensor("b", 2)), node("DequantizeLinear", "", "w s", "wf", number("axis", 0)), node("Conv", "", "x wf b", "y")),
		[]string{"w NCYX [2 3 1 1]", "b N [2]"},
	},
	"sizes": {
		graph(list(tensor("helper.sizes", 4), tensor("w", 3)), node("Resize", "", "x - helper.sizes", "u"), node("Add", "", "u w", "y")), []string{"w N [3]"},
	},
	"quantized activations": {
		graph(list(tensor("scale", 3), codes("zero", 3), tensor("w", 4, 3)), node("QuantizeLinear", "", "x scale zero", "q"), node("DequantizeLinear", "", "q scale zero", "u"), node("MatMul", "", "u w", "y")),
		[]string{"w NK [3 4] perm [1 0]"},
	},
	"codes that are looked up": {
		graph(list(codes("tokens_quantized", 9, 4), tensor("tokens_scale"), codes("tokens_zero_point")), node("Gather", "", "tokens_quantized x", "q"), node("DequantizeLinear", "", "q tokens_scale tokens_zero_point", "y")),
		[]string{"tokens_quantized PN [9 4]"},
	},
	"integers": {graph(list(ints("shape", 1, -1, 4), tensor("w", 4, 3)), node("Reshape", "", "x shape", "u"), node("MatMul", "", "u w", "y")), []string{"w NK [3 4] perm [1 0]"}},
}

func TestOperators(t *testing.T) {
	t.Parallel()
	for name, x := range operatorTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := generic.FromONNX(open(t, x.model))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(x.want, lines(m)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Two exports of one graph give one name each to their parameters, and what was left out is told.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	unused := []*pb.TensorProto{tensor("w", 4, 3)}
	for i := range 7 {
		unused = append(unused, tensor(fmt.Sprintf("unused %d", i), 2))
	}
	m, err := generic.FromONNX(open(t, graph(unused, node("MatMul", "", "x w", "y"))))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"left out, since no operator that has weights uses them: unused 0, unused 1, unused 2, unused 3, unused 4 and 2 more"}
	if diff := cmp.Diff(want, m.Notes); diff != "" {
		t.Error(diff)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		model    *pb.ModelProto
		sentinel error
		parts    []string
	}{
		"no weights":         {graph(nil, node("Relu", "", "x", "y")), source.ErrNotRecognised, []string{"holds no parameters of a model"}},
		"codes":              {graph([]*pb.TensorProto{codes("w", 4, 3)}, node("example.Packed", "p", "x w", "y")), source.ErrUnsupported, []string{`example.Packed node "p"`, `"w"`, "INT8"}},
		"codes of no scales": {graph([]*pb.TensorProto{codes("w", 4, 3)}, node("MatMulInteger", "p", "x w", "y")), source.ErrUnsupported, []string{`MatMulInteger node "p"`}},
	} {
		_, err := generic.FromONNX(open(t, x.model))
		if !errors.Is(err, x.sentinel) {
			t.Errorf("%s: %v, expected %v", name, err, x.sentinel)
			continue
		}
		for _, part := range x.parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, expected %q in it", name, err, part)
			}
		}
	}
}

// Thousands of constants whose names are anything become parameters with names of their own that may stand in an artifact, and the same ones
// each time.
func TestOddNames(t *testing.T) {
	t.Parallel()
	odd := []string{
		"\x00", "a\nb", "\u202ereversed", "*", "{i}", "weight", "weight", strings.Repeat("long.", 1000), strings.Repeat("é", 400), "/", "::", "..", " ", "1", "1", "weight_2", "名前",
	}
	var tensors []*pb.TensorProto
	var nodes []*pb.NodeProto
	last := "x"
	for i := range 3000 {
		n := tensor(fmt.Sprint(i), 2)
		// One name in each of many graphs that do not see each other.
		name := odd[i%len(odd)]
		n.Name = &name
		out := fmt.Sprintf("y%d", i)
		inner := &pb.NodeProto{OpType: &add, Input: []string{last, name}, Output: []string{"inner"}}
		nodes = append(nodes, node("If", "", "flag", out, body("then_branch", "inner", []*pb.TensorProto{n}, inner)))
		last = out
	}
	m := graph(tensors, nodes...)
	first, err := generic.FromONNX(open(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Parameters) != 3000 {
		t.Fatalf("%d parameters", len(first.Parameters))
	}
	seen := map[string]bool{}
	for i := range first.Parameters {
		name := first.Parameters[i].Name
		if seen[name] || name == "" || len(name) > 600 {
			t.Errorf("%.100q: there already, or no name for an artifact", name)
		}
		seen[name] = true
	}
	again, err := generic.FromONNX(open(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lines(first), lines(again)); diff != "" {
		t.Error(diff)
	}
}

var add = "Add"
