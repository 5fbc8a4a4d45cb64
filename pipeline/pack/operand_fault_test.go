package pack

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/plane"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// refusal is an operand that is refused, and what of it is said.
type refusal struct {
	name    string
	operand recipe.Operand
	says    string
}

// refusedBoxes are operands [K+1,N] of p0 and p2 below it, or with p1 folded in, each with something wrong.
func refusedBoxes(t testing.TB) []refusal {
	bf := func(change func(o *recipe.Operand)) recipe.Operand {
		o := recipe.Operand{Layout: resolved(t, "K* N*", axis('K', 31, 31), axis('N', 20, 20)), Placements: []artifact.Placement{
			place(0, 1, []uint64{0, 0}, from(0, 20, 1, 1), from(0, 30, 1, 0)), place(2, 1, []uint64{30, 0}, from(0, 20, 1, 1)),
		}}
		change(&o)
		return valued(o, bf16)
	}
	fold := func(f recipe.Fold) recipe.Operand {
		return bf(func(o *recipe.Operand) { o.Folds = []recipe.Fold{f} })
	}
	gamma, beta := recipe.Fold{Placement: 0, Gamma: 1, Axis: 1, Beta: -1}, recipe.Fold{Placement: 1, Gamma: -1, Beta: 1, Weight: 0}
	changed := func(f recipe.Fold, change func(f *recipe.Fold)) recipe.Operand {
		change(&f)
		return fold(f)
	}
	alone := func(f *recipe.Fold) { f.Placement, f.At, f.Scale, f.Along = -1, []uint64{30, 0}, 1, 1 }
	return []refusal{
		{"every other row", bf(func(o *recipe.Operand) { o.Placements[1].From[0].Step = 2 }), `parameter "p2": it names indices that are apart`},
		{"beyond the extents", bf(func(o *recipe.Operand) { o.Placements[1].To[1] = 1 }), "20 values from 1 are placed on axis N, which has 20"},
		{"not all", bf(func(o *recipe.Operand) { o.Placements = o.Placements[:1] }), "give 600 of its 620 values"},
		{"an axis too few", bf(func(o *recipe.Operand) { o.Placements[0].From = o.Placements[0].From[:1] }), "it has 1 and 2 axes, expected 2 and 2"},
		{"gamma and beta", changed(gamma, func(f *recipe.Fold) { f.Beta = 1 }), "either a gamma for a placement or a beta"},
		{"neither", changed(gamma, func(f *recipe.Fold) { f.Gamma = -1 }), "either a gamma"},
		{"gamma nowhere", changed(gamma, func(f *recipe.Fold) { f.Placement = -1 }), "either a gamma"},
		{"gamma elsewhere", changed(gamma, func(f *recipe.Fold) { f.Placement = 2 }), "either a gamma"},
		{"gamma along another axis", changed(gamma, func(f *recipe.Fold) { f.Axis = 2 }), "a gamma along axis 2 of 2"},
		{"gamma of another size", changed(gamma, func(f *recipe.Fold) { f.Axis = 0 }), `"p1", which has shape [30]: a vector of 20`},
		{"another scale", changed(gamma, func(f *recipe.Fold) { f.Scale = 2 }), "a fold of scale 2 into placement 0, which has scale 1"},
		{"twice", bf(func(o *recipe.Operand) { o.Folds = []recipe.Fold{gamma, gamma} }), "or another fold already"},
		{"beta of no matrix", changed(beta, func(f *recipe.Fold) { f.Weight = 3 }), `"p3", which has 3 axes`},
		{"beta of another size", changed(beta, func(f *recipe.Fold) { f.Beta = 2 }), `"p2", which has shape [20]: a vector of 30`},
		{"beta into a matrix", changed(beta, func(f *recipe.Fold) { f.Placement = 0 }), `"p0", which has shape [20 30]: a vector of 20`},
		{"sums over a bias", changed(beta, alone), "a fold's sums at [30 0] lie over what is placed at [30 0]"},
		{"sums along no axis", changed(beta, func(f *recipe.Fold) { alone(f); f.Along = 2 }), "a fold along axis 2 of 2"},
		{"sums from nowhere", changed(beta, func(f *recipe.Fold) { alone(f); f.At = nil }), "a box of 0 axes"},
		{"sums that are not scaled", changed(beta, func(f *recipe.Fold) { alone(f); f.Scale = math.NaN() }), "a fold of scale NaN"},
	}
}

// refusedFormats are operands in formats that their layouts or blocks do not go with.
func refusedFormats(t testing.TB) []refusal {
	three := func(notation string, format element.Format) recipe.Operand {
		return valued(recipe.Operand{
			Layout:     resolved(t, notation, axis('A', 4, 4), axis('B', 5, 5), axis('C', 30, 30)),
			Placements: []artifact.Placement{place(3, 1, []uint64{0, 0, 0}, from(0, 4, 1, 0), from(0, 5, 1, 1), from(0, 30, 1, 2))},
		}, format)
	}
	quantized := func(notation string, scales, zeros []uint64) recipe.Operand {
		o := transposed(resolved(t, notation, axis('K', 30, 30), axis('N', 20, 20)), 0)
		return scaled(o, 0, 1, element.I4, shared(t, plane.Scales, bf16, o.Layout, scales, "K* N*"), shared(t, plane.Zeros, element.I4, o.Layout, zeros, "K* N*"))
	}
	return []refusal{
		{"bfp16 along the first of three axes", three("B* C* A* A8", element.BFP16), "blocks of bfp16 along axis A of 3"},
		{"bfp16 along the second, in parts", three("A* C* B* B8", element.BFP16), "blocks of bfp16 along axis B of 3"},
		{"bfp16 along no axis", three("A* C* B* C4", element.BFP16), "a multiple of 8 neighbours"},
		{"codes that share no byte with a neighbour", quantized("K* N* K3", []uint64{1, 1}, []uint64{1, 1}), "a multiple of 2 neighbours"},
		{"other blocks", quantized("K* N*", []uint64{1, 1}, []uint64{3, 1}), "zeros by blocks of [3 1] and scales by [1 1]"},
	}
}

// What recipes do not make, and packing does not know how to, is refused before anything is read.
func TestRefusesOperands(t *testing.T) {
	t.Parallel()
	_, m := store(t, parameters([]int{20, 30}, []int{30}, []int{20}, []int{4, 5, 30})...)
	for _, x := range slices.Concat(refusedBoxes(t), refusedFormats(t)) {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			x.operand.Name = "o"
			_, err := newMatrix(&x.operand, m, windowElements)
			if err == nil || !strings.Contains(err.Error(), `operand "o"`) || !strings.Contains(err.Error(), x.says) {
				t.Errorf("%v, expected that operand o is refused: %s", err, x.says)
			}
		})
	}
}

// unheld is an operand with a value that it cannot hold, and what of it is said.
type unheld struct {
	name   string
	bad    map[int]float64 // of p0 [150,200]
	gamma  float64         // p1[7]
	stored element.Format
	make   func(t testing.TB) recipe.Operand
	says   []string
}

func unheldValues() []unheld {
	plain := func(t testing.TB) recipe.Operand {
		return valued(transposed(resolved(t, "N* K* K8 N4", axis('K', 200, 200), axis('N', 150, 152)), 0), bf16)
	}
	with := func(change func(t testing.TB, o *recipe.Operand)) func(t testing.TB) recipe.Operand {
		return func(t testing.TB) recipe.Operand { o := plain(t); change(t, &o); return o }
	}
	int8s := func(t testing.TB, scales element.Format) recipe.Operand {
		o := plain(t)
		o.KeepNonFinite = true // which changes nothing
		return scaled(o, 0, 1, element.I8, shared(t, plane.Scales, scales, o.Layout, []uint64{32, 1}, "K* N*"))
	}
	return []unheld{
		{
			"int8",
			map[int]float64{149*200 + 199: math.NaN(), 3*200 + 190: math.Inf(1)},
			1, f32, func(t testing.TB) recipe.Operand { return int8s(t, f32) },
			[]string{`parameter "p0"`, "[3 190] is +Inf", "another format in the recipe: i8 holds finite values only"},
		},
		{
			"a scale beyond f16",
			map[int]float64{149*200 + 100: 1e9},
			1, f32, func(t testing.TB) recipe.Operand { return int8s(t, f16) },
			[]string{`operand "o0": block [3 149], from element [149 96] of parameter "p0" on`, "scales of a wider range"},
		},
		{"bfp16", map[int]float64{149*200 + 100: 0x1p128}, 1, element.F64, func(t testing.TB) recipe.Operand {
			return valued(transposed(resolved(t, "N* K* K8", axis('K', 200, 200), axis('N', 150, 150)), 0), element.BFP16)
		}, []string{`parameter "p0"`, "[149 100] is 3.402823669209385e+38, which bfp16 cannot hold", "bfp16 holds finite values only"}},
		{
			"scaled",
			map[int]float64{100*200 + 100: 1e38},
			1, f32, with(func(_ testing.TB, o *recipe.Operand) { o.Placements[0].Scale = -10 }),
			[]string{`parameter "p0"`, "[100 100] becomes -9.99999", "which bf16 cannot hold", "keep_non_finite"},
		},
		{
			"a gamma", nil, math.NaN(), f32, with(func(_ testing.TB, o *recipe.Operand) {
				o.Folds = []recipe.Fold{{Placement: 0, Gamma: 1, Axis: 1, Beta: -1}}
			}),
			[]string{`parameter "p1"`, "element [7] is NaN", "keep_non_finite"},
		},
		{"a gamma in codes", nil, math.Inf(-1), f32, func(t testing.TB) recipe.Operand {
			o := int8s(t, f32)
			o.Folds = []recipe.Fold{{Placement: 0, Gamma: 1, Axis: 1, Beta: -1}}
			return o
		}, []string{`parameter "p1"`, "element [7] is -Inf", "i8 holds finite"}},
		{"a sum", map[int]float64{100*200 + 7: 3e38}, 1e36, element.F64, with(func(t testing.TB, o *recipe.Operand) {
			o.Layout = resolved(t, "K* N*", axis('K', 201, 201), axis('N', 150, 150))
			o.Folds = []recipe.Fold{{Placement: -1, Gamma: -1, Beta: 1, Weight: 0, At: []uint64{200, 0}, Along: 1, Scale: 1}}
			*o = valued(*o, f32)
		}), []string{`operand "o0"`, "element [200 100], the sum of \"p1\" times \"p0\", becomes", "which f32 cannot hold"}},
		{"a fill", nil, 1, f32, with(func(t testing.TB, o *recipe.Operand) {
			o.Layout = resolved(t, "K* N*", axis('K', 201, 201), axis('N', 150, 150))
			o.Fills = []artifact.Fill{{Begin: []uint64{200, 0}, Size: []uint64{1, 150}, Value: 1e39}}
			*o = valued(*o, bf16)
		}), []string{`operand "o0"`, "element [200 0], of a fill, is 1e+39, which bf16 cannot hold"}},
	}
}

// A value that cannot be held is told of by its name, the first in the order of the plan, whatever the number of workers.
func TestOperandsNotFinite(t *testing.T) {
	t.Parallel()
	for _, x := range unheldValues() {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			list := parameters([]int{150, 200}, []int{200})
			for i, v := range x.bad {
				list[0].values[i] = v
			}
			list[1].values[7] = x.gamma
			list[0].format, list[1].format = x.stored, x.stored
			c, m := store(t, list...)
			first, second := x.make(t), x.make(t) // of the second nobody is told
			first.Name, second.Name = "o0", "o1"
			rest := valued(recipe.Operand{Name: "p1", Layout: resolved(t, "K*", axis('K', 200, 200)), Placements: []artifact.Placement{place(1, 1, []uint64{0}, from(0, 200, 1, 0))}}, f32)
			rest.KeepNonFinite = true
			err := fails(t, c, assembled(m, first, second, rest))
			if !errors.Is(err, source.ErrNotFinite) {
				t.Errorf("%T %v, expected a source.ErrNotFinite", err, err)
			}
			for _, part := range x.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v, expected %q in it", err, part)
				}
			}
		})
	}
}

// Progress of an operand in several planes, with bytes between them, ends at all of its bytes.
func TestProgressOfPlanes(t *testing.T) {
	t.Parallel()
	for _, list := range [][]operandCase{joins(), folds(), codes(), blockFloats()} {
		for _, k := range list {
			o := k.make(t)
			o.Name = "o"
			c, m := store(t, k.list...)
			total := make(chan int64, 1)
			total <- 0
			opts := Options{Jobs: 3, NoSync: true, Progress: func(n int64) { total <- <-total + n }}
			p := assembled(m, o)
			if err := run(t.Context(), c, p, filepath.Join(pyreader.TempDir(t), "x.npuw"), opts, 1); err != nil {
				t.Fatal(err)
			}
			if got := <-total; got != p.OperandBytes() {
				t.Errorf("%s: told of %d bytes, expected %d", k.name, got, p.OperandBytes())
			}
		}
	}
}
