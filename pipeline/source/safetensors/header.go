package safetensors

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"unicode/utf8"

	"npuw/pipeline/internal/strictjson"
	"npuw/pipeline/source"
)

// header is what stands before the tensors, which begin at byte data. They are in the order of their bytes.
type header struct {
	data    int64
	tensors []tensor
}

// tensor is an entry of a header; begin and end count from the end of the header.
type tensor struct {
	name, dtype string
	shape       []uint64
	begin, end  uint64
}

// readHeader reads and checks the header of a file of size bytes, called path in errors: the tensors fill what is behind it, without
// gaps and without sharing a byte.
func readHeader(src io.ReaderAt, size int64, path string) (*header, error) {
	if size < 8 {
		return nil, fail(path, "", source.ErrTruncated, fmt.Sprintf("%d bytes are no safetensors file, which begins with a length of 8", size), "download it again")
	}
	first, err := readAll(src, path, 0, 8)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(first)
	switch {
	case n > maxHeader:
		return nil, &source.Error{
			File: path, Offset: 0, Problem: fmt.Sprintf("a header of %d bytes, limit %d", n, maxHeader), Next: "no real model has so many tensors: check where the file is from",
			Err: source.ErrLimit,
		}
	case n > uint64(size-8):
		return nil, &source.Error{
			File: path, Offset: 0, Problem: fmt.Sprintf("a header of %d bytes in a file of %d", n, size), Next: "download it again", Err: source.ErrTruncated,
		}
	}
	text, err := readAll(src, path, 8, n)
	if err != nil {
		return nil, err
	}
	h := &header{data: 8 + int64(n)}
	if h.tensors, err = parseHeader(path, text); err != nil {
		return nil, err
	}
	return h, h.check(path, uint64(size)-8-n)
}

// parseHeader reads the JSON of a header.
func parseHeader(path string, text []byte) ([]tensor, error) {
	if len(text) == 0 || text[0] != '{' || !utf8.Valid(text) {
		return nil, &source.Error{File: path, Offset: 8, Problem: "the header is no JSON object in UTF-8", Next: "download the file again", Err: source.ErrCorrupt}
	}
	j := strictjson.New(path, 8, text)
	var list []tensor
	err := j.Object(func(name string) error {
		if name == "__metadata__" {
			return j.Object(func(string) error {
				_, err := j.Text()
				return err
			})
		}
		if len(name) > maxName {
			return j.Fail(source.ErrLimit, fmt.Sprintf("a tensor's name of %d bytes, limit %d", len(name), maxName))
		}
		if len(list) == maxTensors {
			return j.Fail(source.ErrLimit, fmt.Sprintf("more than %d tensors", maxTensors))
		}
		t, err := parseTensor(j, name)
		list = append(list, t)
		return err
	})
	if err == nil {
		err = j.End()
	}
	return list, err
}

// parseTensor reads one entry.
func parseTensor(j *strictjson.Reader, name string) (tensor, error) {
	t := tensor{name: name}
	has := 0
	err := j.Object(func(key string) (err error) {
		has++
		switch key {
		case "dtype":
			t.dtype, err = j.Text()
		case "shape":
			t.shape, err = j.Numbers(maxRank)
		case "data_offsets":
			var at []uint64
			if at, err = j.Numbers(2); err == nil && len(at) != 2 {
				err = j.Fail(source.ErrCorrupt, fmt.Sprintf("tensor %.200q has %d data_offsets, expected begin and end", name, len(at)))
			}
			if err == nil {
				t.begin, t.end = at[0], at[1]
			}
		default:
			err = j.Fail(source.ErrUnsupported, fmt.Sprintf("tensor %.200q has a field %.200q, which safetensors does not have", name, key))
		}
		return err
	})
	if err == nil && has != 3 {
		err = j.Fail(source.ErrCorrupt, fmt.Sprintf("tensor %.200q does not have all of dtype, shape and data_offsets", name))
	}
	return t, err
}

// check compares the tensors with one another and with the size of what is behind the header.
func (h *header) check(path string, size uint64) error {
	slices.SortStableFunc(h.tensors, func(a, b tensor) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at := uint64(0)
	for i := range h.tensors {
		t := &h.tensors[i]
		want, err := t.bytes(path)
		if err != nil {
			return err
		}
		switch {
		case t.begin < at:
			return fail(path, t.name, source.ErrCorrupt, fmt.Sprintf("begins at %d, within the tensor before it, which ends at %d", t.begin, at), "save the model again")
		case t.begin > at:
			return fail(path, t.name, source.ErrCorrupt, fmt.Sprintf("begins at %d, and nothing has the bytes from %d on", t.begin, at), "save the model again")
		case t.end < t.begin || t.end-t.begin != want:
			return fail(path, t.name, source.ErrCorrupt, fmt.Sprintf("data_offsets [%d, %d], but %s %v has %d bytes", t.begin, t.end, t.dtype, t.shape, want), "save the model again")
		case t.end > size:
			return fail(path, t.name, source.ErrTruncated, fmt.Sprintf("ends at %d, %d bytes are behind the header", t.end, size), "download the file again")
		}
		at = t.end
	}
	if at != size {
		return fail(path, "", source.ErrCorrupt, fmt.Sprintf("%d bytes behind the last tensor", size-at), "download the file again")
	}
	return nil
}

// bytes is the size that the shape and type ask for.
func (t *tensor) bytes(path string) (uint64, error) {
	d, ok := dtypes[t.dtype]
	if !ok {
		return 0, fail(path, t.name, source.ErrUnsupported, fmt.Sprintf("dtype %.50q is none of safetensors", t.dtype), "save the model with float weights")
	}
	n, ok := source.Elements(t.shape)
	over, total := bits.Mul64(n, d.bits)
	if !ok || over != 0 {
		return 0, fail(path, t.name, source.ErrCorrupt, fmt.Sprintf("shape %v has more elements than any file", t.shape), "download the file again")
	}
	if total%8 != 0 {
		return 0, fail(path, t.name, source.ErrCorrupt, fmt.Sprintf("%s %v is no whole number of bytes", t.dtype, t.shape), "save the model again")
	}
	return total / 8, nil
}
