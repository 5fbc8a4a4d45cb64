package generic_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"npuw/artifact/element"
	"npuw/pipeline/model/generic"
	"npuw/pipeline/source"
)

func state(others map[string]string, tensors ...source.Tensor) *source.Catalogue {
	return &source.Catalogue{Path: "model.safetensors", Kind: "safetensors", Tensors: tensors, Others: others}
}

func stored(name string, shape ...uint64) source.Tensor {
	return source.Tensor{Name: name, Type: element.F16, Shape: shape}
}

func TestState(t *testing.T) {
	t.Parallel()
	m, err := generic.FromState(state(
		map[string]string{"bn.num_batches_tracked": "I64", "mask": "BOOL"},
		stored("fc.weight", 3, 4), stored("fc.bias", 3), stored("conv.weight", 2, 3, 5, 7), stored("conv1d.weight", 2, 3, 5), stored("cls_token", 1, 1, 4),
		stored("scale"), stored("none", 0, 3), stored("conv3d.weight", 1, 2, 3, 4, 5), stored("deep", 2, 1, 1, 1, 1, 1, 1, 2, 3), stored("a\nb", 2),
	))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"fc.weight NK [3 4]", "fc.bias N [3]", "conv.weight NCYX [2 3 5 7]", "conv1d.weight NCX [2 3 5]", "cls_token ABC [1 1 4]",
		"scale N [1]", "conv3d.weight NCZYX [1 2 3 4 5]", "deep ABCDEFGH [2 1 1 1 1 1 1 6]", `a_b N [2] (named after "a\nb")`,
	}
	if diff := cmp.Diff(want, lines(m)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"left out, since they hold integers or nothing: bn.num_batches_tracked, mask, none"}, m.Notes); diff != "" {
		t.Error(diff)
	}
}

func TestStateRefuses(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		c        *source.Catalogue
		sentinel error
		message  string
	}{
		"codes": {
			state(map[string]string{"fc.qweight": "I32"}, stored("fc.scales", 2)), source.ErrUnsupported,
			`model.safetensors: tensor "fc.qweight": its type is I32, which may be codes of weights and is not read; give the model with float weights`,
		},
		"nothing": {
			state(map[string]string{"step": "I64"}), source.ErrNotRecognised,
			"model.safetensors: holds no parameters of a model; `npuw sources` lists what the file holds",
		},
	} {
		if _, err := generic.FromState(x.c); !errors.Is(err, x.sentinel) || err.Error() != x.message {
			t.Errorf("%s: %v, expected %s", name, err, x.message)
		}
	}
}
