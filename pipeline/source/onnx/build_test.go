package onnx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "npuw/schema/onnxpb"
)

const testdata = "../../../testdata/whisper-tiny/whisper-tiny-"

var fixtures = []string{
	"encoder.onnx", "encoder-ext.onnx", "encoder-fp16.onnx", "dflt-encoder.onnx", "op17-encoder.onnx", "encoder-q4.onnx", "encoder-uint8.onnx",
	"encoder-stripped.onnx", "encoder-ort-extended.onnx",
	"encoder-q4asym.onnx", "encoder-q4f16.onnx", "encoder-bnb4.onnx", "encoder-bnb4-fp4.onnx", "encoder-int8pc.onnx", "encoder-qdq-int8pc.onnx",
}

// floatTensor is FLOAT with raw_data 0, 1, 2...
func floatTensor(name string, dims ...int64) *pb.TensorProto {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	var raw []byte
	for i := range n {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(i)))
	}
	return &pb.TensorProto{Name: &name, Dims: dims, DataType: proto.Int32(1), RawData: raw}
}

func intTensor(name string, values ...int64) *pb.TensorProto {
	return &pb.TensorProto{Name: &name, Dims: []int64{int64(len(values))}, DataType: proto.Int32(7), Int64Data: values}
}

// node makes a node: inputs and outputs separated by spaces.
func node(op, name, inputs, outputs string, attributes ...*pb.AttributeProto) *pb.NodeProto {
	return &pb.NodeProto{OpType: &op, Name: &name, Input: strings.Fields(inputs), Output: strings.Fields(outputs), Attribute: attributes}
}

func intAttr(name string, v int64) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, I: &v, Type: pb.AttributeProto_INT.Enum()}
}

func intsAttr(name string, v ...int64) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, Ints: v, Type: pb.AttributeProto_INTS.Enum()}
}

func floatAttr(name string, v float32) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, F: &v, Type: pb.AttributeProto_FLOAT.Enum()}
}

func tensorAttr(name string, t *pb.TensorProto) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, T: t, Type: pb.AttributeProto_TENSOR.Enum()}
}

func graphAttr(name string, g *pb.GraphProto) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, G: g, Type: pb.AttributeProto_GRAPH.Enum()}
}

func valueInfo(name string, dims ...int64) *pb.ValueInfoProto {
	shape := &pb.TensorShapeProto{Dim: []*pb.TensorShapeProto_Dimension{{Value: &pb.TensorShapeProto_Dimension_DimParam{DimParam: "batch"}}}}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &pb.TensorShapeProto_Dimension{Value: &pb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &pb.ValueInfoProto{Name: &name, Type: &pb.TypeProto{Value: &pb.TypeProto_TensorType{TensorType: &pb.TypeProto_Tensor{ElemType: proto.Int32(1), Shape: shape}}}}
}

func model(tensors []*pb.TensorProto, nodes ...*pb.NodeProto) *pb.ModelProto {
	return &pb.ModelProto{
		IrVersion: proto.Int64(8), ProducerName: proto.String("test"), OpsetImport: []*pb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(17)}},
		Graph: &pb.GraphProto{Name: proto.String("g"), Node: nodes, Initializer: tensors, Input: []*pb.ValueInfoProto{valueInfo("x", 4)}, Output: []*pb.ValueInfoProto{valueInfo("y", 3)}},
	}
}

// smallModel has one of everything that is read: typed and raw data, Constant nodes, carriers, nested graphs with weights.
func smallModel() *pb.ModelProto {
	doubles := &pb.TensorProto{Name: proto.String("m.bias"), Dims: []int64{3}, DataType: proto.Int32(11), DoubleData: []float64{1, 2, 3}}
	halves := &pb.TensorProto{Name: proto.String("h"), Dims: []int64{2}, DataType: proto.Int32(10), Int32Data: []int32{0x3c00, 0xc000}}
	inner := &pb.GraphProto{Node: []*pb.NodeProto{node("Identity", "", "s", "h")}, Output: []*pb.ValueInfoProto{valueInfo("h")}}
	nested := &pb.GraphProto{
		Name: proto.String("then"), Node: []*pb.NodeProto{node("Add", "", "s h", "u"), node("If", "", "cond", "t", graphAttr("else_branch", inner))},
		Initializer: []*pb.TensorProto{floatTensor("h", 3)}, Output: []*pb.ValueInfoProto{valueInfo("t")},
	}
	codes := &pb.TensorProto{Name: proto.String("codes"), Dims: []int64{3}, DataType: proto.Int32(22), Int32Data: []int32{0x5f, 0x01}}
	truth := &pb.TensorProto{Name: proto.String("true"), DataType: proto.Int32(9), RawData: []byte{1}}
	return model(
		[]*pb.TensorProto{floatTensor("w", 3, 4), doubles, halves, intTensor("shape", 1, -1, 300), truth, codes},
		node("Transpose", "", "w", "wt", intsAttr("perm", 1, 0)),
		node("MatMul", "/m/MatMul", "x wt", "xw"),
		node("Cast", "", "m.bias", "b", intAttr("to", 1)),
		node("Add", "/m/Add", "b xw", "s"),
		node("Constant", "", "", "one", floatAttr("value_float", 1)),
		node("Constant", "", "", "k", tensorAttr("value", intTensor("", 5))),
		node("If", "if", "cond", "y", graphAttr("then_branch", nested)),
	)
}

func marshal(t testing.TB, m *pb.ModelProto) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func walkBytes(b []byte) (*Model, error) {
	m, _, err := walk(bytes.NewReader(b), int64(len(b)), "m.onnx")
	return m, err
}

// open writes m to a file and opens that.
func open(t *testing.T, m *pb.ModelProto) (*Model, error) {
	t.Helper()
	return openIn(t, t.TempDir(), m)
}

func openIn(t *testing.T, dir string, m *pb.ModelProto) (*Model, error) {
	t.Helper()
	path := filepath.Join(dir, "m.onnx")
	if err := os.WriteFile(path, marshal(t, m), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Open(path)
	if err == nil {
		t.Cleanup(func() { got.Close() })
	}
	return got, err
}

// wantError checks sentinel and that the message has every one of the parts.
func wantError(t *testing.T, err, sentinel error, parts ...string) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("%v, expected %v", err, sentinel)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v, expected %q in it", err, part)
		}
	}
}

// field encoders for bytes that no marshaller writes

func lengthDelimited(num protowire.Number, contents []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), contents)
}

func varintField(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
