package explain

import (
	"fmt"
	"strings"

	"npuw/artifact/layout"
)

// digits lists the digits of a layout with how far they move and what they take from the index.
func digits(l layout.Layout) []Digit {
	list := make([]Digit, len(l.Digits))
	step := uint64(1)
	for i := len(l.Digits) - 1; i >= 0; i-- {
		d := l.Digits[i]
		a := l.Axes[d.Axis]
		list[i] = Digit{Axis: string(rune(a.Name)), Size: d.Size, Stride: d.Stride, Step: step, Value: value(d, a)}
		step *= d.Size
	}
	return list
}

// value writes what a digit takes from the index of its axis: k/64%8.
func value(d layout.Digit, a layout.Axis) string {
	if d.Size == 1 {
		return "0"
	}
	text := strings.ToLower(string(rune(a.Name)))
	if d.Stride > 1 {
		text += fmt.Sprintf("/%d", d.Stride)
	}
	if d.Stride*d.Size < a.Padded {
		text += fmt.Sprintf("%%%d", d.Size)
	}
	return text
}

// Formula writes the position of an element of a valid layout, in elements, as a sum over the digits: "n/32*4096 + k/8%8*256 + k%8".
func Formula(l layout.Layout) string { return formula(digits(l)) }

// formula writes the position of an element as a sum over the digits.
func formula(digits []Digit) string {
	return terms(digits, func(i int) string { return digits[i].Value })
}

// sum writes the formula for one index.
func sum(l layout.Layout, digits []Digit, index []uint64) string {
	return terms(digits, func(i int) string {
		d := l.Digits[i]
		return fmt.Sprint(index[d.Axis] / d.Stride % d.Size)
	})
}

func terms(digits []Digit, value func(i int) string) string {
	var terms []string
	for i, d := range digits {
		switch {
		case d.Size == 1:
		case d.Step == 1:
			terms = append(terms, value(i))
		default:
			terms = append(terms, fmt.Sprintf("%s*%d", value(i), d.Step))
		}
	}
	if len(terms) == 0 {
		return "0"
	}
	return strings.Join(terms, " + ")
}
