package onnx

import "fmt"

// The operators that take rows of a matrix: which ones is computed, so that all rows count. They are those of embeddings.

// gather takes rows by their numbers: of a table of tokens, or of positions.
func gather(n *Node, input int, shape []uint64) (u use, problem, next string) {
	axis, ok := n.Int("axis", 0)
	switch {
	case input != 0 || len(shape) != 2 || !ok || axis != 0 && axis != -2:
		return u, "no table of rows, the only one of which rows are looked up", notReadYet
	case n.picksConstantly():
		return u, "one of which some rows alone are taken, or all in another order", "export the model with tables that hold what is used of them"
	}
	return use{"PN", []int{0, 1}, ".weight"}, "", ""
}

// slice takes rows from one number on to another: of positions, behind those that are in the cache.
func slice(n *Node, input int, shape []uint64) (u use, problem, next string) {
	axis := Unknown
	if axes := operand(n, 3).Ints(); len(axes) == 1 {
		axis = axes[0]
	} else if operand(n, 3) == nil && len(operand(n, 1).Ints()) == 1 {
		axis = 0
	}
	steps := operand(n, 4).Ints()
	switch {
	case input != 0 || len(shape) != 2 || axis != 0 && axis != -2 || operand(n, 4) != nil && (len(steps) != 1 || steps[0] != 1):
		return u, "no table of rows, the only one of which rows are cut out, one behind the other", notReadYet
	case known(operand(n, 1)) && known(operand(n, 2)):
		return u, "one of which some rows alone are taken", "export the model with tables that hold what is used of them"
	}
	return use{"PN", []int{0, 1}, ""}, "", "" // a path is that of the module around it
}

// operand is operand i of n, nil if it is left out.
func operand(n *Node, i int) *Value {
	if i >= len(n.In) {
		return nil
	}
	return n.In[i]
}

// known reports whether all elements of a small integer value are constant.
func known(v *Value) bool {
	list := v.Ints()
	for _, x := range list {
		if x == Unknown {
			return false
		}
	}
	return list != nil
}

// picksConstantly reports whether the Gather n takes the same rows whatever the input: its indices are constant, or a Range of constants.
func (n *Node) picksConstantly() bool {
	v := operand(n, 1)
	for range maxChain {
		if v == nil || v.Constant != nil {
			break
		}
		p := v.Producer
		if p == nil || !p.standard("Cast") && !p.standard("Identity") && !p.standard("Unsqueeze") || operand(p, 0) == nil {
			break
		}
		v = p.In[0]
	}
	if v == nil || v.Constant != nil {
		return true
	}
	p := v.Producer
	return p != nil && p.standard("Range") && len(p.In) == 3 && known(p.In[0]) && known(p.In[1]) && known(p.In[2])
}

// lookedUp reads a table of codes of which rows are looked up, and made values of afterwards: ONNX Runtime's quantizers write embeddings
// so.
//
//	codes -> Gather -> DequantizeLinear (one scale, one zero point)
func (f *finder) lookedUp(n *Node, _ operands) (*coded, error) {
	o := n.origin(0)
	if o.Decoded != nil || o.Constant.Type != typeUint8 && o.Constant.Type != typeInt8 || len(n.Out) != 1 || n.Out[0] == nil || len(n.Out[0].Uses) != 1 {
		return nil, nil
	}
	use := n.Out[0].Uses[0]
	if use.Input != 0 || !use.Node.isDequantizeLinear() || len(use.Node.In) < 2 || use.Node.In[1] == nil {
		return nil, nil
	}
	codes, o, err := f.codesAt(n, 0, o.Constant.Type)
	if err != nil {
		return nil, err
	}
	scales := use.Node.origin(1)
	if scales == nil || scales.Constant.Elements != 1 {
		return nil, notCodes(use.Node, 1, "the scales of rows that are looked up, is not one for all")
	}
	q := &coded{coding: &coding{typ: use.Node.In[1].floatType().Format(), codes: codes}}
	if q.typ == 0 {
		return nil, notCodes(use.Node, 1, "the scales, is of no float type")
	}
	if err := f.linear(use.Node, q, o, Use{use.Node, 1}, 2, spread{}); err != nil {
		return nil, err
	}
	return f.table(n, q)
}

// lookedUpBlocks is com.microsoft.GatherBlockQuantized of rows that are computed.
func (f *finder) lookedUpBlocks(n *Node, _ operands) (*coded, error) {
	if axis, ok := n.Int("gather_axis", 0); n.dequantizes() || len(n.In) < 3 || len(n.Out) == 0 || !ok || axis != 0 {
		return nil, nil // its values are another operator's operand, or it is refused
	}
	q, err := f.gatherBlocks(n)
	if err != nil {
		return nil, err
	}
	return f.table(n, q)
}

// table completes what n looks up in a table of codes.
func (f *finder) table(n *Node, q *coded) (*coded, error) {
	u, problem, next := gather(n, 0, q.shape)
	if problem != "" {
		return nil, refuse(n, 0, q.origin, fmt.Sprintf("codes of %s, %s", q.origin.Constant.Type, problem), next)
	}
	q.as = u
	return q.complete(n, q.origin.Constant.Type)
}
