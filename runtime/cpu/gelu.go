package cpu

import (
	"math"
	"sync"
)

const (
	geluReach   = 6  // from here on x is GELU(x) as a float32
	geluSteps   = 16 // nodes of a table for each unit of x
	geluTerms   = 7  // of the series about a node
	seriesReach = 3  // up to here the distribution function is a series, beyond a continued fraction
)

// gelu is, for each node from -geluReach to geluReach, the series of the normal distribution function about it: GELU(x) is x
// times that function. With terms up to the sixth power of a distance of at most 1/32, GELU is within one unit in the last
// place of float32. All is made of basic operations and square roots, so that every machine gives the same bits.
type gelu [2*geluReach*geluSteps + 1][geluTerms]float64

var gelus = sync.OnceValue(func() *gelu {
	t := new(gelu)
	for i := range t {
		x := float64(i)/geluSteps - geluReach
		// The k-th derivative is the density times the (k-1)-th Hermite polynomial, with alternating signs.
		t[i][0] = distribution(x)
		factor, hermite, before := density(x), 1.0, 0.0
		for k := 1; k < geluTerms; k++ {
			factor /= float64(k)
			t[i][k] = factor * hermite
			hermite, before = float64(x*hermite)-float64(float64(k-1)*before), hermite
			factor = -factor
		}
	}
	return t
})

// apply computes x/2 * (1 + erf(x/sqrt(2))) in place.
func (t *gelu) apply(values []float32) {
	for i, x := range values {
		v := float64(x)
		if !(v > -geluReach && v < geluReach) { // so for NaN
			if v < 0 {
				v *= tail(-v)
			}
			values[i] = float32(v)
			continue
		}
		n := float64(v*geluSteps) + toInteger
		h := v - (n-toInteger)/geluSteps
		c := &t[int32(math.Float64bits(n))+geluReach*geluSteps]
		y := float64(c[6]*h) + c[5]
		y = float64(y*h) + c[4]
		y = float64(y*h) + c[3]
		y = float64(y*h) + c[2]
		y = float64(y*h) + c[1]
		y = float64(y*h) + c[0]
		values[i] = float32(v * y)
	}
}

// density is that of the normal distribution.
func density(x float64) float64 {
	return exponents().exp(-x*x/2) / math.Sqrt(2*math.Pi)
}

// distribution is the normal distribution function.
func distribution(x float64) float64 {
	switch {
	case x < -seriesReach:
		return tail(-x)
	case x > seriesReach:
		return 1 - tail(x)
	}
	// 1/2 + density * (x + x^3/3 + x^5/(3*5) + ...)
	sum, term := 0.0, x
	for k := 3.0; sum+term != sum; k += 2 {
		sum += term
		term *= x * x / k
	}
	return 0.5 + float64(density(x)*sum)
}

// tail is the probability of values above x, for x beyond seriesReach: density / (x + 1/(x + 2/(x + 3/...))). Of the fraction,
// 48/x parts are enough: 16 where it begins, fewer further out.
func tail(x float64) float64 {
	f := x
	for k := math.Ceil(48 / x); k > 0; k-- {
		f = x + k/f
	}
	return density(x) / f
}
