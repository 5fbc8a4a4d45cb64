// Package element holds the element formats of operands: how one number is encoded in bits, how arrays of them are
// encoded and decoded, and what rounding them cost. Every fast path stands beside a plain Go twin that gives the same bits.
package element

import (
	"fmt"
	"strings"
)

// Format names an element format. The numbers are those of schema/FORMAT.md ("Element formats") and never change.
type Format uint8

const (
	F32  Format = 1 // IEEE 754 binary32, little-endian
	F16  Format = 2 // IEEE 754 binary16, little-endian
	BF16 Format = 3 // the upper 16 bits of a binary32, little-endian
	F64  Format = 4 // IEEE 754 binary64, little-endian; sources only
)

var names = [...]string{F32: "f32", F16: "f16", BF16: "bf16", F64: "f64"}

// Known reports whether this version can encode and decode f.
func (f Format) Known() bool { return f >= F32 && f <= F64 }

// String gives the name used on the command line and in listings ("bf16"); a format of a later version prints as "format(9)".
func (f Format) String() string {
	if f.Known() {
		return names[f]
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// Size is the number of bytes of one element, 0 for a format that is not Known.
func (f Format) Size() int {
	switch f {
	case F32:
		return 4
	case F16, BF16:
		return 2
	case F64:
		return 8
	}
	return 0
}

// ParseFormat is the inverse of String for the formats that are Known: "f32", "f16", "bf16", "f64".
func ParseFormat(name string) (Format, error) {
	for f := F32; f.Known(); f++ {
		if names[f] == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("element: no format is named %q; known: %s", name, strings.Join(names[F32:], ", "))
}
