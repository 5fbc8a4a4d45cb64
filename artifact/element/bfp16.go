package element

import (
	"fmt"
	"math"
	"math/bits"
)

// Rounding is how mantissas of BFP16 are rounded.
type Rounding uint8

const (
	Floor       Rounding = iota // towards minus infinity: truncation of two's complement, as AIE2P does
	NearestEven                 // to nearest, ties to even; 128 becomes 127
)

// Direction is how the eight values of a BFP16 element lie in a patch.
type Direction uint8

const (
	AlongRow    Direction = iota // element (r, i) holds the values (r, 8i) to (r, 8i+7)
	AlongColumn                  // element (i, c) holds the values (8i, c) to (8i+7, c)
)

// bytesBFP16 is the size of an element of BFP16: an exponent, then valuesBFP16 mantissas.
//
//	byte 0    1    2    3    4    5    6    7    8
//	+----+----+----+----+----+----+----+----+----+
//	| e  | m0 | m1 | m2 | m3 | m4 | m5 | m6 | m7 |    value i = m_i * 2^(e-127-6)
//	+----+----+----+----+----+----+----+----+----+
//
// The definition is that of bfp16ebs8 in Xilinx/mlir-aie, programming_examples/ml/block_datatypes/helper.h. Where that halves
// subnormals, shifts undefinedly far or makes -0 into -1, the formulas of schema/FORMAT.md hold here.
const (
	bytesBFP16  = 9
	valuesBFP16 = 8
	pointBFP16  = 127 + 6 // a mantissa of 1 stands for 2 to the power of e less this
	topBFP16    = 254     // the exponent of the largest binary32
)

// elements gives how many elements hold rows x cols values, and where: value (r, c) is mantissa r%high + c%wide of element
// (r/high, c/wide), where high or wide is 1. Neither rows nor cols is 0.
func (d Direction) elements(rows, cols int) (elementRows, elementCols, high, wide int) {
	if d == AlongColumn {
		return (rows-1)/valuesBFP16 + 1, cols, valuesBFP16, 1
	}
	return rows, (cols-1)/valuesBFP16 + 1, 1, valuesBFP16
}

// EncodeBFP16Patch encodes a patch of at most PatchSize x PatchSize values as BFP16 and measures what that cost. Value (r, c) is
// src[r*srcStride+c]. Element (i, j) of those that direction makes of them goes to the 9 bytes of dst from i*dstStride+9*j; the
// last one of a row or column is filled up with zeros. Rows must not overlap, in src or in dst.
//
// Statistics and index are those of EncodePatch. Neither NaN nor a value of 2^128 and beyond can be held: such a value counts as
// not finite, zero is written for it, and the caller must refuse it by the index.
func EncodeBFP16Patch[T float32 | float64](
	dst []byte, dstStride int, src []T, srcStride, rows, cols int, direction Direction, rounding Rounding,
) (Stats, int, error) {
	if rounding > NearestEven {
		return Stats{}, -1, fmt.Errorf("element: rounding %d is not known", rounding)
	}
	if err := checkPatch(rows, cols); err != nil || rows == 0 || cols == 0 {
		return Stats{}, -1, err
	}
	if err := checkBFP16(len(dst), dstStride, len(src), srcStride, rows, cols, direction); err != nil {
		return Stats{}, -1, err
	}
	stats, first := encodeBFP16Patch(dst, dstStride, src, srcStride, rows, cols, direction, rounding)
	return stats, first, nil
}

// encodeBFP16Patch is EncodeBFP16Patch in plain Go, for arguments that were checked. It goes through the patch by rows of elements,
// in each twice by rows of values: for the exponents and for the mantissas.
func encodeBFP16Patch[T float32 | float64](
	dst []byte, dstStride int, src []T, srcStride, rows, cols int, direction Direction, rounding Rounding,
) (Stats, int) {
	m := meter{first: -1}
	var y [PatchSize]float64
	_, elements, high, wide := direction.elements(rows, cols)
	for r := 0; r < rows; r += high {
		var tops [PatchSize]uint64
		for i := range min(high, rows-r) {
			raiseTops(&tops, src[(r+i)*srcStride:][:cols], wide)
		}
		var scales [PatchSize]scaleBFP16
		row := dst[r/high*dstStride:][:elements*bytesBFP16]
		clear(row)
		for j := range elements {
			scales[j] = newScaleBFP16(tops[j])
			row[j*bytesBFP16] = scales[j].e
		}
		for i := range min(high, rows-r) {
			x := src[(r+i)*srcStride:][:cols]
			encodeMantissas(row[1+i:], &y, x, &scales, wide, rounding)
			measureRow(&m, x, y[:cols], (r+i)*cols)
		}
	}
	return m.stats(uint64(rows) * uint64(cols)), m.first
}

const beyondBFP16 = (128 + bias64) << fraction64 // bits of 2^128, the first magnitude that has no exponent

// raiseTops raises the largest magnitude of each element, in bits, to those of a row of values, of which it has wide.
func raiseTops[T float32 | float64](tops *[PatchSize]uint64, x []T, wide int) {
	shift := bits.TrailingZeros(uint(wide))
	for c, x := range x {
		magnitude := math.Float64bits(float64(x)) &^ sign64
		if magnitude >= beyondBFP16 {
			continue
		}
		if top := &tops[c>>shift%PatchSize]; magnitude > *top {
			*top = magnitude
		}
	}
}

// scaleBFP16 is what an element's exponent stands for: a mantissa of 1 is worth unit, and inverse is 1 over that.
type scaleBFP16 struct {
	e             byte
	unit, inverse float64
}

// newScaleBFP16 gives the exponent for values up to the magnitude with the given bits.
func newScaleBFP16(top uint64) scaleBFP16 {
	e := max(int(top>>fraction64)-(bias64-biasE8M0), 0)
	return scaleBFP16{byte(e), pow2(e - pointBFP16), pow2(pointBFP16 - e)}
}

// encodeMantissas writes the mantissas of a row of values, of which an element has wide, the first of them to dst[0]; and what they
// stand for to y, infinite for values that have none.
func encodeMantissas[T float32 | float64](
	dst []byte, y *[PatchSize]float64, x []T, scales *[PatchSize]scaleBFP16, wide int, rounding Rounding,
) {
	shift, mask := bits.TrailingZeros(uint(wide)), wide-1
	for c, x := range x {
		x, scale := float64(x), &scales[c>>shift%PatchSize]
		if math.Float64bits(x)&^sign64 >= beyondBFP16 {
			y[c%PatchSize] = math.Inf(1)
			continue
		}
		m := float64(x * scale.inverse) // not fused with what follows
		if rounding == NearestEven {
			m = min((m+integer)-integer, math.MaxInt8)
		} else if m = math.Floor(m); m == 0 && x < 0 { // the product was too small for a binary64
			m = -1
		}
		if m == math.MinInt8 && scale.e == topBFP16 { // -2^128 is no binary32
			m = -math.MaxInt8
		}
		dst[c>>shift*bytesBFP16+c&mask] = byte(int8(m))
		y[c%PatchSize] = m * scale.unit
	}
}

// DecodeBFP16Patch decodes an array of BFP16 of any size: rows x cols values that lie in src as EncodeBFP16Patch writes them. Every
// value is exact, but for those beyond the range of dst's type (FirstInvalid), which become infinite.
func DecodeBFP16Patch[T float32 | float64](
	dst []T, dstStride int, src []byte, srcStride, rows, cols int, direction Direction,
) error {
	if rows == 0 || cols == 0 {
		return nil
	}
	if err := checkBFP16(len(src), srcStride, len(dst), dstStride, rows, cols, direction); err != nil {
		return err
	}
	_, _, high, wide := direction.elements(rows, cols)
	shift, mask := bits.TrailingZeros(uint(wide)), wide-1
	for r := range rows {
		elements, y := src[r/high*srcStride:], dst[r*dstStride:][:cols]
		for c := range y {
			element := elements[c>>shift*bytesBFP16:][:bytesBFP16]
			y[c] = T(float64(int8(element[1+c&mask+r%high])) * pow2(int(element[0])-pointBFP16))
		}
	}
	return nil
}

// decodeBFP16 decodes elements that follow each other, 8 values each.
func decodeBFP16[T float32 | float64](dst []T, src []byte) {
	for len(src) >= bytesBFP16 && len(dst) >= valuesBFP16 {
		unit := pow2(int(src[0]) - pointBFP16)
		for i, m := range src[1:bytesBFP16] {
			dst[i] = T(float64(int8(m)) * unit)
		}
		dst, src = dst[valuesBFP16:], src[bytesBFP16:]
	}
}

// validBFP16 reports whether all values of an element are finite in binary32, and its exponent is that of such a value.
func validBFP16(element []byte) bool {
	if element[0] < topBFP16 {
		return true
	}
	for _, m := range element[1:] {
		if int8(m) == math.MinInt8 {
			return false
		}
	}
	return element[0] == topBFP16
}

func checkBFP16(bytes, byteStride, values, valueStride, rows, cols int, direction Direction) error {
	if direction > AlongColumn {
		return fmt.Errorf("element: direction %d is not known", direction)
	}
	if err := checkArray("values", values, valueStride, rows, cols); err != nil {
		return err
	}
	elementRows, elementCols, _, _ := direction.elements(rows, cols)
	if elementCols > bytes/bytesBFP16 {
		return fmt.Errorf("element: %d x %d elements of bfp16 do not fit %d bytes", elementRows, elementCols, bytes)
	}
	return checkArray("bytes of bfp16", bytes, byteStride, elementRows, elementCols*bytesBFP16)
}
