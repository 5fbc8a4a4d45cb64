package cpu

import (
	"math"
	"sync"
)

const (
	expSteps = 32   // entries of an expTable
	expLeast = -104 // e to the power of anything below is 0 as a float32
	// toInteger added to a small float64 and taken off again rounds it to an integer, which stands in the low bits in between.
	toInteger = 1.5 * (1 << 52)
)

// expTable is 2^(j/32) as the bits of a float64.
type expTable [expSteps]uint64

// exponents is made of square roots, which are the same on every machine.
var exponents = sync.OnceValue(func() *expTable {
	t := new(expTable)
	for j := range t {
		value, root := 1.0, 2.0
		for bit := expSteps / 2; bit > 0; bit /= 2 {
			root = math.Sqrt(root)
			if j&bit != 0 {
				value *= root
			}
		}
		t[j] = math.Float64bits(value)
	}
	return t
})

// exp is e^x for x up to 0, 0 below expLeast, with a relative error below 2e-12: rounded to float32, all but one in about
// 50,000 are the nearest. It is 2^(n/32) * e^r with an integer n and r at most ln(2)/64, of which the series is short.
// Conversions keep the compiler from fusing products and sums, so that every machine gives the same bits.
func (t *expTable) exp(x float64) float64 {
	if !(x >= expLeast) { // so for NaN
		if x < expLeast {
			return 0
		}
		return x
	}
	n := float64(x*(expSteps/math.Ln2)) + toInteger
	bits := math.Float64bits(n)
	r := x - float64((n-toInteger)*(math.Ln2/expSteps))
	e := float64(1.0/24*r) + 1.0/6
	e = float64(e*r) + 1.0/2
	e = float64(e*r) + 1
	e = float64(e*r) + 1
	return e * math.Float64frombits(t[bits%expSteps]+bits/expSteps<<52)
}
