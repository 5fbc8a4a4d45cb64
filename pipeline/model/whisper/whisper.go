// Package whisper recognises the encoder of Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak
// Supervision") in the module tree of Hugging Face transformers: two convolutions, positions, pre-norm transformer layers
// of self-attention and a two-layer MLP, and a last LayerNorm.
//
//	mels x 2P -> conv1 -> GELU -> conv2 (stride 2) -> GELU -> + embed_positions [P,D] -> layers -> layer_norm -> P x D
//
// It also recognises the decoder, in state dicts (state.go): a file of tensors by name, whose names say what they are.
//
// In a graph names come from the paths that torch.onnx gives to nodes, from the names of values, and from the structure of the graph
// (structure.go). Where there are several they must agree; one is enough. Orientation comes from operators and their attributes,
// never from a name.
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

// What model.Model.Family says.
const (
	Family        = "whisper-encoder"
	FamilyDecoder = "whisper-decoder"
	FamilyWhole   = "whisper" // encoder and decoder
)

// Prefixes of canonical names.
const (
	prefix        = "encoder."
	decoderPrefix = "decoder."
)

// Recognise gives the parameters of a Whisper encoder under their canonical names and in canonical order, with the sizes
// of the model; config.json in the model's folder is read too, if there is one, and must agree. The error wraps
// source.ErrNotRecognised if m is no Whisper encoder at all. It is another one if m is one and a parameter is missing,
// left over, of the wrong shape, named in two ways, or used in a way that is not understood.
func Recognise(m *onnx.Model) (*model.Model, error) {
	if !hasNames(m.Graph) && !hasStem(m.Graph) {
		return nil, &source.Error{
			File: m.Path, Offset: -1, Next: "export the encoder with torch.onnx or Optimum", Err: source.ErrNotRecognised,
			Problem: "no Whisper encoder: its nodes and values do not name conv1, conv2 and layers.0.self_attn, and it has not two convolutions of width 3",
		}
	}
	weights, err := m.Weights()
	if err != nil {
		return nil, err
	}
	e := encoder{m: m, trace: newTracer(m, weights), byName: make(map[string]*parameter, len(weights))}
	s, unfit := e.trace.structure()
	if err := e.name(weights, s, unfit); err != nil {
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
	for _, read := range []func() error{e.readHeads, e.readEps, e.checkConfig} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if err := e.checkScales(s); err != nil {
		return nil, err
	}
	result := &model.Model{Family: Family, Attributes: encoderAttributes(e.sizes, e.eps), Parameters: parameters}
	if e.zeroBiases > 0 {
		result.Notes = append(result.Notes, noteZeroBiases(e.zeroBiases))
	}
	if unfit != nil {
		result.Notes = append(result.Notes, "named by paths and values alone, since the graph could not be followed: "+unfit.Error())
	}
	return result, nil
}

// hasNames reports whether the names in g are those of a Whisper encoder, whatever its operators are: then what is
// wrong with it is worth telling.
func hasNames(g *onnx.Graph) bool {
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
	g.Walk(func(g *onnx.Graph) {
		for i := range g.Nodes {
			look(g.Nodes[i].Name)
		}
		for i := range g.Constants {
			look(g.Constants[i].Name)
		}
	})
	return found == 1<<len(want)-1
}

// hasStem reports whether g begins like a Whisper encoder, whatever its operators are called and its names are: its only
// convolutions are two of width 3, and the second has as many channels in as out, as many as the first has out.
func hasStem(g *onnx.Graph) bool {
	var shapes [][]uint64
	convolutions := 0
	g.Walk(func(g *onnx.Graph) {
		for i := range g.Nodes {
			n := &g.Nodes[i]
			if !strings.Contains(n.Op, "Conv") {
				continue
			}
			convolutions++
			for _, v := range n.In {
				if v != nil && v.Origin != nil && len(v.Origin.Perm) == 3 && v.Origin.Shape()[2] == kernelWidth {
					shapes = append(shapes, v.Origin.Shape())
				}
			}
		}
	})
	if convolutions != 2 || len(shapes) != 2 || shapes[0][0] != shapes[1][0] {
		return false
	}
	return shapes[1][0] == shapes[1][1] || shapes[0][0] == shapes[0][1] // a file may have them in either order
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
	trace  *tracer
	byName map[string]*parameter // canonical name to what has it

	zeroBiases int // of keys, left out

	sizes
	eps float64
}

// fail gives an error about the thing called name.
func (e *encoder) fail(name string, sentinel error, problem, next string) error {
	return &source.Error{File: e.m.Path, Offset: -1, Thing: fmt.Sprintf("%.200q", name), Problem: problem, Next: next, Err: sentinel}
}

// leftOver fails if a constant that may be weights is none of the parameters.
func (e *encoder) leftOver(weights []onnx.Weight) error {
	used := make(map[*onnx.Constant]bool, len(weights))
	for i := range weights {
		used[weights[i].Constant] = true
		for _, c := range weights[i].Beside {
			used[c] = true
		}
	}
	var err error
	e.m.Graph.Walk(func(g *onnx.Graph) {
		for i := range g.Constants {
			if c := &g.Constants[i]; c.Weighty() && !used[c] && err == nil {
				err = e.fail(c.Name, source.ErrParameters, fmt.Sprintf("weights of shape %v that no node uses", c.Shape), "remove them, or export the model again")
			}
		}
	})
	return err
}

// parameters gives the expected parameters in canonical order, each checked.
func (e *encoder) parameters() ([]model.Parameter, error) {
	specs := encoderSpecs(e.sizes)
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
		p := e.byName[s.name]
		if p == nil {
			return nil, e.missing(s.name)
		}
		if p.Axes != s.axes || !slices.Equal(p.Shape, s.shape) {
			return nil, e.fail(s.name, source.ErrParameters, fmt.Sprintf("shape %v with axes %s, expected %v with axes %s", p.Shape, p.Axes, s.shape, s.axes),
				"its sizes contradict those of the other parameters: export the model again")
		}
		parameters = append(parameters, model.Parameter{
			Name: s.name, Axes: p.Axes, Shape: p.Shape, Tensor: p.Tensor, Perm: p.Perm, Part: p.part, Ways: p.ways, Note: p.note,
			Origin: p.origin(),
		})
	}
	return parameters, nil
}

func (e *encoder) missing(name string) error {
	return e.fail(name, source.ErrParameters, "missing: no node has it as an operand", "export the whole encoder again")
}
