package onnx

import (
	"fmt"
	"slices"

	"npuw/pipeline/source"
)

// index builds the maps over g and refuses values that have more than one producer.
func (g *Graph) index() error {
	g.constants = make(map[string]int, len(g.Constants))
	g.producers = make(map[string]*Node, len(g.Nodes))
	g.consumers = make(map[string][]Use, len(g.Nodes))
	for i := range g.Constants {
		c := &g.Constants[i]
		if _, ok := g.constants[c.Name]; ok {
			return g.fail(c.offset, fmt.Sprintf("tensor %.200q", c.Name), source.ErrCorrupt, "a second constant of this name", exportAgain)
		}
		g.constants[c.Name] = i
	}
	inputs := make(map[string]bool, len(g.Inputs))
	for _, v := range g.Inputs {
		if inputs[v.Name] {
			return g.fail(-1, fmt.Sprintf("graph input %.200q", v.Name), source.ErrCorrupt, "is given twice", exportAgain)
		}
		inputs[v.Name] = true
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		for _, name := range n.Outputs {
			if name == "" {
				continue
			}
			c, constant := g.constants[name]
			if g.producers[name] != nil || inputs[name] || constant && g.Constants[c].Node != n {
				return g.fail(n.offset, n.String(), source.ErrCorrupt, fmt.Sprintf("its output %.200q is produced elsewhere too", name), exportAgain)
			}
			g.producers[name] = n
		}
		for j, name := range n.Inputs {
			if name != "" {
				g.consumers[name] = append(g.consumers[name], Use{n, j})
			}
		}
		for _, name := range n.Captures {
			g.consumers[name] = append(g.consumers[name], Use{n, -1})
		}
	}
	return nil
}

func (g *Graph) fail(at int64, thing string, sentinel error, problem, next string) error {
	return &source.Error{File: g.file, Offset: at, Thing: thing, Problem: problem, Next: next, Err: sentinel}
}

// Fail gives an error about node n, in the words of this package.
func (g *Graph) Fail(n *Node, sentinel error, problem, next string) error {
	return g.fail(n.offset, n.String(), sentinel, problem, next)
}

// Producer gives the node that computes value, nil for a graph input, an initializer, or no value at all.
func (g *Graph) Producer(value string) *Node { return g.producers[value] }

// Consumers gives the operands that value is, in the order of the nodes.
func (g *Graph) Consumers(value string) []Use { return g.consumers[value] }

// Constant gives the initializer or Constant output called value, nil if it is neither.
func (g *Graph) Constant(value string) *Constant {
	if i, ok := g.constants[value]; ok {
		return &g.Constants[i]
	}
	return nil
}

// Resolved is the constant that a value carries.
type Resolved struct {
	Constant *Constant
	// Perm maps axes: axis i of the value is axis Perm[i] of the constant.
	Perm []int
	// Names are those of the values on the way, from the one asked for to the constant itself.
	Names []string
}

// Resolve follows value back through Identity, Cast from float to float, and Transpose to a constant; nil if it does not
// end at one. A Cast to a narrower type rounds what the graph computes with; the constant holds what the file holds.
func (g *Graph) Resolve(value string) (*Resolved, error) {
	r := &Resolved{}
	var perms [][]int // from the value towards the constant
	for range maxChain {
		r.Names = append(r.Names, value)
		if c := g.Constant(value); c != nil {
			r.Constant = c
			return r, r.compose(g, perms)
		}
		n := g.Producer(value)
		if n == nil || !n.carrier() || value != n.Outputs[0] {
			return nil, nil
		}
		if n.Op == "Transpose" {
			perm, err := g.perm(n)
			if err != nil {
				return nil, err
			}
			perms = append(perms, perm)
		}
		value = n.Inputs[0]
	}
	return nil, nil
}

// carrier reports whether n passes its one input on as a value of the same numbers.
func (n *Node) carrier() bool {
	if len(n.Inputs) != 1 || n.Inputs[0] == "" || len(n.Outputs) == 0 {
		return false
	}
	if n.standard("Cast") {
		to, ok := n.Int("to", 0)
		return ok && DataType(int32(to)).Format() != 0
	}
	return n.standard("Identity") || n.standard("Transpose")
}

// perm gives the perm attribute of a Transpose, nil where it is left out and the axes are reversed.
func (g *Graph) perm(n *Node) ([]int, error) {
	a := n.Attribute("perm")
	if a == nil {
		return nil, nil
	}
	perm := make([]int, len(a.Ints))
	seen := make([]bool, len(a.Ints))
	for i, v := range a.Ints {
		if v < 0 || v >= int64(len(seen)) || seen[v] {
			return nil, g.Fail(n, source.ErrCorrupt, fmt.Sprintf("perm %v is no permutation", a.Ints[:min(len(a.Ints), maxRank)]), exportAgain)
		}
		seen[v] = true
		perm[i] = int(v)
	}
	return perm, nil
}

// compose sets r.Perm from the permutations between the value and the constant.
func (r *Resolved) compose(g *Graph, perms [][]int) error {
	rank := len(r.Constant.Shape)
	r.Perm = make([]int, rank)
	for i := range r.Perm {
		r.Perm[i] = i
	}
	for _, perm := range perms {
		if perm != nil && len(perm) != rank {
			return g.fail(r.Constant.offset, fmt.Sprintf("tensor %.200q", r.Constant.Name), source.ErrCorrupt,
				fmt.Sprintf("has %d axes and is transposed by a perm of %d", rank, len(perm)), exportAgain)
		}
		for i, axis := range r.Perm {
			if perm == nil {
				r.Perm[i] = rank - 1 - axis
			} else {
				r.Perm[i] = perm[axis]
			}
		}
	}
	return nil
}

// Shape gives the shape of the value, in its own order of axes.
func (r *Resolved) Shape() []uint64 {
	shape := make([]uint64, len(r.Perm))
	for i, axis := range r.Perm {
		shape[i] = r.Constant.Shape[axis]
	}
	return shape
}

// Unknown stands in what Ints gives for an element that is not constant.
const Unknown int64 = -1 << 63

// Ints gives the elements of a small integer value, as a Reshape takes them: a constant, or put together by Concat,
// Unsqueeze, Gather, Identity and Cast; an element computed otherwise is Unknown. It is nil where even the number of elements is
// not known, or is past 64.
func (g *Graph) Ints(value string) []int64 {
	steps := maxShapeInts
	return g.ints(value, &steps)
}

// ints is Ints, for as many steps, which bounds the work on graphs that share parts.
func (g *Graph) ints(value string, steps *int) []int64 {
	if *steps--; *steps < 0 {
		return nil
	}
	if c := g.Constant(value); c != nil {
		return c.Ints
	}
	n := g.Producer(value)
	switch {
	case n == nil || n.Outputs[0] != value:
		return nil
	case (n.standard("Identity") || n.standard("Cast")) && len(n.Inputs) == 1:
		return g.ints(n.Inputs[0], steps)
	case n.standard("Unsqueeze") && len(n.Inputs) > 0:
		// Of a single number, as exporters use it to build shapes.
		if v := g.ints(n.Inputs[0], steps); len(v) == 1 {
			return v
		}
		return []int64{Unknown}
	case n.standard("Gather") && len(n.Inputs) == 2:
		// Of a Shape, by a list of axes.
		if c := g.Constant(n.Inputs[1]); c != nil && len(c.Shape) == 1 && c.Elements <= maxShapeInts {
			return slices.Repeat([]int64{Unknown}, int(c.Elements))
		}
		return nil
	case n.standard("Concat"):
		out := []int64{}
		for _, name := range n.Inputs {
			v := g.ints(name, steps)
			if v == nil || len(out)+len(v) > maxShapeInts {
				return nil
			}
			out = append(out, v...)
		}
		return out
	}
	return nil
}
