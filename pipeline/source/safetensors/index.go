package safetensors

import (
	"fmt"
	"io"
	"unicode/utf8"

	"npuw/pipeline/source"
)

// index says in which file each tensor of a model is.
type index struct {
	names    []string          // of tensors, in the order of the file
	files    []string          // in the order in which they are first named
	fileOf   map[string]string // tensor to file
	total    uint64            // bytes of all tensors
	hasTotal bool
}

// readIndex reads an index of size bytes, called path in errors.
func readIndex(src io.ReaderAt, size int64, path string) (*index, error) {
	if size > maxHeader {
		return nil, fail(path, "", source.ErrLimit, fmt.Sprintf("an index of %d bytes, limit %d", size, maxHeader), "check where the file is from")
	}
	text, err := readAll(src, path, 0, uint64(size))
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(text) {
		return nil, fail(path, "", source.ErrCorrupt, "the index is not in UTF-8", "download it again")
	}
	j := newJSON(path, 0, text)
	x := &index{}
	err = j.object(func(key string) error {
		switch key {
		case "weight_map":
			return x.readMap(j)
		case "metadata":
			return x.readMetadata(j)
		}
		return j.skip()
	})
	if err == nil {
		err = j.end()
	}
	if err == nil && x.fileOf == nil {
		err = fail(path, "", source.ErrNotRecognised, `JSON without "weight_map": not the index of a model`, "give the model's file, or its folder")
	}
	return x, err
}

func (x *index) readMetadata(j *jsonReader) error {
	return j.object(func(key string) (err error) {
		if key != "total_size" {
			return j.skip()
		}
		x.total, err = j.number()
		x.hasTotal = true
		return err
	})
}

func (x *index) readMap(j *jsonReader) error {
	x.fileOf = map[string]string{}
	known := map[string]bool{}
	return j.object(func(name string) error {
		file, err := j.text()
		if err != nil {
			return err
		}
		if len(name) > maxName {
			return j.fail(source.ErrLimit, fmt.Sprintf("a tensor's name of %d bytes, limit %d", len(name), maxName))
		}
		if !known[file] {
			known[file] = true
			if x.files = append(x.files, file); len(x.files) > maxShards {
				return j.fail(source.ErrLimit, fmt.Sprintf("more than %d files", maxShards))
			}
		}
		x.names = append(x.names, name)
		x.fileOf[name] = file
		return nil
	})
}
