package whisper

import (
	"fmt"
	"strconv"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// kernelWidth is that of both convolutions, in every Whisper.
const kernelWidth = 3

// spec is one parameter that an encoder of given sizes has.
type spec struct {
	name, axes string
	shape      []uint64
}

// specs gives the parameters of the encoder in canonical order.
func (e *encoder) specs() []spec {
	d, f := e.dModel, e.ffn
	var list []spec
	vector := func(name string, n uint64) { list = append(list, spec{prefix + name, "N", []uint64{n}}) }
	linear := func(name string, n, k uint64, bias bool) {
		list = append(list, spec{prefix + name + ".weight", "NK", []uint64{n, k}})
		if bias {
			vector(name+".bias", n)
		}
	}
	norm := func(name string) {
		vector(name+".weight", d)
		vector(name+".bias", d)
	}
	conv := func(name string, c uint64) {
		list = append(list, spec{prefix + name + ".weight", "NCX", []uint64{d, c, kernelWidth}})
		vector(name+".bias", d)
	}
	conv("conv1", e.mels)
	conv("conv2", d)
	list = append(list, spec{prefix + "embed_positions.weight", "PN", []uint64{e.positions, d}})
	for i := range e.layers {
		layer := fmt.Sprintf("layers.%d.", i)
		linear(layer+"self_attn.q_proj", d, d, true)
		linear(layer+"self_attn.k_proj", d, d, false) // a bias on keys would cancel in the softmax
		linear(layer+"self_attn.v_proj", d, d, true)
		linear(layer+"self_attn.out_proj", d, d, true)
		norm(layer + "self_attn_layer_norm")
		linear(layer+"fc1", f, d, true)
		linear(layer+"fc2", d, f, true)
		norm(layer + "final_layer_norm")
	}
	norm("layer_norm")
	return list
}

// measure reads the sizes that parameters have.
func (e *encoder) measure() error {
	layers := map[string]bool{}
	for name := range e.byName {
		if rest, ok := strings.CutPrefix(name, prefix+"layers."); ok {
			index, _, _ := strings.Cut(rest, ".")
			if n, err := strconv.ParseUint(index, 10, 31); err == nil && strconv.FormatUint(n, 10) == index {
				layers[index] = true
			}
		}
	}
	e.layers = len(layers)
	for _, s := range []struct {
		name, axes string
		axis       int
		size       *uint64
	}{
		{"conv1.weight", "NCX", 0, &e.dModel},
		{"conv1.weight", "NCX", 1, &e.mels},
		{"embed_positions.weight", "PN", 0, &e.positions},
		{"layers.0.fc1.weight", "NK", 0, &e.ffn},
	} {
		w := e.byName[prefix+s.name]
		if w == nil {
			return e.missing(prefix + s.name)
		}
		if w.Axes != s.axes {
			return e.fail(prefix+s.name, source.ErrParameters, fmt.Sprintf("shape %v with axes %s, expected axes %s", w.Shape, w.Axes, s.axes), "export the model again")
		}
		*s.size = w.Shape[s.axis]
	}
	return nil
}

func (e *encoder) attributes() []model.Attribute {
	return []model.Attribute{
		{Name: "layers", Int: int64(e.layers)},
		{Name: "d_model", Int: int64(e.dModel)},
		{Name: "heads", Int: int64(e.heads)},
		{Name: "ffn", Int: int64(e.ffn)},
		{Name: "mels", Int: int64(e.mels)},
		{Name: "positions", Int: int64(e.positions)},
		{Name: "eps", Real: e.eps, IsReal: true},
	}
}
