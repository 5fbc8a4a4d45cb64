package element

import (
	"encoding/binary"
	"math"
	"testing"
)

// FuzzEncodePatch takes any bits as values and any patch of them through the fast path, the plain one and the definition.
func FuzzEncodePatch(f *testing.F) {
	var extremes, ordinary []byte
	for _, bits := range extremes32 {
		extremes = binary.LittleEndian.AppendUint32(extremes, bits)
	}
	for _, x := range weights(256, 5) {
		ordinary = binary.LittleEndian.AppendUint32(ordinary, math.Float32bits(x))
	}
	f.Add(extremes, uint8(8), uint8(0), uint8(0))
	f.Add(ordinary, uint8(16), uint8(0), uint8(2))
	f.Add(ordinary, uint8(64), uint8(1), uint8(6))
	f.Add(ordinary, uint8(5), uint8(3), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, cols, srcGap, dstGap uint8) {
		data = data[:min(len(data), 1<<12)]
		width := 1 + int(cols-1)%PatchSize
		stride := width + int(srcGap)%8
		src := make([]float32, len(data)/4)
		wide := make([]float64, len(data)/8)
		for i := range src {
			src[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		for i := range wide {
			wide[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
		}
		for _, b := range []binaryFormat{refF32, refF16, refBF16} {
			comparePatch(t, src, stride, min(len(src)/stride, PatchSize), width, int(dstGap)%16, b)
			comparePatch(t, wide, stride, min(len(wide)/stride, PatchSize), width, int(dstGap)%16, b)
		}
		for i, x := range src {
			if got := roundBF16(math.Float32bits(x)); uint32(got) != wantBF16(math.Float32bits(x)) {
				t.Fatalf("element %d: %#08x became %#04x", i, math.Float32bits(x), got)
			}
		}
	})
}
