package pack

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/recipe"
)

// parameters are float32 parameters p0, p1... of the given shapes, with values at random.
func parameters(shapes ...[]int) []*stored {
	r := &random{Rand: rand.New(rand.NewPCG(9, 9))}
	for i, shape := range shapes {
		r.fill(&stored{name: fmt.Sprintf("p%d", i), axes: "ABCDEFGH"[:len(shape)], shape: shape})
		s := r.list[i]
		s.format, s.perm = element.F32, nil
		for k, x := range s.values {
			_, s.values[k] = rounded(x, s.format)
		}
	}
	return r.list
}

// turned stores a matrix the other way round.
func (s *stored) turned() *stored {
	s.perm = []int{1, 0}
	return s
}

// operandCase is an operand as kernels have it, and the parameters that it is made of.
type operandCase struct {
	name string
	list []*stored
	make func(t testing.TB) recipe.Operand
}

// joins are operands made of several parameters.
func joins() []operandCase {
	return []operandCase{
		{"q, k and v side by side, biases in a row below, q scaled", parameters([]int{70, 70}, []int{70}, []int{70, 70}, []int{70, 70}, []int{70}), func(t testing.TB) recipe.Operand {
			weight := []artifact.PlacedAxis{from(0, 70, 1, 1), from(0, 70, 1, 0)}
			bias := []artifact.PlacedAxis{from(0, 70, 1, 1)}
			return valued(recipe.Operand{
				Layout: resolved(t, "N* K* K8 N8 K8 N4", axis('K', 71, 71), axis('N', 210, 210)),
				Placements: []artifact.Placement{
					place(0, 0.1, []uint64{0, 0}, weight...),
					place(1, 0.1, []uint64{70, 0}, bias...),
					place(2, 1, []uint64{0, 70}, weight...),
					place(3, 1, []uint64{0, 140}, weight...),
					place(4, 1, []uint64{70, 140}, bias...),
				},
				Fills: []artifact.Fill{{Begin: []uint64{70, 70}, Size: []uint64{1, 70}, Value: 0}},
			}, bf16)
		}},
		{"a convolution with the taps outermost, and one with them inside", parameters([]int{66, 30, 3}, []int{66, 30, 3}), func(t testing.TB) recipe.Operand {
			return valued(recipe.Operand{
				Layout: resolved(t, "K* N*", axis('K', 90, 90), axis('N', 132, 192)), PadBits: 0x3f80,
				Placements: []artifact.Placement{
					place(0, 1, []uint64{0, 0}, from(0, 66, 1, 1), from(0, 30, 1, 0), from(0, 3, 30, 0)),
					place(1, 1, []uint64{0, 66}, from(0, 66, 1, 1), from(0, 30, 3, 0), from(0, 3, 1, 0)),
				},
			}, bf16)
		}},
		{"rows in another order, some of them twice", parameters([]int{5, 300}), func(t testing.TB) recipe.Operand {
			o := recipe.Operand{Layout: resolved(t, "N* K*", axis('N', 9, 9), axis('K', 300, 300))}
			for to, row := range []uint64{3, 0, 3, 4, 1, 2, 0, 0, 4} {
				o.Placements = append(o.Placements, place(0, 1, []uint64{uint64(to), 0}, from(row, 1, 1, 0), from(0, 300, 1, 1)))
			}
			return valued(o, f16)
		}},
		{"a scalar and a vector", parameters(nil, []int{130}), func(t testing.TB) recipe.Operand {
			return valued(recipe.Operand{Layout: resolved(t, "N*", axis('N', 131, 131)), Placements: []artifact.Placement{
				place(0, -2, []uint64{0}), place(1, 1, []uint64{1}, from(0, 130, 1, 0)),
			}}, f32)
		}},
		{"a value that no float32 is", parameters([]int{10}), func(t testing.TB) recipe.Operand {
			return valued(recipe.Operand{
				Layout:     resolved(t, "N*", axis('N', 20, 20)),
				Placements: []artifact.Placement{place(0, 1, []uint64{10}, from(0, 10, 1, 0))},
				// Just above a tie of bf16: rounded to float32 it would become that tie, and go down.
				Fills: []artifact.Fill{{Begin: []uint64{0}, Size: []uint64{10}, Value: 1 + 0x1p-8 + 0x1p-40}},
			}, bf16)
		}},
	}
}

// folds are operands with a LayerNorm folded in.
func folds() []operandCase {
	return []operandCase{
		{"a LayerNorm folded into two weights, of which one has no bias", parameters([]int{130, 77}, []int{130}, []int{60, 77}, []int{77}, []int{77}), func(t testing.TB) recipe.Operand {
			weight := func(n uint64) []artifact.PlacedAxis {
				return []artifact.PlacedAxis{from(0, n, 1, 1), from(0, 77, 1, 0)}
			}
			return valued(recipe.Operand{
				Layout: resolved(t, "N* K* K8 N4", axis('K', 78, 78), axis('N', 190, 190)),
				Placements: []artifact.Placement{
					place(0, 0.125, []uint64{0, 0}, weight(130)...),
					place(1, 0.125, []uint64{77, 0}, from(0, 130, 1, 1)),
					place(2, 1, []uint64{0, 130}, weight(60)...),
				},
				Folds: []recipe.Fold{
					{Placement: 0, Gamma: 3, Axis: 1, Beta: -1, Scale: 0.125},
					{Placement: 1, Gamma: -1, Beta: 4, Weight: 0, Scale: 0.125},
					{Placement: 2, Gamma: 3, Axis: 1, Beta: -1, Scale: 1},
					{Placement: -1, Gamma: -1, Beta: 4, Weight: 2, At: []uint64{77, 130}, Along: 1, Scale: 1},
				},
			}, f32)
		}},
		{"a gamma for each channel of a convolution, the taps inside", parameters([]int{40, 25, 3}, []int{25}), func(t testing.TB) recipe.Operand {
			return valued(recipe.Operand{
				Layout:     resolved(t, "N* K* K8 N4", axis('K', 75, 80), axis('N', 40, 40)),
				Placements: []artifact.Placement{place(0, 1, []uint64{0, 0}, from(0, 40, 1, 1), from(0, 25, 3, 0), from(0, 3, 1, 0))},
				Folds:      []recipe.Fold{{Placement: 0, Gamma: 1, Axis: 1, Beta: -1, Scale: 1}},
			}, f32)
		}},
	}
}

// transposed is an operand [K,N] made of one parameter [N,K].
func transposed(l layout.Layout, pad uint64) recipe.Operand {
	k, n := l.Axes[0].Extent, l.Axes[1].Extent
	return recipe.Operand{Layout: l, PadBits: pad, Placements: []artifact.Placement{place(0, 1, []uint64{0, 0}, from(0, n, 1, 1), from(0, k, 1, 0))}}
}

// codes are operands that are quantized.
func codes() []operandCase {
	const scales, zeros, minimums = plane.Scales, plane.Zeros, plane.Minimums
	return []operandCase{
		{"int8, a scale for each column, stored [K,N]", []*stored{parameters([]int{100, 200})[0].turned()}, func(t testing.TB) recipe.Operand {
			o := transposed(resolved(t, "N* K* K8 N8", axis('K', 200, 200), axis('N', 100, 100)), 0)
			return scaled(o, 0, 64, element.I8, shared(t, scales, f32, o.Layout, []uint64{200, 1}, "K* N*"))
		}},
		{"int8, one power of two for all", parameters([]int{100, 200}), func(t testing.TB) recipe.Operand {
			o := transposed(resolved(t, "K* N*", axis('K', 200, 256), axis('N', 100, 128)), 0)
			return scaled(o, 0, 1, element.I8, shared(t, scales, element.E8M0, o.Layout, []uint64{1 << 40, 1 << 40}, "K* N*"))
		}},
		{"AMD's W4: codes, scales and zeros for 32 by 8 in records of 192 bytes", parameters([]int{100, 200}), func(t testing.TB) recipe.Operand {
			o := transposed(resolved(t, "N* K* K32 N8", axis('K', 200, 256), axis('N', 100, 128)), 5)
			block := []uint64{32, 1}
			return scaled(o, 128, 64, element.U4, shared(t, scales, bf16, o.Layout, block, "N* K* N8"), shared(t, zeros, element.U4, o.Layout, block, "N* K* N8"))
		}},
		{"q4nx: tiles of 32 by 256 with a scale and a minimum for 32 by 1", parameters([]int{60, 500}), func(t testing.TB) recipe.Operand {
			o := transposed(resolved(t, "N* K* N32 K256", axis('K', 500, 512), axis('N', 60, 64)), 0)
			block := []uint64{32, 1}
			return scaled(o, 4, 1, element.U4, shared(t, scales, bf16, o.Layout, block, "N* K* N32 K8"), shared(t, minimums, bf16, o.Layout, block, "N* K* N32 K8"))
		}},
		{"nf4 in groups of 48, which windows of 64 cut", parameters([]int{100, 300}), func(t testing.TB) recipe.Operand {
			o := transposed(resolved(t, "K* N* N2", axis('K', 300, 300), axis('N', 100, 100)), 15)
			return scaled(o, 0, 1, element.NF4, shared(t, scales, f16, o.Layout, []uint64{48, 1}, "N* K*"))
		}},
		{"zeros of two groups along K in one byte", parameters([]int{100, 1024}), func(t testing.TB) recipe.Operand {
			o := transposed(resolved(t, "K* N* N2", axis('K', 1024, 1024), axis('N', 100, 100)), 0)
			return scaled(o, 0, 1, element.I4, shared(t, scales, f16, o.Layout, []uint64{64, 1}, "N* K*"), shared(t, zeros, element.I4, o.Layout, []uint64{64, 1}, "N* K*"))
		}},
		{"codes of two rows of the first of three axes in one byte", parameters([]int{20, 64, 40}), func(t testing.TB) recipe.Operand {
			o := recipe.Operand{
				Layout:     resolved(t, "A* B* C* A2", axis('A', 20, 20), axis('B', 64, 64), axis('C', 40, 40)),
				Placements: []artifact.Placement{place(0, 1, []uint64{0, 0, 0}, from(0, 20, 1, 0), from(0, 64, 1, 1), from(0, 40, 1, 2))},
			}
			return scaled(o, 0, 1, element.I4, shared(t, scales, f32, o.Layout, []uint64{1, 64, 40}, "A* B* C*"))
		}},
	}
}

// blockFloats are operands in bfp16, in blocks along rows and along columns of the matrix.
func blockFloats() []operandCase {
	abc := func(t testing.TB, notation string, a, b, c uint64) recipe.Operand {
		return valued(recipe.Operand{
			Layout:     resolved(t, notation, axis('A', a, a), axis('B', b, b), axis('C', c, c)),
			Placements: []artifact.Placement{place(0, 1, []uint64{0, 0, 0}, from(0, a, 1, 0), from(0, b, 1, 1), from(0, c, 1, 2))},
		}, element.BFP16)
	}
	return []operandCase{
		{"mm_bfp: sub-tiles of 8 by 8", parameters([]int{100, 210}), func(t testing.TB) recipe.Operand {
			return valued(transposed(resolved(t, "N* K* N8 K8", axis('K', 210, 320), axis('N', 100, 128)), 0), element.BFP16)
		}},
		{"along N", parameters([]int{100, 210}), func(t testing.TB) recipe.Operand {
			o := transposed(resolved(t, "K* N* N16", axis('K', 210, 210), axis('N', 100, 112)), 0)
			o.Rounding = element.NearestEven
			return valued(o, element.BFP16)
		}},
		{"a vector", parameters([]int{1000}), func(t testing.TB) recipe.Operand {
			return valued(recipe.Operand{
				Layout:     resolved(t, "N* N8", axis('N', 1000, 1000)),
				Placements: []artifact.Placement{place(0, 3, []uint64{0}, from(0, 1000, 1, 0))},
			}, element.BFP16)
		}},
		{"the last of three axes", parameters([]int{7, 20, 77}), func(t testing.TB) recipe.Operand { return abc(t, "B* A* C* C8", 7, 20, 77) }},
		{"the middle one of three, whole blocks", parameters([]int{7, 24, 77}), func(t testing.TB) recipe.Operand { return abc(t, "A* C* B* B8", 7, 24, 77) }},
		{"the first of three, of which the second is 1", parameters([]int{75, 1, 77}), func(t testing.TB) recipe.Operand { return abc(t, "C* B* A* A8", 75, 1, 77) }},
	}
}

// Operands as kernels have them come out as FORMAT.md's formulas say, with windows as small as can be, of a few patches, and whole.
func TestOperandCases(t *testing.T) {
	t.Parallel()
	for _, list := range [][]operandCase{joins(), folds(), codes(), blockFloats()} {
		for _, c := range list {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				o := c.make(t)
				o.Name, o.Segment = "o", "s"
				checkAssembled(t, c.list, []recipe.Operand{o}, windowElements, 1, 9000)
			})
		}
	}
}

// What a fold adds up is the same however the weight is stored, and however much of it is held at a time.
func TestSums(t *testing.T) {
	t.Parallel()
	list := parameters([]int{50, 83}, []int{83})
	want := (&reference{list: list})
	for _, turned := range []bool{false, true} {
		if turned {
			list[0].turned()
		}
		c, m := store(t, list...)
		for _, values := range []uint64{1, 7, 100, 500, sumValues} {
			for _, rows := range []uint64{1, 6, sumRows} {
				s := sum{catalogue: c, weight: &m.Parameters[0], beta: list[1].values, begin: 11, size: 31, mostValues: values, mostRows: rows}
				sums, err := s.run()
				if err != nil {
					t.Fatal(err)
				}
				for i, got := range sums {
					if x := want.sum(&recipe.Fold{Beta: 1, Weight: 0}, 11+i); got != x || len(sums) != 31 {
						t.Errorf("%d values of %d rows at a time: sum %d of %d is %v, expected %v", values, rows, i, len(sums), got, x)
					}
				}
			}
		}
	}
}
