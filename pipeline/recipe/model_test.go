package recipe

import (
	"fmt"

	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// encoderSizes are the sizes of a Whisper encoder.
type encoderSizes struct{ layers, dModel, ffn, mels, positions uint64 }

// encoder makes a Whisper encoder of attributes and parameters, in F32.
func encoder(s encoderSizes) *model.Model {
	headDim := s.dModel
	for _, d := range []uint64{12, 64} { // heads are 64 wide in every Whisper
		if s.dModel%d == 0 {
			headDim = d
		}
	}
	m := &model.Model{Family: "whisper-encoder"}
	for _, a := range []struct {
		name string
		size uint64
	}{{"layers", s.layers}, {"d_model", s.dModel}, {"heads", s.dModel / headDim}, {"ffn", s.ffn}, {"mels", s.mels}, {"positions", s.positions}} {
		m.Attributes = append(m.Attributes, model.Attribute{Name: a.name, Int: int64(a.size)})
	}
	m.Attributes = append(m.Attributes, model.Attribute{Name: "eps", Real: 1e-5, IsReal: true})
	add := func(name, axes string, shape ...uint64) {
		m.Parameters = append(m.Parameters, model.Parameter{Name: "encoder." + name, Axes: axes, Shape: shape, Tensor: source.Tensor{Type: element.F32}})
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

// oddSizes are no multiple of any tile; baseSizes are those of whisper-base.
var (
	oddSizes  = encoderSizes{layers: 2, dModel: 36, ffn: 100, mels: 7, positions: 11}
	baseSizes = encoderSizes{layers: 6, dModel: 512, ffn: 2048, mels: 80, positions: 1500}
)

// matrices is a model of two linear weights and a bias.
func matrices() *model.Model {
	return &model.Model{Family: "test", Parameters: []model.Parameter{
		{Name: "layers.0.fc1.weight", Axes: "NK", Shape: []uint64{20, 12}},
		{Name: "layers.0.fc1.bias", Axes: "N", Shape: []uint64{20}},
		{Name: "layers.1.fc1.weight", Axes: "NK", Shape: []uint64{20, 12}},
		{Name: "conv.weight", Axes: "NCX", Shape: []uint64{5, 4, 3}},
	}}
}

// attention is a model of one layer: a LayerNorm and the projections behind it, of which k has no bias, and a convolution.
func attention() *model.Model {
	m := &model.Model{Family: "test", Attributes: []model.Attribute{{Name: "d_model", Int: 4}, {Name: "heads", Int: 1}}}
	add := func(name, axes string, shape ...uint64) {
		m.Parameters = append(m.Parameters, model.Parameter{Name: name, Axes: axes, Shape: shape})
	}
	add("l.0.norm.weight", "N", 4)
	add("l.0.norm.bias", "N", 4)
	for _, p := range "qkv" {
		add("l.0."+string(p)+".weight", "NK", 6, 4)
		if p != 'k' {
			add("l.0."+string(p)+".bias", "N", 6)
		}
	}
	add("conv.weight", "NCX", 6, 2, 3)
	return m
}
