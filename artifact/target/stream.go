package target

import (
	"errors"
	"fmt"
	"slices"

	"npuw/artifact/layout"
)

// ErrNoStream is wrapped by every error that says why no descriptors put data in an order.
var ErrNoStream = errors.New("no DMA can do it")

// maxElements bounds what is streamed, so that counts of bits fit 64 bits.
const maxElements = 1 << 57

// Loop is one of nested loops: Size times, Step apart.
type Loop struct {
	Size uint64 `json:"size"`
	Step uint64 `json:"step"`
}

func (l Loop) String() string { return fmt.Sprintf("{%d, %d}", l.Size, l.Step) }

// RowMajor is the layout of the same axes in which the last one given is fastest.
func RowMajor(axes []layout.Axis) layout.Layout {
	l := layout.Layout{Axes: slices.Clone(axes)}
	for i, a := range axes {
		l.Digits = append(l.Digits, layout.Digit{Axis: i, Size: a.Padded, Stride: 1})
	}
	return l
}

// Stream returns the loops, outermost first, that visit in the order of one layout the elements of data that lie in the order of
// source. Sizes and steps are in elements; no loop has size 1, and no two neighbours can be merged. Both layouts must have the
// same axes with the same padded sizes, padding being data like any other. The error, which wraps ErrNoStream, says
// where they cut an axis so that no loops go through it: 15 at multiples of 3 and of 5.
func Stream(order, source layout.Layout) ([]Loop, error) {
	axis, err := matchAxes(order, source)
	if err != nil {
		return nil, err
	}
	var loops []Loop
	for _, d := range order.Digits {
		if d.Size == 1 {
			continue
		}
		d.Axis = axis[d.Axis]
		parts, err := cut(d, source)
		if err != nil {
			return nil, err
		}
		loops = append(loops, parts...)
	}
	return merge(loops), nil
}

// matchAxes checks that two layouts order the same elements, and returns for each axis of the first which of the second it is.
func matchAxes(order, source layout.Layout) ([]int, error) {
	for _, l := range []layout.Layout{order, source} {
		if err := l.Validate(); err != nil {
			return nil, err
		}
		if l.Elements() > maxElements {
			return nil, fmt.Errorf("%w: %d elements are too many", ErrNoStream, l.Elements())
		}
	}
	if len(order.Axes) != len(source.Axes) {
		return nil, fmt.Errorf("%w: the orders are of %s and of %s", ErrNoStream, order.Shape(), source.Shape())
	}
	var axis []int
	for _, a := range order.Axes {
		i := slices.IndexFunc(source.Axes, func(b layout.Axis) bool { return b.Name == a.Name && b.Padded == a.Padded })
		if i < 0 {
			return nil, fmt.Errorf("%w: the orders are of %s and of %s", ErrNoStream, order.Shape(), source.Shape())
		}
		axis = append(axis, i)
	}
	return axis, nil
}

// cut gives the loops of one digit, outermost first: one for each digit of the source that it moves.
func cut(d layout.Digit, source layout.Layout) ([]Loop, error) {
	var loops []Loop
	low, top := d.Stride, d.Stride*d.Size
	for low < top {
		at, step := digitAt(source, d.Axis, low)
		end := min(top, at.Stride*at.Size)
		for _, cuts := range [][2]uint64{{low, at.Stride}, {end, low}, {top, end}} {
			if cuts[0]%cuts[1] != 0 {
				return nil, fmt.Errorf("%w: the orders cut axis %c at multiples of %d and of %d, and neither is a multiple of the other",
					ErrNoStream, source.Axes[d.Axis].Name, min(cuts[0], cuts[1]), max(cuts[0], cuts[1]))
			}
		}
		loops = append(loops, Loop{Size: end / low, Step: low / at.Stride * step})
		low = end
	}
	slices.Reverse(loops)
	return loops, nil
}

// digitAt returns the digit of an axis in which the index value v, a product of sizes below the axis's padded size, moves,
// and how far one step of it moves in memory.
func digitAt(l layout.Layout, axis int, v uint64) (layout.Digit, uint64) {
	step := uint64(1)
	for i := len(l.Digits) - 1; i >= 0; i-- {
		d := l.Digits[i]
		if d.Axis == axis && d.Size > 1 && d.Stride <= v && v < d.Stride*d.Size {
			return d, step
		}
		step *= d.Size
	}
	return layout.Digit{Axis: axis, Size: 1, Stride: v}, 0 // not in a valid layout
}

// merge drops loops of size 1 and joins neighbours that are one loop in two parts.
func merge(loops []Loop) []Loop {
	var merged []Loop
	for _, l := range loops {
		if l.Size == 1 {
			continue
		}
		if n := len(merged); n > 0 && merged[n-1].Step == l.Size*l.Step {
			merged[n-1] = Loop{merged[n-1].Size * l.Size, l.Step}
			continue
		}
		merged = append(merged, l)
	}
	return merged
}

// InWords gives loops over elements of some bits as loops over words. The error, which wraps ErrNoStream, says which run or step
// is not whole words.
func InWords(loops []Loop, bits int) ([]Loop, error) {
	const word = 8 * WordBytes
	size := uint64(bits)
	if bits < 1 || bits > 64 {
		return nil, fmt.Errorf("%w: elements of %d bits", ErrNoStream, bits)
	}
	words := slices.Clone(loops)
	for _, l := range words {
		if l.Size > maxElements || l.Step > maxElements {
			return nil, fmt.Errorf("%w: a loop of %v elements is too long", ErrNoStream, l)
		}
	}
	run := Loop{1, 1} // of elements that are neighbours in memory
	if n := len(words); n > 0 && words[n-1].Step == 1 {
		run, words = words[n-1], words[:n-1]
	}
	if run.Size*size%word != 0 {
		what := fmt.Sprintf("%d elements lie together, %s", run.Size, amount(run.Size*size))
		if run.Size == 1 {
			what = fmt.Sprintf("each element lies by itself, %s", amount(size))
		}
		return nil, fmt.Errorf("%w: %s, and a DMA moves whole words of %d bytes", ErrNoStream, what, WordBytes)
	}
	for i, l := range words {
		if l.Step*size%word != 0 {
			return nil, fmt.Errorf("%w: a step is %d elements, %s, and a DMA steps by whole words of %d bytes",
				ErrNoStream, l.Step, amount(l.Step*size), WordBytes)
		}
		words[i].Step = l.Step * size / word
	}
	return merge(append(words, Loop{run.Size * size / word, 1})), nil
}

// amount writes a number of bits as bytes, if it is whole ones.
func amount(bits uint64) string {
	if bits%8 != 0 {
		return fmt.Sprintf("%d bits", bits)
	}
	if bits == 8 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", bits/8)
}

// Piece returns the layout of the innermost digits: as many as hold at most so many bytes, and make a box of the operand, with
// the number of digits left out. Every piece of the operand has that layout.
func Piece(l layout.Layout, bits int, bytes uint64) (layout.Layout, int) {
	for from := range len(l.Digits) {
		piece := layout.Layout{Axes: slices.Clone(l.Axes), Digits: l.Digits[from:]}
		for i := range piece.Axes {
			piece.Axes[i].Padded = 1
		}
		for _, d := range piece.Digits {
			piece.Axes[d.Axis].Padded *= d.Size
		}
		for i := range piece.Axes {
			piece.Axes[i].Extent = piece.Axes[i].Padded
		}
		n := piece.Elements()
		if n <= maxElements && (n*uint64(bits)+7)/8 <= bytes && piece.Validate() == nil {
			return piece, from
		}
	}
	return layout.Layout{}, len(l.Digits)
}
