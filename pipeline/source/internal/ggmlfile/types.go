package ggmlfile

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// blockValues is how many values the blocks have that are read.
const blockValues = 32

// Type is a type of tensors, enum ggml_type of ggml.h. Tensors are rows of blocks: the length of the last axis is a multiple of Values.
type Type struct {
	Name   string         // "q8_0"
	Values int64          // of a block, 1 where each value stands alone
	Bytes  int64          // of a block; 0 where this version does not know it
	Format element.Format // of floats that stand in the file as they are, else 0

	stored string
	decode func(dst []float32, block []byte) // a block, 0 where it is not read
	scheme element.Scheme                    // of which the values are made, its zero value where no scheme says the same
	zero   byte                              // of every block
}

// types by their numbers. The blocks of ggml-common.h that are read here, of 32 values each, value i < 16 in the lower four bits of
// byte i of the codes, value i+16 in the upper ones:
//
//	q4_0  f16 d, 16 bytes                     (code - 8) * d
//	q4_1  f16 d, f16 m, 16 bytes              code * d + m
//	q5_0  f16 d, 32 fifth bits, 16 bytes      (code - 16) * d
//	q5_1  f16 d, f16 m, 32 fifth bits, 16     code * d + m
//	q8_0  f16 d, 32 bytes                     code * d, in two's complement
//
// Products are exact in float32, so a sum rounds once, as dequantize_row_* of ggml-quants.c does.
var types = map[uint32]*Type{
	0:  {Name: "f32", Values: 1, Bytes: 4, Format: element.F32},
	1:  {Name: "f16", Values: 1, Bytes: 2, Format: element.F16},
	2:  {Name: "q4_0", Values: 32, Bytes: 18, decode: q4x0, stored: "4-bit codes", scheme: element.Scheme{Codes: element.U4, Scales: element.F16, Zeros: element.U4}, zero: 8},
	3:  {Name: "q4_1", Values: 32, Bytes: 20, decode: q4x1, stored: "4-bit codes"},
	6:  {Name: "q5_0", Values: 32, Bytes: 22, decode: q5x0, stored: "5-bit codes"},
	7:  {Name: "q5_1", Values: 32, Bytes: 24, decode: q5x1, stored: "5-bit codes"},
	8:  {Name: "q8_0", Values: 32, Bytes: 34, decode: q8x0, stored: "8-bit codes", scheme: element.Scheme{Codes: element.I8, Scales: element.F16}},
	9:  {Name: "q8_1", Values: 32, Bytes: 36},
	10: {Name: "q2_K", Values: 256, Bytes: 84},
	11: {Name: "q3_K", Values: 256, Bytes: 110},
	12: {Name: "q4_K", Values: 256, Bytes: 144},
	13: {Name: "q5_K", Values: 256, Bytes: 176},
	14: {Name: "q6_K", Values: 256, Bytes: 210},
	15: {Name: "q8_K", Values: 256, Bytes: 292},
	24: {Name: "i8", Values: 1, Bytes: 1},
	25: {Name: "i16", Values: 1, Bytes: 2},
	26: {Name: "i32", Values: 1, Bytes: 4},
	27: {Name: "i64", Values: 1, Bytes: 8},
	28: {Name: "f64", Values: 1, Bytes: 8, Format: element.F64},
	30: {Name: "bf16", Values: 1, Bytes: 2, Format: element.BF16},
}

// TypeOf gives the type of a number. One that this version does not know has no size.
func TypeOf(number uint32) *Type {
	if t := types[number]; t != nil {
		return t
	}
	return &Type{Name: fmt.Sprintf("of ggml's number %d", number), Values: 1}
}

// Read reports whether tensors of type t can be read. The others are known by name and size alone.
func (t *Type) Read() bool { return t.Format != 0 || t.decode != nil }

// Coded reports whether values are held as codes.
func (t *Type) Coded() bool { return t.Values > 1 }

// Size is the size of a tensor of type t in bytes; the text says why there is none.
func (t *Type) Size(shape []uint64) (int64, string) {
	n, ok := source.Elements(shape)
	if ok && t.Coded() && (len(shape) == 0 || shape[len(shape)-1]%uint64(t.Values) != 0) {
		return 0, fmt.Sprintf("shape %v, whose last axis is no multiple of the %d values that %s has in a block", shape, t.Values, t.Name)
	}
	if blocks := n / uint64(t.Values); ok && (t.Bytes == 0 || blocks <= uint64(math.MaxInt64/t.Bytes)) && n <= math.MaxInt64/4 {
		return int64(blocks) * t.Bytes, "" // and the values fit too, in float32
	}
	return 0, fmt.Sprintf("shape %v has more than 2^63 bytes", shape)
}

// Tensor is a tensor of a type that is Read, whose Size is within the catalogue's first file at an offset.
func (t *Type) Tensor(name string, shape []uint64, offset, size int64) source.Tensor {
	tensor := source.Tensor{Name: name, Type: t.Format, Shape: shape, Data: source.Data{Offset: offset, Size: size}}
	if t.Format != 0 {
		return tensor
	}
	raw := source.Tensor{Name: name, Data: tensor.Data}
	tensor.Type = element.F32
	tensor.Data.Size = size / t.Bytes * t.Values * 4
	tensor.Data.Decoder = &values{t, raw}
	tensor.Stored = fmt.Sprintf("%s: %s, scales of %d", t.Name, t.stored, t.Values)
	if t.scheme.Codes != 0 {
		grid, block := make([]uint64, len(shape)), make([]uint64, len(shape))
		for i := range shape {
			grid[i], block[i] = shape[i], 1
		}
		last := len(shape) - 1
		grid[last], block[last] = shape[last]/uint64(t.Values), uint64(t.Values)
		tensor.Codes = &source.Codes{Scheme: t.scheme, Block: block, Blocks: &scales{t, raw, grid}}
	}
	return tensor
}

// half is the f16 at the beginning of b. Every f16 is exact in float32.
func half(b []byte) float32 { return float16.Frombits(binary.LittleEndian.Uint16(b)).Float32() }

func q4x0(dst []float32, b []byte) {
	d := half(b)
	for i, c := range b[2:18] {
		dst[i], dst[i+16] = float32(int(c&15)-8)*d, float32(int(c>>4)-8)*d
	}
}

func q4x1(dst []float32, b []byte) {
	d, m := half(b), half(b[2:])
	for i, c := range b[4:20] {
		dst[i], dst[i+16] = float32(float32(c&15)*d)+m, float32(float32(c>>4)*d)+m
	}
}

func q5x0(dst []float32, b []byte) {
	d, fifth := half(b), binary.LittleEndian.Uint32(b[2:])
	for i, c := range b[6:22] {
		low, high := int(c&15)|int(fifth>>i&1)<<4, int(c>>4)|int(fifth>>(i+16)&1)<<4
		dst[i], dst[i+16] = float32(low-16)*d, float32(high-16)*d
	}
}

func q5x1(dst []float32, b []byte) {
	d, m, fifth := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
	for i, c := range b[8:24] {
		low, high := int(c&15)|int(fifth>>i&1)<<4, int(c>>4)|int(fifth>>(i+16)&1)<<4
		dst[i], dst[i+16] = float32(float32(low)*d)+m, float32(float32(high)*d)+m
	}
}

func q8x0(dst []float32, b []byte) {
	d := half(b)
	for i, c := range b[2:34] {
		dst[i] = float32(int8(c)) * d
	}
}
