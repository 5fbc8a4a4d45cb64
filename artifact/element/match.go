package element

import "math"

// MatchPatch writes the codes of a patch whose values were made of codes with the same blocks: for each value a code that stands for
// it bit for bit, where what a code stands for is rounded to T. Arguments are those of QuantizePatch; every code of the format may be
// written, -128 and -8 too, and a scale may be 0 or negative.
//
// The statistics are over what the codes stand for in float64, against itself: nothing is lost. The index r*cols+c is that of the
// first value that no code stands for, or that is not finite; -1 if there is none.
func MatchPatch[T float32 | float64](
	dst []byte, dstStride int, src []T, srcStride, rows, cols int, s Scheme, blocks []Block, rowBlock, colBlock []int,
) (Stats, int, error) {
	err := checkQuantized(len(dst), dstStride, len(src), srcStride, rows, cols, s, len(blocks), rowBlock, colBlock)
	if err != nil || rows == 0 || cols == 0 {
		return Stats{}, -1, err
	}
	m, first := meter{first: -1}, -1
	match := matcher{codes: decodedCodes(s.Codes), minimums: s.Minimums != 0}
	var values [PatchSize]float64
	y := values[:cols]
	least, most := s.ends()
	for r := range rows {
		x, codes, own := src[r*srcStride:][:cols], dst[r*dstStride:][:cols], blocks[rowBlock[r]:]
		if s.Codes == NF4 {
			quantizeRowNF4(codes, y, x, own, colBlock)
		} else {
			quantizeRow(codes, y, x, own, colBlock, least, most, byte(len(match.codes)-1))
		}
		for c := range x {
			b := &own[colBlock[c]]
			y[c] = match.value(codes[c], b)
			if same(T(y[c]), x[c]) {
				continue
			}
			code, found := find(&match, x[c], b)
			if !found && first < 0 {
				first = r*cols + c
			}
			codes[c], y[c] = code, match.value(code, b)
		}
		measureRow(&m, y, y, r*cols)
	}
	return m.stats(uint64(rows) * uint64(cols)), first, nil
}

// same reports whether two values have the same bits and are finite.
func same[T float32 | float64](x, y T) bool {
	return math.Float64bits(float64(x)) == math.Float64bits(float64(y)) && x-x == 0
}

// find looks for a code that stands for x, where the nearest does not: with a scale of 0, and where the values of several codes are
// rounded to one.
func find[T float32 | float64](m *matcher, x T, b *Block) (code byte, found bool) {
	for i := range m.codes {
		if same(T(m.value(byte(i), b)), x) {
			return byte(i), true
		}
	}
	return 0, false
}

// matcher tells what codes stand for.
type matcher struct {
	codes    []float64 // what each decodes to
	minimums bool
}

// value is what a code stands for. A minimum that there is not is not added: that would make -0 another number.
func (m *matcher) value(code byte, b *Block) float64 {
	y := (m.codes[code] - b.Zero) * b.Scale
	if m.minimums {
		y = float64(y) + b.Minimum
	}
	return y
}

// decodedCodes is what each code of f decodes to.
func decodedCodes(f Format) []float64 {
	codes, decoded := make([]byte, 1<<f.Bits()), make([]float64, 1<<f.Bits())
	for i := range codes {
		codes[i] = byte(i)
	}
	decodeCodes(decoded, codes, f)
	return decoded
}
