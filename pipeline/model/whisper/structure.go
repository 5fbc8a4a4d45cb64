package whisper

import (
	"fmt"
	"slices"

	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// structure is an encoder as its graph computes it, found by what feeds what, without a look at any name.
//
//	mels -> conv1 -> GELU -> conv2 -> GELU -> Add positions -> s
//	s -> self_attn_layer_norm -> q, k, v -> attention -> out_proj -> Add s -> r      of every layer
//	r -> final_layer_norm -> fc1 -> GELU -> fc2 -> Add r -> s
//	s -> layer_norm
type structure struct {
	side      *side
	convs     [2]*linear   // of an encoder
	tokens    *onnx.Weight // of a decoder
	positions *onnx.Weight
	layers    []layer
	last      *norm
	projOut   *linear // of a decoder
}

type layer struct {
	attention     *attention
	attentionNorm *norm
	mlpNorm       *norm
	out, fc1, fc2 *linear

	cross     *attention // of a decoder, to the encoder's states
	crossNorm *norm
	crossOut  *linear
}

// structure follows the encoder from its output back to its input. Its error tells the node at which that is not what a Whisper
// encoder has.
func (t *tracer) structure() (*structure, error) {
	s := &structure{side: t.side}
	var err error
	if s.last, err = t.lastNorm(); err != nil {
		return nil, err
	}
	at := s.last.of
	for ; t.addsPositions(at) < 0; at = s.layers[len(s.layers)-1].attentionNorm.of {
		var l layer
		if err := t.layer(at, &l); err != nil {
			return nil, err
		}
		s.layers = append(s.layers, l)
	}
	slices.Reverse(s.layers)
	if err := t.stem(at, s); err != nil {
		return nil, err
	}
	return s, nil
}

// lastNorm is the LayerNorm that gives the first output of the graph that one gives.
func (t *tracer) lastNorm() (*norm, error) {
	for _, out := range t.root.Outputs {
		if v := t.root.Value(out.Name); v != nil {
			if n := t.norm(v); n != nil {
				return n, nil
			}
		}
	}
	if v := t.firstOutput(); v != nil {
		return nil, t.unfit(v, "its last LayerNorm")
	}
	return nil, &source.Error{File: t.m.Path, Offset: -1, Problem: "the graph has no output that it computes", Next: exportPlainly, Err: source.ErrUnsupported}
}

// addsPositions gives the operand of the sum n that is the positions, -1 if none is.
func (t *tracer) addsPositions(n *onnx.Node) int {
	for i := range 2 {
		if w := t.weights[n][i]; w != nil && w.Axes == "PN" {
			return i
		}
	}
	return -1
}

// layer follows the layer whose last sum is at.
func (t *tracer) layer(at *onnx.Node, l *layer) error {
	var middle, before *onnx.Node
	var err error
	if l.fc2, middle, err = t.residual(at, "fc2"); err != nil {
		return err
	}
	if l.fc1 = t.activated(l.fc2.in); l.fc1 == nil {
		return t.unfit(l.fc2.in, "the GELU of fc1")
	}
	if l.mlpNorm, err = t.normOfSum(l.fc1.in, middle, "final_layer_norm"); err != nil {
		return err
	}
	if t.side == &decoderSide {
		if middle, err = t.cross(middle, l); err != nil {
			return err
		}
	}
	if l.out, before, err = t.residual(middle, "out_proj"); err != nil {
		return err
	}
	if l.attention, err = t.attention(l.out.in); err != nil {
		return err
	}
	for _, p := range []*projection{&l.attention.q, &l.attention.k, &l.attention.v} {
		if p.in == nil {
			return t.m.Graph.Fail(l.attention.node, source.ErrUnsupported, "attends to keys or values that are an input, where a Whisper decoder has self-attention", exportPlainly)
		}
		if l.attentionNorm, err = t.normOfSum(p.in, before, "self_attn_layer_norm"); err != nil {
			return err
		}
	}
	return nil
}

// residual takes apart the sum n: the linear layer called name, and the sum that it is added to.
func (t *tracer) residual(n *onnx.Node, name string) (*linear, *onnx.Node, error) {
	for i := range 2 {
		branch, stream := input(n, i), input(n, 1-i)
		if branch == nil || stream == nil {
			break
		}
		l := t.linear(branch)
		if l == nil {
			continue
		}
		if bias := t.weights[n][4]; bias != nil && l.bias == nil { // of a SkipLayerNormalization
			l.bias = bias
		}
		before := t.sum(stream)
		if before == nil {
			return nil, nil, t.unfit(stream, "the sum that "+name+" is added to")
		}
		return l, before, nil
	}
	return nil, nil, t.m.Graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("stands where a Whisper %s adds %s to what came before it", t.side.what, name), exportPlainly)
}

// normOfSum finds the LayerNorm that gives v, which must be that of the sum of.
func (t *tracer) normOfSum(v *onnx.Value, of *onnx.Node, name string) (*norm, error) {
	n := t.norm(v)
	switch {
	case n == nil:
		return nil, t.unfit(v, name)
	case n.of != of:
		return nil, t.m.Graph.Fail(n.scale.Node, source.ErrUnsupported, fmt.Sprintf("is a LayerNorm of %s, and %s is one of %s", n.of, name, of), exportPlainly)
	}
	return n, nil
}

// stem follows what comes before the first layer, whose input is the sum at.
func (t *tracer) stem(at *onnx.Node, s *structure) error {
	positions := t.addsPositions(at)
	s.positions = t.weights[at][positions]
	v := input(at, 1-positions)
	for i := 1; i >= 0; i-- {
		name := fmt.Sprintf("conv%d", i+1)
		if v == nil {
			return t.m.Graph.Fail(at, source.ErrUnsupported, "adds positions to nothing", exportPlainly)
		}
		g := t.gelu(v)
		if g == nil || g.fused != nil || g.bias != nil {
			return t.unfit(v, "the GELU of "+name)
		}
		if s.convs[i] = t.conv(g.in); s.convs[i] == nil {
			return t.unfit(g.in, name)
		}
		v = s.convs[i].in
	}
	if v = t.back(v); v.Producer != nil || v.Constant != nil {
		return t.unfit(v, "its input")
	}
	return nil
}

// place is a parameter that a weight holds: all of it, or a part.
type place struct {
	name   string // canonical
	weight *onnx.Weight
	part   cut
}

// places names the weights of s.
func (s *structure) places() []place {
	var list []place
	add := func(name string, w *onnx.Weight, part cut) {
		if w != nil {
			list = append(list, place{s.side.canonical(name), w, part})
		}
	}
	whole := func(name string, l *linear) {
		add(name+".weight", l.weight, nil)
		add(name+".bias", l.bias, nil)
	}
	normal := func(name string, n *norm) {
		add(name+".weight", n.scale, nil)
		add(name+".bias", n.shift, nil)
	}
	for i, c := range s.convs {
		if c != nil {
			whole(fmt.Sprintf("conv%d", i+1), c)
		}
	}
	add("embed_tokens.weight", s.tokens, nil)
	add("embed_positions.weight", s.positions, nil)
	for i, l := range s.layers {
		layer := fmt.Sprintf("layers.%d.", i)
		for _, a := range l.attentions() {
			for _, p := range []struct {
				name string
				of   *projection
			}{{"q", &a.q}, {"k", &a.k}, {"v", &a.v}} {
				add(layer+a.name+"."+p.name+"_proj.weight", p.of.weight, p.of.part)
				add(layer+a.name+"."+p.name+"_proj.bias", p.of.bias, p.of.biasPart)
			}
			whole(layer+a.name+".out_proj", a.out)
			normal(layer+a.name+"_layer_norm", a.norm)
		}
		whole(layer+"fc1", l.fc1)
		whole(layer+"fc2", l.fc2)
		normal(layer+"final_layer_norm", l.mlpNorm)
	}
	normal("layer_norm", s.last)
	if s.projOut != nil {
		add(projOut, s.projOut.weight, nil)
	}
	return list
}
