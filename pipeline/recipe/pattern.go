package recipe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// token is a piece of a pattern or template.
type token struct {
	kind   tokenKind
	text   string  // of a literal; of digits, the word between the braces
	within *limits // of digits; nil: any
}

// limits are the least and the greatest number that digits stand for.
type limits struct{ low, high uint64 }

type tokenKind uint8

const (
	literal tokenKind = iota
	star              // `*`: one or more characters other than a dot
	stars             // `**`: one or more characters
	digits            // `{i}`: one or more decimal digits; `{i:0-3}`: a number from 0 to 3
)

// takes reports whether a wildcard stands for c.
func (k tokenKind) takes(c byte) bool {
	switch k {
	case star:
		return c != '.'
	case stars:
		return true
	}
	return k == digits && '0' <= c && c <= '9'
}

// split cuts a pattern or template into tokens.
func split(text string) ([]token, error) {
	var tokens []token
	for text != "" {
		i := strings.IndexAny(text, "*{}")
		switch {
		case i < 0:
			return append(tokens, token{kind: literal, text: text}), nil
		case i > 0:
			tokens = append(tokens, token{kind: literal, text: text[:i]})
			text = text[i:]
		case strings.HasPrefix(text, "**"):
			tokens = append(tokens, token{kind: stars})
			text = text[2:]
		case text[0] == '*':
			tokens = append(tokens, token{kind: star})
			text = text[1:]
		default:
			inside, rest, closed := strings.Cut(text[1:], "}")
			name, bounds, bounded := strings.Cut(inside, ":")
			if text[0] == '}' || !closed || !isWord(name) {
				return nil, fmt.Errorf("a brace may only stand in {i} or {i:0-3}, where i is a word of lower-case letters")
			}
			t := token{kind: digits, text: name}
			if bounded {
				if t.within = parseLimits(bounds); t.within == nil {
					return nil, fmt.Errorf("{%s} should be {%s:0-3}: the least number and the greatest", inside, name)
				}
			}
			tokens = append(tokens, t)
			text = rest
		}
	}
	return tokens, nil
}

// parseLimits reads "0-3"; nil when it cannot.
func parseLimits(text string) *limits {
	low, high, _ := strings.Cut(text, "-")
	l, err := strconv.ParseUint(low, 10, 64)
	if err != nil {
		return nil
	}
	h, err := strconv.ParseUint(high, 10, 64)
	if err != nil || l > h {
		return nil
	}
	return &limits{l, h}
}

// holds reports whether decimal digits are a number within l; nil holds all.
func (l *limits) holds(text string) bool {
	if l == nil {
		return true
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return err == nil && l.low <= n && n <= l.high
}

func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < 'a' || r > 'z' })
}

// words returns what the digits of some tokens are called, in order.
func words(tokens []token) []string {
	var names []string
	for _, t := range tokens {
		if t.kind == digits {
			names = append(names, t.text)
		}
	}
	return names
}

// pattern is what a rule matches parameter names with.
type pattern struct {
	text   string
	tokens []token
	at     position
}

// maxWildcards is the most wildcards of a pattern; with the length of names it bounds the work of a match.
const maxWildcards = 8

// parsePattern checks a pattern.
func parsePattern(text string) (pattern, error) {
	tokens, err := split(text)
	if err != nil {
		return pattern{}, err
	}
	wildcards := 0
	for i, t := range tokens {
		if t.kind == literal {
			continue
		}
		wildcards++
		if i > 0 && tokens[i-1].kind != literal {
			return pattern{}, fmt.Errorf("two wildcards must have something between them")
		}
	}
	if wildcards > maxWildcards {
		return pattern{}, fmt.Errorf("it has %d wildcards, at most %d are allowed", wildcards, maxWildcards)
	}
	names := words(tokens)
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return pattern{}, fmt.Errorf("{%s} stands in it twice; give each its own word", name)
		}
	}
	return pattern{text: text, tokens: tokens}, nil
}

// match reports whether the pattern matches a whole name, and what its digits are then, by their words.
func (p *pattern) match(name string) (map[string]string, bool) {
	if t := p.tokens[0]; t.kind == literal && !strings.HasPrefix(name, t.text) {
		return nil, false
	}
	m := matcher{tokens: p.tokens, name: name, begin: make([]int, len(p.tokens)+1)}
	if !m.from(0, 0) {
		return nil, false
	}
	found := map[string]string{}
	for i, t := range p.tokens {
		if t.kind == digits {
			found[t.text] = name[m.begin[i]:m.begin[i+1]]
		}
	}
	return found, true
}

// matcher tries tokens against a name, the longest piece first. It remembers from where it failed, so that the work is at most
// the number of tokens times the square of the name's length.
type matcher struct {
	tokens []token
	name   string
	begin  []int  // where in the name each token begins; the last is the end
	failed []bool // at token*(len(name)+1) + place
}

func (m *matcher) from(t, i int) bool {
	m.begin[t] = i
	if t == len(m.tokens) {
		return i == len(m.name)
	}
	tok := m.tokens[t]
	if tok.kind == literal {
		return strings.HasPrefix(m.name[i:], tok.text) && m.from(t+1, i+len(tok.text))
	}
	key := t*(len(m.name)+1) + i
	if m.failed == nil {
		m.failed = make([]bool, len(m.tokens)*(len(m.name)+1))
	} else if m.failed[key] {
		return false
	}
	end := i
	for end < len(m.name) && tok.kind.takes(m.name[end]) {
		end++
	}
	for ; end > i; end-- {
		if tok.within.holds(m.name[i:end]) && m.from(t+1, end) {
			return true
		}
	}
	m.failed[key] = true
	return false
}

// template is a name with {i} for what a pattern matched.
type template []token

// parseTemplate checks a template, which has no `*`.
func parseTemplate(text string) (template, error) {
	tokens, err := split(text)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(tokens, func(t token) bool { return t.kind == star || t.kind == stars }) {
		return nil, fmt.Errorf("a * has no meaning here; name digits in the pattern, {i}, and repeat them")
	}
	if i := slices.IndexFunc(tokens, func(t token) bool { return t.within != nil }); i >= 0 {
		return nil, fmt.Errorf("limits belong in the pattern; here {%s} repeats the number", tokens[i].text)
	}
	return tokens, nil
}

// expand puts the digits in.
func (t template) expand(found map[string]string) string {
	var b strings.Builder
	for _, tok := range t {
		if tok.kind == digits {
			b.WriteString(found[tok.text])
		} else {
			b.WriteString(tok.text)
		}
	}
	return b.String()
}
