package pack

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
)

// box is a part of an operand, dense in its index space: what one placement takes, one fill, or one sum of a fold. The operand holds
// there
//
//	scale * (factor * value + addend)
//
// in binary64, each product and the sum rounded. factor and addend, where a fold gives them, vary along one axis.
type box struct {
	begin, size []uint64 // [begin, begin+size) on each axis of the operand

	parameter *model.Parameter // that has the values; nil: all are constant
	constant  float64
	from      []artifact.PlacedAxis // where the parameter's axes lie
	move      []int64               // how far a step along each of them moves in the source tensor, in elements
	outer     int                   // the axis of the operand along which the source's rows follow each other

	scale          float64
	fold           *recipe.Fold // nil: none
	factor, addend along        // of the fold, once readFolds has read them
}

// along is one value for each index of a box on an axis.
type along struct {
	axis   int
	values []float64 // nil: none
}

// plain reports whether the box holds its values as they are.
func (b *box) plain() bool { return b.scale == 1 && b.fold == nil }

// double reports whether values of the box have to be worked out in float64.
func (b *box) double() bool {
	if b.parameter == nil {
		return !b.plain() || float64(float32(b.constant)) != b.constant
	}
	return !b.plain() || b.parameter.Tensor.Type == element.F64
}

// newBoxes gives the boxes of an operand: of its placements, in their order, of its fills, then of folds without a placement. They
// cover the operand; artifact.Create has seen to it that placements and fills are disjoint. What folds need to know of
// the model's values is added by readFolds.
func newBoxes(o *recipe.Operand, m *model.Model) ([]box, error) {
	axes := o.Layout.Axes
	var boxes []box
	for i := range o.Placements {
		p := &o.Placements[i]
		b, err := placed(p, &m.Parameters[p.Parameter], len(axes))
		if err != nil {
			return nil, fmt.Errorf("the placement of parameter %q: %w", m.Parameters[p.Parameter].Name, err)
		}
		boxes = append(boxes, b)
	}
	for i := range o.Fills {
		f := &o.Fills[i]
		boxes = append(boxes, box{begin: f.Begin, size: f.Size, constant: f.Value, scale: 1})
	}
	sums := len(boxes)
	for i := range o.Folds {
		var err error
		if boxes, err = addFold(boxes, o, &o.Folds[i], m); err != nil {
			return nil, err
		}
	}
	return boxes, checkCover(boxes, sums, axes)
}

func ones(n int) []uint64 { return slices.Repeat([]uint64{1}, n) }

// checkCover checks that boxes, of which those from sums on may overlap others, are disjoint and cover the extents.
func checkCover(boxes []box, sums int, axes []layout.Axis) error {
	covered, all := uint64(0), uint64(1)
	for _, a := range axes {
		all *= a.Extent
	}
	for i := range boxes {
		b := &boxes[i]
		if len(b.begin) != len(axes) || len(b.size) != len(axes) {
			return fmt.Errorf("a box of %d axes, there are %d", len(b.begin), len(axes))
		}
		for a, axis := range axes {
			if b.begin[a] > axis.Extent || b.size[a] > axis.Extent-b.begin[a] {
				return fmt.Errorf("%d values from %d are placed on axis %c, which has %d", b.size[a], b.begin[a], axis.Name, axis.Extent)
			}
		}
		covered += volume(b.size)
		for j := range boxes[:i] {
			if i >= sums && !b.apart(&boxes[j]) {
				return fmt.Errorf("a fold's sums at %d lie over what is placed at %d", b.begin, boxes[j].begin)
			}
		}
	}
	if covered != all {
		return fmt.Errorf("placements, fills and folds give %d of its %d values", covered, all)
	}
	return nil
}

// apart reports whether two boxes have no element in common.
func (b *box) apart(c *box) bool {
	for a := range b.begin {
		if b.begin[a]+b.size[a] <= c.begin[a] || c.begin[a]+c.size[a] <= b.begin[a] {
			return true
		}
	}
	return false
}

// placed is the box of a placement in an operand of so many axes.
func placed(p *artifact.Placement, parameter *model.Parameter, axes int) (box, error) {
	b := box{begin: p.To, size: ones(axes), parameter: parameter, from: p.From, move: make([]int64, len(p.From)), scale: p.Scale}
	if len(p.From) != len(parameter.Shape) || len(p.To) != axes {
		return b, fmt.Errorf("it has %d and %d axes, expected %d and %d", len(p.From), len(p.To), len(parameter.Shape), axes)
	}
	for a := range axes {
		if err := b.measure(a); err != nil {
			return b, err
		}
	}
	// What one step along each axis of the tensor moves.
	shape := parameter.Tensor.Shape
	strides := make([]int64, len(shape))
	for i, stride := len(shape)-1, int64(1); i >= 0; i-- {
		strides[i] = stride
		stride *= int64(shape[i])
	}
	widest := int64(-1)
	for j, f := range p.From {
		b.move[j] = strides[parameter.Perm[j]]
		if f.Size > 1 && b.move[j] > widest {
			widest, b.outer = b.move[j], f.Axis
		}
	}
	return b, nil
}

// errApart is of a placement that leaves elements out between those it names.
var errApart = errors.New("it names indices that are apart: on each axis of the operand, what is placed must be a run without gaps, " +
	"the axes of the parameter one inside the other; use a placement for each run")

// measure finds the size of the box on an axis.
func (b *box) measure(axis int) error {
	var on []artifact.PlacedAxis
	for _, f := range b.from {
		if f.Axis == axis && f.Size > 1 {
			on = append(on, f)
		}
	}
	slices.SortFunc(on, func(f, g artifact.PlacedAxis) int { return cmp.Compare(f.Step, g.Step) })
	for _, f := range on {
		if f.Step != b.size[axis] {
			return errApart
		}
		b.size[axis] *= f.Size // within the product of the parameter's sizes
	}
	return nil
}

// offsets sets table to what the indices of the box from first on, along an axis, add to a place in the source tensor.
func (b *box) offsets(table []int64, axis int, first uint64) {
	clear(table)
	for j, f := range b.from {
		if f.Axis != axis {
			continue
		}
		index, inside := first/f.Step%f.Size, first%f.Step
		for i := range table {
			table[i] += int64(f.Begin+index) * b.move[j]
			if inside++; inside == f.Step {
				inside = 0
				if index++; index == f.Size {
					index = 0
				}
			}
		}
	}
}

// element gives the index in the box's parameter of what is at an index of the operand.
func (b *box) element(index []uint64) []uint64 {
	of := make([]uint64, len(b.from))
	for j, f := range b.from {
		of[j] = f.Begin + (index[f.Axis]-b.begin[f.Axis])/f.Step%f.Size
	}
	return of
}

// holds reports whether an index of the operand is in the box.
func (b *box) holds(index []uint64) bool {
	for a, i := range index {
		if i < b.begin[a] || i-b.begin[a] >= b.size[a] {
			return false
		}
	}
	return true
}
