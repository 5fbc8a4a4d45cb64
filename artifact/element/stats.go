package element

import "math"

// Stats is the error of an operand's encoded elements y against their source values x, with d = x-y (schema/FORMAT.md,
// "Statistics"). An element whose x or y is not finite counts in Elements and NonFinite and in nothing else.
type Stats struct {
	Elements    uint64 // logical elements, padding left out
	Inexact     uint64 // those with y != x
	Underflowed uint64 // those with y == 0 and x != 0
	NonFinite   uint64 // those with x or y infinite or NaN

	MaxAbsError float64 // max |d|
	MaxAbsValue float64 // max |x|

	SumXX, SumXD, SumDD float64 // sums of x*x, x*d and d*d, in the order that EncodePatch and Add fix
}

// Add joins the statistics of further elements to s. Floating-point sums depend on their order, so the caller must add
// parts in the order that the file format fixes.
func (s *Stats) Add(p Stats) {
	s.Elements += p.Elements
	s.Inexact += p.Inexact
	s.Underflowed += p.Underflowed
	s.NonFinite += p.NonFinite
	s.MaxAbsError = max(s.MaxAbsError, p.MaxAbsError)
	s.MaxAbsValue = max(s.MaxAbsValue, p.MaxAbsValue)
	s.SumXX += p.SumXX
	s.SumXD += p.SumXD
	s.SumDD += p.SumDD
}

// RelativeL2 is the norm of the error over the norm of the source, |d|/|x|: 0 without error, +Inf when only x is all zero.
func (s Stats) RelativeL2() float64 {
	if s.SumDD == 0 {
		return 0
	}
	return math.Sqrt(s.SumDD / s.SumXX)
}

// Cosine is the cosine of the angle between source and encoded values, from x·y = x·x - x·d and y·y = x·x - 2x·d + d·d.
// It is 1 when both are all zero, and 0 when one of them is.
func (s Stats) Cosine() float64 {
	xx, yy := s.SumXX, s.SumXX-2*s.SumXD+s.SumDD
	switch {
	case xx == 0 && yy == 0:
		return 1
	case xx <= 0 || yy <= 0:
		return 0
	}
	return (xx - s.SumXD) / math.Sqrt(xx*yy)
}
