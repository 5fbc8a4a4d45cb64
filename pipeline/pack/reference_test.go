package pack

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"npuw/artifact/element"
)

// What follows states from FORMAT.md and from the recipes' own words what an artifact must hold, slowly and without any of
// the code that packs.

// expectation is what an operand must be.
type expectation struct {
	format element.Format
	size   int // elements, padding included
	// place says where the parameter's element with index i, in PyTorch's order, is in the operand: the row and column by which
	// statistics are summed, and the position.
	place func(i []int) (row, col, position int)
	pad   uint64 // bits
}

// up rounds n up to a multiple.
func up(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

// tiled is the position of element (k, n) in the layout N* K* K8 N8 K8 N4, over K padded to kp.
func tiled(k, n, kp int) int {
	panel, tile := n/32, k/64
	microRow, microCol := k%64/8, n%32/4
	return panel*kp*32 + tile*64*32 + microRow*8*32 + microCol*8*4 + k%8*4 + n%4
}

// builtinExpectation says what the operand of a parameter is by a built-in recipe.
func builtinExpectation(recipe string, shape []int) expectation {
	style := strings.TrimPrefix(recipe, "whisper-encoder/")
	e := expectation{format: element.BF16}
	if style == "f32" {
		e.format = element.F32
		cols := shape[len(shape)-1]
		e.size = cols
		for _, s := range shape[:len(shape)-1] {
			e.size *= s
		}
		e.place = func(i []int) (row, col, position int) {
			for a, v := range i {
				position = position*shape[a] + v
			}
			return position / cols, position % cols, position
		}
		return e
	}
	if len(shape) == 1 {
		e.size = up(shape[0], 32)
		e.place = func(i []int) (row, col, position int) { return 0, i[0], i[0] }
		return e
	}
	n, k := shape[0], shape[1]
	if len(shape) == 3 {
		k *= shape[2]
	}
	kp, np := up(k, 64), up(n, 32)
	if style == "npu1-rowmajor" {
		np = up(n, 128)
	}
	e.size = kp * np
	e.place = func(i []int) (row, col, position int) {
		row = i[1]
		if len(i) == 3 {
			row = i[1]*3 + i[2]
		}
		if style == "npu1-rowmajor" {
			return row, i[0], row*np + i[0]
		}
		return row, i[0], tiled(row, i[0], kp)
	}
	return e
}

// positionsExpectation is that of embed_positions, which every recipe keeps as rows.
func positionsExpectation(recipe string, shape []int) expectation {
	e := builtinExpectation("whisper-encoder/f32", shape)
	if recipe != "whisper-encoder/f32" {
		e.format = element.BF16
	}
	return e
}

// bytes are those that the operand must have, and stats its statistics, for a parameter of the given shape whose element i,
// row-major, is value(i).
func (e *expectation) bytes(shape []int, value func(i int) float64) ([]byte, element.Stats) {
	size := e.format.Size()
	out := make([]byte, 0, e.size*size)
	for range e.size {
		out = appendBits(out, e.pad, size)
	}
	elements, rows, cols := 1, 0, 0
	for _, s := range shape {
		elements *= s
	}
	type cell struct {
		row, col int
		x, y     float64
	}
	cells, index := make([]cell, elements), make([]int, len(shape))
	for i := range cells {
		rest := i
		for a := len(shape) - 1; a >= 0; a-- {
			index[a] = rest % shape[a]
			rest /= shape[a]
		}
		c := &cells[i]
		var position int
		var bits uint64
		c.row, c.col, position = e.place(index)
		c.x = value(i)
		bits, c.y = rounded(c.x, e.format)
		appendBits(out[:position*size], bits, size)
		rows, cols = max(rows, c.row+1), max(cols, c.col+1)
	}
	if rows*cols != elements {
		panic(fmt.Sprintf("the test's own formula places %d elements on %d x %d", elements, rows, cols))
	}
	matrix := make([]cell, elements)
	for _, c := range cells {
		matrix[c.row*cols+c.col] = c
	}
	return out, statistics(rows, cols, func(r, c int) (x, y float64) {
		return matrix[r*cols+c].x, matrix[r*cols+c].y
	})
}

// statistics are those of FORMAT.md over the elements of a matrix.
func statistics(rows, cols int, at func(r, c int) (x, y float64)) element.Stats {
	var s element.Stats
	for top := 0; top < rows; top += 64 {
		for left := 0; left < cols; left += 64 {
			var xx, xd, dd [8]float64
			for r := top; r < min(top+64, rows); r++ {
				for c := left; c < min(left+64, cols); c++ {
					x, y := at(r, c)
					s.Elements++
					if math.IsNaN(x) || math.IsInf(x, 0) || math.IsNaN(y) || math.IsInf(y, 0) {
						s.NonFinite++
						continue
					}
					d := x - y
					if y != x {
						s.Inexact++
					}
					if x != 0 && y == 0 {
						s.Underflowed++
					}
					s.MaxAbsError = math.Max(s.MaxAbsError, math.Abs(d))
					s.MaxAbsValue = math.Max(s.MaxAbsValue, math.Abs(x))
					lane := (c - left) % 8
					xx[lane] += float64(x * x)
					xd[lane] += float64(x * d)
					dd[lane] += float64(d * d)
				}
			}
			tree := func(l [8]float64) float64 { return ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7])) }
			s.SumXX += tree(xx)
			s.SumXD += tree(xd)
			s.SumDD += tree(dd)
		}
	}
	return s
}

// sameStats compares bit by bit.
func sameStats(a, b element.Stats) bool {
	bits := func(s element.Stats) [9]uint64 {
		f := math.Float64bits
		return [9]uint64{s.Elements, s.Inexact, s.Underflowed, s.NonFinite, f(s.MaxAbsError), f(s.MaxAbsValue), f(s.SumXX), f(s.SumXD), f(s.SumDD)}
	}
	return bits(a) == bits(b)
}

func appendBits(b []byte, bits uint64, size int) []byte {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], bits)
	return append(b, word[:size]...)
}

// rounded gives the bits of x in a format, rounded to nearest, ties to even, and the value that they stand for. A NaN must
// be one with a payload in its upper bits only, as float32 values have.
func rounded(x float64, format element.Format) (bits uint64, y float64) {
	mantissa, exponent, lowest := 24, 8, -126 // of f32: bits with the implied one, bits of the exponent, exponent of 1.0 * 2^e
	switch format {
	case element.BF16:
		mantissa = 8
	case element.F16:
		mantissa, exponent, lowest = 11, 5, -14
	}
	width := mantissa + exponent // bits in all: the sign takes the place of the implied one
	sign := uint64(0)
	if math.Signbit(x) {
		sign = 1 << (width - 1)
	}
	infinity := (uint64(1)<<exponent - 1) << (mantissa - 1)
	if math.IsNaN(x) {
		payload := math.Float64bits(x) >> (52 - (mantissa - 1)) & (1<<(mantissa-1) - 1)
		return sign | infinity | payload | 1<<(mantissa-2), x
	}
	size, e := math.Abs(x), lowest
	if x != 0 {
		e = max(math.Ilogb(size), lowest)
	}
	ulp := math.Ldexp(1, e-(mantissa-1))
	steps := math.RoundToEven(size / ulp) // dividing by a power of two is exact here
	y = steps * ulp
	if math.IsInf(x, 0) || y >= math.Ldexp(1, 1-lowest+1) { // 2^(largest exponent + 1)
		return sign | infinity, math.Copysign(math.Inf(1), x)
	}
	// Subnormals have the exponent field 0 and no implied one; a carry out of the mantissa raises the exponent by itself.
	bits = uint64(e-lowest)<<(mantissa-1) + uint64(steps)
	return sign | bits, math.Copysign(y, x)
}
