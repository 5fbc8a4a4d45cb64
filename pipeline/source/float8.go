package source

import (
	"encoding/binary"

	"npuw/artifact/element"
)

// Float8 is a float format of 8 bits. Every value of it is one of float16 too, as which it is read.
type Float8 struct {
	name  string
	value func(code uint16) uint16 // in float16
}

// The formats (Micikevicius et al. 2022, "FP8 Formats for Deep Learning").
var (
	// E4M3 has 4 bits of exponent, no infinity, and NaN where all 7 bits are set (float8_e4m3fn).
	E4M3 = &Float8{"float8 e4m3", e4m3}
	// E5M2 has 5 bits of exponent: it is the upper half of a float16.
	E5M2 = &Float8{"float8 e5m2", e5m2}
)

func e5m2(code uint16) uint16 { return code << 8 }

// e4m3 gives a value in float16, whose exponent is biased by 15 instead of 7.
func e4m3(code uint16) uint16 {
	sign, exponent, fraction := code>>7<<15, code>>3&15, code&7
	switch {
	case exponent == 15 && fraction == 7:
		return sign | 0x7e00
	case exponent > 0:
		return sign | (exponent+8)<<10 | fraction<<7
	case fraction == 0:
		return sign
	}
	exponent = 9 // of 2^-6, the scale of subnormal values
	for fraction <<= 1; fraction < 8; fraction <<= 1 {
		exponent--
	}
	return sign | (exponent-1)<<10 | fraction&7<<7
}

// Tensor is a tensor of which the file has codes of f at d.
func (f *Float8) Tensor(name string, shape []uint64, d Data) Tensor {
	codes := d
	d.Size *= 2
	d.Decoder = float8Codes{f, name, codes}
	return Tensor{Name: name, Type: element.F16, Shape: shape, Data: d, Stored: f.name}
}

// float8Codes decodes what stands at a place of a file.
type float8Codes struct {
	*Float8
	tensor string
	at     Data
}

// Decode gives values in float16.
func (d float8Codes) Decode(c *Catalogue, dst []byte, offset int64) error {
	n := len(dst) / 2
	codes := dst[n:] // read into the upper half of dst, and spread from its beginning: value i ends before code i+1
	t := Tensor{Name: d.tensor, Type: element.I8, Data: d.at}
	if err := c.ReadAt(codes, &t, offset/2); err != nil {
		return err
	}
	for i, code := range codes {
		binary.LittleEndian.PutUint16(dst[2*i:], d.value(uint16(code)))
	}
	return nil
}
