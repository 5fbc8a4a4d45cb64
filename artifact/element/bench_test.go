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

// benchSchemes are those that recipes use, over groups of 32 rows of a column.
var benchSchemes = map[string]Scheme{
	"i8":           {I8, F32, 0, 0},
	"i8-e8m0":      {I8, E8M0, 0, 0},
	"u8-zeros":     {U8, F32, U8, 0},
	"i4":           {I4, BF16, 0, 0},
	"u4-zeros":     {U4, BF16, U4, 0},
	"u4-minimums":  {U4, BF16, 0, BF16},
	"nf4":          {NF4, F32, 0, 0},
	"i8-per-whole": {I8, F32, 0, 0},
}

// Bytes are those of the float32 values.
func BenchmarkQuantize(b *testing.B) {
	const n = PatchSize * PatchSize
	src := benchValues()[:n]
	for name, s := range benchSchemes {
		rowBlock, colBlock, count := blockIndexes(PatchSize, PatchSize, 32, 1)
		if name == "i8-per-whole" {
			rowBlock, colBlock, count = blockIndexes(PatchSize, PatchSize, PatchSize, PatchSize)
		}
		ranges, blocks := make([]Range, count), make([]Block, count)
		codes, values := make([]byte, n), make([]float32, n)
		measure := func() error {
			_, err := MeasureRange(ranges, src, PatchSize, PatchSize, PatchSize, rowBlock, colBlock)
			return err
		}
		fit := func() (err error) {
			for i, r := range ranges {
				if blocks[i], err = s.Fit(r); err != nil {
					return err
				}
			}
			return nil
		}
		quantize := func() error {
			_, _, err := QuantizePatch(codes, PatchSize, src, PatchSize, PatchSize, PatchSize, s, blocks, rowBlock, colBlock)
			return err
		}
		match := func() error { // of what dequantize made
			_, _, err := MatchPatch(codes, PatchSize, values, PatchSize, PatchSize, PatchSize, s, blocks, rowBlock, colBlock)
			return err
		}
		dequantize := func() error {
			return DequantizePatch(values, PatchSize, codes, PatchSize, PatchSize, PatchSize, s, blocks, rowBlock, colBlock)
		}
		for _, step := range []struct {
			name string
			do   func() error
		}{{"measure", measure}, {"fit", fit}, {"quantize", quantize}, {"dequantize", dequantize}, {"match", match}} {
			b.Run(name+"/"+step.name, func(b *testing.B) {
				b.SetBytes(4 * n)
				for b.Loop() {
					if err := step.do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
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

// Bytes are those of the blocks' scales and zeros.
func BenchmarkBlocks(b *testing.B) {
	s := Scheme{U4, BF16, U4, 0}
	blocks := make([]Block, 4096)
	for i := range blocks {
		blocks[i] = Block{Scale: 1 + float64(i%128)/128, Zero: float64(i % 16)}
	}
	scales, zeros := make([]byte, 2*len(blocks)), make([]byte, len(blocks))
	for name, do := range map[string]func() error{
		"encode": func() error { return s.EncodeBlocks(scales, zeros, nil, blocks) },
		"decode": func() error { return s.DecodeBlocks(blocks, scales, zeros, nil) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(3 * len(blocks)))
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
