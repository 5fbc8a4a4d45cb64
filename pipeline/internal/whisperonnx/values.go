package whisperonnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/x448/float16"

	"npuw/artifact/element"
)

// Parameter is one trained tensor of the model.
type Parameter struct {
	Name  string // as in a state dict, behind "encoder."
	Shape []int  // in PyTorch's order: a linear weight [N,K], a conv weight [N,C,X]

	format element.Format
	seed   uint64
	linear bool // stored [K,N] as the operand of a MatMul

	quantized Quantized // the values are those of codes
}

// Parameters lists those of the model, in the order of a state dict.
func (c Config) Parameters() []Parameter {
	var list []Parameter
	add := func(linear bool, name string, shape ...int) {
		seed := mix(c.Seed + mix(uint64(len(list))))
		if c.Tied && strings.Contains(name, "layer_norm") { // all equal, the scales and the shifts
			seed = mix(c.Seed + uint64(len(name[strings.LastIndex(name, "."):])))
		}
		p := Parameter{Name: "encoder." + name, Shape: shape, format: max(c.Type, element.F32), seed: seed, linear: linear}
		if linear {
			p.quantized = c.Quantized
		}
		list = append(list, p)
	}
	d := c.DModel
	add(false, "conv1.weight", d, c.Mels, 3)
	add(false, "conv1.bias", d)
	add(false, "conv2.weight", d, d, 3)
	add(false, "conv2.bias", d)
	add(false, "embed_positions.weight", c.Positions, d)
	for i := range c.Layers {
		layer := fmt.Sprintf("layers.%d.", i)
		for _, p := range []string{"k", "v", "q", "out"} {
			add(true, layer+"self_attn."+p+"_proj.weight", d, d)
			if p != "k" {
				add(false, layer+"self_attn."+p+"_proj.bias", d)
			}
		}
		add(false, layer+"self_attn_layer_norm.weight", d)
		add(false, layer+"self_attn_layer_norm.bias", d)
		add(true, layer+"fc1.weight", c.FFN, d)
		add(false, layer+"fc1.bias", c.FFN)
		add(true, layer+"fc2.weight", d, c.FFN)
		add(false, layer+"fc2.bias", d)
		add(false, layer+"final_layer_norm.weight", d)
		add(false, layer+"final_layer_norm.bias", d)
	}
	add(false, "layer_norm.weight", d)
	add(false, "layer_norm.bias", d)
	return list
}

// Elements is the number of values.
func (p *Parameter) Elements() int {
	n := 1
	for _, s := range p.Shape {
		n *= s
	}
	return n
}

// At is value i, row-major in Shape. It is exact in the model's type and needs all of its mantissa; magnitudes are from
// 2^-6 to 2^-2, as weights have them.
func (p *Parameter) At(i int) float64 {
	switch bits := p.bits(i); p.format {
	case element.F16: // normal: implied bit, exponent from -14
		x := math.Ldexp(float64(1<<10|bits&(1<<10-1)), int(bits>>10&31)-15-10)
		return math.Copysign(x, 0.5-float64(bits>>15))
	case element.BF16:
		return float64(math.Float32frombits(uint32(bits) << 16))
	case element.F64:
		return math.Float64frombits(bits)
	default:
		return float64(math.Float32frombits(uint32(bits)))
	}
}

// bits is the encoding of value i: random, but for an exponent from -6 to -3. It is computed from i alone, so that a
// transposed matrix can be written without holding it.
func (p *Parameter) bits(i int) uint64 {
	if p.quantized != "" {
		return uint64(math.Float32bits(p.dequantized(i)))
	}
	r := mix(p.seed + uint64(i)*golden)
	exponent := r >> 60 & 3
	switch p.format {
	case element.F16:
		return r&(1<<15|1<<10-1) | (15-6+exponent)<<10
	case element.BF16:
		return r&(1<<15|1<<7-1) | (127-6+exponent)<<7
	case element.F64:
		return r&(1<<63|1<<52-1) | (1023-6+exponent)<<52
	default:
		return r&(1<<31|1<<23-1) | (127-6+exponent)<<23
	}
}

const golden = 0x9e3779b97f4a7c15

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
func mix(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// NewParameter gives a tensor that is none of a Config's, with values of its own for each seed.
func NewParameter(name string, format element.Format, seed uint64, shape ...int) Parameter {
	return Parameter{Name: name, Shape: shape, format: format, seed: mix(seed)}
}

// AppendBytes appends the encoding of all values in format, little-endian; every value must be one of that format.
func (p *Parameter) AppendBytes(b []byte, format element.Format) []byte {
	for i := range p.Elements() {
		switch x := p.At(i); format {
		case element.F16:
			b = binary.LittleEndian.AppendUint16(b, float16.Fromfloat32(float32(x)).Bits())
		case element.BF16:
			b = binary.LittleEndian.AppendUint16(b, uint16(math.Float32bits(float32(x))>>16))
		case element.F64:
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		default:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
		}
	}
	return b
}
