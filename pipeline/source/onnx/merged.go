package onnx

import (
	"fmt"

	"npuw/pipeline/source"
)

// Pass is one way through a model, with the weights that it computes with.
type Pass struct {
	Name    string // "then_branch"; "" where there is one way alone
	Graph   *Graph // whose outputs the pass gives
	Weights []Weight
}

// Passes gives the ways through m. There is one, with all that Weights gives, unless the main graph has one If whose branches both have
// weights, and whose condition is an input: then each branch is a way. So are two exports of one model merged into one file: Optimum puts
// a decoder for the first tokens and one for those after a cache into
//
//	use_cache_branch -> If ┬ then_branch: with past     both with nodes of the same names, and with
//	                       └ else_branch: without       initializers of the main graph, called <name>_merged_<k>
//
// Weights of the main graph's nodes are those of every pass.
func (m *Model) Passes() ([]Pass, error) {
	merged := m.merged()
	if merged == nil {
		weights, err := m.Weights()
		return []Pass{{Graph: m.Graph, Weights: weights}}, err
	}
	weights, err := m.findWeights(merged)
	if err != nil {
		return nil, err
	}
	of := map[*Graph]int{} // the pass that each graph in a branch belongs to
	passes := make([]Pass, len(merged.Bodies))
	for i, b := range merged.Bodies {
		passes[i].Name, passes[i].Graph = b.Attribute, b.Graph
		b.Graph.Walk(func(g *Graph) { of[g] = i })
	}
	for i := range weights {
		pass, inBranch := of[weights[i].Node.graph]
		for j := range passes {
			if !inBranch || pass == j {
				passes[j].Weights = append(passes[j].Weights, weights[i])
			}
		}
	}
	return passes, nil
}

// merged is the If of the main graph whose branches are passes, nil if there is none, or more than one.
func (m *Model) merged() *Node {
	var found *Node
	for i := range m.Graph.Nodes {
		n := &m.Graph.Nodes[i]
		if !n.standard("If") || n.taken != nil || len(n.Bodies) != 2 || n.body("then_branch") == nil || n.body("else_branch") == nil {
			continue
		}
		if n.Bodies[0].Graph.weighty && n.Bodies[1].Graph.weighty {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// String names the pass for a person.
func (p *Pass) String() string {
	if p.Name == "" {
		return "the graph"
	}
	return fmt.Sprintf("%q of %s", p.Name, p.Graph.holder)
}

// Fail gives an error about the pass.
func (p *Pass) Fail(sentinel error, problem, next string) error {
	e := &source.Error{File: p.Graph.file, Offset: -1, Problem: problem, Next: next, Err: sentinel}
	if p.Graph.holder != nil {
		e.Offset, e.Thing = p.Graph.holder.offset, p.String()
	}
	return e
}
