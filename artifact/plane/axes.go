package plane

import (
	"slices"

	"npuw/artifact/layout"
)

// On gives the same bytes seen on other axes: names and extents may be others, the padded sizes must not.
func (s *Storage) On(axes []layout.Axis) Storage {
	t := *s
	t.Axes = axes
	t.Planes = slices.Clone(s.Planes)
	for i := range t.Planes {
		p := &t.Planes[i]
		p.Layout.Axes = Grid(axes, p.Block)
	}
	return t
}

// Permuted gives the same bytes with the axes named in another order: axis i of the result is axis order[i] of s. Nothing moves.
func (s *Storage) Permuted(order []int) Storage {
	t := *s
	t.Axes = permuted(s.Axes, order)
	t.Planes = slices.Clone(s.Planes)
	for i := range t.Planes {
		p := &t.Planes[i]
		if p.Block != nil {
			p.Block = permuted(p.Block, order)
		}
		p.Layout.Axes = permuted(p.Layout.Axes, order)
		p.Layout.Digits = slices.Clone(p.Layout.Digits)
		for d := range p.Layout.Digits {
			digit := &p.Layout.Digits[d]
			digit.Axis = slices.Index(order, digit.Axis)
		}
	}
	return t
}

func permuted[T any](list []T, order []int) []T {
	out := make([]T, len(order))
	for i, from := range order {
		out[i] = list[from]
	}
	return out
}
