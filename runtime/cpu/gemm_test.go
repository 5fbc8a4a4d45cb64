package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
)

// tripleLoop is GEMM as its contract defines it; b is [K,N].
func tripleLoop(a, b, bias []float32, m, k, n int) []float32 {
	c := make([]float32, m*n)
	for i := range m {
		for j := range n {
			sum := float32(0)
			for l := range k {
				product := float32(a[i*k+l] * b[l*n+j])
				sum = float32(sum + product)
			}
			if bias != nil {
				sum += bias[j]
			}
			c[i*n+j] = sum
		}
	}
	return c
}

// sameBits compares with no tolerance.
func sameBits(t *testing.T, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, expected %d", len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("value %d of %d is %v (%#x), expected %v (%#x)", i, len(got),
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// gemmLayouts are arguments of a GEMM that differ in layout and format of weights and outputs.
var gemmLayouts = [][]string{
	{"a f32 M* K*", "b f32 K* N*", "c f32 M* N*", "bias f32 N*"},
	{"a f32 K* M*", "b f32 N* K*", "c f32 N* M*", "bias f32 N* N32"},
	{"a f32 M* K* M4 K8", "b bf16 N* K* K8 N8 K8 N4", "c bf16 M* N* M4 N4", "bias bf16 N*"},
	{"a bf16 K* M* K64", "b bf16 K* N* K8 N4", "c f32 N* M* N64", "bias f16 N*"},
	{"a f16 M* K*", "b f16 K* N* N16 K2", "c f16 M* N* N16", "bias f32 N*"},
	{"a bf16 M* K* K32", "b f32 N4@* N*@1 K*", "c f32 N* M8 M* N2", "bias f32 N*"},
}

func TestGEMM(t *testing.T) {
	t.Parallel()
	for _, size := range [][3]uint64{{1, 1, 1}, {3, 5, 7}, {37, 300, 50}, {70, 64, 129}, {5, 0, 3}, {0, 4, 4}, {4, 4, 0}, {300, 33, 17}} {
		for i, arguments := range gemmLayouts {
			for _, biased := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/%d/%v", size, i, biased), func(t *testing.T) {
					t.Parallel()
					c := contract(t, kernel.GEMM, shape("MKN", size[0], size[1], size[2]), arguments...)
					if !biased {
						c.Arguments = c.Arguments[:3]
					}
					f := newFixture(t, Options{Workers: 1 + i%3}, c)
					want := tripleLoop(f.inputs["a"], f.inputs["b"], f.inputs["bias"], int(size[0]), int(size[1]), int(size[2]))
					sameBits(t, f.run("c"), rounded(t, want, c.Argument("c").Format))
				})
			}
		}
	}
}

// The same operands give the same bits whatever the layouts and the number of workers.
func TestGEMMIsIndependentOfLayouts(t *testing.T) {
	t.Parallel()
	sizes := shape("MKN", 70, 300, 35)
	var want []float32
	for _, workers := range []int{1, 2, 16} {
		for _, a := range []string{"M* K*", "K* M*", "M* K* M4 K8", "K* M* K64"} {
			for _, b := range []string{"K* N*", "N* K*", "N* K* K8 N8 K8 N4", "K* N* N8 K16"} {
				f := newFixture(t, Options{Workers: workers}, contract(t, kernel.GEMM, sizes, "a f32 "+a, "b bf16 "+b, "c f32 M* N*"))
				got := f.run("c")
				if want == nil {
					want = got
				}
				sameBits(t, got, want)
			}
		}
	}
}

// Axes are found by name, in whatever order the operand has them.
func TestGEMMAxesByName(t *testing.T) {
	t.Parallel()
	const m, k, n = 9, 21, 30
	c := contract(t, kernel.GEMM, shape("MKN", m, k, n), "a f32 M* K*", "b f32 N* K*", "c f32 M* N*")
	c.Arguments[1] = kernel.Buffer("b", 1, kernel.Weight, element.F32, resolved(t, "N* K*", shape("NK", n, k)))
	f := newFixture(t, Options{}, c)
	b := make([]float32, k*n)
	for i, x := range f.inputs["b"] { // [N,K]
		b[i%k*n+i/k] = x
	}
	sameBits(t, f.run("c"), tripleLoop(f.inputs["a"], b, nil, m, k, n))
}

func TestGEMMEpilogue(t *testing.T) {
	t.Parallel()
	for _, output := range []string{"c f32 M* N*", "c bf16 N* M* N8"} {
		c := contract(t, kernel.GEMM, shape("MKN", 33, 20, 45), "a f32 M* K*", "b f32 K* N*", output, "bias f32 N*")
		c.Epilogue = kernel.GELUEpilogue
		f := newFixture(t, Options{}, c)
		want := tripleLoop(f.inputs["a"], f.inputs["b"], f.inputs["bias"], 33, 20, 45)
		for i, x := range want {
			want[i] = float32(exactGELU(float64(x)))
		}
		closeTo(t, f.run("c"), want, 1, c.Argument("c").Format)
	}
}

// accumulate and its plain twin give the same bits, for sums, infinities, subnormals and zeros of either sign.
func TestAccumulateAgainstPlain(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 3))
	special := []float32{0, float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 1e-38, 3e38, -3e38, 1}
	values := func(n int) []float32 {
		list := make([]float32, n)
		for i := range list {
			list[i] = float32(random.NormFloat64())
			if random.IntN(16) == 0 {
				list[i] = special[random.IntN(len(special))]
			}
		}
		return list
	}
	for _, depth := range []int{0, 1, 2, 17, 256} {
		for _, groups := range []int{0, 1, 2, 5} {
			rows := groups * tileRows
			aStride, cStride := depth+3, tileCols+5
			a, b, c := values(rows*aStride), values(depth*tileCols), values(rows*cStride)
			plain := slices.Clone(c)
			accumulate(c, cStride, a, aStride, b, depth, groups)
			accumulatePlain(plain, cStride, a, aStride, b, depth, groups)
			for i := range c { // the bits of a NaN are free
				if c[i] != c[i] && plain[i] != plain[i] {
					c[i], plain[i] = 0, 0
				}
			}
			sameBits(t, c, plain)
		}
	}
}
