package element

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

const guard = 0xa5 // fills what an encoder must not touch

// comparePatch encodes a patch by EncodePatch, by its plain twin and by the naive definition, and fails unless all agree to
// the bit and nothing between or behind the rows of dst was written.
func comparePatch[T float32 | float64](t *testing.T, src []T, srcStride, rows, cols, dstGap int, b binaryFormat) {
	t.Helper()
	f, width := b.format, cols*b.format.Size()
	dstStride := width + dstGap
	dst, plain := bytes.Repeat([]byte{guard}, rows*dstStride+32), bytes.Repeat([]byte{guard}, rows*dstStride+32)
	got, gotFirst, err := EncodePatch(dst, dstStride, src, srcStride, rows, cols, f)
	if err != nil {
		t.Fatalf("%v %dx%d: %v", f, rows, cols, err)
	}
	twin, twinFirst := encodePatch(plain, dstStride, src, srcStride, rows, cols, f)
	want, wantFirst := naiveStats(plain, dstStride, src, srcStride, rows, cols, b)
	if !bytes.Equal(dst, plain) {
		t.Fatalf("%v %dx%d: fast and plain bytes differ", f, rows, cols)
	}
	if !sameBits(got, twin) || gotFirst != twinFirst {
		t.Fatalf("%v %dx%d: fast %+v, first %d; plain %+v, first %d", f, rows, cols, got, gotFirst, twin, twinFirst)
	}
	if !sameBits(twin, want) || twinFirst != wantFirst {
		t.Fatalf("%v %dx%d: plain %+v, first %d; by definition %+v, first %d", f, rows, cols, twin, twinFirst, want, wantFirst)
	}
	straight := make([]byte, width)
	for r := range rows {
		row, rest := dst[r*dstStride:][:width], dst[r*dstStride+width:][:dstGap]
		if err := Encode(straight, src[r*srcStride:][:cols], f); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(row, straight) || !bytes.Equal(rest, bytes.Repeat([]byte{guard}, dstGap)) {
			t.Fatalf("%v %dx%d: row %d is not what Encode gives, or something was written behind it", f, rows, cols, r)
		}
	}
	if !bytes.Equal(dst[rows*dstStride:], bytes.Repeat([]byte{guard}, 32)) {
		t.Fatalf("%v %dx%d: written behind the patch", f, rows, cols)
	}
}

// weights are normally distributed values, as real weights are, some of them exact in bfloat16.
func weights(n int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 7))
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(rng.NormFloat64() * 0.05)
		if rng.IntN(8) == 0 {
			values[i] = math.Float32frombits(math.Float32bits(values[i]) &^ 0xffff)
		}
	}
	return values
}

func TestEncodePatchEverySize(t *testing.T) {
	t.Parallel()
	src := weights(1<<13, 1)
	for rows := 1; rows <= PatchSize; rows++ {
		for cols := 1; cols <= PatchSize; cols++ {
			if cols%8 != 0 && (rows*cols)%7 != 0 {
				continue // columns in whole groups of eight take the fast path: all of those, and some of the others
			}
			gap := (rows + 3*cols) % 5
			comparePatch(t, src[rows:], cols+gap, rows, cols, gap, refBF16)
		}
	}
}

func TestEncodePatchFormats(t *testing.T) {
	t.Parallel()
	narrow := weights(PatchSize*100, 2)
	wide := make([]float64, len(narrow))
	for i, x := range narrow {
		wide[i] = float64(x) / 3
	}
	for _, b := range []binaryFormat{refF32, refF16, refBF16} {
		for _, size := range [][2]int{{64, 64}, {1, 1}, {3, 7}, {64, 8}, {17, 24}, {1, 64}, {64, 63}} {
			comparePatch(t, narrow, 97, size[0], size[1], 6, b)
			comparePatch(t, wide, 100, size[0], size[1], 0, b)
		}
	}
}

// extremes32 are the bits of values at which a path may go wrong, before their sign.
var extremes32 = []uint32{
	0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x10000, 0x18000, 0x007fffff, 0x00800000, // zero, underflow, subnormal
	0x3f800000, 0x3f807fff, 0x3f808000, 0x3f808001, 0x3f818000, 0x3fffffff, // about ties
	0x33000000, 0x477fefff, 0x477ff000, // the ends of binary16
	0x7f7f0000, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0x7f800000, // overflow
	0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fffffff, // NaN
}

// One extreme value at a time in an otherwise ordinary patch, at its first, last and some inner place.
func TestEncodePatchOneExtreme(t *testing.T) {
	t.Parallel()
	const rows, cols, stride = 9, 16, 19
	for _, bits := range extremes32 {
		for _, sign := range []uint32{0, sign32} {
			for _, place := range []int{0, 3*stride + 5, (rows-1)*stride + cols - 1} {
				src := weights(rows*stride, 3)
				src[place] = math.Float32frombits(bits | sign)
				wide := make([]float64, len(src))
				for i, x := range src {
					wide[i] = wide64(math.Float32bits(x))
				}
				for _, b := range []binaryFormat{refF32, refF16, refBF16} {
					comparePatch(t, src, stride, rows, cols, 2, b)
					comparePatch(t, wide, stride, rows, cols, 2, b)
				}
			}
		}
	}
}

// Patches of nothing but extremes, of bits of every exponent, of the largest and the smallest finite values.
func TestEncodePatchAdversarial(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 4))
	kinds := map[string]func() uint32{
		"extremes":   func() uint32 { return extremes32[rng.IntN(len(extremes32))] | rng.Uint32()&sign32 },
		"any bits":   rng.Uint32,
		"subnormal":  func() uint32 { return rng.Uint32() & 0x807fffff },
		"just kept":  func() uint32 { return 0x8001 + rng.Uint32N(0x20000) },
		"huge":       func() uint32 { return 0x7f7f0000 + rng.Uint32N(0x7fff) },
		"signed 0":   func() uint32 { return rng.Uint32() & sign32 },
		"exact":      func() uint32 { return (0x3f800000 + rng.Uint32()&0x007fffff) &^ 0xffff },
		"wide range": func() uint32 { return 0x01000000 + rng.Uint32N(0x7e000000) | rng.Uint32()&sign32 },
	}
	for _, kind := range kinds {
		src := make([]float32, PatchSize*PatchSize)
		for range 20 {
			for i := range src {
				src[i] = math.Float32frombits(kind())
			}
			comparePatch(t, src, PatchSize, PatchSize, PatchSize, 0, refBF16)
			comparePatch(t, src, 60, 11, 8*(1+rng.IntN(7)), 4, refF16)
		}
	}
}

func TestEncodePatchCounts(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	src := []float32{
		1, 1.001, 0, 1e-45, -2, nan, 3, 3, 0, 0,
		inf, 3.4e38, -1e-40, 0.5, 0.1, -8, 0, 0, 0, -0.25,
	}
	got, first, err := EncodePatch(make([]byte, 40), 20, src, 10, 2, 10, BF16)
	if err != nil {
		t.Fatal(err)
	}
	if got.Elements != 20 || got.NonFinite != 3 || got.Underflowed != 1 || got.Inexact != 4 || first != 5 {
		t.Errorf("%+v, first %d; want 20 elements, 3 not finite, the first at 5, 1 underflowed, 4 inexact", got, first)
	}
	if got.MaxAbsValue != 8 || got.MaxAbsError != float64(float32(1.001))-1 {
		t.Errorf("max |x| %g, max |d| %g", got.MaxAbsValue, got.MaxAbsError)
	}
}

func TestEncodePatchEmpty(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{0, 0}, {0, 8}, {8, 0}} {
		stats, first, err := EncodePatch(nil, 0, []float32(nil), 0, size[0], size[1], BF16)
		if stats != (Stats{}) || first != -1 || err != nil {
			t.Errorf("%v: %+v, %d, %v", size, stats, first, err)
		}
	}
}

func TestEncodePatchErrors(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name                                       string
		dst, dstStride, src, srcStride, rows, cols int
		f                                          Format
	}{
		{"to f64", 1 << 16, 512, 1 << 13, 64, 64, 64, F64},
		{"unknown format", 1 << 16, 512, 1 << 13, 64, 64, 64, 99},
		{"too many rows", 1 << 16, 16, 1 << 13, 8, 65, 8, BF16},
		{"too many columns", 1 << 16, 256, 1 << 13, 128, 8, 65, BF16},
		{"negative rows", 64, 16, 64, 8, -1, 8, BF16},
		{"negative columns", 64, 16, 64, 8, 8, -8, BF16},
		{"src a value short", 128, 16, 63, 8, 8, 8, BF16},
		{"dst a byte short", 127, 16, 64, 8, 8, 8, BF16},
		{"one row, src short", 128, 16, 7, 8, 1, 8, BF16},
		{"one row, dst short", 15, 16, 8, 8, 1, 8, BF16},
		{"src rows overlap", 128, 16, 64, 7, 8, 8, BF16},
		{"dst rows overlap", 128, 15, 64, 8, 8, 8, BF16},
		{"negative src stride", 128, 16, 64, -8, 8, 8, BF16},
		{"src stride overflows", 128, 16, 64, math.MaxInt, 8, 8, BF16},
		{"dst stride overflows", 128, math.MaxInt/7 + 2, 64, 8, 8, 8, BF16},
	}
	for _, r := range rows {
		_, first, err := EncodePatch(make([]byte, r.dst), r.dstStride, make([]float32, r.src), r.srcStride, r.rows, r.cols, r.f)
		if err == nil || first != -1 {
			t.Errorf("%s: error %v, first %d", r.name, err, first)
		}
	}
}

func ExampleEncodePatch() {
	src := []float32{1, 1.01, 2, 0.1}
	dst := make([]byte, 8)
	stats, _, err := EncodePatch(dst, 4, src, 2, 2, 2, BF16)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("% x\n", dst)
	fmt.Printf("%d of %d rounded, relative error %.1e\n", stats.Inexact, stats.Elements, stats.RelativeL2())
	// Output:
	// 80 3f 81 3f 00 40 cd 3d
	// 2 of 4 rounded, relative error 8.9e-04
}
