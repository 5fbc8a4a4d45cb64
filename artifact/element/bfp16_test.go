package element

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

var roundings = []Rounding{Floor, NearestEven}

// refBFP16 is the element that holds up to eight values below 2^128, in exact arithmetic.
func refBFP16(values []float64, rounding Rounding) [9]byte {
	e := 0
	for _, x := range values {
		if _, exponent := math.Frexp(x); x != 0 { // |x| from 2^(exponent-1) to below 2^exponent
			e = max(e, exponent-1+127)
		}
	}
	element := [9]byte{byte(e)}
	for i, x := range values {
		scaled := new(big.Rat).Quo(rat(x), rat(math.Ldexp(1, e-127-6)))
		m := refRoundToEven(scaled)
		if rounding == Floor {
			m.Div(scaled.Num(), scaled.Denom())
		}
		least := int64(-128)
		if e == 254 {
			least = -127
		}
		element[1+i] = byte(refClamp(m, least, 127))
	}
	return element
}

// compareBFP16 encodes a patch and fails unless bytes, statistics and decoded values are those of exact arithmetic and nothing
// beside the elements was written.
func compareBFP16[T float32 | float64](t *testing.T, src []T, stride, rows, cols, gap int, d Direction, rounding Rounding) {
	t.Helper()
	down, across := rows, (cols+7)/8
	if d == AlongColumn {
		down, across = (rows+7)/8, cols
	}
	dstStride := 9*across + gap
	want, got := bytes.Repeat([]byte{guard}, down*dstStride+16), bytes.Repeat([]byte{guard}, down*dstStride+16)
	x := func(r, c int) float64 { return float64(src[r*stride+c]) }
	held := func(r, c int) bool { return math.Abs(x(r, c)) < 0x1p128 }
	for i := range down {
		for j := range across {
			var values []float64
			for k := range 8 {
				r, c := i, 8*j+k
				if d == AlongColumn {
					r, c = 8*i+k, j
				}
				v := 0.0
				if r < rows && c < cols && held(r, c) {
					v = x(r, c)
				}
				values = append(values, v)
			}
			element := refBFP16(values, rounding)
			copy(want[i*dstStride+9*j:], element[:])
		}
	}
	stats, first, err := EncodeBFP16Patch(got, dstStride, src, stride, rows, cols, d, rounding)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%dx%d, direction %d, rounding %d: % x, want % x", rows, cols, d, rounding, got, want)
	}
	y := func(r, c int) float64 {
		at, m := r*dstStride+c/8*9, c%8
		if d == AlongColumn {
			at, m = r/8*dstStride+c*9, r%8
		}
		return math.Ldexp(float64(int8(want[at+1+m])), int(want[at])-133)
	}
	wantStats, wantFirst := statsOf(x, func(r, c int) float64 {
		if !held(r, c) {
			return math.NaN()
		}
		return y(r, c)
	}, rows, cols)
	if !sameBits(stats, wantStats) || first != wantFirst {
		t.Fatalf("%dx%d: %+v, first %d; by definition %+v, first %d", rows, cols, stats, first, wantStats, wantFirst)
	}
	wide, narrow := make([]float64, rows*(cols+1)), make([]float32, rows*cols)
	if err := DecodeBFP16Patch(wide, cols+1, got, dstStride, rows, cols, d); err != nil {
		t.Fatal(err)
	}
	if err := DecodeBFP16Patch(narrow, cols, got, dstStride, rows, cols, d); err != nil {
		t.Fatal(err)
	}
	for r := range rows {
		for c := range cols {
			if wide[r*(cols+1)+c] != y(r, c) || float64(narrow[r*cols+c]) != y(r, c) {
				t.Fatalf("(%d, %d) is %b, in binary32 %b, want %b", r, c, wide[r*(cols+1)+c], narrow[r*cols+c], y(r, c))
			}
		}
		if wide[r*(cols+1)+cols] != 0 {
			t.Fatalf("written behind row %d", r)
		}
	}
}

func TestBFP16Examples(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name           string
		src            []float64
		floor, nearest []int // exponent, then mantissas
	}{
		{"exact", []float64{1, 2, 3, 8}, []int{130, 8, 16, 24, 64}, []int{130, 8, 16, 24, 64}},
		{"zeros", []float64{0, math.Copysign(0, -1)}, []int{0, 0, 0}, []int{0, 0, 0}},
		{"towards minus infinity", []float64{64, 0.75, -0.75, 1.25, -1.25}, []int{133, 64, 0, -1, 1, -2}, []int{133, 64, 1, -1, 1, -1}},
		{"ties", []float64{-64, 0.5, -0.5, 1.5, -1.5, 2.5}, []int{133, -64, 0, -1, 1, -2, 2}, []int{133, -64, 0, 0, 2, -2, 2}},
		{"lost beside 1", []float64{1, 0x1p-8, -0x1p-8, 0x1p-149, -0x1p-149}, []int{127, 64, 0, -1, 0, -1}, []int{127, 64, 0, 0, 0, 0}},
		{"up to 128", []float64{127.75, 127.25, -127.25, -127.75}, []int{133, 127, 127, -128, -128}, []int{133, 127, 127, -127, -128}},
		{"subnormal", []float64{0x1p-133, 0x1p-149, -0x1p-149, 0x1.fffffcp-127}, []int{0, 1, 0, -1, 127}, []int{0, 1, 0, 0, 127}},
		{"least normal", []float64{0x1p-126, -0x1p-149}, []int{1, 64, -1}, []int{1, 64, 0}},
		{"largest", []float64{math.MaxFloat32, -math.MaxFloat32}, []int{254, 127, -127}, []int{254, 127, -127}},
		{"between binary32 and 2^128", []float64{0x1.fffffffp127}, []int{254, 127}, []int{254, 127}},
		{"least binary64 beside the largest", []float64{0x1p127, -5e-324, 5e-324}, []int{254, 64, -1, 0}, []int{254, 64, 0, 0}},
	}
	for _, r := range rows {
		for rounding, want := range map[Rounding][]int{Floor: r.floor, NearestEven: r.nearest} {
			var got, element [9]byte
			for i, v := range want {
				element[i] = byte(v)
			}
			if _, _, err := EncodeBFP16Patch(got[:], 9, r.src, len(r.src), 1, len(r.src), AlongRow, rounding); err != nil {
				t.Fatal(err)
			}
			if got != element {
				t.Errorf("%s, rounding %d: % x, want % x", r.name, rounding, got, element)
			}
		}
	}
}

// Every mantissa under every exponent decodes to the stated value, and comes back as it was where an encoder can choose that
// exponent.
func TestBFP16Every(t *testing.T) {
	t.Parallel()
	for e := range 256 {
		src := make([]byte, 0, 9*256)
		for m := -128; m < 128; m++ {
			src = append(src, byte(e), 64, byte(m), 0, 0, 0, 0, 0, 0xff)
		}
		narrow, wide := make([]float32, 8*256), make([]float64, 8*256)
		if err := ToFloat64(wide, src, BFP16); err != nil {
			t.Fatal(err)
		}
		if err := ToFloat32(narrow, src, BFP16); err != nil {
			t.Fatal(err)
		}
		for i, got := range wide {
			want := math.Ldexp(float64(int8(src[i/8*9+1+i%8])), e-127-6)
			if got != want || narrow[i] != float32(want) {
				t.Fatalf("exponent %d, mantissa %d is %b, in binary32 %b; want %b", e, int8(src[i/8*9+1+i%8]), got, narrow[i], want)
			}
		}
		if e == 255 {
			break // no encoder writes it
		}
		src, narrow, wide = src[9:], narrow[8:], wide[8:] // nor -128 for a value that is exactly that
		for _, rounding := range roundings {
			again := make([]byte, len(src))
			for at := 0; at < 255; at += 51 {
				if _, _, err := EncodeBFP16Patch(again[9*at:], 9, narrow[8*at:], 8, 51, 8, AlongRow, rounding); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(again, src) {
				t.Fatalf("exponent %d does not come back from float32", e)
			}
			for at := 0; at < 255; at += 51 {
				if _, _, err := EncodeBFP16Patch(again[9*at:], 9, wide[8*at:], 8, 51, 8, AlongRow, rounding); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(again, src) {
				t.Fatalf("exponent %d does not come back from float64", e)
			}
		}
	}
}

func TestBFP16AgainstExactArithmetic(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(12, 4))
	kinds := map[string]func() float64{
		"weights":    func() float64 { return rng.NormFloat64() * 0.05 },
		"halves":     func() float64 { return float64(rng.IntN(511)-255) / 2 },
		"by halves":  func() float64 { return math.Nextafter(float64(rng.IntN(511)-255)/2, rng.NormFloat64()*1e9) },
		"any bits":   func() float64 { return wide64(rng.Uint32()) },
		"wide range": func() float64 { return math.Ldexp(rng.NormFloat64(), rng.IntN(260)-132) },
		"subnormal":  func() float64 { return float64(math.Float32frombits(rng.Uint32() & 0x807fffff)) },
		"extremes":   func() float64 { return wide64(extremes32[rng.IntN(len(extremes32))] | rng.Uint32()&sign32) },
		"binary64":   func() float64 { return math.Float64frombits(rng.Uint64()) },
		"huge":       func() float64 { return rng.NormFloat64() * 0x1p127 },
	}
	shapes := [][2]int{{1, 1}, {1, 8}, {8, 1}, {9, 17}, {5, 7}, {64, 3}, {3, 64}, {16, 16}}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			for _, shape := range shapes {
				rows, cols := shape[0], shape[1]
				wide := make([]float64, rows*(cols+3))
				narrow := make([]float32, len(wide))
				for i := range wide {
					wide[i] = kind()
					narrow[i] = float32(wide[i])
				}
				for _, d := range []Direction{AlongRow, AlongColumn} {
					for _, rounding := range roundings {
						compareBFP16(t, wide, cols+3, rows, cols, 2, d, rounding)
						compareBFP16(t, narrow, cols+2, rows, cols, 0, d, rounding)
					}
				}
			}
		})
	}
}

func TestBFP16Whole(t *testing.T) {
	t.Parallel()
	src := weights(PatchSize*PatchSize, 13)
	for _, d := range []Direction{AlongRow, AlongColumn} {
		compareBFP16(t, src, PatchSize, PatchSize, PatchSize, 0, d, Floor)
	}
}

func TestBFP16Errors(t *testing.T) {
	t.Parallel()
	type arguments struct {
		bytes, byteStride, values, valueStride, rows, cols int
		d                                                  Direction
	}
	good := arguments{54, 18, 27, 9, 3, 9, AlongRow}
	for name, change := range map[string]func(a *arguments){
		"bytes short":              func(a *arguments) { a.bytes = 53 },
		"values short":             func(a *arguments) { a.values = 26 },
		"element rows overlap":     func(a *arguments) { a.byteStride = 17 },
		"value rows overlap":       func(a *arguments) { a.valueStride = 8 },
		"bytes short, by columns":  func(a *arguments) { a.d, a.bytes = AlongColumn, 80 },
		"bytes short for two rows": func(a *arguments) { a.d, a.rows, a.cols, a.byteStride = AlongColumn, 9, 3, 28 },
		"no direction":             func(a *arguments) { a.d = 2 },
		"negative rows":            func(a *arguments) { a.rows = -3 },
		"negative columns":         func(a *arguments) { a.cols = -9 },
		"columns overflow":         func(a *arguments) { a.rows, a.cols = 1, math.MaxInt },
		"stride overflows":         func(a *arguments) { a.byteStride = math.MaxInt },
	} {
		a := good
		change(&a)
		b, values := make([]byte, a.bytes), make([]float32, a.values)
		_, first, err := EncodeBFP16Patch(b, a.byteStride, values, a.valueStride, a.rows, a.cols, a.d, Floor)
		if err == nil || first != -1 {
			t.Errorf("EncodeBFP16Patch, %s: error %v, first %d", name, err, first)
		}
		if err := DecodeBFP16Patch(values, a.valueStride, b, a.byteStride, a.rows, a.cols, a.d); err == nil {
			t.Errorf("DecodeBFP16Patch, %s: no error", name)
		}
	}
	values := make([]float32, 65)
	if _, _, err := EncodeBFP16Patch(make([]byte, 81), 81, values, 65, 1, 65, AlongRow, Floor); err == nil {
		t.Error("65 columns: no error")
	}
	if _, _, err := EncodeBFP16Patch(make([]byte, 9), 9, values, 8, 1, 8, AlongRow, 2); err == nil {
		t.Error("rounding 2: no error")
	}
	stats, first, err := EncodeBFP16Patch(nil, 0, values[:0], 0, 3, 0, AlongRow, Floor)
	if stats != (Stats{}) || first != -1 || err != nil {
		t.Errorf("nothing: %+v, %d, %v", stats, first, err)
	}
	if err := DecodeBFP16Patch(values[:0], 0, nil, 0, 0, 3, AlongColumn); err != nil {
		t.Error(err)
	}
}

func ExampleEncodeBFP16Patch() {
	src := []float32{1, -0.5, 0.3, -0.3, 1.9, 0, 0.001, -0.001}
	dst := make([]byte, 9)
	stats, _, err := EncodeBFP16Patch(dst, 9, src, 8, 1, 8, AlongRow, Floor)
	if err != nil {
		fmt.Println(err)
		return
	}
	values := make([]float32, 8)
	if err := ToFloat32(values, dst, BFP16); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("% x\n%v\n%d of %d rounded\n", dst, values, stats.Inexact, stats.Elements)
	// Output:
	// 7f 40 e0 13 ec 79 00 00 ff
	// [1 -0.5 0.296875 -0.3125 1.890625 0 0 -0.015625]
	// 5 of 8 rounded
}
