package parity

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/source/onnx"
	pb "npuw/schema/onnxpb"
	"npuw/schema/pyreader"
)

// codesGraph is one operator that computes with codes: x [1,K,K] times weights [K,N], or x [1,K,N] plus them.
type codesGraph struct {
	name    string
	tensors []*pb.TensorProto
	nodes   []*pb.NodeProto
	added   bool
}

const (
	codesK = 70
	codesN = 6
)

// TestParityOfCodes: the identity times weights that are codes, or 0 plus them, is in ONNX Runtime what npuw reads of them. It tells
// where the two would round otherwise.
func TestParityOfCodes(t *testing.T) {
	needORT(t)
	for _, g := range codesGraphs() {
		t.Run(g.name, func(t *testing.T) {
			path := filepath.Join(pyreader.TempDir(t), "m.onnx")
			b, err := proto.Marshal(g.model())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			input := make([]float32, codesK*codesK)
			for i := range codesK {
				input[i*codesK+i] = 1
			}
			width := codesK
			if g.added {
				input, width = make([]float32, codesK*codesN), codesN
			}
			got := runShaped(t, path, "disabled", input, codesK, width, codesK*codesN)
			for i, want := range read(t, path) {
				if got[i] != want {
					t.Fatalf("value %d is %v in ONNX Runtime, %v is read", i, got[i], want)
				}
			}
		})
	}
}

// read gives the weights of a model that has one, as [K,N].
func read(t *testing.T, path string) []float32 {
	t.Helper()
	m, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	weights, err := m.Weights()
	if err != nil || len(weights) != 1 {
		t.Fatal(len(weights), err)
	}
	w := &weights[0]
	raw := make([]byte, w.Tensor.Data.Size)
	values := make([]float32, codesK*codesN)
	if err := m.ReadAt(raw, &w.Tensor, 0); err != nil {
		t.Fatal(err)
	}
	if err := element.ToFloat32(values, raw, w.Tensor.Type); err != nil {
		t.Fatal(err)
	}
	if w.Tensor.Shape[0] == codesK {
		return values
	}
	turned := make([]float32, len(values))
	for i, x := range values {
		turned[i%codesK*codesN+i/codesK] = x
	}
	return turned
}

func (g *codesGraph) model() *pb.ModelProto {
	value := func(name string, dims ...int64) *pb.ValueInfoProto {
		shape := &pb.TensorShapeProto{}
		for _, d := range dims {
			shape.Dim = append(shape.Dim, &pb.TensorShapeProto_Dimension{Value: &pb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
		}
		return &pb.ValueInfoProto{Name: &name, Type: &pb.TypeProto{Value: &pb.TypeProto_TensorType{TensorType: &pb.TypeProto_Tensor{ElemType: proto.Int32(1), Shape: shape}}}}
	}
	width := int64(codesK)
	if g.added {
		width = codesN
	}
	return &pb.ModelProto{
		IrVersion:   proto.Int64(10),
		OpsetImport: []*pb.OperatorSetIdProto{{Version: proto.Int64(21)}, {Domain: proto.String(onnx.Microsoft), Version: proto.Int64(1)}},
		Graph: &pb.GraphProto{
			Name: proto.String("codes"), Node: g.nodes, Initializer: g.tensors,
			Input: []*pb.ValueInfoProto{value("x", 1, codesK, width)}, Output: []*pb.ValueInfoProto{value("y", 1, codesK, codesN)},
		},
	}
}

func rawTensor(name string, typ pb.TensorProto_DataType, raw []byte, dims ...int64) *pb.TensorProto {
	return &pb.TensorProto{Name: &name, Dims: dims, DataType: proto.Int32(int32(typ)), RawData: raw}
}

// noise is n bytes without order.
func noise(n int) []byte {
	b, x := make([]byte, n), uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// scales are floats that need all bits of their significand.
func scales(name string, dims ...int64) *pb.TensorProto {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	var raw []byte
	for i := range n {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(math.Sin(float64(i+1)))/3))
	}
	return rawTensor(name, pb.TensorProto_FLOAT, raw, dims...)
}

func operator(op, domain, inputs, output string, attributes map[string]int64) *pb.NodeProto {
	n := &pb.NodeProto{OpType: &op, Domain: &domain, Output: []string{output}}
	for _, in := range strings.Split(inputs, " ") {
		n.Input = append(n.Input, strings.Trim(in, "-")) // "-" is left out
	}
	for name, v := range attributes {
		n.Attribute = append(n.Attribute, &pb.AttributeProto{Name: &name, I: &v, Type: pb.AttributeProto_INT.Enum()})
	}
	return n
}

func codesGraphs() []codesGraph {
	const u8 = pb.TensorProto_UINT8
	var list []codesGraph
	for _, x := range []struct {
		bits, block int64
		zeros       string
		groups      bool
	}{{4, 32, "", true}, {4, 16, "floats", true}, {2, 16, "", false}, {2, 32, "packed", false}, {2, 16, "floats", false}, {4, 32, "", false}, {4, 32, "packed", false}, {4, 16, "floats", false}, {8, 32, "", false}, {8, 16, "packed", false}, {4, 128, "packed", false}} {
		blocks := (codesK + x.block - 1) / x.block
		g := codesGraph{name: fmt.Sprintf("MatMulNBits %+v", x), tensors: []*pb.TensorProto{
			rawTensor("w", u8, noise(int(codesN*blocks*x.block*x.bits/8)), codesN, blocks, x.block*x.bits/8), scales("s", codesN, blocks),
		}}
		inputs := "x w s"
		switch row := (blocks*x.bits + 7) / 8; x.zeros {
		case "packed":
			g.tensors, inputs = append(g.tensors, rawTensor("z", u8, noise(int(codesN*row)), codesN, row)), inputs+" z"
		case "floats":
			g.tensors, inputs = append(g.tensors, scales("z", codesN, blocks)), inputs+" z"
		}
		if x.groups {
			var groups []byte
			for k := range int64(codesK) {
				groups = binary.LittleEndian.AppendUint32(groups, uint32(k/x.block))
			}
			g.tensors = append(g.tensors, rawTensor("g", pb.TensorProto_INT32, groups, codesK))
			inputs += map[bool]string{true: " - g", false: " g"}[x.zeros == ""]
		}
		g.nodes = []*pb.NodeProto{operator("MatMulNBits", onnx.Microsoft, inputs, "y", map[string]int64{"N": codesN, "K": codesK, "bits": x.bits, "block_size": x.block})}
		list = append(list, g)
	}
	for kind, name := range []string{"FP4", "NF4"} {
		for _, block := range []int64{16, 64} {
			g := codesGraph{name: fmt.Sprintf("MatMulBnb4 %s, blocks of %d", name, block), tensors: []*pb.TensorProto{
				rawTensor("w", u8, noise(codesN*codesK/2), codesN*codesK/2), scales("s", (codesN*codesK+block-1)/block),
			}}
			g.nodes = []*pb.NodeProto{operator("MatMulBnb4", onnx.Microsoft, "x w s", "y", map[string]int64{"N": codesN, "K": codesK, "block_size": block, "quant_type": int64(kind)})}
			list = append(list, g)
		}
	}
	for _, x := range []struct {
		name        string
		typ         pb.TensorProto_DataType
		perByte     int
		scales      []int64
		axis, block int64
		zeros       bool
	}{
		{"for all", pb.TensorProto_UINT8, 1, nil, 1, 0, true},
		{"a column", pb.TensorProto_INT8, 1, []int64{codesN}, 1, 0, true},
		{"a row", pb.TensorProto_UINT4, 2, []int64{codesK}, 0, 0, true},
		{"for blocks of K", pb.TensorProto_INT4, 2, []int64{3, codesN}, 0, 32, true},
		{"for blocks of N", pb.TensorProto_INT8, 1, []int64{codesK, 2}, 1, 4, true},
		{"of 32 bits", pb.TensorProto_INT32, 0, nil, 1, 0, false},
		{"of float8 e4m3fn", pb.TensorProto_FLOAT8E4M3FN, 1, []int64{codesN}, 1, 0, false},
		{"of float8 e4m3fnuz", pb.TensorProto_FLOAT8E4M3FNUZ, 1, nil, 1, 0, false},
		{"of float8 e5m2", pb.TensorProto_FLOAT8E5M2, 1, nil, 1, 0, false},
		{"of float8 e5m2fnuz", pb.TensorProto_FLOAT8E5M2FNUZ, 1, nil, 1, 0, false},
	} {
		bytes := func(n int64) []byte {
			switch x.perByte {
			case 0:
				return noise(int(4 * n))
			case 2:
				return noise(int(n+1) / 2)
			}
			b := noise(int(n))
			for i := range b {
				if strings.Contains(x.name, "float8") {
					b[i] &= 0x3f // no NaN, nor infinity, which a product with 0 would spread
				}
			}
			return b
		}
		count := int64(1)
		for _, d := range x.scales {
			count *= d
		}
		g := codesGraph{name: "DequantizeLinear " + x.name, tensors: []*pb.TensorProto{rawTensor("w", x.typ, bytes(codesK*codesN), codesK, codesN), scales("s", x.scales...)}}
		inputs := "w s"
		if x.zeros {
			g.tensors, inputs = append(g.tensors, rawTensor("z", x.typ, bytes(count), x.scales...)), inputs+" z"
		}
		g.nodes = []*pb.NodeProto{operator("DequantizeLinear", "", inputs, "v", map[string]int64{"axis": x.axis, "block_size": x.block}), operator("MatMul", "", "x v", "y", nil)}
		list = append(list, g)
	}
	return slices.Concat(list, gatheredGraphs(), lookedUpGraphs())
}

// lookedUpGraphs look rows up of which it is not known that they are all: as tokens and positions of a decoder. Here they are as many as x has.
func lookedUpGraphs() []codesGraph {
	const u8, i8 = pb.TensorProto_UINT8, pb.TensorProto_INT8
	rows := []*pb.NodeProto{
		operator("Shape", "", "x", "dims", nil), operator("Gather", "", "dims axis", "end", nil), operator("Range", "", "first end axis", "ids", nil),
	}
	add := operator("Add", "", "x v", "y", nil)
	number := func(name string, x byte, dims ...int64) *pb.TensorProto {
		return rawTensor(name, pb.TensorProto_INT64, append([]byte{x}, make([]byte, 7)...), dims...)
	}
	numbers := []*pb.TensorProto{number("axis", 1), number("first", 0), number("from", 0, 1)}
	var list []codesGraph
	for _, g := range gatheredGraphs() {
		g.name += ", by computed rows"
		g.tensors[2] = numbers[0]
		g.tensors = append(g.tensors, numbers[1:]...)
		g.nodes[0].Input[1] = "ids"
		g.nodes = append(rows[:len(rows):len(rows)], g.nodes...)
		list = append(list, g)
	}
	for _, typ := range []pb.TensorProto_DataType{u8, i8} {
		tensors := append([]*pb.TensorProto{rawTensor("w", typ, noise(codesK*codesN), codesK, codesN), scales("s"), rawTensor("z", typ, noise(1))}, numbers...)
		values := operator("DequantizeLinear", "", "q s z", "v", nil)
		list = append(list, codesGraph{
			name: fmt.Sprintf("Gather and DequantizeLinear of %s", typ), added: true, tensors: tensors,
			nodes: slices.Concat(rows, []*pb.NodeProto{operator("Gather", "", "w ids", "q", nil), values, add}),
		}, codesGraph{
			name: fmt.Sprintf("Slice and DequantizeLinear of %s", typ), added: true, tensors: tensors,
			nodes: slices.Concat(rows[:2], []*pb.NodeProto{
				operator("Unsqueeze", "", "end from", "to", nil), operator("Slice", "", "w from to from", "q", nil), values, add,
			}),
		})
	}
	return list
}

// gatheredGraphs are those of GatherBlockQuantized, in blocks of 16 along K: the operator has no shorter ones.
func gatheredGraphs() []codesGraph {
	var all []byte
	for i := range uint64(codesK) {
		all = binary.LittleEndian.AppendUint64(all, i)
	}
	var list []codesGraph
	for _, x := range []struct {
		typ   pb.TensorProto_DataType
		bits  int64
		axis  int64
		zeros bool
	}{
		{pb.TensorProto_UINT4, 4, 0, true},
		{pb.TensorProto_INT4, 4, 0, false},
		{pb.TensorProto_INT4, 4, 1, true},
		{pb.TensorProto_UINT8, 4, 1, false},
		{pb.TensorProto_UINT8, 4, 1, true},
		{pb.TensorProto_UINT8, 8, 1, true},
		{pb.TensorProto_UINT8, 8, 1, false},
	} {
		grid := []int64{codesK, 1}
		if x.axis == 0 {
			grid = []int64{(codesK + 15) / 16, codesN}
		}
		dims := []int64{codesK, codesN}
		zeros := grid
		if x.typ == pb.TensorProto_UINT8 {
			dims[1] = codesN * x.bits / 8
		}
		g := codesGraph{name: fmt.Sprintf("GatherBlockQuantized %+v", x), added: true, tensors: []*pb.TensorProto{
			rawTensor("w", x.typ, noise(int(codesK*codesN*x.bits/8)), dims...), scales("s", grid...), rawTensor("i", pb.TensorProto_INT64, all, codesK),
		}}
		inputs := "w i s"
		if x.zeros {
			size := grid[0] * grid[1]
			if x.typ != pb.TensorProto_UINT8 {
				size = (size + 1) / 2
			}
			g.tensors, inputs = append(g.tensors, rawTensor("z", x.typ, noise(int(size)), zeros...)), inputs+" z"
		}
		g.nodes = []*pb.NodeProto{
			operator("GatherBlockQuantized", onnx.Microsoft, inputs, "v", map[string]int64{"bits": x.bits, "block_size": 16, "quantize_axis": x.axis, "gather_axis": 0}),
			operator("Add", "", "x v", "y", nil),
		}
		list = append(list, g)
	}
	return list
}
