package element

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestSchemeValidate(t *testing.T) {
	t.Parallel()
	rows := []struct {
		s    Scheme
		want string // of the error
	}{
		{Scheme{I8, F32, 0, 0}, ""},
		{Scheme{I8, E8M0, 0, 0}, ""},
		{Scheme{I8, F16, I8, 0}, ""},
		{Scheme{U8, BF16, U8, 0}, ""},
		{Scheme{U8, F16, 0, F32}, ""},
		{Scheme{I4, BF16, 0, 0}, ""},
		{Scheme{U4, BF16, U4, 0}, ""},
		{Scheme{U4, BF16, 0, BF16}, ""},
		{Scheme{NF4, E8M0, 0, 0}, ""},
		{Scheme{}, "codes in format(0)"},
		{Scheme{BF16, F32, 0, 0}, "codes in bf16"},
		{Scheme{BFP16, F32, 0, 0}, "codes in bfp16"},
		{Scheme{99, F32, 0, 0}, "codes in format(99)"},
		{Scheme{I8, 0, 0, 0}, "scales in format(0)"},
		{Scheme{I8, F64, 0, 0}, "scales in f64"},
		{Scheme{I8, I8, 0, 0}, "scales in i8"},
		{Scheme{U8, F32, U8, F32}, "both"},
		{Scheme{I8, F32, U8, 0}, "zeros in u8"},
		{Scheme{NF4, F32, NF4, 0}, "zeros in nf4"},
		{Scheme{U4, F32, 0, E8M0}, "minimums in e8m0"},
		{Scheme{U4, F32, 0, F64}, "minimums in f64"},
		{Scheme{I4, F32, 0, F32}, "minimums of codes in i4"},
		{Scheme{NF4, F32, 0, F32}, "minimums of codes in nf4"},
		{Scheme{U8, F32, 0, 0}, "no negative"},
		{Scheme{U4, E8M0, 0, 0}, "no negative"},
		{Scheme{U8, E8M0, U8, 0}, "e8m0 with"},
		{Scheme{U8, E8M0, 0, F32}, "e8m0 with"},
	}
	for _, r := range rows {
		err := r.s.Validate()
		if r.want == "" && err != nil || r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)) {
			t.Errorf("%v: error %v, want %q", r.s, err, r.want)
		}
	}
	if got := len(schemes()); got != 3*4+4*3+2*9 { // symmetric; with zeros; with minimums
		t.Errorf("%d schemes are valid, want 42", got)
	}
}

func TestFitExamples(t *testing.T) {
	t.Parallel()
	const maxF32, maxF16 = math.MaxFloat32, 65504
	rows := []struct {
		name   string
		s      Scheme
		lo, hi float64
		want   Block
	}{
		{"symmetric", Scheme{I8, F32, 0, 0}, -254, 10, Block{2, 0, 0}},
		{"of one sign", Scheme{I8, F32, 0, 0}, 254, 381, Block{3, 0, 0}},
		{"scale rounds", Scheme{I4, BF16, 0, 0}, 0, 1, Block{0x1.24p-3, 0, 0}},
		{"zeros only", Scheme{I4, BF16, 0, 0}, 0, 0, Block{1, 0, 0}},
		{"smallest scale", Scheme{I8, F16, 0, 0}, 0, 0x1p-30, Block{0x1p-24, 0, 0}},
		{"largest scale", Scheme{I8, F16, 0, 0}, 0, 127 * 65519, Block{maxF16, 0, 0}},
		{"power of two", Scheme{I8, E8M0, 0, 0}, -127, 0, Block{1, 0, 0}},
		{"next power of two", Scheme{I8, E8M0, 0, 0}, -128, 0, Block{2, 0, 0}},
		{"least power of two", Scheme{I8, E8M0, 0, 0}, 0, 0x1p-149, Block{0x1p-127, 0, 0}},
		{"least binary64", Scheme{I8, E8M0, 0, 0}, 0, 5e-324, Block{0x1p-127, 0, 0}},
		{"greatest power of two", Scheme{I4, E8M0, 0, 0}, -7 * 0x1p127, 0, Block{0x1p127, 0, 0}},
		{"nf4", Scheme{NF4, F32, 0, 0}, -3, 2, Block{3, 0, 0}},
		{"nf4, power of two", Scheme{NF4, E8M0, 0, 0}, -3, 2, Block{4, 0, 0}},
		{"zero point", Scheme{U8, F32, U8, 0}, -1, 1.55, Block{float64(float32(0.01)), 100, 0}},
		{"signed zero point", Scheme{I8, F32, I8, 0}, -1, 1.55, Block{float64(float32(0.01)), -28, 0}},
		{"zero point of positive values", Scheme{U4, F32, U4, 0}, 5, 15, Block{1, 0, 0}},
		{"zero point of negative values", Scheme{I4, F32, I4, 0}, -30, -2, Block{2, 7, 0}},
		{"zero point, tie to even", Scheme{U4, F32, U4, 0}, -2.5, 12.5, Block{1, 2, 0}},
		{"zero point of zeros", Scheme{I8, F32, I8, 0}, 0, 0, Block{1, 0, 0}},
		{"minimum", Scheme{U4, F32, 0, F32}, -5, 10, Block{1, 0, -5}},
		{"minimum rounds down", Scheme{U4, F32, 0, BF16}, 1 + 0x1p-8, 16, Block{1, 0, 1}},
		{"minimum rounds up beyond all", Scheme{U4, F32, 0, BF16}, 1 + 0x1.8p-8, 1 + 0x1.9p-8, Block{1, 0, 1 + 0x1p-7}},
		{"constant", Scheme{U8, F16, 0, F16}, 0.1, 0.1, Block{1, 0, refRound(0.1, F16)}},
		{"minimum, zeros only", Scheme{U8, F16, 0, F16}, 0, 0, Block{1, 0, 0}},
		{"full binary32", Scheme{U8, F32, U8, 0}, -maxF32, maxF32, Block{refRound(2*maxF32/255, F32), 128, 0}},
	}
	for _, r := range rows {
		got, err := r.s.Fit(Range{r.lo, r.hi, true})
		if err != nil || got != r.want {
			t.Errorf("%s: %v of %g to %g is %v, %v; want %v", r.name, r.s, r.lo, r.hi, got, err, r.want)
		}
	}
}

// A minimum of zero has one sign, whichever zero a block holds.
func TestFitZeroMinimum(t *testing.T) {
	t.Parallel()
	b, err := Scheme{U4, F32, 0, F32}.Fit(Range{math.Copysign(0, -1), 1, true})
	if err != nil || math.Signbit(b.Minimum) {
		t.Errorf("minimum %g, %v", b.Minimum, err)
	}
}

func TestFitErrors(t *testing.T) {
	t.Parallel()
	inf, nan := math.Inf(1), math.NaN()
	rows := []struct {
		s      Scheme
		lo, hi float64
	}{
		{Scheme{}, 0, 1},
		{Scheme{I8, F32, 0, 0}, 2, 1},
		{Scheme{I8, F32, 0, 0}, 0, inf},
		{Scheme{I8, F32, 0, 0}, -inf, 0},
		{Scheme{I8, F32, 0, 0}, nan, 0},
		{Scheme{I8, F32, 0, 0}, 0, nan},
		{Scheme{I8, F16, 0, 0}, 0, 127 * 65520},
		{Scheme{I8, BF16, 0, 0}, -128 * math.MaxFloat32, 0},
		{Scheme{I4, E8M0, 0, 0}, 0, 7.001 * 0x1p127},
		{Scheme{NF4, F16, 0, 0}, 0, 1e5},
		{Scheme{U8, F32, U8, 0}, -math.MaxFloat64, math.MaxFloat64},
		{Scheme{U4, F16, U4, 0}, 0, 15 * 65520},
		{Scheme{U4, F32, 0, F16}, -70000, 0},
		{Scheme{U4, F16, 0, F32}, 0, 15 * 65520},
		{Scheme{U4, F32, 0, F32}, -1e30, math.MaxFloat64},
	}
	for _, r := range rows {
		if b, err := r.s.Fit(Range{r.lo, r.hi, true}); err == nil || b != (Block{}) || !strings.HasPrefix(err.Error(), "element: ") {
			t.Errorf("%v of %g to %g: %v, error %v", r.s, r.lo, r.hi, b, err)
		}
	}
}

// values of a block that may be fitted badly: of every magnitude, of one sign, constant, nearly constant, tiny, all zero.
func blockValues(rng *rand.Rand) []float64 {
	values := make([]float64, 1+rng.IntN(5))
	magnitude := math.Ldexp(1+rng.Float64(), rng.IntN(60)-30)
	if rng.IntN(3) == 0 {
		magnitude = math.Ldexp(1+rng.Float64(), rng.IntN(330)-170)
	}
	offset := magnitude * float64(rng.IntN(5)-2)
	spread := []float64{1, 1, 0, 0x1p-12, 0x1p-30}[rng.IntN(5)]
	for i := range values {
		values[i] = offset + magnitude*spread*rng.NormFloat64()
		switch rng.IntN(12) {
		case 0:
			values[i] = 0
		case 1:
			values[i] = math.Copysign(0, -1)
		case 2:
			values[i] = refRound(min(max(values[i], -math.MaxFloat32), math.MaxFloat32), F32)
		}
	}
	return values
}

func TestFitAgainstExactArithmetic(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 1))
	fitted := 0
	for _, s := range schemes() {
		for range 300 {
			values := blockValues(rng)
			var r Range
			for _, x := range values {
				r.Join(Range{x, x, true})
			}
			got, err := s.Fit(r)
			want, ok := refFit(s, values)
			if ok != (err == nil) || ok && got != want {
				t.Fatalf("%v of %g: %+v, %v; want %+v, %v", s, values, got, err, want, ok)
			}
			if ok {
				fitted++
			}
		}
	}
	if all := 300 * len(schemes()); fitted < all/2 || fitted == all {
		t.Errorf("%d of %d blocks could be fitted; some must, and some must not", fitted, all)
	}
}

func TestRangeJoin(t *testing.T) {
	t.Parallel()
	one, two := Range{-1, 3, true}, Range{2, 5, true}
	for _, r := range []struct{ a, b, want Range }{
		{Range{}, Range{}, Range{}},
		{Range{}, two, two},
		{two, Range{}, two},
		{one, two, Range{-1, 5, true}},
		{two, one, Range{-1, 5, true}},
	} {
		if got := r.a; true {
			if got.Join(r.b); got != r.want {
				t.Errorf("%v joined with %v is %v, want %v", r.a, r.b, got, r.want)
			}
		}
	}
}

func ExampleScheme_Fit() {
	s := Scheme{Codes: U4, Scales: BF16, Zeros: U4}
	b, err := s.Fit(Range{Lo: -0.5, Hi: 1.375, Any: true})
	fmt.Println(b, err)
	// Output: {0.125 4 0} <nil>
}
