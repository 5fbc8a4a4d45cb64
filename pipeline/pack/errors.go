package pack

import (
	"fmt"
	"math"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// boxOf is the box that has an index of the operand.
func (x *matrix) boxOf(index []uint64) *box {
	for i := range x.boxes {
		if x.boxes[i].holds(index) {
			return &x.boxes[i]
		}
	}
	return &box{} // there is one: boxes cover the operand
}

// notFinite is the error for a value, in row and column of a window, that is not finite or becomes so: no kernel can have been meant
// to read it.
func (w *worker) notFinite(j *job, window *layout.Window, row, col uint64, v float64) error {
	index := j.indexOf(window, row, col)
	b := j.boxOf(index)
	what := "is"
	if !b.plain() {
		what = "becomes"
	}
	what = fmt.Sprintf("%s %v", what, v)
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		what = fmt.Sprintf("%s, which %v cannot hold", what, j.operand.Format)
	}
	if b.parameter != nil {
		return notFinite(w.catalogue, b.parameter, b.element(index), what, j.repair())
	}
	of := "of a fill"
	if b.fold != nil {
		of = fmt.Sprintf("the sum of %q times %q", j.model.Parameters[b.fold.Beta].Name, j.model.Parameters[b.fold.Weight].Name)
	}
	return &source.Error{
		File: w.catalogue.Path, Offset: -1, Thing: fmt.Sprintf("operand %q", j.operand.Name),
		Problem: fmt.Sprintf("element %v, %s, %s", index, of, what), Next: j.repair(), Err: source.ErrNotFinite,
	}
}

// notFinite says what is wrong with an element of a parameter.
func notFinite(c *source.Catalogue, p *model.Parameter, element []uint64, what, next string) error {
	return &source.Error{
		File: c.Path, Offset: -1, Thing: fmt.Sprintf("parameter %q (tensor %q)", p.Name, p.Tensor.Name),
		Problem: fmt.Sprintf("element %v %s", element, what), Next: next, Err: source.ErrNotFinite,
	}
}

// repair says what can be done about values that are not finite.
func (x *matrix) repair() string {
	if x.operand.Format.Plain() {
		return "repair the model, or set keep_non_finite in the recipe"
	}
	return fmt.Sprintf("repair the model, or set another format in the recipe: %v holds finite values only", x.operand.Format)
}

// unlike is the error for a value of a source, in row and column of a window, that none of its codes stands for with the block that the
// source gives for it: what the file says of its codes, or how it was read, is wrong.
func (w *worker) unlike(j *job, window *layout.Window, row, col uint64, v float64, of *element.Block) error {
	index := j.indexOf(window, row, col)
	at, name := index, ""
	if b := j.boxOf(index); b.parameter != nil {
		at, name = b.element(index), fmt.Sprintf(" of parameter %q (tensor %q)", b.parameter.Name, b.parameter.Tensor.Name)
	}
	return &source.Error{
		File: w.catalogue.Path, Offset: -1, Thing: fmt.Sprintf("operand %q", j.operand.Name),
		Problem: fmt.Sprintf("element %v%s is %v, which no code in %v stands for with the scale %v and zero %v that the source gives for it",
			at, name, v, j.operand.Format, of.Scale, of.Zero),
		Next: "codes cannot be kept as they are: state another format than SOURCE in the recipe", Err: source.ErrMismatch,
	}
}

// indexOf is the index in the operand of row and column of a window.
func (x *matrix) indexOf(window *layout.Window, row, col uint64) []uint64 {
	index := make([]uint64, len(window.Begin))
	matrixIndex(index, window.Layout.Axes, row, col)
	for a := range index {
		index[a] += window.Begin[a]
	}
	return index
}
