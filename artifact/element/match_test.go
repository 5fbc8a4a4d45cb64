package element

import (
	"math"
	"testing"
)

// matchBlocks are blocks with scales that an encoder would not choose, and zeros from end to end.
func matchBlocks(s Scheme) []Block {
	scales := []float64{1, 0.1, -0.3, 0, math.Copysign(0, -1), smallest(F32), -3 * smallest(F32), 0x1p-24, 1e-41, 0x1p120, -0x1p126}
	if s.Scales == E8M0 {
		scales = []float64{0x1p-127, 0x1p-3, 1, 0x1p110}
	}
	zeros := []float64{0}
	if s.Zeros != 0 {
		least, most := s.limits()
		zeros = []float64{least, 0, most, (least + most + 1) / 2}
	}
	minimums := []float64{0}
	if s.Minimums != 0 {
		minimums = []float64{0, -1, 0x1p-20}
	}
	var blocks []Block
	for _, scale := range scales {
		if s.Scales != E8M0 {
			scale = roundTo(scale, s.Scales)
		}
		for _, zero := range zeros {
			for _, minimum := range minimums {
				if b := (Block{scale, zero, minimum}); s.CheckBlock(b) == nil {
					blocks = append(blocks, b)
				}
			}
		}
	}
	return blocks
}

// Every code of every block comes back as a code that stands for the same bits.
func TestMatchPatchFindsEveryCode(t *testing.T) {
	t.Parallel()
	for _, s := range schemes() {
		all := make([]byte, 1<<s.Codes.Bits())
		for i := range all {
			all[i] = byte(i)
		}
		for _, b := range matchBlocks(s) {
			for at := 0; at < len(all); at += 16 {
				codes, own, none := all[at:at+16], []Block{b}, make([]int, 16)
				x := make([]float32, 16)
				if err := DequantizePatch(x, 16, codes, 16, 1, 16, s, own, none, none); err != nil {
					t.Fatal(err)
				}
				checkMatched(t, s, b, x)
			}
		}
	}
}

func checkMatched(t *testing.T, s Scheme, b Block, x []float32) {
	t.Helper()
	got, y, none := make([]byte, len(x)), make([]float32, len(x)), make([]int, len(x))
	stats, bad, err := MatchPatch(got, len(x), x, len(x), 1, len(x), s, []Block{b}, none, none)
	if err != nil {
		t.Fatal(err)
	}
	infinite := -1
	for i, v := range x {
		if infinite < 0 && math.IsInf(float64(v), 0) {
			infinite = i
		}
	}
	if bad != infinite || infinite < 0 && (stats.Inexact != 0 || stats.NonFinite != 0 || stats.SumDD != 0) || stats.Elements != uint64(len(x)) {
		t.Fatalf("%v %+v: of %v, %d has no code: %+v", s, b, x, bad, stats)
	}
	if err := DequantizePatch(y, len(x), got, len(x), 1, len(x), s, []Block{b}, none, none); err != nil {
		t.Fatal(err)
	}
	for i := range x {
		if math.Float32bits(x[i]) != math.Float32bits(y[i]) && infinite < 0 {
			t.Errorf("%v %+v: %v became code %#x, which is %v", s, b, x[i], got[i], y[i])
		}
		if s.Codes.Size() == 0 && got[i] > 15 {
			t.Errorf("%v: code %#x", s, got[i])
		}
	}
}

// The first value that no code stands for is told, by rows.
func TestMatchPatchRefuses(t *testing.T) {
	t.Parallel()
	inf, negative := float32(math.Inf(1)), float32(math.Copysign(0, -1))
	i4, nf := Scheme{I4, F32, 0, 0}, Scheme{NF4, F32, 0, 0}
	rows := []struct {
		name string
		s    Scheme
		b    Block
		x    float32
	}{
		{"between two codes", i4, Block{Scale: 1}, 1.5},
		{"one bit off", i4, Block{Scale: 1}, math.Nextafter32(3, 4)},
		{"beyond the last code", i4, Block{Scale: 1}, 8},
		{"below the first", i4, Block{Scale: 1}, -9},
		{"a zero of the other sign", i4, Block{Scale: 1}, negative},
		{"not 0, and all codes are", i4, Block{}, 1},
		{"infinite", i4, Block{Scale: 1}, inf},
		{"infinite, where the product is", i4, Block{Scale: 0x1p126}, inf},
		{"not a number", i4, Block{Scale: 1}, inf - inf},
		{"no entry", nf, Block{Scale: 1}, 0.5},
		{"beyond the entries", nf, Block{Scale: 1}, 1.0000001},
	}
	for _, r := range rows {
		x := make([]float32, 6)
		x[4] = r.x // row 1, column 1
		if r.b.Scale != 0 {
			x[5] = r.x
		}
		none := make([]int, 3)
		if _, bad, err := MatchPatch(make([]byte, 6), 3, x, 3, 2, 3, r.s, []Block{r.b}, none, none); err != nil || bad != 4 {
			t.Errorf("%s: %d, %v", r.name, bad, err)
		}
	}
}

func TestMatchPatchArguments(t *testing.T) {
	t.Parallel()
	s, none, own := Scheme{I8, F32, 0, 0}, make([]int, 4), []Block{{Scale: 1}}
	x, codes := make([]float32, 16), make([]byte, 16)
	rows := []struct {
		name               string
		dst                []byte
		src                []float32
		rows, cols, stride int
		s                  Scheme
		blocks             []Block
	}{
		{"no scheme", codes, x, 4, 4, 4, Scheme{}, own},
		{"a patch too large", codes, x, 65, 4, 4, s, own},
		{"too few values", codes, x[:15], 4, 4, 4, s, own},
		{"too few codes", codes[:15], x, 4, 4, 4, s, own},
		{"rows that overlap", codes, x, 4, 4, 3, s, own},
		{"no block", codes, x, 4, 4, 4, s, nil},
	}
	for _, r := range rows {
		if _, _, err := MatchPatch(r.dst, 4, r.src, r.stride, r.rows, r.cols, r.s, r.blocks, none, none); err == nil {
			t.Errorf("%s: no error", r.name)
		}
	}
	if stats, bad, err := MatchPatch(nil, 0, x[:0], 0, 0, 0, s, nil, nil, nil); stats != (Stats{}) || bad != -1 || err != nil {
		t.Errorf("nothing: %+v, %d, %v", stats, bad, err)
	}
}

func TestCheckBlock(t *testing.T) {
	t.Parallel()
	for _, b := range []Block{{Scale: 0.5, Zero: 3}, {Scale: -0.5}, {}} {
		if err := (Scheme{U4, BF16, U4, 0}).CheckBlock(b); err != nil {
			t.Errorf("%+v: %v", b, err)
		}
	}
	for _, b := range []Block{{Scale: math.Inf(1)}, {Scale: math.NaN()}, {Scale: 0.1}, {Scale: 1, Zero: 16}, {Scale: 1, Zero: -1}, {Scale: 1, Minimum: 1}} {
		if err := (Scheme{U4, BF16, U4, 0}).CheckBlock(b); err == nil {
			t.Errorf("%+v: no error", b)
		}
	}
}
