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
	raw := someBytes(7, rows*cols)
	scale, one := someScales("s", typeFloat, 1)
	blocks, perBlock := someScales("s", typeFloat, rows*2, rows, 2)
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
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, w, got := decodedWeight(t, model([]*pb.TensorProto{x.table, x.scales, x.zero}, append(x.nodes, node("Relu", "", "v", "y"))...))
			defer m.Close()
			if w.Axes != "PN" || w.Shape[0] != rows || w.Shape[1] != cols || w.PathName != "model.decoder.embed_tokens.weight" || w.ValueName != w.PathName || w.Tensor.Stored == "" {
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
	lookup, values := node("Gather", "look", "w ids", "q"), node("DequantizeLinear", "values", "q s", "v")
	for name, x := range map[string]struct {
		table, scales *pb.TensorProto
		nodes         []*pb.NodeProto
		part          string
	}{
		"a scale a column":     {table(5, 32), perColumn, []*pb.NodeProto{lookup, values}, "not known to make values"},
		"no values made":       {table(5, 32), scale, []*pb.NodeProto{lookup, node("Cast", "", "q", "v", intAttr("to", 1))}, "not known to make values"},
		"used twice":           {table(5, 32), scale, []*pb.NodeProto{lookup, values, node("Cast", "", "q", "u", intAttr("to", 1))}, "not known to make values"},
		"a vector":             {table(160), scale, []*pb.NodeProto{lookup, values}, "no table of rows"},
		"columns":              {table(5, 32), scale, []*pb.NodeProto{node("Gather", "look", "w ids", "q", intAttr("axis", 1)), values}, "no table of rows"},
		"constant rows":        {table(5, 32), scale, []*pb.NodeProto{node("Gather", "look", "w two", "q"), values}, "some rows alone"},
		"scales as activation": {table(5, 32), nil, []*pb.NodeProto{lookup, values}, "not known to make values"},
	} {
		tensors := []*pb.TensorProto{x.table, intTensor("two", 0, 1)}
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
