//go:build amd64 && !noasm

package element

import (
	"math"
	"slices"

	"golang.org/x/sys/cpu"
)

var (
	hasAVX2 = cpu.X86.HasAVX2
	hasFMA  = cpu.X86.HasAVX2 && cpu.X86.HasFMA
	hasF16C = cpu.X86.HasAVX && cpu.X86.HasF16C
)

// fastEncodeBF16 encodes a leading part of src as encode does and returns its length. The lengths must have been checked.
func fastEncodeBF16(dst []byte, src []float32) int {
	const block = 16
	blocks := len(src) / block
	if !hasAVX2 || blocks == 0 {
		return 0
	}
	encodeBF16AVX2(&dst[0], &src[0], blocks)
	return blocks * block
}

// fastWidenF16 decodes a leading part of src as decode32 does and returns its length. The lengths must have been checked.
func fastWidenF16(dst []float32, src []byte) int {
	const block = 8
	blocks := len(dst) / block
	if !hasF16C || blocks == 0 {
		return 0
	}
	widenF16F16C(&dst[0], &src[0], blocks)
	return blocks * block
}

// patchSums is what patchBF16AVX2 measures: eight lanes of everything, a lane being the column modulo eight.
type patchSums struct {
	xx, xd, dd  laneSums
	maxAbsError [8]uint32 // bits of max |d|
	maxAbsValue [8]uint32 // bits of max |x|
	minNonzero  [8]uint32 // min of the bits of |x|, less one: a zero wraps round and is the largest
	exact       [8]uint32 // elements with y == x
}

// fastPatchBF16 does what encodePatch does, for whole groups of eight columns of values that neither overflow nor underflow.
// Otherwise it reports false and may have written to dst. The arguments must have been checked.
//
// It gives the same bits: with x a float32 and y a bfloat16, d is exact in float32 and the products are exact in float64, so
// neither the narrower subtraction nor fused multiply-add changes a sum.
func fastPatchBF16(dst []byte, dstStride int, src []float32, srcStride, rows, cols int) (Stats, bool) {
	const (
		group          = 8
		leastToInf     = 0x7f7f8000 // bits of the smallest |x| that is encoded as infinity
		greatestToZero = 0x00008000 // bits of the largest |x| that is encoded as zero
	)
	if !hasFMA || cols%group != 0 {
		return Stats{}, false
	}
	var s patchSums
	patchBF16AVX2(&dst[0], dstStride, &src[0], 4*srcStride, rows, cols/group, &s)
	maxAbsValue := slices.Max(s.maxAbsValue[:])
	if maxAbsValue >= leastToInf || slices.Min(s.minNonzero[:]) < greatestToZero {
		return Stats{}, false
	}
	elements := uint64(rows) * uint64(cols)
	exact := uint64(0)
	for _, n := range s.exact {
		exact += uint64(n)
	}
	return Stats{
		Elements:    elements,
		Inexact:     elements - exact,
		MaxAbsError: float64(math.Float32frombits(slices.Max(s.maxAbsError[:]))),
		MaxAbsValue: float64(math.Float32frombits(maxAbsValue)),
		SumXX:       s.xx.total(),
		SumXD:       s.xd.total(),
		SumDD:       s.dd.total(),
	}, true
}

// encodeBF16AVX2 rounds 16*blocks values to bfloat16; blocks > 0.
//
//go:noescape
func encodeBF16AVX2(dst *byte, src *float32, blocks int)

// widenF16F16C widens 8*blocks binary16 values; blocks > 0.
//
//go:noescape
func widenF16F16C(dst *float32, src *byte, blocks int)

// patchBF16AVX2 rounds rows x 8*groups values to bfloat16 and measures the error; rows > 0, groups > 0, strides in bytes.
// Sums and bits of elements that are not finite or overflow are meaningless, and so is dst where x is NaN.
//
//go:noescape
func patchBF16AVX2(dst *byte, dstStride int, src *float32, srcStride, rows, groups int, sums *patchSums)
