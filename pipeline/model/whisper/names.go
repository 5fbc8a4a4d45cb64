package whisper

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// parameter is a weight, or a part of one, with its name.
type parameter struct {
	onnx.Weight
	part string // "" for a whole weight
	ways []model.Way
	note string

	copies []model.Copy
}

// copied notes that q is p again, with all its copies.
func (p *parameter) copied(q *parameter) {
	if q.Constant != p.Constant {
		p.copies = append(p.copies, model.Copy{Tensor: q.Tensor, Perm: q.Perm})
	}
	p.copies = append(p.copies, q.copies...)
}

// origin tells where the parameter is, for listings.
func (p *parameter) origin() string {
	of := p.Constant.String()
	if p.Tensor.Stored != "" {
		of += " (" + p.Tensor.Stored + ")"
	}
	if p.part != "" {
		of += ", " + p.part
	}
	return fmt.Sprintf("%s in %s", of, p.Node)
}

// name fills byName. list has what the structure of the graph says of weights, or else unfit tells why it has none.
func (e *exported) name(weights []onnx.Weight, list []place, unfit error) error {
	uses := make(map[*onnx.Constant]int, len(weights))
	for i := range weights {
		uses[weights[i].Constant]++
	}
	places := map[*onnx.Weight][]place{}
	for _, p := range list {
		places[p.weight] = append(places[p.weight], p)
	}
	for i := range weights {
		w := &weights[i]
		var err error
		switch at := places[w]; {
		case len(at) == 0:
			err = e.nameWhole(w, "", uses[w.Constant], unfit)
		case slices.ContainsFunc(at, func(p place) bool { return p.part != nil }):
			err = e.nameParts(w, at)
		default:
			for j := 0; j < len(at) && err == nil; j++ {
				err = e.nameWhole(w, at[j].name, uses[w.Constant], nil)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nameWhole names the weight w, whose constant has as many uses, and whose place in the structure has that name, or "". The path of a
// node belongs to that node alone. The name of a value may come from another parameter of the same values, if exporter or
// optimizer tied them: then it does not count.
func (e *exported) nameWhole(w *onnx.Weight, placed string, uses int, unfit error) error {
	p := &parameter{Weight: *w}
	value := e.canonical(w.ValueName)
	ways := []struct {
		way      model.Way
		name, by string
	}{
		{model.ByPath, e.canonical(ownPath(w)), "the path of its node"},
		{model.ByStructure, placed, "their place in the graph"},
		{model.ByValue, value, "the name of their tensor"},
	}
	name, differ := "", false
	var told []string
	for _, x := range ways {
		if x.name == "" || x.way == model.ByValue && uses > 1 {
			continue
		}
		told = append(told, fmt.Sprintf("%.200q by %s", x.name, x.by))
		if name == "" {
			name = x.name
		}
		differ = differ || x.name != name
		p.ways = append(p.ways, x.way)
	}
	switch {
	case name == "":
		return e.nameless(w, unfit)
	case differ:
		return e.m.Graph.Fail(w.Node, source.ErrMismatch, fmt.Sprintf("its weights %.200q are called %s", w.Constant.Name, strings.Join(told, ", ")),
			"the file was renamed or put together wrongly: export it again")
	case value != "" && value != name:
		p.note = fmt.Sprintf("its tensor is called %.200q, and has %d uses", w.ValueName, uses)
	}
	return e.keep(name, p)
}

// nameless is the error for w, which has no name; the node at which the graph could not be followed is what is at fault, if there is one.
func (e *exported) nameless(w *onnx.Weight, unfit error) error {
	var at *source.Error
	if errors.As(unfit, &at) {
		named := *at
		named.Problem = fmt.Sprintf("%s, and without that the weights %.200q of %s have no name", at.Problem, w.Constant.Name, w.Node)
		return &named
	}
	return e.m.Graph.Fail(w.Node, source.ErrParameters, fmt.Sprintf("its weights %.200q have no name: neither node nor value has one, and a Whisper %s has none at this place", w.Constant.Name, e.what),
		fmt.Sprintf("export the %s alone", e.what))
}

// nameParts names the parts of a weight that joins several parameters: each of its values belongs to one of them.
func (e *exported) nameParts(w *onnx.Weight, places []place) error {
	parts := make([]onnx.Part, 0, len(places))
	sum := uint64(0)
	for _, at := range places {
		part := onnx.Part{Run: w.Shape[0], Apart: w.Shape[0]}
		if at.part != nil {
			part = at.part(w.Shape[0])
		}
		of, ok := w.Part(part)
		if !ok || slices.ContainsFunc(parts, func(p onnx.Part) bool {
			return p.Apart != part.Apart || part.First < p.First+p.Run && p.First < part.First+part.Run
		}) {
			return e.m.Graph.Fail(w.Node, source.ErrUnsupported, fmt.Sprintf("its weights %.200q %v are not cut into %d parts as joined weights are (%s at %s)",
				w.Constant.Name, w.Shape, len(places), at.name, part.Of(w.Shape[0])), exportPlainly)
		}
		parts, sum = append(parts, part), sum+of.Shape[0]
		if err := e.keep(at.name, &parameter{Weight: of, part: "N " + part.Of(w.Shape[0]), ways: []model.Way{model.ByStructure}}); err != nil {
			return err
		}
	}
	if sum != w.Shape[0] {
		return e.m.Graph.Fail(w.Node, source.ErrUnsupported, fmt.Sprintf("of the %d outputs of its weights %.200q, %d are used", w.Shape[0], w.Constant.Name, sum), exportPlainly)
	}
	return nil
}

// keep notes that p is called name. A bias on keys is left out if it is 0: no Whisper has one, and operators that add the biases
// of q, k and v at once are given zeros for it.
func (e *exported) keep(name string, p *parameter) error {
	if strings.HasSuffix(name, "_attn.k_proj.bias") {
		zero, err := isZero(&e.m.Catalogue, &p.Tensor)
		if zero || err != nil {
			e.zeroBiases++
			return err
		}
	}
	if other := e.byName[name]; other != nil {
		return e.m.Graph.Fail(p.Node, source.ErrParameters, fmt.Sprintf("gives parameter %.200q, and so does %s", name, other.Node),
			fmt.Sprintf("a Whisper %s has each parameter once: export it again", e.what))
	}
	e.byName[name] = p
	return nil
}
