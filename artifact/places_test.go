package artifact

import (
	"slices"
	"testing"
)

// Places are those that a search through the whole index finds, for parameters that stand nowhere too.
func TestFindPlaces(t *testing.T) {
	t.Parallel()
	at := func(parameters ...int) Operand {
		var o Operand
		for _, p := range parameters {
			o.Placements = append(o.Placements, Placement{Parameter: p})
		}
		return o
	}
	x := &Index{
		Parameters: make([]Parameter, 6),
		Operands:   []Operand{at(4, 1, 1), at(), at(1), at(0, 4)},
		Notes:      []Note{{Parameter: 4, Operand: 2}, {Parameter: 1, Operand: 3}, {Parameter: 4, Operand: 0}},
	}
	got := findPlaces(x)
	for i := range x.Parameters {
		var placed []place
		for j, o := range x.Operands {
			for k, p := range o.Placements {
				if p.Parameter == i {
					placed = append(placed, place{j, k})
				}
			}
		}
		var notes []int
		for _, n := range x.Notes {
			if n.Parameter == i {
				notes = append(notes, n.Operand)
			}
		}
		if !slices.Equal(got.placed.of(i), placed) || !slices.Equal(got.notes.of(i), notes) {
			t.Errorf("parameter %d: %v and %v, expected %v and %v", i, got.placed.of(i), got.notes.of(i), placed, notes)
		}
	}
}
