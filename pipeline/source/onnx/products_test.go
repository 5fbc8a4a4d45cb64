package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	pb "npuw/schema/onnxpb"
)

// dynamic is x quantized, multiplied with codes by a node, and the scales after it, as ONNX Runtime's quantizer writes them.
func dynamic(product *pb.NodeProto) []*pb.NodeProto {
	return []*pb.NodeProto{
		node("DynamicQuantizeLinear", "", "x", "xq xs xz"), product, node("Cast", "", "p", "pf", intAttr("to", 1)),
		node("Mul", "/fc/MatMul_quant_scales_mul", "xs s", "ss"), node("Mul", "/fc/MatMul_quant_output_scale_mul", "pf ss", "y"),
	}
}

// TestProductsWithCodes has the operators that multiply with codes of 8 bits: what is a scale or zero point of theirs is no weight.
func TestProductsWithCodes(t *testing.T) {
	t.Parallel()
	const rows, cols = 6, 10
	one := func(i int) int { return 0 }
	byCol, byRow, byFilter := func(i int) int { return i % cols }, func(i int) int { return i / cols }, func(i int) int { return i / 30 }
	scalar := func(name string, x float32) *pb.TensorProto {
		return rawTensor(name, typeFloat, binary.LittleEndian.AppendUint32(nil, math.Float32bits(x)))
	}
	still := []*pb.TensorProto{scalar("xs", 0.1), scalar("ys", 0.2), rawTensor("xz", typeUint8, []byte{3}), rawTensor("yz", typeUint8, []byte{4})}
	for _, x := range []struct {
		name   string
		typ    DataType
		scales []int64
		index  func(int) int
		zeros  bool
		dims   []int64 // of the codes; none: [6,10]
		nodes  []*pb.NodeProto
		more   []*pb.TensorProto
		want   string // axes, shape, perm, path
	}{
		{"MatMulInteger", typeUint8, nil, one, true, nil, dynamic(node("MatMulInteger", "/fc/MatMul_quant", "xq w xz z", "p")), nil, "NK [10 6] [1 0] fc.weight"},
		{"MatMulInteger per column", typeInt8, []int64{cols}, byCol, true, nil, dynamic(node("MatMulInteger", "/fc/MatMul_1_quant", "xq w xz z", "p")), nil, "NK [10 6] [1 0] fc.weight"},
		{"MatMulInteger without zero points", typeInt8, []int64{1, cols}, byCol, false, nil, dynamic(node("MatMulInteger", "/fc/MatMul_quant", "xq w", "p")), nil, "NK [10 6] [1 0] fc.weight"},
		{"MatMulInteger, scaled twice", typeInt8, []int64{cols}, byCol, true, nil, []*pb.NodeProto{
			node("DynamicQuantizeLinear", "", "x", "xq xs xz"), node("MatMulInteger", "/fc/MatMul_quant", "xq w xz z", "p"), node("Cast", "", "p", "pf", intAttr("to", 1)),
			node("Mul", "", "s pf", "p2"), node("Mul", "", "p2 xs", "y"),
		}, nil, "NK [10 6] [1 0] fc.weight"},
		{"ConvInteger", typeUint8, nil, one, true, []int64{2, 10, 3}, dynamic(node("ConvInteger", "/conv1/Conv_quant", "xq w xz z", "p")), nil, "NCX [2 10 3] [0 1 2] conv1.weight"},
		{"ConvInteger per filter", typeInt8, []int64{1, 2, 1}, byFilter, false, []int64{2, 10, 3}, dynamic(node("ConvInteger", "/conv1/Conv_quant", "xq w xz", "p")), nil, "NCX [2 10 3] [0 1 2] conv1.weight"},
		{"DynamicQuantizeMatMul", typeInt8, []int64{cols}, byCol, true, nil, []*pb.NodeProto{ms(node("DynamicQuantizeMatMul", "", "x w s z", "y"))}, nil, "NK [10 6] [1 0] "},
		{"MatMulIntegerToFloat", typeUint8, nil, one, true, nil, []*pb.NodeProto{
			node("DynamicQuantizeLinear", "", "x", "xq xs xz"), ms(node("MatMulIntegerToFloat", "/fc/MatMul_quant", "xq w xs s xz z", "y")),
		}, nil, "NK [10 6] [1 0] fc.weight"},
		{"QLinearMatMul", typeInt8, []int64{cols}, byCol, true, nil, []*pb.NodeProto{node("QLinearMatMul", "/fc/MatMul_quant", "x xs xz w s z ys yz", "y")}, still, "NK [10 6] [1 0] fc.weight"},
		{"QLinearConv", typeInt8, []int64{2}, byFilter, true, []int64{2, 10, 3}, []*pb.NodeProto{node("QLinearConv", "/conv1/Conv_quant", "x xs xz w s z ys yz", "y")}, still, "NCX [2 10 3] [0 1 2] conv1.weight"},
		{"QGemm", typeInt8, []int64{cols}, byCol, true, nil, []*pb.NodeProto{ms(node("QGemm", "/fc/Gemm_quant", "x xs xz w s z", "y"))}, still, "NK [10 6] [1 0] fc.weight"},
		{"QGemm transB=1", typeInt8, []int64{rows}, byRow, true, nil, []*pb.NodeProto{ms(node("QGemm", "/fc/Gemm_quant", "x xs xz w s z", "y", intAttr("transB", 1)))}, still, "NK [6 10] [0 1] fc.weight"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			count := int64(1)
			for _, d := range x.scales {
				count *= d
			}
			dims := x.dims
			if dims == nil {
				dims = []int64{rows, cols}
			}
			codes, zeros := someBytes(8, rows*cols), someBytes(9, int(count))
			scales, scale := someScales("s", typeFloat, int(count), x.scales...)
			tensors := append([]*pb.TensorProto{rawTensor("w", x.typ, codes, dims...), scales}, x.more...)
			if x.zeros {
				tensors = append(tensors, rawTensor("z", x.typ, zeros, x.scales...))
			}
			m, w, got := decodedWeight(t, model(tensors, x.nodes...))
			if is := fmt.Sprint(w.Axes, " ", w.Shape, " ", w.Perm, " ", w.PathName); is != x.want {
				t.Errorf("%s, expected %s", is, x.want)
			}
			if (w.Result != nil) != (x.more == nil && len(x.nodes) == 5) || w.Result != nil && w.Result.Name != "y" {
				t.Errorf("complete in %v", w.Result)
			}
			number := func(b byte) int {
				if x.typ == typeInt8 {
					return int(int8(b))
				}
				return int(b)
			}
			same(t, got, func(i int) float32 {
				code := number(codes[i])
				if x.zeros {
					code -= number(zeros[x.index(i)])
				}
				return float32(code) * scale[x.index(i)]
			})
			checkKept(t, m, &w, got, map[DataType]element.Format{typeInt8: element.I8, typeUint8: element.U8}[x.typ])
			checkPieces(t, m, &w.Tensor)
		})
	}
}

// TestIntegerBias: the scale of the bias of a product of codes is that of the activations times those of the weights.
func TestIntegerBias(t *testing.T) {
	t.Parallel()
	scales, scale := someScales("s", typeFloat, 3, 3)
	numbers := []int32{1 << 30, -77, 1<<24 + 1}
	var raw []byte
	for _, v := range numbers {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(v))
	}
	xs := rawTensor("xs", typeFloat, binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.3)))
	for name, n := range map[string]*pb.NodeProto{
		"conv1.bias": node("QLinearConv", "/conv1/Conv_quant", "x xs xz w s z ys yz b", "y"),
		"fc.bias":    ms(node("QGemm", "/fc/Gemm_quant", "x xs xz w s z b ys yz", "y", intAttr("transB", 1))),
	} {
		dims := []int64{3, 2, 2}
		if n.GetOpType() == "QGemm" {
			dims = []int64{3, 4}
		}
		m, err := open(t, model([]*pb.TensorProto{rawTensor("w", typeInt8, someBytes(1, 12), dims...), scales, rawTensor("b", typeInt32, raw, 3), rawTensor("z", typeInt8, []byte{7}), xs}, n))
		if err != nil {
			t.Fatal(err)
		}
		weights, err := m.Weights()
		if err != nil || len(weights) != 2 {
			t.Fatal(weights, err)
		}
		if w := &weights[1]; w.PathName != name || w.Axes != "N" || w.Constant.Name != "b" {
			t.Errorf("%+v", w)
		}
		same(t, decodedTensor(t, m, &weights[1].Tensor), func(i int) float32 { return float32(numbers[i]) * float32(scale[i]*0.3) })
	}
}

// TestGatherBlockQuantized: an embedding of all positions in codes, of which the node that adds it sees the values.
func TestGatherBlockQuantized(t *testing.T) {
	t.Parallel()
	const p, d = 4, 56
	all := intTensor("i", 0, 1, 2, 3)
	for _, x := range []struct {
		typ   DataType
		bits  int
		axis  int64
		zeros bool
		half  bool
		kept  element.Format
	}{
		{typeUint4, 4, 1, false, false, element.U4},
		{typeUint4, 4, 1, true, false, element.U4},
		{typeInt4, 4, -1, true, true, element.I4},
		{typeInt4, 4, 0, true, false, element.I4},
		{typeUint8, 4, 1, false, false, element.U4},
		{typeUint8, 4, 1, true, true, element.U4},
		{typeUint8, 8, 1, false, false, element.U8},
		{typeUint8, 8, 1, true, false, element.U8},
		{typeUint8, 2, 1, true, false, 0},
		{typeUint8, 2, 1, false, false, 0},
	} {
		t.Run(fmt.Sprintf("%+v", x), func(t *testing.T) {
			t.Parallel()
			const block = 16
			grid, blockOf := []int64{p, 4}, func(i int) int { return i/d*4 + i%d/block }
			if x.axis == 0 {
				grid, blockOf = []int64{1, d}, func(i int) int { return i % d }
			}
			count := int(grid[0] * grid[1])
			codes := someBytes(10, p*d*x.bits/8)
			dims := []int64{p, d}
			row := int(grid[1]) // zero points in a row, or in all
			if x.typ == typeUint8 {
				dims[1] = int64(d * x.bits / 8)
				row = (int(grid[1])*x.bits + 7) / 8 * 8 / x.bits
			}
			typ := map[bool]DataType{true: typeFloat16, false: typeFloat}[x.half]
			scales, scale := someScales("s", typ, count, grid...)
			tensors := []*pb.TensorProto{rawTensor("embed_positions.weight_Q4", x.typ, codes, dims...), scales, all}
			inputs := "embed_positions.weight_Q4 i s"
			number := func(code int) int {
				if x.typ == typeInt4 {
					return code ^ 8 - 8
				}
				return code
			}
			zero := func(int) int { return map[bool]int{true: 1 << (x.bits - 1), false: 0}[x.typ == typeUint8] }
			if x.zeros {
				b := someBytes(11, (int(grid[0])*row*x.bits+7)/8)
				zdims := slices.Clone(grid)
				if x.typ == typeUint8 {
					zdims[1] = int64(row * x.bits / 8)
				}
				tensors, inputs = append(tensors, rawTensor("z", x.typ, b, zdims...)), inputs+" z"
				zero = func(at int) int { return number(codeAt(b, at/int(grid[1])*row+at%int(grid[1]), x.bits)) }
			}
			m, w, got := decodedWeight(t, model(tensors, ms(node("GatherBlockQuantized", "/embed", inputs, "v", intAttr("bits", int64(x.bits)), intAttr("block_size", block), intAttr("quantize_axis", x.axis))),
				node("Add", "/Add", "x v", "y")))
			if w.Axes != "PN" || fmt.Sprint(w.Shape) != "[4 56]" || w.Tensor.Type != typ.Format() || w.ValueName != "embed_positions.weight" {
				t.Fatalf("%+v", w)
			}
			same(t, got, func(i int) float32 {
				y := float32(number(codeAt(codes, i, x.bits))-zero(blockOf(i))) * scale[blockOf(i)]
				if x.half {
					raw := make([]byte, 2)
					var back [1]float32
					_ = element.Encode(raw, []float32{y}, element.F16)
					_ = element.ToFloat32(back[:], raw, element.F16)
					return back[0]
				}
				return y
			})
			checkKept(t, m, &w, got, x.kept)
			checkPieces(t, m, &w.Tensor)
		})
	}
}

// TestFloat8 compares with the tables of onnx.ai/onnx/technical/float8.html.
func TestFloat8(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for typ, values := range map[DataType]map[byte]float32{
		typeFloat8E4M3FN:   {0: 0, 0x80: float32(math.Copysign(0, -1)), 0x38: 1, 0x7e: 448, 0xfe: -448, 0x7f: nan, 0xff: nan, 0x08: 1. / 64, 0x07: 7. / 512, 0x01: 1. / 512, 0x78: 256},
		typeFloat8E4M3FNUZ: {0: 0, 0x80: nan, 0x40: 1, 0x7f: 240, 0xff: -240, 0x08: 1. / 128, 0x07: 7. / 1024, 0x01: 1. / 1024},
		typeFloat8E5M2:     {0: 0, 0x80: float32(math.Copysign(0, -1)), 0x3c: 1, 0x7b: 57344, 0x7c: inf, 0xfc: -inf, 0x7d: nan, 0xff: nan, 0x04: 1. / 16384, 0x03: 3. / 65536, 0x01: 1. / 65536},
		typeFloat8E5M2FNUZ: {0: 0, 0x80: nan, 0x40: 1, 0x7f: 57344, 0xff: -57344, 0x04: 1. / 32768, 0x03: 3. / 131072, 0x01: 1. / 131072},
	} {
		scales, scale := someScales("s", typeFloat, 2, 2)
		var codes []byte
		for code := range values {
			codes = append(codes, code, code)
		}
		_, w, got := decodedWeight(t, model([]*pb.TensorProto{rawTensor("w", typ, codes, int64(len(values)), 2), scales, rawTensor("z", typ, []byte{0, 0}, 2)},
			node("DequantizeLinear", "", "w s z", "v"), node("MatMul", "/fc/MatMul", "x v", "y")))
		for i, x := range got {
			want := values[codes[i]] * scale[i%2]
			if x != want && !(math.IsNaN(float64(x)) && math.IsNaN(float64(want))) || math.Signbit(float64(x)) != math.Signbit(float64(want)) && want == want {
				t.Errorf("%v %#x is %v, expected %v", typ, codes[i], x, want)
			}
		}
		if w.Tensor.Codes != nil {
			t.Errorf("%v: codes in %v", typ, w.Tensor.Codes.Scheme)
		}
	}
}

// TestTypedCodes: codes in int32_data, one a number, or of 4 bits two.
func TestTypedCodes(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		typ  DataType
		data []int32
		want [3]float32 // of a matrix [3,1] with a scale of 0.5
	}{
		{typeUint8, []int32{0, 200, 255}, [3]float32{0, 100, 127.5}},
		{typeInt8, []int32{-128, 127, -1}, [3]float32{-64, 63.5, -0.5}},
		{typeUint4, []int32{0xf1, 0x02}, [3]float32{0.5, 7.5, 1}},
		{typeInt4, []int32{0xf1, 0x08}, [3]float32{0.5, -0.5, -4}},
		{typeInt32, []int32{-1 << 31, 7, 1 << 20}, [3]float32{-1 << 30, 3.5, 1 << 19}},
		{typeFloat8E5M2, []int32{0x3c, 0xbc, 0x40}, [3]float32{0.5, -0.5, 1}},
	} {
		half := floatTensor("s")
		half.RawData = binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.5))
		_, _, got := decodedWeight(t, model([]*pb.TensorProto{{Name: proto.String("w"), Dims: []int64{3, 1}, DataType: proto.Int32(int32(x.typ)), Int32Data: x.data}, half},
			node("DequantizeLinear", "", "w s", "v"), node("MatMul", "/fc/MatMul", "x v", "y")))
		if [3]float32(got) != x.want {
			t.Errorf("%v: %v, expected %v", x.typ, got, x.want)
		}
	}
}

// TestPartsOfCodes: of joined weights a part has its own values and codes.
func TestPartsOfCodes(t *testing.T) {
	t.Parallel()
	const n, k, block = 12, 40, 16
	codes := someBytes(12, n*24)
	scales, _ := someScales("s", typeFloat, n*3, n, 3)
	m, w, all := decodedWeight(t, model([]*pb.TensorProto{rawTensor("w", typeUint8, codes, n, 3, 8), scales},
		ms(node("MatMulNBits", "", "x w s", "y", intAttr("N", n), intAttr("K", k), intAttr("block_size", block)))))
	for _, p := range []Part{{First: 4, Run: 4, Apart: 12}, {First: 2, Run: 2, Apart: 6}} {
		part, ok := w.Part(p)
		if !ok {
			t.Fatal(p)
		}
		got := decodedTensor(t, m, &part.Tensor)
		same(t, got, func(i int) float32 {
			row := uint64(i / k)
			return all[int(row/p.Run*p.Apart+p.First+row%p.Run)*k+i%k]
		})
		checkKept(t, m, &part, got, element.U4)
	}
	// A part of an axis of which a block has several indices, not all, has no codes; one of all of which it is a block has.
	c := *w.Tensor.Codes
	c.Block = []uint64{4, block}
	if partOf(&c, 0, Part{First: 4, Run: 4, Apart: 12}, 4, 12) != nil {
		t.Error("blocks were cut")
	}
	c.Block = []uint64{12, block}
	if of := partOf(&c, 0, Part{First: 4, Run: 4, Apart: 12}, 4, 12); of == nil || of.Block[0] != 4 || c.Block[0] != 12 {
		t.Errorf("%+v", of)
	}
}

// TestColumnBias: a bias that a quantizer adds to a convolution as a column, by a Reshape.
func TestColumnBias(t *testing.T) {
	t.Parallel()
	_, w, _ := decodedWeight(t, model([]*pb.TensorProto{floatTensor("conv1.bias", 5), intTensor("sh", 1, -1, 1)},
		node("Reshape", "conv1.bias_reshape", "conv1.bias sh", "b"), node("Add", "/conv1/Conv_bias_add", "x b", "y")))
	if w.Axes != "N" || w.Behind != 1 || fmt.Sprint(w.Shape) != "[5]" || w.PathName != "conv1.bias" || w.ValueName != "conv1.bias" {
		t.Errorf("%+v", w)
	}
}
