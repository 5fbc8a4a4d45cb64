package element

import (
	"bytes"
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

// anyValues are the numbers whose bits are data's, in float32 and in float64.
func anyValues(data []byte) (narrow []float32, wide []float64) {
	for ; len(data) >= 4; data = data[4:] {
		narrow = append(narrow, math.Float32frombits(binary.LittleEndian.Uint32(data)))
		if len(data) >= 8 {
			wide = append(wide, math.Float64frombits(binary.LittleEndian.Uint64(data)))
		}
	}
	return narrow, wide
}

// FuzzQuantize takes any bits as values through every scheme: measured, fitted, quantized and back, against exact arithmetic.
func FuzzQuantize(f *testing.F) {
	schemes := schemes()
	var extremes, ordinary []byte
	for _, bits := range extremes32 {
		extremes = binary.LittleEndian.AppendUint32(extremes, bits)
	}
	for _, x := range weights(64, 15) {
		ordinary = binary.LittleEndian.AppendUint32(ordinary, math.Float32bits(x))
	}
	for i := range schemes {
		f.Add(ordinary, uint8(i), uint8(9), uint8(3), uint8(2))
		f.Add(extremes, uint8(i), uint8(4), uint8(1), uint8(4))
	}
	f.Fuzz(func(t *testing.T, data []byte, scheme, cols, high, wide uint8) {
		s := schemes[int(scheme)%len(schemes)]
		width := 1 + int(cols)%PatchSize
		h, w := 1+int(high)%PatchSize, 1+int(wide)%PatchSize
		values32, values64 := anyValues(data[:min(len(data), 1<<8)]) // exact arithmetic is slow
		if rows := min(len(values32)/width, PatchSize); rows > 0 {
			compareQuantized(t, values32, width, rows, width, int(high)%3, h, w, s)
		}
		if rows := min(len(values64)/width, PatchSize); rows > 0 {
			compareQuantized(t, values64, width, rows, width, int(wide)%3, h, w, s)
		}
	})
}

// FuzzBFP16 takes any bits as values, and as elements.
func FuzzBFP16(f *testing.F) {
	var extremes []byte
	for _, bits := range extremes32 {
		extremes = binary.LittleEndian.AppendUint32(extremes, bits)
	}
	f.Add(extremes, uint8(8), uint8(0))
	f.Add(extremes, uint8(5), uint8(3))
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 0x42, 0x80, 0x42, 0xfe, 0xff, 0xff, 0x7f}, uint8(2), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, cols, modes uint8) {
		data = data[:min(len(data), 1<<10)]
		width, d, rounding := 1+int(cols)%PatchSize, Direction(modes%2), Rounding(modes/2%2)
		narrow, wide := anyValues(data)
		if rows := min(len(narrow)/width, PatchSize); rows > 0 {
			compareBFP16(t, narrow, width, rows, width, 1, d, rounding)
		}
		if rows := min(len(wide)/width, PatchSize); rows > 0 {
			compareBFP16(t, wide, width, rows, width, 0, d, rounding)
		}
		// What an element holds is encoded as itself or, under a smaller exponent, as the same values; but -128 asks for a greater one.
		for ; len(data) >= 9; data = data[9:] {
			var values, again [8]float64
			var element [9]byte
			if err := ToFloat64(values[:], data[:9], BFP16); err != nil {
				t.Fatal(err)
			}
			if FirstInvalid(data[:9], BFP16) >= 0 || bytes.IndexByte(data[1:9], 0x80) >= 0 {
				continue
			}
			if _, _, err := EncodeBFP16Patch(element[:], 9, values[:], 8, 1, 8, AlongRow, rounding); err != nil {
				t.Fatal(err)
			}
			err := ToFloat64(again[:], element[:], BFP16)
			if err != nil || again != values || bytes.Equal(element[:], data[:9]) != (element[0] == data[0]) {
				t.Fatalf("% x became % x: %v, %v, %v", data[:9], element, values, again, err)
			}
		}
	})
}
