package whisper

import (
	"fmt"
	"slices"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// Join makes one model of FamilyWhole of an encoder and a decoder that stand in files of their own, in either order. The parameters of
// both are those of the result; tensor turns a tensor of part i into one that can be read there. paths are for errors, which wrap
// source.ErrMismatch if the two are not an encoder and a decoder that belong together.
func Join(parts [2]*model.Model, paths [2]string, tensor func(part int, t source.Tensor) source.Tensor) (*model.Model, error) {
	encoder, decoder := 0, 1
	if parts[0].Family == FamilyDecoder {
		encoder, decoder = 1, 0
	}
	e, d := parts[encoder], parts[decoder]
	if e.Family != Family || d.Family != FamilyDecoder {
		return nil, &source.Error{
			File: paths[1], Offset: -1, Err: source.ErrMismatch, Next: "give the file of an encoder and that of its decoder, or one file that holds both",
			Problem: fmt.Sprintf("holds a model of family %q, and %s one of family %q", parts[1].Family, paths[0], parts[0].Family),
		}
	}
	for _, name := range []string{"d_model", "eps"} {
		if x, y := attribute(e.Attributes, name), attribute(d.Attributes, name); x != y {
			return nil, &source.Error{
				File: paths[decoder], Offset: -1, Thing: name, Err: source.ErrMismatch, Next: "give the encoder and the decoder of one model",
				Problem: fmt.Sprintf("is %s, and %s in the encoder's file %s", valueOf(y), valueOf(x), paths[encoder]),
			}
		}
	}
	whole := &model.Model{Family: FamilyWhole, Attributes: wholeAttributes(e.Attributes, d.Attributes), Notes: slices.Concat(e.Notes, d.Notes), Guessed: e.Guessed || d.Guessed}
	for _, i := range []int{encoder, decoder} {
		for _, p := range parts[i].Parameters {
			p.Tensor, p.Copies = tensor(i, p.Tensor), slices.Clone(p.Copies)
			for j := range p.Copies {
				p.Copies[j].Tensor = tensor(i, p.Copies[j].Tensor)
			}
			whole.Parameters = append(whole.Parameters, p)
		}
	}
	return whole, nil
}

// valueOf prints the value of an attribute.
func valueOf(a model.Attribute) string {
	if a.IsReal {
		return fmt.Sprintf("%g", a.Real)
	}
	return fmt.Sprint(a.Int)
}
