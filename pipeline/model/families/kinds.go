package families

import (
	"npuw/pipeline/model"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
	"npuw/pipeline/source/safetensors"
)

// kind is a kind of file that is read.
type kind struct {
	name      string                   // as a person knows it
	recognise func(prefix []byte) bool // by its first bytes, prefixBytes of them if there are as many
	open      func(path string) (*source.Catalogue, recogniser, error)
}

// recogniser gives the models in an open file. The error wraps source.ErrNotRecognised if there is none of a known family.
type recogniser func() ([]*model.Model, error)

// kinds are those that there are; the first that recognises a file has it.
var kinds = []kind{
	{"safetensors (.safetensors)", safetensors.Recognise, ofState(safetensors.Open)},
	{"the index of several safetensors files (.safetensors.index.json)", safetensors.RecogniseIndex, ofState(safetensors.OpenIndex)},
	{"ONNX (.onnx)", onnx.Recognise, openONNX},
}

func openONNX(path string) (*source.Catalogue, recogniser, error) {
	m, err := onnx.Open(path)
	if err != nil {
		return nil, nil, err
	}
	return &m.Catalogue, func() ([]*model.Model, error) {
		recognised, err := whisper.Recognise(m)
		if err != nil {
			return nil, err
		}
		return []*model.Model{recognised}, nil
	}, nil
}

// ofState makes an opener of one that opens a kind of file which holds a state dict.
func ofState(open func(path string) (*source.Catalogue, error)) func(path string) (*source.Catalogue, recogniser, error) {
	return func(path string) (*source.Catalogue, recogniser, error) {
		c, err := open(path)
		if err != nil {
			return nil, nil, err
		}
		return c, func() ([]*model.Model, error) { return whisper.FromState(c) }, nil
	}
}
