// Package whisper recognises the encoder and the decoder of Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale
// Weak Supervision") in the module tree of Hugging Face transformers: two convolutions or the embedding of tokens, positions, pre-norm
// transformer layers of self-attention, attention to the encoder's states and a two-layer MLP, a last LayerNorm and, in a decoder, the
// projection to logits, which is the embedding of tokens again.
//
//	mels x 2P -> conv1 -> GELU -> conv2 (stride 2) -> GELU -> + embed_positions [P,D] -> layers -> layer_norm -> P x D
//	T tokens -> embed_tokens [V,D] -> + embed_positions [P,D] -> layers, each with the P x D -> layer_norm -> proj_out -> T x V
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
	FamilyPast    = "whisper-decoder-with-past" // a decoder that is given the keys and values of the encoder's states, and lacks what makes them
	FamilyWhole   = "whisper"                   // encoder and decoder
)

// Prefixes of canonical names.
const (
	prefix        = "encoder."
	decoderPrefix = "decoder."
)

// Recognise gives the parameters of a Whisper encoder or decoder under their canonical names and in canonical order, with the sizes
// of the model; config.json in the model's folder is read too, if there is one, and must agree. The error wraps
// source.ErrNotRecognised if m is neither. It is another one if m is one of them and a parameter is missing,
// left over, of the wrong shape, named in two ways, or used in a way that is not understood. No weight is read, but those that a
// decoder has twice, which are compared.
func Recognise(m *onnx.Model) (*model.Model, error) {
	switch {
	case hasNames(m.Graph, &encoderSide), hasStem(m.Graph):
		return recogniseEncoder(m)
	}
	return recogniseDecoder(m, hasNames(m.Graph, &decoderSide) && !hasModule(m.Graph, prefix)) // not with another encoder, as BART has it
}

func recogniseEncoder(m *onnx.Model) (*model.Model, error) {
	weights, err := m.Weights()
	if err != nil {
		return nil, err
	}
	e := newExported(m, &encoderSide, m.Graph, weights)
	s, unfit := e.trace.structure()
	var places []place
	if s != nil {
		places = s.places()
	}
	if err := e.name(weights, places, unfit); err != nil {
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
	if s != nil {
		for _, l := range s.layers {
			if err := e.checkScale(l.attention); err != nil {
				return nil, err
			}
		}
	}
	result := &model.Model{Family: Family, Attributes: e.attributes(e.sizes, e.eps), Parameters: parameters}
	if e.zeroBiases > 0 {
		result.Notes = append(result.Notes, noteZeroBiases(e.zeroBiases))
	}
	if unfit != nil {
		result.Notes = append(result.Notes, noteUnfit(unfit))
	}
	return result, nil
}

func noteUnfit(unfit error) string {
	return "named by paths and values alone, since the graph could not be followed: " + unfit.Error()
}

// hasNames reports whether the names in g are those of one side of a Whisper, whatever its operators are: then what is
// wrong with it is worth telling.
func hasNames(g *onnx.Graph, s *side) bool {
	found := 0
	eachName(g, func(name string) {
		name = s.canonical(name)
		for i, w := range s.known {
			if strings.HasPrefix(name, s.prefix+w+".") {
				found |= 1 << i
			}
		}
	})
	return found == 1<<len(s.known)-1
}

// hasModule reports whether names in g begin with that of a module, behind "model.".
func hasModule(g *onnx.Graph, module string) bool {
	found := false
	eachName(g, func(name string) { found = found || strings.HasPrefix(strings.TrimPrefix(name, "model."), module) })
	return found
}

// eachName calls look with the name of each node and constant of g, with dots between modules.
func eachName(g *onnx.Graph, look func(name string)) {
	dotted := func(name string) { look(strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", ".")) }
	g.Walk(func(g *onnx.Graph) {
		for i := range g.Nodes {
			dotted(g.Nodes[i].Name)
		}
		for i := range g.Constants {
			dotted(g.Constants[i].Name)
		}
	})
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

// exported is an encoder or a decoder while it is being recognised in a graph.
type exported struct {
	*side
	m      *onnx.Model
	trace  *tracer
	byName map[string]*parameter // canonical name to what has it

	zeroBiases int    // of keys, left out
	extra      []spec // beside those that every model of these sizes has

	sizes
	eps float64
}

// newExported begins to recognise what the outputs of root, the main graph or a branch in it, are computed with.
func newExported(m *onnx.Model, s *side, root *onnx.Graph, weights []onnx.Weight) *exported {
	return &exported{side: s, m: m, trace: newTracer(m, s, root, weights), byName: make(map[string]*parameter, len(weights))}
}

// fail gives an error about the thing called name.
func (e *exported) fail(name string, sentinel error, problem, next string) error {
	return &source.Error{File: e.m.Path, Offset: -1, Thing: fmt.Sprintf("%.200q", name), Problem: problem, Next: next, Err: sentinel}
}

// leftOver fails if a constant that may be weights is none of the parameters.
func (e *exported) leftOver(weights []onnx.Weight) error {
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
func (e *exported) parameters() ([]model.Parameter, error) {
	specs := append(e.specs(e.sizes), e.extra...)
	parameters := make([]model.Parameter, 0, len(specs))
	expected := make(map[string]bool, len(specs))
	for _, s := range specs {
		expected[s.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(e.byName)) {
		if !expected[name] {
			return nil, e.m.Graph.Fail(e.byName[name].Node, source.ErrParameters, fmt.Sprintf("gives parameter %.200q, which a Whisper %s of %d layers does not have", name, e.what, e.layers),
				fmt.Sprintf("export the %s alone", e.what))
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
			Origin: p.origin(), Copies: p.copies,
		})
	}
	return parameters, nil
}

func (e *exported) missing(name string) error {
	return e.fail(name, source.ErrParameters, "missing: no node has it as an operand", fmt.Sprintf("export the whole %s again", e.what))
}
