package element

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/x448/float16"
)

// ToFloat32 decodes src, elements of f (any Known format but F64), into dst: BFP16 eight values an element, the others one;
// elements of 4 bits stand one a byte (Unpack4). Every value is exact, but for those of a BFP16 that no encoder writes
// (FirstInvalid), which may become infinite. F32 and BF16 keep all bits of a NaN; F16 keeps sign and payload and makes it
// quiet, as the hardware does. The lengths must agree.
func ToFloat32(dst []float32, src []byte, f Format) error {
	if f == F64 {
		return fmt.Errorf("element: %v does not fit float32 without rounding", f)
	}
	if err := checkLengths(len(dst), len(src), f); err != nil {
		return err
	}
	if f == F16 {
		done := fastWidenF16(dst, src)
		dst, src = dst[done:], src[2*done:]
	}
	decode32(dst, src, f)
	return nil
}

// ToFloat64 decodes src, elements of any Known format, into dst: BFP16 eight values an element, the others one; elements of 4
// bits stand one a byte (Unpack4). Every value is exact. F64 keeps all bits of a NaN; the others keep sign and payload and make
// it quiet. The lengths must agree.
func ToFloat64(dst []float64, src []byte, f Format) error {
	if err := checkLengths(len(dst), len(src), f); err != nil {
		return err
	}
	switch f {
	case F32:
		for i := range dst {
			dst[i] = wide64(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		table := f16Values()
		for i := range dst {
			dst[i] = wide64(math.Float32bits(table[binary.LittleEndian.Uint16(src[2*i:])]))
		}
	case BF16:
		for i := range dst {
			dst[i] = wide64(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case F64:
		for i := range dst {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
		}
	case BFP16:
		decodeBFP16(dst, src)
	default:
		decodeCodes(dst, src, f)
	}
	return nil
}

// decode32 is ToFloat32 in plain Go, for lengths and a format that were checked.
func decode32(dst []float32, src []byte, f Format) {
	switch f {
	case F32:
		src = src[:4*len(dst)]
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i : 4*i+4]))
		}
	case F16:
		table := f16Values()
		src = src[:2*len(dst)]
		for i := range dst {
			dst[i] = table[binary.LittleEndian.Uint16(src[2*i:2*i+2])]
		}
	case BF16:
		src = src[:2*len(dst)]
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:2*i+2])) << 16)
		}
	case BFP16:
		decodeBFP16(dst, src)
	default:
		decodeCodes(dst, src, f)
	}
}

// f16Values is the value of every binary16 by its bits, made when first asked for (256 KiB).
var f16Values = sync.OnceValue(func() *[1 << 16]float32 {
	table := new([1 << 16]float32)
	for i := range table {
		table[i] = float16.Frombits(uint16(i)).Float32()
	}
	return table
})

// FirstInvalid returns the index of the first element of src that may not stand in a file whatever surrounds it, -1 if there is
// none: the NaN of E8M0, and a BFP16 that holds, or whose exponent is for, values beyond the range of binary32. The other
// formats have no such elements. A last element that is not whole is not looked at.
func FirstInvalid(src []byte, f Format) int {
	switch f {
	case E8M0:
		for i, e := range src {
			if e == nanE8M0 {
				return i
			}
		}
	case BFP16:
		for i := range len(src) / bytesBFP16 {
			if !validBFP16(src[i*bytesBFP16:][:bytesBFP16]) {
				return i
			}
		}
	}
	return -1
}

// checkLengths reports an unknown format, and a number of bytes that is not that of the given number of values, those of 4 bits
// one a byte.
func checkLengths(values, bytes int, f Format) error {
	if !f.Known() {
		return fmt.Errorf("element: %v is not known", f)
	}
	size := f.unpacked()
	if bytes%size != 0 || bytes/size != values/f.Values() || values%f.Values() != 0 {
		return fmt.Errorf("element: %d values do not take %d bytes as %v", values, bytes, f)
	}
	return nil
}
