package onnx

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// choose is an If of output y whose branches give z.
func choose(then, otherwise *pb.GraphProto) *pb.NodeProto {
	attributes := []*pb.AttributeProto{graphAttr("then_branch", then)}
	if otherwise != nil {
		attributes = append(attributes, graphAttr("else_branch", otherwise))
	}
	return node("If", "choose", "c", "y", attributes...)
}

// branch is a graph of output z.
func branch(tensors []*pb.TensorProto, nodes ...*pb.NodeProto) *pb.GraphProto {
	return &pb.GraphProto{Initializer: tensors, Node: nodes, Output: []*pb.ValueInfoProto{valueInfo("z")}}
}

func boolean(v int32) *pb.TensorProto {
	return &pb.TensorProto{Name: proto.String("c"), DataType: proto.Int32(9), Int32Data: []int32{v}}
}

func TestWeightsInBranches(t *testing.T) {
	t.Parallel()
	w := floatTensor("w", 4, 3)
	multiply := func() *pb.NodeProto { return node("MatMul", "/fc/MatMul", "x w", "z") }
	for _, x := range []struct {
		name    string
		outer   []*pb.TensorProto // initializers of the main graph
		choice  *pb.NodeProto
		behind  *pb.NodeProto // reads y
		weights string        // operator of each
	}{
		{"held by the one branch", nil, choose(branch([]*pb.TensorProto{w}, multiply()), branch(nil, node("Relu", "", "x", "z"))), nil, "[MatMul]"},
		{"held by the other", nil, choose(branch(nil, node("Relu", "", "x", "z")), branch([]*pb.TensorProto{w}, multiply())), nil, "[MatMul]"},
		{"held by the only one", nil, choose(branch([]*pb.TensorProto{w}, multiply()), nil), nil, "[MatMul]"},
		{"in a Constant node", nil, choose(branch(nil, node("Constant", "", "", "w", tensorAttr("value", w)), multiply()), nil), nil, "[MatMul]"},
		{"of the graph around", []*pb.TensorProto{w}, choose(branch(nil, multiply()), branch(nil, node("Relu", "", "x", "z"))), nil, "[MatMul]"},
		{"twice nested", []*pb.TensorProto{w}, choose(branch(nil, node("If", "inner", "c", "z", graphAttr("then_branch", branch(nil, multiply())))), nil), nil, "[MatMul]"},
		{"given to the graph around", nil, choose(branch([]*pb.TensorProto{w}, node("Identity", "", "w", "z")), branch(nil, node("Relu", "", "x", "z"))), node("Gemm", "", "x y", "r"), "[Gemm]"},
		{"given without a node", nil, choose(&pb.GraphProto{Initializer: []*pb.TensorProto{floatTensor("z", 4, 3)}, Output: []*pb.ValueInfoProto{valueInfo("z")}}, nil), node("Gemm", "", "x y", "r"), "[Gemm]"},
		{"both, chosen by a constant", []*pb.TensorProto{boolean(1)}, choose(branch([]*pb.TensorProto{w}, multiply()), branch([]*pb.TensorProto{w}, node("Gemm", "", "x w", "z"))), nil, "[MatMul Gemm]"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			nodes := []*pb.NodeProto{x.choice}
			if x.behind != nil {
				nodes = append(nodes, x.behind)
			}
			var ops []string
			for _, w := range weightsOf(t, model(x.outer, nodes...)) {
				if ops = append(ops, w.Node.Op); !slices.Equal(w.Shape, []uint64{3, 4}) || w.Tensor.Data.Size != 48 {
					t.Errorf("%+v", w)
				}
			}
			if got := fmt.Sprint(ops); got != x.weights {
				t.Errorf("weights of %s, expected %s", got, x.weights)
			}
		})
	}
}

func TestBranchThatIsTaken(t *testing.T) {
	t.Parallel()
	w := []*pb.TensorProto{floatTensor("w", 2)}
	with, without := branch(w, node("Add", "", "x w", "z")), branch(nil, node("Relu", "", "x", "z"))
	for _, x := range []struct {
		name            string
		condition       []*pb.TensorProto
		then, otherwise *pb.GraphProto
		want            string // "" for none
	}{
		{"the one with weights", nil, without, with, "else_branch"},
		{"the first without", nil, without, without, "then_branch"},
		{"neither", nil, with, with, ""},
		{"true", []*pb.TensorProto{boolean(1)}, with, with, "then_branch"},
		{"false", []*pb.TensorProto{boolean(0)}, with, without, "else_branch"},
		{"false, and no such branch", []*pb.TensorProto{boolean(0)}, with, nil, ""},
	} {
		m, err := walkBytes(marshal(t, model(x.condition, choose(x.then, x.otherwise))))
		if err != nil {
			t.Fatal(err)
		}
		n := &m.Graph.Nodes[0]
		got := ""
		for _, b := range n.Bodies {
			if b.Graph == n.Taken() {
				got = b.Attribute
			}
		}
		if got != x.want {
			t.Errorf("%s: %q, expected %q", x.name, got, x.want)
		}
	}
}

func TestWeightsInBodiesRefused(t *testing.T) {
	t.Parallel()
	w := []*pb.TensorProto{floatTensor("w", 2)}
	add := node("Add", "", "x w", "z")
	for name, x := range map[string]struct {
		tensors []*pb.TensorProto
		node    *pb.NodeProto
		parts   []string
	}{
		"either branch":            {nil, choose(branch(w, add), branch(w, add)), []string{"If node", `"choose"`, "then_branch", "else_branch"}},
		"weights around":           {w, choose(branch(nil, add), branch(nil, add)), []string{"If node", `"choose"`}},
		"a Loop":                   {nil, node("Loop", "again", "n c", "y", graphAttr("body", branch(w, add))), []string{"Loop node", `"again"`, `"body"`}},
		"a Loop that reads them":   {w, node("Loop", "again", "n c", "y", graphAttr("body", branch(nil, add))), []string{"Loop node", `"again"`}},
		"a Loop in a branch":       {nil, choose(branch(nil, node("Loop", "again", "n c", "z", graphAttr("body", branch(w, add)))), nil), []string{"Loop node", `"again"`}},
		"an operator not known":    {nil, choose(branch(w, node("Table", "look", "w x", "z")), nil), []string{"Table node", `"look"`, `"w"`}},
		"a branch of quantized":    {nil, choose(branch([]*pb.TensorProto{{Name: proto.String("q"), Dims: []int64{2}, DataType: proto.Int32(3), RawData: []byte{1, 2}}}, node("MatMulInteger", "fc", "x q", "z")), nil), []string{"MatMulInteger node", "DynamicQuantizeLinear"}},
		"two graphs of one Choice": {nil, node("Choice", "either", "c", "y", &pb.AttributeProto{Name: proto.String("of"), Graphs: []*pb.GraphProto{branch(w, add)}}), []string{"Choice node", `"of"`}},
	} {
		m, err := walkBytes(marshal(t, model(x.tensors, x.node)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = m.Weights()
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, source.ErrUnsupported, append(x.parts, "m.onnx")...)
	}
}

// Graphs that do not see each other may use a name twice; the catalogue gives each its own.
func TestNamesInBranches(t *testing.T) {
	t.Parallel()
	m, err := walkBytes(marshal(t, model([]*pb.TensorProto{floatTensor("v (2)", 1)},
		choose(branch([]*pb.TensorProto{floatTensor("v", 1)}, node("Add", "", "x v", "z")), branch([]*pb.TensorProto{floatTensor("v", 1)}, node("Add", "", "x v", "z"))))))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range m.Tensors {
		names = append(names, m.Tensors[i].Name)
	}
	if got := fmt.Sprint(names); got != "[v (2) v v (3)]" {
		t.Errorf("tensors are called %s", got)
	}
	for i, b := range m.Graph.Nodes[0].Bodies {
		v := b.Graph.Value("v")
		if v.Constant.Tensor != 1+i || len(v.Uses) != 1 || v.Uses[0].Node != &b.Graph.Nodes[0] {
			t.Errorf("%s: v is %+v", b.Attribute, v)
		}
	}
	if m.Graph.Value("v") != nil {
		t.Error("v is seen outside of its graph")
	}
}

func TestPartText(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Part{"4:8 of 12": {4, 4, 12}, "2:4 of every 6": {2, 2, 6}} {
		if got := p.Of(12); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}

// A convolution's weight, whose axis N is not alone with K, is not cut.
func TestPartOfAConvolution(t *testing.T) {
	t.Parallel()
	w := weightsOf(t, model([]*pb.TensorProto{floatTensor("w", 6, 2, 3)}, node("Conv", "", "x w", "y")))
	if part, ok := w[0].Part(Part{0, 2, 6}); ok {
		t.Errorf("%+v", part)
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name  string
		dims  []int64
		op    string
		trans int64
		part  Part
		shape []uint64
		want  []float32 // in the order of the tensor, whose elements are 0, 1, 2...
	}{
		{"columns of [K, N]", []int64{2, 6}, "MatMul", 0, Part{2, 2, 6}, []uint64{2, 2}, []float32{2, 3, 8, 9}},
		{"columns of heads", []int64{2, 8}, "MatMul", 0, Part{1, 1, 4}, []uint64{2, 2}, []float32{1, 5, 9, 13}},
		{"all columns", []int64{2, 2}, "MatMul", 0, Part{0, 2, 2}, []uint64{2, 2}, []float32{0, 1, 2, 3}},
		{"rows of [N, K]", []int64{6, 2}, "Gemm", 1, Part{4, 2, 6}, []uint64{2, 2}, []float32{8, 9, 10, 11}},
		{"rows of heads", []int64{4, 2}, "Gemm", 1, Part{1, 1, 2}, []uint64{2, 2}, []float32{2, 3, 6, 7}},
		{"no columns", []int64{2, 6}, "MatMul", 0, Part{2, 0, 6}, nil, nil},
		{"past the end", []int64{2, 6}, "MatMul", 0, Part{5, 2, 6}, nil, nil},
		{"more than there are", []int64{2, 6}, "MatMul", 0, Part{0, 6, 12}, nil, nil},
		{"pieces left over", []int64{2, 6}, "MatMul", 0, Part{0, 2, 4}, nil, nil},
		{"past every number", []int64{2, 6}, "MatMul", 0, Part{1 << 63, 1 << 63, 6}, nil, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			m, err := open(t, model([]*pb.TensorProto{floatTensor("w", x.dims...)}, node(x.op, "", "x w", "y", intAttr("transB", x.trans))))
			if err != nil {
				t.Fatal(err)
			}
			weights, err := m.Weights()
			if err != nil {
				t.Fatal(err)
			}
			part, ok := weights[0].Part(x.part)
			if ok != (x.want != nil) || !slices.Equal(part.Shape, x.shape) {
				t.Fatalf("%+v, %v; expected shape %v", part, ok, x.shape)
			}
			if !ok {
				return
			}
			got := make([]byte, part.Tensor.Data.Size)
			if err := m.ReadAt(got, &part.Tensor, 0); err != nil || !slices.Equal(got, fixed32s(x.want...)) {
				t.Errorf("%v, %v; expected %v", got, err, x.want)
			}
		})
	}
}
