// Package checkpoints makes checkpoints for tests: state dicts of Whisper models of any size under Hugging Face's or OpenAI's names, with
// the values that whisperonnx gives the same encoder, as safetensors files and as torch.save writes them.
package checkpoints

import (
	"maps"
	"slices"
	"strings"

	"npuw/artifact/element"
	"npuw/pipeline/internal/whisperonnx"
)

// Tensor is an entry of a state dict: contiguous, little-endian.
type Tensor struct {
	Name  string
	Type  element.Format
	Shape []int
	Bytes []byte
}

// Decoder says what decoder a model has beside a whisperonnx.Config's encoder.
type Decoder = whisperonnx.Decoder

// Tiny is the decoder of testdata/whisper-tiny, Odd one beside whisperonnx.Odd.
var (
	Tiny = whisperonnx.TinyDecoder
	Odd  = whisperonnx.OddDecoder
)

// Encoder gives the state dict of an encoder, with names that begin with "encoder.".
func Encoder(c whisperonnx.Config) []Tensor {
	c.Type = max(c.Type, element.F32)
	var list []Tensor
	for _, p := range c.Parameters() {
		list = append(list, tensor(&p, c.Type))
	}
	return list
}

// Whisper gives the state dict of encoder and decoder as Hugging Face has it, but for the projection to logits.
// ProjOut gives that.
func Whisper(c whisperonnx.Config, d Decoder) []Tensor {
	list := Encoder(c)
	for _, p := range d.Parameters(c) {
		list = append(list, tensor(&p, max(c.Type, element.F32)))
	}
	return Renamed(list, func(name string) string { return "model." + name })
}

// ProjOut gives the projection to logits as Hugging Face has it.
func ProjOut(c whisperonnx.Config, d Decoder) Tensor {
	p := d.ProjOut(c)
	return tensor(&p, max(c.Type, element.F32))
}

func tensor(p *whisperonnx.Parameter, format element.Format) Tensor {
	return Tensor{Name: p.Name, Type: format, Shape: p.Shape, Bytes: p.AppendBytes(nil, format)}
}

// Renamed gives list with other names.
func Renamed(list []Tensor, to func(name string) string) []Tensor {
	list = slices.Clone(list)
	for i := range list {
		list[i].Name = to(list[i].Name)
	}
	return list
}

// openAI has what each part of a name is called in OpenAI's whisper/model.py. Longer parts are replaced first.
var openAI = map[string]string{
	"model.": "", "layers.": "blocks.",
	"self_attn_layer_norm": "attn_ln", "encoder_attn_layer_norm": "cross_attn_ln", "final_layer_norm": "mlp_ln",
	"encoder.layer_norm": "encoder.ln_post", "decoder.layer_norm": "decoder.ln",
	"self_attn.q_proj": "attn.query", "self_attn.k_proj": "attn.key", "self_attn.v_proj": "attn.value", "self_attn.out_proj": "attn.out",
	"encoder_attn.q_proj": "cross_attn.query", "encoder_attn.k_proj": "cross_attn.key",
	"encoder_attn.v_proj": "cross_attn.value", "encoder_attn.out_proj": "cross_attn.out",
	"fc1": "mlp.0", "fc2": "mlp.2", "embed_tokens": "token_embedding", "embed_positions.weight": "positional_embedding",
}

// OpenAI gives OpenAI's name for one of Hugging Face's.
func OpenAI(name string) string {
	parts := slices.SortedFunc(maps.Keys(openAI), func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, p := range parts {
		pairs = append(pairs, p, openAI[p])
	}
	return strings.NewReplacer(pairs...).Replace(name)
}
