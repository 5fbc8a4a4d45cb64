package element

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Encode writes src to dst as little-endian elements of f, which is Plain: F32, F16 or BF16. Each value is rounded once, to
// nearest, ties to even; subnormals are kept and overflow gives infinity. F32 from float32 copies the bits; every other
// conversion makes a NaN quiet and keeps its sign and upper payload bits. The lengths must agree.
func Encode[T float32 | float64](dst []byte, src []T, f Format) error {
	if err := checkTarget(f); err != nil {
		return err
	}
	if err := checkLengths(len(src), len(dst), f); err != nil {
		return err
	}
	if s, ok := any(src).([]float32); ok && f == BF16 {
		done := fastEncodeBF16(dst, s)
		dst, src = dst[2*done:], src[done:]
	}
	encode(dst, src, f)
	return nil
}

func checkTarget(f Format) error {
	switch {
	case f.Plain():
		return nil
	case !f.Known():
		return fmt.Errorf("element: %v is not known", f)
	}
	return fmt.Errorf("element: %v is no format of plain values; f32, f16 and bf16 are", f)
}

// encode is Encode in plain Go, for lengths and a format that were checked.
func encode[T float32 | float64](dst []byte, src []T, f Format) {
	switch s := any(src).(type) {
	case []float32:
		encode32(dst, s, f)
	case []float64:
		var narrow [PatchSize]float32
		for len(s) > 0 {
			n := min(len(s), len(narrow))
			narrowTo(narrow[:n], s[:n], f)
			encode32(dst[:n*f.Size()], narrow[:n], f)
			dst, s = dst[n*f.Size():], s[n:]
		}
	}
}

// narrowTo gives the float32 values that encode32 takes to f just as a single rounding of src would.
func narrowTo(dst []float32, src []float64, f Format) {
	if f == F32 {
		for i, x := range src {
			dst[i] = math.Float32frombits(nearest32(x))
		}
		return
	}
	for i, x := range src {
		dst[i] = math.Float32frombits(odd32(x))
	}
}

func encode32(dst []byte, src []float32, f Format) {
	dst = dst[:len(src)*f.Size()]
	switch f {
	case F32:
		for i, x := range src {
			binary.LittleEndian.PutUint32(dst[4*i:4*i+4], math.Float32bits(x))
		}
	case F16:
		for i, x := range src {
			binary.LittleEndian.PutUint16(dst[2*i:2*i+2], roundF16(math.Float32bits(x)))
		}
	case BF16:
		for i, x := range src {
			binary.LittleEndian.PutUint16(dst[2*i:2*i+2], roundBF16(math.Float32bits(x)))
		}
	}
}
