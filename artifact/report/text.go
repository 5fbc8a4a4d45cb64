package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"npuw/artifact"
)

// clean makes any text fit to be shown: no characters that move or hide others (an index has none, a path may), and no more of it
// than is of use.
func clean(s string) string {
	const rest = maxText / 2
	if n := utf8.RuneCountInString(s); n > maxText {
		r := []rune(s)
		s = string(r[:rest]) + "…" + string(r[n-rest+1:])
	}
	return strings.Map(func(r rune) rune {
		if artifact.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// count writes a whole number with its digits in threes: "41,231,192".
func count[N int | uint64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural writes a number of things: "1 operand", "1,200 operands".
func plural[N int | uint64](n N, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return count(n) + " " + thing
}

// prefixed writes a number with three digits and one of the prefixes for powers of thousand.
func prefixed(n uint64, prefixes [7]string) string {
	if n < 1000 {
		return fmt.Sprint(n) + prefixes[0]
	}
	x, i := float64(n), 0
	for ; x >= 999.5 && i < len(prefixes)-1; i++ {
		x /= 1000
	}
	return digits(x, 3) + prefixes[i]
}

// size writes a number of bytes for people: "41.2 MB".
func size(n uint64) string {
	return prefixed(n, [...]string{" B", " kB", " MB", " GB", " TB", " PB", " EB"})
}

// about writes a number for people: "20.6 M".
func about(n uint64) string {
	if n < 1e6 {
		return count(n)
	}
	return prefixed(n, [...]string{"", " k", " M", " B", " T", " P", " E"})
}

// digits writes x, at least 0, with n digits in all, but never fewer than it has before the point.
func digits(x float64, n int) string {
	for places := n - 1; ; places-- {
		s := strconv.FormatFloat(x, 'f', places, 64)
		if len(s) <= n+1 || places == 0 { // one is the point
			return s
		}
	}
}

// percent writes a share: "50.1 %".
func percent(part, whole float64) string {
	switch x := 100 * part / whole; {
	case part == 0 || whole == 0:
		return "0 %"
	case x < 0.01:
		return "< 0.01 %"
	case x < 1:
		return strconv.FormatFloat(x, 'f', 2, 64) + " %"
	case x < 99.95:
		return strconv.FormatFloat(x, 'f', 1, 64) + " %"
	case part < whole:
		return "> 99.9 %"
	default:
		return strconv.FormatFloat(x, 'f', 0, 64) + " %"
	}
}

// small writes an error with three digits: "1.66e-3".
func small(x float64) string {
	switch {
	case x == 0:
		return "0"
	case math.IsNaN(x):
		return "not a number"
	case math.IsInf(x, 0):
		return "∞"
	case x >= 0.0995 && x < 0.9995:
		return strconv.FormatFloat(x, 'f', 3, 64)
	case x >= 0.9995 && x < 999.5:
		return digits(x, 3)
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(x, 'e', 2, 64), "e")
	sign := ""
	if exponent[0] == '-' {
		sign = "-"
	}
	return mantissa + "e" + sign + strings.TrimLeft(exponent[1:], "0")
}

// cosine writes a cosine: all places are needed, most are nines.
func cosine(x float64) string {
	switch {
	case x == 1:
		return "1"
	case math.IsNaN(x) || math.IsInf(x, 0):
		return small(x)
	}
	return strconv.FormatFloat(x, 'f', 8, 64)
}

// sortKey writes a number for the script.
func sortKey(x float64) string {
	if math.IsInf(x, 0) {
		return "Infinity"
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// share is a length in a drawing: part of whole, in percent, for CSS.
func share(part, whole float64) string {
	if whole <= 0 || math.IsNaN(part) {
		return "0%"
	}
	return strconv.FormatFloat(100*min(max(part/whole, 0), 1), 'f', 3, 64) + "%"
}

// add adds without going beyond what can be counted: sums of a hostile index may.
func add(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// leftOut says what a drawing lacks; empty when nothing.
func leftOut(n int, thing string) string {
	if n <= 0 {
		return ""
	}
	return plural(n, "more "+thing) + " left out here"
}
