package main

import (
	"cmp"
	"slices"
	"strings"

	nearness "npuw/artifact/near"
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
		away := nearness.Distance([]byte(wanted), name, nil)
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
