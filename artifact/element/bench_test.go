package element

import (
	"math/rand/v2"
	"testing"
)

// benchValues is 256 KiB of float32, which stays in a second-level cache, spread as weights are.
func benchValues() []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([]float32, 64<<10)
	for i := range values {
		values[i] = float32(rng.NormFloat64() * 0.05)
	}
	return values
}

func BenchmarkEncode(b *testing.B) {
	src := benchValues()
	for _, f := range []Format{F32, F16, BF16} {
		dst := make([]byte, len(src)*f.Size())
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(4 * len(src)))
			for b.Loop() {
				if err := Encode(dst, src, f); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(f.String()+"/plain", func(b *testing.B) {
			b.SetBytes(int64(4 * len(src)))
			for b.Loop() {
				encode(dst, src, f)
			}
		})
	}
}

func BenchmarkEncodePatch(b *testing.B) {
	src := benchValues()
	stride := len(src) / PatchSize
	for _, f := range []Format{F32, F16, BF16} {
		dst := make([]byte, PatchSize*PatchSize*f.Size())
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(4 * len(src)))
			for b.Loop() {
				for at := 0; at < stride; at += PatchSize {
					if _, _, err := EncodePatch(dst, PatchSize*f.Size(), src[at:], stride, PatchSize, PatchSize, f); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(f.String()+"/plain", func(b *testing.B) {
			b.SetBytes(int64(4 * len(src)))
			for b.Loop() {
				for at := 0; at < stride; at += PatchSize {
					encodePatch(dst, PatchSize*f.Size(), src[at:], stride, PatchSize, PatchSize, f)
				}
			}
		})
	}
}

func BenchmarkEncodePatchFloat64(b *testing.B) {
	src := make([]float64, PatchSize*PatchSize)
	for i, x := range benchValues()[:len(src)] {
		src[i] = float64(x) / 3
	}
	dst := make([]byte, 2*len(src))
	b.SetBytes(int64(8 * len(src)))
	for b.Loop() {
		if _, _, err := EncodePatch(dst, 2*PatchSize, src, PatchSize, PatchSize, PatchSize, BF16); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkToFloat32(b *testing.B) {
	dst := make([]float32, 64<<10)
	for _, f := range []Format{F32, F16, BF16} {
		src := make([]byte, len(dst)*f.Size())
		for i := range src {
			src[i] = byte(i)
		}
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(4 * len(dst)))
			for b.Loop() {
				if err := ToFloat32(dst, src, f); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(f.String()+"/plain", func(b *testing.B) {
			b.SetBytes(int64(4 * len(dst)))
			for b.Loop() {
				decode32(dst, src, f)
			}
		})
	}
}

func BenchmarkBFP16(b *testing.B) {
	const n = PatchSize * PatchSize
	src, elements, values := benchValues()[:n], make([]byte, n/8*9), make([]float32, n)
	for name, d := range map[string]Direction{"row": AlongRow, "column": AlongColumn} {
		stride := PatchSize / 8 * 9
		if d == AlongColumn {
			stride = PatchSize * 9
		}
		for rounding, roundingName := range map[Rounding]string{Floor: "floor", NearestEven: "nearest"} {
			b.Run("encode/"+name+"/"+roundingName, func(b *testing.B) {
				b.SetBytes(4 * n)
				for b.Loop() {
					if _, _, err := EncodeBFP16Patch(elements, stride, src, PatchSize, PatchSize, PatchSize, d, rounding); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run("decode/"+name, func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				if err := DecodeBFP16Patch(values, PatchSize, elements, stride, PatchSize, PatchSize, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPack4(b *testing.B) {
	codes, packed := make([]byte, 64<<10), make([]byte, 32<<10)
	b.Run("pack", func(b *testing.B) {
		b.SetBytes(int64(len(codes)))
		for b.Loop() {
			if err := Pack4(packed, codes, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unpack", func(b *testing.B) {
		b.SetBytes(int64(len(codes)))
		for b.Loop() {
			if err := Unpack4(codes, packed, false); err != nil {
				b.Fatal(err)
			}
		}
	})
}
