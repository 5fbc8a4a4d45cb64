package pack

import (
	"fmt"
	"math"

	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
)

// A LayerNorm folded into the linear layer behind it puts two things into an operand (schema/FORMAT.md, "Notes"): a factor for each
// k, its gamma, and an addend for each n, the sum over k of beta[k] * weight[n,k]. Both are made before the operand's first
// window is packed, the sums by reading the weight once in pieces, and stay until its last: 8 bytes for each k and n.

const (
	// sumValues is about how many values of a weight are held at a time, sumRows for how many n at most.
	sumValues = 64 << 10
	sumRows   = 4 << 10
	// sumLanes is the number of partial sums of each n, those of FORMAT.md's statistics.
	sumLanes = 8
)

// addFold checks a fold of an operand and says in which box it is: a new one where it has no placement.
func addFold(boxes []box, o *recipe.Operand, f *recipe.Fold, m *model.Model) ([]box, error) {
	if (f.Gamma < 0) == (f.Beta < 0) || f.Placement < 0 && f.Beta < 0 || f.Placement >= len(o.Placements) {
		return nil, fmt.Errorf("a fold of gamma %d, beta %d and placement %d: either a gamma for a placement or a beta was expected",
			f.Gamma, f.Beta, f.Placement)
	}
	b := box{scale: f.Scale}
	if f.Placement >= 0 {
		b = boxes[f.Placement]
	}
	if b.fold != nil || f.Scale != b.scale && f.Scale != 0 || b.scale == 0 || math.IsNaN(b.scale) || math.IsInf(b.scale, 0) {
		return nil, fmt.Errorf("a fold of scale %v into placement %d, which has scale %v, or another fold already", f.Scale, f.Placement, b.scale)
	}
	b.fold = f
	if f.Gamma >= 0 {
		if f.Axis < 0 || f.Axis >= len(b.from) {
			return nil, fmt.Errorf("a gamma along axis %d of %d", f.Axis, len(b.from))
		}
		boxes[f.Placement] = b
		return boxes, checkVector(&m.Parameters[f.Gamma], b.parameter.Shape[f.Axis])
	}
	weight := &m.Parameters[f.Weight]
	if len(weight.Shape) != 2 {
		return nil, fmt.Errorf("a fold of %q, which has %d axes: a matrix [N,K] was expected", weight.Name, len(weight.Shape))
	}
	if err := checkVector(&m.Parameters[f.Beta], weight.Shape[1]); err != nil {
		return nil, err
	}
	if f.Placement >= 0 {
		boxes[f.Placement] = b
		return boxes, checkVector(b.parameter, weight.Shape[0])
	}
	axes := len(o.Layout.Axes)
	if f.Along < 0 || f.Along >= axes {
		return nil, fmt.Errorf("a fold along axis %d of %d", f.Along, axes)
	}
	b.begin, b.size = f.At, ones(axes)
	b.size[f.Along] = weight.Shape[0]
	return append(boxes, b), nil
}

func checkVector(p *model.Parameter, size uint64) error {
	if len(p.Shape) != 1 || p.Shape[0] != size {
		return fmt.Errorf("a fold of %q, which has shape %d: a vector of %d was expected", p.Name, p.Shape, size)
	}
	return nil
}

// readFolds reads what folds bring into the operand's boxes.
func (x *matrix) readFolds(c *source.Catalogue) error {
	for i := range x.boxes {
		b := &x.boxes[i]
		if b.fold == nil {
			continue
		}
		read := x.readBeta
		if b.fold.Gamma >= 0 {
			read = x.readGamma
		}
		if err := read(c, b); err != nil {
			return err
		}
	}
	return nil
}

func (x *matrix) readGamma(c *source.Catalogue, b *box) error {
	gamma, err := x.readVector(c, &x.model.Parameters[b.fold.Gamma])
	if err == nil {
		b.factor = b.spread(b.fold.Axis, gamma[b.from[b.fold.Axis].Begin:])
	}
	return err
}

func (x *matrix) readBeta(c *source.Catalogue, b *box) error {
	f := b.fold
	beta, err := x.readVector(c, &x.model.Parameters[f.Beta])
	if err != nil {
		return err
	}
	s := sum{catalogue: c, weight: &x.model.Parameters[f.Weight], beta: beta, mostValues: sumValues, mostRows: sumRows}
	if f.Placement >= 0 {
		s.begin, s.size = b.from[0].Begin, b.from[0].Size
	} else {
		s.size = b.size[f.Along]
	}
	sums, err := s.run()
	if err != nil {
		return x.fault(err)
	}
	if f.Placement >= 0 {
		b.addend = b.spread(0, sums)
	} else {
		b.addend = along{f.Along, sums}
	}
	return nil
}

// spread gives each index of the box its own of values, which are along axis j of the parameter, from where the placement begins.
func (b *box) spread(j int, values []float64) along {
	f := b.from[j]
	a := along{f.Axis, make([]float64, b.size[f.Axis])}
	for i := range a.values {
		a.values[i] = values[uint64(i)/f.Step%f.Size]
	}
	return a
}

// readVector reads a whole parameter of one axis. One that is not finite is an error unless the operand may hold such values.
func (x *matrix) readVector(c *source.Catalogue, p *model.Parameter) ([]float64, error) {
	values := make([]float64, p.Shape[0])
	if err := readFloat64(c, &p.Tensor, 0, values, make([]byte, len(values)*p.Tensor.Type.Size())); err != nil {
		return nil, x.fault(err)
	}
	for i, v := range values {
		if v-v != 0 && !x.keepsNonFinite() {
			return nil, notFinite(c, p, []uint64{uint64(i)}, fmt.Sprintf("is %v", v), x.repair())
		}
	}
	return values, nil
}

// readFloat64 reads values of a tensor from element first on; raw has room for them.
func readFloat64(c *source.Catalogue, t *source.Tensor, first int64, values []float64, raw []byte) error {
	raw = raw[:len(values)*t.Type.Size()]
	if err := c.ReadAt(raw, t, first*int64(t.Type.Size())); err != nil {
		return err
	}
	return element.ToFloat64(values, raw, t.Type)
}

// sum is the work of summing beta[k] * weight[n,k] over k, for size n from begin on.
type sum struct {
	catalogue   *source.Catalogue
	weight      *model.Parameter // [N,K], stored so or as [K,N]
	beta        []float64
	begin, size uint64

	mostValues, mostRows uint64 // held at a time

	values []float64
	raw    []byte
	lanes  [][sumLanes]float64 // of each n in work
}

// run gives the sums. Of each n, product k is added to lane k mod 8 by ascending k, however the weight lies and is read.
func (s *sum) run() ([]float64, error) {
	keys := uint64(len(s.beta))
	rows, step := min(s.size, s.mostRows), uint64(0) // n in work, and k read at a time
	if s.byRows() {
		step = min(keys, s.mostValues)
		rows = min(rows, max(s.mostValues/step, 1))
	} else {
		step = min(keys, max(s.mostValues/rows, 1))
	}
	s.values = make([]float64, rows*step)
	s.raw = make([]byte, len(s.values)*s.weight.Tensor.Type.Size())
	s.lanes = make([][sumLanes]float64, rows)
	sums := make([]float64, 0, s.size)
	for n := uint64(0); n < s.size; n += rows {
		rows := min(rows, s.size-n)
		clear(s.lanes)
		for k := uint64(0); k < keys; k += step {
			if err := s.add(s.begin+n, rows, k, min(step, keys-k)); err != nil {
				return nil, err
			}
		}
		for _, l := range s.lanes[:rows] {
			sums = append(sums, ((l[0]+l[1])+(l[2]+l[3]))+((l[4]+l[5])+(l[6]+l[7])))
		}
	}
	return sums, nil
}

// byRows reports whether the weight's k are neighbours where it is stored.
func (s *sum) byRows() bool { return s.weight.Perm[0] == 0 }

// add adds the products of keys k from k on to the lanes of rows n from n on.
func (s *sum) add(n, rows, k, keys uint64) error {
	byRows := s.byRows()
	first, count, begin, length := n, rows, k, keys // of the tensor's rows, and in each
	if !byRows {
		first, count, begin, length = k, keys, n, rows
	}
	values, width := s.values[:rows*keys], s.weight.Tensor.Shape[1]
	read := func(row, at, n uint64) error {
		return readFloat64(s.catalogue, &s.weight.Tensor, int64(row*width+begin), values[at:][:n], s.raw)
	}
	if length == width {
		if err := read(first, 0, count*length); err != nil {
			return err
		}
	} else {
		for i := range count {
			if err := read(first+i, i*length, length); err != nil {
				return err
			}
		}
	}
	for i := range count {
		row := values[i*length:][:length]
		if byRows {
			lanes := &s.lanes[i]
			for j, w := range row {
				at := k + uint64(j)
				lanes[at%sumLanes] += float64(s.beta[at] * w)
			}
			continue
		}
		beta, lane := s.beta[k+i], (k+i)%sumLanes
		for j, w := range row {
			s.lanes[j][lane] += float64(beta * w)
		}
	}
	return nil
}
