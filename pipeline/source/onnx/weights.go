package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/x448/float16"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// Weight is one use of a constant as trained values: the operand of a node that computes with it. A constant used twice
// (tied) gives two Weights.
type Weight struct {
	Node     *Node
	Input    int // index in Node.Inputs
	Constant *Constant
	// Axes and Shape are in the order of PyTorch's state dict: "NK" for a linear weight (N out, K in), "NCX" for a conv1d
	// weight (X the kernel's width), "N" for a vector, "PN" for a matrix that is added or multiplied.
	Axes  string
	Shape []uint64
	// Tensor is the constant's catalogue entry; for a vector or matrix without its leading axes of length 1. Axis i of
	// Shape is its axis Perm[i].
	Tensor source.Tensor
	Perm   []int
	// The two names, "" where there is none: PathName after the module path that torch.onnx gives to nodes
	// ("layers.0.fc1.weight" for /layers.0/fc1/MatMul), ValueName that of the value, nearest to the node, that is called
	// like an entry of a state dict.
	PathName, ValueName string
}

// Weights gives every use of a constant of more than one float as an operand of MatMul, Gemm, Conv, LayerNormalization,
// Add or Mul, in the order of nodes and operands. Any other use of such a constant, or of one of a quantized type, is an
// error that names node and operator. Constants that nothing uses are not listed.
func (m *Model) Weights() ([]Weight, error) {
	var weights []Weight
	for i := range m.Graph.Nodes {
		n := &m.Graph.Nodes[i]
		if n.carrier() {
			continue // its own uses are looked at
		}
		for _, name := range n.Captures {
			r, err := m.weighty(name)
			if err != nil {
				return nil, err
			}
			if r != nil {
				return nil, m.Graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("a graph nested in it uses the weights %.200q", r.Constant.Name),
					"weights used inside nested graphs are not read yet: export without them")
			}
		}
		for j, name := range n.Inputs {
			r, err := m.weighty(name)
			if err != nil {
				return nil, err
			}
			if r == nil {
				continue
			}
			w, err := m.weight(n, j, r)
			if err != nil {
				return nil, err
			}
			weights = append(weights, w)
		}
	}
	return weights, nil
}

// weighty resolves value if it carries weights, and gives nil if it does not.
func (m *Model) weighty(value string) (*Resolved, error) {
	if value == "" {
		return nil, nil
	}
	r, err := m.Graph.Resolve(value)
	if err != nil || r == nil || !r.Constant.Weighty() {
		return nil, err
	}
	return r, nil
}

// use is what an operand means: its axes in PyTorch's order, the order of the operand's axes that gives it, and the
// suffix of its name.
type use struct {
	axes   string
	order  []int
	suffix string
}

// weight describes operand input of n, which carries r.
func (m *Model) weight(n *Node, input int, r *Resolved) (Weight, error) {
	c := r.Constant
	if c.Tensor < 0 {
		return Weight{}, m.refuse(n, input, r, fmt.Sprintf("of type %s, which is not read yet", c.Type), "export the model in float32 or float16")
	}
	u, problem, next := meaning(n, input, r.Shape())
	if problem != "" {
		return Weight{}, m.refuse(n, input, r, problem, next)
	}
	w := Weight{Node: n, Input: input, Constant: c, Axes: u.axes, Tensor: m.Tensors[c.Tensor]}
	for _, axis := range u.order {
		w.Perm = append(w.Perm, r.Perm[axis])
		w.Shape = append(w.Shape, c.Shape[r.Perm[axis]])
	}
	w.dropUnitAxes()
	w.PathName = pathName(n, u.suffix)
	for _, name := range r.Names {
		if isStateName(name) {
			w.ValueName = name
			break
		}
	}
	return w, nil
}

func (m *Model) refuse(n *Node, input int, r *Resolved, problem, next string) error {
	return m.Graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("its operand %d, the weights %.200q %v, is %s", input, r.Constant.Name, r.Shape(), problem), next)
}

// dropUnitAxes makes w.Tensor a tensor of the axes of w.Shape alone; those not in it have length 1.
func (w *Weight) dropUnitAxes() {
	if len(w.Perm) == len(w.Tensor.Shape) {
		return
	}
	kept := slices.Sorted(slices.Values(w.Perm))
	shape := make([]uint64, len(kept))
	for i, axis := range kept {
		shape[i] = w.Tensor.Shape[axis]
	}
	for i, axis := range w.Perm {
		w.Perm[i] = slices.Index(kept, axis)
	}
	w.Tensor.Shape = shape
}

// meaning says what operand input of n, of the given shape, is, or what is wrong with it and what to do.
func meaning(n *Node, input int, shape []uint64) (u use, problem, next string) {
	switch {
	case n.standard("MatMul"):
		if input != 1 || len(shape) != 2 {
			return u, "a constant left operand, or no matrix, which is not read", "export linear layers as activation times [K,N] weight"
		}
		return use{"NK", []int{1, 0}, ".weight"}, "", ""
	case n.standard("Gemm"):
		return gemm(n, input, shape)
	case n.standard("Conv"):
		return conv(n, input, shape)
	case n.standard("LayerNormalization") && (input == 1 || input == 2):
		u = rows(shape, []string{1: ".weight", 2: ".bias"}[input])
		if u.axes != "N" {
			return u, "no vector", "normalize over the last axis alone"
		}
		return u, "", ""
	case n.standard("Add"), n.standard("Mul"):
		suffix := ".bias"
		if n.Op == "Mul" {
			suffix = ".weight"
		}
		switch u = rows(shape, suffix); u.axes {
		case "":
			return u, "neither vector nor matrix", notReadYet
		case "PN":
			u.suffix = "" // the path is that of the module around it, not of an embedding
		}
		return u, "", ""
	}
	return u, "not understood there", "this operator's weights are not read yet: export the model without it"
}

func gemm(n *Node, input int, shape []uint64) (u use, problem, next string) {
	transB, ok := n.Int("transB", 0)
	alpha, okAlpha := n.Float("alpha", 1)
	beta, okBeta := n.Float("beta", 1)
	switch {
	case !ok || transB < 0 || transB > 1:
		return u, "under a transB that is neither 0 nor 1", exportAgain
	case input == 0:
		return u, "a constant left operand, which is not read", "export linear layers as activation times weight"
	case !okAlpha || !okBeta || input == 1 && alpha != 1 || input == 2 && beta != 1:
		return u, fmt.Sprintf("scaled by alpha %g or beta %g, expected 1", alpha, beta), "export with alpha and beta left at 1"
	case input == 2:
		if u = rows(shape, ".bias"); u.axes != "N" {
			return u, "no vector", notReadYet
		}
		return u, "", ""
	case len(shape) != 2:
		return u, "no matrix", exportAgain
	case transB == 1:
		return use{"NK", []int{0, 1}, ".weight"}, "", ""
	}
	return use{"NK", []int{1, 0}, ".weight"}, "", ""
}

func conv(n *Node, input int, shape []uint64) (u use, problem, next string) {
	group, ok := n.Int("group", 1)
	switch {
	case !ok || group != 1:
		return u, fmt.Sprintf("of a convolution in %d groups, which is not read yet", group), notReadYet
	case input == 1 && len(shape) == 3:
		return use{"NCX", []int{0, 1, 2}, ".weight"}, "", ""
	case input == 2 && len(shape) == 1:
		return use{"N", []int{0}, ".bias"}, "", ""
	}
	return u, "no operand of a one-dimensional convolution, the only kind that is read", notReadYet
}

// rows reads a shape that is broadcast against rows: a vector or a matrix, behind axes of length 1.
func rows(shape []uint64, suffix string) use {
	order := make([]int, len(shape))
	for i := range order {
		order[i] = i
	}
	for len(order) > 1 && shape[order[0]] == 1 {
		order = order[1:]
	}
	switch len(order) {
	case 1:
		return use{"N", order, suffix}
	case 2:
		return use{"PN", order, suffix}
	}
	return use{}
}

// pathName turns the module path of n into the name of the parameter with that suffix, "" where there is no path or no
// suffix.
func pathName(n *Node, suffix string) string {
	path, op, ok := cutLast(n.Name, "/")
	path = strings.TrimPrefix(path, "/")
	if !ok || path == "" || suffix == "" {
		return ""
	}
	if head, digits, ok := cutLast(op, "_"); ok && strings.Trim(digits, "0123456789") == "" {
		op = head
	}
	switch op {
	case "MatMul", "Gemm", "Conv", "Add", "Mul", "LayerNormalization":
		return strings.ReplaceAll(path, "/", ".") + suffix
	}
	return ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// isStateName reports whether a value is called like an entry of a state dict, not like the output of a node.
func isStateName(name string) bool {
	return (strings.HasSuffix(name, ".weight") || strings.HasSuffix(name, ".bias")) && !strings.ContainsAny(name, "/:")
}

// Scalar reads a float constant of one element.
func (m *Model) Scalar(c *Constant) (float64, error) {
	if c.Tensor < 0 || c.Elements != 1 {
		return 0, m.Graph.fail(c.offset, fmt.Sprintf("tensor %.200q", c.Name), source.ErrUnsupported,
			fmt.Sprintf("%s %v, expected one float", c.Type, c.Shape), exportAgain)
	}
	t := &m.Tensors[c.Tensor]
	var b [8]byte
	if err := m.ReadAt(b[:t.Type.Size()], t, 0); err != nil {
		return 0, err
	}
	switch t.Type {
	case element.F16:
		return float64(float16.Frombits(binary.LittleEndian.Uint16(b[:])).Float32()), nil
	case element.BF16:
		return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b[:])) << 16)), nil
	case element.F32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b[:]))), nil
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b[:])), nil
}
