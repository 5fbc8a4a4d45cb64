package whisper

import (
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source/onnx"
)

// side is what sets encoders and decoders apart while they are recognised in a graph.
type side struct {
	what, prefix string
	known        []string // what its names hold, behind the prefix, whatever else they do
	attentions   []string // of a layer
	specs        func(sizes) []spec
	measured     func(*sizes) []measured
	config       func(*config, *sizes) []statement
	attributes   func(s sizes, eps float64) []model.Attribute
}

var (
	encoderSide = side{
		what: "encoder", prefix: prefix, known: []string{"conv1", "conv2", "layers.0.self_attn"}, attentions: []string{"self_attn"},
		specs: encoderSpecs, measured: encoderMeasured, config: (*config).ofEncoder, attributes: encoderAttributes,
	}
	decoderSide = side{
		what: "decoder", prefix: decoderPrefix, known: []string{"embed_tokens", "layers.0.self_attn", "layers.0.encoder_attn"},
		attentions: []string{"self_attn", "encoder_attn"},
		specs:      decoderSpecs, measured: decoderMeasured, config: (*config).ofDecoder, attributes: decoderAttributes,
	}
)

// canonical gives a name with the one prefix of the side, whether it had "model.", the prefix, both or none; "" stays, and so does the
// name of the projection to logits.
func (s *side) canonical(name string) string {
	name = strings.TrimPrefix(name, "model.")
	if name == "" || name == projOut {
		return name
	}
	return s.prefix + strings.TrimPrefix(name, s.prefix)
}

// ownPath is the name that the path of w's node gives, "" where the path is that of a module around: rows are looked up in the modules of
// embeddings, or by the decoder itself.
func ownPath(w *onnx.Weight) string {
	if strings.HasPrefix(w.Node.Op, "Gather") && !strings.HasSuffix(w.PathName, "embed_tokens.weight") && !strings.HasSuffix(w.PathName, "embed_positions.weight") {
		return ""
	}
	return w.PathName
}
