package whisper

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/pipeline/recipe"
	"npuw/runtime/cpu"
	"npuw/schema/pyreader"
)

// norms gives each LayerNorm of a network with the linear layers behind it.
func norms(n *network) map[string][]string {
	all := map[string][]string{}
	for i := range n.Layers {
		layer := fmt.Sprintf("encoder.layers.%d.", i)
		all[layer+"self_attn_layer_norm"] = []string{layer + "self_attn.q_proj", layer + "self_attn.k_proj", layer + "self_attn.v_proj"}
		all[layer+"final_layer_norm"] = []string{layer + "fc1"}
	}
	return all
}

// foldNorms folds every LayerNorm but the last into the operands that hold the linear layers behind it, however these are arranged.
func foldNorms(n *network, list []operand) []operand {
	for norm, members := range norms(n) {
		list = foldNorm(n, list, norm, members...)
	}
	return list
}

// foldNorm folds a LayerNorm into the operands of members. Where a fill stands for the bias that k_proj does not have, it becomes what
// beta adds; where there is none, that is a vector of its own.
func foldNorm(n *network, list []operand, norm string, members ...string) []operand {
	list = without(list, norm+".weight", norm+".bias")
	derived := map[string]*parameter{}
	for _, m := range members {
		derived[m+".weight"], derived[m+".bias"] = n.folded(norm, m)
	}
	for i := range list {
		o := &list[i]
		o.folded = slices.Clone(o.folded)
		for _, p := range o.places {
			switch name := p.name[:strings.LastIndexByte(p.name, '.')]; {
			case derived[p.name] == nil:
				continue
			case strings.HasSuffix(p.name, ".weight"):
				o.folded = append(o.folded, norm+".weight", p.name)
			case n.parameters[p.name] != nil:
				o.folded = append(o.folded, norm+".bias", p.name, name+".weight")
			}
			o.derived = derived
		}
	}
	for _, m := range members {
		if n.parameters[m+".bias"] == nil {
			list = addSum(n, list, norm, m, derived)
		}
	}
	return list
}

// folded gives weight and bias of a linear layer with a LayerNorm folded into them.
func (n *network) folded(norm, m string) (weight, bias *parameter) {
	gamma, beta := n.parameters[norm+".weight"].values, n.parameters[norm+".bias"].values
	w, k := n.parameters[m+".weight"], len(gamma)
	weight = &parameter{w.axes, w.shape, slices.Clone(w.values)}
	bias = &parameter{"N", w.shape[:1], make([]float64, w.shape[0])}
	if b := n.parameters[m+".bias"]; b != nil {
		copy(bias.values, b.values)
	}
	for i, x := range w.values {
		weight.values[i] = x * gamma[i%k]
		bias.values[i/k] += x * beta[i%k]
	}
	return weight, bias
}

// addSum puts what beta adds to a member without a bias where a fill stands for the bias, or into a vector of its own.
func addSum(n *network, list []operand, norm, m string, derived map[string]*parameter) []operand {
	width := n.parameters[m+".weight"].shape[0]
	scale := 1.0
	for _, o := range list {
		for _, p := range o.places {
			if p.name == m+".weight" {
				scale = p.scale
			}
		}
	}
	for i := range list {
		o := &list[i]
		for j, f := range o.fills {
			size := uint64(1)
			for _, s := range f.Size {
				size *= s
			}
			if o.derived == nil || o.derived[m+".weight"] == nil || size != width {
				continue
			}
			o.fills = slices.Delete(slices.Clone(o.fills), j, j+1)
			o.places = append(slices.Clone(o.places), placing{m + ".bias", scale, f.Begin, []int{slices.Index(f.Size, width)}, nil})
			o.folded = append(o.folded, norm+".bias", m+".weight")
			return list
		}
	}
	return append(list, operand{
		name: m + ".sums", format: list[0].format, layout: "N* N8", axes: axes("N", width), derived: derived,
		places: []placing{{m + ".bias", scale, []uint64{0}, []int{0}, nil}}, folded: []string{norm + ".bias", m + ".weight"},
	})
}

// Folded LayerNorms give what unfolded ones give, but for rounding, in every arrangement; those steps have no gamma and no beta.
func TestFoldedLayerNorms(t *testing.T) {
	t.Parallel()
	for _, s := range []Sizes{evenSizes, oddSizes} {
		n := newNetwork(s, 40)
		mel := n.input(40)
		d := newCPU(t, cpu.Options{})
		want := n.encode(mel)
		scale := 1 / math.Sqrt(float64(n.headDim()))
		base := plain(n, element.F32)
		unfolded := encode(t, d, packNetwork(t, n, base, nil), mel, Options{})
		for name, list := range map[string][]operand{
			"everything apart":                base,
			"weights [N,K]":                   everyLinear(base, "N* K*"),
			"biases in rows, q scaled":        foldAll(n, base),
			"biases in rows, [N,K]":           everyLinear(foldAll(n, base), "N* K*"),
			"vkq joined with a row":           joinQKV(n, base, true, "vkq", 1, 1),
			"kv joined with a row":            joinQKV(n, base, true, "kv", 1, 1),
			"qk joined with a row":            joinQKV(n, base, true, "qk", math.Sqrt(scale), math.Sqrt(scale)),
			"k with a row":                    joinQKV(n, base, true, "k", 1, 1),
			"qkv joined, biases apart":        joinQKV(n, base, false, "qkv", 1, 1),
			"qkv and biases joined":           joinBiases(n, joinQKV(n, base, false, "qkv", 1, 1), "q", "v"),
			"biases joined, weights apart":    joinBiases(n, base, "q", "v"),
			"biases joined the other way":     joinBiases(n, joinQKV(n, base, false, "qkv", 1, 1), "v", "q"),
			"k scaled, everything else apart": joinQKV(n, base, false, "k", 1, scale),
		} {
			list := foldNorms(n, list)
			steps := 0
			got := encode(t, d, packNetwork(t, n, list, nil), mel, Options{Trace: func(s Step) error {
				if s.Kernel.Operation != kernel.LayerNorm {
					return nil
				}
				gamma, beta := s.Kernel.Argument("gamma") != nil, s.Kernel.Argument("beta") != nil
				if last := s.Name == "encoder.layer_norm"; gamma != last || beta != last {
					t.Errorf("%s: step %s has gamma %v, beta %v", name, s.Name, gamma, beta)
				}
				steps++
				return nil
			}})
			if steps != int(2*n.Layers+1) {
				t.Errorf("%s: %d LayerNorms", name, steps)
			}
			if worst := maxError(t, got, unfolded); worst > 2e-5 {
				t.Errorf("d_model %d, %s: %.3g from unfolded ones, allowed 2e-5", s.DModel, name, worst)
			}
			if worst := maxError(t, got, want); worst > 1e-4 {
				t.Errorf("d_model %d, %s: largest error %.3g, allowed 1e-4", s.DModel, name, worst)
			}
		}
	}
}

// Folded and encoded: the bits of the same values in f32.
func TestFoldedEncodedWeights(t *testing.T) {
	t.Parallel()
	n := newNetwork(evenSizes, 41)
	d := newCPU(t, cpu.Options{})
	recipes := [][]operand{foldAll(n, plain(n, element.F32)), plain(n, element.F32)}
	if testing.Short() {
		recipes = recipes[:1]
	}
	for _, recipe := range recipes {
		for name, form := range forms {
			list := encoded(foldNorms(n, recipe), form)
			mel := n.input(41)
			got := encode(t, d, packNetwork(t, n, list, nil), mel, Options{})
			want := encode(t, d, packNetwork(t, n, decoded(t, n, list), nil), mel, Options{})
			if !slices.Equal(bitsOf(got), bitsOf(want)) {
				t.Errorf("%s: other bits than in f32, largest difference %.3g", name, maxError(t, got, want))
			}
		}
	}
}

// A weight that lies both ways is taken as it is where all others lie so, and folded where one lies folded alone.
func TestFoldedBesideUnfolded(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 42)
	d, mel := newCPU(t, cpu.Options{}), n.input(42)
	base := plain(n, element.F32)
	folded := foldNorms(n, base)
	both := slices.Clone(base)
	for _, o := range folded {
		if o.folded != nil {
			o.name += ".folded"
			both = append(both, o)
		}
	}
	plainBits := encode(t, d, packNetwork(t, n, base, nil), mel, Options{})
	foldedBits := encode(t, d, packNetwork(t, n, folded, nil), mel, Options{})
	if got := encode(t, d, packNetwork(t, n, both, nil), mel, Options{}); !slices.Equal(bitsOf(got), bitsOf(plainBits)) {
		t.Errorf("both ways: other bits than unfolded, largest difference %.3g", maxError(t, got, plainBits))
	}
	var some []operand // of each LayerNorm one layer lies folded alone
	for _, o := range both {
		if !strings.HasSuffix(o.name, "q_proj.weight") && !strings.HasSuffix(o.name, "fc1.weight") {
			some = append(some, o)
		}
	}
	if got := encode(t, d, packNetwork(t, n, some, nil), mel, Options{}); !slices.Equal(bitsOf(got), bitsOf(foldedBits)) {
		t.Errorf("some folded alone: other bits than folded, largest difference %.3g", maxError(t, got, foldedBits))
	}
}

// Parameters of layer 0, as the refusals name them.
const (
	layerNorm0, finalNorm0 = "encoder.layers.0.self_attn_layer_norm", "encoder.layers.0.final_layer_norm"
	qProj, kProj, vProj    = "encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.k_proj", "encoder.layers.0.self_attn.v_proj"
	wide0, narrow0         = "encoder.layers.0.fc1", "encoder.layers.0.fc2"
)

// foldable is a network in arrangements that refusals begin with: as it is, and with LayerNorms of layer 0 folded, which lie in operands
// of their own as well.
type foldable struct {
	*network
	base              []operand
	rows, apart, wide []operand // folded into q, k and v, joined over a row and apart; into fc1
}

func newFoldable() *foldable {
	f := &foldable{network: newNetwork(evenSizes, 43)}
	f.base = plain(f.network, element.F32)
	f.rows = f.kept(foldNorm(f.network, joinQKV(f.network, f.base, true, "qkv", 1, 1), layerNorm0, qProj, kProj, vProj))
	f.apart = f.kept(foldNorm(f.network, f.base, layerNorm0, qProj, kProj, vProj))
	f.wide = f.kept(foldNorm(f.network, f.base, finalNorm0, wide0))
	return f
}

// kept adds the operands of LayerNorms that are missing.
func (f *foldable) kept(list []operand) []operand {
	for _, o := range f.base {
		if strings.Contains(o.name, "_layer_norm") && !slices.ContainsFunc(list, func(p operand) bool { return p.name == o.name }) {
			list = append(list, o)
		}
	}
	return list
}

// unnote takes the notes that name parameters off the operands whose names end so; all notes where none is named.
func unnote(list []operand, ending string, names ...string) []operand {
	return change(list, ending, func(o *operand) {
		o.folded = slices.DeleteFunc(slices.Clone(o.folded), func(name string) bool { return len(names) == 0 || slices.Contains(names, name) })
	})
}

// note adds notes.
func note(list []operand, ending string, names ...string) []operand {
	return change(list, ending, func(o *operand) { o.folded = append(slices.Clone(o.folded), names...) })
}

// refusal is operands that New must refuse, with a message.
type refusal struct {
	name, message string
	list          []operand
}

func (f *foldable) refuse(t *testing.T, list []refusal) {
	t.Helper()
	for _, c := range list {
		refuse(t, c.name, packNetwork(t, f.network, c.list, nil), c.message)
	}
}

// A LayerNorm that is folded into some of what reads it, or by halves.
func TestRefusesHalfFolds(t *testing.T) {
	t.Parallel()
	f := newFoldable()
	f.refuse(t, []refusal{
		{
			"into some", `LayerNorm "encoder.layers.0.self_attn_layer_norm" is folded into "encoder.layers.0.self_attn.q_proj" (operand "encoder.layers.0.self_attn.q_proj.weight"), ` +
				`but not into "encoder.layers.0.self_attn.k_proj" (operand "encoder.layers.0.self_attn.k_proj.weight"); fold it into all linear layers behind it, or into none`,
			foldNorm(f.network, f.base, layerNorm0, qProj),
		},
		{
			"gamma alone", `LayerNorm "encoder.layers.0.final_layer_norm" is folded by halves: "encoder.layers.0.final_layer_norm.weight" is folded into its linear layers, ` +
				`but operand "encoder.layers.0.fc1.bias" has none of "encoder.layers.0.final_layer_norm.bias"; fold both, or none`,
			unnote(f.wide, "0.fc1.bias"),
		},
		{
			"gamma alone, with a row", `is folded by halves`,
			unnote(f.rows, "0.self_attn.qkv", layerNorm0+".bias"),
		},
		{
			"gamma alone, of k", `is folded by halves: "encoder.layers.0.self_attn_layer_norm.weight" is folded into its linear layers, but operand "encoder.layers.0.self_attn.k_proj.weight" has none`,
			without(f.apart, "0.self_attn.k_proj.sums"),
		},
		{
			"beta alone", `parameter "encoder.layers.0.fc1.bias" in operand "encoder.layers.0.fc1.bias": what lies there was computed from it and ["encoder.layers.0.final_layer_norm.bias" "encoder.layers.0.fc1.weight"]; its own values were expected`,
			unnote(f.wide, "0.fc1.weight"),
		},
		{
			"the weight's note is missing", `parameter "encoder.layers.0.final_layer_norm.weight" in operand "encoder.layers.0.fc1.weight": it is folded into ["encoder.layers.0.fc1.weight" "encoder.layers.0.fc1.bias"] there, which the runtime cannot account for`,
			unnote(unnote(f.wide, "0.fc1.bias"), "0.fc1.weight", wide0+".weight"),
		},
	})
}

// Notes where there is nothing to fold, or of something else.
func TestRefusesOtherFolds(t *testing.T) {
	t.Parallel()
	f := newFoldable()
	f.refuse(t, []refusal{
		{
			"gamma's note is missing", `parameter "encoder.layers.0.fc1.weight" in operand "encoder.layers.0.fc1.weight": what lies there was computed from it and ["encoder.layers.0.fc2.bias"], but not from "encoder.layers.0.final_layer_norm.weight", the LayerNorm's before it`,
			note(unnote(f.wide, "0.fc1.weight", finalNorm0+".weight"), "0.fc1.weight", narrow0+".bias"),
		},
		{
			"another LayerNorm", `parameter "encoder.layers.0.self_attn_layer_norm.weight" in operand "encoder.layers.0.fc1.weight": it is folded into ["encoder.layers.0.fc1.weight" "encoder.layers.0.fc1.bias"] there`,
			note(f.wide, "0.fc1.weight", layerNorm0+".weight"),
		},
		{
			"a layer with no LayerNorm before it", `parameter "encoder.layers.0.fc2.weight" in operand "encoder.layers.0.fc2.weight": what lies there was computed from it and ["encoder.layers.0.final_layer_norm.weight"]; its own values were expected`,
			note(f.base, "0.fc2.weight", finalNorm0+".weight", narrow0+".weight"),
		},
		{
			"a convolution", `parameter "encoder.conv1.weight" in operand "encoder.conv1.weight": what lies there was computed from it and ["encoder.conv1.bias"]`,
			note(f.base, "conv1.weight", "encoder.conv1.weight", "encoder.conv1.bias"),
		},
		{
			"the last LayerNorm", `parameter "encoder.layer_norm.weight" in operand "encoder.conv1.bias": it is folded there, and lies in no operand by itself`,
			note(without(f.base, "encoder.layer_norm.weight"), "conv1.bias", "encoder.layer_norm.weight"),
		},
		{
			"a bias without a place", `parameter "encoder.layers.0.fc1.bias" in operand "encoder.layers.0.fc1.weight": it is folded there, and lies in no operand by itself`,
			note(without(f.wide, "0.fc1.bias"), "0.fc1.weight", finalNorm0+".bias", wide0+".bias"),
		},
	})
}

// What beta adds to k_proj, which has no bias, must have one place.
func TestRefusesSumsWithoutAPlace(t *testing.T) {
	t.Parallel()
	f := newFoldable()
	n := f.network
	f.refuse(t, []refusal{
		{
			"no room for what beta adds to k", `parameter "encoder.layers.0.self_attn.k_proj.weight" in operand "encoder.layers.0.self_attn.qkv": ` +
				`"encoder.layers.0.self_attn_layer_norm.bias" is folded into it, which has no bias, and there is neither a row under it nor a vector for what that adds`,
			change(f.rows, "0.self_attn.qkv", func(o *operand) {
				o.fills = []artifact.Fill{{Begin: []uint64{n.DModel, n.DModel}, Size: []uint64{1, n.DModel}}}
				o.places = o.places[:len(o.places)-1]
			}),
		},
		{
			"room in several rows", `parameter "encoder.layers.0.self_attn_layer_norm.bias" in operand "encoder.layers.0.self_attn.k": it is folded into "encoder.layers.0.self_attn.k_proj.weight" there, ` +
				`which has no bias; what that adds could be in any of rows [32 to 33] of K`,
			change(f.kept(foldNorm(n, joinQKV(n, f.base, true, "k", 1, 1), layerNorm0, qProj, kProj, vProj)), "0.self_attn.k", func(o *operand) { o.axes[0].Extent++ }),
		},
		{
			"room in several parts of a vector", `and there is neither a row under it nor a vector`,
			change(f.apart, "0.self_attn.k_proj.sums", func(o *operand) { o.axes[0].Extent++ }),
		},
		{
			"a row that holds more", `parameter "encoder.layers.0.self_attn.v_proj.weight" in operand "encoder.layers.0.self_attn.qkv": row 32 of K, which is added to it, holds something in columns [64 to 95]`,
			append(change(f.rows, "0.self_attn.qkv", func(o *operand) {
				o.places = slices.DeleteFunc(slices.Clone(o.places), func(p placing) bool { return p.name == vProj+".bias" })
			}), f.apart[slices.IndexFunc(f.apart, func(o operand) bool { return o.name == vProj+".bias" })]),
		},
	})
}

// foldingRecipe is a built-in recipe that joins q, k and v and lays biases under weights, in f32, with LayerNorms folded.
func foldingRecipe(t *testing.T) string {
	t.Helper()
	text, err := recipe.BuiltinText(Family + "/npu1-rowmajor-bias")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(text)
	// cut takes the rule out that begins so.
	cut := func(begin string) string {
		t.Helper()
		before, rule, found := strings.Cut(rest, begin)
		rule, after, ended := strings.Cut(rule, "\n}\n")
		if !found || !ended {
			t.Fatalf("the recipe has no %q", begin)
		}
		rest = before + after
		return begin + rule + "\n}\n"
	}
	const layer = "encoder.layers.{i}."
	fold := func(norm string) string {
		return fmt.Sprintf("part { fold { gamma: %q beta: %q }", layer+norm+".weight", layer+norm+".bias")
	}
	qkv := cut("operand {\n  name: \"" + layer + "self_attn.qkv_proj.weight\"")
	wide := cut("operand {\n  part {\n    parameter: \"" + layer + "fc{j}.weight\"")
	narrow := strings.ReplaceAll(wide, "fc{j}", "fc2")
	cut("operand {\n  parameter: \"" + layer + "*_layer_norm.*\"")
	rest += strings.ReplaceAll(qkv, "part {", fold("self_attn_layer_norm")) +
		strings.ReplaceAll(strings.ReplaceAll(wide, "fc{j}", "fc1"), "part {", fold("final_layer_norm")) + narrow
	rest = strings.ReplaceAll(rest, "format: BF16", "format: F32")
	return strings.ReplaceAll(rest, "  tile { m: 64 k: 64 n: 32 a: BF16 c: F32 }\n", "")
}

// A recipe that folds LayerNorms, as the pipeline packs it, gives what the model gives.
func TestFoldingRecipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(pyreader.TempDir(t), "folding.txtpb")
	if err := os.WriteFile(path, []byte(foldingRecipe(t)), 0o666); err != nil {
		t.Fatal(err)
	}
	bare := 0
	opts := Options{Trace: func(s Step) error {
		if s.Kernel.Operation == kernel.LayerNorm && s.Kernel.Argument("gamma") == nil {
			bare++
		}
		return nil
	}}
	model := packModel(t, fixtures+"whisper-tiny-encoder.onnx", path)
	got := encode(t, newCPU(t, cpu.Options{}), model, readFloats(t, fixtures+"whisper-tiny-encoder.in.f32"), opts)
	if bare != 4 {
		t.Errorf("%d LayerNorms without gamma, want 4", bare)
	}
	if worst := maxError(t, got, readFloats(t, fixtures+"whisper-tiny-encoder.ort.f32")); worst > 1e-4 {
		t.Errorf("largest error %.3g, allowed 1e-4", worst)
	}
}
