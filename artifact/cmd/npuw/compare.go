package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"npuw/artifact"
	"npuw/artifact/element"
)

// comparison is how far a result is from what was expected. Where either has a NaN or an infinity, the errors are missing and it has not
// passed.
type comparison struct {
	Cosine           *float64 `json:"cosine"`
	MaxAbsoluteError *float64 `json:"max_absolute_error"`
	// MaxRelativeError is the largest error divided by the value expected, those of 0 left out.
	MaxRelativeError *float64 `json:"max_relative_error"`
	Tolerance        float64  `json:"tolerance"`
	Passed           bool     `json:"passed"`

	why error // of not having passed
}

func compare(got, want []float32, tolerance float64) *comparison {
	c := &comparison{Tolerance: tolerance}
	var absolute, relative, gg, gw, ww float64
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		d := math.Abs(g - w)
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return c
		}
		gg, gw, ww = gg+g*g, gw+g*w, ww+w*w
		absolute = max(absolute, d)
		if w != 0 {
			relative = max(relative, d/math.Abs(w))
		}
	}
	cosine := 1.0 // of two vectors of zeros
	if gg != ww || gg != 0 {
		cosine = gw / math.Sqrt(max(gg*ww, math.SmallestNonzeroFloat64))
	}
	c.Cosine, c.MaxAbsoluteError, c.MaxRelativeError = &cosine, &absolute, &relative
	c.Passed = absolute <= tolerance
	return c
}

// failure says why a comparison with the values of the file path has not passed, nil if it has. Values are [positions, width].
func (c *comparison) failure(path string, got, want []float32, width uint64, x *artifact.Index) error {
	if c.Passed {
		return nil
	}
	if c.MaxAbsoluteError != nil {
		return fmt.Errorf("%s: the largest absolute error is %.3g, beyond the tolerance %g%s", path, *c.MaxAbsoluteError, c.Tolerance, roundingNote(x))
	}
	var sides []string
	if i := notFinite(want); i >= 0 {
		sides = append(sides, describe(want, i, width, "position", "column"))
	}
	if i := notFinite(got); i >= 0 {
		sides = append(sides, "the result's "+describe(got, i, width, "position", "column"))
	}
	return fmt.Errorf("%s: %s", path, strings.Join(sides, ", and "))
}

// roundingNote says what to expect where weights have been rounded.
func roundingNote(x *artifact.Index) string {
	var formats []string
	for i := range x.Operands {
		if f := x.Operands[i].Format; f != element.F32 && !slices.Contains(formats, f.String()) {
			formats = append(formats, f.String())
		}
	}
	if len(formats) == 0 {
		return ""
	}
	return fmt.Sprintf("; weights are packed in %s: against a reference that has them unrounded, expect more than 1e-4 (with bf16 about 0.03)",
		strings.Join(formats, " and "))
}

// notFinite is the index of the first value that is NaN or infinite, -1 if there is none.
func notFinite(values []float32) int {
	return slices.IndexFunc(values, func(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) })
}

// describe says "value 101 (mel 1, frame 1) is NaN" of element i of a matrix.
func describe(values []float32, i int, width uint64, row, column string) string {
	return fmt.Sprintf("value %d (%s %d, %s %d) is %v", i, row, uint64(i)/width, column, uint64(i)%width, values[i])
}
