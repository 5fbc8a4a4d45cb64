package recipe

import (
	"fmt"

	"npuw/pipeline/model"
)

// encoderSizes are the sizes of a Whisper encoder.
type encoderSizes struct{ layers, dModel, ffn, mels, positions uint64 }

// encoder makes the parameters of a Whisper encoder, without tensors.
func encoder(s encoderSizes) *model.Model {
	m := &model.Model{Family: "whisper-encoder"}
	add := func(name, axes string, shape ...uint64) {
		m.Parameters = append(m.Parameters, model.Parameter{Name: "encoder." + name, Axes: axes, Shape: shape})
	}
	add("conv1.weight", "NCX", s.dModel, s.mels, 3)
	add("conv1.bias", "N", s.dModel)
	add("conv2.weight", "NCX", s.dModel, s.dModel, 3)
	add("conv2.bias", "N", s.dModel)
	add("embed_positions.weight", "PN", s.positions, s.dModel)
	for i := range s.layers {
		in := func(name, axes string, shape ...uint64) { add(fmt.Sprintf("layers.%d.%s", i, name), axes, shape...) }
		for _, p := range []string{"k", "v", "q", "out"} {
			in("self_attn."+p+"_proj.weight", "NK", s.dModel, s.dModel)
			if p != "k" {
				in("self_attn."+p+"_proj.bias", "N", s.dModel)
			}
		}
		in("self_attn_layer_norm.weight", "N", s.dModel)
		in("self_attn_layer_norm.bias", "N", s.dModel)
		in("fc1.weight", "NK", s.ffn, s.dModel)
		in("fc1.bias", "N", s.ffn)
		in("fc2.weight", "NK", s.dModel, s.ffn)
		in("fc2.bias", "N", s.dModel)
		in("final_layer_norm.weight", "N", s.dModel)
		in("final_layer_norm.bias", "N", s.dModel)
	}
	add("layer_norm.weight", "N", s.dModel)
	add("layer_norm.bias", "N", s.dModel)
	return m
}

// oddSizes are no multiple of any tile.
var oddSizes = encoderSizes{layers: 2, dModel: 36, ffn: 100, mels: 7, positions: 11}

// matrices is a model of two linear weights and a bias.
func matrices() *model.Model {
	return &model.Model{Family: "test", Parameters: []model.Parameter{
		{Name: "layers.0.fc1.weight", Axes: "NK", Shape: []uint64{20, 12}},
		{Name: "layers.0.fc1.bias", Axes: "N", Shape: []uint64{20}},
		{Name: "layers.1.fc1.weight", Axes: "NK", Shape: []uint64{20, 12}},
		{Name: "conv.weight", Axes: "NCX", Shape: []uint64{5, 4, 3}},
	}}
}
