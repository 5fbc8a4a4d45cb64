package layout

import "fmt"

// Shape writes the axes with their sizes, "K=80→128 N=512": the logical extent and, where it differs, the padded one.
func (l Layout) Shape() string {
	s := ""
	for i, a := range l.Axes {
		if i > 0 {
			s += " "
		}
		s += fmt.Sprintf("%c=%d", a.Name, a.Extent)
		if a.Padded != a.Extent {
			s += fmt.Sprintf("→%d", a.Padded)
		}
	}
	return s
}
