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
	if err := s.Validate(); err != nil {
		return Stats{}, -1, err
	}
	if err := checkPatch(rows, cols); err != nil || rows == 0 || cols == 0 {
		return Stats{}, -1, err
	}
	if err := checkArray("values", len(src), srcStride, rows, cols); err != nil {
		return Stats{}, -1, err
	}
	if err := checkArray("codes", len(dst), dstStride, rows, cols); err != nil {
		return Stats{}, -1, err
	}
	if err := checkBlocks(len(blocks), rows, cols, rowBlock, colBlock); err != nil {
		return Stats{}, -1, err
	}
	m := meter{first: -1}
	match, first := newMatcher[T](s), -1
	var values [PatchSize]float64
	y := values[:cols]
	for r := range rows {
		x, codes, own := src[r*srcStride:][:cols], dst[r*dstStride:][:cols], blocks[rowBlock[r]:]
		for c, v := range x {
			b := &own[colBlock[c]]
			code, found := match.code(v, b)
			if !found && first < 0 {
				first = r*cols + c
			}
			codes[c], y[c] = code, match.value(code, b)
		}
		measureRow(&m, y, y, r*cols)
	}
	return m.stats(uint64(rows) * uint64(cols)), first, nil
}

// matcher finds the codes of values.
type matcher[T float32 | float64] struct {
	nf4      *[nf4Cells + 1]nf4Cell // nil: codes are integers
	decoded  []float64              // what each code decodes to
	least    float64                // the least and the greatest of decoded
	most     float64
	minimums bool
}

func newMatcher[T float32 | float64](s Scheme) *matcher[T] {
	codes := make([]byte, 1<<s.Codes.Bits())
	for i := range codes {
		codes[i] = byte(i)
	}
	m := &matcher[T]{decoded: make([]float64, len(codes)), least: math.Inf(1), most: math.Inf(-1), minimums: s.Minimums != 0}
	decodeCodes(m.decoded, codes, s.Codes)
	for _, v := range m.decoded {
		m.least, m.most = min(m.least, v), max(m.most, v)
	}
	if s.Codes == NF4 {
		m.nf4 = nf4Codes()
	}
	return m
}

// value is what a code stands for. A minimum that there is not is not added: that would make -0 another number.
func (m *matcher[T]) value(code byte, b *Block) float64 {
	y := (m.decoded[code] - b.Zero) * b.Scale
	if m.minimums {
		y = float64(y) + b.Minimum
	}
	return y
}

// code gives the code of x, and reports whether it stands for it. It is the one that the quotient leads to, which is another only where
// values of several codes round to one number: then the first of those is right.
func (m *matcher[T]) code(x T, b *Block) (code byte, found bool) {
	if x-x != 0 {
		return 0, false
	}
	if code = m.guess(float64(x), b); m.standsFor(code, x, b) {
		return code, true
	}
	for i := range m.decoded {
		if m.standsFor(byte(i), x, b) {
			return byte(i), true
		}
	}
	return code, false
}

// guess is the code nearest to x; where the scale is 0, that of the zero.
func (m *matcher[T]) guess(x float64, b *Block) byte {
	q := 0.0
	if b.Scale != 0 {
		q = (x - b.Minimum) / b.Scale
	}
	if m.nf4 != nil {
		return nf4Code(m.nf4, q)
	}
	return byte(int64(min(max(math.RoundToEven(q)+b.Zero, m.least), m.most))) & byte(len(m.decoded)-1)
}

// standsFor reports whether a code stands for x.
func (m *matcher[T]) standsFor(code byte, x T, b *Block) bool {
	y := T(m.value(code, b))
	return math.Float64bits(float64(y)) == math.Float64bits(float64(x))
}
