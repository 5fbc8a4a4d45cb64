// Package near measures how unlike two names are, so that a person who got one wrong is shown what there is.
package near

// Distance is how many characters must be changed, put in or taken out to make name of what was wanted. Where run is not nil it says
// of which characters a symbol of wanted stands for a run, as a wildcard does; nil: it stands for itself.
func Distance(wanted []byte, name string, run func(symbol byte) (takes func(c byte) bool)) int {
	above, row := make([]int, len(name)+1), make([]int, len(name)+1)
	for j := range above {
		above[j] = j
	}
	for _, w := range wanted {
		var takes func(byte) bool
		if run != nil {
			takes = run(w)
		}
		row[0] = above[0] + 1
		for j := range len(name) {
			replace, insert := 1, 1
			switch {
			case takes == nil:
				if w == name[j] {
					replace = 0
				}
			case takes(name[j]):
				replace, insert = 0, 0
			}
			row[j+1] = min(above[j]+replace, above[j+1]+1, row[j]+insert)
		}
		above, row = row, above
	}
	return above[len(name)]
}
