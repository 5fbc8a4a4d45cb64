package artifact

import (
	"cmp"
	"slices"
)

// sweep calls pair for each two of n boxes whose spans meet on one axis, the one on which most of them begin at places of their own:
// those that do not meet there are apart. span gives what a box spans on an axis, first and last. Where pair says that the second of
// the two is done with, it is not paired with others. The first error ends the sweep. The usual boxes lie beside each other, and
// make about as many pairs as there are boxes; not the square of that, which would take seconds for an index full of them.
func sweep(n, axes int, span func(i, axis int) (first, last uint64), pair func(i, j int) (done bool, err error)) error {
	order, most, along := make([]int, n), 0, 0
	for i := range order {
		order[i] = i
	}
	byFirst := func(axis int) {
		slices.SortStableFunc(order, func(i, j int) int {
			a, _ := span(i, axis)
			b, _ := span(j, axis)
			return cmp.Compare(a, b)
		})
	}
	for axis := range axes {
		byFirst(axis)
		places := 1
		for k := 1; k < n; k++ {
			a, _ := span(order[k-1], axis)
			b, _ := span(order[k], axis)
			if a != b {
				places++
			}
		}
		if places > most {
			most, along = places, axis
		}
	}
	if axes > 0 {
		byFirst(along)
	}
	var reached []int // boxes that may reach beyond where the sweep is
boxes:
	for _, j := range order {
		if axes > 0 {
			first, _ := span(j, along)
			reached = slices.DeleteFunc(reached, func(i int) bool {
				_, last := span(i, along)
				return last < first
			})
		}
		for _, i := range reached {
			done, err := pair(i, j)
			if err != nil {
				return err
			}
			if done {
				continue boxes
			}
		}
		reached = append(reached, j)
	}
	return nil
}
