package onnx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// modelBytes makes a model file of initializers given as the bytes of their TensorProtos.
func modelBytes(tensors ...[]byte) []byte {
	var graph []byte
	for _, t := range tensors {
		graph = append(graph, lengthDelimited(5, t)...)
	}
	return lengthDelimited(7, graph)
}

// tensorBytes makes a TensorProto called "w" from its data fields.
func tensorBytes(typ DataType, dims []uint64, data ...[]byte) []byte {
	b := join(varintField(2, uint64(typ)), lengthDelimited(8, []byte("w")))
	for _, d := range dims {
		b = append(b, varintField(1, d)...)
	}
	return append(b, join(data...)...)
}

func fixed32s(v ...float32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func fixed64s(v ...float64) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	return b
}

func varints(v ...uint64) (b []byte) {
	for _, x := range v {
		b = protowire.AppendVarint(b, x)
	}
	return b
}

func unpacked32(num protowire.Number, v ...float32) (b []byte) {
	for _, x := range v {
		b = protowire.AppendTag(b, num, protowire.Fixed32Type)
		b = protowire.AppendFixed32(b, math.Float32bits(x))
	}
	return b
}

func TestFormsOfFloatData(t *testing.T) {
	t.Parallel()
	halves := []byte{0x00, 0x3c, 0x00, 0xc0, 0xff, 0xff}
	for _, x := range []struct {
		name   string
		typ    DataType
		data   []byte
		want   []byte
		inline bool
	}{
		{"float raw", typeFloat, lengthDelimited(9, fixed32s(1, 2, 3)), fixed32s(1, 2, 3), false},
		{"float packed", typeFloat, lengthDelimited(4, fixed32s(1, 2, 3)), fixed32s(1, 2, 3), false},
		{"float packed in two", typeFloat, join(lengthDelimited(4, fixed32s(1, 2)), lengthDelimited(4, fixed32s(3))), fixed32s(1, 2, 3), true},
		{"float packed, and nothing packed", typeFloat, join(lengthDelimited(4, nil), lengthDelimited(4, fixed32s(1, 2, 3))), fixed32s(1, 2, 3), false},
		{"float unpacked", typeFloat, unpacked32(4, 1, 2, 3), fixed32s(1, 2, 3), true},
		{"float mixed", typeFloat, join(unpacked32(4, 1), lengthDelimited(4, fixed32s(2, 3))), fixed32s(1, 2, 3), true},
		{"double raw", typeDouble, lengthDelimited(9, fixed64s(1, 2, 3)), fixed64s(1, 2, 3), false},
		{"double packed", typeDouble, lengthDelimited(10, fixed64s(1, 2, 3)), fixed64s(1, 2, 3), false},
		{"double packed in two", typeDouble, join(lengthDelimited(10, fixed64s(1)), lengthDelimited(10, fixed64s(2, 3))), fixed64s(1, 2, 3), true},
		{"float16 raw", typeFloat16, lengthDelimited(9, halves), halves, false},
		{"float16 packed", typeFloat16, lengthDelimited(5, varints(0x3c00, 0xc000, 0xffff)), halves, true},
		{"float16 unpacked", typeFloat16, join(varintField(5, 0x3c00), varintField(5, 0xc000), varintField(5, 0xffff)), halves, true},
		{"bfloat16 raw", typeBfloat16, lengthDelimited(9, halves), halves, false},
		{"bfloat16 packed", typeBfloat16, lengthDelimited(5, varints(0x3c00, 0xc000, 0xffff)), halves, true},
		{"raw given twice", typeFloat, join(lengthDelimited(9, fixed32s(4)), lengthDelimited(9, fixed32s(1, 2, 3))), fixed32s(1, 2, 3), false},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			file := modelBytes(tensorBytes(x.typ, []uint64{3}, x.data))
			m, err := walkBytes(file)
			if err != nil {
				t.Fatal(err)
			}
			data := m.Tensors[0].Data
			got := data.Inline
			if got == nil {
				got = file[data.Offset:][:data.Size]
			}
			if !bytes.Equal(got, x.want) || x.inline != (data.Inline != nil) || data.Size != int64(len(x.want)) {
				t.Errorf("%v in %+v, expected %v, inline %v", got, data, x.want, x.inline)
			}
			if d := disagreement(m, file); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFormsOfIntData(t *testing.T) {
	t.Parallel()
	minus := uint64(math.MaxUint64) // -1
	for name, file := range map[string][]byte{
		"int64 packed":   modelBytes(tensorBytes(typeInt64, []uint64{3}, lengthDelimited(7, varints(0, minus, 300)))),
		"int64 unpacked": modelBytes(tensorBytes(typeInt64, []uint64{3}, varintField(7, 0), varintField(7, minus), varintField(7, 300))),
		"int64 raw":      modelBytes(tensorBytes(typeInt64, []uint64{3}, lengthDelimited(9, []byte{23: 0, 8: 255, 255, 255, 255, 255, 255, 255, 255, 44, 1}))),
		"int32 packed":   modelBytes(tensorBytes(typeInt32, []uint64{3}, lengthDelimited(5, varints(0, minus, 300)))),
		"int32 raw":      modelBytes(tensorBytes(typeInt32, []uint64{3}, lengthDelimited(9, []byte{11: 0, 4: 255, 255, 255, 255, 44, 1}))),
	} {
		m, err := walkBytes(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := disagreement(m, file); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if got := m.Graph.Value("w").Ints(); len(got) != 3 || got[0] != 0 || got[1] != -1 || got[2] != 300 {
			t.Errorf("%s: %v, expected [0 -1 300]", name, got)
		}
	}
}

// An initializer that stands in the file twice, byte for byte, is one. Two that differ are refused, wherever that is.
func TestInitializerTwice(t *testing.T) {
	t.Parallel()
	values := make([]byte, 4*3000)
	once := tensorBytes(typeFloat, []uint64{3000}, lengthDelimited(9, values))
	m, err := walkBytes(modelBytes(once, once, once))
	if err != nil || len(m.Tensors) != 1 || len(m.Graph.Constants) != 1 {
		t.Fatalf("%+v, %v; expected one tensor", m, err)
	}
	for _, at := range []int{0, 4096, len(values) - 1} {
		other := bytes.Clone(values)
		other[at] = 1
		if _, err := walkBytes(modelBytes(once, tensorBytes(typeFloat, []uint64{3000}, lengthDelimited(9, other)))); !errors.Is(err, source.ErrCorrupt) {
			t.Errorf("another byte %d: %v", at, err)
		}
	}
}

func TestConstantNodes(t *testing.T) {
	t.Parallel()
	floats := &pb.AttributeProto{Name: proto.String("value_floats"), Floats: []float32{1, 2}, Type: pb.AttributeProto_FLOATS.Enum()}
	text := &pb.AttributeProto{Name: proto.String("value_string"), S: []byte("hi"), Type: pb.AttributeProto_STRING.Enum()}
	old := &pb.AttributeProto{Name: proto.String("value"), T: floatTensor("", 2)} // IR version 1 gives no type
	m, err := open(t, model([]*pb.TensorProto{floatTensor("first", 2)},
		node("Constant", "", "", "tensor", tensorAttr("value", floatTensor("inner name", 2, 2))),
		node("Constant", "", "", "old", old),
		node("Constant", "", "", "float", floatAttr("value_float", 1.5)),
		node("Constant", "", "", "floats", floats),
		node("Constant", "", "", "int", intAttr("value_int", 7)),
		node("Constant", "", "", "ints", intsAttr("value_ints", 7, 8)),
		node("Constant", "", "", "text", text),
	))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range m.Tensors {
		names = append(names, m.Tensors[i].Name)
	}
	for i, want := range []string{"first", "tensor", "old", "float", "floats"} {
		if i >= len(names) || names[i] != want {
			t.Fatalf("tensors %v; expected %q at %d", names, want, i)
		}
	}
	got := make([]byte, 8)
	if err := m.ReadAt(got, m.Tensor("floats"), 0); err != nil || !bytes.Equal(got, fixed32s(1, 2)) {
		t.Errorf("value_floats: %v, %v", got, err)
	}
	if v, err := m.Scalar(m.Graph.Value("float").Constant); err != nil || v != 1.5 {
		t.Errorf("value_float: %v, %v", v, err)
	}
	if a, b := m.Graph.Value("int").Ints(), m.Graph.Value("ints").Ints(); len(a) != 1 || a[0] != 7 || len(b) != 2 || b[1] != 8 {
		t.Errorf("value_int %v, value_ints %v", a, b)
	}
	if c := m.Graph.Value("text").Constant; c == nil || c.Type.String() != "STRING" || c.Weighty() {
		t.Errorf("value_string: %+v", c)
	}
}

func TestScalar(t *testing.T) {
	t.Parallel()
	for typ, raw := range map[DataType][]byte{
		typeFloat: fixed32s(-1.5), typeDouble: fixed64s(-1.5), typeFloat16: {0x00, 0xbe}, typeBfloat16: {0xc0, 0xbf},
	} {
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := os.WriteFile(path, modelBytes(tensorBytes(typ, nil, lengthDelimited(9, raw))), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if v, err := m.Scalar(m.Graph.Value("w").Constant); err != nil || v != -1.5 {
			t.Errorf("%s: %v, %v", typ, v, err)
		}
	}
	m, err := open(t, model([]*pb.TensorProto{floatTensor("v", 2), intTensor("i", 1)}))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"v", "i"} {
		_, err := m.Scalar(m.Graph.Value(name).Constant)
		wantError(t, err, source.ErrUnsupported, name)
	}
}

// A file past 2 GiB, sparse: one tensor of 3 GiB, and one behind it.
func TestPastTwoGiB(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "big.onnx")
	writeSparse(t, path, nil, []sparseTensor{{"big", []int64{3 << 18, 1 << 10}}, {"last", []int64{7}}})
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	last := m.Tensor("last")
	if last == nil || last.Data.Offset < 3<<30 || last.Data.Size != 28 || m.Tensor("big").Data.Size != 3<<30 {
		t.Fatalf("%+v", m.Tensors)
	}
	if err := m.ReadAt(make([]byte, 28), last, 0); err != nil {
		t.Error(err)
	}
	c := &counting{file: m.Files[0]}
	if _, _, err := walk(c, m.Files[0].Size, path); err != nil || c.bytes > 4*windowSize {
		t.Errorf("%v; %d bytes read of a file of two tensors", err, c.bytes)
	}
}

// counting counts the bytes that a walk reads.
type counting struct {
	file  io.ReaderAt
	bytes int
}

func (c *counting) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.file.ReadAt(b, at)
	c.bytes += n
	return n, err
}

// sparseTensor is a FLOAT initializer whose raw_data is a hole in the file.
type sparseTensor struct {
	name string
	dims []int64
}

// writeSparse writes a model whose tensors take no room on disk.
func writeSparse(t testing.TB, path string, nodes []*pb.NodeProto, tensors []sparseTensor) {
	t.Helper()
	type piece struct {
		head []byte
		hole int64
	}
	var pieces []piece
	var graph int64
	for _, n := range nodes {
		pieces = append(pieces, piece{lengthDelimited(1, marshalAny(t, n)), 0})
	}
	for _, x := range tensors {
		size := int64(element.F32.Size())
		for _, d := range x.dims {
			size *= d
		}
		head := marshalAny(t, &pb.TensorProto{Name: &x.name, Dims: x.dims, DataType: proto.Int32(1)})
		head = protowire.AppendVarint(protowire.AppendTag(head, 9, protowire.BytesType), uint64(size))
		frame := protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.BytesType), uint64(len(head))+uint64(size))
		pieces = append(pieces, piece{append(frame, head...), size})
	}
	for _, p := range pieces {
		graph += int64(len(p.head)) + p.hole
	}
	head := protowire.AppendVarint(protowire.AppendTag(varintField(1, 8), 7, protowire.BytesType), uint64(graph))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pos := int64(len(head))
	if _, err := f.WriteAt(head, 0); err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if _, err := f.WriteAt(p.head, pos); err != nil {
			t.Fatal(err)
		}
		pos += int64(len(p.head)) + p.hole
	}
	if err := f.Truncate(pos); err != nil {
		t.Fatal(err)
	}
}

func marshalAny(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The catalogue of an encoder of whisper-base's size: 6 layers, 97 tensors, 82 MB.
func BenchmarkCatalogueOfBase(b *testing.B) {
	file, err := os.ReadFile(testdata + "encoder.onnx")
	if err != nil {
		b.Fatal(err)
	}
	var tiny pb.ModelProto
	if err := proto.Unmarshal(file, &tiny); err != nil {
		b.Fatal(err)
	}
	var nodes []*pb.NodeProto
	for copies := range 3 { // of two layers each
		for _, n := range tiny.Graph.Node {
			n := proto.CloneOf(n)
			for i := range n.Output {
				n.Output[i] += string(rune('a' + copies))
			}
			nodes = append(nodes, n)
		}
	}
	var tensors []sparseTensor
	for i := range 97 {
		tensors = append(tensors, sparseTensor{tiny.Graph.Initializer[i%37].GetName() + string(rune('a'+i/37)), []int64{414, 512}})
	}
	path := filepath.Join(b.TempDir(), "base.onnx")
	writeSparse(b, path, nodes, tensors)
	b.ReportAllocs()
	for b.Loop() {
		m, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}
