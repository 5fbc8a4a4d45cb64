package recipe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"npuw/artifact"
	"npuw/pipeline/model"
)

// cover collects which boxes of each parameter are placed. An artifact wants them pairwise equal or disjoint, and all of a
// parameter in them.
type cover struct {
	model *model.Model
	boxes [][]box // by parameter
	total int     // placements and fills of all operands
}

// box is a placement's box of a parameter, and what takes it.
type box struct {
	from []artifact.PlacedAxis
	at   position
}

// maxTotal keeps an index within the size that FORMAT.md allows, and what a recipe can make of a model within bounds.
const maxTotal = 1 << 19

func newCover(m *model.Model) *cover {
	return &cover{model: m, boxes: make([][]box, len(m.Parameters))}
}

// add adds what an operand takes.
func (c *cover) add(doc *document, o *Operand, places []position) error {
	if c.total += len(o.Placements) + len(o.Fills); c.total > maxTotal {
		return doc.fault(position{line: o.Line}, "operand %q: more than %d placements in all operands up to here", o.Name, maxTotal)
	}
	for i := range o.Placements {
		p := &o.Placements[i]
		list := &c.boxes[p.Parameter]
		if *list = append(*list, box{p.From, places[i]}); len(*list) > maxPlacements {
			return doc.fault(places[i], "more than %d placements of %s up to here, which is the most that an artifact holds",
				maxPlacements, c.model.Parameters[p.Parameter].Name)
		}
	}
	return nil
}

// check compares the boxes of each parameter that is placed.
func (c *cover) check(doc *document, taken *chooser) error {
	for i, boxes := range c.boxes {
		if len(boxes) == 0 {
			continue // folded into others, or checkUntaken would have found it
		}
		p := &c.model.Parameters[i]
		distinct, err := c.distinct(doc, p, boxes)
		if err != nil {
			return err
		}
		if left := uncovered(p.Shape, distinct); left != nil && !taken.folded[i] {
			return doc.fault(taken.takes[i].at, "of %s, axes %q, shape %d, slices leave %s; take it in a part or rule of its own",
				p.Name, p.Axes, p.Shape, boxText(p.Axes, left))
		}
	}
	return nil
}

// distinct drops boxes that are there already, and refuses those that overlap. Boxes are compared with those that they meet on the axis
// along which there are most.
func (c *cover) distinct(doc *document, p *model.Parameter, boxes []box) ([][]artifact.PlacedAxis, error) {
	if len(boxes) == 1 {
		return [][]artifact.PlacedAxis{boxes[0].from}, nil
	}
	a := busiest(boxes)
	if a == none { // without axes, or all alike
		return [][]artifact.PlacedAxis{boxes[0].from}, nil
	}
	sorted := slices.Clone(boxes)
	slices.SortStableFunc(sorted, func(x, y box) int {
		return cmp.Or(cmp.Compare(x.from[a].Begin, y.from[a].Begin), compareBoxes(x.from, y.from))
	})
	var kept []box
	for i, b := range sorted {
		if i > 0 && compareBoxes(b.from, sorted[i-1].from) == 0 {
			continue
		}
		kept = append(kept, b)
	}
	for i, b := range kept {
		for _, o := range kept[i+1:] {
			if o.from[a].Begin >= b.from[a].Begin+b.from[a].Size {
				break
			}
			if !apart(b.from, o.from) {
				if o.at.line < b.at.line {
					b, o = o, b
				}
				return nil, doc.fault(o.at, "of %s, %s is taken here and %s in line %d; slices should be equal or have nothing in common",
					p.Name, boxText(p.Axes, o.from), boxText(p.Axes, b.from), b.at.line)
			}
		}
	}
	list := make([][]artifact.PlacedAxis, len(kept))
	for i := range kept {
		list[i] = kept[i].from
	}
	return list, nil
}

// busiest is the axis on which boxes begin at the most places, none when they all are the same box.
func busiest(boxes []box) int {
	best, most := none, 0
	for a := range boxes[0].from {
		begins := map[[2]uint64]bool{}
		for _, b := range boxes {
			begins[[2]uint64{b.from[a].Begin, b.from[a].Size}] = true
		}
		if len(begins) > max(most, 1) {
			best, most = a, len(begins)
		}
	}
	return best
}

func compareBoxes(x, y []artifact.PlacedAxis) int {
	return slices.CompareFunc(x, y, func(a, b artifact.PlacedAxis) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.Size, b.Size))
	})
}

// apart reports whether two boxes have nothing in common.
func apart(x, y []artifact.PlacedAxis) bool {
	for j := range x {
		if x[j].Begin+x[j].Size <= y[j].Begin || y[j].Begin+y[j].Size <= x[j].Begin {
			return true
		}
	}
	return false
}

// uncovered is a box of a shape that boxes, which have nothing in common, leave; nil when they cover it.
func uncovered(shape []uint64, boxes [][]artifact.PlacedAxis) []artifact.PlacedAxis {
	rest := make([]artifact.PlacedAxis, len(shape))
	for j, n := range shape {
		rest[j].Size = n
	}
	there := uint64(0)
	for _, b := range boxes {
		there += volume(b) // disjoint: at most the shape's
	}
	if there == volume(rest) {
		return nil
	}
	for j := range shape {
		// The boxes that meet the rest of the axes before are those left; find where on this axis they leave something.
		cuts := []uint64{0, shape[j]}
		for _, b := range boxes {
			cuts = append(cuts, b[j].Begin, b[j].Begin+b[j].Size)
		}
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		for i, begin := range cuts[:len(cuts)-1] {
			var across [][]artifact.PlacedAxis
			covered := uint64(0)
			for _, b := range boxes {
				if b[j].Begin <= begin && begin < b[j].Begin+b[j].Size {
					across = append(across, b)
					covered += volume(b[j+1:])
				}
			}
			if covered == volume(rest[j+1:]) {
				continue
			}
			rest[j].Begin, rest[j].Size, boxes = begin, cuts[i+1]-begin, across
			break
		}
		if len(boxes) == 0 {
			break
		}
	}
	return rest
}

func volume(box []artifact.PlacedAxis) uint64 {
	n := uint64(1)
	for _, f := range box {
		n *= f.Size
	}
	return n
}

// boxText writes a box: "N[0:256] K[0:512]".
func boxText(axes string, b []artifact.PlacedAxis) string {
	parts := make([]string, len(b))
	for j, f := range b {
		parts[j] = fmt.Sprintf("%c[%d:%d]", axes[j], f.Begin, f.Begin+f.Size)
	}
	return strings.Join(parts, " ")
}
