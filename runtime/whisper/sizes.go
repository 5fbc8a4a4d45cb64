package whisper

import (
	"fmt"

	"npuw/artifact"
)

// What an artifact says in Index.Model.Family that holds a Whisper encoder: alone, or with its decoder, which is left alone.
const (
	Family      = "whisper-encoder"
	FamilyWhole = "whisper"
)

// convWidth and convStride are those of the convolutions: both 3 wide, the second with stride 2.
const (
	convWidth  = 3
	convStride = 2
)

// maxHeads bounds the heads of all layers, each of which is a few runs; the largest Whisper has 640.
const maxHeads = 1 << 16

// Sizes are those of an encoder, from the attributes of its artifact.
type Sizes struct {
	Layers, DModel, Heads, FFN, Mels, Positions uint64

	Eps float64 // LayerNorm's
}

// headDim is the width of one head.
func (s *Sizes) headDim() uint64 { return s.DModel / s.Heads }

// readSizes takes the sizes out of the index and bounds them. The largest Whisper has 32 layers, d_model 1280, ffn 5120,
// 128 mels and 1500 positions.
func readSizes(x *artifact.Index) (Sizes, error) {
	var s Sizes
	if x.Model.Family != Family && x.Model.Family != FamilyWhole {
		return s, fmt.Errorf("the artifact holds a model of family %q; an encoder was expected: %q, or %q, which has its decoder too",
			x.Model.Family, Family, FamilyWhole)
	}
	for _, f := range []struct {
		name string
		size *uint64
		most uint64
	}{
		{"layers", &s.Layers, 1 << 10},
		{"d_model", &s.DModel, 1 << 16},
		{"heads", &s.Heads, 1 << 16},
		{"ffn", &s.FFN, 1 << 18},
		{"mels", &s.Mels, 1 << 16},
		{"positions", &s.Positions, 1 << 18},
	} {
		a, err := attribute(x, f.name, artifact.Integer)
		if err != nil {
			return s, err
		}
		if a.Integer < 1 || uint64(a.Integer) > f.most {
			return s, fmt.Errorf("attribute %q is %d; 1 to %d was expected", f.name, a.Integer, f.most)
		}
		*f.size = uint64(a.Integer)
	}
	if s.DModel%s.Heads != 0 {
		return s, fmt.Errorf("attributes: d_model %d is no multiple of heads %d", s.DModel, s.Heads)
	}
	if s.Layers*s.Heads > maxHeads {
		return s, fmt.Errorf("attributes: %d layers of %d heads; at most %d heads in all were expected", s.Layers, s.Heads, maxHeads)
	}
	a, err := attribute(x, "eps", artifact.Real)
	if err != nil {
		return s, err
	}
	if s.Eps = a.Real; !(s.Eps > 0 && s.Eps < 1) {
		return s, fmt.Errorf("attribute \"eps\" is %v; a number between 0 and 1 was expected", s.Eps)
	}
	return s, nil
}

func attribute(x *artifact.Index, name string, kind artifact.AttributeKind) (*artifact.Attribute, error) {
	for i := range x.Model.Attributes {
		if a := &x.Model.Attributes[i]; a.Name == name {
			if a.Kind != kind {
				return nil, fmt.Errorf("attribute %q is of kind %d; %d was expected", name, a.Kind, kind)
			}
			return a, nil
		}
	}
	return nil, fmt.Errorf("the artifact has no attribute %q; build it again from a model that tells it (a checkpoint with its config.json beside)", name)
}
