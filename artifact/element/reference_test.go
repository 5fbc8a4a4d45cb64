package element

import (
	"encoding/binary"
	"math"
	"math/big"
	"sort"
)

// binaryFormat describes a target format by IEEE 754's parameters, from which the tests derive all expected values: by formula and
// comparison, with none of the bit arithmetic under test.
type binaryFormat struct {
	format                 Format
	expBits, fracBits      int
	nonNegative, midpoints []float64 // nonNegative[code]; midpoints[code] lies between the values of code and code+1
}

var (
	refF16  = newBinaryFormat(F16, 5, 10)
	refBF16 = newBinaryFormat(BF16, 8, 7)
	refF32  = binaryFormat{format: F32, expBits: 8, fracBits: 23}
)

// newBinaryFormat lists the values of a 16-bit format. The code of infinity counts as the next power of two, to which
// round to nearest compares.
func newBinaryFormat(f Format, expBits, fracBits int) binaryFormat {
	b := binaryFormat{format: f, expBits: expBits, fracBits: fracBits}
	for code := 0; code <= b.infinity(); code++ {
		b.nonNegative = append(b.nonNegative, b.magnitude(code))
	}
	for i, v := range b.nonNegative[1:] {
		b.midpoints = append(b.midpoints, (b.nonNegative[i]+v)/2)
	}
	return b
}

func (b binaryFormat) bias() int { return 1<<(b.expBits-1) - 1 }

func (b binaryFormat) infinity() int { return (1<<b.expBits - 1) << b.fracBits }

func (b binaryFormat) magnitude(code int) float64 {
	exponent, fraction := code>>b.fracBits, float64(code%(1<<b.fracBits))
	unit := math.Ldexp(1, -b.fracBits)
	if exponent == 0 {
		return math.Ldexp(fraction*unit, 1-b.bias())
	}
	return math.Ldexp(1+fraction*unit, exponent-b.bias())
}

// value decodes a code with its sign bit; ok is false for NaN.
func (b binaryFormat) value(code int) (v float64, ok bool) {
	signBit := 1 << (b.expBits + b.fracBits)
	switch magnitude := code &^ signBit; {
	case magnitude > b.infinity():
		return 0, false
	case magnitude == b.infinity():
		v = math.Inf(1)
	default:
		v = b.magnitude(magnitude)
	}
	if code&signBit != 0 {
		v = math.Copysign(v, -1)
	}
	return v, true
}

// round gives the code nearest to x, ties to the even code, by searching the list of midpoints. x is no NaN.
func (b binaryFormat) round(x float64) int {
	a := math.Abs(x)
	code := sort.SearchFloat64s(b.midpoints, a)
	if code < len(b.midpoints) && b.midpoints[code] == a && code%2 == 1 {
		code++
	}
	return b.signed(code, x)
}

// roundBig does the same in arbitrary precision, for any format: x is divided by the quantum, the spacing of the values
// around it, and the quotient rounded as an integer.
func (b binaryFormat) roundBig(x float64) int {
	switch {
	case x == 0:
		return b.signed(0, x)
	case math.IsInf(x, 0):
		return b.signed(b.infinity(), x)
	}
	_, exponent := math.Frexp(x) // |x| in [2^(exponent-1), 2^exponent)
	exponent = max(exponent-1, 1-b.bias())
	quotient := new(big.Rat).SetFloat64(math.Abs(x))
	quantum := exponent - b.fracBits
	if power := new(big.Int).Lsh(big.NewInt(1), uint(max(quantum, -quantum))); quantum >= 0 {
		quotient.Quo(quotient, new(big.Rat).SetInt(power))
	} else {
		quotient.Mul(quotient, new(big.Rat).SetInt(power))
	}
	whole, rest := new(big.Int).QuoRem(quotient.Num(), quotient.Denom(), new(big.Int))
	n := int(whole.Int64())
	if c := rest.Lsh(rest, 1).Cmp(quotient.Denom()); c > 0 || c == 0 && n%2 == 1 {
		n++
	}
	code := (exponent+b.bias()-1)<<b.fracBits + n
	return b.signed(min(code, b.infinity()), x)
}

func (b binaryFormat) signed(code int, x float64) int {
	if math.Signbit(x) {
		return code | 1<<(b.expBits+b.fracBits)
	}
	return code
}

// naiveStats is the definition of a patch's statistics over x and over y as decoded from dst.
func naiveStats[T float32 | float64](
	dst []byte, dstStride int, src []T, srcStride, rows, cols int, b binaryFormat,
) (s Stats, first int) {
	x := func(r, c int) float64 { return float64(src[r*srcStride+c]) }
	return statsOf(x, func(r, c int) float64 {
		at := dst[r*dstStride+c*b.format.Size():]
		if b.format == F32 {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(at)))
		}
		v, ok := b.value(int(binary.LittleEndian.Uint16(at)))
		if !ok {
			return math.NaN()
		}
		return v
	}, rows, cols)
}

// statsOf is the definition of a patch's statistics, written lane by lane over x and y by row and column.
func statsOf(x, y func(r, c int) float64, rows, cols int) (s Stats, first int) {
	var xx, xd, dd [8]float64
	first = rows * cols
	for lane := range 8 {
		for r := range rows {
			for c := lane; c < cols; c += 8 {
				x, y := x(r, c), y(r, c)
				s.Elements++
				if !finite(x) || !finite(y) {
					s.NonFinite++
					first = min(first, r*cols+c)
					continue
				}
				if x != y {
					s.Inexact++
				}
				if x != 0 && y == 0 {
					s.Underflowed++
				}
				s.MaxAbsError = math.Max(s.MaxAbsError, math.Abs(x-y))
				s.MaxAbsValue = math.Max(s.MaxAbsValue, math.Abs(x))
				xx[lane] += float64(x * x)
				xd[lane] += float64(x * (x - y))
				dd[lane] += float64((x - y) * (x - y))
			}
		}
	}
	if first == rows*cols {
		first = -1
	}
	join := func(l [8]float64) float64 { return ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7])) }
	s.SumXX, s.SumXD, s.SumDD = join(xx), join(xd), join(dd)
	return s, first
}

func rat(x float64) *big.Rat { return new(big.Rat).SetFloat64(x) }

// refRoundToEven is the integer nearest to x, ties to the even one.
func refRoundToEven(x *big.Rat) *big.Int {
	twice := new(big.Rat).Mul(x, big.NewRat(2, 1))
	half := new(big.Int).Add(twice.Num(), twice.Denom()) // (2x + 1) / 2, to be rounded down
	n, rest := new(big.Int).DivMod(half, new(big.Int).Mul(twice.Denom(), big.NewInt(2)), new(big.Int))
	if rest.Sign() == 0 && n.Bit(0) == 1 {
		n.Sub(n, big.NewInt(1))
	}
	return n
}

func refClamp(n *big.Int, least, most int64) int64 {
	switch {
	case n.Cmp(big.NewInt(least)) < 0:
		return least
	case n.Cmp(big.NewInt(most)) > 0:
		return most
	}
	return n.Int64()
}

// sameBits compares two statistics down to the bits of their floating-point fields.
func sameBits(a, b Stats) bool {
	bits := func(s Stats) [9]uint64 {
		return [9]uint64{
			s.Elements, s.Inexact, s.Underflowed, s.NonFinite,
			math.Float64bits(s.MaxAbsError), math.Float64bits(s.MaxAbsValue),
			math.Float64bits(s.SumXX), math.Float64bits(s.SumXD), math.Float64bits(s.SumDD),
		}
	}
	return bits(a) == bits(b)
}
