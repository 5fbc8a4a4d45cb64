package onnx

import (
	"fmt"
	"testing"

	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// A Slice between rows that are computed is a lookup of positions; one between constants is not read, nor one of other axes.
func TestSliceOfRows(t *testing.T) {
	t.Parallel()
	zero, one, two := intTensor("zero", 0), intTensor("one", 1), intTensor("two", 2)
	for name, x := range map[string]struct {
		inputs string
		ok     bool
	}{
		"an open end":       {"w zero n zero one", true},
		"an open beginning": {"w n one zero", true},
		"no axes":           {"w n m", false}, // of how many axes is not known
		"one axis, unnamed": {"w zero n", true},
		"columns":           {"w zero n one", false},
		"every other":       {"w zero n zero two", false},
		"all constant":      {"w zero two zero one", false},
		"of something else": {"x w n zero", false},
	} {
		m, err := walkBytes(marshal(t, model([]*pb.TensorProto{floatTensor("w", 3, 3), zero, one, two}, node("Slice", "/embed_positions/Slice", x.inputs, "y"))))
		if err != nil {
			t.Fatal(err)
		}
		weights, err := m.Weights()
		if !x.ok {
			wantError(t, err, source.ErrUnsupported, "Slice node", "/embed_positions/Slice", `"w"`)
			continue
		}
		if err != nil || len(weights) != 1 || weights[0].Axes != "PN" || weights[0].PathName != "" {
			t.Errorf("%s: %+v, %v", name, weights, err)
		}
	}
}

func TestPasses(t *testing.T) {
	t.Parallel()
	w, v := floatTensor("fc.bias_merged_0", 2), floatTensor("v", 3)
	ofW, ofV := node("Add", "/fc/Add", "x fc.bias_merged_0", "z"), node("Add", "/other/Add", "x v", "z")
	around := node("Add", "/around/Add", "x v", "k")
	merged := choose(branch(nil, ofW), branch(nil, ofV))
	for name, x := range map[string]struct {
		nodes []*pb.NodeProto
		want  string
	}{
		"no If":                  {[]*pb.NodeProto{ofW}, "the graph: fc.bias"},
		"a merged model":         {[]*pb.NodeProto{merged}, `"then_branch" of If node "choose": fc.bias; "else_branch" of If node "choose": other.bias`},
		"the same in both":       {[]*pb.NodeProto{choose(branch(nil, ofW), branch(nil, ofW))}, `"then_branch" of If node "choose": fc.bias; "else_branch" of If node "choose": fc.bias`},
		"weights around":         {[]*pb.NodeProto{around, merged}, `"then_branch" of If node "choose": around.bias fc.bias; "else_branch" of If node "choose": around.bias other.bias`},
		"in one branch alone":    {[]*pb.NodeProto{choose(branch(nil, ofW), branch(nil, node("Relu", "", "x", "z")))}, "the graph: fc.bias"},
		"two such Ifs":           {[]*pb.NodeProto{merged, node("If", "again", "c", "y2", merged.Attribute...)}, ""},
		"an If in a branch":      {[]*pb.NodeProto{choose(branch(nil, merged), branch(nil, ofV))}, ""},
		"an unnamed third graph": {[]*pb.NodeProto{node("If", "choose", "c", "y", append(merged.Attribute, graphAttr("third", branch(nil, ofV)))...)}, ""},
	} {
		m, err := walkBytes(marshal(t, model([]*pb.TensorProto{w, v}, x.nodes...)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		passes, err := m.Passes()
		if x.want == "" {
			wantError(t, err, source.ErrUnsupported, "If node")
			continue
		}
		got := ""
		for i := range passes {
			if i > 0 {
				got += "; "
			}
			got += passes[i].String() + ":"
			for _, w := range passes[i].Weights {
				got += " " + w.PathName
			}
		}
		if err != nil || got != x.want {
			t.Errorf("%s: %s (%v), expected %s", name, got, err, x.want)
		}
		if len(passes) > 1 {
			if e := passes[0].Fail(source.ErrMismatch, "p", "n"); fmt.Sprint(e) == "" {
				t.Error("an error that says nothing")
			}
		}
	}
}

func TestNamesBeforeMerge(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a.weight_merged_0": "a.weight", "a.bias_merged_12": "a.bias", "a.bias_merged_": "", "a.bias_merged_x": "", "_merged_0": "", "a_merged_0.weight": "a_merged_0.weight",
	} {
		m, err := walkBytes(marshal(t, model([]*pb.TensorProto{floatTensor(name, 2)}, node("Add", "", "x "+name, "y"))))
		if err != nil {
			t.Fatal(err)
		}
		weights, err := m.Weights()
		if err != nil || len(weights) != 1 || weights[0].ValueName != want {
			t.Errorf("%s: %+v, %v; expected the name %q", name, weights, err, want)
		}
	}
}
