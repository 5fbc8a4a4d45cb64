package pack

import (
	"fmt"
	"math"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
)

const (
	// windowElements is about how many elements a worker holds at a time: 2 MiB of float32, and what they become.
	windowElements = 512 << 10
	// maxWindowElements bounds the window of a layout that cannot be cut small.
	maxWindowElements = 16 << 20
	// maxExtent bounds an axis, for each index of which there is a table entry.
	maxExtent = 16 << 20
)

// matrix is how an operand is packed: as a matrix whose columns are its last axis and whose rows are all others, row-major, cut
// into windows of the layout. Windows begin at multiples of element.PatchSize rows and columns, so that statistics,
// which are summed by patches, do not depend on the cut.
type matrix struct {
	operand   *recipe.Operand
	parameter *model.Parameter
	// source gives, for each axis of the operand, what an index on it adds to the element's position in the source tensor.
	source [][]int64
	target uint64   // about how many elements a window holds
	outer  int      // the axis along which the source's rows follow each other
	step   []uint64 // the size of a window on each axis
	count  []uint64 // the number of windows on each axis
}

func newMatrix(o *recipe.Operand, m *model.Model, target uint64) (*matrix, error) {
	// What a recipe of this version makes is one whole parameter an operand.
	if len(o.Placements) != 1 || o.Placements[0].Scale != 1 {
		return nil, fmt.Errorf("operand %q: %d placements, or a scale; only one whole parameter can be packed", o.Name, len(o.Placements))
	}
	for _, axis := range o.Layout.Axes {
		if axis.Extent > maxExtent {
			return nil, fmt.Errorf("operand %q: axis %c of %d indices, at most %d can be packed", o.Name, axis.Name, axis.Extent, maxExtent)
		}
	}
	p := &o.Placements[0]
	x := &matrix{operand: o, parameter: &m.Parameters[p.Parameter], target: target}
	x.trace()
	axes := o.Layout.Axes
	x.step, x.count = make([]uint64, len(axes)), make([]uint64, len(axes))
	for a, axis := range axes {
		x.step[a] = axis.Padded
	}
	if err := x.cut(); err != nil {
		return nil, err
	}
	for a, axis := range axes {
		x.count[a] = (axis.Padded + x.step[a] - 1) / x.step[a]
	}
	return x, nil
}

// trace finds where each index of each operand axis is in the source, and along which axis the source's rows follow each other.
func (x *matrix) trace() {
	shape, perm := x.parameter.Tensor.Shape, x.parameter.Perm
	stride := make([]int64, len(shape)+1)
	stride[len(shape)] = 1
	for i := len(shape) - 1; i >= 0; i-- {
		stride[i] = stride[i+1] * int64(shape[i])
	}
	x.source = make([][]int64, len(x.operand.Layout.Axes))
	widest := int64(-1)
	for a, axis := range x.operand.Layout.Axes {
		table := make([]int64, axis.Extent)
		for j, f := range x.operand.Placements[0].From {
			if f.Axis != a {
				continue
			}
			move := stride[perm[j]+1] // of one step along the parameter's axis
			for q := range table {
				table[q] += int64(uint64(q)/f.Step%f.Size) * move
			}
			if f.Size > 1 && move > widest {
				widest, x.outer = move, a
			}
		}
		x.source[a] = table
	}
}

// cut chooses the size of windows: about x.target elements, and as few reads and writes as may be. The source wants windows of whole
// rows, the layout of whole panels or rows of its own; where these are at odds, both give way.
func (x *matrix) cut() error {
	l := x.operand.Layout
	if l.Elements() <= x.target {
		return nil
	}
	inner := x.inner()
	widths := []uint64{1}
	if inner >= 0 {
		widths[0] = l.Axes[inner].Padded
		for w := widths[0] / 2; w >= element.PatchSize; w /= 2 {
			widths = append(widths, w)
		}
	}
	var best []uint64
	bestCost := uint64(math.MaxUint64)
	for _, width := range widths {
		step := slices.Clone(x.step)
		if inner >= 0 {
			step[inner] = bestStep(l.Granules(inner), x.quantum(inner), width)
		}
		if quantum := x.quantum(x.outer); quantum > 0 {
			across := volume(step) / step[x.outer]
			step[x.outer] = bestStep(l.Granules(x.outer), quantum, max(x.target/across, 1))
		}
		if cost := x.cost(step, inner); best == nil || cost < bestCost {
			best, bestCost = step, cost
		}
	}
	if n := volume(best); n > maxWindowElements {
		return fmt.Errorf("operand %q: layout %v cannot be cut into windows of less than %d elements (at most %d)", x.operand.Name, l, n, maxWindowElements)
	}
	x.step = best
	return nil
}

// inner is the axis other than the outer one along which windows may be cut too, -1 when there is none.
func (x *matrix) inner() int {
	if len(x.step) == 2 {
		return 1 - x.outer
	}
	return -1
}

// quantum is how many indices of an axis make whole patches, 0 for an axis that cannot be cut.
func (x *matrix) quantum(axis int) uint64 {
	axes := x.operand.Layout.Axes
	switch {
	case axis == len(axes)-1:
		return element.PatchSize
	case axis > 0:
		return 0
	}
	rows := uint64(1)
	for _, a := range axes[1 : len(axes)-1] {
		rows *= a.Extent
	}
	return element.PatchSize / gcd(rows, element.PatchSize)
}

// cost is about how many reads and writes windows of a size need; windows far over the target cost as many as they are large.
func (x *matrix) cost(step []uint64, inner int) uint64 {
	l := x.operand.Layout
	reads, windows := uint64(1), uint64(1)
	if inner >= 0 && step[inner] < l.Axes[inner].Padded {
		reads = step[x.outer]
	}
	for a, axis := range l.Axes {
		windows *= (axis.Padded + step[a] - 1) / step[a]
	}
	w, err := l.Window(make([]uint64, len(step)), step)
	if err != nil {
		return math.MaxUint64
	}
	cost := windows * (reads + volume(step)/w.RunLength())
	if n := volume(step); n > 2*x.target {
		cost = max(cost, n)
	}
	return cost
}

func volume(size []uint64) uint64 {
	n := uint64(1)
	for _, s := range size {
		n *= s
	}
	return n
}

// bestStep chooses how far apart to cut an axis: a multiple of quantum at which the layout can be cut everywhere, the largest that
// is not over target, or else the smallest there is.
func bestStep(granules []uint64, quantum, target uint64) uint64 {
	padded := granules[len(granules)-1]
	below, above := uint64(0), padded
	for i, g := range granules {
		unit := g / gcd(g, quantum) * quantum
		next := padded // unions of neighbours must stay within one multiple of the next granule
		if i+2 < len(granules) {
			next = granules[i+1]
		}
		for n := max(target/unit, 1); n >= 1; n-- {
			step := n * unit
			if i+2 < len(granules) && next%step != 0 {
				continue
			}
			if step <= target {
				below = max(below, step)
			} else {
				above = min(above, step)
			}
			break
		}
	}
	if below > 0 {
		return min(below, padded)
	}
	return above
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// windows is the number of windows.
func (x *matrix) windows() int {
	n := uint64(1)
	for _, c := range x.count {
		n *= c
	}
	return int(n)
}

// window is the i-th of them, counted through the axes as the operand has them: the last varies fastest.
func (x *matrix) window(i int) (layout.Window, error) {
	begin, size := make([]uint64, len(x.step)), make([]uint64, len(x.step))
	rest := uint64(i)
	for a := len(begin) - 1; a >= 0; a-- {
		begin[a] = rest % x.count[a] * x.step[a]
		rest /= x.count[a]
		size[a] = min(x.step[a], x.operand.Layout.Axes[a].Padded-begin[a])
	}
	return x.operand.Layout.Window(begin, size)
}

// patches is the number of rows and columns of patches of the whole operand.
func (x *matrix) patches() (rows, cols int) {
	axes := x.operand.Layout.Axes
	last := len(axes) - 1
	r := uint64(1)
	for _, a := range axes[:last] {
		r *= a.Extent
	}
	return int((r + element.PatchSize - 1) / element.PatchSize), int((axes[last].Extent + element.PatchSize - 1) / element.PatchSize)
}
