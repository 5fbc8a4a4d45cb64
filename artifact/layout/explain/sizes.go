package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"npuw/artifact/layout"
)

// Size is a number that belongs to an axis.
type Size struct {
	Axis  byte // a capital letter
	Value uint64
}

// ParseSizes reads sizes such as "K=512,N=2048": axes, each once, and decimal numbers from 0 to 1<<62. Spaces around are allowed, as
// in "K=512, N=2048". The error says what was found, and what was expected instead.
func ParseSizes(text string) ([]Size, error) {
	var sizes []Size
	for field := range strings.SplitSeq(text, ",") {
		name, number, ok := strings.Cut(strings.TrimSpace(field), "=")
		name, number = strings.TrimSpace(name), strings.TrimSpace(number)
		if !ok || len(name) != 1 || name[0] < 'A' || name[0] > 'Z' {
			return nil, fmt.Errorf("%s: an axis, a capital letter, and its number was expected, as in K=512,N=2048", quote(field))
		}
		value, err := strconv.ParseUint(number, 10, 64)
		if err != nil || value > layout.MaxElements || number[0] == '+' {
			return nil, fmt.Errorf("%s: a number from 0 to 1<<62 was expected after %s=", quote(field), name)
		}
		if index(sizes, name[0]) >= 0 {
			return nil, fmt.Errorf("%s: axis %s has a number already", quote(field), name)
		}
		sizes = append(sizes, Size{name[0], value})
	}
	return sizes, nil
}

// quote shows the beginning of a text.
func quote(text string) string {
	const most = 40
	if len(text) > most {
		return strconv.QuoteToASCII(text[:most]) + "..."
	}
	return strconv.QuoteToASCII(text)
}

func index(sizes []Size, axis byte) int {
	return slices.IndexFunc(sizes, func(s Size) bool { return s.Axis == axis })
}

// covers checks that sizes are of these axes, each once; what are they of.
func covers(sizes []Size, names, what string) error {
	for _, name := range []byte(names) {
		i := index(sizes, name)
		if i < 0 {
			return fmt.Errorf("%w: %s: axis %c is missing, as in %s", ErrRequest, what, name, sample(sizes, name))
		}
		if sizes[i].Value == 0 && what == "shape" {
			return fmt.Errorf("%w: %s: %c=0: a size of 1 or more was expected", ErrRequest, what, name)
		}
	}
	for i, s := range sizes {
		if strings.IndexByte(names, s.Axis) < 0 {
			return fmt.Errorf("%w: %s: %c is no axis of the layout, which has %s", ErrRequest, what, s.Axis, strings.Join(strings.Split(names, ""), ", "))
		}
		if index(sizes[:i], s.Axis) >= 0 {
			return fmt.Errorf("%w: %s: axis %c is given twice", ErrRequest, what, s.Axis)
		}
	}
	return nil
}

// sample is what sizes would look like with one more.
func sample(sizes []Size, name byte) string {
	var texts []string
	for _, s := range sizes {
		texts = append(texts, fmt.Sprintf("%c=%d", s.Axis, s.Value))
	}
	return strings.Join(append(texts, fmt.Sprintf("%c=64", name)), ",")
}
