package onnx

import (
	"encoding/binary"
	"sync"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// numbers are the elements of a constant one after the other: floats, 32-bit integers, or codes of up to 8 bits that stand for floats.
type numbers struct {
	tensor source.Tensor
	count  uint64
	bits   int           // of an element
	high   bool          // of two codes in a byte the first is in its upper half
	codes  *[256]float32 // what codes stand for; nil for others
	factor float32       // that all are multiplied with, in float32; 0 for none
}

// floatNumbers are the elements of a float tensor.
func floatNumbers(t *source.Tensor) numbers {
	n, _ := source.Elements(t.Shape)
	return numbers{tensor: *t, count: n, bits: t.Type.Bits()}
}

// read fills dst, at most a chunk, with the numbers from first on.
func (a *numbers) read(c *source.Catalogue, s *scratch, dst []float32, first uint64) error {
	bits := uint64(a.bits)
	from, to := first*bits/8, ((first+uint64(len(dst)))*bits+7)/8
	raw := s.raw[:to-from]
	if err := c.ReadAt(raw, &a.tensor, int64(from)); err != nil {
		return err
	}
	switch {
	case a.bits == 8:
		for i, code := range raw {
			dst[i] = a.codes[code]
		}
	case a.bits == 4:
		a.pairs(dst, raw, first)
	case a.bits == 2:
		for i := range dst {
			at := first%4 + uint64(i)
			dst[i] = a.codes[raw[at/4]>>(at%4*2)&3]
		}
	case a.tensor.Type == 0:
		for i := range dst {
			dst[i] = float32(int32(binary.LittleEndian.Uint32(raw[4*i:])))
		}
	default:
		return element.ToFloat32(dst, raw, a.tensor.Type)
	}
	return nil
}

// pairs fills dst from codes of 4 bits, raw beginning with the byte that code first is in.
func (a *numbers) pairs(dst []float32, raw []byte, first uint64) {
	low, high := uint(0), uint(4) // how far the first and the second code of a byte are shifted
	if a.high {
		low, high = 4, 0
	}
	if first%2 == 1 {
		dst[0] = a.codes[raw[0]>>high&15]
		dst, raw = dst[1:], raw[1:]
	}
	for i, b := range raw[:len(dst)/2] {
		pair := dst[2*i:][:2]
		pair[0], pair[1] = a.codes[b>>low&15], a.codes[b>>high&15]
	}
	if n := len(dst); n%2 == 1 {
		dst[n-1] = a.codes[raw[n/2]>>low&15]
	}
}

// window holds a stretch of scales or zero points, since neighbouring elements mostly have the same.
type window struct {
	array  *numbers
	first  uint64
	values []float32
	memory [chunk]float32
}

// ahead is how many scales are read at once at least: their bytes are no more than what a read costs anyway.
const ahead = 256

// of gives n numbers of a, at most a chunk, from first on.
func (w *window) of(c *source.Catalogue, s *scratch, a *numbers, first, n uint64) ([]float32, error) {
	if w.array != a || first < w.first || first+n > w.first+uint64(len(w.values)) {
		w.array = nil
		values := w.memory[:min(max(n, ahead), a.count-first)]
		if err := a.read(c, s, values, first); err != nil {
			return nil, err
		}
		for i := range values {
			if a.factor != 0 {
				values[i] *= a.factor
			}
		}
		w.array, w.first, w.values = a, first, values
	}
	return w.values[first-w.first:][:n], nil
}

// Kinds of codes beside those of ONNX's types.
const (
	codeNF4   DataType = -1
	codeFP4   DataType = -2
	codeUint2 DataType = -3
)

// codeTable is what the codes of a type stand for; nil for a type that has none of up to 8 bits.
func codeTable(t DataType) *[256]float32 { return codeTables()[t] }

var codeTables = sync.OnceValue(func() map[DataType]*[256]float32 {
	fill := func(value func(code int) float32) *[256]float32 {
		table := new([256]float32)
		for code := range table {
			table[code] = value(code)
		}
		return table
	}
	plain := fill(func(code int) float32 { return float32(code) })
	return map[DataType]*[256]float32{
		typeUint8: plain, typeUint4: plain, codeUint2: plain,
		typeInt8:           fill(func(code int) float32 { return float32(int8(code)) }),
		typeInt4:           fill(func(code int) float32 { return float32(int8(code<<4) >> 4) }),
		typeFloat8E4M3FN:   fill(func(code int) float32 { return float8(code, 4, false) }),
		typeFloat8E4M3FNUZ: fill(func(code int) float32 { return float8(code, 4, true) }),
		typeFloat8E5M2:     fill(func(code int) float32 { return float8(code, 5, false) }),
		typeFloat8E5M2FNUZ: fill(func(code int) float32 { return float8(code, 5, true) }),
		codeNF4:            fill(func(code int) float32 { return nf4Values[code&15] }),
		codeFP4:            fill(func(code int) float32 { return fp4Values[code&15] }),
	}
})
