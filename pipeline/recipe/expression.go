package recipe

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"npuw/pipeline/model"
)

// expression is a product of numbers and of sizes of a model, each with a power: "2*head_dim^-0.5". The zero expression is 1.
type expression struct {
	text     string
	negative bool
	factors  []factor
}

// factor is a number or a size, to a power; the product is multiplied by it, or divided.
type factor struct {
	number float64
	size   string // where not empty, instead of the number
	halves int    // the power times 2
	divide bool
}

// Limits of an expression. Kernels ask for one or two factors.
const (
	maxFactors = 16
	maxPower   = 16
)

// parseExpression reads
//
//	expression = [ "-" ] factor { ( "*" | "/" ) factor }
//	factor     = ( number | size ) [ "^" [ "-" ] multiple of 1/2 ]
//
// with spaces anywhere between. A number is decimal, with a point and an exponent or without.
func parseExpression(text string) (expression, error) {
	e := expression{text: text}
	s := expressionScanner{rest: text}
	e.negative = s.accept('-')
	for divide := false; ; {
		f, err := s.factor()
		if err != nil {
			return expression{}, err
		}
		f.divide = divide
		if e.factors = append(e.factors, f); len(e.factors) > maxFactors {
			return expression{}, fmt.Errorf("it has more than %d factors", maxFactors)
		}
		switch {
		case s.accept('*'):
			divide = false
		case s.accept('/'):
			divide = true
		case s.rest == "":
			return e, nil
		default:
			return expression{}, fmt.Errorf("found %q where *, / or the end was expected", s.rest)
		}
	}
}

// expressionScanner reads an expression from its beginning.
type expressionScanner struct{ rest string }

// accept moves past c, and spaces around it, if it comes next.
func (s *expressionScanner) accept(c byte) bool {
	s.rest = strings.TrimLeft(s.rest, " ")
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = strings.TrimLeft(s.rest[1:], " ")
	return true
}

// take moves past the longest beginning of bytes that are in a set.
func (s *expressionScanner) take(in func(c byte) bool) string {
	n := 0
	for n < len(s.rest) && in(s.rest[n]) {
		n++
	}
	taken := s.rest[:n]
	s.rest = s.rest[n:]
	return taken
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }

func (s *expressionScanner) factor() (factor, error) {
	s.rest = strings.TrimLeft(s.rest, " ")
	f := factor{halves: 2}
	switch {
	case s.rest != "" && isLetter(s.rest[0]):
		f.size = s.take(func(c byte) bool { return isLetter(c) || isDigit(c) })
	default:
		var err error
		if f.number, err = s.number(); err != nil {
			return f, err
		}
	}
	if !s.accept('^') {
		return f, nil
	}
	negative := s.accept('-')
	power, err := s.number()
	if err != nil {
		return f, err
	}
	if power > maxPower || 2*power != math.Trunc(2*power) {
		return f, fmt.Errorf("the power %v is no multiple of 1/2 from -%d to %d", power, maxPower, maxPower)
	}
	if f.halves = int(2 * power); negative {
		f.halves = -f.halves
	}
	return f, nil
}

// number reads a decimal number without a sign.
func (s *expressionScanner) number() (float64, error) {
	rest := s.rest
	decimal := func(c byte) bool { return isDigit(c) || c == '.' }
	text := s.take(decimal)
	if text != "" && s.rest != "" && (s.rest[0] == 'e' || s.rest[0] == 'E') {
		exponent := expressionScanner{rest: s.rest[1:]}
		sign := exponent.take(func(c byte) bool { return c == '+' || c == '-' })
		if digits := exponent.take(isDigit); digits != "" && len(sign) <= 1 {
			text, s.rest = text+"e"+sign+digits, exponent.rest
		}
	}
	if text == "" {
		if rest == "" {
			return 0, errors.New("a number or a size of the model should follow at the end")
		}
		return 0, fmt.Errorf("found %q where a number or a size of the model was expected", rest)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return v, nil
}

// value computes the expression for a model: in binary64, every step rounded by itself, so that it is the same on every machine
// (schema/release.proto, Part.scale). It is finite and not 0.
func (e *expression) value(m *model.Model) (float64, error) {
	v := 1.0
	for _, f := range e.factors {
		x := f.number
		if f.size != "" {
			size, err := sizeOf(m, f.size)
			if err != nil {
				return 0, err
			}
			x = float64(size)
		}
		if x = power(x, f.halves); f.divide {
			v /= x
		} else {
			v *= x
		}
	}
	if e.negative {
		v = -v
	}
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, fmt.Errorf("it is %v; a finite number other than 0 was expected", v)
	}
	return v, nil
}

// count is the value of an expression that counts indices.
func (e *expression) count(m *model.Model) (uint64, error) {
	v, err := e.value(m)
	if err != nil {
		return 0, err
	}
	if v < 1 || v > 1<<53 || v != math.Trunc(v) {
		return 0, fmt.Errorf("it is %v; a whole number of at least 1 was expected", v)
	}
	return uint64(v), nil
}

// power is x to the power of halves/2: 1 times x for each whole, times the square root of x for a half, and 1 divided by that where
// the power is negative. math.Pow is not the same on every machine.
func power(x float64, halves int) float64 {
	wholes := halves
	if wholes < 0 {
		wholes = -wholes
	}
	v := 1.0
	for range wholes / 2 {
		v *= x
	}
	if wholes%2 == 1 {
		v *= math.Sqrt(x)
	}
	if halves < 0 {
		v = 1 / v
	}
	return v
}

// sizeOf is a size of a model by name: an attribute that is a whole number of at least 1, or head_dim, which is d_model / heads.
func sizeOf(m *model.Model, name string) (uint64, error) {
	var known []string
	for _, a := range m.Attributes {
		if a.IsReal || a.Int < 1 {
			continue
		}
		if a.Name == name {
			return uint64(a.Int), nil
		}
		known = append(known, a.Name)
	}
	if name == "head_dim" {
		width, err := sizeOf(m, "d_model")
		if err != nil {
			return 0, err
		}
		heads, err := sizeOf(m, "heads")
		if err != nil {
			return 0, err
		}
		if width%heads != 0 {
			return 0, fmt.Errorf("head_dim is d_model/heads, but %d is no multiple of %d", width, heads)
		}
		return width / heads, nil
	}
	if slices.Contains(known, "heads") {
		known = append(known, "head_dim")
	}
	return 0, fmt.Errorf("the model has no size %q; it has %s", name, strings.Join(known, ", "))
}
