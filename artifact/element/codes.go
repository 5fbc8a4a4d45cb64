package element

import (
	"math"
	"sync"
)

// nf4 are the values of NF4 by their code: the quantiles of a normal distribution, scaled to -1..1, with an exact 0 (Dettmers,
// Pagnoni, Holtzman and Zettlemoyer, "QLoRA", 2023). Each is a binary32, written here as bitsandbytes and ONNX Runtime have it.
var nf4 = [16]float64{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// decodeCodes decodes elements of I8, U8, I4, U4, NF4 or E8M0, one a byte. Every value is exact in float32. Of a 4-bit code the
// upper half of the byte is ignored.
func decodeCodes[T float32 | float64](dst []T, codes []byte, f Format) {
	codes = codes[:len(dst)]
	switch f {
	case I8:
		for i, code := range codes {
			dst[i] = T(int8(code))
		}
	case U8:
		for i, code := range codes {
			dst[i] = T(code)
		}
	case I4:
		for i, code := range codes {
			dst[i] = T(int8(code<<4) >> 4)
		}
	case U4:
		for i, code := range codes {
			dst[i] = T(code & 0xf)
		}
	case NF4:
		for i, code := range codes {
			dst[i] = T(nf4[code&0xf])
		}
	case E8M0:
		for i, code := range codes {
			dst[i] = T(powerOfTwo(code))
		}
	}
}

const (
	nanE8M0  = 0xff
	biasE8M0 = 127
)

// powerOfTwo is the value of an E8M0.
func powerOfTwo(code byte) float64 {
	if code == nanE8M0 {
		return math.NaN()
	}
	return pow2(int(code) - biasE8M0)
}

// pow2 is 2 to the power of n, for n from -1022 to 1023.
func pow2(n int) float64 { return math.Float64frombits(uint64(n+bias64) << fraction64) }

// nf4Cells are the number of equal parts into which -1..1 is cut for finding a code: so many that none has two thresholds in it.
const nf4Cells = 32

// nf4Cell is what is known of the codes of the numbers in one part of -1..1.
type nf4Cell struct {
	threshold float64 // beyond it the code is one more
	code      byte
}

// nf4Codes is where NF4's codes change, by cell; the last is that of 1 alone. The threshold of two codes is the middle of their
// values, which is exact in float64; itself it goes to the even code.
var nf4Codes = sync.OnceValue(func() *[nf4Cells + 1]nf4Cell {
	cells := new([nf4Cells + 1]nf4Cell)
	for i := range cells {
		cells[i].threshold = math.Inf(1)
	}
	for code, v := range nf4[:len(nf4)-1] {
		threshold := (v + nf4[code+1]) / 2
		if code%2 == 1 {
			threshold = math.Nextafter(threshold, -1)
		}
		at := nf4CellOf(threshold)
		cells[at].threshold = threshold
		for i := at + 1; i < len(cells); i++ {
			cells[i].code++
		}
	}
	return cells
})

// nf4CellOf is the cell of v in -1..1. It never falls while v rises, however it rounds: so a number in a later cell than a
// threshold is beyond that threshold, and one in an earlier cell is not.
func nf4CellOf(v float64) int { return int((v + 1) * (nf4Cells / 2)) }

// nf4Code is the code of the entry of nf4 nearest to v; a number in the middle of two goes to the even code. NaN becomes 0.
func nf4Code(cells *[nf4Cells + 1]nf4Cell, v float64) byte {
	if !(v >= -1) {
		v = -1
	} else if v > 1 {
		v = 1
	}
	cell := &cells[nf4CellOf(v)]
	var beyond byte
	if v > cell.threshold {
		beyond = 1
	}
	return cell.code + beyond
}
