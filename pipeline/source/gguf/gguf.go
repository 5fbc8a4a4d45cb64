// Package gguf reads the catalogue of a GGUF file, versions 2 and 3, little-endian (docs/gguf.md of ggml-org/ggml): what it says of
// the model, which tensors it holds, and where their bytes lie.
//
//	"GGUF" version
//	number of tensors, of keys
//	keys ────── integers become Sizes, the rest is passed over
//	tensors ─── name, axes (innermost first), type, offset in the data
//	zeros up to general.alignment
//	data ────── f32, f16, bf16, f64: located
//	            q4_0, q4_1, q5_0, q5_1, q8_0: decoded as they are read
//
// A tensor of another type is known by its name and type alone.
package gguf

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"npuw/pipeline/source"
	"npuw/pipeline/source/internal/ggmlfile"
)

// What a file may ask for. Each is far above what converters write and far below what would hurt.
const (
	maxTensors   = 1 << 16  // tensors
	maxKeys      = 1 << 16  // keys
	maxKeyBytes  = 16 << 20 // bytes of all keys
	maxElements  = 1 << 24  // elements of arrays of strings or arrays, all together
	maxDepth     = 4        // arrays in arrays
	maxName      = 256      // bytes of a tensor's name; ggml has 63 itself
	maxRank      = 4        // axes of a tensor
	maxAlignment = 1 << 20  // bytes
)

const (
	magic            = "GGUF"
	alignmentKey     = "general.alignment"
	defaultAlignment = 32
	quantizationKey  = "general.quantization_version"
	quantization     = 2 // of the blocks that ggmlfile decodes
	splitKey         = "split.count"
)

// What to do about most faults.
const (
	convertAgain = "download or convert the file again"
	convertFloat = "convert the model to f16 or q8_0"
)

// Recognise reports whether a file that begins with prefix may be a GGUF file.
func Recognise(prefix []byte) bool { return bytes.HasPrefix(prefix, []byte(magic)) }

// Open reads the catalogue of the GGUF file at path. Every error is a *source.Error.
func Open(path string) (*source.Catalogue, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	r := &reader{
		Reader: ggmlfile.NewReader(f), alignment: defaultAlignment, keys: map[string]bool{},
		c: &source.Catalogue{Kind: "gguf", Path: path, Files: []*source.File{f}, Sizes: map[string]int64{}, Others: map[string]string{}},
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
	c         *source.Catalogue
	alignment int64
	keys      map[string]bool
	keyBytes  int64
	elements  uint64
}

// info is what the file says of a tensor.
type info struct {
	at     int64 // of what it says
	name   string
	shape  []uint64
	t      *ggmlfile.Type
	offset uint64 // in the data
	size   int64
}

func (i *info) String() string { return fmt.Sprintf("tensor %.200q", i.name) }

func (r *reader) read() {
	if !bytes.Equal(r.Bytes(4, "the magic number"), []byte(magic)) {
		r.Fail(0, "", source.ErrNotRecognised, "does not begin with "+magic, "give a GGUF file")
	}
	switch version := r.U32("the version"); {
	case !r.OK() || version == 2 || version == 3:
	case version != 0 && version&0xffff == 0:
		r.Fail(4, "", source.ErrUnsupported, "the file is big-endian; little-endian is read", "convert it to little-endian")
	default:
		r.Fail(4, "", source.ErrUnsupported, fmt.Sprintf("version %d of GGUF; 2 and 3 are read", version), "convert the model with a newer tool")
	}
	tensors := r.count("the number of tensors", maxTensors)
	for keys := r.count("the number of keys", maxKeys); keys > 0 && r.OK(); keys-- {
		r.key()
	}
	r.settings()
	infos := make([]info, 0, min(tensors, 1024))
	for ; tensors > 0 && r.OK(); tensors-- {
		infos = append(infos, r.info())
	}
	if r.OK() {
		r.place(infos)
	}
}

// count reads a number of things, of which there may be so many.
func (r *reader) count(thing string, most uint64) uint64 {
	at := r.At()
	n := r.U64(thing)
	if n > most {
		r.Fail(at, thing, source.ErrLimit, fmt.Sprintf("%d, limit %d", n, most), convertAgain)
		return 0
	}
	return n
}

// text reads a string of at most so many bytes.
func (r *reader) text(thing string, most uint64) string {
	return string(r.Bytes(int64(r.count("the length of "+thing, most)), thing))
}

// settings checks what the keys say of the file itself.
func (r *reader) settings() {
	for _, key := range []string{alignmentKey, splitKey, quantizationKey} {
		if _, ok := r.c.Sizes[key]; r.keys[key] && !ok {
			r.Fail(-1, key, source.ErrCorrupt, "is no integer", convertAgain)
		}
	}
	if a, ok := r.c.Sizes[alignmentKey]; ok {
		if a < 8 || a > maxAlignment || a&(a-1) != 0 {
			r.Fail(-1, alignmentKey, source.ErrCorrupt, fmt.Sprintf("%d, expected a power of two from 8 to %d", a, maxAlignment), convertAgain)
			return
		}
		r.alignment = a
	}
	if n := r.c.Sizes[splitKey]; n > 1 {
		r.Fail(-1, splitKey, source.ErrUnsupported, fmt.Sprintf("the file is one of %d parts of a model", n), "join them with llama-gguf-split --merge")
	}
}

// info reads what the file says of one tensor.
func (r *reader) info() info {
	i := info{at: r.At(), name: r.text("a tensor's name", maxName)}
	rank := r.U32(i.String())
	if rank > maxRank {
		r.Fail(i.at, i.String(), source.ErrLimit, fmt.Sprintf("%d axes, limit %d", rank, maxRank), convertAgain)
		return i
	}
	i.shape = make([]uint64, rank)
	for axis := range i.shape {
		i.shape[len(i.shape)-1-axis] = r.U64(i.String())
	}
	i.t = ggmlfile.TypeOf(r.U32(i.String()))
	i.offset = r.U64(i.String())
	var problem string
	if i.size, problem = i.t.Size(i.shape); problem != "" {
		r.Fail(i.at, i.String(), source.ErrCorrupt, problem, convertAgain)
	}
	if i.name == "" {
		r.Fail(i.at, "", source.ErrCorrupt, "a tensor without a name", convertAgain)
	}
	return i
}

// place finds the data of the tensors, and adds them to the catalogue.
func (r *reader) place(infos []info) {
	start := r.At() + (r.alignment-r.At()%r.alignment)%r.alignment // of the data
	available := max(r.c.Files[0].Size-start, 0)
	names := make(map[string]bool, len(infos))
	for n := range infos {
		i := &infos[n]
		quantized, stated := r.c.Sizes[quantizationKey]
		switch {
		case names[i.name]:
			r.Fail(i.at, i.String(), source.ErrCorrupt, "there are two tensors of this name", convertAgain)
		case i.offset%uint64(r.alignment) != 0:
			r.Fail(i.at, i.String(), source.ErrCorrupt, fmt.Sprintf("its data begins at %d, which is no multiple of the alignment, %d", i.offset, r.alignment), convertAgain)
		case i.offset > uint64(available) || i.size > available-int64(i.offset):
			r.Fail(i.at, i.String(), source.ErrTruncated, fmt.Sprintf("%d bytes at %d of the data, which has %d", i.size, i.offset, available), convertAgain)
		case i.t.Coded() && stated && quantized != quantization:
			r.Fail(i.at, i.String(), source.ErrUnsupported, fmt.Sprintf("%s of quantization version %d; %d is read", i.t.Name, quantized, quantization), convertFloat)
		}
		if !r.OK() {
			return
		}
		names[i.name] = true
		if !i.t.Read() {
			r.c.Others[i.name] = i.t.Name
			continue
		}
		r.c.Tensors = append(r.c.Tensors, i.t.Tensor(i.name, i.shape, start+int64(i.offset), i.size))
	}
	r.apart(infos)
}

// apart fails if tensors share bytes.
func (r *reader) apart(infos []info) {
	infos = slices.DeleteFunc(infos, func(i info) bool { return i.size == 0 })
	slices.SortFunc(infos, func(a, b info) int { return cmp.Compare(a.offset, b.offset) })
	for n := 1; n < len(infos); n++ {
		a, b := &infos[n-1], &infos[n]
		if end := a.offset + uint64(a.size); end > b.offset {
			r.Fail(b.at, b.String(), source.ErrCorrupt, fmt.Sprintf("its data begins at %d, where that of %s ends only at %d", b.offset, a, end), convertAgain)
			return
		}
	}
}
