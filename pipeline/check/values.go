package check

import (
	"npuw/artifact/element"
	"npuw/pipeline/internal/boxes"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
)

// values says what must lie in a box of an operand: scale * (factor * value + addend), where factor and addend vary along one axis of the
// parameter each. Without a parameter the value is a constant, and axes are those of the operand.
type values struct {
	parameter *model.Parameter
	constant  float64
	scale     float64

	factor     []float64 // by index on factorAxis; nil: 1
	factorAxis int
	addend     []float64 // by index on addendAxis; nil: 0
	addendAxis int
}

// readFold reads what a LayerNorm that was folded into placement i does to its values.
func (k *checker) readFold(i int, v *values) error {
	for j := range k.plan.Folds {
		f := &k.plan.Folds[j]
		if f.Placement != i {
			continue
		}
		var err error
		if f.Gamma >= 0 {
			v.factorAxis = f.Axis
			v.factor, err = k.whole(&k.model.Parameters[f.Gamma])
		} else {
			v.addend, err = k.sums(f) // along axis 0, of a bias
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whole reads a parameter of one axis.
func (k *checker) whole(p *model.Parameter) ([]float64, error) {
	if err := boxes.Check(p); err != nil {
		return nil, err
	}
	list := make([]float64, p.Shape[0])
	return list, k.float64s(list, p, boxes.Whole(p.Shape))
}

// sums works out the sum over k of beta[k] * weight[n,k] for every n.
func (k *checker) sums(f *recipe.Fold) ([]float64, error) {
	beta, err := k.whole(&k.model.Parameters[f.Beta])
	if err != nil {
		return nil, err
	}
	weight := &k.model.Parameters[f.Weight]
	if err := boxes.Check(weight); err != nil {
		return nil, err
	}
	sums, order := make([]float64, weight.Shape[0]), boxes.Order(weight)
	inner := weight.Shape[order[1]]
	step := max(maxValues/inner, 1)
	for i := uint64(0); i < weight.Shape[order[0]]; i += step {
		b := boxes.Whole(weight.Shape).Part(order[0], i, min(step, weight.Shape[order[0]]-i))
		k.double = resize(k.double, b.Volume())
		if err := k.float64s(k.double, weight, b); err != nil {
			return nil, err
		}
		for j, x := range k.double {
			index := [2]uint64{}
			index[order[0]], index[order[1]] = i+uint64(j)/inner, uint64(j)%inner
			sums[index[0]] += x * beta[index[1]]
		}
	}
	return sums, nil
}

// read reads a box as the source has it.
func (k *checker) read(p *model.Parameter, b boxes.Box) error {
	k.raw = resize(k.raw, b.Volume()*uint64(p.Tensor.Type.Size()))
	return boxes.Read(k.catalogue, p, b, k.raw)
}

// float32s reads a box into k.single.
func (k *checker) float32s(p *model.Parameter, b boxes.Box) error {
	if p.Tensor.Type == element.F32 { // no need for another buffer
		err := boxes.Read(k.catalogue, p, b, element.Memory(k.single))
		element.Swapped(k.single)
		return err
	}
	if err := k.read(p, b); err != nil {
		return err
	}
	return element.ToFloat32(k.single, k.raw, p.Tensor.Type)
}

// float64s reads a box in the order of the source.
func (k *checker) float64s(dst []float64, p *model.Parameter, b boxes.Box) error {
	if err := k.read(p, b); err != nil {
		return err
	}
	return element.ToFloat64(dst, k.raw, p.Tensor.Type)
}

// encode gives the values of a box as elements, in the order of the source.
func (k *checker) encode(v *values, b boxes.Box) error {
	n, f := b.Volume(), k.plan.Format
	k.encoded = resize(k.encoded, n*uint64(f.Size()))
	if v.scale == 1 && v.parameter.Tensor.Type != element.F64 { // float32 has them all
		k.single = resize(k.single, n)
		if err := k.float32s(v.parameter, b); err != nil {
			return err
		}
		return element.Encode(k.encoded, k.single, f)
	}
	k.double = resize(k.double, n)
	if err := k.float64s(k.double, v.parameter, b); err != nil {
		return err
	}
	for i := range k.double {
		k.double[i] *= v.scale
	}
	return element.Encode(k.encoded, k.double, f)
}

// resize gives a slice of n elements, in the memory of s where it is large enough.
func resize[T any](s []T, n uint64) []T {
	if uint64(cap(s)) < n {
		return make([]T, n)
	}
	return s[:n]
}
