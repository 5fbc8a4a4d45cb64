package generic_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/pipeline/source/onnx"
	pb "npuw/schema/onnxpb"
)

// tensor is FLOAT with values that tell it from others: the first is the sum of the bytes of its name, and each next one is 1 more.
func tensor(name string, dims ...int64) *pb.TensorProto {
	n, first := int64(1), 0
	for _, d := range dims {
		n *= d
	}
	for _, c := range []byte(name) {
		first += int(c)
	}
	var raw []byte
	for i := range n {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(first)+float32(i)))
	}
	return &pb.TensorProto{Name: &name, Dims: dims, DataType: proto.Int32(1), RawData: raw}
}

func ints(name string, values ...int64) *pb.TensorProto {
	return &pb.TensorProto{Name: &name, Dims: []int64{int64(len(values))}, DataType: proto.Int32(7), Int64Data: values}
}

// codes are INT8: 0, 1, 2...
func codes(name string, dims ...int64) *pb.TensorProto {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(i)
	}
	return &pb.TensorProto{Name: &name, Dims: dims, DataType: proto.Int32(3), RawData: raw}
}

// node makes a node: inputs and outputs separated by spaces, "-" for one that is left out.
func node(op, name, inputs, outputs string, attributes ...*pb.AttributeProto) *pb.NodeProto {
	domain := ""
	if before, after, ok := strings.Cut(op, "."); ok {
		domain, op = "com."+before, after
	}
	n := &pb.NodeProto{OpType: &op, Name: &name, Domain: &domain, Input: strings.Fields(inputs), Output: strings.Fields(outputs), Attribute: attributes}
	for i, in := range n.Input {
		if in == "-" {
			n.Input[i] = ""
		}
	}
	return n
}

func number(name string, v int64) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, I: &v, Type: pb.AttributeProto_INT.Enum()}
}

func value(t *pb.TensorProto) *pb.AttributeProto {
	return &pb.AttributeProto{Name: proto.String("value"), T: t, Type: pb.AttributeProto_TENSOR.Enum()}
}

// body is an attribute that is a graph, with one output.
func body(name, output string, tensors []*pb.TensorProto, nodes ...*pb.NodeProto) *pb.AttributeProto {
	g := &pb.GraphProto{Node: nodes, Initializer: tensors, Output: []*pb.ValueInfoProto{{Name: &output}}}
	return &pb.AttributeProto{Name: &name, G: g, Type: pb.AttributeProto_GRAPH.Enum()}
}

func graph(tensors []*pb.TensorProto, nodes ...*pb.NodeProto) *pb.ModelProto {
	return &pb.ModelProto{
		IrVersion: proto.Int64(8), OpsetImport: []*pb.OperatorSetIdProto{{Version: proto.Int64(17)}},
		Graph: &pb.GraphProto{Node: nodes, Initializer: tensors, Input: []*pb.ValueInfoProto{{Name: proto.String("x")}}, Output: []*pb.ValueInfoProto{{Name: proto.String("y")}}},
	}
}

// open writes a model to a file and opens that.
func open(t testing.TB, m *pb.ModelProto) *onnx.Model {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { got.Close() })
	return got
}
