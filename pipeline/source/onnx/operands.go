package onnx

import (
	"cmp"
	"fmt"
)

// Operands gives every use of a constant of floats, or of codes that values are made of, by any operator, in the order of nodes and
// operands; nodes in all graphs that are nested in others are among them. Where the operator is one of those whose weights are understood
// (operators.go, general.go) a use is as Weights gives it. Where it is not, or where the constant is the result of a nested graph (Input is
// -1 then), Axes is empty, and Shape and Perm are those of the constant as it is. Constants of one element are listed too; what says how an
// operator works (scales of activations, sizes) is not, nor are constants that nothing uses. It is an error where codes have a use of
// which it is not known what values they stand for.
func (m *Model) Operands() ([]Weight, error) {
	f := m.finder()
	f.general = true
	if err := f.findCodes(m.Graph); err != nil {
		return nil, err
	}
	return f.operandsOf(nil, m.Graph)
}

// operandsOf adds the operands of g and of the graphs nested in it.
func (f *finder) operandsOf(list []Weight, g *Graph) ([]Weight, error) {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.carries() {
			continue // its own uses are looked at
		}
		for j, v := range n.In {
			q, isCodes := f.operands[Use{n, j}]
			if isCodes && q == nil || !isCodes && (v == nil || !v.Origin.mayHold()) || n.setting(j) {
				continue
			}
			w, err := f.operand(n, j, v.Origin, q)
			if err != nil {
				return nil, err
			}
			list = append(list, w)
		}
		for _, b := range n.Bodies {
			var err error
			if list, err = f.operandsOf(list, b.Graph); err != nil {
				return nil, err
			}
			if list, err = f.resultsOf(list, n, b.Graph); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// resultsOf adds the constants that g, nested in n, gives as they are; those of the branch of an If that is taken are known to be its
// outputs, whose uses are looked at.
func (f *finder) resultsOf(list []Weight, n *Node, g *Graph) ([]Weight, error) {
	if n.taken == g {
		return list, nil
	}
	for _, out := range g.Outputs {
		if v := g.Value(out.Name); v.Origin.mayHold() {
			w, err := f.operand(n, -1, v.Origin, nil)
			if err != nil {
				return nil, err
			}
			list = append(list, w)
		}
	}
	return list, nil
}

// mayHold reports whether o, nil or what a value carries, is floats or codes.
func (o *Origin) mayHold() bool {
	return o != nil && o.Constant.Elements > 0 && (o.Constant.Tensor >= 0 || o.Decoded != nil || o.Constant.Weighty())
}

// operand is weight, but for operators that are not understood: then it is the constant as it is.
func (f *finder) operand(n *Node, input int, o *Origin, q *coded) (Weight, error) {
	if q == nil && o.Constant.Tensor < 0 && o.Decoded == nil {
		return Weight{}, refuse(n, input, o, fmt.Sprintf("of type %s, of which this operator is not known to make values", o.Constant.Type), quantizeAgain)
	}
	if input >= 0 {
		if q != nil {
			w, err := f.weight(n, input, o, q)
			w.PathName = generalPath(n, cmp.Or(q.as.suffix, ".constant"))
			return w, err
		}
		if u, problem, _ := f.meaning(n, input, o.withoutAdded()); problem == "" {
			if w, err := f.weight(n, input, o, nil); err == nil { // else a Reshape has given it axes that the operator's are not
				w.PathName = generalPath(n, cmp.Or(u.suffix, ".constant"))
				return w, nil
			}
		}
	}
	w := Weight{Node: n, Input: input, Constant: o.Constant, ValueName: o.StateName, PathName: generalPath(n, ".constant")}
	if err := f.values(&w, o, nil); err != nil {
		return Weight{}, err
	}
	if o.Decoded == nil {
		w.Tensor = f.Tensors[o.Constant.Tensor]
	}
	w.Shape = w.Tensor.Shape
	for axis := range w.Shape {
		w.Perm = append(w.Perm, axis)
	}
	return w, nil
}

// setting reports whether operand input of n says how it works: a scale or zero point for activations, the sizes of a Resize.
func (n *Node) setting(input int) bool {
	if input == 0 {
		return false
	}
	return n.Op == "QuantizeLinear" || n.isDequantizeLinear() || n.standard("Resize") || n.standard("Upsample")
}

// withoutAdded is the shape of the value without the axes of length 1 that a Reshape put behind all others.
func (o *Origin) withoutAdded() []uint64 {
	shape := o.Shape()
	for len(shape) > 1 && o.Perm[len(shape)-1] < 0 {
		shape = shape[:len(shape)-1]
	}
	return shape
}

// meaning says what operand input of n, of the given shape, is to whoever asks for weights: of any model, or of one whose family is known.
func (f *finder) meaning(n *Node, input int, shape []uint64) (u use, problem, next string) {
	if !f.general {
		return meaning(n, input, shape)
	}
	if read := generalReaders[[2]string{n.Domain, n.Op}]; read != nil {
		if general, wrong, _ := read(n, input, shape); wrong == "" {
			return general, "", ""
		}
	}
	return meaning(n, input, shape)
}
