package artifact

import "slices"

// places says of every parameter where in the operands it stands: in one pass over the index, not in one for each parameter.
type places struct {
	placed byParameter[place]
	notes  byParameter[int] // operands that were derived from it
}

// place is a placement of an operand.
type place struct{ operand, placement int }

// byParameter is lists of things, one list for each parameter, behind each other in one.
type byParameter[T any] struct {
	begin []int // of each list in all; then the end of the last
	all   []T
}

// of gives the list of parameter i.
func (b *byParameter[T]) of(i int) []T { return b.all[b.begin[i]:b.begin[i+1]] }

// entry is a thing of a parameter.
type entry[T any] struct {
	parameter int
	thing     T
}

// group makes the lists of n parameters. Things of one parameter stay in their order.
func group[T any](n int, entries []entry[T]) byParameter[T] {
	slices.SortStableFunc(entries, func(a, b entry[T]) int { return a.parameter - b.parameter })
	b := byParameter[T]{begin: make([]int, n+1), all: make([]T, len(entries))}
	for i, e := range entries {
		b.all[i] = e.thing
		b.begin[e.parameter+1] = i + 1
	}
	for i := range n {
		b.begin[i+1] = max(b.begin[i], b.begin[i+1])
	}
	return b
}

// findPlaces goes through an index that has been checked.
func findPlaces(x *Index) *places {
	var placed []entry[place]
	for i := range x.Operands {
		for j := range x.Operands[i].Placements {
			placed = append(placed, entry[place]{x.Operands[i].Placements[j].Parameter, place{i, j}})
		}
	}
	var notes []entry[int]
	for _, n := range x.Notes {
		notes = append(notes, entry[int]{n.Parameter, n.Operand})
	}
	return &places{group(len(x.Parameters), placed), group(len(x.Parameters), notes)}
}
