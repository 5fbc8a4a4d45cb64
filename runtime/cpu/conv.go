package cpu

import (
	"fmt"
)

// maxWidth bounds the width of a convolution's kernel, axis X, and maxStep its stride, S.
const (
	maxWidth = 255
	maxStep  = 255
)

// convolution is the product of the unfolded a, [Q, C*X], and b.
type convolution struct {
	positions, width, step int // extents P and X, and S
	a, b                   *operand
	tap                    int // axis X in b's layout, -1 if b is [K,N]
}

func newConv(r *resolver) (program, error) {
	a, errA := r.named("a", "PC", false)
	c, bias, err := r.results("QN")
	if err := firstError(errA, err, required([]string{"a", "c"}, a, c)); err != nil {
		return nil, err
	}
	v := &convolution{positions: r.size('P'), a: a, tap: -1}
	if err := v.resolveWidth(r); err != nil {
		return nil, err
	}
	if v.b, err = r.buffer("b", false); err != nil {
		return nil, err
	}
	if err := firstError(required([]string{"b"}, v.b), v.resolveWeight(r)); err != nil {
		return nil, err
	}
	p := &product{
		m: r.size('Q'), k: r.size('C') * v.width, n: r.size('N'),
		// Whole groups of X taps, so that parts of K are parts of C.
		depth: max(1, depthBlock/v.width) * v.width,
		a:     v.unfold, aArgument: a.argument, b: v.weight, bArgument: v.b.argument,
		c: c, bias: bias, gelu: r.epilogue(),
	}
	return p.run, nil
}

// resolveWidth takes X and S from the shape, and checks the number of outputs.
func (v *convolution) resolveWidth(r *resolver) error {
	width, step := r.contract.Size('X'), r.contract.Size('S')
	if width > maxWidth || width%2 == 0 {
		return fmt.Errorf("width X %d; known are odd ones up to %d", width, maxWidth)
	}
	if step < 1 || step > maxStep {
		return fmt.Errorf("stride S %d; known are 1 to %d", step, maxStep)
	}
	v.width, v.step = int(width), int(step)
	if q := ceilDiv(v.positions, v.step); q != r.size('Q') {
		return fmt.Errorf("%d outputs along Q; %d positions with stride %d give %d", r.size('Q'), v.positions, v.step, q)
	}
	return nil
}

// resolveWeight finds out in which of its two forms b is.
func (v *convolution) resolveWeight(r *resolver) error {
	axes := "KN"
	if len(v.b.layout.Axes) == 3 {
		axes = "CNX"
	}
	for _, name := range []byte(axes) {
		at := v.b.axis(name)
		if at < 0 || len(v.b.layout.Axes) != len(axes) {
			return fmt.Errorf("argument \"b\" has axes %s; expected K N or N C X", v.b.layout.Shape())
		}
		extent := v.b.layout.Axes[at].Extent
		if name == 'K' && extent != r.axes['C']*uint64(v.width) {
			return fmt.Errorf("argument \"b\" has %d on axis K, C times X is %d", extent, r.axes['C']*uint64(v.width))
		}
		if err := r.fix(name, extent, "b"); err != nil {
			return err
		}
	}
	v.b.row, v.b.col, v.tap = v.b.axis(axes[0]), v.b.axis('N'), v.b.axis('X')
	return nil
}

// unfold is the side a of the product: row q, column c*X+x is a[q*S+x-X/2, c], zero where there is no such position. col and
// cols are multiples of X.
func (v *convolution) unfold(s *scratch, data []byte, dst []float32, stride, row, col, rows, cols int) error {
	channel, channels := col/v.width, cols/v.width
	first := row*v.step - v.width/2 // the position of the first row's first tap
	count := (rows-1)*v.step + v.width
	begin, end := max(first, 0), min(first+count, v.positions)
	dense := grown(&s.d, count*channels)
	clear(dense[:(begin-first)*channels])
	clear(dense[(end-first)*channels:])
	if err := v.a.read(s, data, dense[(begin-first)*channels:], channels, begin, channel, end-begin, channels); err != nil {
		return err
	}
	for q := range rows {
		line := dst[q*stride:][:cols]
		for x := range v.width {
			values := dense[(q*v.step+x)*channels:][:channels]
			for c, value := range values {
				line[c*v.width+x] = value
			}
		}
	}
	return nil
}

// weight is the side b of the product; row and rows are multiples of X.
func (v *convolution) weight(s *scratch, data []byte, dst []float32, stride, row, col, rows, cols int) error {
	if v.tap < 0 {
		return v.b.read(s, data, dst, stride, row, col, rows, cols)
	}
	at := v.b.at(row/v.width, col)
	for x := range v.width {
		at[v.tap] = uint64(x)
		if err := v.b.readAt(s, data, dst[x*stride:], v.width*stride, at, rows/v.width, cols); err != nil {
			return err
		}
	}
	return nil
}
