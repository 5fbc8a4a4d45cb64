package onnx

import (
	"fmt"

	"npuw/pipeline/source"
)

// linker turns the names in a graph, and in those nested in it, into values.
type linker struct {
	nodes []*Node // all, nested ones behind the one that holds them
	wait  []int   // of each node: how many of its operands, and of the nodes nested in it, are not done
}

// link fills in the values of the main graph g and of all graphs nested in it. It refuses values that are produced twice or
// from themselves, and transposes of constants that are none.
func (g *Graph) link() error {
	l := &linker{}
	if err := l.define(g, nil, nil); err != nil {
		return err
	}
	l.connect(g)
	return l.run(g)
}

// define makes the values that g and the graphs nested in it define.
func (l *linker) define(g, outer *Graph, holder *Node) error {
	g.outer, g.holder = outer, holder
	g.values = make(map[string]*Value, len(g.Constants)+len(g.Inputs)+len(g.Nodes))
	for i := range g.Constants {
		c := &g.Constants[i]
		if g.values[c.Name] != nil {
			return g.fail(c.offset, fmt.Sprintf("tensor %.200q", c.Name), source.ErrCorrupt, "a second constant of this name", exportAgain)
		}
		origin := &Origin{Constant: c, Perm: make([]int, len(c.Shape))}
		for axis := range origin.Perm {
			origin.Perm[axis] = axis
		}
		g.values[c.Name] = &Value{Name: c.Name, Constant: c, Origin: origin.at(c.Name)}
		g.weighty = g.weighty || c.Weighty()
	}
	inputs := make(map[string]bool, len(g.Inputs))
	for _, v := range g.Inputs {
		if inputs[v.Name] {
			return g.fail(-1, fmt.Sprintf("graph input %.200q", v.Name), source.ErrCorrupt, "is given twice", exportAgain)
		}
		inputs[v.Name] = true
		if g.values[v.Name] == nil {
			g.values[v.Name] = &Value{Name: v.Name}
		}
	}
	for i := range g.Nodes {
		if err := l.defineNode(g, &g.Nodes[i]); err != nil {
			return err
		}
	}
	return nil
}

// defineNode makes the values that n, a node of g, computes.
func (l *linker) defineNode(g *Graph, n *Node) error {
	n.graph, n.index = g, len(l.nodes)
	l.nodes, l.wait = append(l.nodes, n), append(l.wait, 0)
	n.Out = make([]*Value, len(n.Outputs))
	for j, name := range n.Outputs {
		if name == "" {
			continue
		}
		v := g.values[name]
		if v != nil && (v.Producer != nil || v.Constant == nil || v.Constant.Node != n) {
			return g.fail(n.offset, n.String(), source.ErrCorrupt, fmt.Sprintf("its output %.200q is produced elsewhere too", name), exportAgain)
		}
		if v == nil {
			v = &Value{Name: name}
			g.values[name] = v
		}
		v.Producer, v.Output = n, j
		n.Out[j] = v
	}
	for _, b := range n.Bodies {
		if err := l.define(b.Graph, g, n); err != nil {
			return err
		}
	}
	return nil
}

// connect finds the values that the nodes of g, and of the graphs nested in it, read.
func (l *linker) connect(g *Graph) {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		n.In = make([]*Value, len(n.Inputs))
		for j, name := range n.Inputs {
			if name != "" {
				n.In[j] = l.use(g, name, Use{n, j})
			}
		}
		for _, b := range n.Bodies {
			l.connect(b.Graph)
			l.wait[n.index] += len(b.Graph.Nodes)
			for j, out := range b.Graph.Outputs {
				v := l.use(b.Graph, out.Name, Use{n, -1})
				if n.standard("If") && j < len(n.Out) && n.Out[j] != nil {
					n.Out[j].Branches, v.Gives = append(n.Out[j].Branches, v), n.Out[j]
				}
			}
		}
	}
}

// use gives the value that name means in g, and notes that it is used.
func (l *linker) use(g *Graph, name string, u Use) *Value {
	v := g.Value(name)
	if v == nil {
		v = &Value{Name: name}
		g.values[name] = v
	}
	v.Uses = append(v.Uses, u)
	if v.Producer != nil {
		l.wait[u.Node.index]++
	}
	return v
}

// run goes through all nodes, each after those that it depends on, and finds out what their outputs carry. A file need not
// have its nodes in such an order, though ONNX asks for it.
func (l *linker) run(g *Graph) error {
	var ready []*Node
	for _, n := range l.nodes {
		if l.wait[n.index] == 0 {
			ready = append(ready, n)
		}
	}
	done := 0
	for ; len(ready) > 0; done++ {
		n := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		if err := n.carry(); err != nil {
			return err
		}
		finished := func(m *Node) {
			if l.wait[m.index]--; l.wait[m.index] == 0 {
				ready = append(ready, m)
			}
		}
		for _, v := range n.Out {
			if v == nil {
				continue
			}
			for _, u := range v.Uses {
				finished(u.Node)
			}
		}
		if n.graph.holder != nil {
			finished(n.graph.holder)
		}
	}
	if done < len(l.nodes) {
		n := l.inCycle()
		return g.Fail(n, source.ErrCorrupt, "what it computes depends on itself", exportAgain)
	}
	return nil
}

// inCycle gives a node that depends on itself; there is one when nodes wait for ever.
func (l *linker) inCycle() *Node {
	var n *Node
	for _, m := range l.nodes {
		if l.wait[m.index] > 0 {
			n = m
			break
		}
	}
	for seen := map[*Node]bool{}; !seen[n]; {
		seen[n] = true
		n = l.waitsFor(n)
	}
	return n
}

// waitsFor gives a node that n, which waits, waits for.
func (l *linker) waitsFor(n *Node) *Node {
	waits := func(v *Value) bool { return v != nil && v.Producer != nil && l.wait[v.Producer.index] > 0 }
	for _, v := range n.In {
		if waits(v) {
			return v.Producer
		}
	}
	for _, b := range n.Bodies {
		for i := range b.Graph.Nodes {
			if m := &b.Graph.Nodes[i]; l.wait[m.index] > 0 {
				return m
			}
		}
		for _, out := range b.Graph.Outputs {
			if v := b.Graph.Value(out.Name); waits(v) {
				return v.Producer
			}
		}
	}
	return n
}

// carry finds out which constants n's outputs carry, once that is known of its inputs and of the graphs nested in it.
func (n *Node) carry() error {
	for _, v := range n.In {
		if v != nil && v.Origin != nil && v.Origin.weighty() {
			n.graph.weighty = true
		}
	}
	switch {
	case n.carrier():
		origin, err := n.In[0].Origin, error(nil)
		if n.Op == "Transpose" && origin != nil {
			if origin, err = n.transposed(origin); err != nil {
				return err
			}
		}
		n.Out[0].Origin = origin.at(n.Out[0].Name)
	case n.dequantizes():
		n.Out[0].Origin = n.dequantized(n.In[0].Origin).at(n.Out[0].Name)
	case n.standard("Reshape"):
		if o := n.origin(0); o != nil && o.weighty() && len(n.In) == 2 && len(n.Out) == 1 && n.Out[0] != nil {
			n.Out[0].Origin = n.reshaped(o).at(n.Out[0].Name)
		}
	case n.standard("If"):
		n.takeBranch()
	}
	for _, b := range n.Bodies {
		n.graph.weighty = n.graph.weighty || b.Graph.weighty
	}
	return nil
}

// takeBranch decides which branch of the If n counts, and gives its outputs what that carries.
func (n *Node) takeBranch() {
	var holding []*Graph
	for _, b := range n.Bodies {
		for _, out := range b.Graph.Outputs {
			if v := b.Graph.Value(out.Name); v.Origin != nil && v.Origin.weighty() {
				b.Graph.weighty = true
			}
		}
		if b.Graph.weighty {
			holding = append(holding, b.Graph)
		}
	}
	var condition []int64
	if len(n.In) == 1 && n.In[0] != nil && n.In[0].Origin != nil {
		condition = n.In[0].Origin.Constant.Ints
	}
	switch {
	case len(condition) == 1 && condition[0] == 0:
		n.taken = n.body("else_branch")
	case len(condition) == 1:
		n.taken = n.body("then_branch")
	case len(holding) == 1:
		n.taken = holding[0]
	case len(holding) == 0 && len(n.Bodies) > 0:
		n.taken = n.Bodies[0].Graph
	}
	if n.taken == nil {
		return
	}
	for j, out := range n.taken.Outputs {
		if j < len(n.Out) && n.Out[j] != nil {
			n.Out[j].Origin = n.taken.Value(out.Name).Origin.at(n.Out[j].Name)
		}
	}
}

// body gives the graph that is the attribute of that name.
func (n *Node) body(attribute string) *Graph {
	for _, b := range n.Bodies {
		if b.Attribute == attribute {
			return b.Graph
		}
	}
	return nil
}

// transposed is the origin of what the Transpose n makes of a value with origin o.
func (n *Node) transposed(o *Origin) (*Origin, error) {
	rank := len(o.Perm)
	perm := make([]int, rank)
	a := n.Attribute("perm")
	if a == nil { // left out: the axes are reversed
		for i := range perm {
			perm[i] = o.Perm[rank-1-i]
		}
	} else {
		seen := make([]bool, rank)
		for i, axis := range a.Ints {
			if len(a.Ints) != rank || axis < 0 || axis >= int64(rank) || seen[axis] {
				return nil, n.graph.Fail(n, source.ErrCorrupt,
					fmt.Sprintf("perm %v is no permutation of the %d axes of %.200q", a.Ints[:min(len(a.Ints), maxRank)], rank, o.Constant.Name), exportAgain)
			}
			seen[axis] = true
			perm[i] = o.Perm[axis]
		}
		if len(a.Ints) != rank {
			return nil, n.graph.Fail(n, source.ErrCorrupt, fmt.Sprintf("an empty perm for the %d axes of %.200q", rank, o.Constant.Name), exportAgain)
		}
	}
	out := *o
	out.Perm = perm
	return &out, nil
}

func (g *Graph) fail(at int64, thing string, sentinel error, problem, next string) error {
	return &source.Error{File: g.file, Offset: at, Thing: thing, Problem: problem, Next: next, Err: sentinel}
}

// Fail gives an error about node n, in the words of this package.
func (g *Graph) Fail(n *Node, sentinel error, problem, next string) error {
	return g.fail(n.offset, n.String(), sentinel, problem, next)
}
