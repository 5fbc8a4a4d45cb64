package cpu

import (
	"math"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
)

// exactGELU is x times the normal distribution function.
func exactGELU(x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) }

// ulps is how many float32 lie between two values; a huge number if just one of them is NaN.
func ulps(a, b float32) uint32 {
	if a != a || b != b {
		if a != a && b != b {
			return 0
		}
		return math.MaxUint32
	}
	order := func(x float32) int64 {
		bits := int64(math.Float32bits(x))
		if bits >= 1<<31 {
			return 1<<31 - bits
		}
		return bits
	}
	d := order(a) - order(b)
	return uint32(max(d, -d))
}

// closeTo compares values of a format with what they should be before rounding, with a tolerance of so many float32 units in the
// last place; a 16-bit format may be one of its own units off, where rounding went the other way. Differences below 1e-9 do not count.
func closeTo(t *testing.T, got, want []float32, tolerance uint32, format element.Format) {
	t.Helper()
	least := 1e-9
	switch format {
	case element.BF16:
		want, tolerance = rounded(t, want, format), 1<<16
	case element.F16:
		want, tolerance, least = rounded(t, want, format), 1<<13, 1.0/(1<<24)
	}
	if len(got) != len(want) {
		t.Fatalf("%d values, expected %d", len(got), len(want))
	}
	for i := range got {
		if d := ulps(got[i], want[i]); d > tolerance && !(math.Abs(float64(got[i])-float64(want[i])) <= least) {
			t.Fatalf("value %d is %v, expected %v: %d ulp off", i, got[i], want[i], d)
		}
	}
}

// rowCases are ways to write x and y of an operation on rows.
var rowCases = []struct {
	x, y string
	m, n uint64
}{
	{"x f32 M* N*", "y f32 M* N*", 5, 7},
	{"x f32 M* N*", "y bf16 M* N*", 70, 1500},
	{"x bf16 N* M* N64", "y f32 M* N* M4 N8", 33, 130},
	{"x f16 N* M*", "y f16 M* N* N16", 40, 41},
	{"x bf16 M* N* N32", "y bf16 N* M*", 1, 5000},
	{"x f32 M* N*", "y f32 M* N*", 3, 1},
}

// testRows compares an operation with a reference that computes one row in float64. arguments come after x and y.
func testRows(t *testing.T, op kernel.Operation, tolerance uint32, arguments []string, reference func(f *fixture, row int, x []float64) []float64) {
	t.Helper()
	for _, test := range rowCases {
		t.Run(test.x+" "+test.y, func(t *testing.T) {
			t.Parallel()
			for _, workers := range []int{1, 3} {
				c := contract(t, op, shape("MN", test.m, test.n), append([]string{test.x, test.y}, arguments...)...)
				f := newFixture(t, Options{Workers: workers}, c)
				n := int(test.n)
				want := make([]float32, 0, len(f.inputs["x"]))
				for row := range int(test.m) {
					x := make([]float64, n)
					for i := range x {
						x[i] = float64(f.inputs["x"][row*n+i])
					}
					for _, y := range reference(f, row, x) {
						want = append(want, float32(y))
					}
				}
				closeTo(t, f.run("y"), want, tolerance, c.Argument("y").Format)
			}
		})
	}
}

func TestLayerNorm(t *testing.T) {
	t.Parallel()
	for _, arguments := range [][]string{{"eps"}, {"eps", "gamma f32 N*", "beta bf16 N* N16"}, {"gamma f16 N*", "eps"}} {
		testRows(t, kernel.LayerNorm, 1, arguments, func(f *fixture, _ int, x []float64) []float64 {
			mean, variance := 0.0, 0.0
			for _, v := range x {
				mean += v / float64(len(x))
			}
			for _, v := range x {
				variance += (v - mean) * (v - mean) / float64(len(x))
			}
			gamma, beta := f.inputs["gamma"], f.inputs["beta"]
			for i, v := range x {
				x[i] = (v - mean) / math.Sqrt(variance+f.args["eps"].Scalar)
				if gamma != nil {
					x[i] *= float64(gamma[i])
				}
				if beta != nil {
					x[i] += float64(beta[i])
				}
			}
			return x
		})
	}
}

func TestSoftmax(t *testing.T) {
	t.Parallel()
	testRows(t, kernel.Softmax, 2, nil, func(_ *fixture, _ int, x []float64) []float64 {
		sum := 0.0
		for i, v := range x {
			x[i] = math.Exp(v)
			sum += x[i]
		}
		for i := range x {
			x[i] /= sum
		}
		return x
	})
}

func TestGELU(t *testing.T) {
	t.Parallel()
	testRows(t, kernel.GELU, 1, nil, func(_ *fixture, _ int, x []float64) []float64 {
		for i, v := range x {
			x[i] = exactGELU(v)
		}
		return x
	})
}

func TestScale(t *testing.T) {
	t.Parallel()
	testRows(t, kernel.Scale, 0, []string{"scale"}, func(f *fixture, _ int, x []float64) []float64 {
		for i, v := range x {
			x[i] = v * f.args["scale"].Scalar
		}
		return x
	})
}

func TestAdd(t *testing.T) {
	t.Parallel()
	for _, z := range []string{"z f32 M* N*", "z bf16 N* M* N8"} {
		testRows(t, kernel.Add, 0, []string{z}, func(f *fixture, row int, x []float64) []float64 {
			for i := range x {
				x[i] += float64(f.inputs["z"][row*len(x)+i])
			}
			return x
		})
	}
}

// The second operand may have other names for its axes.
func TestAddWithPositions(t *testing.T) {
	t.Parallel()
	c := contract(t, kernel.Add, shape("MN", 6, 10), "x f32 M* N*", "y f32 M* N*", "z f32 M* N*")
	c.Arguments[2] = kernel.Buffer("z", 2, kernel.Weight, element.F32, resolved(t, "P* N*", shape("PN", 6, 10)))
	f := newFixture(t, Options{}, c)
	want := make([]float32, 60)
	for i := range want {
		want[i] = f.inputs["x"][i] + f.inputs["z"][i]
	}
	sameBits(t, f.run("y"), want)
}

// Rows that hold infinities, NaN or far apart values.
func TestSoftmaxOfSpecialRows(t *testing.T) {
	t.Parallel()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, test := range []struct{ row, want []float32 }{
		{[]float32{0, -inf}, []float32{1, 0}},
		{[]float32{-1000, 1000}, []float32{0, 1}},
		{[]float32{3e38, 3e38}, []float32{0.5, 0.5}},
		{[]float32{-inf, -inf}, []float32{nan, nan}},
		{[]float32{inf, 0}, []float32{nan, nan}},
		{[]float32{nan, 0}, []float32{nan, nan}},
		{[]float32{0, -100}, []float32{1, float32(math.Exp(-100))}},
	} {
		got := append([]float32(nil), test.row...)
		exponents().softmax(got)
		for i := range got {
			if ulps(got[i], test.want[i]) > 1 {
				t.Errorf("softmax(%v) is %v, expected %v", test.row, got, test.want)
			}
		}
	}
}

func TestExp(t *testing.T) {
	t.Parallel()
	table := exponents()
	for i := range 1 << 18 {
		x := -float64(i) / (1 << 18) * 105
		got, want := table.exp(x), math.Exp(x)
		if x < expLeast {
			want = 0
		}
		if math.Abs(got-want) > 2e-12*want || ulps(float32(got), float32(math.Exp(x))) > 1 {
			t.Fatalf("exp(%v) is %v, expected %v", x, got, want)
		}
	}
}

// Over its whole range GELU is within one unit in the last place, subnormal results included.
func TestGELUTable(t *testing.T) {
	t.Parallel()
	const steps = 1 << 18
	for i := range steps {
		x := float32(-16 + 32*float64(i)/steps)
		got := []float32{x}
		gelus().apply(got)
		if want := float32(exactGELU(float64(x))); ulps(got[0], want) > 1 {
			t.Fatalf("gelu(%v) is %v, expected %v", x, got[0], want)
		}
	}
	inf := float32(math.Inf(1))
	values := []float32{inf, float32(math.NaN()), -100, 3e38, 0}
	gelus().apply(values)
	if values[0] != inf || values[1] == values[1] || values[2] != 0 || values[3] != 3e38 || values[4] != 0 {
		t.Errorf("gelu of inf, nan, -100, 3e38, 0 is %v", values)
	}
}
