package element

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// blockIndexes gives each row and column its part of a block number, for blocks of high x wide elements.
func blockIndexes(rows, cols, high, wide int) (rowBlock, colBlock []int, blocks int) {
	across := (cols + wide - 1) / wide
	for r := range rows {
		rowBlock = append(rowBlock, r/high*across)
	}
	for c := range cols {
		colBlock = append(colBlock, c/wide)
	}
	return rowBlock, colBlock, (rows + high - 1) / high * across
}

// fitAll measures src and fits all blocks. Those that cannot be fitted get a scale of 1.
func fitAll[T float32 | float64](t *testing.T, src []T, stride, rows, cols int, s Scheme, rowBlock, colBlock []int, n int) []Block {
	t.Helper()
	ranges, blocks := make([]Range, n), make([]Block, n)
	if _, err := MeasureRange(ranges, src, stride, rows, cols, rowBlock, colBlock); err != nil {
		t.Fatal(err)
	}
	for i, r := range ranges {
		var err error
		if blocks[i], err = s.Fit(r); err != nil {
			blocks[i] = Block{Scale: 1}
		}
	}
	return blocks
}

// compareQuantized fits blocks of high x wide to a patch and compares what becomes of it in them.
func compareQuantized[T float32 | float64](t *testing.T, src []T, stride, rows, cols, gap, high, wide int, s Scheme) {
	t.Helper()
	rowBlock, colBlock, n := blockIndexes(rows, cols, high, wide)
	blocks := fitAll(t, src, stride, rows, cols, s, rowBlock, colBlock, n)
	compareInBlocks(t, src, stride, rows, cols, gap, s, blocks, rowBlock, colBlock)
}

// compareInBlocks quantizes a patch and fails unless codes, statistics and decoded values are those of exact arithmetic and
// nothing beside the codes was written.
func compareInBlocks[T float32 | float64](
	t *testing.T, src []T, stride, rows, cols, gap int, s Scheme, blocks []Block, rowBlock, colBlock []int,
) {
	t.Helper()
	dstStride := cols + gap
	dst := bytes.Repeat([]byte{guard}, rows*dstStride+16)
	got, gotFirst, err := QuantizePatch(dst, dstStride, src, stride, rows, cols, s, blocks, rowBlock, colBlock)
	if err != nil {
		t.Fatalf("%v, %dx%d: %v", s, rows, cols, err)
	}
	x := func(r, c int) float64 { return float64(src[r*stride+c]) }
	y := func(r, c int) float64 {
		return refValue(dst[r*dstStride+c], s, blocks[rowBlock[r]+colBlock[c]])
	}
	for i, code := range dst {
		r, c := i/dstStride, i%dstStride
		switch {
		case r >= rows || c >= cols:
			if code != guard {
				t.Fatalf("%v, %dx%d: written beside the patch", s, rows, cols)
			}
		case finite(x(r, c)):
			b := blocks[rowBlock[r]+colBlock[c]]
			if want := refQuantize(x(r, c), s, b); code != want {
				t.Fatalf("%v, %+v: %b became %#x, want %#x", s, b, x(r, c), code, want)
			}
		}
	}
	want, wantFirst := statsOf(x, y, rows, cols)
	if !sameBits(got, want) || gotFirst != wantFirst {
		t.Fatalf("%v, %dx%d: %+v, first %d; by definition %+v, first %d", s, rows, cols, got, gotFirst, want, wantFirst)
	}
	checkDequantized(t, dst, dstStride, rows, cols, s, blocks, rowBlock, colBlock)
}

func checkDequantized(t *testing.T, codes []byte, stride, rows, cols int, s Scheme, blocks []Block, rowBlock, colBlock []int) {
	t.Helper()
	wide, narrow := make([]float64, rows*(cols+1)), make([]float32, rows*cols)
	if err := DequantizePatch(wide, cols+1, codes, stride, rows, cols, s, blocks, rowBlock, colBlock); err != nil {
		t.Fatal(err)
	}
	if err := DequantizePatch(narrow, cols, codes, stride, rows, cols, s, blocks, rowBlock, colBlock); err != nil {
		t.Fatal(err)
	}
	for r := range rows {
		for c := range cols {
			b := blocks[rowBlock[r]+colBlock[c]]
			want := refValue(codes[r*stride+c], s, b)
			if got := wide[r*(cols+1)+c]; got != want {
				t.Fatalf("%v, %+v: %#x is %b, want %b", s, b, codes[r*stride+c], got, want)
			}
			if got := narrow[r*cols+c]; got != float32(want) {
				t.Fatalf("%v, %+v: %#x is %b in binary32, want %b", s, b, codes[r*stride+c], got, float32(want))
			}
		}
		if wide[r*(cols+1)+cols] != 0 {
			t.Fatalf("%v: written behind row %d", s, r)
		}
	}
}

// trouble are values about ties and limits of the block that they come to share, zeros, and of wildly different magnitudes.
func trouble(rng *rand.Rand, n int) []float64 {
	values := make([]float64, n)
	magnitude := math.Ldexp(1, rng.IntN(100)-50)
	for i := range values {
		steps := float64(rng.IntN(511)-255) / 2
		switch rng.IntN(8) {
		case 0:
			values[i] = steps * magnitude
		case 1:
			values[i] = math.Nextafter(steps*magnitude, math.Inf(1))
		case 2:
			values[i] = math.Nextafter(steps*magnitude, math.Inf(-1))
		case 3:
			values[i] = math.Copysign(0, steps)
		case 4:
			values[i] = magnitude * math.Ldexp(rng.NormFloat64(), -rng.IntN(60))
		default:
			values[i] = 64 * magnitude * rng.NormFloat64()
		}
	}
	return values
}

func TestQuantizeAgainstExactArithmetic(t *testing.T) {
	t.Parallel()
	shapes := []struct{ rows, cols, gap, high, wide int }{
		{1, 64, 0, 1, 64}, {5, 13, 3, 1, 4}, {16, 9, 1, 4, 1}, {8, 8, 0, 8, 8}, {3, 21, 2, 2, 5}, {1, 1, 0, 1, 1},
	}
	times := 3
	if testing.Short() {
		times = 1
	}
	for _, s := range schemes() {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(9, uint64(s.Codes)<<16|uint64(s.Scales)<<8|uint64(s.Zeros|s.Minimums)))
			for _, p := range shapes {
				for range times {
					wide := trouble(rng, p.rows*(p.cols+2))
					narrow := make([]float32, len(wide))
					for i, x := range wide {
						narrow[i] = float32(x)
					}
					compareQuantized(t, wide, p.cols+2, p.rows, p.cols, p.gap, p.high, p.wide, s)
					compareQuantized(t, narrow, p.cols+1, p.rows, p.cols, p.gap, p.high, p.wide, s)
				}
			}
		})
	}
}

// About every tie and limit of a block whose scale has a full significand: where dividing and multiplying by the inverse differ.
func TestQuantizeTies(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(14, 5))
	for _, s := range schemes() {
		for range 10 {
			edge := math.Ldexp(1+rng.Float64(), rng.IntN(12))
			b, err := s.Fit(Range{-edge * float64(rng.IntN(2)), edge * (1 + rng.Float64()), true})
			if err != nil {
				t.Fatal(err)
			}
			steps := []float64{(nf4[0] + nf4[1]) / 2, (nf4[6] + nf4[7]) / 2, (nf4[11] + nf4[12]) / 2}
			if s.Codes != NF4 {
				least, most := refLimits(s)
				steps = []float64{float64(least) - b.Zero, float64(most) - b.Zero, math.Round(rng.NormFloat64() * float64(most) / 2)}
			}
			var src []float64
			for _, step := range steps {
				for _, half := range []float64{-0.5, 0, 0.5} {
					if s.Codes == NF4 {
						half = 0
					}
					x := (step+half)*b.Scale + b.Minimum
					src = append(src, x, math.Nextafter(x, math.Inf(1)), math.Nextafter(x, math.Inf(-1)))
				}
			}
			compareInBlocks(t, src, len(src), 1, len(src), 0, s, []Block{b}, []int{0}, make([]int, len(src)))
		}
	}
}

// Whole patches of blocks that are constant, zero, tiny, huge, or not finite in places.
func TestQuantizeExtremeBlocks(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(10, 2))
	kinds := map[string]func() float64{
		"zeros":      func() float64 { return math.Copysign(0, rng.NormFloat64()) },
		"constant":   func() float64 { return -0.3 },
		"subnormal":  func() float64 { return float64(math.Float32frombits(rng.Uint32() & 0x80ffffff)) },
		"any scale":  func() float64 { return math.Ldexp(rng.NormFloat64(), rng.IntN(250)-125) },
		"huge":       func() float64 { return rng.NormFloat64() * 0x1p125 },
		"extremes":   func() float64 { return wide64(extremes32[rng.IntN(len(extremes32))] | rng.Uint32()&sign32) },
		"not finite": func() float64 { return []float64{1, -2, math.NaN(), math.Inf(1), math.Inf(-1)}[rng.IntN(5)] },
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			for _, s := range schemes() {
				src := make([]float32, 5*19)
				for i := range src {
					src[i] = float32(kind())
				}
				compareQuantized(t, src, 19, 5, 17, 1, 1, 8, s)
			}
		})
	}
}

// Every code of every format over scales, zeros and minimums of every kind.
func TestDequantizeEveryCode(t *testing.T) {
	t.Parallel()
	scales := map[Format][]float64{
		F32:  {1, 0.1, -3, 0, 0x1p-149, 0x1.fffffep-127, math.MaxFloat32},
		F16:  {1, 0x1p-24, 65504, -0x1.554p-2},
		BF16: {1, 0x1p-133, 0x1.fep127, 0x1.9ap-4},
		E8M0: {1, 0x1p-127, 0x1p127, 0x1p-6},
	}
	codes, column := make([]byte, 256), make([]int, 256)
	for i := range codes {
		codes[i] = byte(i)
	}
	for _, s := range schemes() {
		var blocks []Block
		for _, scale := range scales[s.Scales] {
			scale = float64(float32(scale))
			switch {
			case s.Zeros != 0:
				step := 1 + 16*(s.Zeros.Bits()/8) // of 8 bits every seventeenth
				for zero := 0; zero < 1<<s.Zeros.Bits(); zero += step {
					blocks = append(blocks, Block{scale, float64(refInteger(byte(zero), s.Zeros)), 0})
				}
			case s.Minimums != 0:
				blocks = append(blocks, Block{scale, 0, 0}, Block{scale, 0, -scale}, Block{scale, 0, 0x1.fcp15}, Block{scale, 0, -0x1p-24})
			default:
				blocks = append(blocks, Block{scale, 0, 0})
			}
		}
		for i := range blocks {
			if testing.Short() && i%4 > 0 {
				continue
			}
			checkDequantized(t, codes, 256, 1, 256, s, blocks, []int{i}, column)
		}
	}
}

func TestMeasureRange(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	src := []float32{
		2, 5, -1, 0, 9, // the block of 2 and 5 goes on with values between them,
		3, 4, -7, inf, 9, // that of -1 and 0 with one below
		nan, nan, float32(math.Copysign(0, -1)), -0, 9,
	}
	rowBlock, colBlock, n := blockIndexes(3, 4, 2, 2)
	got := make([]Range, n)
	first, err := MeasureRange(got, src, 5, 3, 4, rowBlock, colBlock)
	want := []Range{{2, 5, true}, {-7, 0, true}, {}, {0, 0, true}}
	if err != nil || first != 7 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, first %d, %v; want %v, first 7", got, first, err, want)
	}
	if first, err := MeasureRange(got, src, 5, 1, 4, rowBlock, colBlock); first != -1 || err != nil {
		t.Errorf("again: first %d, %v", first, err)
	}
	if first, err := MeasureRange[float32](nil, nil, 0, 0, 4, nil, nil); first != -1 || err != nil {
		t.Errorf("of nothing: first %d, %v", first, err)
	}
}

func TestQuantizeCounts(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	src := []float32{127, -1, 0.25, 0, 1.5, nan, 300, inf}
	codes := make([]byte, len(src))
	got, first, err := QuantizePatch(codes, 8, src, 8, 1, 8, Scheme{I8, F32, 0, 0}, []Block{{1, 0, 0}}, []int{0}, make([]int, 8))
	if err != nil {
		t.Fatal(err)
	}
	want := Stats{
		Elements: 8, Inexact: 3, Underflowed: 1, NonFinite: 2, MaxAbsError: 173, MaxAbsValue: 300,
		SumXX: 127*127 + 1 + 0.0625 + 2.25 + 300*300, SumXD: 0.0625 - 0.75 + 300*173, SumDD: 0.0625 + 0.25 + 173*173,
	}
	if got != want || first != 5 {
		t.Errorf("%+v, first %d; want %+v, first 5", got, first, want)
	}
	if !bytes.Equal(codes[:5], []byte{127, 255, 0, 0, 2}) || codes[6] != 127 {
		t.Errorf("codes % x", codes)
	}
}

// In every mistake of size, place and block there is an error, and no panic.
func TestQuantizeErrors(t *testing.T) {
	t.Parallel()
	type arguments struct {
		codes, codeStride, values, valueStride, rows, cols int
		s                                                  Scheme
		blocks                                             int
		rowBlock, colBlock                                 []int
	}
	good := arguments{12, 4, 12, 4, 3, 4, Scheme{I8, F32, 0, 0}, 6, []int{0, 2, 4}, []int{0, 0, 1, 1}}
	for name, change := range map[string]func(a *arguments){
		"codes short":           func(a *arguments) { a.codes = 11 },
		"values short":          func(a *arguments) { a.values = 11 },
		"code rows overlap":     func(a *arguments) { a.codeStride = 3 },
		"value rows overlap":    func(a *arguments) { a.valueStride = 3 },
		"negative stride":       func(a *arguments) { a.valueStride = -4 },
		"stride overflows":      func(a *arguments) { a.codeStride = math.MaxInt },
		"negative rows":         func(a *arguments) { a.rows = -1 },
		"negative columns":      func(a *arguments) { a.cols = -1 },
		"too many rows":         func(a *arguments) { a.rows = 1 << 30 },
		"no scheme":             func(a *arguments) { a.s = Scheme{} },
		"a block missing":       func(a *arguments) { a.blocks = 5 },
		"no blocks":             func(a *arguments) { a.blocks = 0 },
		"a row without block":   func(a *arguments) { a.rowBlock = []int{0, 2} },
		"a column without":      func(a *arguments) { a.colBlock = nil },
		"negative row block":    func(a *arguments) { a.rowBlock = []int{0, -1, 0} },
		"negative column block": func(a *arguments) { a.colBlock = []int{0, 0, -1, 0} },
		"block overflows":       func(a *arguments) { a.rowBlock, a.colBlock = []int{1, 1, math.MaxInt}, []int{1, 1, 1, math.MaxInt} },
	} {
		a := good
		change(&a)
		codes, values, blocks := make([]byte, a.codes), make([]float32, a.values), make([]Block, a.blocks)
		_, first, err := QuantizePatch(codes, a.codeStride, values, a.valueStride, a.rows, a.cols, a.s, blocks, a.rowBlock, a.colBlock)
		if err == nil || first != -1 {
			t.Errorf("QuantizePatch, %s: error %v, first %d", name, err, first)
		}
		err = DequantizePatch(values, a.valueStride, codes, a.codeStride, a.rows, a.cols, a.s, blocks, a.rowBlock, a.colBlock)
		if err == nil {
			t.Errorf("DequantizePatch, %s: no error", name)
		}
		first, err = MeasureRange(make([]Range, a.blocks), values, a.valueStride, a.rows, a.cols, a.rowBlock, a.colBlock)
		if about := a.codes == good.codes && a.codeStride == good.codeStride && a.s == good.s; about && (err == nil || first != -1) {
			t.Errorf("MeasureRange, %s: error %v, first %d", name, err, first)
		}
	}
	big := make([]float32, 65)
	_, _, err := QuantizePatch(make([]byte, 65), 65, big, 65, 1, 65, good.s, make([]Block, 1), []int{0}, make([]int, 65))
	if err == nil {
		t.Error("QuantizePatch of 65 columns: no error")
	}
	stats, first, err := QuantizePatch(nil, 0, big[:0], 0, 0, 4, good.s, nil, nil, nil)
	if stats != (Stats{}) || first != -1 || err != nil {
		t.Errorf("QuantizePatch of nothing: %+v, %d, %v", stats, first, err)
	}
}

// Blocks that Fit does not make give codes that mean nothing, and no panic.
func TestQuantizeForeignBlocks(t *testing.T) {
	t.Parallel()
	src := []float64{0, 1, -1, math.MaxFloat64, math.NaN(), math.Inf(-1)}
	numbers := []float64{0, -1, 1e300, math.NaN(), math.Inf(1)}
	for _, s := range []Scheme{{I8, F32, 0, 0}, {U4, F32, U4, 0}, {NF4, F32, 0, 0}} {
		for _, scale := range numbers {
			for _, rest := range numbers {
				blocks := []Block{{scale, rest, rest}}
				codes := make([]byte, len(src))
				if _, _, err := QuantizePatch(codes, 6, src, 6, 1, 6, s, blocks, []int{0}, make([]int, 6)); err != nil {
					t.Error(err)
				}
				for _, code := range codes {
					if s.Codes.Size() == 0 && code > 15 {
						t.Errorf("%v: code %#x in 4 bits", s, code)
					}
				}
			}
		}
	}
}
