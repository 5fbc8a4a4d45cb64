package onnx

import (
	"testing"

	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// Tables of codes of which rows are looked up: the weight is all of the table, its values are what the graph makes of any row.
func TestLookupOfCodes(t *testing.T) {
	t.Parallel()
	const rows, cols = 5, 32
	const table = "model.decoder.embed_tokens.weight_quantized"
	raw := someBytes(7, rows*cols)
	scale, one := someScales("s", typeFloat, 1)
	blocks, perBlock := someScales("s", typeFloat, rows*2, rows, 2)
	half, ofHalf := someScales("s", typeFloat16, 1)
	each, ofEach := someScales("s", typeFloat, rows, rows, 1)
	signed := func(i int) float32 { return float32(int8(raw[i])) * one[0] }
	for name, x := range map[string]struct {
		table, scales, zero *pb.TensorProto
		nodes               []*pb.NodeProto
		want                func(i int) float32
	}{
		"Gather of bytes": {
			rawTensor("model.decoder.embed_tokens.weight_quantized", typeUint8, raw, rows, cols), scale, rawTensor("z", typeUint8, []byte{9}),
			[]*pb.NodeProto{
				node("Gather", "/model/decoder/embed_tokens/Gather_quant", "model.decoder.embed_tokens.weight_quantized ids", "q"),
				node("DequantizeLinear", "d", "q s z", "v"),
			},
			func(i int) float32 { return float32(int(raw[i])-9) * one[0] },
		},
		"Gather of signed bytes": {
			rawTensor("model.decoder.embed_tokens.weight_quantized", typeInt8, raw, rows, cols), scale, rawTensor("z", typeInt8, []byte{0}),
			[]*pb.NodeProto{
				node("Gather", "/model/decoder/embed_tokens/Gather_quant", "model.decoder.embed_tokens.weight_quantized ids", "q"),
				node("DequantizeLinear", "d", "q s", "v"), node("Identity", "", "z", "unused"),
			},
			signed,
		},
		"GatherBlockQuantized": {
			rawTensor("model.decoder.embed_tokens.weight_quantized", typeUint8, raw, rows, cols), blocks, rawTensor("z", typeUint8, []byte{0}),
			[]*pb.NodeProto{
				ms(node("GatherBlockQuantized", "/model/decoder/embed_tokens/Gather_Q8", "model.decoder.embed_tokens.weight_quantized ids s", "v",
					intAttr("bits", 8), intAttr("block_size", 16), intAttr("quantize_axis", 1))),
				node("Identity", "", "z", "unused"),
			},
			func(i int) float32 { return float32(int(raw[i])-128) * perBlock[i/16] },
		},
		"Gather in float16, behind a Cast": {
			rawTensor(table, typeUint8, raw, rows, cols), half, rawTensor("z", typeUint8, []byte{9}),
			[]*pb.NodeProto{
				node("Cast", "", "s", "S", intAttr("to", 1)), node("Gather", "/model/decoder/embed_tokens/Gather", table+" ids", "q", intAttr("axis", -2)),
				node("DequantizeLinear", "d", "q S z", "v"),
			},
			func(i int) float32 { return float32(int(raw[i])-9) * ofHalf[0] },
		},
		"GatherBlockQuantized of half bytes, which a product shares": {
			rawTensor(table, typeUint8, raw[:rows*cols/2], rows, 1, cols/2), each, rawTensor("z", typeUint8, []byte{1, 2, 3, 4, 5}, rows, 1),
			[]*pb.NodeProto{
				node("Reshape", "", table+" flat", "t"),
				ms(node("GatherBlockQuantized", "/model/decoder/embed_tokens/Gather_Q4", "t ids s z", "v", intAttr("block_size", 32), intAttr("quantize_axis", -1), intAttr("gather_axis", -2))),
			},
			func(i int) float32 { return float32(int(raw[i/2]>>(i%2*4)&15)-i/cols-1) * ofEach[i/cols] },
		},
		"Slice of bytes": {
			rawTensor(table, typeUint8, raw, rows, cols), scale, rawTensor("z", typeUint8, []byte{9}),
			[]*pb.NodeProto{node("Slice", "/model/decoder/Slice", table+" past end zero one", "q"), node("DequantizeLinear", "d", "q s z", "v")},
			func(i int) float32 { return float32(int(raw[i])-9) * one[0] },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, w, got := decodedWeight(t, model([]*pb.TensorProto{x.table, x.scales, x.zero, intTensor("flat", rows, -1), intTensor("zero", 0), intTensor("one", 1)}, append(x.nodes, node("Relu", "", "v", "y"))...))
			defer m.Close()
			if w.Axes != "PN" || w.Shape[0] != rows || w.Shape[1] != cols || w.ValueName != "model.decoder.embed_tokens.weight" ||
				w.Node.Op != "Slice" && w.PathName != w.ValueName || w.Tensor.Stored == "" {
				t.Errorf("%+v", w)
			}
			same(t, got, x.want)
		})
	}
}

func TestLookupOfCodesRefused(t *testing.T) {
	t.Parallel()
	raw := someBytes(7, 160)
	table := func(dims ...int64) *pb.TensorProto { return rawTensor("w", typeUint8, raw, dims...) }
	scale, _ := someScales("s", typeFloat, 1)
	perColumn, _ := someScales("s", typeFloat, 32, 32)
	blocks, _ := someScales("s", typeFloat, 10, 5, 2)
	looked := func(attributes ...*pb.AttributeProto) []*pb.NodeProto {
		return []*pb.NodeProto{ms(node("GatherBlockQuantized", "look", "w ids s", "v", append(attributes, intAttr("block_size", 16))...))}
	}
	lookup, values := node("Gather", "look", "w ids", "q"), node("DequantizeLinear", "values", "q s", "v")
	for name, x := range map[string]struct {
		table, scales *pb.TensorProto
		nodes         []*pb.NodeProto
		part          string
	}{
		"a scale a column":       {table(5, 32), perColumn, []*pb.NodeProto{lookup, values}, "not one constant for all"},
		"values of another type": {table(5, 32), scale, []*pb.NodeProto{lookup, node("DequantizeLinear", "values", "q s", "v", intAttr("output_dtype", 10))}, "output_dtype 10"},
		"no values made":         {table(5, 32), scale, []*pb.NodeProto{lookup, node("Cast", "", "q", "v", intAttr("to", 1))}, "not known to make values"},
		"used twice":             {table(5, 32), scale, []*pb.NodeProto{lookup, values, node("Cast", "", "q", "u", intAttr("to", 1))}, "not known to make values"},
		"a vector":               {table(160), scale, []*pb.NodeProto{lookup, values}, "no table of rows"},
		"columns":                {table(5, 32), scale, []*pb.NodeProto{node("Gather", "look", "w ids", "q", intAttr("axis", 1)), values}, "no table of rows"},
		"constant rows":          {table(5, 32), scale, []*pb.NodeProto{node("Gather", "look", "w two", "q"), values}, "some rows alone"},
		"scales as activation":   {table(5, 32), nil, []*pb.NodeProto{lookup, values}, "not one constant for all"},
		"transposed": {
			table(5, 32), scale, []*pb.NodeProto{node("Transpose", "", "w", "turned"), node("Gather", "look", "turned ids", "q"), values}, "is transposed before rows",
		},
		"constant slice":     {table(5, 32), scale, []*pb.NodeProto{node("Slice", "look", "w two two two", "q"), values}, "rows are cut out"},
		"slice of columns":   {table(5, 32), scale, []*pb.NodeProto{node("Slice", "look", "w a b one", "q"), values}, "rows are cut out"},
		"slice in steps":     {table(5, 32), scale, []*pb.NodeProto{node("Slice", "look", "w a b zero many", "q"), values}, "rows are cut out"},
		"slice of some rows": {table(5, 32), scale, []*pb.NodeProto{node("Slice", "look", "w zero one zero", "q"), values}, "some rows alone"},
		"blocks, transposed": {table(32, 5), blocks, []*pb.NodeProto{
			node("Transpose", "", "w", "turned"), ms(node("GatherBlockQuantized", "look", "turned ids s", "v", intAttr("bits", 8), intAttr("block_size", 16))),
		}, "is transposed before rows"},
		"blocks, by columns":         {table(5, 32), blocks, looked(intAttr("bits", 8), intAttr("gather_axis", 1)), "no table of rows"},
		"blocks, along rows":         {table(5, 32), blocks, looked(intAttr("bits", 8), intAttr("quantize_axis", 0)), "along its last axis"},
		"blocks, of a cube":          {table(5, 4, 8), blocks, looked(intAttr("bits", 8), intAttr("quantize_axis", 2)), "expected [5 4 1]"},
		"blocks, of 3 bits":          {table(5, 32), blocks, looked(intAttr("bits", 3)), "not in its definition"},
		"blocks, scales computed":    {table(5, 32), nil, looked(intAttr("bits", 8)), "the scales, is not constant"},
		"blocks, a scale for others": {table(5, 32), perColumn, looked(intAttr("bits", 8)), "expected [5 2]"},
		"blocks, some rows": {table(5, 32), blocks, []*pb.NodeProto{
			ms(node("GatherBlockQuantized", "look", "w two s", "v", intAttr("bits", 8), intAttr("block_size", 16))),
		}, "some rows alone"},
	} {
		tensors := []*pb.TensorProto{x.table, intTensor("two", 0, 1), intTensor("zero", 0), intTensor("one", 1), intTensor("many", 2)}
		if x.scales != nil {
			tensors = append(tensors, x.scales)
		}
		file, err := open(t, model(tensors, append(x.nodes, node("Relu", "", "v", "y"))...))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = file.Weights(); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantError(t, err, source.ErrUnsupported, x.part)
		}
		file.Close()
	}
}
