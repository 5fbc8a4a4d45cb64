package cpu

import (
	"context"
	"fmt"
	"math"
)

const (
	patchCols = 1024    // columns of the patches in which elements are computed one by one
	patchRows = 32      // rows of a patch, and rows computed together
	rowValues = 1 << 15 // values that are computed together, where rows are short enough
)

// elementwise is an operation on a matrix x that gives a matrix y of the same shape.
type elementwise struct {
	rows, cols int
	x, y       *operand
}

// matrices takes the arguments x and y.
func (r *resolver) matrices() (elementwise, error) {
	x, errX := r.ordered("x", 2, false)
	y, errY := r.ordered("y", 2, true)
	if err := firstError(errX, errY, required([]string{"x", "y"}, x, y), r.shape()); err != nil {
		return elementwise{}, err
	}
	return elementwise{r.size('M'), r.size('N'), x, y}, nil
}

// shape checks the axes of the contract's shape, in order, against those that arguments have given.
func (r *resolver) shape() error {
	shape := r.contract.Shape
	if len(shape) != 0 && (len(shape) != 2 || shape[0].Extent != r.axes['M'] || shape[1].Extent != r.axes['N']) {
		return fmt.Errorf("the shape is not %d by %d as that of the arguments", r.axes['M'], r.axes['N'])
	}
	return nil
}

// each calls compute for the values of every patch of x, rows x cols and dense, and writes what it leaves of them to y.
func (e *elementwise) each(ctx context.Context, r *run, rows, cols int,
	compute func(s *scratch, values []float32, row, col, rows, cols int) error,
) error {
	if e.rows == 0 || e.cols == 0 {
		return nil
	}
	across := ceilDiv(e.cols, cols)
	return r.split(ctx, ceilDiv(e.rows, rows)*across, func(s *scratch, block int) error {
		row, col := block/across*rows, block%across*cols
		height, width := min(rows, e.rows-row), min(cols, e.cols-col)
		values := grown(&s.a, height*width)
		if err := e.x.read(s, r.data[e.x.argument], values, width, row, col, height, width); err != nil {
			return err
		}
		if err := compute(s, values, row, col, height, width); err != nil {
			return err
		}
		return e.y.write(s, r.data[e.y.argument], values, width, row, col, height, width)
	})
}

// eachRow calls compute for every row of x and writes what it leaves of it to y.
func (e *elementwise) eachRow(ctx context.Context, r *run, compute func(row []float32)) error {
	rows := min(patchRows, max(1, rowValues/max(e.cols, 1)))
	return e.each(ctx, r, rows, max(e.cols, 1), func(_ *scratch, values []float32, _, _, rows, cols int) error {
		for i := range rows {
			compute(values[i*cols:][:cols])
		}
		return nil
	})
}

func newGELU(r *resolver) (program, error) {
	e, err := r.matrices()
	table := gelus()
	return func(ctx context.Context, r *run) error {
		return e.each(ctx, r, patchRows, patchCols, func(_ *scratch, values []float32, _, _, _, _ int) error {
			table.apply(values)
			return nil
		})
	}, err
}

func newScale(r *resolver) (program, error) {
	e, err := r.matrices()
	scale, errScale := r.scalar("scale")
	return func(ctx context.Context, r *run) error {
		factor := float32(r.scalars[scale])
		return e.each(ctx, r, patchRows, patchCols, func(_ *scratch, values []float32, _, _, _, _ int) error {
			for i := range values {
				values[i] *= factor
			}
			return nil
		})
	}, firstError(err, errScale)
}

func newAdd(r *resolver) (program, error) {
	e, err := r.matrices()
	z, errZ := r.ordered("z", 2, false)
	if err := firstError(err, errZ, required([]string{"z"}, z)); err != nil {
		return nil, err
	}
	return func(ctx context.Context, r *run) error {
		return e.each(ctx, r, patchRows, patchCols, func(s *scratch, values []float32, row, col, rows, cols int) error {
			addends := grown(&s.b, rows*cols)
			if err := z.read(s, r.data[z.argument], addends, cols, row, col, rows, cols); err != nil {
				return err
			}
			for i, x := range addends {
				values[i] += x
			}
			return nil
		})
	}, nil
}

func newSoftmax(r *resolver) (program, error) {
	e, err := r.matrices()
	table := exponents()
	return func(ctx context.Context, r *run) error {
		return e.eachRow(ctx, r, table.softmax)
	}, err
}

// softmax replaces a row by exp(x-max)/sum. Differences, exponentials, sum and factor are float64; each exponential is rounded to
// float32 before it is multiplied.
func (t *expTable) softmax(row []float32) {
	top := math.Inf(-1)
	for _, x := range row {
		if v := float64(x); v > top {
			top = v
		}
	}
	sum := 0.0
	for i, x := range row {
		e := t.exp(float64(x) - top)
		sum += e
		row[i] = float32(e)
	}
	factor := 1 / sum
	for i, x := range row {
		row[i] = float32(float64(x) * factor)
	}
}

func newLayerNorm(r *resolver) (program, error) {
	e, err := r.matrices()
	gamma, errGamma := r.ordered("gamma", 1, false)
	beta, errBeta := r.ordered("beta", 1, false)
	eps, errEps := r.scalar("eps")
	if err := firstError(err, errGamma, errBeta, errEps); err != nil {
		return nil, err
	}
	return func(ctx context.Context, r *run) error {
		if r.scalars[eps] < 0 {
			return argumentError("eps", "negative")
		}
		return e.layerNorm(ctx, r, gamma, beta, r.scalars[eps])
	}, nil
}

// layerNorm normalizes every row; gamma and beta may be nil.
func (e *elementwise) layerNorm(ctx context.Context, r *run, gamma, beta *operand, eps float64) error {
	scales, shifts := make([]float32, e.cols), make([]float32, e.cols)
	for i := range scales {
		scales[i] = 1
	}
	err := r.split(ctx, 1, func(s *scratch, _ int) error {
		for _, v := range []struct {
			o      *operand
			values []float32
		}{{gamma, scales}, {beta, shifts}} {
			if v.o == nil || e.cols == 0 {
				continue
			}
			if err := v.o.read(s, r.data[v.o.argument], v.values, e.cols, 0, 0, 1, e.cols); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.eachRow(ctx, r, func(row []float32) { normalize(row, scales, shifts, eps) })
}

// normalize is LayerNorm of one row: two passes for mean and variance, all in float64, in order, rounded once at the end.
func normalize(row, scales, shifts []float32, eps float64) {
	sum := 0.0
	for _, x := range row {
		sum += float64(x)
	}
	mean := sum / float64(len(row))
	sum = 0
	for _, x := range row {
		d := float64(x) - mean
		sum += float64(d * d)
	}
	factor := 1 / math.Sqrt(sum/float64(len(row))+eps)
	for i, x := range row {
		y := float64((float64(x) - mean) * factor)
		row[i] = float32(float64(y*float64(scales[i])) + float64(shifts[i]))
	}
}
