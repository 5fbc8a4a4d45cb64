package element

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// Memory is the memory of values as bytes: little-endian data read into it becomes the values, after a call of Swapped.
func Memory[T float32 | float64](values []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*int(unsafe.Sizeof(*new(T))))
}

// Swapped turns values whose Memory holds little-endian data into this machine's byte order: nothing to do on nearly all.
func Swapped[T float32 | float64](values []T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return
	}
	if b := Memory(values); unsafe.Sizeof(*new(T)) == 4 {
		for i := 0; i < len(b); i += 4 {
			binary.NativeEndian.PutUint32(b[i:], bits.ReverseBytes32(binary.NativeEndian.Uint32(b[i:])))
		}
	} else {
		for i := 0; i < len(b); i += 8 {
			binary.NativeEndian.PutUint64(b[i:], bits.ReverseBytes64(binary.NativeEndian.Uint64(b[i:])))
		}
	}
}
