package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"npuw/artifact"
)

// table has a row for each operand, those of a layer together.
type table struct {
	Groups []tableGroup
	Rows   int
	More   string
}

type tableGroup struct {
	Title, Operands, Bytes, Worst string
	Rows                          []tableRow

	place place
	first int // the position of its first operand
	bytes uint64
	worst float64
}

type tableRow struct {
	ID, Prefix, Kind, Holds, Shape, Format, Layout string
	Bytes, MaxError, L2, Cosine, Inexact           cell
	NonFinite                                      string
	Exact                                          bool
}

// cell is a number, as it is shown and as it is sorted by; Title says more of it.
type cell struct{ Text, Value, Title string }

func newTable(x *artifact.Index) table {
	var t table
	at := map[place]int{}
	shown := x.Operands[:min(len(x.Operands), maxRows)]
	for i := range shown {
		o := &shown[i]
		p := placeOf(o.Name)
		key := place{p.stack, p.layer, ""}
		g, ok := at[key]
		if !ok {
			g = len(t.Groups)
			at[key] = g
			t.Groups = append(t.Groups, tableGroup{Title: groupTitle(p), place: key, first: i})
		}
		e := &t.Groups[g]
		e.Rows = append(e.Rows, newRow(x, o, i, p))
		e.bytes, e.worst = add(e.bytes, o.Bytes), max(e.worst, o.Statistics.RelativeL2())
	}
	t.sortLayers()
	for i := range t.Groups {
		g := &t.Groups[i]
		g.Operands, g.Bytes, g.Worst = plural(len(g.Rows), "operand"), size(g.bytes), small(g.worst)
	}
	t.Rows, t.More = len(shown), leftOut(len(x.Operands)-len(shown), "operand")
	return t
}

func groupTitle(p place) string {
	if p.layer < 0 {
		return "outside of layers"
	}
	return fmt.Sprintf("%s.%d", clean(p.stack), p.layer)
}

// sortLayers puts the layers of a stack in ascending order, where the first of them came.
func (t *table) sortLayers() {
	first := map[string]int{}
	for _, g := range t.Groups {
		if at, ok := first[g.place.stack]; !ok || g.first < at {
			first[g.place.stack] = g.first
		}
	}
	slices.SortStableFunc(t.Groups, func(a, b tableGroup) int {
		return cmp.Or(cmp.Compare(first[a.place.stack], first[b.place.stack]), cmp.Compare(a.place.layer, b.place.layer))
	})
}

func newRow(x *artifact.Index, o *artifact.Operand, number int, p place) tableRow {
	s := &o.Statistics
	r := tableRow{
		ID: fmt.Sprintf("o%d", number), Prefix: clean(p.prefix()), Kind: clean(p.kind), Holds: holds(x, o),
		Shape: o.Layout.Shape(), Format: o.FormatText(), Layout: clean(o.LayoutText()),
		Bytes:    cell{count(o.Bytes), fmt.Sprint(o.Bytes), size(o.Bytes)},
		MaxError: cell{small(s.MaxAbsError), sortKey(s.MaxAbsError), "the largest value is " + small(s.MaxAbsValue)},
		L2:       cell{small(s.RelativeL2()), sortKey(s.RelativeL2()), ""},
		Cosine:   cell{cosine(s.Cosine()), sortKey(s.Cosine()), ""},
		Inexact: cell{
			percent(float64(s.Inexact), float64(s.Elements)), sortKey(float64(s.Inexact) / float64(max(s.Elements, 1))),
			count(s.Inexact) + " of " + count(s.Elements) + fmt.Sprintf("; %s became 0", count(s.Underflowed)),
		},
		Exact: s.Inexact == 0 && s.NonFinite == 0,
	}
	if s.NonFinite > 0 {
		r.NonFinite = count(s.NonFinite) + " not finite"
	}
	if !o.Supported() {
		r.Layout = "not known to this version"
	}
	return r
}

// holds names the parameters of an operand, where it is not the one of the same name alone.
func holds(x *artifact.Index, o *artifact.Operand) string {
	const most = 4
	var names []string
	more := 0
	for i, p := range o.Placements {
		if i > 0 && o.Placements[i-1].Parameter == p.Parameter {
			continue
		}
		if len(names) == most {
			more++
			continue
		}
		names = append(names, x.Parameters[p.Parameter].Name)
	}
	if len(names) == 0 || len(names) == 1 && names[0] == o.Name {
		return ""
	}
	for i := range names {
		names[i] = clean(strings.TrimPrefix(names[i], placeOf(o.Name).prefix()))
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
