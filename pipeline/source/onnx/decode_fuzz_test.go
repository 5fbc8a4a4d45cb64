package onnx

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// decodeSeeds are models of one product, in every form of codes.
func decodeSeeds(f *testing.F) [][]byte {
	f.Helper()
	scales, _ := someScales("s", typeFloat, 6, 3, 2)
	one, _ := someScales("s", typeFloat, 1)
	column, _ := someScales("s", typeFloat, 3, 3)
	sizes := []*pb.AttributeProto{intAttr("N", 3), intAttr("K", 20), intAttr("block_size", 16)}
	bytesOf := func(name string, n int, dims ...int64) *pb.TensorProto {
		return rawTensor(name, typeUint8, someBytes(1, n), dims...)
	}
	all := intTensor("i", 0, 1, 2)
	models := []*pb.ModelProto{
		model([]*pb.TensorProto{bytesOf("w", 48, 48), bytesOf("z", 3, 3), scales}, ms(node("MatMulNBits", "", "x w s z", "y", sizes...))),
		model([]*pb.TensorProto{bytesOf("w", 96, 96), scales}, ms(node("MatMulNBits", "", "x w s", "y", append(sizes, intAttr("bits", 8))...))),
		model([]*pb.TensorProto{bytesOf("w", 24, 24), floatTensor("z", 6), scales}, ms(node("MatMulNBits", "", "x w s z", "y", append(sizes, intAttr("bits", 2))...))),
		model([]*pb.TensorProto{bytesOf("w", 30, 30), floatTensor("s", 4)}, ms(node("MatMulBnb4", "", "x w s", "y", append(sizes, intAttr("quant_type", 1))...))),
		model([]*pb.TensorProto{rawTensor("w", typeInt4, someBytes(2, 15), 3, 10), rawTensor("z", typeInt4, someBytes(3, 3), 3, 2), scales},
			node("DequantizeLinear", "", "w s z", "v", intAttr("axis", 1), intAttr("block_size", 7)), node("Transpose", "", "v", "vt"), node("MatMul", "", "x vt", "y")),
		model([]*pb.TensorProto{rawTensor("w", typeFloat8E5M2, someBytes(4, 15), 5, 3), column}, node("DequantizeLinear", "", "w s", "v"), node("MatMul", "", "x v", "y")),
		model([]*pb.TensorProto{bytesOf("w", 15, 5, 3), bytesOf("z", 1), one}, dynamic(node("MatMulInteger", "", "xq w xz z", "p"))...),
		model([]*pb.TensorProto{bytesOf("w", 30, 3, 10), bytesOf("z", 3, 3, 1), scales, all}, ms(node("GatherBlockQuantized", "", "w i s z", "v", intAttr("block_size", 16), intAttr("quantize_axis", 1))),
			node("Add", "", "x v", "y")),
		model([]*pb.TensorProto{bytesOf("w", 30, 3, 1, 10), bytesOf("z", 3, 3, 1), scales, intTensor("to", 3, -1)}, node("Reshape", "", "w to", "t"),
			ms(node("GatherBlockQuantized", "", "t ids s z", "v", intAttr("block_size", 16), intAttr("gather_axis", -2))), node("Relu", "", "v", "y")),
		model([]*pb.TensorProto{bytesOf("w", 15, 5, 3), bytesOf("z", 1), one, all}, node("Gather", "", "w ids", "q"), node("Slice", "", "w a b i", "p"),
			node("DequantizeLinear", "", "q s z", "v"), node("DequantizeLinear", "", "p s z", "y")),
		model([]*pb.TensorProto{bytesOf("w", 18, 3, 2, 3), column, floatTensor("xs"), rawTensor("b", typeInt32, someBytes(5, 12), 3), bytesOf("z", 3, 3)}, node("QLinearConv", "", "x xs xz w s z ys yz b", "y")),
	}
	var seeds [][]byte
	for _, m := range models {
		seeds = append(seeds, marshal(f, m))
	}
	for _, form := range []string{"q4asym", "q8", "bnb4,constants", "int8dyn", "int8fuse", "qdq", "qdq4,nested"} {
		c, err := whisperonnx.Config{DModel: 2, Layers: 1, Heads: 1, FFN: 3, Mels: 2, Positions: 2}.With(form)
		if err != nil {
			f.Fatal(err)
		}
		path := filepath.Join(f.TempDir(), "m.onnx")
		if err := whisperonnx.Write(path, c); err != nil {
			f.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, file)
	}
	return seeds
}

// Whatever a file says of its codes, each weight is an error or can be decoded, and gives the same from wherever it is read.
func FuzzDecode(f *testing.F) {
	for _, seed := range decodeSeeds(f) {
		f.Add(seed, uint16(3), uint16(40), uint16(17))
	}
	path := filepath.Join(f.TempDir(), "m.onnx")
	f.Fuzz(func(t *testing.T, file []byte, from, count, cut uint16) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := Open(path)
		if err != nil {
			return // FuzzWalk's matter
		}
		defer m.Close()
		weights, err := m.Weights()
		if err != nil {
			if e := (*source.Error)(nil); !errors.As(err, &e) || e.Problem == "" || errors.Is(err, source.ErrMisuse) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for i := range weights {
			x := &weights[i].Tensor
			size := int64(x.Type.Size())
			if want, ok := source.Bytes(x.Shape, x.Type); !ok || want != x.Data.Size || len(weights[i].Perm) != len(x.Shape) {
				t.Fatalf("%+v: %d bytes of data, expected %d", weights[i], x.Data.Size, want)
			}
			elements := x.Data.Size / size
			first := int64(from) % (elements + 1)
			n := min(int64(count), elements-first)
			whole := make([]byte, n*size)
			if err := m.ReadAt(whole, x, first*size); err != nil {
				t.Fatal(err)
			}
			at := min(int64(cut), n)
			parts := make([]byte, n*size)
			if err := m.ReadAt(parts[at*size:], x, (first+at)*size); err != nil {
				t.Fatal(err)
			}
			if err := m.ReadAt(parts[:at*size], x, first*size); err != nil || !bytes.Equal(parts, whole) {
				t.Fatalf("%s: %d elements from %d differ where they are read as %d and the rest, %v", x.Name, n, first, at, err)
			}
			fuzzBlocks(t, m, x)
		}
	})
}

// fuzzBlocks reads the first and the last block of a tensor's codes, if it has any.
func fuzzBlocks(t *testing.T, m *Model, x *source.Tensor) {
	t.Helper()
	c := x.Codes
	if c == nil || x.Data.Size == 0 {
		return
	}
	if err := c.Scheme.Validate(); err != nil || len(c.Block) != len(x.Shape) {
		t.Fatalf("%+v: %v", c, err)
	}
	first, last, one := make([]uint64, len(c.Block)), make([]uint64, len(c.Block)), make([]uint64, len(c.Block))
	for i, b := range c.Block {
		last[i], one[i] = (x.Shape[i]-1)/b, 1
	}
	for _, at := range [][]uint64{first, last} {
		if err := c.Blocks.ReadBlocks(&m.Catalogue, make([]element.Block, 1), at, one); err != nil {
			t.Fatal(err)
		}
	}
}
