package element

import (
	"fmt"
	"math"
)

// Scheme says how the values of a block are held as codes (schema/FORMAT.md, section 6):
//
//	value = (decode(code) - zero) * scale + minimum
//
// in binary64: difference and product are exact, and adding the minimum, where the scheme has one, rounds once. A block is what
// shares scale, zero and minimum: a row, a group of a column, or a whole operand.
type Scheme struct {
	Codes    Format // I8, U8, I4, U4 or NF4
	Scales   Format // F32, F16 or BF16; also E8M0, in a scheme that is symmetric
	Zeros    Format // that of the codes, which are integers; 0: none, zero is 0
	Minimums Format // F32, F16 or BF16, over U8 or U4; 0: none
}

// String names the formats as listings do: "i8*f32", "u4*bf16-zero", "u8*f16+f32".
func (s Scheme) String() string {
	text := s.Codes.String() + "*" + s.Scales.String()
	if s.Zeros != 0 {
		text += "-zero"
	}
	if s.Minimums != 0 {
		text += "+" + s.Minimums.String()
	}
	return text
}

// Validate says why s is no scheme; nil when it is one. Unsigned codes have zeros or minimums, NF4 has neither, none has both.
func (s Scheme) Validate() error {
	switch {
	case s.Codes < I8 || s.Codes > NF4:
		return fmt.Errorf("element: codes in %v; i8, u8, i4, u4 or nf4 were expected", s.Codes)
	case !s.Scales.Plain() && s.Scales != E8M0:
		return fmt.Errorf("element: scales in %v; f32, f16, bf16 or e8m0 were expected", s.Scales)
	case s.Zeros != 0 && s.Minimums != 0:
		return fmt.Errorf("element: both zeros (%v) and minimums (%v); one of them was expected", s.Zeros, s.Minimums)
	case s.Zeros != 0 && (s.Zeros != s.Codes || s.Codes == NF4):
		return fmt.Errorf("element: zeros in %v of codes in %v; both in the same integer format were expected", s.Zeros, s.Codes)
	case s.Minimums != 0 && !s.Minimums.Plain():
		return fmt.Errorf("element: minimums in %v; f32, f16 or bf16 were expected", s.Minimums)
	case s.Minimums != 0 && s.Codes != U8 && s.Codes != U4:
		return fmt.Errorf("element: minimums of codes in %v; u8 or u4 were expected", s.Codes)
	case s.symmetric() && (s.Codes == U8 || s.Codes == U4):
		return fmt.Errorf("element: codes in %v without zeros or minimums hold no negative value", s.Codes)
	case !s.symmetric() && s.Scales == E8M0:
		return fmt.Errorf("element: scales in e8m0 with zeros or minimums; f32, f16 or bf16 were expected")
	}
	return nil
}

func (s Scheme) symmetric() bool { return s.Zeros == 0 && s.Minimums == 0 }

// limits are the least and the greatest number that an encoder decodes a code to: of a symmetric scheme one is the negative of
// the other, so that -128 and -8 are never written.
func (s Scheme) limits() (least, most float64) {
	least, most = s.ends()
	if s.symmetric() {
		least = -most
	}
	return least, most
}

// ends are the least and the greatest number that a code decodes to.
func (s Scheme) ends() (least, most float64) {
	switch s.Codes {
	case I8:
		least, most = -128, 127
	case U8:
		most = 255
	case I4:
		least, most = -8, 7
	case U4:
		most = 15
	case NF4:
		least, most = -1, 1
	}
	return least, most
}

// Range is the least and the greatest finite value of a block. The zero Range is that of a block that has none.
type Range struct {
	Lo, Hi float64 // a zero is +0; both are 0 where there is no value
	Any    bool    // there is a value
}

// Join extends r to the values of p, another part of the same block.
func (r *Range) Join(p Range) {
	switch {
	case !p.Any:
	case !r.Any:
		*r = p
	default:
		r.Lo, r.Hi = min(r.Lo, p.Lo), max(r.Hi, p.Hi)
	}
}

// Block is what the codes of a block share, each a value of its format in the scheme. Zero and Minimum are 0 where the scheme
// has none.
type Block struct {
	Scale, Zero, Minimum float64
}

// Fit chooses scale, zero and minimum for a block whose finite values lie in r, by the rules of schema/FORMAT.md. The error is
// that the scheme's formats do not reach so far.
func (s Scheme) Fit(r Range) (Block, error) {
	if err := s.Validate(); err != nil {
		return Block{}, err
	}
	if !(math.Abs(r.Lo) < math.Inf(1) && math.Abs(r.Hi) < math.Inf(1) && r.Lo <= r.Hi) {
		return Block{}, fmt.Errorf("element: no values lie in %g to %g", r.Lo, r.Hi)
	}
	b := s.fit(r.Lo+0, r.Hi+0) // a zero becomes +0
	switch {
	case math.IsInf(b.Minimum, 0):
		return Block{}, fmt.Errorf("element: values down to %g have no minimum in %v; use a format with a wider range", r.Lo, s.Minimums)
	case math.IsInf(b.Scale, 0):
		return Block{}, fmt.Errorf("element: values from %g to %g as %v have no scale in %v; use a format with a wider range",
			r.Lo, r.Hi, s.Codes, s.Scales)
	}
	return b, nil
}

// fit is Fit for arguments that were checked. What is beyond its format's range is infinite.
func (s Scheme) fit(lo, hi float64) (b Block) {
	least, most := s.limits()
	switch {
	case s.Zeros != 0:
		lo, hi = min(lo, 0), max(hi, 0)
		b.Scale = s.scale(hi-lo, most-least)
		b.Zero = min(max(math.RoundToEven(least-lo/b.Scale), least), most)
		if lo == hi {
			b.Zero = max(least, 0)
		}
	case s.Minimums != 0:
		b.Minimum = roundTo(lo, s.Minimums)
		span := hi - b.Minimum
		if lo == hi || !(span/most > 0) {
			span = 0
		}
		b.Scale = s.scale(span, most)
	default:
		b.Scale = s.scale(max(-lo, hi), most)
	}
	return b
}

// scale is span / steps rounded to the format of the scales, which may make it infinite: 1 for a span of 0, and otherwise never 0.
func (s Scheme) scale(span, steps float64) float64 {
	if span == 0 {
		return 1
	}
	if s.Scales == E8M0 {
		return powerAbove(span / steps)
	}
	if scale := roundTo(span/steps, s.Scales); scale != 0 {
		return scale
	}
	return smallest(s.Scales)
}

// powerAbove is the least value of E8M0 that is not below x, which is finite and not negative; infinite where there is none.
func powerAbove(x float64) float64 {
	fraction, exponent := math.Frexp(x) // x = fraction * 2^exponent, fraction from 1/2 to below 1; 0 has exponent 0
	if fraction == 0.5 {
		exponent--
	}
	switch {
	case exponent > biasE8M0:
		return math.Inf(1)
	case x == 0 || exponent < -biasE8M0:
		return pow2(-biasE8M0)
	}
	return pow2(exponent)
}

// roundTo is the value of f nearest to x, ties to even; f is Plain.
func roundTo(x float64, f Format) float64 {
	var code [4]byte
	var y [1]float32
	encode(code[:f.Size()], []float64{x}, f)
	decode32(y[:], code[:f.Size()], f)
	return float64(y[0])
}

// smallest is the least positive value of f, which is Plain.
func smallest(f Format) float64 {
	switch f {
	case F16:
		return 0x1p-24
	case BF16:
		return 0x1p-133
	}
	return math.SmallestNonzeroFloat32
}
