package whisper

import (
	"slices"

	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// decoderStructure follows a decoder from its logits back to its input. Its error tells the node at which that is not what a Whisper
// decoder has.
//
//	tokens -> embed_tokens -> Add embed_positions -> s
//	s -> self_attn_layer_norm -> q, k, v -> attention -> out_proj -> Add s -> r              of every layer; k and v behind a cache
//	r -> encoder_attn_layer_norm -> q; encoder's states -> k, v -> attention -> out_proj -> Add r -> m
//	m -> final_layer_norm -> fc1 -> GELU -> fc2 -> Add m -> s
//	s -> layer_norm -> proj_out
func (t *tracer) decoderStructure() (*structure, error) {
	s := &structure{side: t.side}
	v := t.firstOutput()
	if v == nil {
		return nil, &source.Error{File: t.m.Path, Offset: -1, Problem: "the graph has no output that it computes", Next: exportPlainly, Err: source.ErrUnsupported}
	}
	if s.projOut = t.product(t.back(v)); s.projOut != nil {
		v = s.projOut.in
	} // else the graph may end before it
	if s.last = t.norm(v); s.last == nil {
		return nil, t.unfit(v, "its last LayerNorm")
	}
	at := s.last.of
	for !t.embeds(at, s) {
		var l layer
		if err := t.layer(at, &l); err != nil {
			return nil, err
		}
		s.layers = append(s.layers, l)
		at = l.attentionNorm.of
	}
	slices.Reverse(s.layers)
	return s, nil
}

// firstOutput is the first output that the graph gives, which are the logits; keys and values follow.
func (t *tracer) firstOutput() *onnx.Value {
	for _, out := range t.root.Outputs {
		if v := t.root.Value(out.Name); v != nil {
			return v
		}
	}
	return nil
}

// embeds reports whether the sum n is that of tokens and positions, and notes their tables.
func (t *tracer) embeds(n *onnx.Node, s *structure) bool {
	tables, byInput := [2]*onnx.Weight{}, [2]bool{}
	for i := range tables {
		if tables[i] = t.weights[n][i]; tables[i] == nil && input(n, i) != nil {
			if p := t.back(n.In[i]).Producer; is(p, "Gather", "GatherBlockQuantized", "Slice") && t.weights[p][0] != nil {
				tables[i] = t.weights[p][0]
				byInput[i] = p.Op != "Slice" && isInput(t.back(p.In[1]))
			}
		}
		if tables[i] == nil || tables[i].Axes != "PN" {
			return false
		}
	}
	tokens := slices.Index(byInput[:], true)
	if byInput[0] == byInput[1] { // positions may be an input, too
		if s.projOut == nil {
			return false
		}
		vocab := s.projOut.weight.Shape[0]
		if tokens = 0; tables[0].Shape[0] != vocab {
			tokens = 1
		}
		if tables[tokens].Shape[0] != vocab || tables[1-tokens].Shape[0] == vocab {
			return false
		}
	}
	s.tokens, s.positions = tables[tokens], tables[1-tokens]
	return true
}

// isInput reports whether v is given to the graph.
func isInput(v *onnx.Value) bool { return v.Producer == nil && v.Constant == nil }

// cross takes apart the attention to the encoder's states that gives the sum at, and gives the sum before it.
func (t *tracer) cross(at *onnx.Node, l *layer) (*onnx.Node, error) {
	out, before, err := t.residual(at, "encoder_attn.out_proj")
	if err != nil {
		return nil, err
	}
	l.crossOut = out
	if l.cross, err = t.attention(out.in); err != nil {
		return nil, err
	}
	for _, p := range []*projection{&l.cross.k, &l.cross.v} {
		if p.weight != nil && !isInput(t.back(p.in)) {
			return nil, t.m.Graph.Fail(p.weight.Node, source.ErrUnsupported, "makes keys or values of what is not an input, where a Whisper decoder attends to the encoder's states", exportPlainly)
		}
	}
	l.crossNorm, err = t.normOfSum(l.cross.q.in, before, "encoder_attn_layer_norm")
	return before, err
}

// scores is the product of queries and keys in v, whose mask, if there is one, is added: it leaves out later tokens.
func (t *tracer) scores(v *onnx.Value) (*onnx.Value, float64) {
	scores, scale := t.unscaled(v)
	n := scores.Producer
	if t.side != &decoderSide || !is(n, "Add") || len(n.In) != 2 || len(t.weights[n]) > 0 {
		return scores, scale
	}
	for _, in := range n.In {
		if in == nil {
			continue
		}
		if behind, more := t.unscaled(in); is(behind.Producer, "MatMul", "FusedMatMul") {
			return behind, scale * more
		}
	}
	return scores, scale
}

// cached reports whether v is an input of a decoder, scaled or not: keys or values of the encoder's states.
func (t *tracer) cached(v *onnx.Value) bool {
	if t.side != &decoderSide {
		return false
	}
	v, _ = t.unscaled(v)
	if n := v.Producer; is(n, "Mul") { // by a scale that is computed
		for _, in := range n.In {
			if in != nil && isInput(t.back(in)) {
				return true
			}
		}
	}
	return isInput(v)
}

// appended gives what the Concat n puts behind a cache, nil if it does something else.
func (t *tracer) appended(n *onnx.Node) *onnx.Value {
	if !is(n, "Concat") || len(n.In) != 2 || n.In[0] == nil || n.In[1] == nil || !isInput(t.back(n.In[0])) {
		return nil
	}
	return n.In[1]
}

// module is an attention under the name of its module, with what is around it.
type module struct {
	name string
	*attention
	out  *linear
	norm *norm
}

// attentions are those of a layer.
func (l *layer) attentions() []module {
	list := []module{{"self_attn", l.attention, l.out, l.attentionNorm}}
	if l.cross != nil {
		list = append(list, module{"encoder_attn", l.cross, l.crossOut, l.crossNorm})
	}
	return list
}
