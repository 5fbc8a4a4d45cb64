package whisper

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// recogniseDecoder gives the parameters of a decoder. A graph whose names are not a decoder's is one if its structure is; otherwise the
// error wraps source.ErrNotRecognised.
//
// Exporters write decoders in three forms. decoder_model makes keys and values of all that it attends to. decoder_with_past_model is
// given those of the encoder's states, and lacks the weights that make them: it is of a family of its own. decoder_model_merged has both in the branches of an If:
// what stands in both must be the same.
func recogniseDecoder(m *onnx.Model, named bool) (*model.Model, error) {
	passes, err := m.Passes()
	if err != nil && !named {
		return nil, notRecognised(m)
	}
	if err != nil {
		return nil, err
	}
	d := &decoder{family: FamilyDecoder}
	var weights []onnx.Weight
	for i := range passes {
		if err := d.add(m, &passes[i], named); err != nil {
			return nil, err
		}
		weights = append(weights, passes[i].Weights...)
	}
	if err := d.unite(); err != nil {
		return nil, err
	}
	d.withPast()
	for _, step := range []func() error{d.measure, d.readLogits} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	parameters, err := d.parameters()
	if err != nil {
		return nil, err
	}
	if err := d.leftOver(weights); err != nil {
		return nil, err
	}
	for _, read := range []func() error{d.compare, d.readPasses, d.checkConfig} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if d.zeroBiases > 0 {
		d.notes = append(d.notes, noteZeroBiases(d.zeroBiases))
	}
	return &model.Model{Family: d.family, Attributes: d.attributes(d.sizes, d.eps), Parameters: parameters, Notes: d.notes}, nil
}

// decoder is a decoder while it is being recognised in a graph.
type decoder struct {
	*exported // what is known of it, from all passes
	family    string
	passes    []pass
	twice     []twice
	notes     []string
}

// twice is a parameter that two passes have.
type twice struct {
	name   string
	p, q   *parameter
	of, in *onnx.Pass // theirs
}

// pass is a decoder as one pass through the graph computes it.
type pass struct {
	*exported
	of *onnx.Pass
	s  *structure // nil if the graph could not be followed
}

// add names what one pass computes with.
func (d *decoder) add(m *onnx.Model, of *onnx.Pass, named bool) error {
	e := newExported(m, &decoderSide, of.Graph, of.Weights)
	s, unfit := e.trace.decoderStructure()
	if s == nil && !named {
		return notRecognised(m)
	}
	var places []place
	if s != nil {
		places = s.places()
	}
	if err := e.name(of.Weights, places, unfit); err != nil {
		return err
	}
	if tokens := e.byName[tokenTable]; tokens != nil && tokens.Axes == "PN" {
		tokens.Axes = "NK" // as the projection to logits has it
	}
	if unfit != nil {
		if note := noteUnfit(unfit); !slices.Contains(d.notes, note) {
			d.notes = append(d.notes, note)
		}
	}
	d.passes = append(d.passes, pass{e, of, s})
	return nil
}

const tokenTable = decoderPrefix + "embed_tokens.weight"

// unite puts together what passes have. A parameter that several have must be the same in each: of one shape, and, as compare finds, of
// the same values.
func (d *decoder) unite() error {
	first := d.passes[0]
	all := *first.exported
	all.byName = maps.Clone(first.byName)
	for _, other := range d.passes[1:] {
		all.zeroBiases = max(all.zeroBiases, other.zeroBiases)
		for _, name := range slices.Sorted(maps.Keys(other.byName)) {
			p, q := all.byName[name], other.byName[name]
			if p == nil {
				all.byName[name] = q
				continue
			}
			x := twice{name, p, q, first.of, other.of}
			if !slices.Equal(p.Shape, q.Shape) {
				return x.differ(all.m)
			}
			p.copied(q)
			d.twice = append(d.twice, x)
		}
	}
	d.exported = &all
	for _, p := range d.passes {
		for _, name := range slices.Sorted(maps.Keys(all.byName)) {
			if p.byName[name] == nil && !ofEncoderStates(name) {
				return p.of.Fail(source.ErrMismatch, fmt.Sprintf("has no parameter %.200q, which %s gives in another branch", name, all.byName[name].Node),
					"merge two exports of one model: export it again")
			}
		}
	}
	return nil
}

// compare compares the values of parameters that passes have in tensors of their own.
func (d *decoder) compare() error {
	for _, x := range d.twice {
		same, err := sameParameter(&d.m.Catalogue, x.p, x.q)
		if err != nil {
			return err
		}
		if !same {
			return x.differ(d.m)
		}
	}
	return nil
}

// differ is the error that shows both.
func (x *twice) differ(m *onnx.Model) error {
	return m.Graph.Fail(x.q.Node, source.ErrMismatch, fmt.Sprintf("gives parameter %.200q as %s %v in %s, which differs from %s %v in %s",
		x.name, x.q.Constant, x.q.Shape, x.in, x.p.Constant, x.p.Shape, x.of), "merge two exports of one model: export it again")
}

// ofEncoderStates reports whether a parameter makes keys or values of the encoder's states, which a decoder with a past is given.
func ofEncoderStates(name string) bool {
	return strings.Contains(name, ".encoder_attn.k_proj.") || strings.Contains(name, ".encoder_attn.v_proj.")
}

// withPast finds out whether all weights are missing that make keys and values of the encoder's states: then d is a decoder with a past,
// of which they are no parameters. If some are there, those that are not are missing.
func (d *decoder) withPast() {
	d.layers = countLayers(decoderPrefix, d.byName)
	cross := false // there is an attention to the encoder's states
	for name := range d.byName {
		if ofEncoderStates(name) {
			return
		}
		cross = cross || strings.Contains(name, ".encoder_attn.q_proj.")
	}
	if !cross {
		return
	}
	d.family = FamilyPast
	past := *d.side
	past.specs = func(s sizes) []spec {
		return slices.DeleteFunc(decoderSpecs(s), func(x spec) bool { return ofEncoderStates(x.name) })
	}
	d.side = &past
	d.notes = append(d.notes, "a decoder with a past: it is given the encoder's keys and values, and has no weights to make them")
}

// readLogits looks at the projection to logits: it is a parameter of its own only if it is not the embedding of tokens.
func (d *decoder) readLogits() error {
	p, tokens := d.byName[projOut], d.byName[tokenTable]
	if p == nil || tokens == nil {
		return nil // the graph ends before it; or an embedding is missing, which will be told
	}
	same, err := sameParameter(&d.m.Catalogue, p, tokens)
	if err != nil {
		return err
	}
	if !same {
		d.extra = append(d.extra, spec{projOut, "NK", tokens.Shape})
		return nil
	}
	delete(d.byName, projOut)
	tokens.copied(p)
	d.notes = append(d.notes, noteLogits(p.Constant == tokens.Constant))
	return nil
}

// readPasses reads from every pass what must be the same in all.
func (d *decoder) readPasses() error {
	for _, p := range d.passes {
		p.sizes = d.sizes // heads are 0 before the first
		if err := p.readHeads(); err != nil {
			return err
		}
		if err := p.readEps(); err != nil {
			return err
		}
		if d.heads, d.eps = p.heads, cmp.Or(d.eps, p.eps); d.eps != p.eps {
			return p.of.Fail(source.ErrMismatch, fmt.Sprintf("its LayerNorms have epsilon %g, those of another branch %g", p.eps, d.eps), "one epsilon for all is expected: export the model again")
		}
		if p.s == nil {
			continue
		}
		for _, l := range p.s.layers {
			for _, a := range []*attention{l.attention, l.cross} {
				if a.k.weight == nil {
					continue // keys come from a cache, scaled or not
				}
				if err := p.checkScale(a); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func notRecognised(m *onnx.Model) error {
	return &source.Error{
		File: m.Path, Offset: -1, Next: "export the encoder or the decoder with torch.onnx or Optimum", Err: source.ErrNotRecognised,
		Problem: "no Whisper: its nodes and values name neither conv1, conv2 and layers.0.self_attn of an encoder nor embed_tokens, layers.0.self_attn and " +
			"layers.0.encoder_attn of a decoder, and it is not built as one",
	}
}
