package element

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

// Little-endian data read into the memory of values is these values, whatever the machine's byte order.
func TestMemory(t *testing.T) {
	t.Parallel()
	want32 := []float32{0, 1, -2.5, math.MaxFloat32, float32(math.Inf(-1))}
	var b []byte
	for _, v := range want32 {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	got32 := make([]float32, len(want32))
	if n := copy(Memory(got32), b); n != len(b) || len(Memory(got32)) != len(b) {
		t.Fatalf("%d bytes of %d", n, len(b))
	}
	if Swapped(got32); !slices.Equal(got32, want32) {
		t.Errorf("%v, want %v", got32, want32)
	}
	want64 := []float64{0, 1, -2.5, math.MaxFloat64, math.Inf(-1)}
	b = nil
	for _, v := range want64 {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	got64 := make([]float64, len(want64))
	if n := copy(Memory(got64), b); n != len(b) || len(Memory(got64)) != len(b) {
		t.Fatalf("%d bytes of %d", n, len(b))
	}
	if Swapped(got64); !slices.Equal(got64, want64) {
		t.Errorf("%v, want %v", got64, want64)
	}
	if n := len(Memory([]float32(nil))); n != 0 {
		t.Errorf("no values in %d bytes", n)
	}
}
