package planetest

import (
	"encoding/binary"
	"math"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// Value is what bytes that lie as s hold for an index of the padded box.
func Value(s *plane.Storage, data []byte, index []uint64) float64 {
	v := number(&s.Planes[0], data, index)
	if s.Encoding == plane.Plain {
		return v
	}
	scale := number(&s.Planes[1], data, index)
	if len(s.Planes) == 2 {
		return v * scale
	}
	third := number(&s.Planes[2], data, index)
	if s.Planes[2].Role == plane.Zeros {
		return (v - third) * scale
	}
	product := v * scale
	return float64(product) + third
}

// number is what a plane has for an index.
func number(p *plane.Plane, data []byte, index []uint64) float64 {
	e := position(p.Layout, grid(p, index))
	if p.Format == element.BFP16 {
		b := data[e/8*9:]
		return float64(int8(b[1+e%8])) * math.Ldexp(1, int(b[0])-127-6)
	}
	return decoded(bits(p, data, e), p.Format)
}

// grid is the place of an index among the blocks of a plane.
func grid(p *plane.Plane, index []uint64) []uint64 {
	place := make([]uint64, len(index))
	for a, i := range index {
		place[a] = i
		if p.Block != nil {
			place[a] /= p.Block[a]
		}
	}
	return place
}

// position is that of FORMAT.md: the digits' values as places of a number.
func position(l layout.Layout, index []uint64) uint64 {
	at := uint64(0)
	for _, d := range l.Digits {
		at = at*d.Size + index[d.Axis]/d.Stride%d.Size
	}
	return at
}

// where gives byte and, of 4-bit elements, bit of element e.
func where(p *plane.Plane, e uint64) (at uint64, shift uint) {
	w := uint64(p.Format.Bits())
	if at = p.Offset + e*w/8; p.RecordElements != 0 {
		at = p.Offset + e/p.RecordElements*p.RecordBytes + e%p.RecordElements*w/8
	}
	if w == 4 && (e%2 == 1) != p.HighFirst {
		shift = 4
	}
	return at, shift
}

// bits are those of element e, which is no bfp16.
func bits(p *plane.Plane, data []byte, e uint64) uint64 {
	at, shift := where(p, e)
	switch p.Format.Bits() {
	case 4:
		return uint64(data[at]) >> shift & 0xf
	case 8:
		return uint64(data[at])
	case 16:
		return uint64(binary.LittleEndian.Uint16(data[at:]))
	}
	return uint64(binary.LittleEndian.Uint32(data[at:]))
}

// setBits writes element e.
func setBits(p *plane.Plane, data []byte, e, v uint64) {
	at, shift := where(p, e)
	switch p.Format.Bits() {
	case 4:
		data[at] = data[at]&^(0xf<<shift) | byte(v&0xf)<<shift
	case 8:
		data[at] = byte(v)
	case 16:
		binary.LittleEndian.PutUint16(data[at:], uint16(v))
	default:
		binary.LittleEndian.PutUint32(data[at:], uint32(v))
	}
}

// normalFloat are the values of NF4 as bitsandbytes prints them.
var normalFloat = [16]float32{
	-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
	-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
}

// decoded is the value of an element by its bits.
func decoded(v uint64, f element.Format) float64 {
	switch f {
	case element.F32:
		return float64(math.Float32frombits(uint32(v)))
	case element.BF16:
		return float64(math.Float32frombits(uint32(v) << 16))
	case element.F16:
		return half(v)
	case element.I8:
		return float64(int8(v))
	case element.U8, element.U4:
		return float64(v)
	case element.I4:
		return float64(int64(v^8) - 8)
	case element.NF4:
		return float64(normalFloat[v])
	case element.E8M0:
		if v == 255 {
			return math.NaN()
		}
		return math.Ldexp(1, int(v)-127)
	}
	panic("no such element: " + f.String())
}

// half is the value of a binary16.
func half(v uint64) float64 {
	exponent, fraction := int(v>>10&0x1f), float64(v&0x3ff)
	x := math.Ldexp(1+fraction/1024, exponent-15)
	switch {
	case exponent == 0:
		x = math.Ldexp(fraction, -24)
	case exponent == 31 && fraction == 0:
		x = math.Inf(1)
	case exponent == 31:
		x = math.NaN()
	}
	if v>>15 == 1 {
		x = -x
	}
	return x
}

// Each calls do for every index of the box of the axes' sizes, padded or not, the last axis fastest.
func Each(axes []layout.Axis, padded bool, do func(index []uint64)) {
	index := make([]uint64, len(axes))
	size := func(a int) uint64 {
		if padded {
			return axes[a].Padded
		}
		return axes[a].Extent
	}
	for a := range axes {
		if size(a) == 0 {
			return
		}
	}
	for {
		do(index)
		a := len(axes) - 1
		for ; a >= 0; a-- {
			if index[a]++; index[a] < size(a) {
				break
			}
			index[a] = 0
		}
		if a < 0 {
			return
		}
	}
}

// Decoded are the values inside the extents, row-major, rounded to float32.
func Decoded(s *plane.Storage, data []byte) []float32 {
	var values []float32
	Each(s.Axes, false, func(index []uint64) { values = append(values, float32(Value(s, data, index))) })
	return values
}
