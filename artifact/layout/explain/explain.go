// Package explain says what a layout does, in words, numbers and pictures: its digits and how far each moves, sizes, where an
// element goes and by which formula, which descriptors of an NPU's DMAs would stream it, and a drawing of the first tiles.
//
//	notation, sizes -> New -> Explanation -> WriteText, WriteSVG, or JSON
//
// Faults of what New is given wrap ErrRequest.
package explain

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"npuw/artifact/layout"
	"npuw/artifact/target"
)

// ErrRequest is wrapped by every error that is about what was asked.
var ErrRequest = errors.New("cannot explain this layout")

// Request is what to explain.
type Request struct {
	Notation string // of the layout: "N* K* K8 N8 K8 N4"
	Shape    []Size // of every axis of the notation, in the order in which the axes of row-major data stand
	Pad      []Size // what the sizes of axes are rounded up to a multiple of, beyond what the layout does
	Element  []Size // of every axis, or empty: the element whose place is computed
	Format   target.Format
	Target   target.Target
}

// Explanation is what there is to say of a layout. Its JSON is an interface: fields are added, never changed.
type Explanation struct {
	Notation  string     `json:"notation"` // as given
	Layout    string     `json:"layout"`   // resolved
	Shape     string     `json:"shape"`    // "K=80→128 N=512"
	Axes      []Axis     `json:"axes"`
	Digits    []Digit    `json:"digits"` // outermost first
	Format    string     `json:"format"`
	Bits      int        `json:"bits"`     // of an element
	Elements  uint64     `json:"elements"` // with padding
	Bytes     uint64     `json:"bytes"`
	Canonical string     `json:"canonical"`
	Hash      string     `json:"xxh3_128"` // of the canonical form
	Formula   string     `json:"formula"`
	Element   *Element   `json:"element,omitempty"`
	Target    string     `json:"target"`
	Transfers []Transfer `json:"transfers"`
	Grids     []Grid     `json:"grids"`
}

// Axis is an axis of the operand.
type Axis struct {
	Name   string `json:"name"`
	Extent uint64 `json:"extent"`
	Padded uint64 `json:"padded"`
}

// Digit is a digit of the layout.
type Digit struct {
	Axis   string `json:"axis"`
	Size   uint64 `json:"size"`
	Stride uint64 `json:"stride"` // how far a step moves along the axis
	Step   uint64 `json:"step"`   // how far a step moves in memory, in elements
	Value  string `json:"value"`  // of the digit: "k/8%8"
}

// Element is the place of one element.
type Element struct {
	Index    []uint64 `json:"index"` // one value an axis, in the order of Axes
	Sum      string   `json:"sum"`   // the formula with the values of digits put in
	Position uint64   `json:"position"`
	Byte     uint64   `json:"byte"`    // in which the element begins
	Bit      uint64   `json:"bit"`     // of that byte, counted from the lowest
	Padding  bool     `json:"padding"` // the index is beyond an extent
}

// New explains a layout. It refuses, with the reason, what is none: text that is no notation, digits that do not place every element
// exactly once, sizes that do not go with it.
func New(r Request) (*Explanation, error) {
	l, err := r.resolve()
	if err != nil {
		return nil, err
	}
	bits := r.Format.Bits()
	switch {
	case bits == 0:
		return nil, fmt.Errorf("%w: %v is no element format that is known", ErrRequest, r.Format)
	case l.Elements() > 1<<57:
		return nil, fmt.Errorf("%w: %d elements are too many", ErrRequest, l.Elements())
	}
	if block := uint64(r.Format.Block()); block > 1 && !wholeBlocks(l, block) {
		return nil, fmt.Errorf("%w: %v keeps %d neighbours of an axis together, so the innermost digit must be a multiple of %d: as in N* K* N8 K%d",
			ErrRequest, r.Format, block, block, block)
	}
	hash := l.Hash()
	x := &Explanation{
		Notation: r.Notation, Layout: l.String(), Shape: l.Shape(), Digits: digits(l), Format: r.Format.String(), Bits: bits,
		Elements: l.Elements(), Bytes: byteSize(l, bits), Canonical: l.Canonical().String(), Hash: hex.EncodeToString(hash[:]),
		Target: r.Target.Name, Transfers: transfers(l, bits, r.Target), Grids: Grids(l),
	}
	for _, a := range l.Axes {
		x.Axes = append(x.Axes, Axis{string(rune(a.Name)), a.Extent, a.Padded})
	}
	x.Formula = formula(x.Digits)
	if len(r.Element) > 0 {
		x.Element, err = r.element(l, x.Digits)
	}
	return x, err
}

// resolve fits the notation to the sizes.
func (r Request) resolve() (layout.Layout, error) {
	spec, err := layout.Parse(r.Notation)
	if err != nil {
		return layout.Layout{}, fmt.Errorf("%w: %w%s", ErrRequest, err, hint(r.Notation, err))
	}
	if err := covers(r.Shape, spec.AxisNames(), "shape"); err != nil {
		return layout.Layout{}, err
	}
	var axes []layout.Axis
	for _, s := range r.Shape {
		axes = append(axes, layout.Axis{Name: s.Axis, Extent: s.Value})
	}
	for _, p := range r.Pad {
		i := index(r.Shape, p.Axis)
		if i < 0 {
			return layout.Layout{}, fmt.Errorf("%w: pad: %c is no axis of %q", ErrRequest, p.Axis, r.Notation)
		}
		if p.Value == 0 {
			return layout.Layout{}, fmt.Errorf("%w: pad: %c=0: a multiple of 1 or more was expected", ErrRequest, p.Axis)
		}
		multiples := (axes[i].Extent-1)/p.Value + 1
		if multiples > layout.MaxElements/p.Value {
			return layout.Layout{}, fmt.Errorf("%w: pad: axis %c would have more than 1<<62 elements", ErrRequest, p.Axis)
		}
		axes[i].Padded = multiples * p.Value
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		return layout.Layout{}, fmt.Errorf("%w: %q: %w", ErrRequest, r.Notation, err)
	}
	return l, nil
}

// hint is what to tell beyond the place of a fault in a notation, for orders that people try to write.
func hint(notation string, err error) string {
	var syntax *layout.SyntaxError
	if !errors.As(err, &syntax) || syntax.Column > len(notation) || notation == "" {
		return ""
	}
	switch c := notation[syntax.Column-1]; {
	case strings.IndexByte("+-^%()", c) >= 0:
		return "; the value of a digit comes from one axis alone: orders that rotate or mix axes, such as XNNPACK's with sr > 1, cannot be" +
			" expressed"
	case 'a' <= c && c <= 'z':
		return "; axes are named by capital letters"
	case c == ',' || c == '\t' || c == '\n':
		return "; digits are separated by spaces: \"K* N*\""
	}
	return ""
}

// element computes the place of the element that is asked for.
func (r Request) element(l layout.Layout, digits []Digit) (*Element, error) {
	names := ""
	for _, a := range l.Axes {
		names += string(rune(a.Name))
	}
	if err := covers(r.Element, names, "element"); err != nil {
		return nil, err
	}
	e := &Element{}
	for _, a := range l.Axes {
		v := r.Element[index(r.Element, a.Name)].Value
		if v >= a.Padded {
			return nil, fmt.Errorf("%w: element: %c=%d is beyond the axis, which goes to %d", ErrRequest, a.Name, v, a.Padded-1)
		}
		e.Index = append(e.Index, v)
		e.Padding = e.Padding || v >= a.Extent
	}
	e.Position = l.Offset(e.Index)
	e.Sum = sum(l, digits, e.Index)
	bit := e.Position * uint64(r.Format.Bits())
	if block := uint64(r.Format.Block()); block > 1 {
		bit -= bit % (block * uint64(r.Format.Bits()))
	}
	e.Byte, e.Bit = bit/8, bit%8
	return e, nil
}

// wholeBlocks reports whether runs of that many neighbours in memory are neighbours on their axis.
func wholeBlocks(l layout.Layout, block uint64) bool {
	d := l.Canonical().Digits
	return len(d) > 0 && d[len(d)-1].Stride == 1 && d[len(d)-1].Size%block == 0
}

func byteSize(l layout.Layout, bits int) uint64 { return (l.Elements()*uint64(bits) + 7) / 8 }
