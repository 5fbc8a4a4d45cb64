package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// TestCodesRefused has what operators with codes may not be: each error names the node, and what to do.
func TestCodesRefused(t *testing.T) {
	t.Parallel()
	scales := func(name string, dims ...int64) *pb.TensorProto { return floatTensor(name, dims...) }
	nbits := func(change ...*pb.AttributeProto) *pb.NodeProto {
		n := ms(node("MatMulNBits", "/fc/MatMul_Q4", "x w s", "y", intAttr("N", 2), intAttr("K", 32), intAttr("block_size", 16)))
		for _, a := range change {
			n.Attribute = append(slices.DeleteFunc(n.Attribute, func(b *pb.AttributeProto) bool { return b.GetName() == a.GetName() }), a)
		}
		return n
	}
	with := func(n *pb.NodeProto, inputs string) *pb.NodeProto {
		n.Input = strings.Split(strings.ReplaceAll(inputs, "-", ""), " ") // "-" is left out
		return n
	}
	codes, s := rawTensor("w", typeUint8, make([]byte, 32), 2, 2, 8), scales("s", 2, 2)
	half := rawTensor("h", typeUint8, make([]byte, 32), 32)
	list := rawTensor("g", typeInt32, make([]byte, 4*32), 32) // all in the first group
	bnb := func(change ...*pb.AttributeProto) *pb.NodeProto {
		n := nbits(append([]*pb.AttributeProto{intAttr("quant_type", 1)}, change...)...)
		n.OpType = proto.String("MatMulBnb4")
		return n
	}
	square := rawTensor("q", typeInt8, make([]byte, 16), 4, 4)
	dq := func(inputs string, attributes ...*pb.AttributeProto) []*pb.NodeProto {
		return []*pb.NodeProto{node("DequantizeLinear", "dq", inputs, "v", attributes...), node("MatMul", "/fc/MatMul", "x v", "y")}
	}
	integer := func(change func(nodes []*pb.NodeProto)) []*pb.NodeProto {
		nodes := dynamic(node("MatMulInteger", "/fc/MatMul_quant", "xq q xz", "p"))
		change(nodes)
		return nodes
	}
	s4, s1 := scales("s4", 4), rawTensor("s", typeFloat, binary.LittleEndian.AppendUint32(nil, 0x3f000000))
	gather := func(inputs string, attributes ...*pb.AttributeProto) []*pb.NodeProto {
		return []*pb.NodeProto{ms(node("GatherBlockQuantized", "gbq", inputs, "v", attributes...)), node("Add", "/Add", "x v", "y")}
	}
	table, index := rawTensor("t", typeUint4, make([]byte, 32), 2, 32), intTensor("i", 0, 1)
	for name, x := range map[string]struct {
		tensors []*pb.TensorProto
		nodes   []*pb.NodeProto
		want    error
		parts   []string
	}{
		"3 bits":                      {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("bits", 3))}, source.ErrUnsupported, []string{"3 bits"}},
		"bits no number":              {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(floatAttr("bits", 4))}, source.ErrUnsupported, []string{"bits"}},
		"prepacked":                   {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("weight_prepacked", 1))}, source.ErrUnsupported, []string{"weight_prepacked 1"}},
		"no block":                    {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("block_size", 0))}, source.ErrCorrupt, []string{"block_size 0"}},
		"a small block":               {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("block_size", 8))}, source.ErrCorrupt, []string{"block_size 8"}},
		"a block of 48":               {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("block_size", 48))}, source.ErrCorrupt, []string{"block_size 48"}},
		"a block past all":            {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("block_size", 1<<62))}, source.ErrCorrupt, []string{"block_size"}},
		"a negative K":                {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("K", -32))}, source.ErrCorrupt, []string{"K -32"}},
		"N*K past all":                {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("K", 1<<40), intAttr("N", 1<<40))}, source.ErrCorrupt, []string{"N*K"}},
		"K past all":                  {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("K", 1<<63-1))}, source.ErrCorrupt, []string{"N*K"}},
		"too few codes":               {[]*pb.TensorProto{codes, s}, []*pb.NodeProto{nbits(intAttr("N", 3))}, source.ErrCorrupt, []string{`codes "w" [2 2 8], has 32 elements, expected 48`}},
		"too few scales":              {[]*pb.TensorProto{codes, scales("s", 3)}, []*pb.NodeProto{nbits()}, source.ErrCorrupt, []string{`scales "s" [3], has 3 elements, expected 4`}},
		"scales in F64":               {[]*pb.TensorProto{codes, rawTensor("s", typeDouble, make([]byte, 32), 4)}, []*pb.NodeProto{nbits()}, source.ErrUnsupported, []string{"DOUBLE"}},
		"scales that are computed":    {[]*pb.TensorProto{codes}, []*pb.NodeProto{nbits()}, source.ErrUnsupported, []string{"operand 2", "not constant"}},
		"scales that are rounded":     {[]*pb.TensorProto{codes, scales("s", 2, 2)}, []*pb.NodeProto{node("Cast", "", "s", "s2", intAttr("to", 10)), with(nbits(), "x w s2")}, source.ErrUnsupported, []string{"rounded to FLOAT16"}},
		"scales that are transposed":  {[]*pb.TensorProto{codes, scales("s", 2, 2)}, []*pb.NodeProto{node("Transpose", "", "s", "s2"), with(nbits(), "x w s2")}, source.ErrUnsupported, []string{"transposed"}},
		"codes that are floats":       {[]*pb.TensorProto{scales("w", 32), s}, []*pb.NodeProto{nbits()}, source.ErrUnsupported, []string{"FLOAT", "UINT8"}},
		"too few zero points":         {[]*pb.TensorProto{codes, s, rawTensor("z", typeUint8, []byte{1})}, []*pb.NodeProto{with(nbits(), "x w s z")}, source.ErrCorrupt, []string{"zero points", "1 elements, expected 2"}},
		"zero points in INT8":         {[]*pb.TensorProto{codes, s, rawTensor("z", typeInt8, []byte{1, 1}, 2)}, []*pb.NodeProto{with(nbits(), "x w s z")}, source.ErrUnsupported, []string{"INT8"}},
		"too few float zero points":   {[]*pb.TensorProto{codes, s, scales("z", 3)}, []*pb.NodeProto{with(nbits(), "x w s z")}, source.ErrCorrupt, []string{"zero points", "3 elements, expected 4"}},
		"groups that are no blocks":   {[]*pb.TensorProto{codes, s, list}, []*pb.NodeProto{with(nbits(), "x w s - g")}, source.ErrUnsupported, []string{"input 16 in group 0"}},
		"groups and packed zeros":     {[]*pb.TensorProto{codes, s, list, rawTensor("z", typeUint8, make([]byte, 2), 2)}, []*pb.NodeProto{with(nbits(), "x w s z g")}, source.ErrUnsupported, []string{"groups, stands beside packed zero points"}},
		"groups of another number":    {[]*pb.TensorProto{codes, s, rawTensor("g", typeInt32, make([]byte, 4), 1)}, []*pb.NodeProto{with(nbits(), "x w s - g")}, source.ErrCorrupt, []string{"1 elements, expected 32"}},
		"quant_type 2":                {[]*pb.TensorProto{half, scales("s", 4)}, []*pb.NodeProto{with(bnb(intAttr("quant_type", 2)), "x h s")}, source.ErrUnsupported, []string{"quant_type 2"}},
		"transB 0":                    {[]*pb.TensorProto{half, scales("s", 4)}, []*pb.NodeProto{with(bnb(intAttr("transB", 0)), "x h s")}, source.ErrUnsupported, []string{"transB 0"}},
		"too many NF4 scales":         {[]*pb.TensorProto{half, scales("s", 5)}, []*pb.NodeProto{with(bnb(), "x h s")}, source.ErrCorrupt, []string{"5 elements, expected 4"}},
		"too few NF4 codes":           {[]*pb.TensorProto{half, scales("s", 4)}, []*pb.NodeProto{with(bnb(intAttr("N", 4)), "x h s")}, source.ErrCorrupt, []string{"32 elements, expected 64"}},
		"an axis past all":            {[]*pb.TensorProto{square, s4}, dq("q s4", intAttr("axis", 2)), source.ErrCorrupt, []string{"axis"}},
		"an axis before all":          {[]*pb.TensorProto{square, s4}, dq("q s4", intAttr("axis", -3)), source.ErrCorrupt, []string{"axis"}},
		"scales of another number":    {[]*pb.TensorProto{square, scales("s", 3)}, dq("q s"), source.ErrUnsupported, []string{"[3]", "axis 1"}},
		"scales of another rank":      {[]*pb.TensorProto{square, s4}, dq("q s4", intAttr("block_size", 2)), source.ErrUnsupported, []string{"[4], expected [4 2]"}},
		"a negative block":            {[]*pb.TensorProto{square, s4}, dq("q s4", intAttr("block_size", -1)), source.ErrUnsupported, []string{"block_size -1"}},
		"values in F64":               {[]*pb.TensorProto{square, s4}, dq("q s4", intAttr("output_dtype", 11)), source.ErrUnsupported, []string{"DOUBLE"}},
		"DequantizeLinear's scales":   {[]*pb.TensorProto{square}, dq("q x"), source.ErrUnsupported, []string{"operand 1", "not constant"}},
		"DequantizeLinear's zeros":    {[]*pb.TensorProto{square, s4}, dq("q s4 x"), source.ErrUnsupported, []string{"not constant"}},
		"zero points of another type": {[]*pb.TensorProto{square, s4, rawTensor("z", typeUint8, make([]byte, 4), 4)}, dq("q s4 z"), source.ErrUnsupported, []string{"UINT8", "INT8"}},
		"zero points of float8":       {[]*pb.TensorProto{rawTensor("q", typeFloat8E4M3FN, make([]byte, 4), 2, 2), s1, rawTensor("z", typeFloat8E4M3FN, []byte{0x38})}, dq("q s z"), source.ErrUnsupported, []string{"not all 0"}},
		"codes of 16 bits":            {[]*pb.TensorProto{rawTensor("q", 5, make([]byte, 8), 2, 2), s1}, dq("q s"), source.ErrUnsupported, []string{"INT16"}},
		"codes of FLOAT4E2M1":         {[]*pb.TensorProto{rawTensor("q", 23, make([]byte, 2), 2, 2), s1}, dq("q s"), source.ErrUnsupported, []string{"FLOAT4E2M1"}},
		"integers from elsewhere":     {[]*pb.TensorProto{square, s1}, integer(func(n []*pb.NodeProto) { n[0].OpType = proto.String("Mystery") }), source.ErrUnsupported, []string{"MatMulInteger", "DynamicQuantizeLinear"}},
		"another zero point":          {[]*pb.TensorProto{square, s1}, integer(func(n []*pb.NodeProto) { n[1].Input[2] = "x" }), source.ErrUnsupported, []string{"third operand"}},
		"integers without a Cast":     {[]*pb.TensorProto{square, s1}, integer(func(n []*pb.NodeProto) { n[2].OpType = proto.String("Neg") }), source.ErrUnsupported, []string{"not cast"}},
		"a Cast to float16":           {[]*pb.TensorProto{square, s1}, integer(func(n []*pb.NodeProto) { n[2].Attribute[0] = intAttr("to", 10) }), source.ErrUnsupported, []string{"not cast"}},
		"another scale":               {[]*pb.TensorProto{square, s1}, integer(func(n []*pb.NodeProto) { n[3].Input[0] = "x" }), source.ErrUnsupported, []string{"not cast"}},
		"a product used twice":        {[]*pb.TensorProto{square, s1}, append(integer(func([]*pb.NodeProto) {}), node("Abs", "", "pf", "z")), source.ErrUnsupported, []string{"not cast"}},
		"scales of no column":         {[]*pb.TensorProto{square, scales("s", 4, 1)}, integer(func([]*pb.NodeProto) {}), source.ErrUnsupported, []string{"not one for each output"}},
		"a batch of matrices":         {[]*pb.TensorProto{rawTensor("q", typeInt8, make([]byte, 16), 1, 4, 4), s1}, integer(func([]*pb.NodeProto) {}), source.ErrUnsupported, []string{"no matrix"}},
		"a convolution in groups":     {[]*pb.TensorProto{rawTensor("q", typeInt8, make([]byte, 8), 2, 2, 2), s1}, dynamic(node("ConvInteger", "/c/Conv_quant", "xq q xz", "p", intAttr("group", 2))), source.ErrUnsupported, []string{"groups"}},
		"QGemm's alpha":               {[]*pb.TensorProto{square, s4}, []*pb.NodeProto{ms(node("QGemm", "/fc/Gemm_quant", "x xs xz q s4", "y", floatAttr("alpha", 2)))}, source.ErrUnsupported, []string{"alpha 2"}},
		"a bias without a scale":      {[]*pb.TensorProto{square, s4, rawTensor("b", typeInt32, make([]byte, 16), 4), rawTensor("z", typeInt8, []byte{0})}, []*pb.NodeProto{ms(node("QGemm", "/fc/Gemm_quant", "x xs xz q s4 z b", "y"))}, source.ErrUnsupported, []string{"scale of the activations"}},
		"gather in blocks of 8":       {[]*pb.TensorProto{table, index, scales("s", 2, 4)}, gather("t i s", intAttr("block_size", 8)), source.ErrUnsupported, []string{"blocks of 8"}},
		"gather's other axis":         {[]*pb.TensorProto{table, index, scales("s", 2, 2)}, gather("t i s", intAttr("block_size", 16), intAttr("quantize_axis", 2)), source.ErrCorrupt, []string{"quantize_axis"}},
		"gather's 3 bits":             {[]*pb.TensorProto{rawTensor("t", typeUint8, make([]byte, 64), 2, 32), index, scales("s", 2, 2)}, gather("t i s", intAttr("block_size", 16), intAttr("bits", 3)), source.ErrUnsupported, []string{"UINT8"}},
		"gather's bytes by rows":      {[]*pb.TensorProto{rawTensor("t", typeUint8, make([]byte, 64), 2, 32), index, scales("s", 1, 32)}, gather("t i s", intAttr("block_size", 16), intAttr("bits", 8), intAttr("quantize_axis", 0)), source.ErrUnsupported, []string{"last axis"}},
		"gather's scales":             {[]*pb.TensorProto{table, index, scales("s", 2, 3)}, gather("t i s", intAttr("block_size", 16)), source.ErrUnsupported, []string{"expected [2 2]"}},
		"gather of other rows":        {[]*pb.TensorProto{table, intTensor("i", 1, 0), scales("s", 2, 2)}, gather("t i s", intAttr("block_size", 16)), source.ErrUnsupported, []string{"GatherBlockQuantized", "UINT4"}},
		"QAttention":                  {[]*pb.TensorProto{square, s4}, []*pb.NodeProto{ms(node("QAttention", "attn", "x q s4", "y", intAttr("num_heads", 1)))}, source.ErrUnsupported, []string{"QAttention", "INT8"}},
		"QLinearAdd":                  {[]*pb.TensorProto{square, s1}, []*pb.NodeProto{ms(node("QLinearAdd", "/fc/Add_quant", "x xs xz q s", "y"))}, source.ErrUnsupported, []string{"QLinearAdd", "INT8"}},
		"MatMulFpQ4":                  {[]*pb.TensorProto{half}, []*pb.NodeProto{ms(node("MatMulFpQ4", "/fc/MatMul", "x h n", "y"))}, source.ErrUnsupported, []string{"MatMulFpQ4", "UINT8"}},
		"MatMulNBitsMlp":              {[]*pb.TensorProto{half}, []*pb.NodeProto{ms(node("MatMulNBitsMlp", "mlp", "x h n", "y"))}, source.ErrUnsupported, []string{"MatMulNBitsMlp", "UINT8"}},
		"codes added to activations":  {[]*pb.TensorProto{square}, []*pb.NodeProto{node("Add", "/a/Add", "x q", "y")}, source.ErrUnsupported, []string{"INT8"}},
		"a Reshape of transposed":     {[]*pb.TensorProto{scales("w", 4, 6), intTensor("sh", 2, 12)}, []*pb.NodeProto{node("Transpose", "", "w", "wt"), node("Reshape", "/r", "wt sh", "v"), node("MatMul", "", "x v", "y")}, source.ErrUnsupported, []string{"Reshape"}},
		"a Reshape to another size":   {[]*pb.TensorProto{scales("w", 4, 6), intTensor("sh", 5, -1)}, []*pb.NodeProto{node("Reshape", "/r", "w sh", "v"), node("MatMul", "", "x v", "y")}, source.ErrUnsupported, []string{"Reshape"}},
		"an axis for a convolution":   {[]*pb.TensorProto{scales("w", 4, 3), intTensor("sh", 4, 1, 3)}, []*pb.NodeProto{node("Reshape", "/r", "w sh", "v"), node("Conv", "/c/Conv", "x v", "y")}, source.ErrUnsupported, []string{"Reshape"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := open(t, model(x.tensors, x.nodes...))
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Weights()
			if err == nil {
				t.Fatal("accepted")
			}
			wantError(t, err, x.want, append(x.parts, "m.onnx", " node ", "; ")...)
		})
	}
}

// TestRawRefused: tensors of codes whose data is not what their shape asks for.
func TestRawRefused(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		tensor *pb.TensorProto
		parts  []string
	}{
		"too few bytes":         {rawTensor("w", typeUint8, []byte{1}, 2), []string{"1 bytes of data, expected 2 for UINT8 [2]"}},
		"an odd nibble too few": {rawTensor("w", typeInt4, []byte{1}, 3), []string{"1 bytes of data, expected 2 for INT4 [3]"}},
		"a nibble too many":     {rawTensor("w", typeUint4, []byte{1, 2}, 2), []string{"2 bytes of data, expected 1"}},
		"a number too many":     {&pb.TensorProto{Name: proto.String("w"), Dims: []int64{1}, DataType: proto.Int32(3), Int32Data: []int32{1, 2}}, []string{"more than the 1 values"}},
		"a number too few":      {&pb.TensorProto{Name: proto.String("w"), Dims: []int64{5}, DataType: proto.Int32(22), Int32Data: []int32{1, 2}}, []string{"2 bytes of values, expected 3"}},
		"past a byte":           {&pb.TensorProto{Name: proto.String("w"), Dims: []int64{1}, DataType: proto.Int32(2), Int32Data: []int32{256}}, []string{"UINT8 value 256"}},
		"below zero":            {&pb.TensorProto{Name: proto.String("w"), Dims: []int64{1}, DataType: proto.Int32(21), Int32Data: []int32{-1}}, []string{"UINT4 value -1"}},
		"a signed byte":         {&pb.TensorProto{Name: proto.String("w"), Dims: []int64{1}, DataType: proto.Int32(3), Int32Data: []int32{128}}, []string{"INT8 value 128"}},
		"another field":         {&pb.TensorProto{Name: proto.String("w"), Dims: []int64{1}, DataType: proto.Int32(2), Int64Data: []int64{1}}, []string{"field 7, expected in field 5"}},
		"past all":              {rawTensor("w", typeInt32, nil, 1<<62, 1), []string{"more than 2^63 bytes"}},
	} {
		_, err := open(t, model([]*pb.TensorProto{x.tensor}))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, source.ErrCorrupt, append(x.parts, `tensor "w"`)...)
	}
}

// TestTooManyZeroPoints: what is looked at before any value is read is bounded, however often nodes name the same zero points.
func TestTooManyZeroPoints(t *testing.T) {
	t.Parallel()
	tensors := []*pb.TensorProto{rawTensor("w", typeInt8, make([]byte, maxZeros), 1, maxZeros), floatTensor("s", maxZeros), rawTensor("z", typeInt8, make([]byte, maxZeros), maxZeros)}
	var nodes []*pb.NodeProto
	for range maxExamined/maxZeros + 1 {
		nodes = append(nodes, node("DequantizeLinear", "", "w s z", fmt.Sprint("v", len(nodes))), node("MatMul", "", fmt.Sprint("x v", len(nodes)), ""))
	}
	m, err := open(t, model(tensors, nodes...))
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Weights()
	wantError(t, err, source.ErrLimit, "DequantizeLinear node", "zero points or groups")
}

// TestScalarOf reads single values: floats, and codes with and without an axis.
func TestScalarOf(t *testing.T) {
	t.Parallel()
	half := rawTensor("s", typeFloat, binary.LittleEndian.AppendUint32(nil, 0x3f000000))
	for name, x := range map[string]struct {
		tensors []*pb.TensorProto
		nodes   []*pb.NodeProto
		want    float64
		err     error
	}{
		"a float":              {[]*pb.TensorProto{{Name: proto.String("v"), DataType: proto.Int32(1), FloatData: []float32{2.5}}}, nil, 2.5, nil},
		"a code":               {[]*pb.TensorProto{rawTensor("w", typeInt8, []byte{0xfd}), half}, []*pb.NodeProto{node("DequantizeLinear", "", "w s", "v")}, -1.5, nil},
		"a vector of one code": {[]*pb.TensorProto{rawTensor("w", typeUint8, []byte{7}, 1), half, rawTensor("z", typeUint8, []byte{2})}, []*pb.NodeProto{node("DequantizeLinear", "", "w s z", "v", intAttr("axis", 0))}, 2.5, nil},
		"several":              {[]*pb.TensorProto{floatTensor("v", 2)}, nil, 0, source.ErrUnsupported},
		"a code by itself":     {[]*pb.TensorProto{rawTensor("v", typeUint8, []byte{7})}, nil, 0, source.ErrUnsupported},
		"scales of two":        {[]*pb.TensorProto{rawTensor("w", typeUint8, []byte{7}, 1), floatTensor("s", 2)}, []*pb.NodeProto{node("DequantizeLinear", "", "w s", "v", intAttr("axis", 0))}, 0, source.ErrUnsupported},
		"an axis of a scalar":  {[]*pb.TensorProto{rawTensor("w", typeUint8, []byte{7}), floatTensor("s", 2)}, []*pb.NodeProto{node("DequantizeLinear", "", "w s", "v")}, 0, source.ErrCorrupt},
	} {
		m, err := open(t, model(x.tensors, append(x.nodes, node("Sqrt", "", "v", "y"))...))
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.ScalarOf(m.Graph.Value("v").Origin)
		if got != x.want || !errors.Is(err, x.err) {
			t.Errorf("%s: %v, %v; expected %v", name, got, err, x.want)
		}
	}
}
