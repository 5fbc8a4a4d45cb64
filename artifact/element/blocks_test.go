package element

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// Blocks come back as they were, in every scheme.
func TestBlocksThereAndBack(t *testing.T) {
	t.Parallel()
	for _, s := range schemes() {
		var blocks []Block
		for _, r := range []Range{{}, {-1, 3, true}, {0.1, 0.7, true}, {-1e-9, -1e-10, true}, {-3000, 4000, true}} {
			b, err := s.Fit(r)
			if err != nil {
				t.Fatal(err)
			}
			blocks = append(blocks, b)
		}
		n := len(blocks)
		scales, zeros, minimums := make([]byte, n*s.Scales.unpacked()), []byte(nil), []byte(nil)
		if s.Zeros != 0 {
			zeros = make([]byte, n)
		}
		if s.Minimums != 0 {
			minimums = make([]byte, n*s.Minimums.Size())
		}
		if err := s.EncodeBlocks(scales, zeros, minimums, blocks); err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		got := make([]Block, n)
		if err := s.DecodeBlocks(got, scales, zeros, minimums); err != nil || !slices.Equal(got, blocks) {
			t.Errorf("%v: %v became %v, %v", s, blocks, got, err)
		}
	}
}

func TestEncodeBlocksRefusesOtherNumbers(t *testing.T) {
	t.Parallel()
	inf, nan := math.Inf(1), math.NaN()
	rows := []struct {
		s Scheme
		b Block
	}{
		{Scheme{I8, F32, 0, 0}, Block{0.1, 0, 0}},
		{Scheme{I8, F32, 0, 0}, Block{inf, 0, 0}},
		{Scheme{I8, F32, 0, 0}, Block{nan, 0, 0}},
		{Scheme{I8, F32, 0, 0}, Block{1e300, 0, 0}},
		{Scheme{I8, F16, 0, 0}, Block{0x1p-25, 0, 0}},
		{Scheme{I8, E8M0, 0, 0}, Block{3, 0, 0}},
		{Scheme{I8, E8M0, 0, 0}, Block{0, 0, 0}},
		{Scheme{I8, E8M0, 0, 0}, Block{-1, 0, 0}},
		{Scheme{I8, E8M0, 0, 0}, Block{0x1p128, 0, 0}},
		{Scheme{I8, E8M0, 0, 0}, Block{nan, 0, 0}},
		{Scheme{I8, F32, 0, 0}, Block{1, 1, 0}},
		{Scheme{I8, F32, 0, 0}, Block{1, 0, 1}},
		{Scheme{I8, F32, I8, 0}, Block{1, 128, 0}},
		{Scheme{I8, F32, I8, 0}, Block{1, 0.5, 0}},
		{Scheme{U4, F32, U4, 0}, Block{1, 16, 0}},
		{Scheme{U4, F32, U4, 0}, Block{1, nan, 0}},
		{Scheme{U4, F32, 0, BF16}, Block{1, 0, 0.1}},
		{Scheme{U4, F32, 0, BF16}, Block{1, 0, -inf}},
	}
	for _, r := range rows {
		zeros, minimums := make([]byte, r.s.Zeros.Values()), make([]byte, r.s.Minimums.Size())
		err := r.s.EncodeBlocks(make([]byte, r.s.Scales.Size()), zeros, minimums, []Block{r.b})
		if err == nil || !strings.HasPrefix(err.Error(), "element: block 0") {
			t.Errorf("%v %v: error %v", r.s, r.b, err)
		}
	}
}

func TestDecodeBlocksErrors(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name                    string
		s                       Scheme
		scales, zeros, minimums []byte
	}{
		{"no scheme", Scheme{}, nil, nil, nil},
		{"scale not finite", Scheme{I8, BF16, 0, 0}, []byte{0, 0, 0x80, 0x7f}, nil, nil},
		{"scale not a number", Scheme{I8, E8M0, 0, 0}, []byte{0, 255}, nil, nil},
		{"minimum not finite", Scheme{U4, BF16, 0, BF16}, make([]byte, 4), nil, []byte{0xc0, 0xff, 0, 0}},
		{"scales short", Scheme{I8, BF16, 0, 0}, make([]byte, 3), nil, nil},
		{"scales long", Scheme{I8, BF16, 0, 0}, make([]byte, 6), nil, nil},
		{"zeros missing", Scheme{U4, BF16, U4, 0}, make([]byte, 4), nil, nil},
		{"zeros packed", Scheme{U4, BF16, U4, 0}, make([]byte, 4), make([]byte, 1), nil},
		{"zeros there are not", Scheme{I8, BF16, 0, 0}, make([]byte, 4), make([]byte, 2), nil},
		{"minimums there are not", Scheme{I8, BF16, 0, 0}, make([]byte, 4), nil, make([]byte, 4)},
		{"minimums missing", Scheme{U4, BF16, 0, F32}, make([]byte, 4), nil, nil},
	}
	for _, r := range rows {
		if err := r.s.DecodeBlocks(make([]Block, 2), r.scales, r.zeros, r.minimums); err == nil {
			t.Errorf("%s: no error", r.name)
		}
	}
}
