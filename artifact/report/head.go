package report

import (
	"fmt"
	"strconv"
	"strings"

	"npuw/artifact"
)

// head is the top of the page: what the file is, and its figures.
type head struct {
	Name, Family, Recipe, Producer, Digest, Features string

	Sizes     []pair // of the model
	MoreSizes string
	Figures   []figure
	Bars      []sizeBar
}

type pair struct{ Name, Value string }

// figure is a number to know, what it is, and a word on it; Name is one that may be broken between its parts.
type figure struct {
	Value, Label, Detail string
	Name                 []string
}

// sizeBar is a length of bytes, drawn against the others.
type sizeBar struct {
	Label, Bytes string
	Parts        []sizePart
}

type sizePart struct{ Class, Name, Bytes, Share, Width string }

func newHead(name string, h artifact.Header, x *artifact.Index, s sizes) head {
	d := head{
		Name: clean(name), Family: clean(x.Model.Family), Recipe: clean(x.Producer.Recipe), Digest: h.Digest.String(),
		Producer: fmt.Sprintf("%s, revision %d", clean(x.Producer.Name), x.Producer.Revision),
	}
	if h.RequiredFeatures|h.OptionalFeatures != 0 {
		d.Features = fmt.Sprintf("feature bits: required %#x, optional %#x", h.RequiredFeatures, h.OptionalFeatures)
	}
	for i, a := range x.Model.Attributes {
		if i == maxAttributes {
			d.MoreSizes = leftOut(len(x.Model.Attributes)-i, "attribute")
			break
		}
		d.Sizes = append(d.Sizes, pair{clean(a.Name), attribute(&a)})
	}
	d.Figures = figures(h, x, s)
	d.Bars = sizeBars(s)
	return d
}

func attribute(a *artifact.Attribute) string {
	switch a.Kind {
	case artifact.Integer:
		return strconv.FormatInt(a.Integer, 10)
	case artifact.Real:
		return strconv.FormatFloat(a.Real, 'g', 6, 64)
	case artifact.Text:
		return clean(a.Text)
	}
	return fmt.Sprintf("of kind %d", a.Kind)
}

func figures(h artifact.Header, x *artifact.Index, s sizes) []figure {
	list := []figure{
		{Value: size(s.file), Label: "file", Detail: plural(s.file, "byte") + ", pages of " + count(h.PageBytes)},
		{Value: about(s.parameters), Label: "parameters", Detail: "in " + plural(len(x.Parameters), "tensor")},
	}
	if s.source > 0 {
		list = append(list, figure{
			Value: percent(float64(s.file), float64(s.source)), Label: "of the source as FP32",
			Detail: "which has " + size(s.source) + ", " + digits(float64(s.source)/float64(max(s.file, 1)), 3) + " times as much",
		})
	}
	pad := add(s.padding, s.gaps)
	list = append(list,
		figure{Value: percent(float64(pad), float64(s.file)), Label: "padding", Detail: size(pad) + " in and between operands"},
		figure{Value: count(len(x.Operands)), Label: word(len(x.Operands), "operand"), Detail: "in " + plural(len(x.Segments), "segment")})
	return append(list, worst(x)...)
}

func word(n int, thing string) string {
	if n == 1 {
		return thing
	}
	return thing + "s"
}

// worst is the figure of the largest error, and one of what is not finite where there is such.
func worst(x *artifact.Index) []figure {
	most, bad, in := -1, uint64(0), 0
	for i := range x.Operands {
		s := &x.Operands[i].Statistics
		if most < 0 || s.RelativeL2() > x.Operands[most].Statistics.RelativeL2() {
			most = i
		}
		if s.NonFinite > 0 {
			bad, in = add(bad, s.NonFinite), in+1
		}
	}
	var list []figure
	if most >= 0 {
		o := &x.Operands[most]
		if e := o.Statistics.RelativeL2(); e == 0 {
			list = append(list, figure{Value: "exact", Label: "every operand", Detail: "encoding lost nothing"})
		} else {
			list = append(list, figure{Value: small(e), Label: "worst relative L2 error", Name: strings.SplitAfter(clean(o.Name), ".")})
		}
	}
	if bad > 0 {
		list = append(list, figure{Value: about(bad), Label: "not finite", Detail: "values, in " + plural(in, "operand")})
	}
	return list
}

// sizeBars are the source and the file, to one scale.
func sizeBars(s sizes) []sizeBar {
	whole := float64(max(s.source, s.file, 1))
	file := sizeBar{Label: "this file", Bytes: size(s.file)}
	for _, p := range []struct {
		class, name string
		n           uint64
	}{
		{"values", "values", s.values},
		{"padding", "padding in operands", s.padding},
		{"gap", "zeros between operands", s.gaps},
		{"code", "instructions", s.instructions},
		{"index", "header and index", s.overhead},
	} {
		if p.n > 0 {
			file.Parts = append(file.Parts, sizePart{p.class, p.name, size(p.n), percent(float64(p.n), float64(s.file)), share(float64(p.n), whole)})
		}
	}
	if s.source == 0 {
		return []sizeBar{file}
	}
	return []sizeBar{
		{"source as FP32", size(s.source), []sizePart{{"source", "parameters", size(s.source), "", share(float64(s.source), whole)}}},
		file,
	}
}
