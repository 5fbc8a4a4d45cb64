package generic

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// stateAxes are the axes of tensors by how many they have, as PyTorch's Linear and Conv1d, Conv2d and Conv3d have them.
var stateAxes = map[int]string{1: "N", 2: "NK", 3: "NCX", 4: "NCYX", 5: "NCZYX"}

// structural are the types of what a state dict holds beside weights: counts, positions, masks. Names are those of safetensors and of
// PyTorch.
var structural = []string{"I64", "BOOL", "int64", "bool"}

// FromState gives the parameters of a state dict: a file that holds tensors by name, and no graph. They are its tensors, in the order of
// the file; with up to two axes, or called weight, they are taken for those of PyTorch's layers. The error wraps
// source.ErrNotRecognised if there is none, and is another one if there are tensors of a type that may be weights and is not read.
func FromState(c *source.Catalogue) (*model.Model, error) {
	g := &model.Model{Family: Family}
	for _, name := range slices.Sorted(maps.Keys(c.Others)) {
		if !slices.Contains(structural, c.Others[name]) {
			return nil, &source.Error{
				File: c.Path, Offset: -1, Thing: fmt.Sprintf("tensor %.200q", name), Err: source.ErrUnsupported,
				Problem: fmt.Sprintf("its type is %.50s, which may be codes of weights and is not read", c.Others[name]), Next: "give the model with float weights",
			}
		}
	}
	n := &namer{taken: map[string]bool{}, copies: map[string]int{}}
	left := slices.Sorted(maps.Keys(c.Others))
	var list []*source.Tensor
	var names []candidates
	for i := range c.Tensors {
		t := &c.Tensors[i]
		if elements, _ := source.Elements(t.Shape); elements == 0 {
			left = append(left, t.Name)
			continue
		}
		list, names = append(list, t), append(names, candidates{given: t.Name})
	}
	n.claim(names)
	for i, t := range list {
		p := model.Parameter{Tensor: *t, Origin: t.Name}
		asItIs(&p)
		if axes := stateAxes[len(t.Shape)]; axes != "" && (len(axes) <= 2 || strings.HasSuffix(t.Name, "weight")) {
			p.Axes = axes
		}
		n.name(&p, &names[i])
		p.Ways = []model.Way{model.ByState}
		g.Parameters = append(g.Parameters, p)
	}
	if len(g.Parameters) == 0 {
		return nil, nothing(c.Path)
	}
	if len(left) > 0 {
		shown := make([]string, len(left))
		for i, name := range left {
			shown[i] = legal(name)
		}
		g.Notes = append(g.Notes, "left out, since they hold integers or nothing: "+listed(shown))
	}
	return g, nil
}
