package artifact

import "hash/maphash"

// names finds entries of a vector by name: a hash table of their positions, quicker to make than a map of strings. Its seed is
// random, so that no file can be made whose names all meet.
type names struct {
	seed  maphash.Seed
	slots []int32 // position + 1, 0 where free; a power of two of them, at least twice as many as entries
}

func makeNames(n int) names {
	size := 4
	for size < 2*n {
		size *= 2
	}
	return names{maphash.MakeSeed(), make([]int32, size)}
}

// slot is where a name is or would be; at gives the name of an entry.
func (t *names) slot(name string, at func(i int) string) *int32 {
	mask := uint64(len(t.slots) - 1)
	for h := maphash.String(t.seed, name); ; h++ {
		s := &t.slots[h&mask]
		if *s == 0 || at(int(*s)-1) == name {
			return s
		}
	}
}

// find is the position of the entry with a name, -1 when there is none.
func (t *names) find(name string, at func(i int) string) int {
	return int(*t.slot(name, at)) - 1
}

// checkNames refuses names of n entries that are empty or repeated.
func checkNames(thing string, n int, at func(i int) string) (names, error) {
	t := makeNames(n)
	for i := range n {
		name := at(i)
		if name == "" {
			return t, fault(thing, "", "number %d has no name", i)
		}
		s := t.slot(name, at)
		if *s != 0 {
			return t, fault(thing, name, "two have this name")
		}
		*s = int32(i) + 1
	}
	return t, nil
}
