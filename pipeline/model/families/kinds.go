package families

import (
	"errors"
	"slices"

	"npuw/pipeline/model"
	"npuw/pipeline/model/generic"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/ggml"
	"npuw/pipeline/source/gguf"
	"npuw/pipeline/source/onnx"
	"npuw/pipeline/source/openvino"
	"npuw/pipeline/source/safetensors"
	"npuw/pipeline/source/shards"
	"npuw/pipeline/source/torch"
)

// kind is a kind of file that is read.
type kind struct {
	name      string                   // as a person knows it
	recognise func(prefix []byte) bool // by its first bytes, prefixBytes of them if there are as many
	open      func(path string) (*source.Catalogue, recogniser, error)
}

// recogniser gives the models in an open file, for whoever wants those of a family, or any (""). The error wraps
// source.ErrNotRecognised if there is none.
type recogniser func(family string) ([]*model.Model, error)

// kinds are those that there are; the first that recognises a file has it.
var kinds = []kind{
	{"safetensors (.safetensors)", safetensors.Recognise, ofState(whole(safetensors.Open))},
	{"PyTorch (pytorch_model.bin, .pt)", torch.RecogniseZip, ofState(whole(torch.Open))},
	{"PyTorch of before 1.6 (.bin, .pt)", torch.RecogniseLegacy, ofState(whole(torch.Open))},
	{"the index of a checkpoint in several files (.index.json)", shards.Recognise, ofState(shards.Open)},
	{"GGUF (.gguf)", gguf.Recognise, ofState(gguf.Open)},
	{"whisper.cpp's (ggml-*.bin)", ggml.Recognise, ofState(ggml.Open)},
	{"OpenVINO's (.xml, with its .bin beside it)", openvino.Recognise, openOpenVINO},
	{"ONNX (.onnx)", onnx.Recognise, openONNX},
}

func openONNX(path string) (*source.Catalogue, recogniser, error) {
	m, err := onnx.Open(path)
	if err != nil {
		return nil, nil, err
	}
	known := func() ([]*model.Model, error) { return one(whisper.Recognise(m)) }
	return &m.Catalogue, either(known, func() ([]*model.Model, error) { return one(generic.FromONNX(m)) }), nil
}

// openOpenVINO opens a model whose graph names its tensors as a state dict does, but may hold the transposes of matrices.
func openOpenVINO(path string) (*source.Catalogue, recogniser, error) {
	m, err := openvino.Open(path)
	if err != nil {
		return nil, nil, err
	}
	find := func(in func(state *source.Catalogue) ([]*model.Model, error)) ([]*model.Model, error) {
		tensors := make(map[string]*source.Tensor, len(m.Tensors))
		state := m.Catalogue // with the shapes of a state dict
		state.Tensors = slices.Clone(m.Tensors)
		for i := range m.Tensors {
			t := &m.Tensors[i]
			if m.Transposed[t.Name] {
				tensors[t.Name] = t
				state.Tensors[i].Shape = []uint64{t.Shape[1], t.Shape[0]}
			}
		}
		models, err := in(&state)
		if e := (*source.Error)(nil); errors.As(err, &e) && e.Err == source.ErrParameters {
			told := *e
			told.Next = "OpenVINO may have folded it into another constant (`npuw sources` lists all): give the model's checkpoint, or its ONNX export"
			err = &told
		}
		for _, found := range models {
			for i := range found.Parameters {
				if p := &found.Parameters[i]; tensors[p.Tensor.Name] != nil {
					p.Tensor, p.Perm = *tensors[p.Tensor.Name], []int{1, 0}
				}
			}
		}
		return models, err
	}
	known := func() ([]*model.Model, error) { return find(whisper.FromState) }
	return &m.Catalogue, either(known, func() ([]*model.Model, error) {
		return find(func(state *source.Catalogue) ([]*model.Model, error) { return one(generic.FromState(state)) })
	}), nil
}

// ofState makes an opener of one that opens a kind of file which holds a state dict.
func ofState(open func(path string) (*source.Catalogue, error)) func(path string) (*source.Catalogue, recogniser, error) {
	return func(path string) (*source.Catalogue, recogniser, error) {
		c, err := open(path)
		if err != nil {
			return nil, nil, err
		}
		known := func() ([]*model.Model, error) { return whisper.FromState(c) }
		return c, either(known, func() ([]*model.Model, error) { return one(generic.FromState(c)) }), nil
	}
}

// either recognises known families, and takes any other file as it is.
func either(known, anyModel func() ([]*model.Model, error)) recogniser {
	return func(family string) ([]*model.Model, error) {
		if family == generic.Family {
			return anyModel()
		}
		models, err := known()
		if family == "" && errors.Is(err, source.ErrNotRecognised) {
			return anyModel()
		}
		return models, err
	}
}

func one(m *model.Model, err error) ([]*model.Model, error) {
	if err != nil {
		return nil, err
	}
	return []*model.Model{m}, nil
}

// whole makes an opener that opens a file's whole model, if the file is one of several and their index lies beside it.
func whole(open func(path string) (*source.Catalogue, error)) func(path string) (*source.Catalogue, error) {
	return func(path string) (*source.Catalogue, error) {
		if index, ok := shards.IndexOf(path); ok {
			return shards.Open(index)
		}
		return open(path)
	}
}
