// Package safetensors reads the catalogue of a safetensors file, or of a model that is cut into several of them with an index: which
// tensors it holds and where their bytes lie. No weight byte is touched.
//
//	byte 0   8          8+n                                  file size
//	+--------+----------+------------------------------------+
//	| u64 n  | JSON     | tensors, end to end                |
//	+--------+----------+------------------------------------+
//	{"__metadata__": {...}, "name": {"dtype": "F32", "shape": [N,K], "data_offsets": [begin, end]}, ...}
//
// All is little-endian; offsets count from the end of the header. The format is that of huggingface/safetensors, README.md, "Format".
package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// What a file may ask for; the limits of the reference are higher or none.
const (
	maxHeader = 32 << 20 // bytes of a header, or of an index: some 200,000 tensors
	maxName   = 4096     // bytes of a tensor's name
	maxRank   = 32       // axes of a tensor
	maxShards = 4096     // files of a model
)

// indexEnd is what an index file adds to the name that the model would have as one file.
const indexEnd = ".index.json"

// shardName matches the part of a shard's name that says which of how many it is.
var shardName = regexp.MustCompile(`-\d{5}-of-\d{5}\.safetensors$`)

// Recognise reports whether a file that begins with prefix may be a safetensors file: a length, and the JSON it is that of.
func Recognise(prefix []byte) bool {
	return len(prefix) > 8 && prefix[8] == '{' && binary.LittleEndian.Uint64(prefix) < 1<<40
}

// RecogniseIndex reports whether a file that begins with prefix may be the index of a model in several files: whether it is JSON, and
// an object.
func RecogniseIndex(prefix []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(prefix, " \t\r\n"), []byte("{"))
}

// Open reads the catalogue of the safetensors file at path. If it is one of several that make a model, and their index lies beside it,
// it is that of the model. Every error is a *source.Error.
func Open(path string) (*source.Catalogue, error) {
	if at := shardName.FindStringIndex(path); at != nil {
		index := path[:at[0]] + ".safetensors" + indexEnd
		if _, err := os.Lstat(index); err == nil {
			return OpenIndex(index)
		}
	}
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	c := &source.Catalogue{Kind: "safetensors", Path: path, Files: []*source.File{f}}
	h, err := readHeader(f, f.Size, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	h.addTo(c, 0)
	return c, nil
}

// OpenIndex reads the catalogue of the model whose index (model.safetensors.index.json) is at path. The files that it names lie in
// the same folder. Each tensor must be where the index says, and no other may be there. Every error is a *source.Error.
func OpenIndex(path string) (*source.Catalogue, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	c := &source.Catalogue{Kind: "safetensors", Path: path, Files: []*source.File{f}}
	if err := openShards(c, f); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// openShards adds to c what the index f leads to.
func openShards(c *source.Catalogue, f *source.File) error {
	x, err := readIndex(f, f.Size, f.Path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(f.Path))
	if err != nil {
		return &source.Error{File: filepath.Dir(f.Path), Offset: -1, Problem: "cannot be opened: " + err.Error(), Next: "check the path and its permissions", Err: err}
	}
	defer root.Close()
	found := 0
	total := uint64(0)
	for _, name := range x.files {
		shard, err := source.OpenBeside(root, name)
		if err != nil {
			return missingShard(err)
		}
		c.Files = append(c.Files, shard)
		h, err := readHeader(shard, shard.Size, shard.Path)
		if err != nil {
			return err
		}
		for i := range h.tensors {
			t := &h.tensors[i]
			if want, ok := x.fileOf[t.name]; !ok || want != name {
				return fail(shard.Path, t.name, source.ErrMismatch, fmt.Sprintf("the index %s does not have it in this file", filepath.Base(f.Path)), nextWhole)
			}
			total += t.end - t.begin
		}
		found += len(h.tensors)
		h.addTo(c, len(c.Files)-1)
	}
	if found != len(x.fileOf) {
		return notThere(c, x)
	}
	if x.hasTotal && x.total != total {
		return &source.Error{
			File: f.Path, Offset: -1, Thing: "total_size", Err: source.ErrMismatch, Next: nextWhole,
			Problem: fmt.Sprintf("says %d bytes, the files have %d of tensors", x.total, total),
		}
	}
	return nil
}

// nextWhole is what helps against files that are not of one model.
const nextWhole = "download index and files again, all of the same revision"

// missingShard says what a file is for that is not there.
func missingShard(err error) error {
	var e *source.Error
	if errors.As(err, &e) && e.Err != source.ErrUnsafePath {
		named := *e
		named.Next = "the index names it: download all files of the model into one folder"
		return &named
	}
	return err
}

// notThere is the error for the first tensor of the index that no file has.
func notThere(c *source.Catalogue, x *index) error {
	have := make(map[string]bool, len(c.Tensors))
	for i := range c.Tensors {
		have[c.Tensors[i].Name] = true
	}
	for _, name := range x.names {
		if _, other := c.Others[name]; !have[name] && !other {
			return fail(c.Path, name, source.ErrMismatch, fmt.Sprintf("is to be in %s, and is not", x.fileOf[name]), nextWhole)
		}
	}
	return fail(c.Path, "", source.ErrMismatch, "names a tensor that no file has", nextWhole)
}

// addTo adds the tensors to c, of which they are file number file.
func (h *header) addTo(c *source.Catalogue, file int) {
	for i := range h.tensors {
		t := &h.tensors[i]
		at := source.Data{File: file, Offset: h.data + int64(t.begin), Size: int64(t.end - t.begin)}
		switch d := dtypes[t.dtype]; {
		case d.format != 0:
			c.Tensors = append(c.Tensors, source.Tensor{Name: t.name, Type: d.format, Shape: t.shape, Data: at})
		case d.float8 != nil:
			c.Tensors = append(c.Tensors, d.float8.Tensor(t.name, t.shape, at))
		default:
			if c.Others == nil {
				c.Others = map[string]string{}
			}
			c.Others[t.name] = t.dtype
		}
	}
}

// dtype is an element type.
type dtype struct {
	bits   uint64
	format element.Format // 0: not one of floats that are read as they are
	float8 *source.Float8
}

// dtypes are those of the format.
var dtypes = map[string]dtype{
	"F64": {bits: 64, format: element.F64}, "F32": {bits: 32, format: element.F32},
	"F16": {bits: 16, format: element.F16}, "BF16": {bits: 16, format: element.BF16},
	"F8_E4M3": {bits: 8, float8: source.E4M3}, "F8_E5M2": {bits: 8, float8: source.E5M2}, "F8_E8M0": {bits: 8},
	"F6_E2M3": {bits: 6}, "F6_E3M2": {bits: 6}, "F4": {bits: 4},
	"I64": {bits: 64}, "I32": {bits: 32}, "I16": {bits: 16}, "I8": {bits: 8},
	"U64": {bits: 64}, "U32": {bits: 32}, "U16": {bits: 16}, "U8": {bits: 8},
	"BOOL": {bits: 8}, "C64": {bits: 64},
}

// fail gives an error about a tensor, or about the file as a whole if name is "".
func fail(path, name string, sentinel error, problem, next string) error {
	e := &source.Error{File: path, Offset: -1, Problem: problem, Next: next, Err: sentinel}
	if name != "" {
		e.Thing = fmt.Sprintf("tensor %.200q", name)
	}
	return e
}

// readAll reads n bytes at offset.
func readAll(src io.ReaderAt, path string, offset int64, n uint64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := src.ReadAt(b, offset); uint64(got) < n {
		if errors.Is(err, io.EOF) {
			return nil, &source.Error{File: path, Offset: offset + int64(got), Problem: "the file ends here", Next: "download it again", Err: source.ErrTruncated}
		}
		return nil, &source.Error{File: path, Offset: offset, Problem: "cannot be read: " + err.Error(), Next: "check the disk, or copy the file elsewhere", Err: err}
	}
	return b, nil
}

// IndexName reports whether a file of that name is the index of a model in several files.
func IndexName(name string) bool { return strings.HasSuffix(name, ".safetensors"+indexEnd) }
