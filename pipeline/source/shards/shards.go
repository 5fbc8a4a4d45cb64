// Package shards reads the catalogue of a checkpoint that is cut into several files, by its index: model.safetensors.index.json or
// pytorch_model.bin.index.json, as Hugging Face writes them.
//
//	{"metadata": {"total_size": bytes}, "weight_map": {"name": "model-00001-of-00002.safetensors", ...}}
package shards

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"npuw/pipeline/source"
	"npuw/pipeline/source/safetensors"
	"npuw/pipeline/source/torch"
)

// What an index may ask for.
const (
	maxIndex   = 32 << 20 // bytes
	maxTensors = 1 << 17
	maxName    = 4096 // bytes of a tensor's name
	maxFiles   = 1024
)

// nextWhole is what helps against files that are not of one model.
const nextWhole = "download index and files again, all of the same revision"

// Recognise reports whether a file that begins with prefix may be an index: whether it is JSON, and an object.
func Recognise(prefix []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(prefix, " \t\r\n"), []byte("{"))
}

// shardName takes the name of a shard apart: model, variant ("fp32") if there is one, which of how many, and extension.
var shardName = regexp.MustCompile(`^(.+?)(\.[^.]+)?-\d{5}-of-\d{5}\.(safetensors|bin)$`)

// indexName takes the name of an index apart: that of the file that the model would be, and the variant.
var indexName = regexp.MustCompile(`^(.+\.(?:safetensors|bin))\.index(\.[^.]+)?\.json$`)

// IsIndex reports whether a file of that name is an index, and IsShard whether it is one of the files that an index names.
func IsIndex(name string) bool { return indexName.MatchString(name) }

// IsShard reports whether a file of that name is one of those that an index names.
func IsShard(name string) bool { return shardName.MatchString(name) }

// IndexOf gives the path of the index that lies beside the shard at path; false if there is none or the file is no shard.
func IndexOf(path string) (string, bool) {
	parts := shardName.FindStringSubmatch(filepath.Base(path))
	if parts == nil {
		return "", false
	}
	index := filepath.Join(filepath.Dir(path), fmt.Sprintf("%s.%s.index%s.json", parts[1], parts[3], parts[2]))
	_, err := os.Lstat(index)
	return index, err == nil
}

// Open reads the catalogue of the model whose index is at path. The files that it names lie in the same folder. Each tensor must be
// where the index says, and no other may be there. Every error is a *source.Error.
func Open(path string) (*source.Catalogue, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	c := &source.Catalogue{Path: path, Files: []*source.File{f}}
	if err := addShards(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// addShards adds to c, whose one file is the index, what that leads to.
func addShards(c *source.Catalogue) error {
	f := c.Files[0]
	x, err := readIndex(f, f.Size, f.Path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(f.Path))
	if err != nil {
		return fail(filepath.Dir(f.Path), "", err, "cannot be opened: "+err.Error(), "check the path and its permissions")
	}
	defer root.Close()
	counted, found := x.hasTotal, 0
	total := int64(0)
	for _, name := range x.files {
		part, n, err := openShard(root, name, c)
		if err != nil {
			return err
		}
		if counted = counted && n >= 0; counted {
			total += n
		}
		found += len(part.Tensors) + len(part.Others)
		if err := x.take(c, part, name); err != nil {
			return err
		}
	}
	if found != len(x.fileOf) {
		return x.notThere(c)
	}
	if counted && x.total != float64(total) {
		return &source.Error{
			File: f.Path, Offset: -1, Thing: "total_size", Err: source.ErrMismatch, Next: nextWhole,
			Problem: fmt.Sprintf("says %.0f bytes, the files have %d of tensors", x.total, total),
		}
	}
	return nil
}

// openShard opens the file called name beside the index, which becomes the last of c's. bytes is the size of all its tensors, -1 where its
// format does not tell: tensors of a pickle may share their bytes.
func openShard(root *os.Root, name string, c *source.Catalogue) (part *source.Catalogue, bytes int64, err error) {
	f, err := source.OpenBeside(root, name)
	if err != nil {
		return nil, 0, notOpened(c.Path, root.Name(), name, err)
	}
	number := len(c.Files)
	c.Files = append(c.Files, f)
	prefix := make([]byte, 16)
	n, err := f.ReadAt(prefix, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fail(f.Path, "", err, "cannot be read: "+err.Error(), "check the disk, or copy the file elsewhere")
	}
	if prefix = prefix[:n]; safetensors.Recognise(prefix) {
		return safetensors.Read(f, number)
	}
	if torch.RecogniseZip(prefix) || torch.RecogniseLegacy(prefix) {
		part, err = torch.Read(f, number)
		return part, -1, err
	}
	return nil, 0, fail(f.Path, "", source.ErrNotRecognised, "neither safetensors nor a checkpoint of PyTorch", "download it again")
}

// take moves to c what is in part, which is the file called name.
func (x *index) take(c, part *source.Catalogue, name string) error {
	check := func(tensor string) error {
		if want, ok := x.fileOf[tensor]; !ok || want != name {
			return fail(part.Path, tensor, source.ErrMismatch, fmt.Sprintf("the index %s does not have it in this file", filepath.Base(c.Path)), nextWhole)
		}
		return nil
	}
	for i := range part.Tensors {
		if err := check(part.Tensors[i].Name); err != nil {
			return err
		}
	}
	for tensor, format := range part.Others {
		if err := check(tensor); err != nil {
			return err
		}
		if c.Others == nil {
			c.Others = map[string]string{}
		}
		c.Others[tensor] = format
	}
	c.Tensors = append(c.Tensors, part.Tensors...)
	c.Kind = part.Kind
	return nil
}

// notOpened says which file is at fault when the one called name in folder, which the index at path names, cannot be opened.
func notOpened(path, folder, name string, err error) error {
	var e *source.Error
	if !errors.As(err, &e) {
		return err
	}
	named := *e
	switch {
	case e.File == folder: // the name was refused
		named.File, named.Thing, named.Next = path, fmt.Sprintf("the file %.200q", name), "download the index again: the files that it names lie beside it"
	case !errors.Is(e.Err, source.ErrUnsafePath):
		named.Next = "the index names it: download all files of the model into one folder"
	}
	return &named
}

// notThere is the error for the first tensor of the index that no file has.
func (x *index) notThere(c *source.Catalogue) error {
	have := make(map[string]bool, len(c.Tensors))
	for i := range c.Tensors {
		have[c.Tensors[i].Name] = true
	}
	for _, name := range x.names {
		if _, other := c.Others[name]; !have[name] && !other {
			return fail(c.Path, name, source.ErrMismatch, fmt.Sprintf("is to be in %.200s, and is not", x.fileOf[name]), nextWhole)
		}
	}
	return fail(c.Path, "", source.ErrMismatch, "names other tensors than its files have", nextWhole)
}

// fail gives an error about a tensor, or about the file as a whole if name is "".
func fail(path, name string, sentinel error, problem, next string) error {
	e := &source.Error{File: path, Offset: -1, Problem: problem, Next: next, Err: sentinel}
	if name != "" {
		e.Thing = fmt.Sprintf("tensor %.200q", name)
	}
	return e
}
