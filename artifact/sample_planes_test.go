package artifact

import (
	"encoding/binary"
	"math"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// samplePlane is a plane of the sample: what the index says of it, and by hand where its elements lie and what they hold.
type samplePlane struct {
	plane.Plane // without its layout
	grid        []layout.Axis
	digits      []layout.Digit
	at          func(i []uint64) uint64 // of a place of the grid, the first bit of the element; halves of bytes from the low one
	bits        func(i []uint64) uint64 // what is there, where it is not padding
}

// indexed is the plane as it stands in an index.
func (p *samplePlane) indexed() plane.Plane {
	q := p.Plane
	q.Layout = layout.Layout{Axes: p.grid, Digits: p.digits}
	return q
}

// put writes the plane into the bytes of its operand.
func (p *samplePlane) put(b []byte) {
	eachIndex(padded(p.grid), func(i []uint64) {
		bits := p.PadBits
		if within(i, p.grid) {
			bits = p.bits(i)
		}
		for n := range uint64(p.Format.Bits()) {
			at := p.at(i) + n
			b[at/8] |= byte(bits>>n&1) << (at % 8)
		}
	})
}

// within reports whether an index is inside the extents.
func within(i []uint64, axes []layout.Axis) bool {
	for a, axis := range axes {
		if i[a] >= axis.Extent {
			return false
		}
	}
	return true
}

// Positions of the parameters that lie in planes, or folded.
const (
	i8Weight = iota + epsilon + 1
	u4Weight
	i4Weight
	u8Weight
	nf4Weight
	mxWeight
	bfpWeight
	foldedGamma
	foldedWeight
	foldedBias
)

// Positions of the operands in planes, and of those with and without what is folded.
const (
	i8 = iota + 11
	i4
	u8
	nf4
	u4
	mx
	bfp16
	folded
	unfolded
)

func planeParameters() []Parameter {
	return []Parameter{
		{"i8.weight", "NK", []uint64{6, 20}},
		{"u4.weight", "NK", []uint64{3, 20}},
		{"i4.weight", "NK", []uint64{5, 7}},
		{"u8.weight", "NCX", []uint64{3, 2, 5}},
		{"nf4.weight", "NK", []uint64{3, 30}},
		{"mx.weight", "NK", []uint64{3, 40}},
		{"bfp.weight", "NK", []uint64{4, 13}},
		{"folded.gamma", "K", []uint64{6}},
		{"folded.weight", "NK", []uint64{4, 6}},
		{"folded.bias", "N", []uint64{4}},
	}
}

// planeValues are the parameters that are not what valueOf says, by element number, without the rounding to binary32.
var planeValues = map[int]func(n uint64) float64{
	i8Weight:  func(n uint64) float64 { return i8Value(n%20, n/20) / 0.5 },
	u4Weight:  func(n uint64) float64 { return u4Value(n%20, n/20) },
	i4Weight:  func(n uint64) float64 { return i4Value(n%7, n/7) },
	u8Weight:  func(n uint64) float64 { return u8Value(n/5%2, n/10, n%5) / 3 },
	nf4Weight: func(n uint64) float64 { return nf4Value(n%30, n/30) },
	mxWeight:  func(n uint64) float64 { return mxValue(n%40, n/40) },
	bfpWeight: func(n uint64) float64 { return bfpValue(n%13, n/13) },
}

// parameterValue is element number n of a parameter, without the rounding to binary32.
func parameterValue(parameter int, n uint64) float64 {
	if f := planeValues[parameter]; f != nil {
		return f(n)
	}
	return valueOf(parameter, n)
}

// code is element number n of a parameter as an integer from 0 to less than below.
func code(parameter int, n, below uint64) uint64 { return uint64(valueOf(parameter, n)+125) % below }

// The values of planes.

func i8Scale(n uint64) float64    { return 0.375 * float64(n+1) }
func i8Value(k, n uint64) float64 { return valueOf(i8Weight, n*20+k) * i8Scale(n) }

func u4Scale(k, n uint64) float64 { return 0.25 * float64(n+1) * float64(uint64(1)<<(k/8)) }
func u4Zero(k, n uint64) uint64   { return (5*n + k/8) % 16 }
func u4Value(k, n uint64) float64 {
	return (float64(code(u4Weight, n*20+k, 16)) - float64(u4Zero(k, n))) * u4Scale(k, n)
}

// i4Scales are binary16: 1, 0.5, 3, a subnormal, the largest and nearly a third.
var i4Scales = [6]struct {
	bits  uint64
	value float64
}{{0x3c00, 1}, {0x3800, 0.5}, {0x4200, 3}, {3, 0x3p-24}, {0x7bff, 65504}, {0x3555, 1365.0 / 4096}}

func i4Value(k, n uint64) float64 {
	return (float64(code(i4Weight, n*7+k, 16)) - 8) * i4Scales[k/4*3+n/2].value
}

const u8Minimum = float32(-3.7)

func u8Scale(c, n uint64) float64 { return math.Ldexp(float64(3+n), int(c)-6) }
func u8Value(c, n, x uint64) float64 {
	return float64(float64(code(u8Weight, n*10+c*5+x, 256))*u8Scale(c, n)) + float64(u8Minimum)
}

var nf4Entries = [16]float32{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

func nf4Scale(k, n uint64) float32 { return 0.1*float32(n+1) + float32(k/16) }
func nf4Value(k, n uint64) float64 {
	return float64(nf4Entries[code(nf4Weight, n*30+k, 16)]) * float64(nf4Scale(k, n))
}

// mxExponent is the byte of a scale: the least, the greatest, and some between.
func mxExponent(k, n uint64) uint64 { return [6]uint64{0, 124, 130, 127, 254, 1}[k/32*3+n] }

func mxValue(k, n uint64) float64 {
	return valueOf(mxWeight, n*40+k) * math.Ldexp(1, int(mxExponent(k, n))-127)
}

// bfpExponent is the exponent of eight values along K: for n = 4, where a fill is, that of 0.375.
func bfpExponent(k, n uint64) uint64 {
	return [10]uint64{0, 120, 254, 133, 125, 1, 127, 253, 140, 125}[k/8*5+n]
}

func bfpMantissa(k, n uint64) int8 {
	if n == 4 {
		return 96
	}
	return int8(valueOf(bfpWeight, n*13+k))
}

func bfpValue(k, n uint64) float64 {
	return math.Ldexp(float64(bfpMantissa(k, n)), int(bfpExponent(k, n))-133)
}

func f32Bits(v float64) uint64 { return uint64(math.Float32bits(float32(v))) }

// contiguousOperands have planes one behind the other.
func contiguousOperands() []sampleOperand {
	return []sampleOperand{
		{ // a scale for each column, in an order of its own: N2@1 N4@2; gaps of 8 bytes before and after the scales
			name: "i8", axes: axes("K", 20, 24, "N", 6, 8), size: 240,
			placements: []Placement{placed(i8Weight, 0.5, from(0, 6, 1, 1, 0, 20, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return i8Value(i[0], i[1]) },
			planes: []samplePlane{
				{
					plane.Plane{Format: element.I8, Bytes: 192, PadBits: 0x80},
					axes("K", 20, 24, "N", 6, 8), digits(1, 2, 4, 0, 24, 1, 1, 4, 1),
					func(i []uint64) uint64 { return 8 * (i[1]/4*96 + i[0]*4 + i[1]%4) },
					func(i []uint64) uint64 { return uint64(byte(int8(valueOf(i8Weight, i[1]*20+i[0])))) },
				}, {
					plane.Plane{Role: plane.Scales, Format: element.F32, Offset: 200, Bytes: 32, PadBits: f32Bits(1), Block: []uint64{24, 1}},
					axes("K", 1, 1, "N", 6, 8), digits(1, 2, 1, 1, 4, 2),
					func(i []uint64) uint64 { return 8 * (200 + 4*(i[1]%2*4+i[1]/2)) },
					func(i []uint64) uint64 { return f32Bits(i8Scale(i[1])) },
				},
			},
		},
		{ // the first of two codes in the high half
			name: "i4", axes: axes("K", 7, 8, "N", 5, 6), size: 36,
			placements: []Placement{placed(i4Weight, 1, from(0, 5, 1, 1, 0, 7, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return i4Value(i[0], i[1]) },
			planes: []samplePlane{
				{
					plane.Plane{Format: element.I4, Bytes: 24, PadBits: 0xe, HighFirst: true},
					axes("K", 7, 8, "N", 5, 6), digits(0, 8, 1, 1, 6, 1),
					func(i []uint64) uint64 { return (i[0]*6+i[1])/2*8 + 4 - (i[0]*6+i[1])%2*4 },
					func(i []uint64) uint64 { return (code(i4Weight, i[1]*7+i[0], 16) - 8) & 15 },
				}, {
					plane.Plane{Role: plane.Scales, Format: element.F16, Offset: 24, Bytes: 12, Block: []uint64{4, 2}},
					axes("K", 2, 2, "N", 3, 3), digits(0, 2, 1, 1, 3, 1),
					func(i []uint64) uint64 { return 8 * (24 + 2*(i[0]*3+i[1])) },
					func(i []uint64) uint64 { return i4Scales[i[0]*3+i[1]].bits },
				},
			},
		},
	}
}

// moreContiguousOperands are those with minimums and with NF4.
func moreContiguousOperands() []sampleOperand {
	return []sampleOperand{
		{ // a scale for each row, one minimum for all; they lie in the other order
			name: "u8", axes: axes("C", 2, 2, "N", 3, 4, "X", 5, 5), size: 60,
			placements: []Placement{placed(u8Weight, 3, from(0, 3, 1, 1, 0, 2, 1, 0, 0, 5, 1, 2), 0, 0, 0)},
			logical:    func(i []uint64) float64 { return u8Value(i[0], i[1], i[2]) },
			planes: []samplePlane{
				{
					plane.Plane{Format: element.U8, Offset: 20, Bytes: 40, PadBits: 0xff},
					axes("C", 2, 2, "N", 3, 4, "X", 5, 5), digits(2, 5, 1, 0, 2, 1, 1, 4, 1),
					func(i []uint64) uint64 { return 8 * (20 + i[2]*8 + i[0]*4 + i[1]) },
					func(i []uint64) uint64 { return code(u8Weight, i[1]*10+i[0]*5+i[2], 256) },
				}, {
					plane.Plane{Role: plane.Scales, Format: element.F16, Offset: 4, Bytes: 16, Block: []uint64{1, 1, 5}},
					axes("C", 2, 2, "N", 3, 4, "X", 1, 1), digits(0, 2, 1, 1, 4, 1),
					func(i []uint64) uint64 { return 8 * (4 + 2*(i[0]*4+i[1])) },
					func(i []uint64) uint64 { return bitsOf(u8Scale(i[0], i[1]), element.F16) },
				}, {
					plane.Plane{Role: plane.Minimums, Format: element.F32, Bytes: 4, Block: []uint64{2, 4, 5}},
					axes("C", 1, 1, "N", 1, 1, "X", 1, 1), nil,
					func([]uint64) uint64 { return 0 },
					func([]uint64) uint64 { return uint64(math.Float32bits(u8Minimum)) },
				},
			},
		},
		{
			name: "nf4", axes: axes("K", 30, 32, "N", 3, 4), size: 96,
			placements: []Placement{placed(nf4Weight, 1, from(0, 3, 1, 1, 0, 30, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return nf4Value(i[0], i[1]) },
			planes: []samplePlane{
				{
					plane.Plane{Format: element.NF4, Bytes: 64, PadBits: 7},
					axes("K", 30, 32, "N", 3, 4), digits(1, 4, 1, 0, 32, 1),
					func(i []uint64) uint64 { return 4 * (i[1]*32 + i[0]) },
					func(i []uint64) uint64 { return code(nf4Weight, i[1]*30+i[0], 16) },
				}, {
					plane.Plane{Role: plane.Scales, Format: element.F32, Offset: 64, Bytes: 32, PadBits: f32Bits(math.NaN()), Block: []uint64{16, 1}},
					axes("K", 2, 2, "N", 3, 4), digits(0, 2, 1, 1, 4, 1),
					func(i []uint64) uint64 { return 8 * (64 + 4*(i[0]*4+i[1])) },
					func(i []uint64) uint64 { return f32Bits(float64(nf4Scale(i[0]*16, i[1]))) },
				},
			},
		},
	}
}

// recordOperands have planes interleaved in records.
func recordOperands() []sampleOperand {
	u4Plane := plane.Plane{Format: element.U4, Bytes: 112, PadBits: 5, RecordElements: 32, RecordBytes: 32}
	u4Scales := plane.Plane{Role: plane.Scales, Format: element.BF16, Offset: 18, Bytes: 104, PadBits: 0x3f80, RecordElements: 4, RecordBytes: 32, Block: []uint64{8, 1}}
	u4Zeros := plane.Plane{Role: plane.Zeros, Format: element.U4, Offset: 26, Bytes: 98, PadBits: 9, RecordElements: 4, RecordBytes: 32, Block: []uint64{8, 1}}
	mxPlane := plane.Plane{Format: element.I8, Offset: 1, Bytes: 296, RecordElements: 32, RecordBytes: 33}
	mxScales := plane.Plane{Role: plane.Scales, Format: element.E8M0, Bytes: 265, PadBits: 127, RecordElements: 1, RecordBytes: 33, Block: []uint64{32, 1}}
	return []sampleOperand{
		{ // a record a column: 32 codes, 2 bytes, 4 scales, 4 zeros, 4 bytes
			name: "u4", axes: axes("K", 20, 32, "N", 3, 4), size: 128,
			placements: []Placement{placed(u4Weight, 1, from(0, 3, 1, 1, 0, 20, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return u4Value(i[0], i[1]) },
			planes: []samplePlane{
				{
					u4Plane, axes("K", 20, 32, "N", 3, 4), digits(1, 4, 1, 0, 32, 1),
					func(i []uint64) uint64 { return 8*32*i[1] + 4*i[0] },
					func(i []uint64) uint64 { return code(u4Weight, i[1]*20+i[0], 16) },
				}, {
					u4Scales, axes("K", 3, 4, "N", 3, 4), digits(1, 4, 1, 0, 4, 1),
					func(i []uint64) uint64 { return 8 * (32*i[1] + 18 + 2*i[0]) },
					func(i []uint64) uint64 { return bitsOf(u4Scale(8*i[0], i[1]), element.BF16) },
				}, {
					u4Zeros, axes("K", 3, 4, "N", 3, 4), digits(1, 4, 1, 0, 4, 1),
					func(i []uint64) uint64 { return 8*(32*i[1]+26) + 4*i[0] },
					func(i []uint64) uint64 { return u4Zero(8*i[0], i[1]) },
				},
			},
		},
		{ // a power of two and its 32 codes
			name: "mx", axes: axes("K", 40, 96, "N", 3, 3), size: 297,
			placements: []Placement{placed(mxWeight, 1, from(0, 3, 1, 1, 0, 40, 1, 0), 0, 0)},
			logical:    func(i []uint64) float64 { return mxValue(i[0], i[1]) },
			planes: []samplePlane{
				{
					mxPlane, axes("K", 40, 96, "N", 3, 3), digits(1, 3, 1, 0, 96, 1),
					func(i []uint64) uint64 { return 8 * (i[1]*99 + i[0]/32*33 + 1 + i[0]%32) },
					func(i []uint64) uint64 { return uint64(byte(int8(valueOf(mxWeight, i[1]*40+i[0])))) },
				}, {
					mxScales, axes("K", 2, 3, "N", 3, 3), digits(1, 3, 1, 0, 3, 1),
					func(i []uint64) uint64 { return 8 * (i[1]*99 + i[0]*33) },
					func(i []uint64) uint64 { return mxExponent(32*i[0], i[1]) },
				},
			},
		},
		{ // eight values along K: the second element of a column has 5 of them, the third is padding
			name: "bfp16", format: element.BFP16, axes: axes("K", 13, 24, "N", 5, 8), digits: digits(0, 3, 8, 1, 8, 1, 0, 8, 1), size: 216,
			placements: []Placement{placed(bfpWeight, 1, from(0, 4, 1, 1, 0, 13, 1, 0), 0, 0)},
			fills:      []Fill{{Begin: []uint64{0, 4}, Size: []uint64{13, 1}, Value: 0.375}},
			logical:    func(i []uint64) float64 { return bfpValue(i[0], i[1]) },
			raw: func() []byte {
				b := make([]byte, 216)
				eachIndex([]uint64{13, 5}, func(i []uint64) {
					at := (i[0]/8*8 + i[1]) * 9
					b[at], b[at+1+i[0]%8] = byte(bfpExponent(i[0], i[1])), byte(bfpMantissa(i[0], i[1]))
				})
				return b
			},
		},
	}
}

// foldedOperands hold a linear layer with the LayerNorm before it folded in, but for the bias, which lies elsewhere too.
func foldedOperands() []sampleOperand {
	return []sampleOperand{
		{
			name: "folded", format: element.BF16, axes: axes("K", 7, 7, "N", 4, 4), digits: digits(0, 7, 1, 1, 4, 1),
			placements: []Placement{placed(foldedWeight, 1, from(0, 4, 1, 1, 0, 6, 1, 0), 0, 0), placed(foldedBias, 1, from(0, 4, 1, 1), 6, 0)},
			logical: func(i []uint64) float64 {
				if i[0] == 6 {
					return valueOf(foldedBias, i[1]) + 2
				}
				return valueOf(foldedWeight, i[1]*6+i[0]) * float64(uint64(1)<<(i[0]%3))
			},
			position: byRow(4),
		},
		{
			name: "unfolded", format: element.F32, axes: axes("N", 4, 4), digits: digits(0, 4, 1),
			placements: []Placement{placed(foldedBias, 1, from(0, 4, 1, 0), 0)}, logical: vector(foldedBias), position: alone,
		},
	}
}

// addPlanes adds operands with several planes, one that others were folded into, and a contract that reads such an operand.
func (s *sample) addPlanes() {
	s.segment("layer.2", NoGroup, slices.Concat(contiguousOperands(), moreContiguousOperands(), recordOperands(), foldedOperands()))
	x := s.index
	x.Notes = []Note{{Folded, foldedGamma, folded}, {Folded, foldedWeight, folded}, {Folded, foldedBias, folded}}
	o := &x.Operands[i8]
	codes, scales := o.Planes[0], o.Planes[1]
	codes.PadBits, scales.PadBits = 0, 0
	codes.Block, codes.Layout.Digits = []uint64{1, 1}, digits(1, 2, 4, 0, 3, 8, 0, 8, 1, 1, 4, 1) // the same in other words
	x.Contracts = append(x.Contracts, Contract{
		Name: "scaled", Operation: kernel.GEMM, Kernel: "MLIR_AIE", Xclbin: 0, Instructions: None,
		Shape: axes("M", 3, 4, "K", 20, 24, "N", 6, 8),
		Arguments: []Argument{{
			Name: "b", Index: 4, Role: kernel.Weight, MemoryGroup: NoGroup, Bytes: o.Bytes, Encoding: plane.Scaled, Format: element.I8,
			Layout: codes.Layout, Planes: []plane.Plane{codes, scales},
		}},
	})
	x.Bindings = append(x.Bindings, Binding{Operand: i8, Contract: len(x.Contracts) - 1, Argument: 0})
}

// plainBytes is what an operand of one plane of plain elements holds.
func (o *sampleOperand) plainBytes() []byte {
	size := uint64(o.format.Size())
	b := make([]byte, volume(padded(o.axes))*size)
	eachIndex(padded(o.axes), func(i []uint64) {
		v := o.pad
		if within(i, o.axes) {
			v = o.logical(i)
		}
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], bitsOf(v, o.format))
		copy(b[o.position(i)*size:][:size], word[:])
	})
	return b
}

// padding calls do with the place and the width, in bits, of each element that is padding; of each mantissa and exponent in bfp16.
func (o *sampleOperand) padding(do func(bit, width uint64)) {
	outside := func(axes []layout.Axis, do func(i []uint64)) {
		eachIndex(padded(axes), func(i []uint64) {
			if !within(i, axes) {
				do(i)
			}
		})
	}
	switch {
	case o.raw != nil:
		outside(o.axes, func(i []uint64) {
			element := (i[0]/8*8 + i[1]) * 9
			do(8*(element+1+i[0]%8), 8)
			if i[0]%8 == 0 {
				do(8*element, 8)
			}
		})
	case o.planes == nil:
		width := 8 * uint64(o.format.Size())
		outside(o.axes, func(i []uint64) { do(o.position(i)*width, width) })
	default:
		for j := range o.planes {
			p := &o.planes[j]
			outside(p.grid, func(i []uint64) { do(p.at(i), uint64(p.Format.Bits())) })
		}
	}
}

func padded(axes []layout.Axis) []uint64 {
	var list []uint64
	for _, a := range axes {
		list = append(list, a.Padded)
	}
	return list
}

func extents(axes []layout.Axis) []uint64 {
	var list []uint64
	for _, a := range axes {
		list = append(list, a.Extent)
	}
	return list
}
