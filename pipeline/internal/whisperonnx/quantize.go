package whisperonnx

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"npuw/artifact/element"
	pb "npuw/schema/onnxpb"
)

// Quantized is how linear layers have their weights as codes. Only those that have a product of their own have them so; the values that
// Parameter.At gives are (code - zero) * scale, rounded to float32.
type Quantized string

// The ways, and what multiplies with the codes.
const (
	NBits4     Quantized = "q4"       // MatMulNBits: 4 bits, blocks of 32, the zero point 8
	NBits4Zero Quantized = "q4asym"   // the same with zero points
	NBits8     Quantized = "q8"       // MatMulNBits: 8 bits, blocks of 128, zero points
	NF4        Quantized = "bnb4"     // MatMulBnb4: NF4, blocks of 64
	Dynamic    Quantized = "int8dyn"  // DynamicQuantizeLinear, MatMulInteger: unsigned, a scale and a zero point for all
	Fused8     Quantized = "int8fuse" // DynamicQuantizeMatMul: signed, a scale a column
	QDQ        Quantized = "qdq"      // DequantizeLinear: signed, a scale and a zero point a column
	QDQBlocks  Quantized = "qdq4"     // DequantizeLinear: INT4, blocks of 32 along K
)

// block is the number of inputs that share a scale and a zero point; 0: all inputs of all outputs do, -1: all of an output.
func (q Quantized) block() int {
	return map[Quantized]int{NBits4: 32, NBits4Zero: 32, NBits8: 128, NF4: 64, Fused8: -1, QDQ: -1, QDQBlocks: 32}[q]
}

// codes is the number of bits of a code, and whether it is signed.
func (q Quantized) codes() (bits int, signed bool) {
	switch q {
	case NBits4, NBits4Zero, NF4:
		return 4, false
	case QDQBlocks:
		return 4, true
	case Fused8, QDQ:
		return 8, true
	}
	return 8, false
}

// code is code i, an index as of At, of p.
func (p *Parameter) code(i int) int {
	bits, signed := p.quantized.codes()
	code := int(mix(p.seed+uint64(i)*golden) >> (64 - bits))
	if signed {
		code -= 1 << (bits - 1)
	}
	return code
}

// blockOf is the block that value i of p is in: the blocks of an output follow each other.
func (p *Parameter) blockOf(i int) int {
	k := p.Shape[1]
	switch b := p.quantized.block(); {
	case b == 0:
		return 0
	case b < 0:
		return i / k
	case p.quantized == NF4: // through all rows
		return i / b
	default:
		return i/k*p.blocks() + i%k/b
	}
}

// blocks is the number of blocks of an output.
func (p *Parameter) blocks() int { return (p.Shape[1] + p.quantized.block() - 1) / p.quantized.block() }

// blockScale is the scale of a block: from 2^-9 to 2^-7, and all of its significand is needed.
func (p *Parameter) blockScale(block int) float32 {
	r := mix(p.seed ^ 0x5ca1e + uint64(block)*golden)
	return math.Float32frombits(uint32(r&(1<<23-1) | (127-9+r>>60&1)<<23))
}

// blockZero is the zero point of a block.
func (p *Parameter) blockZero(block int) int {
	bits, signed := p.quantized.codes()
	switch p.quantized {
	case NBits4:
		return 8
	case NF4, Fused8:
		return 0
	}
	zero := int(mix(p.seed^0x2e50+uint64(block)*golden) >> (64 - bits))
	if signed {
		zero -= 1 << (bits - 1)
	}
	return zero
}

// nf4 is what the codes of NF4 stand for.
var nf4 = [16]float32{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// dequantized is value i of p.
func (p *Parameter) dequantized(i int) float32 {
	block := p.blockOf(i)
	if p.quantized == NF4 {
		return nf4[p.code(i)] * p.blockScale(block)
	}
	return float32(p.code(i)-p.blockZero(block)) * p.blockScale(block)
}

// floats is a tensor of n numbers.
func floats(at func(int) float32, dims ...int) *tensor {
	t := sized(dims)
	t.format, t.bits = element.F32, func(_, i int) uint64 { return uint64(math.Float32bits(at(i))) }
	return t
}

// nibbles is a tensor of 4-bit numbers, two a byte, the first in the lower half or in the upper.
func nibbles(typ pb.TensorProto_DataType, high bool, at func(int) int, total int, dims ...int) *tensor {
	t := sized(dims)
	t.typ, t.format, t.cols = typ, element.U8, (total+1)/2
	t.bits = func(_, i int) uint64 {
		first, second := uint64(at(2*i)&15), uint64(0)
		if 2*i+1 < total {
			second = uint64(at(2*i+1) & 15)
		}
		if high {
			first, second = second, first
		}
		return first | second<<4
	}
	return t
}

// bytes8 is a tensor of 8-bit numbers.
func bytes8(typ pb.TensorProto_DataType, at func(int) int, dims ...int) *tensor {
	t := sized(dims)
	t.typ, t.format, t.bits = typ, element.U8, func(_, i int) uint64 { return uint64(at(i) & 255) }
	return t
}

// sized is a tensor of one row.
func sized(dims []int) *tensor {
	t := &tensor{dims: []int64{}, rows: 1, cols: 1}
	for _, d := range dims {
		t.dims, t.cols = append(t.dims, int64(d)), t.cols*d
	}
	return t
}

// quantizedProduct adds x W with W as codes.
func (g *graph) quantizedProduct(scope, x string) string {
	name := stateName(scope) + ".weight"
	p := g.parameters[name]
	w, written := g.shared[name]
	if !written {
		g.number++
		w = fmt.Sprintf("onnx::MatMul_%d%s", g.number, g.suffix)
		if g.shared != nil {
			g.shared[name] = w
		}
	}
	switch g.Quantized {
	case NBits4, NBits4Zero, NBits8:
		return g.nBits(scope, x, w, p)
	case NF4:
		n, k := p.Shape[0], p.Shape[1]
		g.store(w+"_Bnb4", nibbles(pb.TensorProto_UINT8, true, p.code, n*k, (n*k+1)/2), true)
		g.store(w+"_absmax", floats(p.blockScale, (n*k+63)/64), true)
		return g.onCodes(scope, "MatMul_Bnb4", "MatMulBnb4", append(p.sizes(), integerAttribute("quant_type", 1)), x, w+"_Bnb4", w+"_absmax")
	case Dynamic:
		return g.dynamic(scope, x, w, p)
	case Fused8:
		g.byColumn(w, p, false)
		return g.onCodes(scope, "MatMul_quant", "DynamicQuantizeMatMul", nil, x, w+"_quantized", w+"_scale")
	}
	return g.dequantizeLinear(scope, x, w, p)
}

// onCodes adds a node of ONNX Runtime's, which the tool that made it of a MatMul calls after that.
func (g *graph) onCodes(scope, name, op string, attributes []*pb.AttributeProto, inputs ...string) string {
	out := g.name(scope, "MatMul") + "_output_0"
	g.add(microsoft, scope+"/"+name, op, []string{out}, attributes, inputs...)
	return out
}

// sizes are the attributes of an operator on matrices in blocks.
func (p *Parameter) sizes() []*pb.AttributeProto {
	return []*pb.AttributeProto{
		integerAttribute("K", int64(p.Shape[1])), integerAttribute("N", int64(p.Shape[0])), integerAttribute("block_size", int64(p.quantized.block())),
	}
}

// nBits adds a MatMulNBits. Rows are padded to whole blocks, with zeros.
func (g *graph) nBits(scope, x, w string, p *Parameter) string {
	n, k, blocks, block := p.Shape[0], p.Shape[1], p.blocks(), p.quantized.block()
	padded := func(i int) int {
		if row, col := i/(blocks*block), i%(blocks*block); col < k {
			return p.code(row*k + col)
		}
		return 0
	}
	bits, _ := p.quantized.codes()
	codes := w + fmt.Sprintf("_Q%d", bits)
	if bits == 4 {
		g.store(codes, nibbles(pb.TensorProto_UINT8, false, padded, n*blocks*block, n, blocks, block/2), true)
	} else {
		g.store(codes, bytes8(pb.TensorProto_UINT8, padded, n, blocks, block), true)
	}
	g.store(w+"_scales", floats(p.blockScale, n, blocks), true)
	zeros := g.blockZeros(w, p)
	return g.onCodes(scope, fmt.Sprintf("MatMul_Q%d", bits), "MatMulNBits", append(p.sizes(), integerAttribute("bits", int64(bits))), slices.Concat([]string{x, codes, w + "_scales"}, zeros)...)
}

// blockZeros stores the zero points of the blocks of p, those of each row in whole bytes, and gives the name of their value; none where
// they are left out.
func (g *graph) blockZeros(w string, p *Parameter) []string {
	if p.quantized == NBits4 {
		return nil
	}
	n, blocks, name := p.Shape[0], p.blocks(), w+"_zero_points"
	bits, _ := p.quantized.codes()
	row := (blocks + 8/bits - 1) / (8 / bits) * (8 / bits)
	zero := func(i int) int {
		if i%row >= blocks {
			return 0
		}
		return p.blockZero(i/row*blocks + i%row)
	}
	if bits == 4 {
		g.store(name, nibbles(pb.TensorProto_UINT8, false, zero, n*row, n, row/2), true)
	} else {
		g.store(name, bytes8(pb.TensorProto_UINT8, zero, n, row), true)
	}
	return []string{name}
}

// transposedCode is code i of p as [K,N].
func (p *Parameter) transposedCode(i int) int { n := p.Shape[0]; return p.code(i%n*p.Shape[1] + i/n) }

// byColumn stores the codes of p as [K,N], a scale for each column and, if there are any, zero points.
func (g *graph) byColumn(w string, p *Parameter, zeros bool) {
	g.store(w+"_quantized", bytes8(pb.TensorProto_INT8, p.transposedCode, p.Shape[1], p.Shape[0]), true)
	g.store(w+"_scale", floats(p.blockScale, p.Shape[0]), true)
	if zeros {
		g.store(w+"_zero_point", bytes8(pb.TensorProto_INT8, p.blockZero, p.Shape[0]), true)
	}
}

// dequantizeLinear adds a MatMul of what a DequantizeLinear gives.
func (g *graph) dequantizeLinear(scope, x, w string, p *Parameter) string {
	attributes := []*pb.AttributeProto{integerAttribute("axis", 1)}
	if p.quantized == QDQ {
		g.byColumn(w, p, true)
	} else {
		n, k, blocks := p.Shape[0], p.Shape[1], p.blocks()
		at := func(i int) int { return i%n*blocks + i/n }
		g.store(w+"_quantized", nibbles(pb.TensorProto_INT4, false, p.transposedCode, n*k, k, n), true)
		g.store(w+"_scale", floats(func(i int) float32 { return p.blockScale(at(i)) }, blocks, n), true)
		g.store(w+"_zero_point", nibbles(pb.TensorProto_INT4, false, func(i int) int { return p.blockZero(at(i)) }, blocks*n, blocks, n), true)
		attributes = []*pb.AttributeProto{integerAttribute("axis", 0), integerAttribute("block_size", int64(p.quantized.block()))}
	}
	v := w + "_DequantizeLinear_Output"
	g.add("", w+"_DequantizeLinear", "DequantizeLinear", []string{v}, attributes, w+"_quantized", w+"_scale", w+"_zero_point")
	return g.node(scope, "MatMul", nil, x, v)
}

// dynamic adds a MatMulInteger of x, which is quantized once for all that it is multiplied with.
func (g *graph) dynamic(scope, x, w string, p *Parameter) string {
	g.store(w+"_quantized", bytes8(pb.TensorProto_UINT8, p.transposedCode, p.Shape[1], p.Shape[0]), true)
	g.store(w+"_scale", floats(p.blockScale), true)
	g.store(w+"_zero_point", bytes8(pb.TensorProto_UINT8, p.blockZero), true)
	if !slices.Contains(g.activations, x) {
		g.activations = append(g.activations, x)
		g.add("", x+"_QuantizeLinear", "DynamicQuantizeLinear", []string{x + "_quantized", x + "_scale", x + "_zero_point"}, nil, x)
	}
	out := g.name(scope, "MatMul") + "_output_0"
	g.add("", scope+"/MatMul_quant", "MatMulInteger", []string{out + "_output_quantized"}, nil, x+"_quantized", w+"_quantized", x+"_zero_point", w+"_zero_point")
	g.add("", out+"_output_quantized_cast", "Cast", []string{out + "_output_quantized_cast_output"}, []*pb.AttributeProto{integerAttribute("to", int64(pb.TensorProto_FLOAT))}, out+"_output_quantized")
	g.add("", scope+"/MatMul_quant_scales_mul", "Mul", []string{scope + "/MatMul_quant_scales_mul:0"}, nil, x+"_scale", w+"_scale")
	g.add("", scope+"/MatMul_quant_output_scale_mul", "Mul", []string{out}, nil, out+"_output_quantized_cast_output", scope+"/MatMul_quant_scales_mul:0")
	return out
}

// quantizes reports whether the linear layer in a scope has its weights as codes.
func (g *graph) quantizes(scope string) bool {
	return g.Quantized != "" && !g.Dequantized && strings.Contains(scope, "/layers.")
}
