//go:build exhaustive

package element

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// ascending rounds magnitudes that never fall, by walking the list of midpoints.
type ascending struct {
	binaryFormat
	code int
}

func (a *ascending) round(magnitude float64) uint32 {
	for a.code < len(a.midpoints) && magnitude > a.midpoints[a.code] {
		a.code++
	}
	if a.code < len(a.midpoints) && magnitude == a.midpoints[a.code] {
		return uint32(a.code + a.code%2)
	}
	return uint32(a.code)
}

// Every binary32 of either sign, to BF16 and F16, by fast and plain path, with and without statistics.
func TestEvery32BitInput(t *testing.T) {
	for name, sign := range map[string]uint32{"positive": 0, "negative": sign32} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const block = PatchSize * PatchSize
			src := make([]float32, block)
			fast, plain, patch := make([]byte, 2*block), make([]byte, 2*block), make([]byte, 2*block)
			bf16, f16 := ascending{binaryFormat: refBF16}, ascending{binaryFormat: refF16}
			for start := uint32(0); start < sign32; start += block {
				for i := range src {
					src[i] = math.Float32frombits(sign | start + uint32(i))
				}
				if err := Encode(fast, src, BF16); err != nil {
					t.Fatal(err)
				}
				got, gotFirst, err := EncodePatch(patch, 2*PatchSize, src, PatchSize, PatchSize, PatchSize, BF16)
				if err != nil {
					t.Fatal(err)
				}
				want, wantFirst := encodePatch(plain, 2*PatchSize, src, PatchSize, PatchSize, PatchSize, BF16)
				if !sameBits(got, want) || gotFirst != wantFirst {
					t.Fatalf("patch of %#08x: fast %+v, first %d; plain %+v, first %d", start, got, gotFirst, want, wantFirst)
				}
				if !bytes.Equal(fast, plain) || !bytes.Equal(patch, plain) {
					t.Fatalf("block of %#08x: fast and plain bytes differ", start)
				}
				checkBlock(t, plain, sign, start, 16, 0x7f80, 0x40, &bf16)
				encode(plain, src, F16)
				checkBlock(t, plain, sign, start, 13, 0x7c00, 0x200, &f16)
			}
		})
	}
}

// checkBlock compares the encodings of the magnitudes from start on with the reference. A NaN becomes the exponent, the
// payload without its lost bits, and the quiet bit.
func checkBlock(t *testing.T, got []byte, sign, start uint32, lost int, exponent, quiet uint32, reference *ascending) {
	t.Helper()
	for i := range uint32(len(got) / 2) {
		magnitude := start + i
		var want uint32
		if magnitude > 0x7f800000 {
			want = exponent | quiet | magnitude&0x7fffff>>lost
		} else {
			want = reference.round(float64(math.Float32frombits(magnitude)))
		}
		if code := uint32(binary.LittleEndian.Uint16(got[2*i:])); code != want|sign>>16 {
			t.Fatalf("%v: %#08x became %#04x, want %#04x", reference.format, sign|magnitude, code, want|sign>>16)
		}
	}
}
