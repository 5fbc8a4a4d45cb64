package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// SyntaxError says where a notation cannot be read.
type SyntaxError struct {
	Text     string // the notation, cut to MaxText bytes
	Column   int    // the byte at fault, counted from 1; len(Text)+1 is the end
	Expected string // what would have been right
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("layout %q: column %d: found %s, expected %s", e.Text, e.Column, e.found(), e.Expected)
}

func (e *SyntaxError) found() string {
	if e.Column < 1 || e.Column > len(e.Text) {
		return "the end"
	}
	return strconv.QuoteToASCII(e.Text[e.Column-1 : e.Column])
}

// Spec is a notation that has been parsed but not yet fitted to axes. The zero Spec has no digits and resolves to no
// layout; Parse makes all others.
type Spec struct{ digits []specDigit }

// specDigit is one digit as written.
type specDigit struct {
	name byte
	size uint64 // 0: `*`, what remains
	mark mark
	step uint64 // with mark: the stride, or its factor
}

// mark is how a digit's stride is written.
type mark uint8

const (
	unmarked    mark = iota // the product of the sizes of the same axis to the right
	markedPlain             // @INT
	markedRest              // @* or @*INT: a multiple of the size of the axis's `*` digit
)

// Parse reads a notation: digits from outermost to innermost in memory, separated by spaces.
//
//	notation = digit { " " digit }
//	digit    = axis ( size | "*" ) [ "@" ( stride | "*" [ factor ] ) ]
//	axis     = "A" … "Z"
//	size, stride, factor = decimal integer from 1 to 1<<62 without leading zeros
//
// `*` as a size is what remains of the axis, at most once an axis; `@*` is that size as a stride and `@*8` eight times it.
// Either all digits of an axis carry a stride or none does. A notation is at most MaxText bytes with MaxDigits digits over
// MaxAxes axes. Errors are of type *SyntaxError.
func Parse(text string) (Spec, error) {
	if len(text) > MaxText {
		return Spec{}, &SyntaxError{text[:MaxText], MaxText + 1, fmt.Sprintf("nothing more: a notation has at most %d bytes", MaxText)}
	}
	p := parser{text: text}
	for p.skipSpaces(); p.at < len(text); p.skipSpaces() {
		if err := p.digit(); err != nil {
			return Spec{}, err
		}
		if p.at < len(text) && text[p.at] != ' ' {
			return Spec{}, p.fault(p.at, "a space or the end")
		}
	}
	if len(p.digits) == 0 {
		return Spec{}, p.fault(p.at, "a digit such as K8 or K*")
	}
	for i, d := range p.digits {
		if d.mark == markedRest && p.axes[d.name-'A'].rest == 0 {
			return Spec{}, p.fault(p.strideAt[i], fmt.Sprintf("an integer: axis %c has no * digit to take a stride from", d.name))
		}
	}
	return Spec{p.digits}, nil
}

// parser holds what the digits read so far say.
type parser struct {
	text     string
	at       int
	digits   []specDigit
	strideAt []int // where each digit's stride is written
	axes     ['Z' - 'A' + 1]axisSeen
	distinct int
}

// axisSeen is what is known of one axis while its digits are read.
type axisSeen struct {
	product uint64 // of the sizes so far; 0: the axis has not appeared
	rest    int    // column of its `*`, 0 if none
	marked  bool
}

func (p *parser) fault(at int, expected string) error {
	return &SyntaxError{p.text, at + 1, expected}
}

func (p *parser) skipSpaces() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

// accept moves past c if it comes next.
func (p *parser) accept(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// digit reads one digit, which must begin here.
func (p *parser) digit() error {
	begin := p.at
	if len(p.digits) == MaxDigits {
		return p.fault(begin, fmt.Sprintf("the end: a layout has at most %d digits", MaxDigits))
	}
	name := p.text[begin]
	if name < 'A' || name > 'Z' {
		return p.fault(begin, "an axis letter from A to Z")
	}
	p.at++
	axis := &p.axes[name-'A']
	first := axis.product == 0
	if first {
		if p.distinct == MaxAxes {
			return p.fault(begin, fmt.Sprintf("one of the axes before: a layout has at most %d", MaxAxes))
		}
		p.distinct++
		axis.product = 1
	}
	d := specDigit{name: name}
	if err := p.size(&d, axis); err != nil {
		return err
	}
	mark := p.at
	if err := p.stride(&d); err != nil {
		return err
	}
	switch marked := d.mark != unmarked; {
	case first:
		axis.marked = marked
	case axis.marked && !marked:
		return p.fault(mark, fmt.Sprintf("@ and a stride, as the digits of %c before have", name))
	case !axis.marked && marked:
		return p.fault(mark, fmt.Sprintf("no stride, as the digits of %c before have none", name))
	}
	p.digits = append(p.digits, d)
	p.strideAt = append(p.strideAt, mark+1)
	return nil
}

func (p *parser) size(d *specDigit, axis *axisSeen) error {
	begin := p.at
	if p.accept('*') {
		if axis.rest != 0 {
			return p.fault(begin, fmt.Sprintf("a size: axis %c has its * at column %d", d.name, axis.rest))
		}
		axis.rest = begin + 1
		return nil
	}
	n, err := p.integer("a size from 1 to 1<<62, or *")
	if err != nil {
		return err
	}
	product, ok := product(axis.product, n)
	if !ok {
		return p.fault(begin, fmt.Sprintf("a smaller size: the digits of %c cover more than 1<<62", d.name))
	}
	d.size, axis.product = n, product
	return nil
}

func (p *parser) stride(d *specDigit) error {
	if !p.accept('@') {
		return nil
	}
	d.mark, d.step = markedPlain, 1
	if p.accept('*') {
		d.mark = markedRest
		if p.at == len(p.text) || p.text[p.at] == ' ' {
			return nil
		}
	}
	expected := "a stride from 1 to 1<<62, or *"
	if d.mark == markedRest {
		expected = "a factor from 1 to 1<<62, a space, or the end"
	}
	var err error
	d.step, err = p.integer(expected)
	return err
}

// integer reads a decimal integer from 1 to MaxElements.
func (p *parser) integer(expected string) (uint64, error) {
	begin := p.at
	for p.at < len(p.text) && '0' <= p.text[p.at] && p.text[p.at] <= '9' {
		p.at++
	}
	if begin == p.at || p.text[begin] == '0' {
		return 0, p.fault(begin, expected)
	}
	n, err := strconv.ParseUint(p.text[begin:p.at], 10, 64)
	if err != nil || n > MaxElements {
		return 0, p.fault(begin, expected)
	}
	return n, nil
}

// AxisNames returns the axes in the order in which they first appear.
func (s Spec) AxisNames() string {
	var names []byte
	for _, d := range s.digits {
		if !strings.Contains(string(names), string(d.name)) {
			names = append(names, d.name)
		}
	}
	return string(names)
}

// String writes the notation that Parse reads, with one space between digits.
func (s Spec) String() string {
	var b []byte
	for i, d := range s.digits {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, d.name)
		if d.size == 0 {
			b = append(b, '*')
		} else {
			b = strconv.AppendUint(b, d.size, 10)
		}
		switch {
		case d.mark == markedPlain:
			b = strconv.AppendUint(append(b, '@'), d.step, 10)
		case d.mark == markedRest && d.step == 1:
			b = append(b, "@*"...)
		case d.mark == markedRest:
			b = strconv.AppendUint(append(b, "@*"...), d.step, 10)
		}
	}
	return string(b)
}

// Resolve fits the notation to axes and proves the result a bijection. Extent is the logical size of an axis; Padded is the
// least size wanted, 0 for Extent. The result has the same axes in the same order, with Padded the size that the digits
// cover: the product of their sizes, where a `*` digit takes the least size, at least 1, that covers what is wanted.
//
// The axes must be those of the notation, each once. Errors wrap ErrInvalid.
func (s Spec) Resolve(axes []Axis) (Layout, error) {
	if err := s.matchAxes(axes); err != nil {
		return Layout{}, err
	}
	l := Layout{Axes: make([]Axis, len(axes)), Digits: make([]Digit, len(s.digits))}
	copy(l.Axes, axes)
	for i := range l.Axes {
		if err := s.resolveAxis(l, i); err != nil {
			return Layout{}, err
		}
	}
	if err := l.Validate(); err != nil {
		return Layout{}, err
	}
	return l, nil
}

// matchAxes checks that axes and notation name the same axes, each once.
func (s Spec) matchAxes(axes []Axis) error {
	names := s.AxisNames()
	seen := ""
	for _, a := range axes {
		name := string(rune(a.Name))
		if strings.Contains(seen, name) {
			return invalid("axis %q is given twice", name)
		}
		if !strings.Contains(names, name) {
			return invalid("axis %q has no digit in %q", name, s)
		}
		seen += name
	}
	for _, name := range names {
		if !strings.ContainsRune(seen, name) {
			return invalid("%q has digits of axis %q, which the operand has not", s, string(name))
		}
	}
	return nil
}

// resolveAxis sets the padded extent of one axis of l and its digits.
func (s Spec) resolveAxis(l Layout, axis int) error {
	a := &l.Axes[axis]
	fixed, rest := uint64(1), uint64(0)
	for _, d := range s.digits {
		switch {
		case d.name != a.Name:
		case d.size == 0:
			rest = 1
		default:
			fixed *= d.size // Parse kept the product within MaxElements
		}
	}
	wanted := max(a.Extent, a.Padded)
	if rest == 0 && fixed < wanted {
		return invalid("axis %c: the digits of %q cover %d, wanted %d; a digit %c* takes what remains", a.Name, s, fixed, wanted, a.Name)
	}
	if rest != 0 && wanted > 0 {
		rest = (wanted-1)/fixed + 1
	}
	var ok bool
	if a.Padded, ok = product(fixed, max(rest, 1)); !ok {
		return invalid("axis %c: %d elements padded to a multiple of %d are more than 1<<62", a.Name, wanted, fixed)
	}
	inner := uint64(1)
	for i := len(s.digits) - 1; i >= 0; i-- {
		d := s.digits[i]
		if d.name != a.Name {
			continue
		}
		size, stride := d.size, inner
		if size == 0 {
			size = rest
		}
		switch d.mark {
		case markedPlain:
			stride = d.step
		case markedRest:
			if stride, ok = product(rest, d.step); !ok {
				return invalid("axis %c: the stride %d*%d is more than 1<<62", a.Name, rest, d.step)
			}
		}
		l.Digits[i] = Digit{Axis: axis, Size: size, Stride: stride}
		inner *= size
	}
	return nil
}
