// Package generic makes a model of any file whose weights can be read, whatever the model computes: the family for those that npuw does
// not know. Parameters are what the file holds, under the names that it has for them.
//
//	onnx.Model.Operands  -> one parameter a constant: axes and orientation from the operators that use it
//	a state dict         -> one parameter a tensor: axes from the number of axes, as PyTorch's modules have them
//
// A parameter has the axes that package onnx gives to weights that it understands (NK, NCYX, N and so on); of constants that are used by
// other operators, and of tensors that tell nothing, the axes are A, B, C and so on.
package generic

import (
	"fmt"
	"slices"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// Family is what model.Model.Family says.
const Family = "generic"

// maxAxes is the most axes that a parameter of an artifact has.
const maxAxes = 8

// neutral are the axes of what nothing is known about.
const neutral = "ABCDEFGH"

// constant is a constant with the use that tells what it is.
type constant struct {
	onnx.Weight
	note string // on another use
}

// FromONNX gives the parameters of m in the order of the nodes that use them. A constant is one parameter, however often it is used; its
// axes are those of the first use as a matrix, or else of the first that is understood. Integers and single numbers that nodes compute
// with are no parameters. The error wraps source.ErrNotRecognised if there is no parameter.
func FromONNX(m *onnx.Model) (*model.Model, error) {
	uses, err := m.Operands()
	if err != nil {
		return nil, err
	}
	g := &model.Model{Family: Family}
	n := &namer{taken: map[string]bool{}, copies: map[string]int{}}
	constants := collect(uses)
	names := make([]candidates, len(constants))
	for i := range constants {
		names[i] = candidatesOf(&constants[i])
	}
	n.claim(names)
	for i := range constants {
		p := constants[i].parameter()
		n.name(&p, &names[i])
		g.Parameters = append(g.Parameters, p)
	}
	if len(g.Parameters) == 0 {
		return nil, nothing(m.Path)
	}
	if left := leftOut(m, uses); len(left) > 0 {
		g.Notes = append(g.Notes, "left out, since no operator that has weights uses them: "+listed(left))
	}
	return g, nil
}

// collect puts the uses of each constant together, and drops what is no parameter.
func collect(uses []onnx.Weight) []constant {
	// Codes are other values under other scales.
	type key struct{ constant, scales *onnx.Constant }
	number := map[key]int{}
	var list []constant
	for _, w := range uses {
		if w.Constant.Elements == 1 && !trained(&w) {
			continue
		}
		k := key{constant: w.Constant}
		if len(w.Beside) > 0 {
			k.scales = w.Beside[0]
		}
		i, known := number[k]
		if !known {
			number[k] = len(list)
			list = append(list, constant{Weight: w})
			continue
		}
		list[i].add(w)
	}
	return list
}

// add adds a use of c.
func (c *constant) add(w onnx.Weight) {
	other := w
	if rank(&w) > rank(&c.Weight) {
		other, c.Weight = c.Weight, w
	}
	if c.note == "" && other.Axes != "" && (other.Axes != c.Axes || !slices.Equal(other.Perm, c.Perm)) {
		c.note = fmt.Sprintf("%s in %s, turned otherwise", other.Axes, other.Node)
		if other.Axes != c.Axes {
			c.note = fmt.Sprintf("%s in %s", other.Axes, other.Node)
		}
	}
}

// rank orders uses by what they tell: a matrix that is multiplied with, another operand that is understood, any other.
func rank(w *onnx.Weight) int {
	switch {
	case w.Axes == "":
		return 0
	case strings.ContainsAny(w.Axes, "KCI"):
		return 2
	}
	return 1
}

// elementwise are the operators of which a single number is a parameter if a person gave it a name: exporters give them factors too.
var elementwise = []string{"Add", "Sub", "Mul", "Div", "Exp"}

// trained reports whether w, of one element, may be a parameter.
func trained(w *onnx.Weight) bool {
	if slices.Contains(elementwise, w.Node.Op) {
		return !anonymous.MatchString(w.Constant.Name)
	}
	return w.Axes != ""
}

// parameter is c without a name.
func (c *constant) parameter() model.Parameter {
	p := model.Parameter{Axes: c.Axes, Shape: c.Shape, Tensor: c.Tensor, Perm: c.Perm, Note: c.note, Origin: c.Constant.String()}
	if c.Tensor.Stored != "" {
		p.Origin += " (" + c.Tensor.Stored + ")"
	}
	p.Origin += " in " + c.Node.String()
	if p.Axes == "" {
		asItIs(&p)
	}
	return p
}

// asItIs gives p the neutral axes of its tensor. A single number becomes a vector of one; what has more axes than a parameter may have
// is taken with the last ones as one.
func asItIs(p *model.Parameter) {
	shape := p.Tensor.Shape
	switch {
	case len(shape) == 0:
		p.Axes, shape = "N", []uint64{1}
	case len(shape) > maxAxes:
		rest, _ := source.Elements(shape[maxAxes-1:]) // no more than all elements, which have been counted
		shape = append(slices.Clone(shape[:maxAxes-1]), rest)
		p.Axes = neutral
	default:
		p.Axes = neutral[:len(shape)]
	}
	if len(shape) != len(p.Tensor.Shape) {
		p.Tensor.Shape, p.Tensor.Codes = shape, nil
	}
	p.Shape, p.Perm = shape, make([]int, len(shape))
	for axis := range p.Perm {
		p.Perm[axis] = axis
	}
}

// leftOut are the constants that may be weights and are no operands, by name.
func leftOut(m *onnx.Model, uses []onnx.Weight) []string {
	used := map[*onnx.Constant]bool{}
	for i := range uses {
		used[uses[i].Constant] = true
		for _, c := range uses[i].Beside {
			used[c] = true
		}
	}
	var left []string
	m.Graph.Walk(func(g *onnx.Graph) {
		for i := range g.Constants {
			if c := &g.Constants[i]; c.Weighty() && !used[c] {
				left = append(left, c.String())
			}
		}
	})
	return left
}

// listed writes the first of some names, and how many there are beside them.
func listed(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func nothing(path string) error {
	return &source.Error{
		File: path, Offset: -1, Problem: "holds no parameters of a model", Next: "`npuw sources` lists what the file holds", Err: source.ErrNotRecognised,
	}
}
