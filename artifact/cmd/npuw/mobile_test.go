package main

import (
	"encoding/binary"
	"math"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"

	"npuw/schema/onnxpb"
)

// mobile FILE writes an ONNX model that is of no known family: a block of MobileNet, and a classifier. Element i of each tensor is i - 7.
func mobile(ts *testscript.TestScript, _ bool, args []string) {
	g := &onnxpb.GraphProto{}
	tensor := func(name string, dims ...int64) {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		t := &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(1), Dims: dims}
		for i := range n {
			t.RawData = binary.LittleEndian.AppendUint32(t.RawData, math.Float32bits(float32(i-7)))
		}
		g.Initializer = append(g.Initializer, t)
	}
	node := func(op, name, inputs, output string, group int64) {
		n := &onnxpb.NodeProto{OpType: &op, Name: &name, Input: strings.Fields(inputs), Output: []string{output}}
		if group > 0 {
			n.Attribute = []*onnxpb.AttributeProto{{Name: proto.String("group"), I: &group, Type: onnxpb.AttributeProto_INT.Enum()}}
		}
		g.Node = append(g.Node, n)
	}
	tensor("onnx::Conv_9", 40, 3, 3, 3)
	tensor("dw.weight", 40, 1, 3, 3)
	for _, name := range []string{"weight", "bias", "running_mean", "running_var"} {
		tensor("bn."+name, 40)
	}
	tensor("fc.weight", 40, 10)
	tensor("fc.bias", 10)
	tensor("low")
	tensor("grid", 1, 2, 5)
	node("Conv", "/stem/Conv", "x onnx::Conv_9", "a", 0)
	node("Conv", "/dw/Conv", "a dw.weight", "b", 40)
	node("BatchNormalization", "/bn/BatchNormalization", "b bn.weight bn.bias bn.running_mean bn.running_var", "c", 0)
	node("Clip", "/relu6/Clip", "c low", "d", 0)
	node("GridSample", "/warp/GridSample", "d grid", "e", 0)
	node("Gemm", "/fc/Gemm", "e fc.weight fc.bias", "y", 0)
	file, err := proto.Marshal(&onnxpb.ModelProto{IrVersion: proto.Int64(8), Graph: g})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), file, 0o666))
}
