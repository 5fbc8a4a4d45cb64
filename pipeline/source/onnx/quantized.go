package onnx

import (
	"fmt"
	"slices"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// coded is an operand of a node that is codes, or a value that is made of codes, with all that makes values of it.
type coded struct {
	*coding
	as     use      // of the values, where an operator computes with the codes; its order is that of shape
	origin *Origin  // of the codes
	shape  []uint64 // of the tensor of values
	parts  []Use    // operands that are the scales and zero points
	beside []*Constant
	stored string
	kept   *source.Codes
	// result is where the product is complete, where that is another node's output: behind the multiplication with the scales.
	result *Value
}

// data is where the values of q are made.
func (q *coded) data() source.Data {
	size, _ := source.Bytes(q.shape, q.typ)
	at := q.origin.Constant.Raw
	return source.Data{File: at.File, Offset: at.Offset, Size: size, Decoder: q.coding}
}

// operands are those of an operator that computes with codes, as indices in Node.In; 0, where the activations are, for one it has not.
type operands struct{ codes, scales, zeros, bias int }

// codeReader says what the codes are that n computes with. The errors of those that there are name n.
type codeReader func(f *finder, n *Node, at operands) (*coded, error)

// The operators that compute with codes. ONNX's own are defined by onnx.ai/onnx/operators; those of com.microsoft by
// docs/ContribOperators.md of github.com/microsoft/onnxruntime.
var codeReaders = map[[2]string]struct {
	at   operands
	read codeReader
}{
	{"", "MatMulInteger"}: {operands{codes: 1, zeros: 3}, (*finder).integerProduct},
	{"", "ConvInteger"}:   {operands{codes: 1, zeros: 3}, (*finder).integerProduct},
	{"", "QLinearMatMul"}: {operands{codes: 3, scales: 4, zeros: 5}, (*finder).product},
	{"", "QLinearConv"}:   {operands{codes: 3, scales: 4, zeros: 5, bias: 8}, (*finder).product},

	{Microsoft, "QGemm"}:                 {operands{codes: 3, scales: 4, zeros: 5, bias: 6}, (*finder).product},
	{Microsoft, "DynamicQuantizeMatMul"}: {operands{codes: 1, scales: 2, zeros: 3}, (*finder).product},
	{Microsoft, "MatMulIntegerToFloat"}:  {operands{codes: 1, scales: 3, zeros: 5}, (*finder).product},
	{Microsoft, "MatMulNBits"}:           {operands{codes: 1, scales: 2, zeros: 3}, (*finder).nBits},
	{Microsoft, "MatMulBnb4"}:            {operands{codes: 1, scales: 2}, (*finder).bnb4},
}

// findCodes finds the operands of g's nodes, and of those nested in it, that are codes.
func (f *finder) findCodes(g *Graph) error {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if r, ok := codeReaders[[2]string{n.Domain, n.Op}]; ok && n.origin(r.at.codes) != nil {
			if err := f.findIn(n, r.at, r.read); err != nil {
				return err
			}
		}
		if err := f.findLookup(n); err != nil {
			return err
		}
		for _, b := range n.Bodies {
			if err := f.findCodes(b.Graph); err != nil {
				return err
			}
		}
	}
	return nil
}

// findIn finds the operands of n that are codes.
func (f *finder) findIn(n *Node, at operands, read codeReader) error {
	q, err := read(f, n, at)
	if err != nil {
		return err
	}
	f.operands[Use{n, at.codes}] = q
	for _, u := range q.parts {
		f.operands[u] = nil
	}
	if at.bias > 0 && n.origin(at.bias) != nil {
		bias, err := f.integerBias(n, at, q)
		if err != nil {
			return err
		}
		f.operands[Use{n, at.bias}] = bias
	}
	return nil
}

// origin is what operand i of n carries, nil where it carries no constant.
func (n *Node) origin(i int) *Origin {
	if i >= len(n.In) || n.In[i] == nil {
		return nil
	}
	return n.In[i].Origin
}

// notCodes is an error about operand i of n.
func notCodes(n *Node, i int, problem string) error {
	return n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("its operand %d, %s", i, problem), quantizeAgain)
}

const quantizeAgain = "quantize the model again with ONNX Runtime's tools, or export it in float32 or float16"

// codesAt are the codes that operand i of n is: a constant of one of the given types, its elements in the order of the file.
func (f *finder) codesAt(n *Node, i int, types ...DataType) (numbers, *Origin, error) {
	o := n.origin(i)
	if o == nil || o.Decoded != nil {
		return numbers{}, nil, notCodes(n, i, "the codes or zero points, is not constant")
	}
	c := o.Constant
	if !slices.Contains(types, c.Type) || c.Raw == nil {
		return numbers{}, nil, notCodes(n, i, fmt.Sprintf("%.200q, is of type %s, expected codes in %v", c.Name, c.Type, types))
	}
	return numbers{
		tensor: source.Tensor{Name: c.Name, Shape: c.Shape, Data: *c.Raw}, count: c.Elements, bits: c.Type.rawBits(), codes: codeTable(c.Type),
	}, o, nil
}

// floatsAt are the floats that operand i of n is: scales or zero points, a constant whose elements are in the order of the file.
func (f *finder) floatsAt(n *Node, i int) (numbers, *Origin, error) {
	o := n.origin(i)
	if o == nil || o.Decoded != nil {
		return numbers{}, nil, notCodes(n, i, "the scales or zero points, is not constant")
	}
	c := o.Constant
	if c.Tensor < 0 || c.Type == typeDouble || !o.straight() {
		return numbers{}, nil, notCodes(n, i, fmt.Sprintf("%.200q, is of type %s or transposed, expected scales or zero points in FLOAT, FLOAT16 or BFLOAT16", c.Name, c.Type))
	}
	if as := n.In[i].floatType(); as != c.Type && as != typeFloat {
		return numbers{}, nil, notCodes(n, i, fmt.Sprintf("%.200q, is rounded to %s before it is used", c.Name, as))
	}
	return floatNumbers(&f.Tensors[c.Tensor]), o, nil
}

// floatType is the type that a constant has where v carries it: its own, or that of the Cast nearest to v; 0 where that is too far away.
func (v *Value) floatType() DataType {
	own := v.Origin.Constant.Type
	for range maxChain {
		n := v.Producer
		switch {
		case v.Constant != nil || n == nil:
			return own
		case n.standard("Cast"):
			to, _ := n.Int("to", 0)
			return DataType(int32(to))
		case n.taken != nil && v.Output < len(n.taken.Outputs):
			v = n.taken.Value(n.taken.Outputs[v.Output].Name)
		case len(n.In) > 0 && n.In[0] != nil:
			v = n.In[0]
		default:
			return own
		}
	}
	return 0
}

// parted notes that operands of n are scales and zero points.
func (q *coded) parted(n *Node, inputs ...int) {
	for _, i := range inputs {
		if o := n.origin(i); o != nil {
			q.parts, q.beside = append(q.parts, Use{n, i}), append(q.beside, o.Constant)
		}
	}
}

// spread is how scales and zero points lie along the axes of codes: one for all, one for each index of axis or, with a block, one for
// each block of that axis and each index of the others.
type spread struct {
	axis  int
	block uint64
}

// linear fills in q's axes for the codes o, and its scales and zero points, which are operands of n and lie as s says; zeros may be 0
// or an operand that is left out, where the zero point is 0.
func (f *finder) linear(n *Node, q *coded, o *Origin, scales Use, zeros int, s spread) error {
	q.origin, q.shape = o, o.tensorShape()
	d := q.coding
	d.axes = make([]codedAxis, len(q.shape))
	step := uint64(1)
	for a := len(q.shape) - 1; a >= 0; a-- {
		d.axes[a] = codedAxis{size: q.shape[a], block: 1, code: step}
		step *= max(q.shape[a], 1)
	}
	var err error
	var of *Origin
	if d.scales, of, err = f.floatsAt(scales.Node, scales.Input); err != nil {
		return err
	}
	q.parted(scales.Node, scales.Input)
	if err := d.lay(o, of, s, func(a *codedAxis) *uint64 { return &a.scale }); err != nil {
		return notCodes(scales.Node, scales.Input, fmt.Sprintf("the scales %.200q, %v", of.Constant.Name, err))
	}
	q.stored = fmt.Sprintf("%s codes, %s", o.Constant.Type, s.of(d.scales.count))
	if zeros == 0 || zeros >= len(n.In) || n.In[zeros] == nil {
		return nil
	}
	if d.zeros, of, err = f.codesAt(n, zeros, o.Constant.Type); err != nil {
		return err
	}
	q.parted(n, zeros)
	if !of.straight() {
		return notCodes(n, zeros, "the zero points, is transposed")
	}
	if err := d.lay(o, of, s, func(a *codedAxis) *uint64 { return &a.zero }); err != nil {
		return notCodes(n, zeros, fmt.Sprintf("the zero points %.200q, %v", of.Constant.Name, err))
	}
	return f.dropZeros(n, zeros, d)
}

// of says for a person how n scales lie.
func (s spread) of(n uint64) string {
	switch {
	case s.block > 0:
		return fmt.Sprintf("scales of %d", s.block)
	case n == 1:
		return "one scale"
	}
	return fmt.Sprintf("%d scales", n)
}

// lay says how the numbers of x, scales or zero points of the codes o, lie along the axes of d.
func (d *coding) lay(o, x *Origin, s spread, step func(*codedAxis) *uint64) error {
	shape, have := o.Shape(), x.Shape()
	if s.block == 0 {
		switch size := shape[s.axis]; {
		case x.Constant.Elements == 1:
		case x.Constant.Elements == size && slices.Contains(have, size):
			if a := o.Perm[s.axis]; a >= 0 {
				*step(&d.axes[a]) = 1
			}
		default:
			return fmt.Errorf("of shape %v, is neither one number nor one for each of the %d indices of axis %d", have, size, s.axis)
		}
		return nil
	}
	want := slices.Clone(shape)
	want[s.axis] = (shape[s.axis] + s.block - 1) / s.block
	if !slices.Equal(have, want) {
		return fmt.Errorf("of shape %v, expected %v for blocks of %d along axis %d", have, want, s.block, s.axis)
	}
	apart := uint64(1)
	for v := len(shape) - 1; v >= 0; v-- {
		if a := o.Perm[v]; a >= 0 {
			*step(&d.axes[a]) = apart
			if v == s.axis {
				d.axes[a].block = s.block
			}
		}
		apart *= want[v]
	}
	return nil
}

// dropZeros makes the zero points of d, operand i of n, none if all of them are 0. Floats and 32-bit integers have no others.
func (f *finder) dropZeros(n *Node, i int, d *coding) error {
	typ := n.origin(i).Constant.Type
	must := typ.rawBits() == 32 || typ >= typeFloat8E4M3FN && typ <= typeFloat8E5M2FNUZ
	if d.zeros.count > maxZeros && !must {
		return nil
	}
	if err := f.examine(n, d.zeros.count); err != nil {
		return err
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for at := uint64(0); at < d.zeros.count; at += chunk {
		values := s.values[:min(chunk, d.zeros.count-at)]
		if err := d.zeros.read(&f.Catalogue, s, values, at); err != nil {
			return err
		}
		if slices.ContainsFunc(values, func(x float32) bool { return x != 0 }) {
			if must {
				return notCodes(n, i, fmt.Sprintf("the zero points of codes in %s, are not all 0", typ))
			}
			return nil
		}
	}
	d.zeros = numbers{}
	for a := range d.axes {
		d.axes[a].zero = 0
	}
	return nil
}

// examine notes that count numbers, which n has beside its codes, are to be read before any value is.
func (f *finder) examine(n *Node, count uint64) error {
	if count > maxExamined-f.examined {
		return n.graph.Fail(n, source.ErrLimit, fmt.Sprintf("its zero points or groups, with those of the nodes before it, are more than %d", maxExamined), overLimit)
	}
	f.examined += count
	return nil
}

// complete checks q's arrays and tells what codes its values are; typ is the type of the codes.
func (q *coded) complete(n *Node, typ DataType) (*coded, error) {
	size, ok := source.Bytes(q.shape, q.typ)
	if !ok {
		return nil, n.graph.Fail(n, source.ErrCorrupt, fmt.Sprintf("values of shape %v are more than 2^63 bytes", q.shape), quantizeAgain)
	}
	d, err := newCoding(*q.coding)
	if err != nil {
		return nil, n.graph.Fail(n, source.ErrCorrupt, err.Error(), quantizeAgain)
	}
	if q.coding = d; size > 0 && len(d.axes) == len(q.shape) {
		q.kept = d.asCodes(typ)
	}
	return q, nil
}

// integerBias is the bias of a product of codes: 32-bit integers, whose scale is the product of those of activations and weights q.
func (f *finder) integerBias(n *Node, at operands, q *coded) (*coded, error) {
	codes, o, err := f.codesAt(n, at.bias, typeInt32)
	if err != nil {
		return nil, err
	}
	factor := n.origin(1)
	if factor == nil || factor.Decoded != nil || factor.Constant.Elements != 1 {
		return nil, notCodes(n, 1, "the scale of the activations, is not one constant float")
	}
	scale, err := f.Scalar(factor.Constant)
	if err != nil {
		return nil, err
	}
	bias := &coded{coding: &coding{typ: element.F32, codes: codes}, as: use{"N", nil, ".bias"}}
	if len(o.Shape()) != 1 {
		return nil, notCodes(n, at.bias, fmt.Sprintf("the bias, is of shape %v, expected a vector", o.Shape()))
	}
	if err := f.linear(n, bias, o, Use{n, at.scales}, 0, spread{}); err != nil {
		return nil, err
	}
	bias.scales.factor = float32(scale)
	bias.as.order = o.Perm
	return bias.complete(n, typeInt32)
}
