package whisperfiles

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"

	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
)

// GGUF gives a file of version 3 that holds tensors: with some keys of every kind, and sizes as keys.
func GGUF(tensors []Tensor, alignment int, sizes map[string]int64) []byte {
	le := binary.LittleEndian
	keys := [][]byte{
		Key("general.architecture", 8, Text("whisper")),
		Key("general.alignment", 4, le.AppendUint32(nil, uint32(alignment))),
		Key("general.quantization_version", 4, le.AppendUint32(nil, 2)),
		Key("test.true", 7, []byte{1}),
		Key("test.half", 12, le.AppendUint64(nil, math.Float64bits(0.5))),
		Key("test.minus", 3, le.AppendUint16(nil, 0xfffe)),
		Key("test.words", 9, Array(8, 2, slices.Concat(Text("one"), Text("")))),
		Key("test.nested", 9, Array(9, 2, slices.Concat(Array(0, 3, []byte{1, 2, 3}), Array(8, 1, Text("x"))))),
	}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		keys = append(keys, Key(name, 11, le.AppendUint64(nil, uint64(sizes[name]))))
	}
	out := le.AppendUint64(le.AppendUint64(le.AppendUint32([]byte("GGUF"), 3), uint64(len(tensors))), uint64(len(keys)))
	for _, k := range keys {
		out = append(out, k...)
	}
	var data []byte
	for i := range tensors {
		t := &tensors[i]
		axes := make([]uint64, len(t.Shape))
		for axis, n := range t.Shape {
			axes[len(axes)-1-axis] = uint64(n)
		}
		data = padded(data, alignment)
		out = append(out, Info(t.Name, axes, numbers[t.Type], uint64(len(data)))...)
		data = append(data, t.Bytes()...)
	}
	return append(padded(out, alignment), padded(data, alignment)...)
}

// Text is a string of GGUF.
func Text(s string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(s))), s...)
}

// Key is a key of GGUF with a value of a type.
func Key(name string, typ uint32, value []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(Text(name), typ), value...)
}

// Array is a value of GGUF: n elements of a type.
func Array(typ uint32, n uint64, elements []byte) []byte {
	return append(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, typ), n), elements...)
}

// Info is what GGUF says of a tensor, its axes innermost first.
func Info(name string, axes []uint64, typ uint32, offset uint64) []byte {
	out := binary.LittleEndian.AppendUint32(Text(name), uint32(len(axes)))
	for _, n := range axes {
		out = binary.LittleEndian.AppendUint64(out, n)
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(out, typ), offset)
}

func padded(b []byte, alignment int) []byte {
	return append(b, make([]byte, (alignment-len(b)%alignment)%alignment)...)
}

// Ggml gives a file of whisper.cpp: sizes of the encoder c and the decoder d, mel filters, a vocabulary of three tokens, tensors under OpenAI's names. As
// its converters do, it makes the biases of the convolutions [n, 1]. ftype is the type of the most tensors, with the version of
// quantization times 1000.
func Ggml(c whisperonnx.Config, d checkpoints.Decoder, tensors []Tensor, ftype int) []byte {
	le := binary.LittleEndian
	numbersOf := func(b []byte, list ...int) []byte {
		for _, n := range list {
			b = le.AppendUint32(b, uint32(n))
		}
		return b
	}
	out := numbersOf(nil, 0x67676d6c, d.Vocab, c.Positions, c.DModel, c.Heads, c.Layers, d.Positions, c.DModel, c.Heads, d.Layers, c.Mels, ftype)
	out = append(numbersOf(out, c.Mels, 5), make([]byte, 4*5*c.Mels)...)
	out = numbersOf(out, 3)
	for _, token := range []string{"!", "", "the"} {
		out = append(numbersOf(out, len(token)), token...)
	}
	for i := range tensors {
		t := &tensors[i]
		name, shape := checkpoints.OpenAI(t.Name), t.Shape
		if strings.Contains(name, "conv") && strings.HasSuffix(name, ".bias") {
			shape = append(append([]int{}, shape...), 1)
		}
		out = numbersOf(out, len(shape), len(name), int(numbers[t.Type]))
		for axis := range shape {
			out = numbersOf(out, shape[len(shape)-1-axis])
		}
		out = append(append(out, name...), t.Bytes()...)
	}
	return out
}
