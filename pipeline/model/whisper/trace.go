package whisper

import (
	"fmt"
	"math"
	"slices"

	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// What one question to the graph may cost. Exporters put a handful of nodes where these allow many.
const (
	maxMovers = 1 << 10 // nodes that only move values, one after the other
	maxSpread = 64      // nodes of a GELU, or of what lies between a projection and its attention
)

// tracer answers questions about the structure of an encoder or decoder: what feeds a value. It goes from the output backwards, since a
// value has one producer, and may have any number of uses.
type tracer struct {
	m       *onnx.Model
	side    *side
	root    *onnx.Graph                         // whose outputs are looked at: the main graph, or a branch in it
	weights map[*onnx.Node]map[int]*onnx.Weight // by node and operand
	results map[*onnx.Value]*onnx.Weight        // products with weights that are complete in this value, which another node gives
}

func newTracer(m *onnx.Model, s *side, root *onnx.Graph, weights []onnx.Weight) *tracer {
	t := &tracer{m: m, side: s, root: root, weights: map[*onnx.Node]map[int]*onnx.Weight{}, results: map[*onnx.Value]*onnx.Weight{}}
	for i := range weights {
		w := &weights[i]
		if t.weights[w.Node] == nil {
			t.weights[w.Node] = map[int]*onnx.Weight{}
		}
		t.weights[w.Node][w.Input] = w
		if w.Result != nil {
			t.results[w.Result] = w
		}
	}
	return t
}

// unfit is an error: something else than want feeds v.
func (t *tracer) unfit(v *onnx.Value, want string) error {
	if v = t.back(v); v.Producer == nil {
		return &source.Error{
			File: t.m.Path, Offset: -1, Thing: fmt.Sprintf("value %.200q", v.Name), Err: source.ErrUnsupported,
			Problem: fmt.Sprintf("is an input or a constant, where a Whisper %s has %s", t.side.what, want), Next: exportPlainly,
		}
	}
	return t.m.Graph.Fail(v.Producer, source.ErrUnsupported, fmt.Sprintf("stands where a Whisper %s has %s", t.side.what, want), exportPlainly)
}

const exportPlainly = "export the model with torch.onnx or Optimum, and do not optimize it"

// is reports whether n is one of ONNX's own operators, or of ONNX Runtime's, with one of these names.
func is(n *onnx.Node, ops ...string) bool {
	return n != nil && (n.Domain == "" || n.Domain == onnx.Microsoft) && slices.Contains(ops, n.Op)
}

// input is operand i of n, nil if it is left out.
func input(n *onnx.Node, i int) *onnx.Value {
	if i >= len(n.In) {
		return nil
	}
	return n.In[i]
}

// back follows v backwards through what moves values and leaves them as they are: changes of shape and of float type, quantization of
// activations, and the branch of an If that is taken.
func (t *tracer) back(v *onnx.Value) *onnx.Value {
	for range maxMovers {
		n := v.Producer
		var before *onnx.Value
		switch {
		case n == nil:
		case n.Taken() != nil:
			before = taken(n, v)
		case v.Output != 0:
		case is(n, "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear") && v.Origin == nil:
			before = input(n, 0)
		case is(n, "Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Dropout"), is(n, "Clip") && t.onlyOverflow(n):
			before = input(n, 0)
		}
		if before == nil {
			return v
		}
		v = before
	}
	return v
}

// taken is the value that becomes v, an output of the If n.
func taken(n *onnx.Node, v *onnx.Value) *onnx.Value {
	for i, b := range n.Bodies {
		if b.Graph == n.Taken() && v.Output < len(b.Graph.Outputs) && i < len(v.Branches) {
			return b.Graph.Value(b.Graph.Outputs[v.Output].Name)
		}
	}
	return nil
}

// onlyOverflow reports whether a Clip keeps float16 from becoming infinite and does nothing else, as transformers' encoder layer
// does in half precision.
func (t *tracer) onlyOverflow(clip *onnx.Node) bool {
	const nearLargest = 60000
	low, okLow := t.scalar(input(clip, 1))
	high, okHigh := t.scalar(input(clip, 2))
	return okLow && okHigh && low <= -nearLargest && high >= nearLargest
}

// scalar gives the one float that v is; false if it is not constant, or has more elements.
func (t *tracer) scalar(v *onnx.Value) (float64, bool) {
	if v == nil || v.Origin == nil || v.Origin.Constant.Elements != 1 {
		return 0, false
	}
	x, err := t.m.ScalarOf(v.Origin)
	return x, err == nil && !math.IsNaN(x)
}

// vector gives the vector of weights along the last axis that n, an Add or a Mul, has as one operand, and the other operand.
func (t *tracer) vector(n *onnx.Node) (w *onnx.Weight, other *onnx.Value) {
	return t.vectorBefore(n, 0)
}

// vectorBefore is vector for one along the axis before as many others.
func (t *tracer) vectorBefore(n *onnx.Node, behind int) (w *onnx.Weight, other *onnx.Value) {
	for i, w := range t.weights[n] {
		if w.Axes == "N" && w.Behind == behind && len(n.In) == 2 && n.In[1-i] != nil && t.weights[n][1-i] == nil {
			return w, n.In[1-i]
		}
	}
	return nil, nil
}
