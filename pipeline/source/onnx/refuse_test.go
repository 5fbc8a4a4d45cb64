package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// tag makes the beginning of a length-delimited field of the given length, without its contents.
func tag(num protowire.Number, length uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.BytesType), length)
}

func TestRefusedBytes(t *testing.T) {
	t.Parallel()
	vector := func(data ...[]byte) []byte { return modelBytes(tensorBytes(typeFloat, []uint64{3}, data...)) }
	shaped := func(dims ...uint64) []byte { return modelBytes(tensorBytes(typeFloat, dims)) }
	graph := lengthDelimited(7, nil)
	attribute := func(fields ...[]byte) []byte {
		return lengthDelimited(7, lengthDelimited(1, lengthDelimited(5, join(append([][]byte{lengthDelimited(1, []byte("a"))}, fields...)...))))
	}
	for _, x := range []struct {
		name  string
		file  []byte
		want  error
		parts []string
	}{
		{"empty", nil, source.ErrNotRecognised, []string{"no graph"}},
		{"no graph", varintField(1, 8), source.ErrNotRecognised, []string{"no graph"}},
		{"graph twice", join(varintField(1, 8), graph, graph), source.ErrCorrupt, []string{"at byte 4", "field 7 is given twice"}},
		{"attribute tensor twice", attribute(lengthDelimited(5, nil), lengthDelimited(5, nil)), source.ErrCorrupt, []string{"at byte 11", "field 5 is given twice"}},
		{"attribute graph twice", attribute(lengthDelimited(6, nil), lengthDelimited(6, nil)), source.ErrCorrupt, []string{"field 6 is given twice"}},
		{"graph as a number", varintField(7, 1), source.ErrCorrupt, []string{"at byte 0", "wire type 0, expected 2"}},
		{"name as a number", modelBytes(varintField(8, 1)), source.ErrCorrupt, []string{"wire type 0, expected 2"}},
		{"version as a string", lengthDelimited(1, []byte("8")), source.ErrCorrupt, []string{"wire type 2, expected 0"}},
		{"float_data as varint", vector(varintField(4, 1)), source.ErrCorrupt, []string{"wire type 0, expected 5"}},
		{"group", []byte{1<<3 | 3, 1<<3 | 4}, source.ErrCorrupt, []string{"wire type 3"}},
		{"end of group", []byte{1<<3 | 4}, source.ErrCorrupt, []string{"wire type 4"}},
		{"wire type 7", []byte{1<<3 | 7}, source.ErrCorrupt, []string{"wire type 7"}},
		{"field number 0", []byte{0, 0}, source.ErrCorrupt, []string{"field number 0"}},
		{"field number 2^61", protowire.AppendVarint(nil, math.MaxUint64), source.ErrCorrupt, []string{"field number"}},
		{"number of 11 bytes", append([]byte{8}, bytes.Repeat([]byte{0x80}, 11)...), source.ErrCorrupt, []string{"more than 64 bits"}},
		{"length 2^31", tag(7, 1<<31), source.ErrTruncated, []string{"2147483648 bytes"}},
		{"length 2^32", tag(7, 1<<32), source.ErrTruncated, []string{"4294967296 bytes"}},
		{"length 2^63", tag(7, 1<<63), source.ErrTruncated, []string{"9223372036854775808 bytes"}},
		{"length 2^64-1", tag(7, math.MaxUint64), source.ErrTruncated, nil},
		{"inner length past the message", join(lengthDelimited(7, tag(5, 9)), varintField(1, 8)), source.ErrCorrupt, []string{"past the end of the message"}},
		{"raw_data 2^31", vector(tag(9, 1<<31)), source.ErrTruncated, nil},
		{"axis of 2^31", shaped(1 << 31), source.ErrCorrupt, []string{`"w"`, "0 bytes of data, expected 8589934592"}},
		{"axes of 2^32", shaped(1<<32, 1<<32), source.ErrCorrupt, []string{`"w"`, "2^63"}},
		{"axis of 2^63", shaped(1 << 63), source.ErrCorrupt, []string{"axis"}},
		{"axis of 2^62", shaped(1 << 62), source.ErrCorrupt, []string{`"w"`, "2^63 bytes"}},
		{"axis of -1", shaped(math.MaxUint64), source.ErrCorrupt, []string{"axis of length -1"}},
		{"33 axes", shaped(make([]uint64, 33)...), source.ErrLimit, []string{"axes"}},
		{"no data", vector(), source.ErrCorrupt, []string{"0 bytes of data, expected 12"}},
		{"raw too short", vector(lengthDelimited(9, make([]byte, 11))), source.ErrCorrupt, []string{"11 bytes of data, expected 12"}},
		{"raw too long", vector(lengthDelimited(9, make([]byte, 16))), source.ErrCorrupt, []string{"16 bytes of data, expected 12"}},
		{"raw and typed", vector(lengthDelimited(9, fixed32s(1, 2, 3)), lengthDelimited(4, fixed32s(1, 2, 3))), source.ErrCorrupt, []string{"both in raw_data"}},
		{"two typed fields", vector(lengthDelimited(4, fixed32s(1, 2)), lengthDelimited(10, fixed64s(3))), source.ErrCorrupt, []string{"fields 4 and 10"}},
		{"typed field of another type", vector(lengthDelimited(10, fixed64s(1, 2, 3))), source.ErrCorrupt, []string{"FLOAT values in field 10, expected in field 4"}},
		{"unpacked too few", vector(unpacked32(4, 1, 2)), source.ErrCorrupt, []string{"8 bytes of values, expected 12"}},
		{"unpacked too many", vector(unpacked32(4, 1, 2, 3, 4)), source.ErrCorrupt, []string{"more than the 3 values"}},
		{"packed of 5 bytes", vector(lengthDelimited(4, make([]byte, 5))), source.ErrCorrupt, []string{"not a multiple of 4"}},
		{"float16 of 17 bits", modelBytes(tensorBytes(typeFloat16, []uint64{1}, varintField(5, 1<<16))), source.ErrCorrupt, []string{"0x10000, expected 16 bits"}},
		{"too much to decode", modelBytes(tensorBytes(typeFloat16, []uint64{1 << 26}, varintField(5, 1))), source.ErrLimit, []string{"raw_data"}},
		{"int64 too few", modelBytes(tensorBytes(typeInt64, []uint64{3}, varintField(7, 1))), source.ErrCorrupt, []string{"1 values, expected 3"}},
		{"int64 too many", modelBytes(tensorBytes(typeInt64, []uint64{1}, varintField(7, 1), varintField(7, 1))), source.ErrCorrupt, []string{"more than the 1 values"}},
		{"int32 raw of another length", modelBytes(tensorBytes(typeInt32, []uint64{1}, lengthDelimited(9, make([]byte, 8)))), source.ErrCorrupt, []string{"8 bytes of data, expected 4"}},
		{"segment", vector(lengthDelimited(3, nil), lengthDelimited(9, fixed32s(1, 2, 3))), source.ErrUnsupported, []string{"segments"}},
		{"location 2", vector(varintField(14, 2)), source.ErrUnsupported, []string{"data_location 2"}},
		{"no name", modelBytes(varintField(2, 1)), source.ErrCorrupt, []string{"without a name"}},
		{"name of 70000 bytes", modelBytes(lengthDelimited(8, make([]byte, 70000))), source.ErrLimit, []string{"70000"}},
		{"sparse initializer", lengthDelimited(7, lengthDelimited(15, nil)), source.ErrUnsupported, []string{"sparse"}},
		{"training", join(graph, lengthDelimited(20, nil)), source.ErrUnsupported, []string{"training"}},
		{"two initializers of one name", modelBytes(tensorBytes(typeInt64, []uint64{0}), tensorBytes(typeInt64, []uint64{0, 1})), source.ErrCorrupt, []string{`"w"`, "second constant"}},
		{"opset twice", join(lengthDelimited(8, varintField(2, 14)), lengthDelimited(8, varintField(2, 17))), source.ErrCorrupt, []string{"versions 14 and 17"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			m, err := walkBytes(x.file)
			if err == nil {
				t.Fatalf("accepted: %+v", m.Graph)
			}
			wantError(t, err, x.want, append(x.parts, "m.onnx")...)
		})
	}
}

func TestRefusedGraphs(t *testing.T) {
	t.Parallel()
	w := []*pb.TensorProto{floatTensor("w", 2)}
	constant := node("Constant", "", "", "k", tensorAttr("value", floatTensor("", 2)))
	function := model(nil)
	function.Functions = []*pb.FunctionProto{{Name: proto.String("gelu"), Node: []*pb.NodeProto{constant}}}
	tensors := &pb.AttributeProto{Name: proto.String("tables"), Tensors: w}
	twice := model(nil)
	twice.Graph.Input = append(twice.Graph.Input, valueInfo("x", 4))
	sparse := &pb.AttributeProto{Name: proto.String("sparse_value"), SparseTensor: &pb.SparseTensorProto{}}
	for name, x := range map[string]struct {
		m     *pb.ModelProto
		want  error
		parts []string
	}{
		"an input twice":               {twice, source.ErrCorrupt, []string{`input "x"`, "given twice"}},
		"two producers":                {model(nil, node("Relu", "a", "x", "y"), node("Relu", "b", "x", "y")), source.ErrCorrupt, []string{`"b"`, `"y"`}},
		"one node, one value twice":    {model(nil, node("Split", "a", "x", "y y")), source.ErrCorrupt, []string{`"a"`, `"y"`}},
		"produces an initializer":      {model(w, node("Relu", "a", "x", "w")), source.ErrCorrupt, []string{`"a"`, `"w"`}},
		"produces an input":            {model(nil, node("Relu", "a", "y", "x")), source.ErrCorrupt, []string{`"a"`, `"x"`}},
		"two Constants, one name":      {model(nil, constant, constant), source.ErrCorrupt, []string{`"k"`}},
		"attribute twice":              {model(nil, node("Relu", "a", "x", "y", intAttr("i", 1), intAttr("i", 2))), source.ErrCorrupt, []string{`"a"`, `"i"`}},
		"Constant without value":       {model(nil, node("Constant", "a", "", "y")), source.ErrCorrupt, []string{`"a"`}},
		"Constant of unknown kind":     {model(nil, node("Constant", "a", "", "y", intAttr("value_float8", 1))), source.ErrUnsupported, []string{`"a"`, "value_float8"}},
		"Constant of sparse value":     {model(nil, node("Constant", "a", "", "y", sparse)), source.ErrUnsupported, []string{`"a"`, "sparse_value"}},
		"function":                     {function, source.ErrUnsupported, []string{"gelu", `"k"`}},
		"tensor in an attribute":       {model(nil, node("Table", "a", "x", "y", tensorAttr("table", w[0]))), source.ErrUnsupported, []string{"Table node", `"a"`, "table"}},
		"tensors in an attribute":      {model(nil, node("Table", "a", "x", "y", tensors)), source.ErrUnsupported, []string{"Table node", `"a"`, "tables"}},
		"257 attributes":               {model(nil, node("Many", "a", "x", "y", many(257)...)), source.ErrLimit, []string{`"a"`}},
		"both inside and outside":      {model([]*pb.TensorProto{outside(floatTensor("w", 2), "f", "", "")}), source.ErrCorrupt, []string{`"w"`, "both"}},
		"outside without a location":   {model([]*pb.TensorProto{outsideOnly("w", "", "0", "8")}), source.ErrCorrupt, []string{`"w"`, "location"}},
		"offset with a sign":           {model([]*pb.TensorProto{outsideOnly("w", "f", "+0", "8")}), source.ErrCorrupt, []string{`"w"`, `"+0"`}},
		"offset with a space":          {model([]*pb.TensorProto{outsideOnly("w", "f", " 0", "8")}), source.ErrCorrupt, []string{`"w"`, `" 0"`}},
		"offset of 2^63":               {model([]*pb.TensorProto{outsideOnly("w", "f", "9223372036854775808", "8")}), source.ErrCorrupt, []string{`"w"`}},
		"negative length":              {model([]*pb.TensorProto{outsideOnly("w", "f", "0", "-8")}), source.ErrCorrupt, []string{`"w"`, `"-8"`}},
		"nested 40 deep":               {model(nil, deep(40)), source.ErrLimit, []string{"If node", `"then_branch"`, "more than 32 graphs deep"}},
		"made of itself":               {model(nil, node("Relu", "a", "y", "y")), source.ErrCorrupt, []string{"Relu node", `"a"`, "depends on itself"}},
		"a ring of three":              {model(nil, node("Relu", "first", "c", "a"), node("Exp", "second", "a", "b"), node("Add", "third", "b x", "c")), source.ErrCorrupt, []string{"node", "depends on itself"}},
		"a ring, and what hangs on it": {model(nil, node("Relu", "last", "ring", "y"), node("Exp", "ring", "ring", "ring")), source.ErrCorrupt, []string{"Exp node", `"ring"`}},
		"a ring through a branch":      {model(nil, node("If", "choose", "c", "y", graphAttr("then_branch", &pb.GraphProto{Node: []*pb.NodeProto{node("Relu", "a", "y", "z")}}))), source.ErrCorrupt, []string{"node", "depends on itself"}},
		"a branch that gives the If":   {model(nil, node("If", "choose", "c", "y", graphAttr("else_branch", &pb.GraphProto{Output: []*pb.ValueInfoProto{valueInfo("y")}}))), source.ErrCorrupt, []string{"If node", `"choose"`, "depends on itself"}},
		"two producers in a branch":    {model(nil, node("If", "choose", "c", "y", graphAttr("then_branch", &pb.GraphProto{Node: []*pb.NodeProto{node("Relu", "a", "x", "z"), node("Exp", "b", "x", "z")}}))), source.ErrCorrupt, []string{"Exp node", `"b"`, `"z"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := walkBytes(marshal(t, x.m))
			wantError(t, err, x.want, x.parts...)
		})
	}
}

func many(n int) (list []*pb.AttributeProto) {
	for i := range n {
		list = append(list, intAttr(fmt.Sprint(i), 1))
	}
	return list
}

func deep(n int) *pb.NodeProto {
	inner := node("Relu", "", "x", "y")
	for range n {
		inner = node("If", "", "c", "y", graphAttr("then_branch", &pb.GraphProto{Node: []*pb.NodeProto{inner}}))
	}
	return inner
}

// A thousand graphs within graphs.
func TestVeryDeep(t *testing.T) {
	t.Parallel()
	var b []byte
	for range 1000 {
		b = lengthDelimited(1, lengthDelimited(5, lengthDelimited(6, b)))
	}
	_, err := walkBytes(lengthDelimited(7, b))
	wantError(t, err, source.ErrLimit, "graphs deep")
}

// A name of two bytes costs a map entry: what is kept is bounded, however little of the file it takes.
//
// Not parallel: it counts what the process allocates.
func TestMemoryIsBounded(t *testing.T) {
	nodes := bytes.Repeat(lengthDelimited(1, nil), maxNodes+1)
	_, err := walkBytes(lengthDelimited(7, nodes))
	wantError(t, err, source.ErrLimit, "nodes")
	constants := bytes.Repeat(lengthDelimited(5, lengthDelimited(8, []byte("w"))), maxConstants+1)
	_, err = walkBytes(lengthDelimited(7, constants))
	wantError(t, err, source.ErrLimit, "constants")
	_, err = walkBytes(lengthDelimited(7, lengthDelimited(1, bytes.Repeat(lengthDelimited(1, nil), maxOperands+1))))
	wantError(t, err, source.ErrLimit, "inputs")
	inputs := bytes.Repeat(lengthDelimited(1, nil), maxOperands)
	names := bytes.Repeat(lengthDelimited(1, inputs), maxMemory/maxOperands/stringMemory+1)
	before := allocated()
	_, err = walkBytes(lengthDelimited(7, names))
	wantError(t, err, source.ErrLimit, fmt.Sprint(maxMemory))
	if used := allocated() - before; used > 2*maxMemory {
		t.Errorf("%d bytes allocated on the way to the limit", used)
	}
}

func allocated() uint64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.TotalAlloc
}

// shrinking is a file that ends earlier than its size said.
type shrinking struct{ *strings.Reader }

func TestFileThatShrinksMeanwhile(t *testing.T) {
	t.Parallel()
	b := marshal(t, smallModel())
	for _, n := range []int{0, 1, len(b) / 2, len(b) - 1} {
		_, _, err := walk(shrinking{strings.NewReader(string(b[:n]))}, int64(len(b)), "m.onnx")
		wantError(t, err, source.ErrTruncated, fmt.Sprintf("at byte %d", n))
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

func TestFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, _, err := walk(broken{}, 100, "m.onnx")
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v, expected the error of the file", err)
	}
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]bool{
		"": false, "\x3a\x04": true, "\x42\x02": true, "\x28\x01": true, "\x0a\x07": false, "\x38\x04": false, "PK\x03\x04": false, "{": false, "\x08\x07\x12\x07pytorch": true, string(marshal(t, smallModel())): true,
	} {
		if got := Recognise([]byte(prefix)); got != want {
			t.Errorf("%.20q: %v", prefix, got)
		}
	}
}
