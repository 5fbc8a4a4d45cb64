package pack

import (
	"fmt"
	"math"
	"slices"

	"npuw/artifact/element"
)

const (
	// windowElements is about how many elements a worker holds at a time: 2 MiB of float32, and what they become.
	windowElements = 512 << 10
	// maxWindowElements bounds the window of a layout that cannot be cut small.
	maxWindowElements = 16 << 20
)

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
		return fmt.Errorf("layout %v cannot be cut into windows of less than %d elements (at most %d)", l, n, maxWindowElements)
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

// quantum is how many indices of an axis make whole patches, and whole bytes or elements; 0 for an axis that cannot be cut.
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
	quantum := element.PatchSize / gcd(rows, element.PatchSize)
	if axis == x.wholeAxis {
		return lcm(quantum, x.whole)
	}
	return quantum
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

func lcm(a, b uint64) uint64 { return a / gcd(a, b) * b }
