package whisper

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
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

// readHeads finds the number of heads in the reshapes that split q, k and v of every layer, and checks that all agree.
func (e *encoder) readHeads() error {
	for i := range e.layers {
		found := false
		for _, projection := range []string{"q_proj", "k_proj", "v_proj"} {
			name := fmt.Sprintf("%slayers.%d.self_attn.%s.weight", prefix, i, projection)
			for _, split := range e.splits(e.byName[name].Node) {
				if e.heads == 0 {
					e.heads = split.heads
				}
				if split.heads != e.heads {
					return e.m.Graph.Fail(split.node, source.ErrMismatch, fmt.Sprintf("splits d_model %d into %d heads, an earlier reshape into %d", e.dModel, split.heads, e.heads),
						"layers with different heads are no Whisper: export the model again")
				}
				found = true
			}
		}
		if !found {
			return e.fail(fmt.Sprintf("%slayers.%d.self_attn", prefix, i), source.ErrUnsupported, fmt.Sprintf("no reshape of q, k or v into [batch, positions, heads, %d/heads] found", e.dModel),
				"export attention without fusing it")
		}
	}
	return nil
}

// split is a reshape of [batch, positions, d_model] into [batch, positions, heads, d_model/heads].
type split struct {
	node  *onnx.Node
	heads uint64
}

// splits follows the output of a projection forward through what keeps its rows, to the reshapes that split heads.
func (e *encoder) splits(from *onnx.Node) []split {
	const most = 64 // values; a projection and its split are a few nodes apart
	var found []split
	queue := slices.Clone(from.Outputs[:min(1, len(from.Outputs))])
	for i := 0; i < len(queue) && i < most; i++ {
		for _, use := range e.m.Graph.Consumers(queue[i]) {
			n := use.Node
			if n.Domain != "" || len(n.Outputs) != 1 || len(queue) >= most {
				continue
			}
			switch n.Op {
			case "Reshape":
				if use.Input != 0 || len(n.Inputs) != 2 {
					continue
				}
				if shape := e.m.Graph.Ints(n.Inputs[1]); len(shape) == 4 {
					if heads, ok := headsOf(shape, int64(e.dModel)); ok {
						found = append(found, split{n, heads})
					}
					continue
				}
			case "Add", "Mul", "Div", "Cast", "Identity":
			default:
				continue
			}
			queue = append(queue, n.Outputs[0])
		}
	}
	return found
}

// headsOf reads the heads from the shape of a split; one of its last two numbers may be left to the reshape (-1).
func headsOf(shape []int64, d int64) (uint64, bool) {
	heads, size := shape[2], shape[3]
	switch {
	case heads > 0 && size > 0 && heads <= d && size <= d && heads*size == d:
	case heads > 0 && size == -1 && d%heads == 0:
	case heads == -1 && size > 0 && d%size == 0:
		heads = d / size
	default:
		return 0, false
	}
	return uint64(heads), true
}

// readEps finds the epsilon of every LayerNorm, and checks that all agree.
func (e *encoder) readEps() error {
	first := ""
	for _, s := range e.specs() {
		if !strings.HasSuffix(s.name, "layer_norm.weight") {
			continue
		}
		eps, err := e.epsOf(e.byName[s.name].Node)
		if err != nil {
			return err
		}
		if first == "" {
			first, e.eps = s.name, eps
		}
		if eps != e.eps {
			return e.fail(s.name, source.ErrMismatch, fmt.Sprintf("epsilon %g, and %g for %s", eps, e.eps, first), "one epsilon for all is expected: export the model again")
		}
	}
	return nil
}

// epsOf finds the epsilon of the LayerNorm that n scales: n is a LayerNormalization, or the Mul after
// (x - mean) / Sqrt(variance + epsilon).
func (e *encoder) epsOf(n *onnx.Node) (float64, error) {
	eps, ok := 0.0, false
	if n.Op == "LayerNormalization" {
		var v float32
		v, ok = n.Float("epsilon", 1e-5)
		eps = float64(v)
	} else if c := e.epsConstant(n); c != nil {
		var err error
		if eps, err = e.m.Scalar(c); err != nil {
			return 0, err
		}
		ok = true
	}
	if !ok || !(eps > 0 && eps < 1) {
		return 0, e.m.Graph.Fail(n, source.ErrUnsupported, "the epsilon of its LayerNorm is not found, or is not between 0 and 1", "export LayerNorm as torch.onnx does")
	}
	return eps, nil
}

// epsConstant walks Mul <- Div <- Sqrt <- Add <- constant back from a LayerNorm's Mul.
func (e *encoder) epsConstant(mul *onnx.Node) *onnx.Constant {
	div := e.producer(mul, "Div", 0, 1)
	sqrt := e.producer(div, "Sqrt", 1)
	add := e.producer(sqrt, "Add", 0)
	if add == nil {
		return nil
	}
	for _, name := range add.Inputs {
		if r, err := e.m.Graph.Resolve(name); err == nil && r != nil && r.Constant.Elements == 1 {
			return r.Constant
		}
	}
	return nil
}

// producer gives the node with operator op that computes one of the given inputs of n, with Casts between them; nil if
// there is none.
func (e *encoder) producer(n *onnx.Node, op string, inputs ...int) *onnx.Node {
	if n == nil {
		return nil
	}
	for _, i := range inputs {
		if i >= len(n.Inputs) {
			continue
		}
		p := e.m.Graph.Producer(n.Inputs[i])
		for range 4 {
			if p == nil || p.Op != "Cast" || len(p.Inputs) != 1 {
				break
			}
			p = e.m.Graph.Producer(p.Inputs[0])
		}
		if p != nil && p.Op == op && p.Domain == "" {
			return p
		}
	}
	return nil
}
