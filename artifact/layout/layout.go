// Package layout describes in what order the elements of an operand lie in memory, as data: a list of digits, from outermost
// to innermost. It parses and prints the notation, proves that a layout places every element exactly once, and packs and
// unpacks elements of any size. It knows nothing of files or element formats.
//
// The position of an element is a number in a mixed radix. Each digit takes Size values and belongs to one axis, on which one
// step of it moves Stride. In the layout N* K* K8 N8 K8 N4, resolved for K=128 and N=64 as N2 K2 K8 N8 K8 N4:
//
//	digit      N2   K2   K8   N8   K8   N4
//	moves by   32   64    8    4    1    1    along its axis
//	moves by 4096 2048  256   32    4    1    in memory
//
//	element (k, n) lies at  n/32*4096 + k/64*2048 + k/8%8*256 + n/4%8*32 + k%8*4 + n%4
//
// Each digit belongs to one axis, so a position is a sum of one term an axis; packing works from tables of those terms.
package layout

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
)

// Limits of a layout, beyond which it is refused.
const (
	MaxAxes     = 8
	MaxDigits   = 32
	MaxElements = uint64(1) << 62 // product of the padded extents
	MaxText     = 1024            // bytes of a notation
)

// ErrInvalid is wrapped by every error of Resolve and Validate: digits and axes that make no layout.
var ErrInvalid = errors.New("invalid layout")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Axis is one axis of an operand.
type Axis struct {
	Name   byte   // an upper-case ASCII letter
	Extent uint64 // the logical size; may be 0
	Padded uint64 // the size that the layout covers, at least Extent
}

// Digit is one place of the mixed radix in which positions are counted.
type Digit struct {
	Axis   int    // index into Layout.Axes
	Size   uint64 // how many values the digit takes
	Stride uint64 // how far one step moves along the axis
}

// Layout is the order of an operand's elements in memory. Its digits go from outermost to innermost: the last one's
// neighbours are neighbours in memory. The methods that compute positions expect a layout for which Validate returns nil.
// A Layout is not written to by its methods, so it may be shared.
type Layout struct {
	Axes   []Axis
	Digits []Digit
}

// Validate proves that the layout maps the padded index space onto the positions from 0 to Elements()-1 one to one: on each
// axis, the digits sorted by stride begin at stride 1, each next stride is the one before times its size, and the last ends
// at the padded extent. The stride of a digit of size 1 is free, and an axis padded to 1 needs no digit. Errors wrap
// ErrInvalid and say which digit is at fault, counted from 1 at the outermost.
func (l Layout) Validate() error {
	if err := l.validateAxes(); err != nil {
		return err
	}
	if len(l.Digits) > MaxDigits {
		return invalid("%d digits, at most %d allowed", len(l.Digits), MaxDigits)
	}
	for i, d := range l.Digits {
		switch {
		case d.Axis < 0 || d.Axis >= len(l.Axes):
			return invalid("digit %d is of axis %d, but there are %d axes", i+1, d.Axis, len(l.Axes))
		case d.Size == 0 || d.Size > MaxElements:
			return invalid("digit %d of axis %c has size %d, allowed are 1 to 1<<62", i+1, l.Axes[d.Axis].Name, d.Size)
		case d.Stride == 0 || d.Stride > MaxElements:
			return invalid("digit %d of axis %c has stride %d, allowed are 1 to 1<<62", i+1, l.Axes[d.Axis].Name, d.Stride)
		}
	}
	for axis := range l.Axes {
		if err := l.validateDigits(axis); err != nil {
			return err
		}
	}
	return nil
}

func (l Layout) validateAxes() error {
	if len(l.Axes) == 0 || len(l.Axes) > MaxAxes {
		return invalid("%d axes, allowed are 1 to %d", len(l.Axes), MaxAxes)
	}
	total := uint64(1)
	for i, a := range l.Axes {
		if a.Name < 'A' || a.Name > 'Z' {
			return invalid("axis %d is named %q, which is not a letter from A to Z", i, string(rune(a.Name)))
		}
		if slices.ContainsFunc(l.Axes[:i], func(b Axis) bool { return b.Name == a.Name }) {
			return invalid("two axes are named %c", a.Name)
		}
		if a.Padded == 0 || a.Padded < a.Extent {
			return invalid("axis %c has %d elements but is padded to %d", a.Name, a.Extent, a.Padded)
		}
		var ok bool
		if total, ok = product(total, a.Padded); !ok {
			return invalid("the padded extents hold more than 1<<62 elements")
		}
	}
	return nil
}

// validateDigits proves that the digits of one axis count from 0 to its padded extent. It goes through them by ascending
// stride, looking for the next each time: there are few, and files hold many layouts.
func (l Layout) validateDigits(axis int) error {
	a := l.Axes[axis]
	next, seen := uint64(1), uint64(0) // seen: a bit for each digit that has had its turn
	for {
		least := -1
		for i := range l.Digits {
			d := &l.Digits[i]
			if d.Axis == axis && d.Size > 1 && seen>>i&1 == 0 && (least < 0 || d.Stride < l.Digits[least].Stride) {
				least = i
			}
		}
		if least < 0 {
			break
		}
		seen |= 1 << least
		d := l.Digits[least]
		if d.Stride != next {
			return invalid("digit %d (%c%d) has stride %d, but the digits below it on axis %c cover %d",
				least+1, a.Name, d.Size, d.Stride, a.Name, next)
		}
		var ok bool
		if next, ok = product(next, d.Size); !ok || next > a.Padded {
			return invalid("digit %d (%c%d) takes axis %c beyond its padded extent of %d", least+1, a.Name, d.Size, a.Name, a.Padded)
		}
	}
	if next != a.Padded {
		return invalid("the digits of axis %c cover %d, its padded extent is %d", a.Name, next, a.Padded)
	}
	return nil
}

// byStride returns the indices of the axis's digits of size over 1, by ascending stride.
func (l Layout) byStride(axis int) []int {
	order := make([]int, 0, len(l.Digits))
	for i, d := range l.Digits {
		if d.Axis == axis && d.Size > 1 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		if l.Digits[i].Stride < l.Digits[j].Stride {
			return -1
		}
		if l.Digits[i].Stride > l.Digits[j].Stride {
			return 1
		}
		return 0
	})
	return order
}

// String writes the layout in the notation that Parse reads, every size resolved. Strides are written only for an axis whose
// digits stand in another order than their strides. An axis without digits is written as a digit of size 1. Parsing the
// text and resolving it with the layout's axes gives the layout back.
func (l Layout) String() string {
	var b []byte
	for i, d := range l.Digits {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, l.axisName(d.Axis))
		b = strconv.AppendUint(b, d.Size, 10)
		if !l.plain(d.Axis) {
			b = strconv.AppendUint(append(b, '@'), d.Stride, 10)
		}
	}
	for i, a := range l.Axes {
		if !slices.ContainsFunc(l.Digits, func(d Digit) bool { return d.Axis == i }) {
			if len(b) > 0 {
				b = append(b, ' ')
			}
			b = append(b, a.Name, '1')
		}
	}
	return string(b)
}

func (l Layout) axisName(axis int) byte {
	if axis < 0 || axis >= len(l.Axes) {
		return '?'
	}
	return l.Axes[axis].Name
}

// plain reports whether each digit of the axis has the stride that an unmarked digit has.
func (l Layout) plain(axis int) bool {
	inner := uint64(1)
	for i := len(l.Digits) - 1; i >= 0; i-- {
		d := l.Digits[i]
		if d.Axis != axis {
			continue
		}
		if d.Stride != inner {
			return false
		}
		inner *= d.Size
	}
	return true
}

// Elements returns how many elements the layout covers, padding included.
func (l Layout) Elements() uint64 {
	total := uint64(1)
	for _, a := range l.Axes {
		total *= a.Padded
	}
	return total
}

// Offset returns the position in memory, in elements, of the element at a padded index, one value an axis. Axes for which
// index has no value count as 0, and a value past the padded extent wraps around.
func (l Layout) Offset(index []uint64) uint64 {
	offset, step := uint64(0), uint64(1)
	for i := len(l.Digits) - 1; i >= 0; i-- {
		d := l.Digits[i]
		if d.Size > 1 && d.Stride > 0 && d.Axis >= 0 && d.Axis < len(index) {
			offset += index[d.Axis] / d.Stride % d.Size * step
		}
		step *= d.Size
	}
	return offset
}

// Index writes into index, one value an axis, the padded index of the element at a position in memory: the inverse of
// Offset. Axes for which index has no room are left out.
func (l Layout) Index(offset uint64, index []uint64) {
	clear(index)
	for i := len(l.Digits) - 1; i >= 0; i-- {
		d := l.Digits[i]
		if d.Size <= 1 {
			continue
		}
		if d.Axis >= 0 && d.Axis < len(index) {
			index[d.Axis] += offset % d.Size * d.Stride
		}
		offset /= d.Size
	}
}

// AxisOffsets returns what the values begin to begin+count-1 of one axis add to a position, in elements. The position of an
// element is the sum over the axes. It returns nil unless the values lie within the axis's padded extent.
func (l Layout) AxisOffsets(axis int, begin, count uint64) []uint64 {
	if axis < 0 || axis >= len(l.Axes) || count > l.Axes[axis].Padded || begin > l.Axes[axis].Padded-count || count > maxTable {
		return nil
	}
	index := make([]uint64, axis+1)
	offsets := make([]uint64, count)
	for i := range offsets {
		index[axis] = begin + uint64(i)
		offsets[i] = l.Offset(index)
	}
	return offsets
}

// steps returns how far one step of each digit moves in memory.
func (l Layout) steps() []uint64 {
	steps := make([]uint64, len(l.Digits))
	step := uint64(1)
	for i := len(l.Digits) - 1; i >= 0; i-- {
		steps[i] = step
		step *= l.Digits[i].Size
	}
	return steps
}

// product multiplies, and reports whether the result is within MaxElements.
func product(a, b uint64) (uint64, bool) {
	hi, lo := bits.Mul64(a, b)
	return lo, hi == 0 && lo <= MaxElements
}
