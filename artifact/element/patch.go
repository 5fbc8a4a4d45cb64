package element

import (
	"fmt"
	"math"
)

// PatchSize is the largest number of rows and of columns of a patch, the unit in which statistics are summed.
const PatchSize = 64

// lanes is the number of partial sums into which the elements of a patch are dealt.
const lanes = 8

// EncodePatch encodes a patch of at most PatchSize x PatchSize values as Encode does, and measures what rounding them cost.
// Element (r, c) is src[r*srcStride+c] and goes to the f.Size() bytes of dst from r*dstStride + c*f.Size(). Rows must not
// overlap, in src or in dst. It returns the patch's statistics and the index r*cols+c of the first element whose source or
// encoded value is not finite, -1 if there is none.
//
// The sums have one order, so that every machine gets the same bits. Products are rounded to float64 before they are
// added. There are eight lanes; an element belongs to the lane of its column modulo eight. Within a lane elements are added to
// zero by ascending row, then column; the lanes are joined as ((0+1)+(2+3))+((4+5)+(6+7)).
func EncodePatch[T float32 | float64](
	dst []byte, dstStride int, src []T, srcStride, rows, cols int, f Format,
) (Stats, int, error) {
	if err := checkTarget(f); err != nil {
		return Stats{}, -1, err
	}
	if err := checkPatch(rows, cols); err != nil || rows == 0 || cols == 0 {
		return Stats{}, -1, err
	}
	if !rowsFit(len(src), srcStride, rows, cols) || !rowsFit(len(dst), dstStride, rows, cols*f.Size()) {
		return Stats{}, -1, fmt.Errorf("element: %d x %d of %v do not fit %d values by rows of %d and %d bytes by rows of %d",
			rows, cols, f, len(src), srcStride, len(dst), dstStride)
	}
	if s, ok := any(src).([]float32); ok && f == BF16 {
		if stats, ok := fastPatchBF16(dst, dstStride, s, srcStride, rows, cols); ok {
			return stats, -1, nil
		}
	}
	stats, first := encodePatch(dst, dstStride, src, srcStride, rows, cols, f)
	return stats, first, nil
}

func checkPatch(rows, cols int) error {
	if rows < 0 || rows > PatchSize || cols < 0 || cols > PatchSize {
		return fmt.Errorf("element: a patch of %d x %d; at most %d x %d", rows, cols, PatchSize, PatchSize)
	}
	return nil
}

// checkArray reports rows of the given width that do not lie within length or that overlap; rows and width are not 0.
func checkArray(what string, length, stride, rows, width int) error {
	if rows < 0 || width < 0 || !rowsFit(length, stride, rows, width) {
		return fmt.Errorf("element: %d rows of %d do not fit %d %s by rows of %d", rows, width, length, what, stride)
	}
	return nil
}

// rowsFit reports whether rows of the given width, stride apart, lie within length and do not overlap.
func rowsFit(length, stride, rows, width int) bool {
	if width > length {
		return false
	}
	return rows == 1 || stride >= width && stride <= (length-width)/(rows-1)
}

// encodePatch is EncodePatch in plain Go, for arguments that were checked.
func encodePatch[T float32 | float64](
	dst []byte, dstStride int, src []T, srcStride, rows, cols int, f Format,
) (Stats, int) {
	m := meter{first: -1}
	var y [PatchSize]float32
	for r := range rows {
		x, row := src[r*srcStride:][:cols], dst[r*dstStride:][:cols*f.Size()]
		encode(row, x, f)
		decode32(y[:cols], row, f)
		measureRow(&m, x, y[:cols], r*cols)
	}
	return m.stats(uint64(rows) * uint64(cols)), m.first
}

// meter gathers a patch's statistics row by row.
type meter struct {
	exact, underflowed, nonFinite uint64
	first                         int    // index of the first element that is not finite, -1 before one is seen
	maxAbsError, maxAbsValue      uint64 // bits of max |d| and max |x|
	xx, xd, dd                    laneSums
}

func (m *meter) stats(elements uint64) Stats {
	return Stats{
		Elements:    elements,
		Inexact:     elements - m.exact - m.nonFinite,
		Underflowed: m.underflowed,
		NonFinite:   m.nonFinite,
		MaxAbsError: math.Float64frombits(m.maxAbsError),
		MaxAbsValue: math.Float64frombits(m.maxAbsValue),
		SumXX:       m.xx.total(),
		SumXD:       m.xd.total(),
		SumDD:       m.dd.total(),
	}
}

func (m *meter) notFinite(index int) {
	if m.first < 0 {
		m.first = index
	}
	m.nonFinite++
}

// laneSums are the partial sums of the elements of each lane.
type laneSums [lanes]float64

func (l *laneSums) total() float64 {
	return ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]))
}

// measureRow adds a row of source values x and encoded values y, whose first element has the given index in the patch.
// Magnitudes are compared by their bits, which order as the values do.
func measureRow[X, Y float32 | float64](m *meter, x []X, y []Y, index int) {
	y = y[:len(x)]
	maxAbsError, maxAbsValue, exact := m.maxAbsError, m.maxAbsValue, uint64(0)
	for c := range x {
		x, y := float64(x[c]), float64(y[c])
		d := x - y
		absX, absD := math.Float64bits(x)&^sign64, math.Float64bits(d)&^sign64
		if absD >= inf64 { // d is finite exactly when both are: encoded formats lie far inside the range of float64
			m.notFinite(index + c)
			continue
		}
		if absD == 0 {
			exact++
		} else if y == 0 {
			m.underflowed++
		}
		maxAbsError = max(maxAbsError, absD)
		maxAbsValue = max(maxAbsValue, absX)
		lane := uint(c) % lanes
		m.xx[lane] += float64(x * x)
		m.xd[lane] += float64(x * d)
		m.dd[lane] += float64(d * d)
	}
	m.maxAbsError, m.maxAbsValue, m.exact = maxAbsError, maxAbsValue, m.exact+exact
}
