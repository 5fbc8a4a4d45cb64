// Package whisper recognises the encoder of Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak
// Supervision") in the module tree of Hugging Face transformers: two convolutions, positions, pre-norm transformer layers
// of self-attention and a two-layer MLP, and a last LayerNorm.
//
//	mels x 2P -> conv1 -> GELU -> conv2 (stride 2) -> GELU -> + embed_positions [P,D] -> layers -> layer_norm -> P x D
//
// Names come from the paths that torch.onnx gives to nodes and from the names of values; orientation comes from operators
// and their attributes, never from a name.
package whisper

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// Family is what model.Model.Family says of an encoder.
const Family = "whisper-encoder"

// prefix of every canonical name.
const prefix = "encoder."

// Recognise gives the parameters of a Whisper encoder under their canonical names and in canonical order, with the sizes
// of the model; config.json in the model's folder is read too, if there is one, and must agree. The error wraps
// source.ErrNotRecognised if m is no Whisper encoder at all. It is another one if m is one and a parameter is missing,
// left over, of the wrong shape, named in two ways, or used in a way that is not understood.
func Recognise(m *onnx.Model) (*model.Model, error) {
	if !looksRight(m.Graph) {
		return nil, &source.Error{
			File: m.Path, Offset: -1, Problem: "no Whisper encoder: its nodes and values do not name conv1, conv2 and layers.0.self_attn",
			Next: "export the encoder with node names (torch.onnx and Optimum write them)", Err: source.ErrNotRecognised,
		}
	}
	weights, err := m.Weights()
	if err != nil {
		return nil, err
	}
	e := encoder{m: m, byName: make(map[string]*onnx.Weight, len(weights))}
	if err := e.name(weights); err != nil {
		return nil, err
	}
	if err := e.measure(); err != nil {
		return nil, err
	}
	parameters, err := e.parameters()
	if err != nil {
		return nil, err
	}
	if err := e.leftOver(weights); err != nil {
		return nil, err
	}
	if err := e.readHeads(); err != nil {
		return nil, err
	}
	if err := e.readEps(); err != nil {
		return nil, err
	}
	if err := e.checkConfig(); err != nil {
		return nil, err
	}
	return &model.Model{Family: Family, Attributes: e.attributes(), Parameters: parameters}, nil
}

// looksRight reports whether the names in g are those of a Whisper encoder, whatever its operators are: then what is
// wrong with it is worth telling.
func looksRight(g *onnx.Graph) bool {
	want := []string{"conv1", "conv2", "layers.0.self_attn"}
	found := 0
	look := func(name string) {
		name = canonical(strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", "."))
		for i, w := range want {
			if strings.HasPrefix(name, prefix+w+".") {
				found |= 1 << i
			}
		}
	}
	for i := range g.Nodes {
		look(g.Nodes[i].Name)
	}
	for i := range g.Constants {
		look(g.Constants[i].Name)
	}
	return found == 1<<len(want)-1
}

// canonical gives a name with the one prefix "encoder.", whether it had "model.", "encoder.", both or none; "" stays.
func canonical(name string) string {
	if name == "" {
		return ""
	}
	return prefix + strings.TrimPrefix(strings.TrimPrefix(name, "model."), prefix)
}

// encoder is an encoder while it is being recognised.
type encoder struct {
	m      *onnx.Model
	byName map[string]*onnx.Weight // canonical name to the one use under it
	layers int

	dModel, heads, ffn, mels, positions uint64
	eps                                 float64
}

// fail gives an error about the thing called name.
func (e *encoder) fail(name string, sentinel error, problem, next string) error {
	return &source.Error{File: e.m.Path, Offset: -1, Thing: fmt.Sprintf("%.200q", name), Problem: problem, Next: next, Err: sentinel}
}

// name fills byName.
func (e *encoder) name(weights []onnx.Weight) error {
	uses := make(map[*onnx.Constant]int, len(weights))
	for i := range weights {
		uses[weights[i].Constant]++
	}
	for i := range weights {
		w := &weights[i]
		name, err := e.nameOf(w, uses[w.Constant])
		if err != nil {
			return err
		}
		if other := e.byName[name]; other != nil {
			return e.m.Graph.Fail(w.Node, source.ErrParameters, fmt.Sprintf("gives parameter %.200q, and so does %s", name, other.Node),
				"a Whisper encoder has each parameter once: export it again")
		}
		e.byName[name] = w
	}
	return nil
}

// nameOf gives the canonical name of w, whose constant has as many uses. The path of a node belongs to that node alone; the
// name of a value may come from another parameter of the same values, if exporter or optimizer tied them.
func (e *encoder) nameOf(w *onnx.Weight, uses int) (string, error) {
	path, value := canonical(w.PathName), canonical(w.ValueName)
	switch {
	case path == "" && (value == "" || uses > 1) && w.Axes == "PN" && w.Node.Op == "Add":
		path = prefix + "embed_positions.weight" // the one matrix that an encoder adds
	case path == "" && value == "":
		return "", e.m.Graph.Fail(w.Node, source.ErrParameters, fmt.Sprintf("its weights %.200q have no name: neither node nor value has one", w.Constant.Name),
			"export with node names (torch.onnx and Optimum write them)")
	}
	if path != "" && value != "" && path != value && uses == 1 {
		return "", e.m.Graph.Fail(w.Node, source.ErrMismatch, fmt.Sprintf("its path names the weights %.200q, their value's name %.200q", path, value),
			"the file was renamed or put together wrongly: export it again")
	}
	if path == "" {
		path = value
	}
	return path, nil
}

// leftOver fails if a constant that may be weights is none of the parameters.
func (e *encoder) leftOver(weights []onnx.Weight) error {
	used := make(map[*onnx.Constant]bool, len(weights))
	for i := range weights {
		used[weights[i].Constant] = true
	}
	for i := range e.m.Graph.Constants {
		if c := &e.m.Graph.Constants[i]; c.Weighty() && !used[c] {
			return e.fail(c.Name, source.ErrParameters, fmt.Sprintf("weights of shape %v that no node uses", c.Shape), "remove them, or export the model again")
		}
	}
	return nil
}

// parameters gives the expected parameters in canonical order, each checked.
func (e *encoder) parameters() ([]model.Parameter, error) {
	specs := e.specs()
	parameters := make([]model.Parameter, 0, len(specs))
	expected := make(map[string]bool, len(specs))
	for _, s := range specs {
		expected[s.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(e.byName)) {
		if !expected[name] {
			return nil, e.m.Graph.Fail(e.byName[name].Node, source.ErrParameters, fmt.Sprintf("gives parameter %.200q, which a Whisper encoder of %d layers does not have", name, e.layers),
				"export the encoder alone")
		}
	}
	for _, s := range specs {
		w := e.byName[s.name]
		if w == nil {
			return nil, e.missing(s.name)
		}
		if w.Axes != s.axes || !slices.Equal(w.Shape, s.shape) {
			return nil, e.fail(s.name, source.ErrParameters, fmt.Sprintf("shape %v with axes %s, expected %v with axes %s", w.Shape, w.Axes, s.shape, s.axes),
				"its sizes contradict those of the other parameters: export the model again")
		}
		parameters = append(parameters, model.Parameter{
			Name: s.name, Axes: w.Axes, Shape: w.Shape, Tensor: w.Tensor, Perm: w.Perm,
			Origin: fmt.Sprintf("%s in %s", w.Constant, w.Node),
		})
	}
	return parameters, nil
}

func (e *encoder) missing(name string) error {
	return e.fail(name, source.ErrParameters, "missing: no node has it as an operand", "export the whole encoder again")
}
