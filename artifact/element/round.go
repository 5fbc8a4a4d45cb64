package element

import (
	"math"

	"github.com/x448/float16"
)

const (
	sign32    = 1 << 31    // sign bit of a binary32
	inf32     = 0x7f800000 // bits of its +Inf; larger magnitudes are NaN
	quiet32   = 1 << 22    // the bit that makes its NaN quiet
	sign64    = 1 << 63    // the same of a binary64
	inf64     = 0x7ff << 52
	quiet64   = 1 << 51
	quietBF16 = 1 << 6

	bias64     = 1023 // of the exponent of a binary64
	fraction64 = 52   // bits of its significand behind the first

	halfBF16     = 0x7fff  // added together with the lowest bit kept, it carries where rounding to even goes up
	lostOfF64    = 52 - 23 // significand bits of a binary64 that a binary32 does not have
	sign64Over32 = 63 - 31 // from the sign of a binary32 up to that of a binary64
)

// integer, added to a number below 2^51, pushes everything behind the point out of a binary64, rounding to nearest, ties to
// even; the low bits of the sum then hold the integer in two's complement, and taking it away again leaves the integer.
const integer = 0x1.8p52

// roundBF16 rounds the binary32 with the given bits to bfloat16: to nearest, ties to even, subnormals kept, overflow to
// infinity. A NaN keeps its sign and the upper bits of its payload and becomes quiet.
func roundBF16(bits uint32) uint16 {
	if bits&^sign32 > inf32 {
		return uint16(bits>>16) | quietBF16
	}
	return uint16((bits + halfBF16 + bits>>16&1) >> 16)
}

// roundF16 rounds the binary32 with the given bits to binary16: to nearest, ties to even, overflow to infinity, NaN quieted.
func roundF16(bits uint32) uint16 {
	return float16.Fromfloat32(math.Float32frombits(bits)).Bits()
}

// nearest32 rounds x to the bits of a binary32: to nearest, ties to even, NaN quieted.
func nearest32(x float64) uint32 {
	if x != x {
		return nan32(x)
	}
	return math.Float32bits(float32(x))
}

// odd32 rounds x to the bits of a binary32 by rounding to odd: what is not exact is cut towards zero, and its last bit set.
// That bit then stands for everything cut off, so that rounding the result to a format at least two bits narrower gives
// what rounding x itself would: no tie appears that was none, and none is missed (Boldo and Melquiond, "Emulation of a FMA
// and correctly rounded sums", 2008). Overflow gives the largest finite binary32, which every narrower format takes to infinity.
func odd32(x float64) uint32 {
	near := float32(x)
	bits := math.Float32bits(near)
	switch back := float64(near); {
	case back == x:
		return bits
	case x != x:
		return nan32(x)
	case math.Abs(back) > math.Abs(x):
		bits--
	}
	return bits | 1
}

// nan32 narrows a NaN: sign and upper payload bits kept, quiet. Written out because machines differ in what they convert it to.
func nan32(x float64) uint32 {
	bits := math.Float64bits(x)
	return uint32(bits>>sign64Over32)&sign32 | inf32 | quiet32 | uint32(bits>>lostOfF64)&(quiet32-1)
}

// wide64 widens the binary32 with the given bits exactly. A NaN keeps sign and payload and becomes quiet.
func wide64(bits uint32) float64 {
	if bits&^sign32 > inf32 {
		payload := uint64(bits&(quiet32-1)) << lostOfF64
		return math.Float64frombits(uint64(bits&sign32)<<sign64Over32 | inf64 | quiet64 | payload)
	}
	return float64(math.Float32frombits(bits))
}

func finite(v float64) bool { return math.Float64bits(v)&^sign64 < inf64 }
