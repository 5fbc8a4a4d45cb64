package report

import (
	"bytes"
	"cmp"
	"html/template"
	"slices"
	"strings"

	"npuw/artifact"
	"npuw/artifact/layout"
	"npuw/artifact/layout/explain"
	"npuw/artifact/plane"
)

// layouts are the orders of elements that operands are in, each drawn once: those that differ in how much is left for the outermost
// digit of an axis are one, "N* K* K8 N8 K8 N4".
type layouts struct {
	List []layoutCard
	More string
}

type layoutCard struct {
	Pattern               string
	Roles                 []string // of planes beside those of values and codes
	Operands, Bytes       string
	Share                 string
	Drawn, Shape, Formula string // of the variant that is drawn
	Pictures              []picture
	Variants              []variantRow
	More                  string
}

type picture struct {
	Title string
	SVG   template.HTML
}

type variantRow struct {
	Shape, Layout, Format, Operands, Bytes string
	Names                                  []string
}

// layoutKey tells layouts apart: those of values and codes from those of what is for blocks of them.
type layoutKey struct {
	pattern string
	blocks  bool
}

// layoutSum collects the operands of a pattern.
type layoutSum struct {
	layoutKey
	bytes    uint64
	operands int
	roles    []string
	variants []*variant
	more     int // operands of variants beyond the limit
}

type variant struct {
	layout   layout.Layout
	format   string
	text     string // layout and shape: what tells variants apart
	operands int
	bytes    uint64
	names    families
}

func newLayouts(x *artifact.Index) layouts {
	var list []*layoutSum
	at := map[layoutKey]*layoutSum{}
	all, missing := uint64(0), 0
	for i := range x.Operands {
		o := &x.Operands[i]
		all = add(all, o.Bytes)
		if !o.Supported() {
			missing++
			continue
		}
		storage := o.Storage()
		for j := range storage.Planes {
			p := &storage.Planes[j]
			key := layoutKey{pattern(p.Layout), p.Role != plane.Values}
			s := at[key]
			if s == nil {
				if len(list) == maxLayouts {
					missing++
					break
				}
				s = &layoutSum{layoutKey: key}
				at[key], list = s, append(list, s)
			}
			s.add(o, p)
		}
	}
	slices.SortStableFunc(list, func(a, b *layoutSum) int { return cmp.Compare(b.bytes, a.bytes) })
	var l layouts
	for _, s := range list {
		l.List = append(l.List, s.card(all))
	}
	l.More = leftOut(missing, "operand")
	return l
}

// pattern is the notation of a layout in which the outermost digit of each axis takes what remains. Where strides are marked it is
// the whole notation: they depend on the sizes.
func pattern(l layout.Layout) string {
	text := l.String()
	if strings.Contains(text, "@") {
		return text
	}
	words := strings.Fields(text)
	var seen [256]bool
	for i, w := range words {
		if !seen[w[0]] {
			seen[w[0]] = true
			words[i] = w[:1] + "*"
		}
	}
	return strings.Join(words, " ")
}

func (s *layoutSum) add(o *artifact.Operand, p *plane.Plane) {
	bytes, _ := plane.BytesOf(p.Format, plane.Elements(p.Format, p.Layout)) // p.Bytes has what lies between its records too
	s.operands++
	s.bytes = add(s.bytes, bytes)
	format, text := p.Format.String(), p.Layout.String()+" "+p.Layout.Shape()
	if s.blocks {
		format += " " + p.Role.String()
		if !slices.Contains(s.roles, p.Role.String()) {
			s.roles = append(s.roles, p.Role.String())
		}
	}
	at := slices.IndexFunc(s.variants, func(v *variant) bool { return v.text == text && v.format == format })
	if at < 0 {
		if len(s.variants) == maxVariants {
			s.more++
			return
		}
		at = len(s.variants)
		s.variants = append(s.variants, &variant{layout: p.Layout, format: format, text: text})
	}
	v := s.variants[at]
	v.operands++
	v.bytes = add(v.bytes, bytes)
	v.names.add(o.Name)
}

// card shows a pattern, with the variant drawn that has most bytes.
func (s *layoutSum) card(all uint64) layoutCard {
	slices.SortStableFunc(s.variants, func(a, b *variant) int { return cmp.Compare(b.bytes, a.bytes) })
	drawn := s.variants[0].layout
	thing := "operand"
	if s.blocks {
		thing = "plane"
	}
	c := layoutCard{
		Pattern: s.pattern, Roles: s.roles, Operands: plural(s.operands, thing), Bytes: size(s.bytes), Share: percent(float64(s.bytes), float64(all)),
		Drawn: drawn.String(), Shape: drawn.Shape(), Formula: explain.Formula(drawn), More: leftOut(s.more, "operand"),
	}
	if len(drawn.Canonical().Digits) > 1 { // one digit is all elements in their order: nothing to see
		for _, g := range explain.Grids(drawn) {
			var b bytes.Buffer
			_ = g.WriteSVG(&b) // a buffer takes all
			title := g.Title()
			c.Pictures = append(c.Pictures, picture{strings.ToUpper(title[:1]) + title[1:], template.HTML(b.String())})
		}
	}
	for _, v := range s.variants {
		c.Variants = append(c.Variants, variantRow{v.layout.Shape(), v.layout.String(), v.format, count(v.operands), size(v.bytes), v.names.texts()})
	}
	return c
}
