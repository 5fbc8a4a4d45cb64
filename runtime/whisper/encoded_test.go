package whisper

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/artifacttest"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/plane"
	"npuw/artifact/plane/planetest"
	"npuw/pipeline/recipe"
	"npuw/runtime/cpu"
	"npuw/schema/pyreader"
)

// forms are ways for matrices [K,N] to lie; other axes are laid row-major.
var forms = map[string]planetest.Form{
	"i8 by column":    {Format: element.I8, Layout: "N* K* K8 N8 K8 N4", Scales: element.F32, Group: map[byte]uint64{'N': 1}},
	"i8, powers of 2": {Format: element.I8, Layout: "K* N*", Scales: element.E8M0, Group: map[byte]uint64{'N': 1, 'K': 32}},
	"u8 with zeros":   {Format: element.U8, Layout: "N* K* N8 K8", Scales: element.BF16, Zeros: true, Group: map[byte]uint64{'N': 1}, Align: 64},
	"i4 in groups":    {Format: element.I4, Layout: "N* K* N2", Scales: element.F16, Group: map[byte]uint64{'N': 1, 'K': 16}, HighFirst: true},
	"u4 in records":   {Format: element.U4, Layout: "N* K* K8 N16", Scales: element.BF16, Minimums: element.BF16, Group: map[byte]uint64{'N': 1, 'K': 8}, Shared: "N* K* N16", Record: 128, Align: 64},
	"nf4":             {Format: element.NF4, Layout: "K* N* K2", Scales: element.F32, Group: map[byte]uint64{'N': 3}},
	"bfp16 along K":   {Format: element.BFP16, Layout: "N* K* N8 K8"},
	"bfp16 along N":   {Format: element.BFP16, Layout: "K* N* K4 N8"},
}

// encoded lays operands as a form says: matrices by its layout, others row-major with the innermost axis padded to 16.
func encoded(list []operand, form planetest.Form) []operand {
	list = slices.Clone(list)
	for i := range list {
		o, own := &list[i], form
		var names string
		for _, a := range o.axes {
			names += string(a.Name)
		}
		if names != "KN" && names != "NK" {
			own.Layout, own.Shared, own.Record, own.Group = "", "", 0, maps.Clone(form.Group)
			for _, a := range names {
				own.Layout += string(a) + "* "
			}
			own.Layout += names[len(names)-1:] + "16"
		}
		o.form = &own
	}
	return list
}

// decoded gives operands in f32, row-major, that hold exactly what others hold as they are encoded.
func decoded(t testing.TB, n *network, list []operand) []operand {
	t.Helper()
	list = slices.Clone(list)
	for i := range list {
		o := &list[i]
		s := o.storage(t)
		_, data := packOperand(t, n, o, map[string]int{})
		o.values = planetest.Decoded(&s, data)
		o.form, o.format, o.layout = nil, element.F32, ""
		for _, a := range o.axes {
			o.layout += string(a.Name) + "* "
		}
		o.layout = strings.TrimSpace(o.layout)
	}
	return list
}

// Weights in any encoding give the bits of the same values in f32, in every recipe.
func TestEncodedWeights(t *testing.T) {
	t.Parallel()
	sizes := []Sizes{oddSizes, evenSizes}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for i, s := range sizes {
		n := newNetwork(s, 30)
		d := newCPU(t, cpu.Options{})
		base := plain(n, element.F32)
		recipes := map[string][]operand{
			"plain":                       base,
			"all folded":                  foldAll(n, base),
			"all folded, [N,K]":           everyLinear(foldAll(n, base), "N* K*"),
			"convolutions [X,N,C]":        convCube(n, base),
			"convolutions and biases":     convRows(n, base),
			"convolutions, X outermost":   tapsOutermost(n, base),
			"vectors stacked":             stack(n, base),
			"qkv joined, biases as well":  joinBiases(n, joinQKV(n, base, false, "qkv", 1, 1), "q", "v"),
			"positions [N,P], rows added": zeroRows(n, change(base, "positions.weight", func(o *operand) { *o = o.transposed("P* N*") })),
		}
		for j, recipe := range slices.Sorted(maps.Keys(recipes)) {
			for k, name := range slices.Sorted(maps.Keys(forms)) {
				if (2*i+j+k)%4 != 0 { // every recipe with some forms, every form with some recipes
					continue
				}
				list, form := recipes[recipe], forms[name]
				t.Run(recipe+"/"+name, func(t *testing.T) {
					t.Parallel()
					list := encoded(list, form)
					path, twin := packNetwork(t, n, list, nil), packNetwork(t, n, decoded(t, n, list), nil)
					if form.Minimums != 0 { // fills hold what 0 was rounded to
						pyreader.Damage(t, twin)
					}
					for _, f := range []element.Format{element.F32, element.BF16} {
						mel := n.input(30)
						got, want := encode(t, d, path, mel, Options{Activations: f}), encode(t, d, twin, mel, Options{Activations: f})
						if !slices.Equal(bitsOf(got), bitsOf(want)) {
							t.Errorf("%v activations: other bits than in f32, largest difference %.3g", f, maxError(t, got, want))
						}
					}
				})
			}
		}
	}
}

// Every built-in recipe gives the bits of the values that its operands hold, and these are as near the model as the formats let them be.
func TestBuiltInRecipes(t *testing.T) {
	t.Parallel()
	mel := readFloats(t, fixtures+"whisper-tiny-encoder.in.f32")
	want := readFloats(t, fixtures+"whisper-tiny-encoder.ort.f32")
	allowed := map[string]float64{"whisper-encoder/f32": 1e-4, "whisper-encoder/npu1-int4": 2}
	for _, r := range recipe.BuiltinsFor(Family) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			d := newCPU(t, cpu.Options{})
			path := packModel(t, fixtures+"whisper-tiny-encoder.onnx", r.Name)
			twin := filepath.Join(pyreader.TempDir(t), "f32.npuw")
			artifacttest.Recode(t, path, twin, func(o *artifact.Operand) *planetest.Form {
				form := planetest.Form{Format: element.F32}
				for _, a := range o.Layout.Axes {
					form.Layout += string(a.Name) + "* "
				}
				return &form
			})
			got := encode(t, d, path, mel, Options{})
			if same := encode(t, d, twin, mel, Options{}); !slices.Equal(bitsOf(got), bitsOf(same)) {
				t.Errorf("other bits than in f32, largest difference %.3g", maxError(t, got, same))
			}
			worst := maxError(t, got, want)
			t.Logf("largest error %.3g", worst)
			if most := cmp.Or(allowed[r.Name], 0.2); worst > most {
				t.Errorf("largest error %.3g, allowed %g", worst, most)
			}
		})
	}
}

// The error of encodings stays what the formats cost: int8 and bfp16 are near the model.
func TestEncodedWeightsAreNear(t *testing.T) {
	t.Parallel()
	n := newNetwork(evenSizes, 31)
	mel := n.input(31)
	want := n.encode(mel)
	for name, allowed := range map[string]float64{"i8 by column": 0.2, "bfp16 along K": 0.3, "i4 in groups": 2} {
		form := forms[name]
		got := encode(t, newCPU(t, cpu.Options{}), packNetwork(t, n, encoded(plain(n, element.F32), form), nil), mel, Options{})
		worst := maxError(t, got, want)
		t.Logf("%s: largest error %.3g", name, worst)
		if worst > allowed {
			t.Errorf("%s: largest error %.3g, allowed %g", name, worst, allowed)
		}
	}
}

// A bound contract states planes as the operand has them.
func TestBoundEncodedWeights(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 32)
	d := newCPU(t, cpu.Options{Shadow: true})
	list := encoded(plain(n, element.F32), forms["u4 in records"])
	mel := n.input(32)
	want := encode(t, d, packNetwork(t, n, list, nil), mel, Options{})
	const name = "encoder.layers.0.fc1.weight"
	path := packNetwork(t, n, list, func(x *artifact.Index) {
		c := bindGEMM(t, x, n.Positions, name, element.F32, "M* K* M4 K8", "N* M* M4 N4", true)
		if c.Arguments[1].Encoding != plane.Scaled || c.Arguments[2].Encoding != plane.Scaled {
			t.Errorf("weights are bound as %v and %v", c.Arguments[1].Format, c.Arguments[2].Format)
		}
	})
	ran := false
	got := encode(t, d, path, mel, Options{Trace: func(s Step) error {
		ran = ran || s.Kernel.Name == "bound to "+name
		return nil
	}})
	if !ran || !slices.Equal(bitsOf(got), bitsOf(want)) {
		t.Errorf("the bound kernel ran: %v; largest difference from unbound %.3g", ran, maxError(t, got, want))
	}
	refuse(t, "activations in bfp16 out", packNetwork(t, n, list, func(x *artifact.Index) {
		c := bindGEMM(t, x, n.Positions, name, element.F32, "M* K*", "M* N*", true)
		c.Arguments[3] = resolved(t, "c", kernel.Output, element.BFP16, "M* N* N8", axes("MN", n.Positions, n.FFN))
	}), `argument "c" in bfp16, which this device reads but does not write`)
	refuse(t, "a bias in another encoding", packNetwork(t, n, list, func(x *artifact.Index) {
		c := bindGEMM(t, x, n.Positions, name, element.F32, "M* K*", "M* N*", true)
		c.Arguments[2] = resolved(t, "bias", kernel.Weight, element.BF16, "N*", axes("N", n.FFN))
	}), `argument "bias" reads bf16, the operand is u4`)
}
