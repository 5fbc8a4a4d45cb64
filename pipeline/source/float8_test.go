package source_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/x448/float16"

	"npuw/pipeline/source"
)

// Every code of the 8-bit formats has the value of its definition, and any part of a tensor can be read.
func TestFloat8(t *testing.T) {
	t.Parallel()
	codes := make([]byte, 256)
	for i := range codes {
		codes[i] = byte(i)
	}
	path := filepath.Join(t.TempDir(), "codes")
	if err := os.WriteFile(path, codes, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := source.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &source.Catalogue{Path: path, Files: []*source.File{f}}
	defer c.Close()
	for name, x := range map[string]struct {
		format         *source.Float8
		exponent, bias int
		infinity       bool
	}{"e4m3": {source.E4M3, 4, 7, false}, "e5m2": {source.E5M2, 5, 15, true}} {
		tensor := x.format.Tensor("t", []uint64{16, 16}, source.Data{Size: 256})
		for i := range codes {
			var b [2]byte
			if err := c.ReadAt(b[:], &tensor, int64(2*i)); err != nil {
				t.Fatal(err)
			}
			got := float64(float16.Frombits(binary.LittleEndian.Uint16(b[:])).Float32())
			if want := float8(i, x.exponent, x.bias, x.infinity); math.Float64bits(got) != math.Float64bits(want) && !(math.IsNaN(got) && math.IsNaN(want)) {
				t.Errorf("%s: code %02x is %v, expected %v", name, i, got, want)
			}
		}
		all := make([]byte, 512)
		part := make([]byte, 34)
		if err := c.ReadAt(all, &tensor, 0); err != nil {
			t.Fatal(err)
		}
		if err := c.ReadAt(part, &tensor, 100); err != nil || string(part) != string(all[100:134]) {
			t.Errorf("%s: %v, %v", name, part, err)
		}
		if tensor.Stored == "" {
			t.Errorf("%s: nothing says how it is stored", name)
		}
	}
}

// float8 decodes by the definition.
func float8(code, exponentBits, bias int, infinity bool) float64 {
	fractionBits := 7 - exponentBits
	exponent, fraction := code>>fractionBits&(1<<exponentBits-1), code&(1<<fractionBits-1)
	value := math.Ldexp(float64(fraction), 1-bias-fractionBits)
	switch top := exponent == 1<<exponentBits-1; {
	case top && infinity && fraction == 0:
		value = math.Inf(1)
	case top && (infinity || fraction == 1<<fractionBits-1):
		return math.NaN()
	case exponent > 0:
		value = math.Ldexp(float64(1<<fractionBits|fraction), exponent-bias-fractionBits)
	}
	if code >= 128 {
		return math.Copysign(value, -1)
	}
	return value
}
