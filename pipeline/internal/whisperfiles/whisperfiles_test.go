package whisperfiles

import (
	"math"
	"testing"

	"github.com/x448/float16"
)

// The f16 that this package computes are those of an implementation of others.
func TestHalf(t *testing.T) {
	t.Parallel()
	for bits := range 1 << 16 {
		if bits>>10&31 == 31 {
			continue
		}
		got, want := Half(uint16(bits)), float64(float16.Frombits(uint16(bits)).Float32())
		if math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%#04x is %g, expected %g", bits, got, want)
		}
		if back := bitsOfHalf(got); bits>>10&31 > 0 && back != uint16(bits) {
			t.Fatalf("%g has the bits %#04x, expected %#04x", got, back, bits)
		}
	}
}

// A block, by hand: code 17 of q5_1 is bit 17 of the fifth bits, and the upper half of byte 1.
func TestBytes(t *testing.T) {
	t.Parallel()
	for typ, b := range blocks {
		x := Tensor{Shape: []int{2, 64}, Type: typ, Seed: 3}
		data := x.Bytes()
		if len(data) != 4*b.bytes {
			t.Fatalf("%s: %d bytes, expected %d", typ, len(data), 4*b.bytes)
		}
		second := data[b.bytes : 2*b.bytes] // values 32 to 63
		var code int
		switch typ {
		case "q8_0":
			code = int(second[2+17])
		case "q4_0":
			code = int(second[2+1] >> 4)
		case "q4_1":
			code = int(second[4+1] >> 4)
		case "q5_0":
			code = int(second[6+1]>>4 | second[2+2]>>1&1<<4)
		case "q5_1":
			code = int(second[8+1]>>4 | second[4+2]>>1&1<<4)
		}
		if code != x.Code(32+17) {
			t.Errorf("%s: code 49 is %d, expected %d", typ, code, x.Code(49))
		}
		if scale := uint16(second[0]) | uint16(second[1])<<8; scale != x.Scale(1) {
			t.Errorf("%s: scale 1 is %#x, expected %#x", typ, scale, x.Scale(1))
		}
	}
}
