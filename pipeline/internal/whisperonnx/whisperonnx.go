// Package whisperonnx makes ONNX files of Whisper encoders and decoders for tests and benchmarks: the nodes, names and initializers that
// torch.onnx writes, or what optimizers make of them (forms.go), at any size, in any float type, with weights that the test can
// compute again.
//
//	err := whisperonnx.Write(path, whisperonnx.Base)
//	for _, p := range whisperonnx.Base.Parameters() { ... p.Name, p.Shape, p.At(i) }
//
// Weights are streamed: a model of any size is written with the memory of its graph.
package whisperonnx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"npuw/artifact/element"
)

// Config says what to write. Heads must divide DModel; all sizes are at least 1. The zero value of all else gives what torch.onnx
// of PyTorch 1.13 writes.
type Config struct {
	DModel, Layers, Heads, FFN, Mels, Positions int

	Seed uint64
	Type element.Format // of weights and constants: F32 (also 0), F16, BF16 or F64

	// Opset is the operator set: 14 (also 0), or 17, in which LayerNorm is one operator; 23 with an Attention that needs it.
	Opset int
	// Attention is how self-attention is written.
	Attention Attention

	// Gemm writes linear layers as ONNX optimizers do, Reshape and Gemm with transB=1 and weights [N,K]. Otherwise they are
	// MatMul with an anonymous initializer [K,N], and Add.
	Gemm bool
	// FusedMatMul writes them as ONNX Runtime's operator of that name, with transB=1 and weights [N,K].
	FusedMatMul bool
	// FusedGelu writes GELU as ONNX Runtime's Gelu and BiasGelu, FastGelu as its approximation. Otherwise it is made of Erf.
	FusedGelu, FastGelu bool
	// SkipNorm writes LayerNorms with the sums before them as ONNX Runtime's SkipLayerNormalization, biases included.
	SkipNorm bool

	// Gather looks positions up, 0, 1, 2..., as newer transformers does. Otherwise they are added as they are.
	Gather bool

	// Quantized gives the weights of linear layers as codes, in float32 otherwise; Dequantized gives the values that they stand for.
	Quantized   Quantized
	Dequantized bool

	// ConstantNodes gives the weights as outputs of Constant nodes. Otherwise they are initializers.
	ConstantNodes bool
	// Tied makes all LayerNorms equal and writes their tensors once; Identity nodes carry the other names.
	Tied bool
	// Nested puts every layer, with its weights, into a branch of an If, and its MLP into a branch of another If in that.
	Nested bool
	// Stripped takes away all names but those of input and output.
	Stripped bool
	// External puts the weights, end to end, into a file beside the model, named like it with "_data" after it.
	External bool
}

// Attention is a form of self-attention.
type Attention string

// The forms.
const (
	Eager         Attention = ""           // products of [batch, heads, positions, d_model/heads], the queries scaled
	ThreeAxes     Attention = "3d"         // heads are part of the batch, as transformers had it up to 4.47
	SDPA          Attention = "sdpa"       // torch's scaled_dot_product_attention: queries and keys scaled, by what is computed from shapes
	Split         Attention = "split"      // one product and one bias for q, k and v, then Split
	Operator      Attention = "operator"   // ONNX's Attention, of operator set 23
	Fused         Attention = "attention"  // ONNX Runtime's Attention: weights and biases of q, k and v joined
	MultiHead     Attention = "mha"        // its MultiHeadAttention: biases joined
	MultiHeadPack Attention = "mha-packed" // one product gives [batch, positions, heads, 3, d_model/heads]
	MultiHeadCut  Attention = "mha-sliced" // one product, then Slice
)

// Sizes that tests and benchmarks use.
var (
	Base    = Config{DModel: 512, Layers: 6, Heads: 8, FFN: 2048, Mels: 80, Positions: 1500}     // whisper-base
	Large16 = Config{DModel: 1280, Layers: 20, Heads: 20, FFN: 5120, Mels: 128, Positions: 1500} // 1.6 GB in F32
	Tiny    = Config{DModel: 64, Layers: 2, Heads: 4, FFN: 128, Mels: 16, Positions: 50}         // testdata/whisper-tiny
	Odd     = Config{DModel: 36, Layers: 2, Heads: 3, FFN: 100, Mels: 7, Positions: 11}          // multiples of no tile
)

// maxInFile is how many bytes of weights a file may hold with the graph: protobuf's messages have less than 2 GiB.
const maxInFile = 2<<30 - 64<<20

// Write writes the model to path, and its data file beside it if there is one. Files that are there are replaced; one that cannot be
// finished is removed.
func Write(path string, c Config) error { return WriteContext(context.Background(), path, c) }

// WriteContext is Write that ends early, with an error, when ctx does.
func WriteContext(ctx context.Context, path string, c Config) error {
	if c.Type == 0 {
		c.Type = element.F32
	}
	if err := c.check(); err != nil {
		return err
	}
	model, data := c.model(filepath.Base(path) + "_data")
	return writeModel(ctx, path, c, model, data)
}

// writeModel writes the two files of a model, or the one.
func writeModel(ctx context.Context, path string, c Config, model, data message) error {
	if c.External {
		if err := writeFile(ctx, path+"_data", data); err != nil {
			return err
		}
	}
	err := writeFile(ctx, path, model)
	if err != nil && c.External {
		os.Remove(path + "_data")
	}
	return err
}

// NeedsExternal reports whether weights of so many bytes do not fit into the file of their graph.
func NeedsExternal(bytes int64) bool { return bytes > maxInFile }

// check refuses what cannot be written.
func (c Config) check() error {
	sizes := min(c.DModel, c.Layers, c.Heads, c.FFN, c.Mels, c.Positions)
	if sizes < 1 || c.DModel%c.Heads != 0 || c.Type > element.F64 || c.Opset != 0 && c.Opset != 14 && c.Opset != 17 {
		return fmt.Errorf("whisperonnx: no such encoder: %+v", c)
	}
	if NeedsExternal(c.Bytes()) && !c.External {
		return fmt.Errorf("whisperonnx: %d bytes of weights do not fit into one protobuf message: write them as external data", c.Bytes())
	}
	if c.Tied && c.Nested {
		return fmt.Errorf("whisperonnx: a branch does not see what is tied in another")
	}
	joined := c.Attention == Split || c.Attention == Fused || c.Attention == MultiHeadPack || c.Attention == MultiHeadCut
	if joined && (c.Gemm || c.FusedMatMul) || c.Gemm && c.FusedMatMul {
		return fmt.Errorf("whisperonnx: attention %q, Gemm and FusedMatMul say different things of the same layers", c.Attention)
	}
	if c.Quantized != "" && (c.Gemm || c.FusedMatMul || max(c.Type, element.F32) != element.F32) {
		return fmt.Errorf("whisperonnx: weights in %q say how layers are written, in float32", c.Quantized)
	}
	return nil
}

// opset is the operator set that is written.
func (c Config) opset() int {
	if c.Attention == Operator {
		return 23
	}
	if c.Quantized == QDQBlocks {
		return 21
	}
	return max(c.Opset, 14)
}

// Bytes is the size of all weights.
func (c Config) Bytes() int64 { return bytesOf(c.Parameters()) }

func bytesOf(list []Parameter) int64 {
	var n int64
	for _, p := range list {
		n += int64(p.Elements()) * int64(p.format.Size()) // format is F32 where Type is 0
	}
	return n
}

func writeFile(ctx context.Context, path string, m message) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(writerFunc(func(b []byte) (int, error) {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		return f.Write(b)
	}), 256<<10)
	if err := errors.Join(m.write(w), w.Flush(), f.Close()); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

// writerFunc is a function as an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
