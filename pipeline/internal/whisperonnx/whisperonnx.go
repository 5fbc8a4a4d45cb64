// Package whisperonnx makes ONNX files of Whisper encoders for tests and benchmarks: the nodes, names and initializers that
// torch.onnx writes, at any size, in any float type, with weights that the test can compute again.
//
//	err := whisperonnx.Write(path, whisperonnx.Base)
//	for _, p := range whisperonnx.Base.Parameters() { ... p.Name, p.Shape, p.At(i) }
//
// Weights are streamed: a model of any size is written with the memory of its graph.
package whisperonnx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"npuw/artifact/element"
)

// Config says what to write. Heads must divide DModel; all sizes are at least 1.
type Config struct {
	DModel, Layers, Heads, FFN, Mels, Positions int

	Seed uint64
	Type element.Format // of weights and constants: F32 (also 0), F16, BF16 or F64

	// Gemm writes linear layers as ONNX optimizers do, Reshape and Gemm with transB=1 and weights [N,K]. Otherwise they are
	// MatMul with an anonymous initializer [K,N], and Add.
	Gemm bool
	// ConstantNodes gives the weights as outputs of Constant nodes. Otherwise they are initializers.
	ConstantNodes bool
	// External puts the weights, end to end, into a file beside the model, named like it with "_data" after it.
	External bool
}

// Sizes that tests and benchmarks use.
var (
	Base    = Config{DModel: 512, Layers: 6, Heads: 8, FFN: 2048, Mels: 80, Positions: 1500}     // whisper-base
	Large16 = Config{DModel: 1280, Layers: 20, Heads: 20, FFN: 5120, Mels: 128, Positions: 1500} // 1.6 GB in F32
	Tiny    = Config{DModel: 64, Layers: 2, Heads: 4, FFN: 128, Mels: 16, Positions: 50}         // testdata/whisper-tiny
	Odd     = Config{DModel: 36, Layers: 2, Heads: 3, FFN: 100, Mels: 7, Positions: 11}          // multiples of no tile
)

// Write writes the model to path, and its data file beside it if there is one. Files that are there are replaced.
func Write(path string, c Config) (err error) {
	if c.Type == 0 {
		c.Type = element.F32
	}
	if min(c.DModel, c.Layers, c.Heads, c.FFN, c.Mels, c.Positions) < 1 || c.DModel%c.Heads != 0 || c.Type > element.F64 {
		return fmt.Errorf("whisperonnx: no such encoder: %+v", c)
	}
	model, data := c.model(filepath.Base(path) + "_data")
	if c.External {
		if err := writeFile(path+"_data", data); err != nil {
			return err
		}
	}
	return writeFile(path, model)
}

func writeFile(path string, m message) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(m.write(f), f.Close())
}
