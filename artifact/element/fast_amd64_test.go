//go:build amd64 && !noasm

package element

import (
	"math"
	"testing"
)

// The fast path must take ordinary patches, else all comparisons with it would be of the plain path with itself, and must
// leave to the plain path those that it cannot count.
func TestFastPatchTakesWhatItCan(t *testing.T) {
	t.Parallel()
	if !hasFMA {
		t.Skip("this processor has no AVX2 and FMA")
	}
	rows := []struct {
		name string
		bits uint32
		cols int
		want bool
	}{
		{"ordinary", 0x3f812345, 16, true},
		{"zero", 0x00000000, 16, true},
		{"minus zero", 0x80000000, 16, true},
		{"smallest kept", 0x80008001, 16, true},
		{"largest finite", 0xff7f7fff, 16, true},
		{"nine columns", 0x3f812345, 9, false},
		{"smallest value", 0x80000001, 16, false},
		{"largest underflow", 0x00008000, 16, false},
		{"smallest overflow", 0x7f7f8000, 16, false},
		{"infinity", 0xff800000, 16, false},
		{"NaN", 0x7f800001, 16, false},
		{"NaN of all ones", 0xffffffff, 16, false},
	}
	for _, r := range rows {
		for place := range 4 * r.cols {
			src := weights(4*r.cols, 6)
			src[place] = math.Float32frombits(r.bits)
			if _, got := fastPatchBF16(make([]byte, 2*len(src)), 2*r.cols, src, r.cols, 4, r.cols); got != r.want {
				t.Fatalf("%s at %d: taken is %v, want %v", r.name, place, got, r.want)
			}
		}
	}
}
