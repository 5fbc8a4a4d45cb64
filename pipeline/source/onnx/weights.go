package onnx

import (
	"fmt"
	"slices"
	"strings"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// Weight is one use of a constant as trained values: the operand of a node that computes with it. A constant used twice
// (tied) gives two Weights.
type Weight struct {
	Node     *Node
	Input    int // index in Node.In
	Constant *Constant
	// Axes and Shape are in the order of PyTorch's state dict: "NK" for a linear weight (N out, K in), "NCX" for a conv1d
	// weight (X the kernel's width), "N" for a vector, "PN" for a matrix that is added or multiplied, or whose rows are looked up.
	Axes  string
	Shape []uint64
	// Tensor is the constant's catalogue entry; for a vector or matrix without the axes of length 1 around it. Axis i of
	// Shape is its axis Perm[i]. Of a constant that is codes, it is computed of them.
	Tensor source.Tensor
	Perm   []int
	// Behind is the number of axes of length 1 that a Reshape put behind a vector: 1 for the bias of a one-dimensional convolution that is
	// added by itself.
	Behind int
	// Of weights that are codes: the constants that are their scales and zero points and, where other nodes multiply the product with the
	// scales, the value in which it is complete.
	Beside []*Constant
	Result *Value
	// The two names, "" where there is none: PathName after the module path that torch.onnx gives to nodes
	// ("layers.0.fc1.weight" for /layers.0/fc1/MatMul), ValueName that of the value, nearest to the node, that is called
	// like an entry of a state dict.
	PathName, ValueName string
}

// Weights gives every use of a constant of more than one float as an operand that is known to hold weights (operators.go),
// in the order of nodes and operands; nodes in the branches of an If are among them. So are uses of codes by operators that are known
// to compute with them (quantized.go); their values are computed as they are read. Any other use of such a constant is an error that names
// node and operator. Constants that nothing uses are not listed.
func (m *Model) Weights() ([]Weight, error) { return m.findWeights(nil) }

// findWeights is Weights, for a model of whose branches of merged, if it is not nil, both may have weights.
func (m *Model) findWeights(merged *Node) ([]Weight, error) {
	f := m.finder()
	f.merged = merged
	if err := f.findCodes(m.Graph); err != nil {
		return nil, err
	}
	return f.weightsOf(nil, m.Graph)
}

// finder finds the weights of a model.
type finder struct {
	*Model
	general  bool             // of any model, for Operands
	merged   *Node            // an If both of whose branches may have weights; or nil
	operands map[Use]*coded   // that are codes; nil for scales and zero points
	decoded  map[*Node]*coded // what nodes make of codes
	examined uint64           // numbers, of maxExamined
}

func (m *Model) finder() *finder {
	return &finder{Model: m, operands: map[Use]*coded{}, decoded: map[*Node]*coded{}}
}

// weightsOf adds the weights of g and of the graphs nested in it.
func (f *finder) weightsOf(weights []Weight, g *Graph) ([]Weight, error) {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.carries() {
			continue // its own uses are looked at
		}
		for j, v := range n.In {
			q, isCodes := f.operands[Use{n, j}]
			if isCodes && q == nil || !isCodes && (v == nil || v.Origin == nil || !v.Origin.weighty()) {
				continue
			}
			w, err := f.weight(n, j, v.Origin, q)
			if err != nil {
				return nil, err
			}
			weights = append(weights, w)
		}
		if n != f.merged {
			if err := n.oneBody(); err != nil {
				return nil, err
			}
		}
		for _, b := range n.Bodies {
			var err error
			if weights, err = f.weightsOf(weights, b.Graph); err != nil {
				return nil, err
			}
		}
	}
	return weights, nil
}

// oneBody fails if graphs nested in n have weights, and it is not known that one of them alone is computed, once.
func (n *Node) oneBody() error {
	weighty := ""
	for _, b := range n.Bodies {
		switch {
		case !b.Graph.weighty:
			continue
		case !n.standard("If"):
			return n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("its graph %.100q has weights", b.Attribute),
				"weights are read inside the branches of an If alone: export the model without this operator")
		case weighty != "" && n.taken == nil:
			return n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("both %.100q and %.100q have weights, and its condition is not constant", weighty, b.Attribute),
				"export the model for one case")
		}
		weighty = b.Attribute
	}
	return nil
}

// weight describes operand input of n, which carries o; q is what it is if n computes with codes.
func (f *finder) weight(n *Node, input int, o *Origin, q *coded) (Weight, error) {
	w := Weight{Node: n, Input: input, Constant: o.Constant, ValueName: o.StateName}
	u := use{}
	perm := o.Perm
	if q != nil {
		u, perm, w.Result = q.as, nil, q.result // whose order is that of the tensor
	} else {
		if c := o.Constant; c.Tensor < 0 && o.Decoded == nil {
			return Weight{}, refuse(n, input, o, fmt.Sprintf("of type %s, of which this operator is not known to make values", c.Type), quantizeAgain)
		}
		shape := o.withoutAdded()
		var problem, next string
		if u, problem, next = f.meaning(n, input, shape); problem != "" {
			return Weight{}, refuse(n, input, o, problem, next)
		}
		w.Behind = len(o.Perm) - len(shape)
	}
	if err := f.values(&w, o, q); err != nil {
		return Weight{}, err
	}
	w.Axes = u.axes
	for _, axis := range u.order {
		if perm != nil {
			axis = perm[axis]
		}
		if axis < 0 {
			return Weight{}, refuse(n, input, o, "given axes by a Reshape that are not read", notReadYet)
		}
		w.Perm = append(w.Perm, axis)
		w.Shape = append(w.Shape, w.Tensor.Shape[axis])
	}
	w.dropUnitAxes()
	w.PathName = pathName(n, u.suffix)
	return w, nil
}

// values fills in w.Tensor: the constant of o, or what is made of it.
func (f *finder) values(w *Weight, o *Origin, q *coded) error {
	if q == nil && o.Decoded == nil {
		w.Tensor = f.Tensors[o.Constant.Tensor]
		w.Tensor.Shape = o.tensorShape()
		return nil
	}
	shape := o.tensorShape()
	if q != nil {
		shape = q.shape
	} else if q = f.decoded[o.Decoded]; q == nil {
		var err error
		if q, err = f.decode(o.Decoded); err != nil {
			return err
		}
		f.decoded[o.Decoded] = q
	}
	w.Beside = q.beside
	w.Tensor = source.Tensor{Name: o.Constant.Name, Type: q.typ, Shape: shape, Data: q.data(), Stored: q.stored}
	if slices.Equal(shape, q.shape) {
		w.Tensor.Codes = q.kept
	}
	return nil
}

func refuse(n *Node, input int, o *Origin, problem, next string) error {
	return n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("its operand %d, the weights %.200q %v, is %s", input, o.Constant.Name, o.Shape(), problem), next)
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
	w.Tensor.Shape, w.Tensor.Codes = shape, nil
}

// Part is some of the indices of an axis: pieces of Run of them, which begin Apart from one another, the first at First.
//
//	of 12 indices, Part{First: 4, Run: 4, Apart: 12} is    . . . . x x x x . . . .
//	               Part{First: 2, Run: 2, Apart: 6} is     . . x x . . . . x x . .
type Part struct{ First, Run, Apart uint64 }

// Of tells the part of n indices for a person: "4:8 of 12", or "2:4 of every 6".
func (p Part) Of(n uint64) string {
	every := ""
	if p.Apart != n {
		every = "every "
	}
	return fmt.Sprintf("%d:%d of %s%d", p.First, p.First+p.Run, every, p.Apart)
}

// Size is the number of indices of the part, of an axis of n; false if it is none of such an axis.
func (p Part) Size(n uint64) (uint64, bool) {
	if p.Run == 0 || p.Apart > n || p.Run > p.Apart || p.First > p.Apart-p.Run || n%p.Apart != 0 {
		return 0, false
	}
	return n / p.Apart * p.Run, true
}

// Part gives the weights of a part of w's axis N, the first of its axes: of a linear weight or vector that joins several. It is
// false if p is no part of that axis.
func (w *Weight) Part(p Part) (Weight, bool) {
	if w.Axes != "NK" && w.Axes != "N" {
		return Weight{}, false
	}
	size, ok := p.Size(w.Shape[0])
	if !ok {
		return Weight{}, false
	}
	axis := w.Perm[0]
	inner := int64(w.Tensor.Type.Size()) // bytes of one index of the axis
	for _, s := range w.Tensor.Shape[axis+1:] {
		inner *= int64(s)
	}
	outer := int64(1)
	for _, s := range w.Tensor.Shape[:axis] {
		outer *= int64(s)
	}
	part := *w
	part.Shape = append([]uint64{size}, w.Shape[1:]...)
	part.Tensor.Shape = slices.Clone(w.Tensor.Shape)
	part.Tensor.Shape[axis] = size
	part.Tensor.Data = w.Tensor.Data.Part(int64(p.First)*inner, int64(p.Run)*inner, int64(p.Apart)*inner, outer*int64(w.Shape[0]/p.Apart))
	part.Tensor.Codes = partOf(w.Tensor.Codes, axis, p, size, w.Shape[0])
	return part, true
}

// pathName turns the module path of n into the name of the parameter with that suffix, "" where there is no path or no
// suffix.
func pathName(n *Node, suffix string) string {
	// ONNX Runtime's fusions call a node after one that it replaces: "/fc1/MatMul/MatMulAddFusion", "fused /fc1/Gemm".
	name := strings.TrimSuffix(strings.TrimPrefix(n.Name, "fused "), "/")
	if base, last, ok := cutLast(name, "/"); ok && strings.Contains(last, "Fusion") {
		name = base
	}
	path, op, ok := cutLast(name, "/")
	path = strings.TrimPrefix(path, "/")
	if !ok || path == "" || suffix == "" {
		return ""
	}
	op = strings.TrimSuffix(withoutQuantizer(op), "_bias_add") // which a quantizer puts behind a convolution
	if head, digits, ok := cutLast(op, "_"); ok && strings.Trim(digits, "0123456789") == "" {
		op = head
	}
	switch op {
	case "MatMul", "Gemm", "Conv", "Add", "Mul", "LayerNormalization", "Gather":
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

// Scalar reads a float constant of one element.
func (m *Model) Scalar(c *Constant) (float64, error) { return m.ScalarOf(&Origin{Constant: c}) }

// ScalarOf reads a value of one element that is a float constant, or made of codes.
func (m *Model) ScalarOf(o *Origin) (float64, error) {
	c := o.Constant
	if c.Tensor < 0 && o.Decoded == nil || c.Elements != 1 {
		return 0, m.Graph.fail(c.offset, fmt.Sprintf("tensor %.200q", c.Name), source.ErrUnsupported,
			fmt.Sprintf("%s %v, expected one float", c.Type, c.Shape), exportAgain)
	}
	t := source.Tensor{Name: c.Name}
	if o.Decoded == nil {
		t = m.Tensors[c.Tensor]
	} else if q, err := (&finder{Model: m}).decode(o.Decoded); err == nil {
		t.Type, t.Data = q.typ, q.data()
	} else {
		return 0, err
	}
	raw, x := make([]byte, t.Type.Size()), [1]float64{}
	if err := m.ReadAt(raw, &t, 0); err != nil {
		return 0, err
	}
	err := element.ToFloat64(x[:], raw, t.Type)
	return x[0], err
}
