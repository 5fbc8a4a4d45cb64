package onnx

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/x448/float16"
	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// rawTensor is a tensor of bytes as they are in the file.
func rawTensor(name string, typ DataType, raw []byte, dims ...int64) *pb.TensorProto {
	return &pb.TensorProto{Name: &name, Dims: dims, DataType: proto.Int32(int32(typ)), RawData: raw}
}

// someBytes is n bytes of no regularity, the same for the same seed.
func someBytes(seed uint32, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = seed*1664525 + 1013904223
		b[i] = byte(seed >> 23)
	}
	return b
}

// someScales are n floats that need all of their significand, of either sign, as FLOAT or FLOAT16.
func someScales(name string, typ DataType, n int, dims ...int64) (*pb.TensorProto, []float32) {
	var raw []byte
	values := make([]float32, n)
	for i := range values {
		x := float32(math.Sin(float64(i)+1)) / 3
		if typ == typeFloat16 {
			h := float16.Fromfloat32(x)
			raw, x = binary.LittleEndian.AppendUint16(raw, h.Bits()), h.Float32()
		} else {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
		values[i] = x
	}
	return rawTensor(name, typ, raw, dims...), values
}

// ms is a node of ONNX Runtime's.
func ms(n *pb.NodeProto) *pb.NodeProto {
	n.Domain = proto.String(Microsoft)
	return n
}

// codeAt is code i of those that lie densely in b.
func codeAt(b []byte, i, bits int) int {
	return int(b[i*bits/8]>>(i*bits%8)) & (1<<bits - 1)
}

// decodedWeight opens m, which has one weight, and gives it with its values in the order of its tensor.
func decodedWeight(t *testing.T, m *pb.ModelProto) (*Model, Weight, []float32) {
	t.Helper()
	file, err := open(t, m)
	if err != nil {
		t.Fatal(err)
	}
	weights, err := file.Weights()
	if err != nil {
		t.Fatal(err)
	}
	if len(weights) != 1 {
		t.Fatalf("%d weights", len(weights))
	}
	return file, weights[0], decodedTensor(t, file, &weights[0].Tensor)
}

func decodedTensor(t *testing.T, m *Model, x *source.Tensor) []float32 {
	t.Helper()
	raw := make([]byte, x.Data.Size)
	if err := m.ReadAt(raw, x, 0); err != nil {
		t.Fatal(err)
	}
	values := make([]float32, len(raw)/x.Type.Size())
	if err := element.ToFloat32(values, raw, x.Type); err != nil {
		t.Fatal(err)
	}
	return values
}

func same(t *testing.T, got []float32, want func(i int) float32) {
	t.Helper()
	for i, x := range got {
		if w := want(i); math.Float32bits(x) != math.Float32bits(w) {
			t.Fatalf("value %d of %d is %v, expected %v", i, len(got), x, w)
		}
	}
}

// TestMatMulNBits has every form of it, K not a multiple of the block among them.
func TestMatMulNBits(t *testing.T) {
	t.Parallel()
	const n = 5
	for _, x := range []struct {
		bits, k, block int
		zeros          string // "", "packed", "f32", "f16"
		scales         DataType
		flat, groups   bool
		kept           element.Format
	}{
		{4, 64, 32, "", typeFloat, false, false, element.U4},
		{4, 70, 32, "", typeFloat, true, false, element.U4},
		{4, 70, 16, "packed", typeFloat, true, false, element.U4},
		{4, 96, 32, "packed", typeFloat16, false, false, element.U4},
		{4, 33, 16, "f32", typeFloat, false, false, 0},
		{4, 33, 16, "f16", typeFloat16, true, false, 0},
		{4, 70, 32, "f32", typeFloat, false, true, 0},
		{8, 64, 32, "", typeFloat, false, false, element.U8},
		{8, 50, 16, "packed", typeFloat16, false, false, element.U8},
		{8, 50, 64, "f32", typeFloat, false, false, 0},
		{2, 64, 16, "", typeFloat, false, false, 0},
		{2, 100, 16, "packed", typeFloat, true, false, 0},
		{4, 9000, 64, "packed", typeFloat, true, false, element.U4},
		{4, 10000, 8192, "", typeFloat, true, true, 0},
		{8, 1, 16, "packed", typeFloat, false, false, element.U8},
	} {
		t.Run(fmt.Sprintf("%+v", x), func(t *testing.T) {
			t.Parallel()
			blocks := (x.k + x.block - 1) / x.block
			row := blocks * x.block * x.bits / 8
			codes := someBytes(1, n*row)
			scales, scale := someScales("s", x.scales, n*blocks, n, int64(blocks))
			tensors := []*pb.TensorProto{rawTensor("w_Q4", typeUint8, codes, n, int64(blocks), int64(row/blocks)), scales}
			inputs := "x w_Q4 s"
			zero := func(_, _ int) float32 { return float32(int(1) << (x.bits - 1)) }
			zeroRow := (blocks*x.bits + 7) / 8
			switch x.zeros {
			case "packed":
				b := someBytes(2, n*zeroRow)
				tensors = append(tensors, rawTensor("z", typeUint8, b, n*int64(zeroRow)))
				zero = func(i, block int) float32 { return float32(codeAt(b[i*zeroRow:], block, x.bits)) }
			case "f32", "f16":
				typ := map[string]DataType{"f32": typeFloat, "f16": typeFloat16}[x.zeros]
				z, of := someScales("z", typ, n*blocks, n, int64(blocks))
				tensors = append(tensors, z)
				zero = func(i, block int) float32 { return of[i*blocks+block] }
			}
			if x.flat {
				for _, tensor := range tensors {
					size := int64(1)
					for _, d := range tensor.Dims {
						size *= d
					}
					tensor.Dims = []int64{size}
				}
			}
			operator := ms(node("MatMulNBits", "/fc/MatMul_Q4", inputs, "y", intAttr("N", n), intAttr("K", int64(x.k)), intAttr("bits", int64(x.bits)), intAttr("block_size", int64(x.block))))
			if x.zeros != "" {
				operator.Input = append(operator.Input, "z")
			}
			if x.groups {
				var list []byte
				for k := range x.k {
					list = binary.LittleEndian.AppendUint32(list, uint32(k/x.block))
				}
				tensors = append(tensors, rawTensor("g", typeInt32, list, int64(x.k)))
				operator.Input = append(slices.Concat(operator.Input, []string{""})[:4], "g")
			}
			m, w, got := decodedWeight(t, model(tensors, operator))
			if len(got) != n*x.k || w.Axes != "NK" || fmt.Sprint(w.Shape, w.Perm) != fmt.Sprint([]int{n, x.k}, []int{0, 1}) || w.PathName != "fc.weight" || w.Tensor.Type != element.F32 {
				t.Fatalf("%+v", w)
			}
			same(t, got, func(i int) float32 {
				i, k := i/x.k, i%x.k
				code, s, z := float32(codeAt(codes[i*row:], k, x.bits)), scale[i*blocks+k/x.block], zero(i, k/x.block)
				if x.groups || strings.HasPrefix(x.zeros, "f") {
					return float32(code*s) + float32(-s*z)
				}
				return (code - z) * s
			})
			checkKept(t, m, &w, got, x.kept)
			checkPieces(t, m, &w.Tensor)
		})
	}
}

// checkKept checks that the codes of w, in the given format or 0 for none, say what its values are: each is a whole code.
func checkKept(t *testing.T, m *Model, w *Weight, values []float32, format element.Format) {
	t.Helper()
	c := w.Tensor.Codes
	if c == nil {
		if format != 0 {
			t.Errorf("no codes; expected some in %v", format)
		}
		return
	}
	if err := c.Scheme.Validate(); err != nil || c.Scheme.Codes != format || len(c.Block) != len(w.Tensor.Shape) {
		t.Fatalf("%+v for %v, %v; expected codes in %v", c, w.Tensor.Shape, err, format)
	}
	grid, count := make([]uint64, len(c.Block)), 1
	for i, b := range c.Block {
		grid[i] = (w.Tensor.Shape[i] + b - 1) / b
		count *= int(grid[i])
	}
	all := make([]element.Block, count)
	if err := c.Blocks.ReadBlocks(&m.Catalogue, all, make([]uint64, len(grid)), grid); err != nil {
		t.Fatal(err)
	}
	least, most := -128.0, 255.0
	if format == element.U4 || format == element.I4 {
		least, most = -8, 15
	}
	index := make([]uint64, len(grid))
	for i, x := range values {
		at := uint64(0)
		for a, v := range index {
			at = at*grid[a] + v/c.Block[a]
		}
		b := all[at]
		if format != element.NF4 {
			code := math.Round(float64(x)/b.Scale + b.Zero)
			if code < least || code > most || float32((code-b.Zero)*b.Scale) != float32(x) && w.Tensor.Type == element.F32 {
				t.Fatalf("value %d, %v, is no code of %+v", i, x, b)
			}
		}
		for a := len(index) - 1; a >= 0; a-- {
			if index[a]++; index[a] < w.Tensor.Shape[a] {
				break
			}
			index[a] = 0
		}
	}
	// A box of the grid is as that of all.
	last := slices.Clone(grid)
	for i := range last {
		last[i]--
	}
	one := make([]element.Block, 1)
	if err := c.Blocks.ReadBlocks(&m.Catalogue, one, last, slices.Repeat([]uint64{1}, len(grid))); err != nil || one[0] != all[count-1] {
		t.Errorf("the last block is %+v, %v; expected %+v", one[0], err, all[count-1])
	}
}

// checkPieces checks that pieces of a tensor, wherever they begin and end, are as all of it.
func checkPieces(t testing.TB, m *Model, x *source.Tensor) {
	t.Helper()
	whole := make([]byte, x.Data.Size)
	if err := m.ReadAt(whole, x, 0); err != nil {
		t.Fatal(err)
	}
	size := x.Type.Size()
	n := len(whole) / size
	for _, step := range []int{1, 3, 7, 31, 4097} {
		for from := 0; from < n; from += step*5 + n/40 {
			to := min(n, from+step)
			got := make([]byte, (to-from)*size)
			if err := m.ReadAt(got, x, int64(from*size)); err != nil || !bytes.Equal(got, whole[from*size:to*size]) {
				t.Fatalf("elements %d to %d of %d are not as in all, %v", from, to, n, err)
			}
		}
	}
}

// TestDecodeAllocates: nothing, however much is decoded.
//
// Not parallel: it counts what the process allocates.
func TestDecodeAllocates(t *testing.T) {
	scales, _ := someScales("s", typeFloat, 64*8, 64, 8)
	m, w, _ := decodedWeight(t, model([]*pb.TensorProto{rawTensor("w", typeUint8, someBytes(1, 64*128), 64*128), scales},
		ms(node("MatMulNBits", "", "x w s", "y", intAttr("N", 64), intAttr("K", 256), intAttr("block_size", 32)))))
	dst := make([]byte, w.Tensor.Data.Size)
	if n := testing.AllocsPerRun(20, func() {
		if err := m.ReadAt(dst, &w.Tensor, 0); err != nil {
			t.Fatal(err)
		}
	}); n > 1 { // the scratch, when a collection has taken it
		t.Errorf("%v allocations for %d values", n, 64*256)
	}
}

func TestMatMulBnb4(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		n, k, block int
		kind        int64
		scales      DataType
		kept        element.Format
	}{
		{3, 64, 32, 1, typeFloat, element.NF4},
		{3, 64, 32, 0, typeFloat, 0},
		{8, 16, 64, 1, typeFloat, element.NF4}, // a block of four rows
		{5, 16, 64, 1, typeFloat16, element.NF4},
		{5, 33, 16, 1, typeFloat, 0}, // blocks begin within rows
		{7, 3, 16, 0, typeFloat16, 0},
		{40, 300, 64, 1, typeFloat, 0},
	} {
		t.Run(fmt.Sprintf("%+v", x), func(t *testing.T) {
			t.Parallel()
			total := x.n * x.k
			codes := someBytes(3, (total+1)/2)
			scales, scale := someScales("s", x.scales, (total+x.block-1)/x.block, int64((total+x.block-1)/x.block))
			m, w, got := decodedWeight(t, model([]*pb.TensorProto{rawTensor("w_Bnb4", typeUint8, codes, int64(len(codes))), scales},
				ms(node("MatMulBnb4", "/fc/MatMul_Bnb4", "x w_Bnb4 s", "y", intAttr("N", int64(x.n)), intAttr("K", int64(x.k)), intAttr("block_size", int64(x.block)), intAttr("quant_type", x.kind)))))
			if w.Axes != "NK" || fmt.Sprint(w.Shape) != fmt.Sprint([]int{x.n, x.k}) || w.PathName != "fc.weight" {
				t.Fatalf("%+v", w)
			}
			// Of the tables a few values, as bitsandbytes has them.
			if nf4Values[1] != -0.6961928009986877 || fp4Values[2] != 0.66666667 || math.Float32bits(fp4Values[8]) != 1<<31 {
				t.Error("other tables")
			}
			table := [2][16]float32{fp4Values, nf4Values}[x.kind]
			same(t, got, func(i int) float32 { return table[codes[i/2]>>(4-i%2*4)&15] * scale[i/x.block] })
			checkKept(t, m, &w, got, x.kept)
			checkPieces(t, m, &w.Tensor)
		})
	}
}

// TestDequantizeLinear has codes of every type, with scales for all, for each index of an axis and for blocks, through what exporters put
// between them and the product.
func TestDequantizeLinear(t *testing.T) {
	t.Parallel()
	const k, n = 70, 6
	decode := map[DataType]func(b []byte, i int) float32{
		typeUint8: func(b []byte, i int) float32 { return float32(b[i]) },
		typeInt8:  func(b []byte, i int) float32 { return float32(int8(b[i])) },
		typeUint4: func(b []byte, i int) float32 { return float32(codeAt(b, i, 4)) },
		typeInt4:  func(b []byte, i int) float32 { return float32((codeAt(b, i, 4) ^ 8) - 8) },
		typeInt32: func(b []byte, i int) float32 { return float32(int32(binary.LittleEndian.Uint32(b[4*i:]))) },
	}
	for _, x := range []struct {
		name    string
		typ     DataType
		scales  []int64
		index   func(i int) int // of the scale
		axis    int64
		block   int64
		zeros   bool
		float16 bool
		kept    element.Format
	}{
		{"per tensor", typeInt8, nil, func(int) int { return 0 }, 0, 0, true, false, element.I8},
		{"per tensor, a vector", typeUint8, []int64{1}, func(int) int { return 0 }, 1, 0, true, false, element.U8},
		{"unsigned without zero points", typeUint8, nil, func(int) int { return 0 }, 0, 0, false, false, element.U8},
		{"symmetric per column", typeInt8, []int64{n}, func(i int) int { return i % n }, 1, 0, false, false, element.I8},
		{"per column", typeInt8, []int64{n}, func(i int) int { return i % n }, -1, 0, true, false, element.I8},
		{"per row", typeUint4, []int64{k}, func(i int) int { return i / n }, 0, 0, true, false, element.U4},
		{"per row, from the end", typeInt4, []int64{k}, func(i int) int { return i / n }, -2, 0, true, false, element.I4},
		{"blocks along K, the last short", typeInt4, []int64{3, n}, func(i int) int { return i/n/32*n + i%n }, 0, 32, true, false, element.I4},
		{"blocks along K, symmetric", typeInt4, []int64{3, n}, func(i int) int { return i/n/32*n + i%n }, 0, 32, false, false, element.I4},
		{"blocks along N", typeUint4, []int64{k, 2}, func(i int) int { return i/n*2 + i%n/4 }, 1, 4, true, false, element.U4},
		{"blocks of one", typeUint8, []int64{k, n}, func(i int) int { return i }, 1, 1, true, false, element.U8},
		{"float16", typeInt8, []int64{n}, func(i int) int { return i % n }, 1, 0, true, true, element.I8},
		{"32 bits", typeInt32, nil, func(int) int { return 0 }, 1, 0, false, false, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			size, _ := x.typ.rawSize(k * n)
			codes := someBytes(4, int(size))
			count := int64(1)
			for _, d := range x.scales {
				count *= d
			}
			typ := typeFloat
			if x.float16 {
				typ = typeFloat16
			}
			scales, scale := someScales("s", typ, int(count), x.scales...)
			tensors := []*pb.TensorProto{rawTensor("fc.weight_quantized", x.typ, codes, k, n), scales}
			inputs, zero := "fc.weight_quantized s", func(int) float32 { return 0 }
			if x.zeros {
				size, _ := x.typ.rawSize(uint64(count))
				b := someBytes(5, int(size))
				tensors, inputs = append(tensors, rawTensor("z", x.typ, b, x.scales...)), inputs+" z"
				zero = func(i int) float32 { return decode[x.typ](b, i) }
			}
			want := func(i int) float32 {
				y := (decode[x.typ](codes, i) - zero(x.index(i))) * scale[x.index(i)]
				if x.float16 {
					y = float16.Fromfloat32(y).Float32()
				}
				return y
			}
			decoder := node("DequantizeLinear", "w_DequantizeLinear", inputs, "v", intAttr("axis", x.axis), intAttr("block_size", x.block))
			m, w, got := decodedWeight(t, model(tensors, decoder, node("MatMul", "/fc/MatMul", "x v", "y")))
			if w.Axes != "NK" || fmt.Sprint(w.Shape, w.Perm) != "[6 70] [1 0]" || w.PathName != "fc.weight" || w.ValueName != "fc.weight" || w.Tensor.Type != typ.Format() {
				t.Fatalf("%+v", w)
			}
			same(t, got, want)
			checkKept(t, m, &w, got, x.kept)
			checkPieces(t, m, &w.Tensor)

			// Transposed, cast and reshaped there and back, it is the same tensor.
			_, w, got = decodedWeight(t, model(append(tensors, intTensor("sh", n, 1, 7, -1), intTensor("hs", 0, -1)), decoder,
				node("Transpose", "", "v", "vt"), node("Cast", "", "vt", "vc", intAttr("to", 1)), node("Transpose", "", "vc", "v2"), node("Identity", "", "v2", "v3"),
				node("MatMul", "/fc/MatMul", "x v3", "y")))
			if fmt.Sprint(w.Shape, w.Perm, w.Tensor.Shape) != "[6 70] [1 0] [70 6]" {
				t.Errorf("%+v", w)
			}
			same(t, got, want)
		})
	}
}

// TestCodesTransposedFirst: axis and blocks are those of the codes as the DequantizeLinear is given them.
func TestCodesTransposedFirst(t *testing.T) {
	t.Parallel()
	const n, k = 6, 40
	codes := someBytes(6, n*k) // [N,K]
	for name, x := range map[string]struct {
		scales      []int64
		axis, block int64
		index       func(row, col int) int
		blocks      string
	}{
		"per column": {[]int64{n}, 1, 0, func(row, _ int) int { return row }, "[1 40]"},
		"blocks":     {[]int64{3, n}, 0, 16, func(row, col int) int { return col/16*n + row }, "[1 16]"},
	} {
		count := 1
		for _, d := range x.scales {
			count *= int(d)
		}
		scales, scale := someScales("s", typeFloat, count, x.scales...)
		m, w, got := decodedWeight(t, model([]*pb.TensorProto{rawTensor("w", typeInt8, codes, n, k), scales}, node("Transpose", "", "w", "wt"),
			node("DequantizeLinear", "", "wt s", "v", intAttr("axis", x.axis), intAttr("block_size", x.block)), node("MatMul", "/fc/MatMul", "x v", "y")))
		if fmt.Sprint(w.Shape, w.Perm, w.Tensor.Codes.Block) != "[6 40] [0 1] "+x.blocks {
			t.Errorf("%s: %+v", name, w)
		}
		same(t, got, func(i int) float32 { return float32(int8(codes[i])) * scale[x.index(i/k, i%k)] })
		checkKept(t, m, &w, got, element.I8)
		checkPieces(t, m, &w.Tensor)
	}
}

// TestScalesFromABranch: scales in an If whose condition is constant, cast there, count as what they are where they are used.
func TestScalesFromABranch(t *testing.T) {
	t.Parallel()
	scales, scale := someScales("h", typeFloat16, 3, 3)
	codes := someBytes(8, 12)
	then := &pb.GraphProto{Node: []*pb.NodeProto{node("Cast", "", "h", "f", intAttr("to", 1))}, Initializer: []*pb.TensorProto{scales}, Output: []*pb.ValueInfoProto{valueInfo("f")}}
	truth := rawTensor("c", typeBool, []byte{1})
	_, w, got := decodedWeight(t, model([]*pb.TensorProto{rawTensor("w", typeInt8, codes, 4, 3), truth},
		node("If", "", "c", "s", graphAttr("then_branch", then)), node("DequantizeLinear", "", "w s", "v"), node("MatMul", "/fc/MatMul", "x v", "y")))
	if w.Tensor.Type != element.F32 {
		t.Errorf("values in %v", w.Tensor.Type)
	}
	same(t, got, func(i int) float32 { return float32(int8(codes[i])) * scale[i%3] })
}

// TestNoCodes: a product with a matrix of no elements is one of no values.
func TestNoCodes(t *testing.T) {
	t.Parallel()
	scales, _ := someScales("s", typeFloat, 1)
	_, w, got := decodedWeight(t, model([]*pb.TensorProto{rawTensor("w", typeInt8, nil, 0, 3), scales}, dynamic(node("MatMulInteger", "", "xq w xz", "p"))...))
	if len(got) != 0 || w.Tensor.Codes != nil || fmt.Sprint(w.Shape) != "[3 0]" {
		t.Errorf("%+v", w)
	}
}

// TestReshapedBlocks: codes in blocks of their own axis, reshaped to a matrix afterwards.
func TestReshapedBlocks(t *testing.T) {
	t.Parallel()
	codes := someBytes(7, 4*8*6)
	scales, scale := someScales("s", typeFloat, 4*6, 4, 1, 6)
	_, w, got := decodedWeight(t, model([]*pb.TensorProto{rawTensor("w", typeInt8, codes, 4, 8, 6), scales, intTensor("sh", -1, 6)},
		node("DequantizeLinear", "", "w s", "v", intAttr("axis", 1), intAttr("block_size", 8)), node("Reshape", "", "v sh", "v2"), node("MatMul", "/fc/MatMul", "x v2", "y")))
	if fmt.Sprint(w.Shape, w.Perm, w.Tensor.Shape) != "[6 32] [1 0] [32 6]" || w.Tensor.Codes != nil {
		t.Errorf("%+v", w)
	}
	same(t, got, func(i int) float32 { return float32(int8(codes[i])) * scale[i/48*6+i%6] })
}
