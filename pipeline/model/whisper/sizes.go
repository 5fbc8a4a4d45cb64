package whisper

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// kernelWidth is that of both convolutions, in every Whisper.
const kernelWidth = 3

// sizes are those of an encoder or of a decoder.
type sizes struct {
	layers, dModel, heads, ffn, positions uint64

	mels  uint64 // of an encoder
	vocab uint64 // of a decoder
}

// spec is one parameter that an encoder or decoder of given sizes has.
type spec struct {
	name, axes string
	shape      []uint64
}

// specList collects specs, in canonical order.
type specList struct {
	prefix string
	list   []spec
}

func (l *specList) add(name, axes string, shape ...uint64) {
	l.list = append(l.list, spec{l.prefix + name, axes, shape})
}

// affine adds a weight with a bias for its first axis.
func (l *specList) affine(name, axes string, shape ...uint64) {
	l.add(name+".weight", axes, shape...)
	l.add(name+".bias", "N", shape[0])
}

// attention adds the projections of an attention of width d and the LayerNorm before it. A bias on keys would cancel in the softmax:
// there is none.
func (l *specList) attention(name string, d uint64) {
	l.affine(name+".q_proj", "NK", d, d)
	l.add(name+".k_proj.weight", "NK", d, d)
	l.affine(name+".v_proj", "NK", d, d)
	l.affine(name+".out_proj", "NK", d, d)
	l.affine(name+"_layer_norm", "N", d)
}

// mlp adds the second half of a layer.
func (l *specList) mlp(layer string, d, ffn uint64) {
	l.affine(layer+"fc1", "NK", ffn, d)
	l.affine(layer+"fc2", "NK", d, ffn)
	l.affine(layer+"final_layer_norm", "N", d)
}

// encoderSpecs gives the parameters of an encoder in canonical order.
func encoderSpecs(s sizes) []spec {
	l, d := specList{prefix: prefix}, s.dModel
	l.affine("conv1", "NCX", d, s.mels, kernelWidth)
	l.affine("conv2", "NCX", d, d, kernelWidth)
	l.add("embed_positions.weight", "PN", s.positions, d)
	for i := range s.layers {
		layer := fmt.Sprintf("layers.%d.", i)
		l.attention(layer+"self_attn", d)
		l.mlp(layer, d, s.ffn)
	}
	l.affine("layer_norm", "N", d)
	return l.list
}

// decoderSpecs gives the parameters of a decoder in canonical order. The embedding of tokens is also the projection to logits: its
// axes are those of a linear weight, N the vocabulary.
func decoderSpecs(s sizes) []spec {
	l, d := specList{prefix: decoderPrefix}, s.dModel
	l.add("embed_tokens.weight", "NK", s.vocab, d)
	l.add("embed_positions.weight", "PN", s.positions, d)
	for i := range s.layers {
		layer := fmt.Sprintf("layers.%d.", i)
		l.attention(layer+"self_attn", d)
		l.attention(layer+"encoder_attn", d)
		l.mlp(layer, d, s.ffn)
	}
	l.affine("layer_norm", "N", d)
	return l.list
}

// countLayers counts the different N of names that begin with side and "layers.N.".
func countLayers[T any](side string, names map[string]T) uint64 {
	layers := map[string]bool{}
	for name := range names {
		if rest, ok := strings.CutPrefix(name, side+"layers."); ok {
			index, _, _ := strings.Cut(rest, ".")
			if n, err := strconv.ParseUint(index, 10, 31); err == nil && strconv.FormatUint(n, 10) == index {
				layers[index] = true
			}
		}
	}
	return uint64(len(layers))
}

// measured is a size that a parameter of some rank has as one of its axes.
type measured struct {
	name string
	rank int
	axis int
	size *uint64
}

// encoderMeasured are the sizes that parameters of an encoder have, but for the number of layers.
func encoderMeasured(s *sizes) []measured {
	return []measured{
		{prefix + "conv1.weight", 3, 0, &s.dModel},
		{prefix + "conv1.weight", 3, 1, &s.mels},
		{prefix + "embed_positions.weight", 2, 0, &s.positions},
		{prefix + "layers.0.fc1.weight", 2, 0, &s.ffn},
	}
}

// decoderMeasured are those of a decoder.
func decoderMeasured(s *sizes) []measured {
	return []measured{
		{decoderPrefix + "embed_tokens.weight", 2, 0, &s.vocab},
		{decoderPrefix + "embed_tokens.weight", 2, 1, &s.dModel},
		{decoderPrefix + "embed_positions.weight", 2, 0, &s.positions},
		{decoderPrefix + "layers.0.fc1.weight", 2, 0, &s.ffn},
	}
}

// measure reads the sizes that parameters have.
func (e *exported) measure() error {
	e.layers = countLayers(e.prefix, e.byName)
	for _, s := range e.measured(&e.sizes) {
		w := e.byName[s.name]
		if w == nil {
			return e.missing(s.name)
		}
		if len(w.Shape) != s.rank {
			return e.fail(s.name, source.ErrParameters, fmt.Sprintf("shape %v with axes %s, expected %d axes", w.Shape, w.Axes, s.rank), "export the model again")
		}
		*s.size = w.Shape[s.axis]
	}
	return nil
}

// encoderAttributes are what an artifact says of an encoder. It says nothing of heads that nobody knows.
func encoderAttributes(s sizes, eps float64) []model.Attribute {
	return withHeads(s.heads, []model.Attribute{
		{Name: "layers", Int: int64(s.layers)},
		{Name: "d_model", Int: int64(s.dModel)},
		{Name: "ffn", Int: int64(s.ffn)},
		{Name: "mels", Int: int64(s.mels)},
		{Name: "positions", Int: int64(s.positions)},
		{Name: "eps", Real: eps, IsReal: true},
	})
}

// decoderAttributes are what an artifact says of a decoder.
func decoderAttributes(s sizes, eps float64) []model.Attribute {
	return withHeads(s.heads, []model.Attribute{
		{Name: "layers", Int: int64(s.layers)},
		{Name: "d_model", Int: int64(s.dModel)},
		{Name: "ffn", Int: int64(s.ffn)},
		{Name: "vocab", Int: int64(s.vocab)},
		{Name: "positions", Int: int64(s.positions)},
		{Name: "eps", Real: eps, IsReal: true},
	})
}

// withHeads adds the number of heads behind d_model, unless it is 0: not known.
func withHeads(heads uint64, list []model.Attribute) []model.Attribute {
	if heads == 0 {
		return list
	}
	return slices.Insert(list, 2, model.Attribute{Name: "heads", Int: int64(heads)})
}

// wholeAttributes are what an artifact says of an encoder and its decoder, given what it would say of each: the encoder's under their
// own names.
func wholeAttributes(encoder, decoder []model.Attribute) []model.Attribute {
	list := slices.Clone(encoder)
	for _, x := range [][2]string{
		{"layers", "decoder_layers"}, {"heads", "decoder_heads"}, {"ffn", "decoder_ffn"}, {"positions", "decoder_positions"}, {"vocab", "vocab"},
	} {
		if a := attribute(decoder, x[0]); a.Name != "" {
			list = append(list, model.Attribute{Name: x[1], Int: a.Int})
		}
	}
	return list
}

// attribute gives the attribute of that name, the zero Attribute if there is none.
func attribute(list []model.Attribute, name string) model.Attribute {
	for _, a := range list {
		if a.Name == name {
			return a
		}
	}
	return model.Attribute{}
}
