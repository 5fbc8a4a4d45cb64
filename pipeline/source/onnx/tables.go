package onnx

import "math"

// nf4Values and fp4Values are what the codes of MatMulBnb4 stand for, by quant_type 1 and 0 (ContribOperators.md, and
// contrib_ops/cpu/quantization/blockwise_quant_block_bnb4.h of github.com/microsoft/onnxruntime, which have them from bitsandbytes).
var (
	nf4Values = [16]float32{
		-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
		-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
		0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
		0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
	}
	fp4Values = [16]float32{
		0, 5.208333333e-03, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25,
		float32(math.Copysign(0, -1)), -5.208333333e-03, -0.66666667, -1, -0.33333333, -0.5, -0.16666667, -0.25,
	}
)

// float8 is the value of one of ONNX's 8-bit floats, sign, exponent and significand from the upper bits down (onnx.ai/onnx/technical,
// "Float stored in 8 bits"). The FNUZ types have one NaN, 0x80, no infinity and no negative zero, and an exponent biased by one more;
// E4M3FN has NaN at 0x7f and 0xff and no infinity; E5M2 is as IEEE 754 would have it.
func float8(code, exponentBits int, fnuz bool) float32 {
	fraction := 7 - exponentBits
	bias := 1<<(exponentBits-1) - 1
	if fnuz {
		bias++
	}
	sign, exponent, significand := code>>7, code>>fraction&(1<<exponentBits-1), code&(1<<fraction-1)
	top := exponent == 1<<exponentBits-1
	switch {
	case fnuz && code == 0x80, !fnuz && exponentBits == 4 && code&0x7f == 0x7f, !fnuz && exponentBits == 5 && top && significand != 0:
		return float32(math.NaN())
	case !fnuz && exponentBits == 5 && top:
		return float32(math.Inf(1 - 2*sign))
	case exponent == 0:
		exponent = 1 // subnormal
	default:
		significand |= 1 << fraction
	}
	x := math.Ldexp(float64(significand), exponent-bias-fraction)
	return float32(math.Copysign(x, float64(1-2*sign)))
}
