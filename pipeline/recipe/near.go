package recipe

import (
	"slices"
	"strings"

	nearness "npuw/artifact/near"
)

// In the symbols of a pattern these bytes, which no name has, stand for wildcards.
const (
	anyStar   = 1
	anyDigits = 2
)

// symbols gives a pattern for near.
func (p *pattern) symbols() []byte {
	var b []byte
	for _, t := range p.tokens {
		switch t.kind {
		case star, stars:
			b = append(b, anyStar)
		case digits:
			b = append(b, anyDigits)
		default:
			b = append(b, t.text...)
		}
	}
	return b
}

// near returns "; near: a, b" with the names most like what was wanted, three at most, or nothing if none is like it. Of names that differ in
// whole numbers alone (layers.0, layers.1) it gives the first.
func near(wanted []byte, names []string) string {
	const most = 3
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	seen := map[string]bool{}
	for _, name := range names {
		if key := generalize(name); !seen[key] && len(name) <= maxName {
			seen[key] = true
			found = append(found, candidate{name, distance(wanted, name)})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.distance - b.distance })
	found = slices.DeleteFunc(found, func(c candidate) bool {
		return c.distance > min(max(len(wanted), len(c.name))/3, 2*max(found[0].distance, 1))
	})
	if len(found) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("; near: ")
	for i, c := range found[:min(len(found), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.name)
	}
	return b.String()
}

// generalize gives the pattern that takes a name and those that differ from it in whole numbers alone: {i}, {j}, ... for each
// part that is a number.
func generalize(name string) string {
	parts := strings.Split(name, ".")
	word := byte('i')
	for i, part := range parts {
		if part != "" && strings.Trim(part, "0123456789") == "" && word <= 'z' {
			parts[i] = "{" + string(rune(word)) + "}"
			word++
		}
	}
	return strings.Join(parts, ".")
}

// distance is how unlike a name is to what was wanted. A wildcard stands for any run of what it takes.
func distance(wanted []byte, name string) int {
	return nearness.Distance(wanted, name, func(symbol byte) func(byte) bool {
		switch symbol {
		case anyStar:
			return star.takes
		case anyDigits:
			return digits.takes
		}
		return nil
	})
}
