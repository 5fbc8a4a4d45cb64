package check

import (
	"context"
	"math"

	"npuw/artifact"
	"npuw/artifact/plane"
	"npuw/pipeline/internal/boxes"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
)

const (
	// maxValues is how many values of a parameter are held at a time, maxWindow how many elements around them.
	maxValues = 128 << 10
	maxWindow = 1 << 20
	// cutAt is at what multiples of an axis boxes are cut where they can be: no usual tile is cut in two, and read twice.
	cutAt = 64
)

// checker checks operands, one after another, in buffers of its own.
type checker struct {
	ctx       context.Context
	file      *artifact.File
	catalogue *source.Catalogue
	model     *model.Model

	// The operand in work: as it was planned and as it was made, where it begins in the file, and what has been seen of it.
	plan    *recipe.Operand
	made    *artifact.Operand
	base    int64
	reader  *plane.Reader // nil where bits are compared
	seen    uint64        // values
	squares float64       // of errors

	raw, packed, encoded []byte
	single               []float32
	double, decoded      []float64
}

// operand checks one operand: all that is placed in it and, where its error counts, its fills.
func (k *checker) operand(o *recipe.Operand, made *artifact.Operand) error {
	k.plan, k.made, k.seen, k.squares = o, made, 0, 0
	k.base = int64(k.file.Index.Segments[made.Segment].Offset + made.Offset)
	k.reader = nil
	exact := o.Encoding == plane.Plain && o.Format.Plain() && len(o.Folds) == 0
	if !exact {
		storage := o.Storage()
		k.reader = plane.NewReader(&storage, func(b []byte, off uint64) error {
			_, err := k.file.ReadAt(b, k.base+int64(off))
			return err
		})
	}
	for i := range o.Placements {
		p := &o.Placements[i]
		parameter := &k.model.Parameters[p.Parameter]
		if err := boxes.Check(parameter); err != nil {
			return err
		}
		v := values{parameter: parameter, scale: p.Scale}
		if err := k.readFold(i, &v); err != nil {
			return err
		}
		b := boxes.Box{}
		for _, f := range p.From {
			b.Begin, b.Size = append(b.Begin, f.Begin), append(b.Size, f.Size)
		}
		if err := k.box(&v, p, b, boxes.Order(parameter)); err != nil {
			return err
		}
	}
	if exact {
		return nil // fills are checked by artifact.Verify
	}
	return k.rest()
}

// rest checks what comes from no placement, and the sums.
func (k *checker) rest() error {
	constant := func(at, size []uint64, v values) error {
		p, b, order := identity(at, size)
		return k.box(&v, p, b, order)
	}
	for _, f := range k.plan.Fills {
		if err := constant(f.Begin, f.Size, values{constant: f.Value, scale: 1}); err != nil {
			return err
		}
	}
	for i := range k.plan.Folds {
		f := &k.plan.Folds[i]
		if f.Placement >= 0 {
			continue
		}
		v := values{scale: f.Scale, addendAxis: f.Along}
		var err error
		if v.addend, err = k.sums(f); err != nil {
			return err
		}
		size := make([]uint64, len(f.At))
		for a := range size {
			size[a] = 1
		}
		size[f.Along] = uint64(len(v.addend))
		if err := constant(f.At, size, v); err != nil {
			return err
		}
	}
	s := &k.made.Statistics
	if k.seen != s.Elements || math.Abs(k.squares-s.SumDD) > 1e-6*s.SumDD+1e-15*s.SumXX {
		return k.fault("its %d values have an error of %g in all, recorded are %g of %d", k.seen, k.squares, s.SumDD, s.Elements)
	}
	return nil
}

func (k *checker) fault(format string, args ...any) error {
	return fault(k.file, "operand", k.plan.Name, format, args...)
}

// identity is the placement of a box of an operand that comes from no parameter.
func identity(at, size []uint64) (*artifact.Placement, boxes.Box, []int) {
	p := &artifact.Placement{To: at}
	var order []int
	for a, n := range size {
		p.From = append(p.From, artifact.PlacedAxis{Size: n, Step: 1, Axis: a})
		order = append(order, a)
	}
	return p, boxes.Whole(size), order
}

// place is where a box of a parameter lies in the operand: the index of its first element, and the size of the box around all.
func place(p *artifact.Placement, b boxes.Box) (at, size []uint64) {
	at, size = append(at, p.To...), make([]uint64, len(p.To))
	for a := range size {
		size[a] = 1
	}
	for j, f := range p.From {
		at[f.Axis] += (b.Begin[j] - f.Begin) * f.Step
		size[f.Axis] += (b.Size[j] - 1) * f.Step
	}
	return at, size
}

// box checks a box of a parameter, in pieces that fit.
func (k *checker) box(v *values, p *artifact.Placement, b boxes.Box, order []int) error {
	if err := k.ctx.Err(); err != nil {
		return err
	}
	n := b.Volume()
	if n == 0 {
		return nil
	}
	at, size := place(p, b)
	if n <= maxValues {
		done, err := k.piece(v, p, b, order, at, size)
		if done || err != nil {
			return err
		}
	}
	axis := cutAxis(b, order)
	half := (b.Size[axis] + 1) / 2
	if b.Size[axis] > cutAt {
		half = (half + cutAt - 1) / cutAt * cutAt
	}
	if err := k.box(v, p, b.Part(axis, 0, half), order); err != nil {
		return err
	}
	return k.box(v, p, b.Part(axis, half, b.Size[axis]-half), order)
}

// cutAxis picks the axis to cut a box at: the outermost of the source that is long, so that the source is read in long runs.
func cutAxis(b boxes.Box, order []int) int {
	widest := order[0]
	for _, axis := range order {
		if b.Size[axis] > cutAt {
			return axis
		}
		if b.Size[axis] > b.Size[widest] {
			widest = axis
		}
	}
	return widest
}

// piece checks a box that fits, or says that what is around it in the operand does not.
func (k *checker) piece(v *values, p *artifact.Placement, b boxes.Box, order []int, at, size []uint64) (done bool, err error) {
	w := walk{placement: p, box: b, order: order, first: at}
	if k.reader != nil {
		n, err := k.reader.Elements(at, size)
		if err != nil || n > maxWindow && b.Volume() > 1 {
			return false, err
		}
		return true, k.near(v, &w, at, size)
	}
	window, err := k.plan.Layout.WindowAround(at, size)
	if err != nil || window.Layout.Elements() > maxWindow && b.Volume() > 1 {
		return false, err
	}
	return true, k.equal(v, &w, &window)
}
