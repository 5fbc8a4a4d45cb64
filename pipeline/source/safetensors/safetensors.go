// Package safetensors reads the catalogue of a safetensors file: which tensors it holds and where their bytes lie. No
// weight byte is touched.
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
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// What a file may ask for; the limits of the reference are higher or none.
const (
	maxHeader  = 32 << 20 // bytes of a header
	maxTensors = 1 << 17
	maxName    = 4096 // bytes of a tensor's name
	maxRank    = 32   // axes of a tensor
)

// Recognise reports whether a file that begins with prefix may be a safetensors file: a length, and the JSON it is that of.
func Recognise(prefix []byte) bool {
	return len(prefix) > 8 && prefix[8] == '{' && binary.LittleEndian.Uint64(prefix) < 1<<40
}

// Open reads the catalogue of the safetensors file at path. Every error is a *source.Error.
func Open(path string) (*source.Catalogue, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	c, _, err := Read(f, 0)
	if err != nil {
		f.Close()
		return nil, err
	}
	c.Files = []*source.File{f}
	return c, nil
}

// Read gives the tensors of f, which is to be number file of a catalogue's files, and the bytes of all of them. The catalogue that it
// gives has no files yet.
func Read(f *source.File, file int) (*source.Catalogue, int64, error) {
	h, err := readHeader(f, f.Size, f.Path)
	if err != nil {
		return nil, 0, err
	}
	c := &source.Catalogue{Kind: "safetensors", Path: f.Path}
	h.addTo(c, file)
	return c, f.Size - h.data, nil
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
