package layout

import (
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"
)

// Canonical returns the layout with digits of size 1 dropped and with neighbours in memory merged where they are one digit in
// two parts: same axis, and the outer one's stride equal to the inner one's size times its stride. Two layouts of the same
// padded axes place every element alike exactly if their canonical digits are the same.
func (l Layout) Canonical() Layout {
	digits := make([]Digit, 0, len(l.Digits))
	for _, d := range l.Digits {
		if d.Size == 1 {
			continue
		}
		if n := len(digits); n > 0 {
			outer := &digits[n-1]
			span, ok := product(d.Size, d.Stride)
			size, fits := product(outer.Size, d.Size)
			if ok && fits && outer.Axis == d.Axis && outer.Stride == span {
				outer.Size, outer.Stride = size, d.Stride
				continue
			}
		}
		digits = append(digits, d)
	}
	return Layout{Axes: slices.Clone(l.Axes), Digits: digits}
}

// Equal reports whether both layouts put every element of the padded index space at the same position. Axes go by name, in
// any order, with their padded extents; logical extents do not matter.
func (l Layout) Equal(o Layout) bool {
	return slices.Equal(l.encode(), o.encode())
}

// Hash identifies the order in memory: layouts have the same hash exactly if they are Equal. It is the XXH3-128, as its 16
// big-endian bytes, of the canonical form written as
//
//	1 byte   number of axes
//	         for each axis, by ascending name:  1 byte name, 8 bytes padded extent
//	1 byte   number of canonical digits
//	         for each, outermost first:         1 byte axis name, 8 bytes size, 8 bytes stride
//
// with integers in little-endian order.
func (l Layout) Hash() [16]byte {
	return xxh3.Hash128(l.encode()).Bytes()
}

func (l Layout) encode() []byte {
	axes := slices.Clone(l.Axes)
	slices.SortStableFunc(axes, func(a, b Axis) int { return int(a.Name) - int(b.Name) })
	b := []byte{byte(len(axes))}
	for _, a := range axes {
		b = binary.LittleEndian.AppendUint64(append(b, a.Name), a.Padded)
	}
	digits := l.Canonical().Digits
	b = append(b, byte(len(digits)))
	for _, d := range digits {
		b = binary.LittleEndian.AppendUint64(append(b, l.axisName(d.Axis)), d.Size)
		b = binary.LittleEndian.AppendUint64(b, d.Stride)
	}
	return b
}
