package shards

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"npuw/pipeline/internal/strictjson"
	"npuw/pipeline/source"
)

// index says in which file each tensor of a model is.
type index struct {
	names    []string          // of tensors, in the order of the file
	files    []string          // in the order in which they are first named
	fileOf   map[string]string // tensor to file
	total    float64           // bytes of all tensors
	hasTotal bool
}

// readIndex reads an index of size bytes, called path in errors.
func readIndex(src io.ReaderAt, size int64, path string) (*index, error) {
	if size > maxIndex {
		return nil, fail(path, "", source.ErrLimit, fmt.Sprintf("an index of %d bytes, limit %d", size, maxIndex), "check where the file is from")
	}
	text := make([]byte, size)
	if _, err := src.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fail(path, "", err, "cannot be read: "+err.Error(), "check the disk, or copy the file elsewhere")
	}
	if !utf8.Valid(text) {
		return nil, fail(path, "", source.ErrCorrupt, "the index is not in UTF-8", "download it again")
	}
	j := strictjson.New(path, 0, text)
	x := &index{}
	err := j.Object(func(key string) error {
		switch key {
		case "weight_map":
			return x.readMap(j)
		case "metadata":
			return x.readMetadata(j)
		}
		return j.Skip()
	})
	if err == nil {
		err = j.End()
	}
	if err == nil && x.fileOf == nil {
		err = fail(path, "", source.ErrNotRecognised, `JSON without "weight_map": not the index of a model`, "give the model's file, or its folder")
	}
	return x, err
}

func (x *index) readMetadata(j *strictjson.Reader) error {
	return j.Object(func(key string) (err error) {
		if key != "total_size" {
			return j.Skip()
		}
		x.total, err = j.Real() // some writers count bytes in fractions
		x.hasTotal = true
		return err
	})
}

func (x *index) readMap(j *strictjson.Reader) error {
	x.fileOf = map[string]string{}
	known := map[string]bool{}
	return j.Object(func(name string) error {
		file, err := j.Text()
		if err != nil {
			return err
		}
		if len(name) > maxName {
			return j.Fail(source.ErrLimit, fmt.Sprintf("a tensor's name of %d bytes, limit %d", len(name), maxName))
		}
		if !known[file] {
			known[file] = true
			if x.files = append(x.files, file); len(x.files) > maxFiles {
				return j.Fail(source.ErrLimit, fmt.Sprintf("more than %d files", maxFiles))
			}
		}
		if x.names = append(x.names, name); len(x.names) > maxTensors {
			return j.Fail(source.ErrLimit, fmt.Sprintf("more than %d tensors", maxTensors))
		}
		x.fileOf[name] = file
		return nil
	})
}
