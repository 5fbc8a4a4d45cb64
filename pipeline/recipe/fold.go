package recipe

import (
	"strings"

	"npuw/pipeline/model"
)

// folder folds a LayerNorm into one copy of a part: gamma into the placements of the weight, beta into those of the bias, or to where
// the bias would lie.
type folder struct {
	*assembly
	part   *part
	chosen *chosen
	scale  float64
	by     []uint64 // where the part begins
	row    []uint64 // where its bias begins; nil: it has none

	weightPiece     *piece
	weights, biases []int // placements of the parameter, and of the bias
}

// gammaAxis is the axis of a weight that gamma is along, and that beta is summed over.
const gammaAxis = 'K'

func (f *folder) fold() error {
	if f.part.fold == nil {
		return nil
	}
	if f.chosen.gamma != none {
		if err := f.gamma(); err != nil {
			return err
		}
	}
	switch {
	case f.chosen.beta == none:
		return nil
	case f.part.fold.weight.there(): // the part is a bias
		return f.beta(f.chosen.weight, f.chosen.parameter, f.weights)
	case f.chosen.bias != none:
		return f.beta(f.chosen.parameter, f.chosen.bias, f.biases)
	}
	return f.betaAlone()
}

// parameter is the parameter at a position that a part has chosen.
func (f *folder) parameter(i int) *model.Parameter { return &f.model.Parameters[i] }

// gamma multiplies the weight, along K.
func (f *folder) gamma() error {
	w := f.parameter(f.chosen.parameter)
	k := strings.IndexByte(w.Axes, gammaAxis)
	if k < 0 {
		return f.doc.fault(f.part.fold.at, "gamma is folded along axis %c, which %s has not; its axes are %q", gammaAxis, w.Name, w.Axes)
	}
	if err := f.checkVector(&f.part.fold.gamma, f.chosen.gamma, w, k); err != nil {
		return err
	}
	for _, i := range f.weights {
		f.o.Folds = append(f.o.Folds, Fold{Placement: i, Gamma: f.chosen.gamma, Axis: k, Beta: none, Weight: none, Scale: f.scale})
	}
	return nil
}

// checkVector checks that gamma or beta has one value for each index of axis k of a weight.
func (f *folder) checkVector(r *reference, i int, w *model.Parameter, k int) error {
	v := f.parameter(i)
	if len(v.Shape) != 1 || v.Shape[0] != w.Shape[k] {
		return f.doc.fault(r.at, "%s has shape %d; %d values, one for each index of axis %c of %s, were expected", v.Name, v.Shape, w.Shape[k], w.Axes[k], w.Name)
	}
	return nil
}

// checkSum checks that the sum over k of beta[k]*weight[n,k] can be formed, and gives the axis n of the weight.
func (f *folder) checkSum(weight int) (n int, err error) {
	w := f.parameter(weight)
	k := strings.IndexByte(w.Axes, gammaAxis)
	if k < 0 || len(w.Axes) != 2 {
		return 0, f.doc.fault(f.part.fold.at, "beta is summed with %s, whose axes are %q; a weight with axis %c and one other was expected", w.Name, w.Axes, gammaAxis)
	}
	return 1 - k, f.checkVector(&f.part.fold.beta, f.chosen.beta, w, k)
}

// beta adds the sum to a bias, wherever it is placed.
func (f *folder) beta(weight, bias int, placements []int) error {
	n, err := f.checkSum(weight)
	if err != nil {
		return err
	}
	w, b := f.parameter(weight), f.parameter(bias)
	if len(b.Shape) != 1 || b.Shape[0] != w.Shape[n] {
		return f.doc.fault(f.part.fold.at, "the sum of beta with %s has %d values, the bias %s has shape %d", w.Name, w.Shape[n], b.Name, b.Shape)
	}
	for _, i := range placements {
		f.o.Folds = append(f.o.Folds, Fold{Placement: i, Gamma: none, Beta: f.chosen.beta, Weight: weight, Scale: f.scale})
	}
	return nil
}

// betaAlone puts the sum where the bias of the part would lie.
func (f *folder) betaAlone() error {
	n, err := f.checkSum(f.chosen.parameter)
	if err != nil {
		return err
	}
	w := f.parameter(f.chosen.parameter)
	along := f.weightPiece.placements[0].From[n].Axis
	whole := len(f.names) == 2
	for _, p := range f.weightPiece.placements {
		x := p.From[n]
		whole = whole && x.Size == w.Shape[n] && x.Step == 1 && x.Axis != f.biasRow
	}
	if !whole {
		return f.doc.fault(f.part.fold.at,
			"beta is folded into %s, which has no bias: that takes all of its axis %c, in order, on the one axis of the operand beside %c", w.Name, w.Axes[n], f.rule.biasRow)
	}
	f.o.Folds = append(f.o.Folds, Fold{Placement: none, Gamma: none, Beta: f.chosen.beta, Weight: f.chosen.parameter, At: f.row, Along: along, Scale: f.scale})
	return nil
}

// zeros puts the sum where count zeros would lie.
func (f *folder) zeros(count uint64) error {
	n, err := f.checkSum(f.chosen.weight)
	if err != nil {
		return err
	}
	w := f.parameter(f.chosen.weight)
	if w.Shape[n] != count || len(f.names) != 1 {
		return f.doc.fault(f.part.fold.at, "the sum of beta with %s has %d values, the zeros are %d, in an operand of axes %q; as many, in a vector, were expected",
			w.Name, w.Shape[n], count, f.names)
	}
	f.o.Folds = append(f.o.Folds, Fold{Placement: none, Gamma: none, Beta: f.chosen.beta, Weight: f.chosen.weight, At: f.by, Along: f.along, Scale: f.scale})
	return nil
}
