// Package whisperfiles makes Whisper encoders for tests in the files that hold no ONNX: GGUF, whisper.cpp's, OpenVINO's. Values are those of
// a state dict, or codes by a seed; what a reader must give is computed apart from the readers, by a formula of the index.
package whisperfiles

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
)

// Tensor is a tensor to be written.
type Tensor struct {
	Name  string
	Shape []int               // in PyTorch's order
	Type  string              // ggml's name of a type: "f32", "q4_0"
	At    func(i int) float64 // value i of a type that holds it as it is, exact in that
	Seed  uint64              // of codes, scales and minimums
}

// Of gives the tensors of a state dict in types that typeOf chooses, for a name and a shape. Those of ggml's types with blocks have
// other values.
func Of(list []checkpoints.Tensor, typeOf func(name string, shape []int) string) []Tensor {
	var out []Tensor
	for i, t := range list {
		out = append(out, Tensor{Name: t.Name, Shape: t.Shape, Type: typeOf(t.Name, t.Shape), At: valueOf(t), Seed: mix(uint64(i) << 32)})
	}
	return out
}

// valueOf gives the values of t, which is in F32 or F16.
func valueOf(t checkpoints.Tensor) func(i int) float64 {
	if t.Type == element.F16 {
		return func(i int) float64 { return Half(binary.LittleEndian.Uint16(t.Bytes[2*i:])) }
	}
	return func(i int) float64 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(t.Bytes[4*i:])))
	}
}

// All is the choice of one type for all tensors.
func All(typ string) func(string, []int) string {
	return func(string, []int) string { return typ }
}

// Matrices is the choice of one type for the weights of linear layers, and of another for the rest.
func Matrices(typ, rest string) func(string, []int) string {
	return func(name string, shape []int) string {
		if len(shape) == 2 && !strings.Contains(name, "positions") {
			return typ
		}
		return rest
	}
}

// Elements is the number of values.
func (t *Tensor) Elements() int {
	n := 1
	for _, s := range t.Shape {
		n *= s
	}
	return n
}

// numbers of the types in enum ggml_type.
var numbers = map[string]uint32{"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "i32": 26, "f64": 28, "bf16": 30}

// block is how 32 codes are held: byte offsets in a block of so many bytes.
type block struct{ bytes, minimum, fifth, codes, bits int } // minimum and fifth are 0 where there are none

var blocks = map[string]block{
	"q4_0": {18, 0, 0, 2, 4}, "q4_1": {20, 2, 0, 4, 4}, "q5_0": {22, 0, 2, 6, 5}, "q5_1": {24, 2, 4, 8, 5}, "q8_0": {34, 0, 0, 2, 8},
}

// Code is code i as its bits.
func (t *Tensor) Code(i int) int {
	return int(mix(t.Seed+uint64(i)) >> 20 & (1<<blocks[t.Type].bits - 1))
}

// Scale gives the bits of the f16 with which block b begins: magnitudes from 2^-9 to 2^-5 and, rarely, subnormal or zero.
func (t *Tensor) Scale(b int) uint16 { return halfBits(mix(t.Seed ^ uint64(b)<<20)) }

// Minimum gives the bits of the minimum of block b.
func (t *Tensor) Minimum(b int) uint16 { return halfBits(mix(^t.Seed ^ uint64(b)<<20)) }

func halfBits(r uint64) uint16 {
	if r>>40%64 == 0 {
		return uint16(r & 0x83ff)
	}
	return uint16(r&0x83ff | (6+r>>50&3)<<10)
}

// Half is the value of a finite f16.
func Half(bits uint16) float64 {
	exponent, mantissa := int(bits>>10&31), float64(bits&1023)
	if exponent > 0 {
		mantissa, exponent = mantissa+1024, exponent-1
	}
	return math.Copysign(math.Ldexp(mantissa, exponent-24), 0.5-float64(bits>>15))
}

// Value is what value i is when it is read: in float32, but for f64.
func (t *Tensor) Value(i int) float64 {
	if _, coded := blocks[t.Type]; !coded {
		return t.At(i)
	}
	code, d := float64(t.Code(i)), Half(t.Scale(i/32))
	switch t.Type {
	case "q4_0":
		return (code - 8) * d
	case "q5_0":
		return (code - 16) * d
	case "q8_0":
		if code > 127 {
			code -= 256
		}
		return code * d
	default:
		return float64(float32(code*d + Half(t.Minimum(i/32)))) // the sum is exact in float64
	}
}

// Bytes is the tensor's data, as ggml has it.
func (t *Tensor) Bytes() []byte {
	b, coded := blocks[t.Type]
	if !coded {
		return t.plain()
	}
	out := make([]byte, t.Elements()/32*b.bytes)
	for n := range t.Elements() / 32 {
		binary.LittleEndian.PutUint16(out[n*b.bytes:], t.Scale(n))
		if b.minimum > 0 {
			binary.LittleEndian.PutUint16(out[n*b.bytes+b.minimum:], t.Minimum(n))
		}
	}
	for i := range t.Elements() {
		at, code := i/32*b.bytes, t.Code(i)
		if b.bits == 8 {
			out[at+b.codes+i%32] = byte(code)
			continue
		}
		out[at+b.codes+i%16] |= byte(code & 15 << (i % 32 / 16 * 4))
		if b.fifth > 0 {
			out[at+b.fifth+i%32/8] |= byte(code >> 4 << (i % 8))
		}
	}
	return out
}

func (t *Tensor) plain() []byte {
	var out []byte
	for i := range t.Elements() {
		v := t.At(i)
		switch t.Type {
		case "f32":
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(v)))
		case "bf16":
			out = binary.LittleEndian.AppendUint16(out, uint16(math.Float32bits(float32(v))>>16))
		case "f64":
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		case "f16":
			out = binary.LittleEndian.AppendUint16(out, bitsOfHalf(v))
		case "i32":
			out = binary.LittleEndian.AppendUint32(out, uint32(int32(v)))
		default:
			panic(fmt.Sprintf("whisperfiles: no such type: %q", t.Type))
		}
	}
	return out
}

// bitsOfHalf is the f16 that is v, which is 0 or a normal number of it.
func bitsOfHalf(v float64) uint16 {
	if v == 0 {
		return 0
	}
	fraction, exponent := math.Frexp(math.Abs(v)) // v = fraction * 2^exponent, from 0.5 on
	bits := uint16(fraction*2048) & 1023
	bits |= uint16(exponent-1+15) << 10
	if v < 0 {
		bits |= 1 << 15
	}
	return bits
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
