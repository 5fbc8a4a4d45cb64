package main

import (
	"cmp"
	"slices"
	"strings"
)

// near gives the names most like one that was not found, the best first: those that hold it or end as it does, then those
// that it takes few changes to reach. There are at most three, and none when none is like it.
func near(wanted string, names []string) []string {
	const longest, most = 1024, 10_000 // as long as a name can be; as many as are worth the time
	if wanted == "" || len(wanted) > longest {
		return nil
	}
	type candidate struct {
		name string
		away int
	}
	var found []candidate
	for _, name := range names[:min(len(names), most)] {
		away := distance(wanted, name)
		switch {
		case strings.Contains(name, wanted) || strings.HasSuffix(wanted, "."+name):
			away = 0
		case away > max(len(wanted), len(name))/3:
			continue
		}
		found = append(found, candidate{name, away})
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.away, b.away) })
	var best []string
	for _, c := range found[:min(len(found), 3)] {
		if c.away <= 2*max(found[0].away, 1) {
			best = append(best, c.name)
		}
	}
	return best
}

// distance is how many bytes must be changed, put in or taken out to make b of a.
func distance(a, b string) int {
	above, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			replace := 1
			if a[i] == b[j] {
				replace = 0
			}
			row[j+1] = min(above[j]+replace, above[j+1]+1, row[j]+1)
		}
		above, row = row, above
	}
	return above[len(b)]
}
