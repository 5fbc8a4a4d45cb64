package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// checkCoverage proves that the index accounts for every element: placements and fills of each operand are disjoint and cover
// its extents, and the boxes of each parameter are pairwise equal or disjoint and cover its shape. Parameters with a note are
// excepted, and operands with one need not be covered. The index has passed check.
func (x *Index) checkCoverage() error {
	notedOperand, notedParameter := map[int]bool{}, map[int]bool{}
	for _, n := range x.Notes {
		notedOperand[n.Operand], notedParameter[n.Parameter] = true, true
	}
	boxes := make([][][]PlacedAxis, len(x.Parameters))
	left := uint64(maxListed)
	for i := range x.Operands {
		o := &x.Operands[i]
		for _, p := range o.Placements {
			boxes[p.Parameter] = append(boxes[p.Parameter], p.From)
		}
		if err := o.checkCovered(notedOperand[i], &left); err != nil {
			return fault("operand", o.Name, "%v", err)
		}
	}
	for i, list := range boxes {
		p := &x.Parameters[i]
		if notedParameter[i] && len(list) <= maxBoxes {
			continue
		}
		n, err := distinctVolume(list)
		if err != nil {
			return fault("parameter", p.Name, "%v", err)
		}
		if n != p.Elements() {
			return fault("parameter", p.Name, "placements name %d elements of %d", n, p.Elements())
		}
	}
	return nil
}

// checkCovered checks that placements and fills name each element of the operand once: that they are disjoint, and as many.
func (o *Operand) checkCovered(noted bool, left *uint64) error {
	var n total
	images := make([]image, 0, len(o.Placements)+len(o.Fills))
	for i := range o.Placements {
		n.add(placedVolume(o.Placements[i].From))
		images = append(images, o.Placements[i].image())
	}
	for i := range o.Fills {
		n.add(volume(o.Fills[i].Size))
		images = append(images, o.Fills[i].image())
	}
	if uint64(n) != o.Elements() && !noted {
		return fmt.Errorf("placements and fills name %d elements of %d", n, o.Elements())
	}
	for _, m := range images {
		if once, err := m.namesOnce(left); err != nil || !once {
			return cmp.Or(err, errors.New("a placement names an element twice"))
		}
	}
	span := func(i, a int) (first, last uint64) { return images[i][a].first, images[i][a].last }
	return sweep(len(images), len(o.Layout.Axes), span, func(i, j int) (bool, error) {
		apart, err := images[i].apart(images[j], left)
		if err == nil && !apart {
			err = errors.New("two placements or fills name the same element")
		}
		return false, err
	})
}

// image is what a placement or fill names of an operand: the product of one comb an axis.
type image []comb

// comb is the indices first + sum of v*Step, 0 <= v < Size, over its teeth, which stand by ascending step; Begin and Axis of
// those are of no meaning. Neighbours that make one row are joined.
type comb struct {
	first, last uint64
	teeth       []PlacedAxis
}

func (p *Placement) image() image {
	m := make(image, len(p.To))
	for a, to := range p.To {
		m[a] = comb{first: to, last: to}
	}
	for _, f := range p.From {
		if f.Size > 1 {
			m[f.Axis].last += (f.Size - 1) * f.Step
			m[f.Axis].teeth = append(m[f.Axis].teeth, f)
		}
	}
	for a := range m {
		m[a].join()
	}
	return m
}

func (f *Fill) image() image {
	m := make(image, len(f.Begin))
	for a, begin := range f.Begin {
		m[a] = comb{begin, begin + f.Size[a] - 1, []PlacedAxis{{Size: f.Size[a], Step: 1}}}
		m[a].join()
	}
	return m
}

func (c *comb) join() {
	slices.SortFunc(c.teeth, func(a, b PlacedAxis) int { return cmp.Compare(a.Step, b.Step) })
	joined := c.teeth[:0]
	for _, t := range c.teeth {
		if t.Size == 1 {
			continue
		}
		if n := len(joined); n > 0 && joined[n-1].Size <= math.MaxUint64/joined[n-1].Step && joined[n-1].Size*joined[n-1].Step == t.Step {
			joined[n-1].Size *= t.Size
			continue
		}
		joined = append(joined, t)
	}
	c.teeth = joined
}

// namesOnce reports whether no element is named twice: no index of any comb.
func (m image) namesOnce(left *uint64) (bool, error) {
	for _, c := range m {
		reach, clear := c.first, true
		for _, t := range c.teeth {
			clear = clear && t.Step > reach-c.first
			reach += (t.Size - 1) * t.Step
		}
		if clear {
			continue
		}
		indices, err := c.indices(left)
		if err != nil || len(slices.Compact(indices)) < int(placedVolume(c.teeth)) {
			return false, err
		}
	}
	return true, nil
}

// apart reports whether two images have no element in common: on some axis, no index.
func (m image) apart(o image, left *uint64) (bool, error) {
	for a := range m {
		apart, err := m[a].apart(&o[a], left)
		if err != nil || apart {
			return apart, err
		}
	}
	return false, nil
}

func (c *comb) apart(o *comb, left *uint64) (bool, error) {
	if c.last < o.first || o.last < c.first {
		return true, nil
	}
	if len(c.teeth) <= 1 && len(o.teeth) <= 1 {
		if s, t := c.step(), o.step(); s == t || s == 0 || t == 0 {
			between := max(c.first, o.first) - min(c.first, o.first)
			return between != 0 && between%max(s, t) != 0, nil
		}
	}
	mine, err := c.indices(left)
	if err != nil {
		return false, err
	}
	theirs, err := o.indices(left)
	if err != nil {
		return false, err
	}
	for _, i := range mine {
		if _, found := slices.BinarySearch(theirs, i); found {
			return false, nil
		}
	}
	return true, nil
}

// step is the step of a comb's one tooth, 0 when there is none.
func (c *comb) step() uint64 {
	if len(c.teeth) == 0 {
		return 0
	}
	return c.teeth[0].Step
}

// maxListed is how many indices one check of an index may list one by one, for combs that cannot be told apart otherwise. Those
// of real operands can: they lie beside each other, or take turns with one step.
const maxListed = 1 << 22

// indices lists the indices of a comb in ascending order.
func (c *comb) indices(left *uint64) ([]uint64, error) {
	n := placedVolume(c.teeth)
	if n > *left {
		return nil, errors.New("placements are too irregular to be told apart")
	}
	*left -= n
	list := append(make([]uint64, 0, n), c.first)
	for _, t := range c.teeth {
		row := len(list)
		for v := uint64(1); v < t.Size; v++ {
			for _, i := range list[:row] {
				list = append(list, i+v*t.Step)
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// total adds up volumes, each at most layout.MaxElements, and stays at the largest number instead of overflowing.
type total uint64

func (t *total) add(n uint64) {
	if sum := uint64(*t) + n; sum >= n {
		*t = total(sum)
	} else {
		*t = math.MaxUint64
	}
}

func volume(size []uint64) uint64 {
	n := uint64(1)
	for _, s := range size {
		n *= s
	}
	return n
}

func placedVolume(box []PlacedAxis) uint64 {
	n := uint64(1)
	for _, a := range box {
		n *= a.Size
	}
	return n
}

// distinctVolume adds up boxes that are pairwise equal or disjoint, equal ones once.
func distinctVolume(boxes [][]PlacedAxis) (uint64, error) {
	if len(boxes) > maxBoxes {
		return 0, fmt.Errorf("%d placements, the limit is %d", len(boxes), maxBoxes)
	}
	if len(boxes) == 0 {
		return 0, nil
	}
	repeated := make([]bool, len(boxes))
	span := func(i, a int) (first, last uint64) {
		return boxes[i][a].Begin, boxes[i][a].Begin + boxes[i][a].Size - 1
	}
	err := sweep(len(boxes), len(boxes[0]), span, func(i, j int) (bool, error) {
		b, c := boxes[i], boxes[j]
		if repeated[j] = sameBox(b, c); repeated[j] {
			return true, nil
		}
		for a := range b {
			if b[a].Begin+b[a].Size <= c[a].Begin || c[a].Begin+c[a].Size <= b[a].Begin {
				return false, nil
			}
		}
		return false, errors.New("two placements overlap without being equal")
	})
	var n total
	for i, b := range boxes {
		if !repeated[i] {
			n.add(placedVolume(b))
		}
	}
	return uint64(n), err
}

// sameBox reports whether two placements of one parameter have the same box of it.
func sameBox(a, b []PlacedAxis) bool {
	return slices.EqualFunc(a, b, func(x, y PlacedAxis) bool { return x.Begin == y.Begin && x.Size == y.Size })
}
