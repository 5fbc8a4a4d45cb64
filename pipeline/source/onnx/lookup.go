package onnx

// notRows is what a lookup in anything else is refused with.
const notRows = "no table of rows, the only one of which rows are looked up"

// The operators that take rows of a matrix: which ones is computed, so that all rows count. They are those of embeddings.

// gather takes rows by their numbers: of a table of tokens, or of positions.
func gather(n *Node, input int, shape []uint64) (u use, problem, next string) {
	axis, ok := n.Int("axis", 0)
	switch {
	case input != 0 || len(shape) != 2 || !ok || axis != 0 && axis != -2:
		return u, notRows, notReadYet
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
	case isKnown(operand(n, 1)) && isKnown(operand(n, 2)):
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
	return p != nil && p.standard("Range") && len(p.In) == 3 && isKnown(p.In[0]) && isKnown(p.In[1]) && isKnown(p.In[2])
}
