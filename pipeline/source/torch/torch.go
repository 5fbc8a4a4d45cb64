// Package torch reads the catalogue of a checkpoint that torch.save wrote: which tensors it holds and where their bytes lie. No weight
// byte is touched, and nothing of the pickle in it is run: a machine of its own (pickle.go) knows the few globals of which a state
// dict is made, and refuses every other.
//
// Since PyTorch 1.6 a checkpoint is a zip whose entries are stored as they are:
//
//	name/data.pkl ........ the pickle: names, and of each tensor storage, offset, shape and strides
//	name/byteorder ....... "little"; older files do not have it
//	name/data/0, 1... .... the storages
//	name/version
//
// Before that, and with _use_new_zipfile_serialization=False, it is five pickles and the storages:
//
//	magic number | protocol 1001 | sys_info | the pickle | keys of storages | int64 elements, bytes | int64 elements, bytes | ...
//
// The formats are those of torch/serialization.py and torch/_utils.py in pytorch/pytorch.
package torch

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"npuw/pipeline/source"
)

// What a file may ask for. Each is far above what torch.save writes for real models.
const (
	maxPickle    = 16 << 20 // bytes of a pickle; in the old format, of the five together
	maxValues    = 1 << 20  // values that a pickle makes, some 40 a tensor; in the old format, the five together
	maxRank      = 32       // axes of a tensor
	maxName      = 4096     // bytes of a tensor's name, and of a zip entry's
	maxEntries   = 1 << 17  // entries of a zip
	maxDirectory = 16 << 20 // bytes of a zip's directory
)

// nextSafe is what helps against a file that is not read.
const nextSafe = "save the model's state_dict, as safetensors best"

// zipMagic is what a zip begins with.
var zipMagic = []byte("PK\x03\x04")

// RecogniseZip reports whether a file that begins with prefix may be a checkpoint of today's format: whether it is a zip.
func RecogniseZip(prefix []byte) bool { return bytes.HasPrefix(prefix, zipMagic) }

// RecogniseLegacy reports whether a file that begins with prefix may be one of the old format: whether it is a pickle.
func RecogniseLegacy(prefix []byte) bool {
	return len(prefix) > 2 && prefix[0] == opProto && prefix[1] >= 2 && prefix[1] <= maxProtocol
}

// Open reads the catalogue of the checkpoint at path. Every error is a *source.Error.
func Open(path string) (*source.Catalogue, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	c, err := Read(f, 0)
	if err != nil {
		f.Close()
		return nil, err
	}
	c.Files = []*source.File{f}
	return c, nil
}

// Read gives the tensors of f, which is to be number file of a catalogue's files. The catalogue that it gives has no files yet.
func Read(f *source.File, file int) (*source.Catalogue, error) {
	r := reader{f, f.Size, f.Path, file}
	return r.read()
}

// read reads the catalogue of a file of either format.
func (r *reader) read() (*source.Catalogue, error) {
	prefix, err := r.bytes(0, min(r.size, 16))
	if err != nil {
		return nil, err
	}
	switch {
	case RecogniseZip(prefix):
		return r.zip()
	case RecogniseLegacy(prefix):
		return r.legacy()
	}
	return nil, r.fail(0, source.ErrNotRecognised, "no checkpoint of torch.save", "give a pytorch_model.bin or .pt file")
}

// reader is a file and what it is called.
type reader struct {
	src  io.ReaderAt
	size int64
	path string
	file int // its number in the catalogue
}

// bytes reads n bytes at offset; callers bound n.
func (r *reader) bytes(offset, n int64) ([]byte, error) {
	if offset < 0 || n < 0 || offset > r.size || n > r.size-offset {
		return nil, r.fail(offset, source.ErrTruncated, fmt.Sprintf("%d bytes were expected here, in a file of %d", n, r.size), "download it again")
	}
	b := make([]byte, n)
	if got, err := r.src.ReadAt(b, offset); int64(got) < n {
		if errors.Is(err, io.EOF) {
			return nil, r.fail(offset+int64(got), source.ErrTruncated, "the file ends here", "download it again")
		}
		return nil, r.fail(offset, err, "cannot be read: "+err.Error(), "check the disk, or copy the file elsewhere")
	}
	return b, nil
}

func (r *reader) fail(offset int64, sentinel error, problem, next string) error {
	return &source.Error{File: r.path, Offset: offset, Problem: problem, Next: next, Err: sentinel}
}
