// Package families opens a model file of any kind that npuw reads and recognises any family of models that it knows.
package families

import (
	"errors"
	"io"

	"npuw/pipeline/model"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
)

// Open opens the model file at path and gives the models in it: a checkpoint of an encoder and a decoder is a model of each family,
// and one of the family of both. The first is the one to take when nobody asks for another. There is none if the file can be read
// and belongs to no known family; a file that belongs to one and does not fit it is an error. The catalogue is the caller's to close.
func Open(path string) (*source.Catalogue, []*model.Model, error) {
	if err := checkKind(path); err != nil {
		return nil, nil, err
	}
	m, err := onnx.Open(path)
	if err != nil {
		return nil, nil, err
	}
	recognised, err := whisper.Recognise(m)
	if err != nil && !errors.Is(err, source.ErrNotRecognised) {
		m.Close()
		return nil, nil, err
	}
	if recognised == nil {
		return &m.Catalogue, nil, nil
	}
	return &m.Catalogue, []*model.Model{recognised}, nil
}

// checkKind looks at the first bytes of a file.
func checkKind(path string) error {
	f, err := source.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var prefix [16]byte
	n, err := f.ReadAt(prefix[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return &source.Error{File: path, Offset: 0, Problem: "cannot be read: " + err.Error(), Next: "check the disk, or copy the file elsewhere", Err: err}
	}
	if !onnx.Recognise(prefix[:n]) {
		return &source.Error{File: path, Offset: 0, Problem: "not a kind of model file that is read", Next: "give an .onnx file", Err: source.ErrNotRecognised}
	}
	return nil
}
