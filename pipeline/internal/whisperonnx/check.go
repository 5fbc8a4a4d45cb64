package whisperonnx

import (
	"fmt"
	"math"
	"slices"

	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// Check compares m, which was recognised in a file of c, with what c says: sizes, and every parameter with all of its values.
func (c Config) Check(catalogue *source.Catalogue, m *model.Model) error {
	sizes := map[string]int{"layers": c.Layers, "d_model": c.DModel, "heads": c.Heads, "ffn": c.FFN, "mels": c.Mels, "positions": c.Positions}
	return checkModel(catalogue, m, sizes, c.Parameters())
}

// Check does so for a decoder, in a file of d beside c's encoder.
func (d Decoder) Check(c Config, catalogue *source.Catalogue, m *model.Model) error {
	sizes := map[string]int{"layers": d.Layers, "d_model": c.DModel, "heads": c.Heads, "ffn": d.FFN, "vocab": d.Vocab, "positions": d.Positions}
	list := d.Parameters(c)
	if d.Head == Own {
		list = append(list, d.ProjOut(c))
	}
	return checkModel(catalogue, m, sizes, list)
}

// checkModel compares m with sizes and parameters.
func checkModel(catalogue *source.Catalogue, m *model.Model, sizes map[string]int, list []Parameter) error {
	for _, a := range m.Attributes {
		if want, ok := sizes[a.Name]; ok && a.Int != int64(want) {
			return fmt.Errorf("%s is %d, expected %d", a.Name, a.Int, want)
		}
		if a.IsReal && math.Abs(a.Real-1e-5) > 1e-7 { // which BF16 gives as 1.0014e-5
			return fmt.Errorf("%s is %v, expected 1e-5", a.Name, a.Real)
		}
	}
	if len(m.Parameters) != len(list) {
		return fmt.Errorf("%d parameters, expected %d", len(m.Parameters), len(list))
	}
	for i := range list {
		p := &list[i]
		j := slices.IndexFunc(m.Parameters, func(q model.Parameter) bool { return q.Name == p.Name })
		if j < 0 || fmt.Sprint(m.Parameters[j].Shape) != fmt.Sprint(p.Shape) {
			return fmt.Errorf("%s %v is not among the parameters", p.Name, p.Shape)
		}
		if err := p.check(catalogue, &m.Parameters[j]); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// check compares the values of p with those of q.
func (p *Parameter) check(catalogue *source.Catalogue, q *model.Parameter) error {
	raw, values := make([]byte, p.Elements()*q.Tensor.Type.Size()), make([]float64, p.Elements())
	if int64(len(raw)) != q.Tensor.Data.Size {
		return fmt.Errorf("%d bytes, expected %d", q.Tensor.Data.Size, len(raw))
	}
	if err := catalogue.ReadAt(raw, &q.Tensor, 0); err != nil {
		return err
	}
	if err := element.ToFloat64(values, raw, q.Tensor.Type); err != nil {
		return err
	}
	for i := range values {
		at := i // in the tensor
		if q.Perm[0] != 0 {
			at = i%p.Shape[1]*p.Shape[0] + i/p.Shape[1]
		}
		if values[at] != p.At(i) {
			return fmt.Errorf("value %d is %v, expected %v", i, values[at], p.At(i))
		}
	}
	return nil
}
