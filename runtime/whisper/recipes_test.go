package whisper

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/runtime/cpu"
)

// foldAll joins q, k and v with their biases under them and q scaled, and folds all other biases of linear layers.
func foldAll(n *network, list []operand) []operand {
	scale := 1 / math.Sqrt(float64(n.headDim()))
	for i := range n.Layers {
		layer := fmt.Sprintf("encoder.layers.%d.", i)
		list = fold(n, list, layer+"qkv", true, []float64{scale, 1, 1}, layer+"self_attn.q_proj", layer+"self_attn.k_proj", layer+"self_attn.v_proj")
		for _, name := range []string{"self_attn.out_proj", "fc1", "fc2"} {
			list = fold(n, list, layer+name, true, []float64{1}, layer+name)
		}
	}
	return list
}

// joinQKV joins the projections, in this order, in every layer.
func joinQKV(n *network, list []operand, row bool, order string, q, k float64) []operand {
	scales := map[rune]float64{'q': q, 'k': k, 'v': 1}
	for i := range n.Layers {
		layer := fmt.Sprintf("encoder.layers.%d.self_attn.", i)
		var names []string
		var values []float64
		for _, c := range order {
			names, values = append(names, layer+string(c)+"_proj"), append(values, scales[c])
		}
		list = fold(n, list, layer+order, row, values, names...)
	}
	return list
}

// change edits the operands whose names end in ending.
func change(list []operand, ending string, edit func(*operand)) []operand {
	list = slices.Clone(list)
	for i := range list {
		if o := &list[i]; strings.HasSuffix(o.name, ending) {
			o.axes, o.places = slices.Clone(o.axes), slices.Clone(o.places)
			edit(o)
		}
	}
	return list
}

// stack puts all vectors into one operand, an aligned row each, at column 1.
func stack(n *network, list []operand) []operand {
	o := operand{name: "vectors", format: list[0].format, layout: "R* N*"}
	width := max(n.DModel, n.FFN) + 1
	for _, name := range n.names {
		p := n.parameters[name]
		if p.axes != "N" {
			continue
		}
		row := uint64(len(o.places))
		o.places = append(o.places, placing{name, 1, []uint64{row, 1}, []int{1}, nil})
		o.fills = append(o.fills, artifact.Fill{Begin: []uint64{row, 0}, Size: []uint64{1, 1}})
		if rest := width - 1 - p.shape[0]; rest > 0 {
			o.fills = append(o.fills, artifact.Fill{Begin: []uint64{row, 1 + p.shape[0]}, Size: []uint64{1, rest}})
		}
		list = without(list, name)
	}
	o.axes = axes("RN", uint64(len(o.places)), width)
	return append(list, o)
}

// joinBiases makes one vector of two biases, in every layer, with zeros between them.
func joinBiases(n *network, list []operand, first, last string) []operand {
	for i := range n.Layers {
		layer := fmt.Sprintf("encoder.layers.%d.self_attn.", i)
		list = without(list, layer+"q_proj.bias", layer+"v_proj.bias")
		list = append(list, operand{
			name: layer + "biases", format: list[0].format, layout: "N* N32", axes: axes("N", 3*n.DModel),
			places: []placing{{layer + first + "_proj.bias", 1, []uint64{0}, []int{0}, nil}, {layer + last + "_proj.bias", 1, []uint64{2 * n.DModel}, []int{0}, nil}},
			fills:  []artifact.Fill{{Begin: []uint64{n.DModel}, Size: []uint64{n.DModel}}},
		})
	}
	return list
}

// convCube stores the convolutions as [X,N,C].
func convCube(n *network, list []operand) []operand {
	for _, name := range []string{"encoder.conv1.weight", "encoder.conv2.weight"} {
		s := n.parameters[name].shape
		list = change(list, name, func(o *operand) {
			o.axes, o.layout = axes("XNC", 3, s[0], s[1]), "X* C* N* N4"
			o.places = []placing{{name, 1, []uint64{0, 0, 0}, []int{1, 2, 0}, nil}}
		})
	}
	return list
}

// convRows lays the biases of the convolutions under their weights.
func convRows(n *network, list []operand) []operand {
	for _, name := range []string{"encoder.conv1", "encoder.conv2"} {
		list = change(without(list, name+".bias"), name+".weight", func(o *operand) {
			k := o.axes[0].Extent
			o.axes[0].Extent++
			o.places = append(o.places, placing{name + ".bias", 1, []uint64{k, 0}, []int{1}, nil})
		})
	}
	return list
}

// tapsOutermost stores the convolutions as [K,N] with K = X*C, X outermost, under a row and beside a column of zeros.
func tapsOutermost(n *network, list []operand) []operand {
	for _, name := range []string{"encoder.conv1.weight", "encoder.conv2.weight"} {
		c := n.parameters[name].shape[1]
		list = change(list, name, func(o *operand) {
			o.places = []placing{{name, 1, []uint64{1, 1}, []int{1, 0, 0}, []uint64{1, 1, c}}}
			o.fills = []artifact.Fill{
				{Begin: []uint64{0, 0}, Size: []uint64{1, o.axes[1].Extent + 1}}, {Begin: []uint64{1, 0}, Size: []uint64{o.axes[0].Extent, 1}},
			}
			o.axes[0].Extent++
			o.axes[1].Extent++
		})
	}
	return list
}

// zeroRows adds rows of zeros under the weights of fc1 and fc2.
func zeroRows(n *network, list []operand) []operand {
	for _, name := range []string{"fc1.weight", "fc2.weight"} {
		list = change(list, name, func(o *operand) {
			o.fills = []artifact.Fill{{Begin: []uint64{o.axes[0].Extent, 0}, Size: []uint64{3, o.axes[1].Extent}}}
			o.axes[0].Extent += 3
		})
	}
	return list
}

func TestAnyRecipe(t *testing.T) {
	t.Parallel()
	for _, s := range []Sizes{evenSizes, oddSizes} {
		n := newNetwork(s, 8)
		mel := n.input(8)
		d := newCPU(t, cpu.Options{})
		want := n.encode(mel)
		base := encode(t, d, packNetwork(t, n, plain(n, element.F32), nil), mel, Options{})
		scale := 1 / math.Sqrt(float64(n.headDim()))
		for _, c := range []struct {
			name  string
			list  []operand
			exact bool // the arithmetic is the same
		}{
			{"weights [N,K], row-major", everyLinear(plain(n, element.F32), "N* K*"), true},
			{"weights [N,K], tiled", everyLinear(plain(n, element.F32), "K* N* N8 K16"), true},
			{"convolutions [X,N,C]", convCube(n, plain(n, element.F32)), true},
			{"convolutions [K,N], X outermost", tapsOutermost(n, plain(n, element.F32)), true},
			{"convolutions with their biases", convRows(n, plain(n, element.F32)), true},
			{"positions [N,P]", change(plain(n, element.F32), "positions.weight", func(o *operand) { *o = o.transposed("P* N*") }), true},
			{"vectors stacked", stack(n, plain(n, element.F32)), true},
			{"weights above rows of zeros", zeroRows(n, plain(n, element.F32)), true},
			{"qkv joined, biases apart", joinQKV(n, plain(n, element.F32), false, "qkv", 1, 1), true},
			{"qkv and their biases joined", joinBiases(n, joinQKV(n, plain(n, element.F32), false, "qkv", 1, 1), "q", "v"), true},
			{"qkv and their biases joined, these the other way round", joinBiases(n, joinQKV(n, plain(n, element.F32), false, "qkv", 1, 1), "v", "q"), true},
			{"biases joined, weights apart", joinBiases(n, plain(n, element.F32), "q", "v"), true},
			{"vkq joined with biases in a row", joinQKV(n, plain(n, element.F32), true, "vkq", 1, 1), true},
			{"vkq joined with biases in a row, vectors stacked", stackRest(n, joinQKV(n, plain(n, element.F32), true, "vkq", 1, 1)), true},
			{"kv joined, q apart", joinQKV(n, plain(n, element.F32), true, "kv", 1, 1), true},
			{"q scaled", joinQKV(n, plain(n, element.F32), false, "q", scale, 1), false},
			{"q and k scaled by half the power", joinQKV(n, plain(n, element.F32), true, "qk", math.Sqrt(scale), math.Sqrt(scale)), false},
			{"all folded", foldAll(n, plain(n, element.F32)), false},
			{"all folded, [N,K]", everyLinear(foldAll(n, plain(n, element.F32)), "N* K*"), false},
		} {
			got := encode(t, d, packNetwork(t, n, c.list, nil), mel, Options{})
			if c.exact && !slices.Equal(bitsOf(got), bitsOf(base)) {
				t.Errorf("d_model %d, %s: other bits than the plain recipe, largest difference %.3g", s.DModel, c.name, maxError(t, got, base))
			}
			if worst := maxError(t, got, base); worst > 1e-5 {
				t.Errorf("d_model %d, %s: %.3g from the plain recipe, allowed 1e-5", s.DModel, c.name, worst)
			}
			if worst := maxError(t, got, want); worst > 1e-4 {
				t.Errorf("d_model %d, %s: largest error %.3g, allowed 1e-4", s.DModel, c.name, worst)
			}
		}
	}
}

// stackRest is stack for a network whose q and v have no vectors any more.
func stackRest(n *network, list []operand) []operand {
	folded := without(list)
	rest := &network{Sizes: n.Sizes, parameters: n.parameters}
	for _, name := range n.names {
		if slices.ContainsFunc(folded, func(o operand) bool { return o.name == name }) {
			rest.names = append(rest.names, name)
		}
	}
	return stack(rest, list)
}

// everyLinear transposes the operands [K,N] of linear layers.
func everyLinear(list []operand, notation string) []operand {
	list = slices.Clone(list)
	for i, o := range list {
		if strings.Contains(o.name, "layers.") && len(o.axes) == 2 {
			list[i] = o.transposed(notation)
			for j, f := range o.fills {
				list[i].fills[j].Begin = []uint64{f.Begin[1], f.Begin[0]}
				list[i].fills[j].Size = []uint64{f.Size[1], f.Size[0]}
			}
		}
	}
	return list
}

func TestF16Weights(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 9)
	mel := n.input(9)
	got := encode(t, newCPU(t, cpu.Options{}), packNetwork(t, n, foldAll(n, plain(n, element.F16)), nil), mel, Options{})
	if worst := maxError(t, got, n.encode(mel)); worst > 2e-2 { // what binary16 costs the weights
		t.Errorf("largest error %.3g, allowed 2e-2", worst)
	}
}
