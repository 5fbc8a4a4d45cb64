// Package element holds the element formats of operands: how one number is encoded in bits, how arrays of them are
// encoded and decoded, and what rounding them cost. Every fast path stands beside a plain Go twin that gives the same bits.
//
// There are three ways to hold values. Plain formats (Encode, EncodePatch) hold each by itself. Codes (Scheme, QuantizePatch)
// are small numbers, whose block has a scale and perhaps a zero point or a minimum:
//
//	value = (code - zero) * scale + minimum
//
// BFP16 (EncodeBFP16Patch) holds eight values in one element, under one exponent.
package element

import (
	"fmt"
	"strings"
)

// Format names an element format. The numbers are those of schema/FORMAT.md ("Element formats") and never change.
type Format uint8

const (
	F32   Format = 1  // IEEE 754 binary32, little-endian
	F16   Format = 2  // IEEE 754 binary16, little-endian
	BF16  Format = 3  // the upper 16 bits of a binary32, little-endian
	F64   Format = 4  // IEEE 754 binary64, little-endian; sources only
	I8    Format = 5  // -128 to 127, two's complement
	U8    Format = 6  // 0 to 255
	I4    Format = 7  // -8 to 7, two's complement
	U4    Format = 8  // 0 to 15
	NF4   Format = 9  // one of sixteen numbers from -1 to 1, dense about 0
	BFP16 Format = 10 // AMD's bfp16ebs8: eight values as int8 mantissas under one exponent
	E8M0  Format = 11 // a power of two, 2^-127 to 2^127; scales only
)

var formats = [...]struct {
	name         string
	bits, values int
}{
	F32:   {"f32", 32, 1},
	F16:   {"f16", 16, 1},
	BF16:  {"bf16", 16, 1},
	F64:   {"f64", 64, 1},
	I8:    {"i8", 8, 1},
	U8:    {"u8", 8, 1},
	I4:    {"i4", 4, 1},
	U4:    {"u4", 4, 1},
	NF4:   {"nf4", 4, 1},
	BFP16: {"bfp16", 72, 8},
	E8M0:  {"e8m0", 8, 1},
}

// Known reports whether this version can encode and decode f.
func (f Format) Known() bool { return f >= F32 && int(f) < len(formats) }

// Plain reports whether the elements of f are values of an operand by themselves, one each, as Encode writes them.
func (f Format) Plain() bool { return f >= F32 && f <= BF16 }

// String gives the name used on the command line and in listings ("bf16"); a format of a later version prints as "format(99)".
func (f Format) String() string {
	if f.Known() {
		return formats[f].name
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// Bits is the number of bits of one element, 0 for a format that is not Known.
func (f Format) Bits() int {
	if !f.Known() {
		return 0
	}
	return formats[f].bits
}

// Size is the number of bytes of one element. It is 0 for a format that is not Known, and for those of 4 bits (I4, U4, NF4), of
// which two share a byte; where they stand unpacked (Unpack4), each takes a byte.
func (f Format) Size() int { return f.Bits() / 8 }

// Values is the number of values that one element holds: 8 for BFP16, else 1; 0 for a format that is not Known.
func (f Format) Values() int {
	if !f.Known() {
		return 0
	}
	return formats[f].values
}

// unpacked is the number of bytes of one element where those of 4 bits take a byte each; f must be Known.
func (f Format) unpacked() int { return max(f.Size(), 1) }

// ParseFormat is the inverse of String for the formats that are Known: "f32", "bf16", "i8" and so on.
func ParseFormat(name string) (Format, error) {
	var known []string
	for f := F32; f.Known(); f++ {
		if formats[f].name == name {
			return f, nil
		}
		known = append(known, formats[f].name)
	}
	return 0, fmt.Errorf("element: no format is named %q; known: %s", name, strings.Join(known, ", "))
}
