package element

import (
	"math"
	"math/big"
)

// The definitions of schema/FORMAT.md, section 6, in exact arithmetic: every operation on rational numbers, and rounded to
// binary64 where the definition rounds.

// nearest64 is the binary64 nearest to x, ties to even.
func nearest64(x *big.Rat) float64 {
	v, _ := x.Float64()
	return v
}

func refDivide(x, y float64) float64 { return nearest64(new(big.Rat).Quo(rat(x), rat(y))) }

func refSubtract(x, y float64) float64 { return nearest64(new(big.Rat).Sub(rat(x), rat(y))) }

// refRound is the value of f nearest to x, infinite beyond its range.
func refRound(x float64, f Format) float64 {
	b := map[Format]binaryFormat{F32: refF32, F16: refF16, BF16: refBF16}[f]
	code := b.roundBig(math.Abs(x))
	if code == b.infinity() {
		return math.Copysign(math.Inf(1), x)
	}
	return math.Copysign(b.magnitude(code), x)
}

// refScale rounds a scale, at least the least positive value of f. For E8M0 it tries every power of two.
func refScale(scale float64, f Format) float64 {
	if f == E8M0 {
		for e := -127; e <= 127; e++ {
			if p := math.Ldexp(1, e); p >= scale {
				return p
			}
		}
		return math.Inf(1)
	}
	least := map[Format]float64{F32: 0x1p-149, F16: 0x1p-24, BF16: 0x1p-133}[f]
	return max(refRound(scale, f), least)
}

// refLimits are the least and the greatest integer of codes in a scheme, and for one with zeros or minimums of the format.
func refLimits(s Scheme) (least, most int64) {
	switch {
	case s.Codes == I8 && s.Zeros == 0:
		return -127, 127
	case s.Codes == I8:
		return -128, 127
	case s.Codes == U8:
		return 0, 255
	case s.Codes == I4 && s.Zeros == 0:
		return -7, 7
	case s.Codes == I4:
		return -8, 7
	case s.Codes == U4:
		return 0, 15
	}
	return -1, 1
}

// refFit chooses a block's numbers for finite values. ok is false where one would be infinite.
func refFit(s Scheme, values []float64) (b Block, ok bool) {
	lo, hi := 0.0, 0.0
	for i, x := range values {
		if i == 0 || x < lo {
			lo = x
		}
		if i == 0 || x > hi {
			hi = x
		}
	}
	least, most := refLimits(s)
	b.Scale = 1
	switch {
	case s.Zeros != 0:
		lo, hi = math.Min(lo, 0), math.Max(hi, 0)
		if lo == hi {
			return Block{Scale: 1, Zero: math.Max(float64(least), 0)}, true
		}
		if math.IsInf(hi-lo, 0) {
			return b, false
		}
		if b.Scale = refScale(refDivide(refSubtract(hi, lo), float64(most-least)), s.Scales); math.IsInf(b.Scale, 0) {
			return b, false
		}
		b.Zero = float64(refClamp(refRoundToEven(rat(refSubtract(float64(least), refDivide(lo, b.Scale)))), least, most))
	case s.Minimums != 0:
		b.Minimum = refRound(lo, s.Minimums)
		if math.IsInf(b.Minimum, 0) || math.IsInf(hi-b.Minimum, 0) {
			return b, false
		}
		if d := refDivide(refSubtract(hi, b.Minimum), float64(most)); lo != hi && d > 0 {
			b.Scale = refScale(d, s.Scales)
		}
	default:
		if a := math.Max(math.Abs(lo), math.Abs(hi)); a > 0 {
			b.Scale = refScale(refDivide(a, float64(most)), s.Scales)
		}
	}
	return b, !math.IsInf(b.Scale, 0)
}

// refQuantize gives the code of x, as it stands in a byte.
func refQuantize(x float64, s Scheme, b Block) byte {
	least, most := refLimits(s)
	var code int64
	switch {
	case s.Codes == NF4:
		return refNF4(refDivide(x, b.Scale))
	case s.Minimums != 0:
		code = refClamp(refRoundToEven(rat(refDivide(refSubtract(x, b.Minimum), b.Scale))), least, most)
	default:
		rounded := refRoundToEven(rat(refDivide(x, b.Scale)))
		code = refClamp(rounded.Add(rounded, big.NewInt(int64(b.Zero))), least, most)
	}
	if s.Codes == I4 || s.Codes == U4 {
		return byte(code) & 0xf
	}
	return byte(code)
}

// refNF4 is the code whose value is nearest to x, of two the even one.
func refNF4(x float64) byte {
	distance := func(code int) *big.Rat {
		d := new(big.Rat).Sub(rat(x), rat(float64(float32(nf4[code]))))
		return d.Abs(d)
	}
	best := 0
	for code := 1; code < 16; code++ {
		if c := distance(code).Cmp(distance(best)); c < 0 || c == 0 && code%2 == 0 {
			best = code
		}
	}
	return byte(best)
}

// refValue is the value that a code stands for in a block.
func refValue(code byte, s Scheme, b Block) float64 {
	number := new(big.Rat)
	if s.Codes == NF4 {
		number.SetFloat64(nf4[code%16])
	} else {
		number.SetInt64(refInteger(code, s.Codes))
	}
	number.Sub(number, rat(b.Zero))
	number.Mul(number, rat(b.Scale))
	return nearest64(number.Add(number, rat(b.Minimum)))
}

// schemes are all schemes that there are.
func schemes() []Scheme {
	var all []Scheme
	for codes := I8; codes <= NF4; codes++ {
		for _, scales := range []Format{F32, F16, BF16, E8M0} {
			for _, rest := range [][2]Format{{}, {codes, 0}, {0, F32}, {0, F16}, {0, BF16}} {
				if s := (Scheme{codes, scales, rest[0], rest[1]}); s.Validate() == nil {
					all = append(all, s)
				}
			}
		}
	}
	return all
}
