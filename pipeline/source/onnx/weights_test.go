package onnx

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

func weightsOf(t *testing.T, m *pb.ModelProto) []Weight {
	t.Helper()
	got, err := walkBytes(marshal(t, m))
	if err != nil {
		t.Fatal(err)
	}
	weights, err := got.Weights()
	if err != nil {
		t.Fatal(err)
	}
	return weights
}

func TestMeaningOfOperands(t *testing.T) {
	t.Parallel()
	transpose := func(perm ...int64) *pb.NodeProto { return node("Transpose", "", "w", "v", intsAttr("perm", perm...)) }
	for _, x := range []struct {
		name  string
		w     []int64 // shape of the initializer w; the node reads v
		carry *pb.NodeProto
		node  *pb.NodeProto
		want  string // axes, shape, perm, shape of the tensor, path name
	}{
		{"MatMul", []int64{4, 3}, nil, node("MatMul", "/fc/MatMul", "x v", "y"), "NK [3 4] [1 0] [4 3] fc.weight"},
		{"MatMul of a Transpose", []int64{3, 4}, transpose(1, 0), node("MatMul", "/fc/MatMul_3", "x v", "y"), "NK [3 4] [0 1] [3 4] fc.weight"},
		{"MatMul of a Transpose without perm", []int64{3, 4}, node("Transpose", "", "w", "v"), node("MatMul", "/fc/MatMul", "x v", "y"), "NK [3 4] [0 1] [3 4] fc.weight"},
		{"MatMul of an Identity", []int64{4, 3}, node("Identity", "", "w", "v"), node("MatMul", "/a.0/fc/MatMul", "x v", "y"), "NK [3 4] [1 0] [4 3] a.0.fc.weight"},
		{"MatMul of a Cast", []int64{4, 3}, node("Cast", "", "w", "v", intAttr("to", 10)), node("MatMul", "MatMul_12", "x v", "y"), "NK [3 4] [1 0] [4 3] "},
		{"Gemm", []int64{4, 3}, nil, node("Gemm", "/fc/Gemm", "x v", "y"), "NK [3 4] [1 0] [4 3] fc.weight"},
		{"Gemm transB=0", []int64{4, 3}, nil, node("Gemm", "/fc/Gemm", "x v", "y", intAttr("transB", 0), floatAttr("alpha", 1)), "NK [3 4] [1 0] [4 3] fc.weight"},
		{"Gemm transB=1", []int64{3, 4}, nil, node("Gemm", "/fc/Gemm", "x v", "y", intAttr("transB", 1), intAttr("transA", 1)), "NK [3 4] [0 1] [3 4] fc.weight"},
		{"Gemm transB=1 of a Transpose", []int64{4, 3}, transpose(1, 0), node("Gemm", "/fc/MatMul", "x v", "y", intAttr("transB", 1)), "NK [3 4] [1 0] [4 3] fc.weight"},
		{"Gemm C", []int64{3}, nil, node("Gemm", "/fc/Gemm", "x x v", "y", floatAttr("alpha", 2)), "N [3] [0] [3] fc.bias"},
		{"Gemm C as a row", []int64{1, 3}, nil, node("Gemm", "/fc/Gemm", "x x v", "y"), "N [3] [0] [3] fc.bias"},
		{"Conv W", []int64{5, 4, 3}, nil, node("Conv", "/conv1/Conv", "x v", "y"), "NCX [5 4 3] [0 1 2] [5 4 3] conv1.weight"},
		{"Conv W of a Transpose", []int64{3, 5, 4}, transpose(1, 2, 0), node("Conv", "/conv1/Conv", "x v", "y"), "NCX [5 4 3] [1 2 0] [3 5 4] conv1.weight"},
		{"Conv B", []int64{5}, nil, node("Conv", "/conv1/Conv", "x x v", "y"), "N [5] [0] [5] conv1.bias"},
		{"LayerNormalization Scale", []int64{5}, nil, node("LayerNormalization", "/ln/LayerNormalization", "x v", "y"), "N [5] [0] [5] ln.weight"},
		{"LayerNormalization B", []int64{5}, nil, node("LayerNormalization", "/ln/LayerNormalization", "x x v", "y"), "N [5] [0] [5] ln.bias"},
		{"Add", []int64{5}, nil, node("Add", "/fc/Add", "v x", "y"), "N [5] [0] [5] fc.bias"},
		{"Add of a row", []int64{1, 1, 5}, nil, node("Add", "/fc/Add_1", "x v", "y"), "N [5] [0] [5] fc.bias"},
		{"Add of a transposed column", []int64{5, 1}, transpose(1, 0), node("Add", "/fc/Add_1", "x v", "y"), "N [5] [0] [5] fc.bias"},
		{"Add of a matrix", []int64{1, 7, 5}, nil, node("Add", "/encoder/Add", "x v", "y"), "PN [7 5] [0 1] [7 5] "},
		{"Add of a transposed matrix", []int64{5, 1, 7}, transpose(1, 2, 0), node("Add", "/encoder/Add", "x v", "y"), "PN [7 5] [1 0] [5 7] "},
		{"Mul", []int64{5}, nil, node("Mul", "/ln/Mul", "x v", "y"), "N [5] [0] [5] ln.weight"},
		{"FusedMatMul", []int64{4, 3}, nil, node("FusedMatMul", "/fc/MatMul", "x v", "y"), "NK [3 4] [1 0] [4 3] fc.weight"},
		{"FusedMatMul transB=1", []int64{3, 4}, nil, node("FusedMatMul", "/fc/MatMul/MatmulTransposeFusion/", "x v", "y", intAttr("transB", 1)), "NK [3 4] [0 1] [3 4] fc.weight"},
		{"FusedGemm", []int64{3, 4}, nil, node("FusedGemm", "fused /fc/Gemm", "x v", "y", intAttr("transB", 1)), "NK [3 4] [0 1] [3 4] fc.weight"},
		{"FusedGemm C", []int64{3}, nil, node("FusedGemm", "/fc/MatMul/MatMulAddFusion", "x x v", "y"), "N [3] [0] [3] fc.bias"},
		{"FusedConv W", []int64{5, 4, 3}, nil, node("FusedConv", "/conv1/Conv", "x v", "y"), "NCX [5 4 3] [0 1 2] [5 4 3] conv1.weight"},
		{"FusedConv B", []int64{5}, nil, node("FusedConv", "/conv1/Conv", "x x v", "y"), "N [5] [0] [5] conv1.bias"},
		{"GemmFastGelu W", []int64{4, 3}, nil, node("GemmFastGelu", "/fc/Gemm", "x v", "y"), "NK [3 4] [1 0] [4 3] "},
		{"GemmFastGelu bias", []int64{3}, nil, node("GemmFastGelu", "/fc/Gemm", "x x v", "y"), "N [3] [0] [3] "},
		{"BiasGelu", []int64{5}, nil, node("BiasGelu", "/activation_fn/Mul", "x v", "y"), "N [5] [0] [5] "},
		{"FastGelu", []int64{5}, nil, node("FastGelu", "/activation_fn/Mul", "x v", "y"), "N [5] [0] [5] "},
		{"SkipLayerNormalization gamma", []int64{5}, nil, node("SkipLayerNormalization", "/ln/Mul/LayerNormFusion/", "x x v", "y"), "N [5] [0] [5] ln.weight"},
		{"SkipLayerNormalization beta", []int64{5}, nil, node("SkipLayerNormalization", "SkipLayerNorm_1", "x x x v", "y"), "N [5] [0] [5] "},
		{"SkipLayerNormalization bias", []int64{5}, nil, node("SkipLayerNormalization", "/ln/Mul", "x x x x v", "y"), "N [5] [0] [5] "},
		{"SkipLayerNormalization of positions", []int64{1, 7, 5}, nil, node("SkipLayerNormalization", "/ln/Mul", "x v", "y"), "PN [7 5] [0 1] [7 5] "},
		{"Attention weights", []int64{4, 9}, nil, node("Attention", "/a/MatMul", "x v", "y"), "NK [9 4] [1 0] [4 9] "},
		{"Attention bias", []int64{9}, nil, node("Attention", "/a/MatMul", "x x v", "y"), "N [9] [0] [9] "},
		{"MultiHeadAttention bias", []int64{9}, nil, node("MultiHeadAttention", "/a/MatMul", "x x x v", "y"), "N [9] [0] [9] "},
		{"no path", []int64{5}, nil, node("Mul", "/Mul", "x v", "y"), "N [5] [0] [5] "},
		{"a path that is no module's", []int64{5}, nil, node("Mul", "/ln/node_of_mine", "x v", "y"), "N [5] [0] [5] "},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			carry := x.carry
			if carry == nil {
				carry = node("Identity", "", "w", "v")
			}
			if readers[[2]string{"", x.node.GetOpType()}] == nil {
				x.node.Domain = proto.String(Microsoft)
			}
			weights := weightsOf(t, model([]*pb.TensorProto{floatTensor("w", x.w...)}, carry, x.node))
			if len(weights) != 1 {
				t.Fatalf("%d weights", len(weights))
			}
			w := weights[0]
			got := fmt.Sprint(w.Axes, " ", w.Shape, " ", w.Perm, " ", w.Tensor.Shape, " ", w.PathName)
			if got != x.want {
				t.Errorf("%s, expected %s", got, x.want)
			}
		})
	}
}

// The order of axes is that of all Transposes on the way together.
func TestTransposeOfATranspose(t *testing.T) {
	t.Parallel()
	weights := weightsOf(t, model([]*pb.TensorProto{floatTensor("w", 4, 3, 5)},
		node("Transpose", "", "w", "u", intsAttr("perm", 1, 2, 0)),
		node("Transpose", "", "u", "v", intsAttr("perm", 1, 2, 0)),
		node("Conv", "/conv1/Conv", "x v", "y")))
	if len(weights) != 1 {
		t.Fatalf("%d weights", len(weights))
	}
	w := weights[0]
	if got, want := fmt.Sprint(w.Axes, w.Shape, w.Perm, w.Tensor.Shape), "NCX[5 4 3] [2 0 1] [4 3 5]"; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
}

func TestWhatIsNotUnderstood(t *testing.T) {
	t.Parallel()
	w := floatTensor("w", 2, 2)
	int8s := &pb.TensorProto{Name: proto.String("w"), Dims: []int64{2, 2}, DataType: proto.Int32(3), RawData: make([]byte, 4)}
	// Microsoft's, as the others are ONNX's.
	ms := func(op, name, inputs string, attributes ...*pb.AttributeProto) *pb.NodeProto {
		n := node(op, name, inputs, "y", attributes...)
		n.Domain = proto.String(Microsoft)
		return n
	}
	for name, x := range map[string]struct {
		w    *pb.TensorProto
		node *pb.NodeProto
	}{
		"Gather of columns":   {w, node("Gather", "/embed/Gather", "w x", "y", intAttr("axis", 1))},
		"Gather of a vector":  {floatTensor("w", 2), node("Gather", "/embed/Gather", "w x", "y")},
		"Slice of all axes":   {w, node("Slice", "/embed/Slice", "w x x", "y")},
		"another domain":      {w, ms("MatMul", "/fc/MatMul", "x w")},
		"a blocked layout":    {floatTensor("w", 8, 8, 3), ms("NhwcConv", "/conv1/Conv", "x w")},
		"FusedMatMul left":    {w, ms("FusedMatMul", "/fc/MatMul", "w x")},
		"FusedMatMul alpha":   {w, ms("FusedMatMul", "/fc/MatMul", "x w", floatAttr("alpha", 0.125))},
		"FusedMatMul batch":   {w, ms("FusedMatMul", "/fc/MatMul", "x w", intAttr("transBatchB", 1))},
		"FusedGemm alpha":     {w, ms("FusedGemm", "/fc/Gemm", "x w", floatAttr("alpha", 2))},
		"FusedConv's sum":     {floatTensor("w", 2, 2, 2), ms("FusedConv", "/c/Conv", "x x x w")},
		"a past of Attention": {floatTensor("w", 2, 2, 2, 2, 2), ms("Attention", "a", "x x x x w")},
		"a bias in attention": {floatTensor("w", 1, 2, 2, 2), ms("MultiHeadAttention", "a", "x x x x x w")},
		"BiasGelu of rows":    {w, ms("BiasGelu", "g", "x w")},
		"MatMul left":         {w, node("MatMul", "/fc/MatMul", "w x", "y")},
		"Gemm of 3 axes":      {floatTensor("w", 1, 2, 2), node("Gemm", "/fc/Gemm", "x w", "y")},
		"MatMul of 3 axes":    {floatTensor("w", 1, 2, 2), node("MatMul", "/fc/MatMul", "x w", "y")},
		"MatMul of int8":      {int8s, node("MatMul", "/fc/MatMul_quant", "x w", "y")},
		"Cast of int8":        {int8s, node("MatMul", "/fc/MatMul", "x c", "y")},
		"Gemm left":           {w, node("Gemm", "/fc/Gemm", "w x", "y")},
		"Gemm alpha":          {w, node("Gemm", "/fc/Gemm", "x w", "y", floatAttr("alpha", 2))},
		"Gemm alpha no float": {w, node("Gemm", "/fc/Gemm", "x w", "y", intAttr("alpha", 1))},
		"Gemm beta":           {floatTensor("w", 2), node("Gemm", "/fc/Gemm", "x x w", "y", floatAttr("beta", 0.5))},
		"Gemm C of a matrix":  {w, node("Gemm", "/fc/Gemm", "x x w", "y")},
		"Gemm transB=2":       {w, node("Gemm", "/fc/Gemm", "x w", "y", intAttr("transB", 2))},
		"Conv of 2 axes":      {floatTensor("w", 2, 2, 2, 2), node("Conv", "/c/Conv", "x w", "y")},
		"Conv in groups":      {floatTensor("w", 2, 2, 2), node("Conv", "/c/Conv", "x w", "y", intAttr("group", 2))},
		"LayerNorm of rows":   {w, node("LayerNormalization", "/ln/LayerNormalization", "x w", "y")},
		"Add of 3 axes":       {floatTensor("w", 2, 2, 2), node("Add", "/a/Add", "x w", "y")},
		"Cast to integers":    {w, node("Cast", "/a/Cast", "w", "y", intAttr("to", 7))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := walkBytes(marshal(t, model([]*pb.TensorProto{x.w}, node("Cast", "", "w", "c", intAttr("to", 1)), x.node)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Weights()
			wantError(t, err, source.ErrUnsupported, x.node.GetOpType()+" node", x.node.GetName(), `"w"`, "m.onnx")
		})
	}
}

func TestBadPermutations(t *testing.T) {
	t.Parallel()
	for name, perm := range map[string][]int64{"twice": {1, 1}, "negative": {-1, 0}, "past": {0, 2}, "three": {0, 1, 2}, "one": {0}, "none": {}, "huge": {1 << 62, 0}} {
		_, err := walkBytes(marshal(t, model([]*pb.TensorProto{floatTensor("w", 2, 2)}, node("Transpose", "turn", "w", "v", intsAttr("perm", perm...)))))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, source.ErrCorrupt, "Transpose node", `"turn"`, "perm", `"w"`)
	}
}

// Scalars, integers and booleans are structure; a tied tensor is used twice.
func TestWhatCountsAsWeights(t *testing.T) {
	t.Parallel()
	mask := &pb.TensorProto{Name: proto.String("mask"), Dims: []int64{4}, DataType: proto.Int32(9), RawData: make([]byte, 4)}
	weights := weightsOf(t, model(
		[]*pb.TensorProto{floatTensor("w", 4, 4), floatTensor("one", 1, 1), intTensor("axes", 1, 2, 3), mask, floatTensor("unused", 9)},
		node("Where", "", "mask x one", "a"), node("ReduceMean", "", "a axes", "b"), node("Relu", "", "one", "d"),
		node("MatMul", "/first/MatMul", "x w", "e"),
		node("Transpose", "", "w", "first.weight_transposed", intsAttr("perm", 1, 0)),
		node("MatMul", "/second/MatMul", "e first.weight_transposed", "f"),
	))
	if len(weights) != 2 || weights[0].Constant != weights[1].Constant {
		t.Fatalf("%+v, expected two uses of w", weights)
	}
	if a, b := weights[0], weights[1]; !slices.Equal(a.Perm, []int{1, 0}) || !slices.Equal(b.Perm, []int{0, 1}) || a.PathName != "first.weight" || b.PathName != "second.weight" {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestValueNames(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ initializer, consumed, want string }{
		{"layers.0.fc.bias", "layers.1.fc.bias", "layers.1.fc.bias"}, // Identity gives the real name
		{"layers.0.fc.bias", "graph_cast_7", "layers.0.fc.bias"},
		{"onnx::MatMul_7", "cast", ""},
		{"/fc/Constant_output_0.bias", "v", ""},
	} {
		weights := weightsOf(t, model([]*pb.TensorProto{floatTensor(x.initializer, 3)},
			node("Identity", "", x.initializer, x.consumed), node("Add", "", "x "+x.consumed, "y")))
		if len(weights) != 1 || weights[0].ValueName != x.want {
			t.Errorf("%s as %s: %+v, expected %q", x.initializer, x.consumed, weights, x.want)
		}
	}
}

func TestInts(t *testing.T) {
	t.Parallel()
	var chain []*pb.NodeProto
	for i := range 100 {
		chain = append(chain, node("Concat", "", fmt.Sprintf("c%d c%d", i, i), fmt.Sprintf("c%d", i+1)))
	}
	nodes := append(chain,
		node("Shape", "", "x", "s"), node("Gather", "", "s zero", "b"), node("Unsqueeze", "", "b axes", "b1"), node("Unsqueeze", "", "four axes", "four1"),
		node("Gather", "", "s axes", "b2"), node("Cast", "", "two", "two1", intAttr("to", 7)), node("Identity", "", "two1", "two2"),
		node("Concat", "", "b1 four1 two2 b2", "shape"), node("Concat", "", "s two", "unknown length"),
	)
	m, err := walkBytes(marshal(t, model([]*pb.TensorProto{
		{Name: proto.String("zero"), DataType: proto.Int32(7), Int64Data: []int64{0}},
		{Name: proto.String("four"), DataType: proto.Int32(7), Int64Data: []int64{4}},
		intTensor("axes", 0), intTensor("two", 16, -1), intTensor("c0"), intTensor("many", make([]int64, 65)...),
	}, nodes...)))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string][]int64{
		"shape": {Unknown, 4, 16, -1, Unknown}, "two2": {16, -1}, "c3": {},
		"s": nil, "unknown length": nil, "c100": nil, "many": nil, "x": nil, "nothing": nil,
	} {
		if got := m.Graph.Value(value).Ints(); !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: %v, expected %v", value, got, want)
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	nodes := []*pb.NodeProto{node("Identity", "", "w", "v0"), node("Cast", "", "w", "i", intAttr("to", 7)), node("Relu", "", "w", "r")}
	for i := range 100 {
		nodes = append(nodes, node("Identity", "", fmt.Sprintf("v%d", i), fmt.Sprintf("v%d", i+1)))
	}
	m, err := walkBytes(marshal(t, model([]*pb.TensorProto{floatTensor("w", 2)}, nodes...)))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{"w": true, "v0": true, "v50": true, "v100": true, "i": false, "r": false, "x": false, "nothing": false} {
		if v := m.Graph.Value(value); (v != nil && v.Origin != nil) != want {
			t.Errorf("%s: %+v; expected an origin: %v", value, v, want)
		}
	}
}

// In the real exports every tensor of more than one element has one use, and the two names agree wherever both are.
func TestWeightsOfRealExports(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]element.Format{
		"encoder.onnx": element.F32, "encoder-ext.onnx": element.F32, "encoder-fp16.onnx": element.F16, "op17-encoder.onnx": element.F32, "dflt-encoder.onnx": element.F32,
	} {
		m, err := Open(testdata + name)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		weights, err := m.Weights()
		if err != nil || len(weights) != 37 {
			t.Errorf("%s: %d weights, %v; expected 37", name, len(weights), err)
		}
		for _, w := range weights {
			if w.Tensor.Type != format {
				t.Errorf("%s: %s is %v, expected %v", name, w.Constant.Name, w.Tensor.Type, format)
			}
			if w.PathName == "" && w.ValueName == "" || w.PathName != "" && w.ValueName != "" && w.PathName != w.ValueName {
				t.Errorf("%s: %s and %s", name, w.PathName, w.ValueName)
			}
		}
	}
}

func TestNodeString(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]Node{
		`Add node "/a/Add"`:                {Op: "Add", Name: "/a/Add"},
		`com.x.Add node of output "y"`:     {Op: "Add", Domain: "com.x", Outputs: []string{"y"}},
		`"Add\x1b[2J" node without a name`: {Op: "Add\x1b[2J"},
		`Add node without a name`:          {Op: "Add"},
	} {
		if got := n.String(); got != want {
			t.Errorf("%s, expected %s", got, want)
		}
	}
	if got := (&Node{Op: strings.Repeat("x", 9999), Name: strings.Repeat("y", 9999)}).String(); len(got) > 400 {
		t.Errorf("%d bytes for one node", len(got))
	}
}

// A Gather of all rows in order carries its table; one of rows that the input chooses is a lookup in it; any other is not read.
func TestGatherOfAllRows(t *testing.T) {
	t.Parallel()
	number := func(name string, v int64) *pb.TensorProto {
		return &pb.TensorProto{Name: &name, DataType: proto.Int32(7), Int64Data: []int64{v}}
	}
	rang := node("Range", "", "zero three one", "i")
	for name, x := range map[string]struct {
		indices []*pb.TensorProto
		nodes   []*pb.NodeProto
		axis    int64
		what    string
	}{
		"listed":                {[]*pb.TensorProto{intTensor("i", 0, 1, 2)}, nil, 0, "all"},
		"cast":                  {[]*pb.TensorProto{intTensor("j", 0, 1, 2)}, []*pb.NodeProto{node("Cast", "", "j", "i", intAttr("to", 6))}, 0, "all"},
		"a Range":               {[]*pb.TensorProto{number("zero", 0), number("three", 3), number("one", 1)}, []*pb.NodeProto{rang}, 0, "all"},
		"a Range of less":       {[]*pb.TensorProto{number("zero", 0), number("three", 2), number("one", 1)}, []*pb.NodeProto{rang}, 0, ""},
		"a Range by twos":       {[]*pb.TensorProto{number("zero", 0), number("three", 3), number("one", 2)}, []*pb.NodeProto{rang}, 0, ""},
		"an open Range":         {[]*pb.TensorProto{number("zero", 0), number("one", 1)}, []*pb.NodeProto{rang}, 0, "lookup"},
		"another order":         {[]*pb.TensorProto{intTensor("i", 0, 2, 1)}, nil, 0, ""},
		"fewer":                 {[]*pb.TensorProto{intTensor("i", 0, 1)}, nil, 0, ""},
		"another axis":          {[]*pb.TensorProto{intTensor("i", 0, 1, 2)}, nil, 1, ""},
		"another axis, unknown": {nil, nil, 1, ""},
		"unknown":               {nil, nil, 0, "lookup"},
	} {
		nodes := append(x.nodes, node("Gather", "/embed/Gather", "w i", "v", intAttr("axis", x.axis)), node("Add", "", "x v", "y"))
		m, err := walkBytes(marshal(t, model(append(x.indices, floatTensor("w", 3, 3)), nodes...)))
		if err != nil {
			t.Fatal(err)
		}
		weights, err := m.Weights()
		switch op := map[string]string{"all": "Add", "lookup": "Gather"}[x.what]; {
		case x.what == "":
			wantError(t, err, source.ErrUnsupported, "Gather node", "/embed/Gather", `"w"`)
		case err != nil || len(weights) != 1 || weights[0].Axes != "PN" || weights[0].Node.Op != op || op == "Gather" && weights[0].PathName != "embed.weight":
			t.Errorf("%s: %+v, %v", name, weights, err)
		}
	}
}
