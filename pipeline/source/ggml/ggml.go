// Package ggml reads the catalogue of a model of whisper.cpp: the file that its convert-pt-to-ggml.py and convert-h5-to-ggml.py
// write and its quantize tool rewrites (whisper_model_load in whisper.cpp reads it). Numbers are little-endian, 32 bits each, and nothing
// is aligned.
//
//	magic 0x67676d6c ("ggml")
//	n_vocab n_audio_ctx n_audio_state n_audio_head n_audio_layer        become Sizes, as OpenAI's dims
//	n_text_ctx n_text_state n_text_head n_text_layer n_mels ftype
//	mel filters: n_mels, n_fft, f32[n_mels*n_fft]                       passed over
//	vocabulary: number; length, bytes of each                           passed over
//	tensors up to the end of the file: rank, length of the name, type, axes (innermost first), name, data
//
// Names are OpenAI's. Floats are located; q4_0, q4_1, q5_0, q5_1 and q8_0 are decoded as they are read. A tensor of another type is
// known by its name and type alone.
package ggml

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"npuw/pipeline/source"
	"npuw/pipeline/source/internal/ggmlfile"
)

// What a file may ask for. Each is far above what whisper.cpp writes and far below what would hurt.
const (
	maxTensors = 1 << 16
	maxName    = 256     // bytes of a tensor's name
	maxRank    = 4       // axes of a tensor
	maxSize    = 1 << 24 // each of the model's sizes
	maxTokens  = 1 << 24 // of the vocabulary
)

const magic = 0x67676d6c

// quantization is the version of the blocks that ggmlfile decodes; ftype has it times versionFactor.
const (
	quantization  = 2
	versionFactor = 1000
)

// What to do about most faults.
const (
	convertAgain = "download or convert the file again"
	convertFloat = "convert the model to f16 or q8_0 with a newer whisper.cpp"
)

// sizes are the model's, in the order of the file, under OpenAI's names.
var sizes = []string{
	"n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels",
}

// Recognise reports whether a file that begins with prefix may be one of ggml's.
func Recognise(prefix []byte) bool {
	return len(prefix) >= 4 && binary.LittleEndian.Uint32(prefix) == magic
}

// Open reads the catalogue of whisper.cpp's model at path. Every error is a *source.Error.
func Open(path string) (*source.Catalogue, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	r := &reader{
		Reader: ggmlfile.NewReader(f), names: map[string]bool{},
		c: &source.Catalogue{Kind: "ggml", Path: path, Files: []*source.File{f}, Sizes: map[string]int64{}, Others: map[string]string{}},
	}
	r.read()
	if !r.OK() {
		f.Close()
		return nil, r.Err()
	}
	return r.c, nil
}

// reader is a file while it is being read.
type reader struct {
	*ggmlfile.Reader
	c       *source.Catalogue
	names   map[string]bool
	version int64 // of quantization
}

func (r *reader) read() {
	if r.U32("the magic number") != magic {
		r.Fail(0, "", source.ErrNotRecognised, fmt.Sprintf("does not begin with %#x", magic), "give a model of whisper.cpp")
	}
	for _, name := range sizes {
		r.c.Sizes["dims."+name] = r.count(name, maxSize)
	}
	r.version = r.count("ftype", maxSize) / versionFactor
	r.filters()
	for tokens := r.count("the number of tokens", maxTokens); tokens > 0 && r.OK(); tokens-- {
		r.Skip(int64(r.U32("a token")), "a token")
	}
	for r.OK() && r.Left() > 0 {
		r.tensor()
	}
}

// count reads a number that is not negative, and may be so great.
func (r *reader) count(thing string, most int64) int64 {
	at := r.At()
	n := int64(int32(r.U32(thing)))
	if n < 0 || n > most {
		r.Fail(at, thing, source.ErrLimit, fmt.Sprintf("%d, expected 0 to %d", n, most), "give a Whisper model of whisper.cpp; others of ggml's older files are not read")
		return 0
	}
	return n
}

// filters passes over the mel filters.
func (r *reader) filters() {
	at := r.At()
	mels, ffts := r.count("the number of mel filters", maxSize), r.count("the size of a mel filter", maxSize)
	if r.OK() && mels != r.c.Sizes["dims.n_mels"] {
		r.Fail(at, "the mel filters", source.ErrMismatch, fmt.Sprintf("there are %d, and n_mels is %d", mels, r.c.Sizes["dims.n_mels"]), convertAgain)
	}
	r.Skip(4*mels*ffts, "the mel filters")
}

// tensor reads what the file says of the next tensor, and passes over its data.
func (r *reader) tensor() {
	at := r.At()
	unnamed := fmt.Sprintf("tensor %d", len(r.names))
	rank, length, t := r.U32(unnamed), r.U32(unnamed), ggmlfile.TypeOf(r.U32(unnamed))
	switch {
	case len(r.names) == maxTensors:
		r.Fail(at, unnamed, source.ErrLimit, fmt.Sprintf("more than %d tensors", maxTensors), convertAgain)
	case rank > maxRank:
		r.Fail(at, unnamed, source.ErrLimit, fmt.Sprintf("%d axes, limit %d", rank, maxRank), convertAgain)
	case length == 0 || length > maxName:
		r.Fail(at, unnamed, source.ErrLimit, fmt.Sprintf("a name of %d bytes, expected 1 to %d", length, maxName), convertAgain)
	}
	if !r.OK() {
		return
	}
	shape := make([]uint64, rank)
	for axis := range shape {
		n := int32(r.U32(unnamed))
		if n < 0 {
			r.Fail(at, unnamed, source.ErrCorrupt, fmt.Sprintf("an axis of length %d", n), convertAgain)
			return
		}
		shape[int(rank)-1-axis] = uint64(n)
	}
	name := string(r.Bytes(int64(length), unnamed))
	thing := fmt.Sprintf("tensor %.200q", name)
	size, problem := t.Size(shape)
	switch {
	case problem != "":
		r.Fail(at, thing, source.ErrCorrupt, problem, convertAgain)
	case r.names[name]:
		r.Fail(at, thing, source.ErrCorrupt, "there are two tensors of this name", convertAgain)
	case t.Bytes == 0: // where the next one begins is not known
		r.Fail(at, thing, source.ErrUnsupported, fmt.Sprintf("its type is %s, which this version does not know", t.Name), convertFloat)
	case t.Coded() && r.version != quantization:
		r.Fail(at, thing, source.ErrUnsupported, fmt.Sprintf("%s of quantization version %d; %d is read", t.Name, r.version, quantization), convertFloat)
	}
	data := r.At()
	r.Skip(size, thing)
	if !r.OK() {
		return
	}
	r.names[name] = true
	if !t.Read() {
		r.c.Others[name] = t.Name
		return
	}
	r.c.Tensors = append(r.c.Tensors, t.Tensor(name, trained(name, shape), data, size))
}

// trained is the shape that a parameter has in PyTorch. Converters make the biases of the convolutions [n, 1] for ggml to broadcast.
func trained(name string, shape []uint64) []uint64 {
	if !strings.HasSuffix(name, ".bias") || len(shape) < 2 {
		return shape
	}
	return slices.DeleteFunc(shape, func(n uint64) bool { return n == 1 })
}
