package recipe

import (
	"fmt"
	"strings"

	"npuw/artifact"
	"npuw/artifact/layout"
	"npuw/pipeline/model"
)

// maxPlacements is the most placements of an operand or a parameter that an artifact holds, and the most fills of an operand.
const maxPlacements = 4096

// piece is how a parameter, or what is taken of it, lies on the axes of an operand, from index 0 on.
type piece struct {
	extents    []uint64             // on each axis
	placements []artifact.Placement // without parameter and scale
}

// placer finds how one parameter of a part lies.
type placer struct {
	*Recipe
	rule *rule
	part *part
	of   *model.Parameter
	bias bool // of is the part's bias, which has no bias_row and need not have every axis that is sliced or ordered
}

// place spreads a parameter over the operand's axes by their names.
func (p *placer) place(axes string) (piece, error) {
	to := artifact.Placement{From: make([]artifact.PlacedAxis, len(p.of.Axes)), To: make([]uint64, len(axes))}
	runs, err := p.cut(to.From)
	if err != nil {
		return piece{}, err
	}
	extents, err := p.spread(axes, to.From)
	if err != nil {
		return piece{}, err
	}
	list := []artifact.Placement{to}
	for j, r := range runs {
		if list = applyRuns(list, j, r); list == nil {
			return piece{}, p.doc.fault(p.orderOf(p.of.Axes[j]).at,
				"the order cuts %s into more than %d placements, which is the most that an artifact holds of an operand", p.of.Name, maxPlacements)
		}
	}
	return piece{extents, list}, nil
}

// cut sets where on each axis of the parameter what is taken begins, and how many indices there are; runs is their order by axis, nil
// where it is their own.
func (p *placer) cut(from []artifact.PlacedAxis) (runs [][]run, err error) {
	for j, size := range p.of.Shape {
		from[j].Size = size
	}
	for i := range p.part.slices {
		s := &p.part.slices[i]
		j := strings.IndexByte(p.of.Axes, s.axis)
		switch {
		case j < 0 && p.bias:
			continue
		case j < 0:
			return nil, p.doc.fault(s.at, "%s has no axis %c to slice; its axes are %q", p.of.Name, s.axis, p.of.Axes)
		}
		size := p.of.Shape[j]
		end := s.end
		if end == 0 {
			end = size
		}
		if end > size || s.begin >= end {
			return nil, p.doc.fault(s.at, "slice of axis %c from %d to %d, %s has %d", s.axis, s.begin, end, p.of.Name, size)
		}
		from[j].Begin, from[j].Size = s.begin, end-s.begin
	}
	runs = make([][]run, len(from))
	for i := range p.part.orders {
		o := &p.part.orders[i]
		j := strings.IndexByte(p.of.Axes, o.axis)
		switch {
		case j < 0 && p.bias:
			continue
		case j < 0:
			return nil, p.doc.fault(o.at, "%s has no axis %c to order; its axes are %q", p.of.Name, o.axis, p.of.Axes)
		case o.size != from[j].Size:
			return nil, p.doc.fault(o.at, "order of axis %c has %d indices, what is taken of %s has %d", o.axis, o.size, p.of.Name, from[j].Size)
		}
		runs[j] = o.runs
	}
	return runs, nil
}

// orderOf is the order of an axis, which there is.
func (p *placer) orderOf(axis byte) *axisOrder {
	for i := range p.part.orders {
		if p.part.orders[i].axis == axis {
			return &p.part.orders[i]
		}
	}
	return nil
}

// mergeInstead says how an axis that the parameter has not could be made of those that the operand does not name, where there are several.
func (p *placer) mergeInstead(axes string, axis byte) string {
	rest := strings.Map(func(r rune) rune {
		if strings.ContainsRune(axes, r) {
			return -1
		}
		return r
	}, p.of.Axes)
	if len(rest) < 2 || len(p.rule.merges) > 0 {
		return ""
	}
	return fmt.Sprintf("; write merge { axis: \"%c\" of: %q } to make it of these", axis, rest)
}

// spread finds on which axis of the operand each axis of the parameter lies, in which steps, and the extents that come of it.
func (p *placer) spread(axes string, from []artifact.PlacedAxis) ([]uint64, error) {
	extents := make([]uint64, len(axes))
	used := make([]bool, len(from))
	for i := range len(axes) {
		extents[i] = 1
		of, at := axes[i:i+1], p.rule.block.where("axes", 0)
		merged := false
		for _, m := range p.rule.merges {
			if m.axis == axes[i] {
				of, at, merged = m.of, m.at, true
			}
		}
		if p.bias && axes[i] == p.rule.biasRow || !merged && axes[i] == p.rule.along && !strings.Contains(p.of.Axes, of) {
			continue // one index
		}
		for k := len(of) - 1; k >= 0; k-- { // innermost first
			j := strings.IndexByte(p.of.Axes, of[k])
			if j < 0 {
				return nil, p.doc.fault(at, "%s has no axis %c; its axes are %q%s", p.of.Name, of[k], p.of.Axes, p.mergeInstead(axes, of[k]))
			}
			if used[j] {
				return nil, p.doc.fault(at, "axis %c of %s is used twice", of[k], p.of.Name)
			}
			used[j] = true
			from[j].Step, from[j].Axis = extents[i], i
			extents[i] *= from[j].Size // within checkParameter's product
		}
	}
	for j, u := range used {
		if !u {
			return nil, p.doc.fault(p.rule.block.where("axes", 0),
				"axes %q leave out %c of %s, which has %q; name it, or make it part of one: merge { axis: \"K\" of: \"CX\" }",
				axes, p.of.Axes[j], p.of.Name, p.of.Axes)
		}
	}
	return extents, nil
}

// applyRuns makes of each placement one for each run of axis j; nil when they become too many. Without runs it changes nothing.
func applyRuns(list []artifact.Placement, j int, runs []run) []artifact.Placement {
	if runs == nil {
		return list
	}
	if len(runs) > maxPlacements/len(list) {
		return nil
	}
	cut := make([]artifact.Placement, 0, len(list)*len(runs))
	for _, p := range list {
		for _, r := range runs {
			q := moved(p, nil)
			f := &q.From[j]
			q.To[f.Axis] += r.to * f.Step
			f.Begin += r.begin
			f.Size, f.Step = r.size, f.Step*r.step
			cut = append(cut, q)
		}
	}
	return cut
}

// moved is a copy of a placement, which lies by so much further on each axis; nil: where it lies.
func moved(p artifact.Placement, by []uint64) artifact.Placement {
	p.From, p.To = append([]artifact.PlacedAxis(nil), p.From...), append(make([]uint64, 0, len(p.To)), p.To...)
	for a := range by {
		p.To[a] += by[a]
	}
	return p
}

// axesOf are axes with these names and extents.
func axesOf(names string, extents []uint64) []layout.Axis {
	axes := make([]layout.Axis, len(names))
	for i := range axes {
		axes[i] = layout.Axis{Name: names[i], Extent: extents[i]}
	}
	return axes
}
