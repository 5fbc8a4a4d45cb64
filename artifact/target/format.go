package target

import (
	"fmt"
	"slices"
	"strings"
)

// Format is a kind of number that kernels multiply or yield. The package element encodes those that artifacts hold; here
// only names and sizes matter, also of those that it does not know.
type Format uint8

const (
	Int4 Format = iota + 1
	Int8
	Int16
	Int32
	BF16
	F16
	F32
	F64
	// BFP16 is bfp16ebs8: 8 neighbours along K share an exponent, 9 bytes for 8 values.
	BFP16
)

var formats = [...]struct {
	name        string
	bits, block int
}{
	Int4: {"int4", 4, 1}, Int8: {"int8", 8, 1}, Int16: {"int16", 16, 1}, Int32: {"int32", 32, 1},
	BF16: {"bf16", 16, 1}, F16: {"f16", 16, 1}, F32: {"f32", 32, 1}, F64: {"f64", 64, 1},
	BFP16: {"bfp16", 9, 8},
}

// Known reports whether f is one of the formats above.
func (f Format) Known() bool { return f >= Int4 && f <= BFP16 }

// String gives the name: "bf16".
func (f Format) String() string {
	if !f.Known() {
		return fmt.Sprintf("format(%d)", uint8(f))
	}
	return formats[f].name
}

// Bits is the size of one value, on average over a block; 0 for a format that is not Known.
func (f Format) Bits() int {
	if !f.Known() {
		return 0
	}
	return formats[f].bits
}

// Block is how many neighbouring values are stored together: 8 for BFP16, 1 for the others.
func (f Format) Block() int {
	if !f.Known() {
		return 1
	}
	return formats[f].block
}

// FormatNames returns the names that ParseFormat takes, sorted.
func FormatNames() []string {
	var names []string
	for f := Int4; f.Known(); f++ {
		names = append(names, f.String())
	}
	slices.Sort(names)
	return names
}

// codes are element formats of artifacts by what kernels take them for: signed or not, they are as wide.
var codes = map[string]Format{"i8": Int8, "u8": Int8, "i4": Int4, "u4": Int4}

// ParseFormat is the inverse of String; it also takes the names that artifacts have for codes, "i8" for int8. The error lists the
// names that there are.
func ParseFormat(name string) (Format, error) {
	if f, ok := codes[name]; ok {
		return f, nil
	}
	for f := Int4; f.Known(); f++ {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("no element format is named %q; there are %s", name, strings.Join(FormatNames(), ", "))
}
