package element

import (
	"fmt"
	"math"
	"slices"
)

// MeasureRange extends ranges by the finite values of an array of any size, as the first of the two passes over values to be
// quantized. Element (r, c) is src[r*srcStride+c] and belongs to ranges[rowBlock[r]+colBlock[c]]. It returns the index r*cols+c
// of the first element that is not finite, -1 if there is none.
func MeasureRange[T float32 | float64](
	ranges []Range, src []T, srcStride, rows, cols int, rowBlock, colBlock []int,
) (int, error) {
	if rows == 0 || cols == 0 {
		return -1, nil
	}
	if err := checkArray("values", len(src), srcStride, rows, cols); err != nil {
		return -1, err
	}
	if err := checkBlocks(len(ranges), rows, cols, rowBlock, colBlock); err != nil {
		return -1, err
	}
	first := -1
	for r := range rows {
		own := ranges[rowBlock[r]:]
		for c, x := range src[r*srcStride:][:cols] {
			x := float64(x) + 0 // a zero becomes +0, so that the order of zeros does not matter
			if math.Float64bits(x)&^sign64 >= inf64 {
				if first < 0 {
					first = r*cols + c
				}
				continue
			}
			b := &own[colBlock[c]]
			if !b.Any {
				*b = Range{x, x, true}
				continue
			}
			if x < b.Lo {
				b.Lo = x
			}
			if x > b.Hi {
				b.Hi = x
			}
		}
	}
	return first, nil
}

// QuantizePatch writes the codes of a patch of at most PatchSize x PatchSize values, and measures what they cost. Element (r, c)
// is src[r*srcStride+c], its block is blocks[rowBlock[r]+colBlock[c]], which Fit made for s, and its code goes to
// dst[r*dstStride+c], one a byte also where it has 4 bits. Rows must not overlap, in src or in dst.
//
// Codes are those of schema/FORMAT.md: the quotient rounded to nearest, ties to even, within the format's limits; of NF4 the
// nearest entry. Statistics and index are those of EncodePatch, over x and the values that the codes stand for in float64. No code
// stands for a value that is not finite: what is written for it means nothing, and the caller must refuse it by the index.
func QuantizePatch[T float32 | float64](
	dst []byte, dstStride int, src []T, srcStride, rows, cols int, s Scheme, blocks []Block, rowBlock, colBlock []int,
) (Stats, int, error) {
	err := checkQuantized(len(dst), dstStride, len(src), srcStride, rows, cols, s, len(blocks), rowBlock, colBlock)
	if err != nil || rows == 0 || cols == 0 {
		return Stats{}, -1, err
	}
	stats, first := quantizePatch(dst, dstStride, src, srcStride, rows, cols, s, blocks, rowBlock, colBlock)
	return stats, first, nil
}

// checkQuantized reports arguments of QuantizePatch that are no patch; of one without values only the scheme and the size are looked at.
func checkQuantized(codes, codeStride, values, valueStride, rows, cols int, s Scheme, blocks int, rowBlock, colBlock []int) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if err := checkPatch(rows, cols); err != nil || rows == 0 || cols == 0 {
		return err
	}
	if err := checkArray("values", values, valueStride, rows, cols); err != nil {
		return err
	}
	if err := checkArray("codes", codes, codeStride, rows, cols); err != nil {
		return err
	}
	return checkBlocks(blocks, rows, cols, rowBlock, colBlock)
}

// quantizePatch is QuantizePatch in plain Go, for arguments that were checked.
func quantizePatch[T float32 | float64](
	dst []byte, dstStride int, src []T, srcStride, rows, cols int, s Scheme, blocks []Block, rowBlock, colBlock []int,
) (Stats, int) {
	m := meter{first: -1}
	var values [PatchSize]float64
	y := values[:cols]
	least, most := s.limits()
	mask := byte(0xff)
	if s.Codes.Size() == 0 {
		mask = 0xf
	}
	for r := range rows {
		x, codes, own := src[r*srcStride:][:cols], dst[r*dstStride:][:cols], blocks[rowBlock[r]:]
		if s.Codes == NF4 {
			quantizeRowNF4(codes, y, x, own, colBlock)
		} else {
			quantizeRow(codes, y, x, own, colBlock, least, most, mask)
		}
		measureRow(&m, x, y, r*cols)
	}
	return m.stats(uint64(rows) * uint64(cols)), m.first
}

// quantizeRow gives a row of values their integer codes and the values y that these stand for. Quotients are brought within the
// limits before they are rounded, which are integers, so the order makes no difference. NaN becomes the least code.
func quantizeRow[T float32 | float64](
	codes []byte, y []float64, x []T, blocks []Block, colBlock []int, least, most float64, mask byte,
) {
	codes, y, colBlock = codes[:len(x)], y[:len(x)], colBlock[:len(x)]
	for c := range x {
		b := &blocks[colBlock[c]]
		q := (float64(x[c]) - b.Minimum) / b.Scale
		if low := least - b.Zero; !(q >= low) {
			q = low
		} else if high := most - b.Zero; q > high {
			q = high
		}
		sum := q + integer
		codes[c] = byte(math.Float64bits(sum+b.Zero)) & mask
		y[c] = float64((sum-integer)*b.Scale) + b.Minimum
	}
}

func quantizeRowNF4[T float32 | float64](codes []byte, y []float64, x []T, blocks []Block, colBlock []int) {
	cells := nf4Codes()
	codes, y, colBlock = codes[:len(x)], y[:len(x)], colBlock[:len(x)]
	for c := range x {
		b := &blocks[colBlock[c]]
		code := nf4Code(cells, float64(x[c])/b.Scale)
		codes[c] = code
		y[c] = nf4[code&0xf] * b.Scale
	}
}

// DequantizePatch decodes an array of codes of any size, one a byte, to the values that they stand for. The code of element (r, c)
// is src[r*srcStride+c], its block is blocks[rowBlock[r]+colBlock[c]], and its value goes to dst[r*dstStride+c]: exactly as s
// defines it, and rounded once more where dst is float32, beyond whose range it becomes infinite. Rows must not overlap.
func DequantizePatch[T float32 | float64](
	dst []T, dstStride int, src []byte, srcStride, rows, cols int, s Scheme, blocks []Block, rowBlock, colBlock []int,
) error {
	if err := s.Validate(); err != nil || rows == 0 || cols == 0 {
		return err
	}
	if err := checkArray("codes", len(src), srcStride, rows, cols); err != nil {
		return err
	}
	if err := checkArray("values", len(dst), dstStride, rows, cols); err != nil {
		return err
	}
	if err := checkBlocks(len(blocks), rows, cols, rowBlock, colBlock); err != nil {
		return err
	}
	var q [PatchSize]float64
	for r := range rows {
		codes, y, own := src[r*srcStride:][:cols], dst[r*dstStride:][:cols], blocks[rowBlock[r]:]
		for at := 0; at < cols; at += PatchSize {
			n := min(PatchSize, cols-at)
			decodeCodes(q[:n], codes[at:at+n], s.Codes)
			scaleRow(y[at:at+n], q[:n], own, colBlock[at:at+n], s.Minimums != 0)
		}
	}
	return nil
}

// scaleRow gives the values of a row of decoded codes.
func scaleRow[T float32 | float64](y []T, q []float64, blocks []Block, colBlock []int, minimums bool) {
	y, colBlock = y[:len(q)], colBlock[:len(q)]
	if minimums {
		for c, q := range q {
			b := &blocks[colBlock[c]]
			y[c] = T(float64(q*b.Scale) + b.Minimum)
		}
		return
	}
	for c, q := range q {
		b := &blocks[colBlock[c]]
		y[c] = T((q - b.Zero) * b.Scale)
	}
}

// checkBlocks reports a row or column that has no block, and a block that there is not; rows and cols are not 0.
func checkBlocks(blocks, rows, cols int, rowBlock, colBlock []int) error {
	if len(rowBlock) < rows || len(colBlock) < cols {
		return fmt.Errorf("element: blocks of %d rows and %d columns are given, of %d x %d elements",
			len(rowBlock), len(colBlock), rows, cols)
	}
	rowBlock, colBlock = rowBlock[:rows], colBlock[:cols]
	if slices.Min(rowBlock) < 0 || slices.Min(colBlock) < 0 || slices.Max(rowBlock) >= blocks-slices.Max(colBlock) {
		return fmt.Errorf("element: elements belong to blocks %d+%d to %d+%d, there are %d", slices.Min(rowBlock),
			slices.Min(colBlock), slices.Max(rowBlock), slices.Max(colBlock), blocks)
	}
	return nil
}
