package whisper

import (
	"fmt"
	"math"
	"slices"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/runtime/device"
)

// none stands for no operand.
const none = -1

// locator answers where parameters lie, from the placements and notes of the index.
type locator struct {
	model      *device.Model
	parameters map[string]int
	places     [][]place // by parameter
	folds      folds
}

// place is a placement and the operand that it belongs to.
type place struct {
	*artifact.Placement
	operand int
	// folded: what lies there was computed from the parameter and others, as a note says.
	folded bool
}

func newLocator(m *device.Model) *locator {
	x := m.Index
	l := &locator{model: m, parameters: make(map[string]int, len(x.Parameters)), places: make([][]place, len(x.Parameters)), folds: newFolds(x.Notes)}
	for i := range x.Parameters {
		l.parameters[x.Parameters[i].Name] = i
	}
	for i := range x.Operands {
		for j := range x.Operands[i].Placements {
			p := &x.Operands[i].Placements[j]
			l.places[p.Parameter] = append(l.places[p.Parameter], place{p, i, l.folds.has(p.Parameter, i)})
		}
	}
	return l
}

func (l *locator) operand(i int) *artifact.Operand { return &l.model.Index.Operands[i] }

// misplaced says why a parameter in an operand cannot be used.
func (l *locator) misplaced(parameter string, operand int, format string, args ...any) error {
	return fmt.Errorf("parameter %q in operand %q: %s", parameter, l.operand(operand).Name, fmt.Sprintf(format, args...))
}

// wanted is a parameter that must have these axes and sizes.
type wanted struct {
	name, axes string
	shape      []uint64
	folded     bool // only where others are folded into it; else only where they are not
	either     bool // wherever it lies
}

// vectorOf is a parameter with one axis.
func vectorOf(name string, n uint64) wanted { return wanted{name: name, axes: "N", shape: []uint64{n}} }

// find gives the first result of use over the places of a parameter. Where use refuses all, the error is that of the first. A parameter
// may lie in several operands, for several kernels.
func find[T any](l *locator, w wanted, use func(place) (T, error)) (T, error) {
	var nothing T
	i, err := l.parameter(w)
	if err != nil {
		return nothing, err
	}
	var first error
	for _, at := range l.places[i] {
		if at.folded != w.folded && !w.either {
			continue
		}
		err := l.whole(w.name, w.shape, at)
		if err == nil {
			var found T
			if found, err = use(at); err == nil {
				return found, nil
			}
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = l.nowhere(i, w.folded)
	}
	return nothing, first
}

// parameter gives the position of a parameter, which must have the axes and sizes wanted.
func (l *locator) parameter(w wanted) (int, error) {
	i, ok := l.parameters[w.name]
	if !ok {
		return -1, fmt.Errorf("parameter %q: %w in the artifact", w.name, artifact.ErrNotFound)
	}
	p := &l.model.Index.Parameters[i]
	if p.Axes != w.axes || !slices.Equal(p.Shape, w.shape) {
		return -1, fmt.Errorf("parameter %q has axes %s and shape %v; %s and %v were expected from the model's attributes", w.name, p.Axes, p.Shape, w.axes, w.shape)
	}
	return i, nil
}

// whole checks that a place holds all of a parameter, in an operand whose values can be read.
func (l *locator) whole(name string, shape []uint64, at place) error {
	if !l.operand(at.operand).Supported() {
		return l.misplaced(name, at.operand, "%v", artifact.ErrUnsupported)
	}
	for j, f := range at.From {
		if f.Begin != 0 || f.Size != shape[j] {
			return l.misplaced(name, at.operand, "only %d to %d of its axis %d lie there; one operand with all of it was expected", f.Begin, f.Begin+f.Size, j)
		}
	}
	return nil
}

// one reports whether a scale is 1 but for the rounding of a square root.
func one(scale float64) bool { return math.Abs(scale-1) <= 1e-6 }

// weight gives operand i as the argument of a kernel, its axes renamed: axes has a letter for each of them.
func (l *locator) weight(i int, name, axes string) (argument, error) {
	b, o, err := l.model.Operand(l.operand(i).Name)
	if err != nil {
		return argument{}, err
	}
	if len(o.Layout.Axes) != len(axes) {
		return argument{}, fmt.Errorf("operand %q has %d axes; %d were expected", o.Name, len(o.Layout.Axes), len(axes))
	}
	a := argument{Argument: kernel.Stored(name, 0, kernel.Weight, o.Storage()), value: device.Value{Buffer: b}, operand: i}
	a.MemoryGroup = l.model.Index.Segments[o.Segment].MemoryGroup
	return a.renamed(axes), nil
}

// matrix gives operand i, whose axis k is K and whose other axis is N, as b.
func (l *locator) matrix(i, k int) (argument, error) {
	axes := "KN"
	if k != 0 {
		axes = "NK"
	}
	return l.weight(i, "b", axes)
}

// spread checks that each axis of a parameter has an axis of an operand to itself, in steps of one, unscaled, and gives the letter
// of each axis of the operand.
func (l *locator) spread(name, letters string, at place) (string, error) {
	o := l.operand(at.operand)
	axes := make([]byte, len(o.Layout.Axes))
	for j, f := range at.From {
		switch {
		case len(axes) != len(at.From) || axes[f.Axis] != 0 || f.Step != 1 || at.To[f.Axis] != 0 || o.Layout.Axes[f.Axis].Extent != f.Size:
			return "", l.misplaced(name, at.operand, "it has shape %s; all of the operand, axis by axis, was expected", o.Layout.Shape())
		case !one(at.Scale):
			return "", l.misplaced(name, at.operand, "scaled by %v; 1 was expected", at.Scale)
		}
		axes[f.Axis] = letters[j]
	}
	return string(axes), nil
}

// positions gives the operand of embed_positions.weight, [P,N], as z[M,N] of an ADD.
func (l *locator) positions(s *Sizes) (argument, error) {
	const name = "encoder.embed_positions.weight"
	return find(l, wanted{name: name, axes: "PN", shape: []uint64{s.Positions, s.DModel}}, func(at place) (argument, error) {
		axes, err := l.spread(name, "MN", at)
		if err != nil {
			return argument{}, err
		}
		z, err := l.weight(at.operand, "z", axes)
		if err == nil && axes == "NM" {
			turned := z.Storage()
			z.store(turned.Permuted([]int{1, 0}))
		}
		return z, err
	})
}

// convWeight gives the operand of a convolution's weight [N,C,X] as b of a CONV: [N,C,X] in any order, or [K,N] with K = C*X, C
// outermost. Rows of K beyond (a bias) are left out of b. Where rows are in another order, they are put in this one in a buffer of their
// own, once.
func (b *builder) convWeight(name string, n, c uint64) (argument, error) {
	weight := wanted{name: name, axes: "NCX", shape: []uint64{n, c, convWidth}}
	return find(b.locator, weight, func(at place) (argument, error) {
		o := b.operand(at.operand)
		if len(o.Layout.Axes) == 3 {
			axes, err := b.spread(name, "NCX", at)
			if err != nil {
				return argument{}, err
			}
			return b.weight(at.operand, "b", axes)
		}
		fn, fc, fx := at.From[0], at.From[1], at.From[2]
		if len(o.Layout.Axes) != 2 || fn.Axis == fc.Axis || fc.Axis != fx.Axis || fn.Step != 1 {
			return argument{}, b.misplaced(name, at.operand, "it has shape %s; [N,C,X], or [K,N] with K made of C and X, was expected", o.Layout.Shape())
		}
		if !one(at.Scale) {
			return argument{}, b.misplaced(name, at.operand, "scaled by %v; 1 was expected", at.Scale)
		}
		if at.To[0] != 0 || at.To[1] != 0 || fx.Step != 1 || fc.Step != convWidth || o.Layout.Axes[fn.Axis].Extent != n {
			return b.convRows(at, n, c)
		}
		w, err := b.matrix(at.operand, fc.Axis)
		if err == nil {
			rows := slices.Clone(w.Layout.Axes)
			rows[fc.Axis].Extent = c * convWidth
			w.on(rows)
		}
		return w, err
	})
}

// convRows reads the weight of a convolution from rows of K in any order, as b [K,N] of a CONV.
func (b *builder) convRows(at place, n, c uint64) (argument, error) {
	w, host, err := b.room("b", size('K', c*convWidth), size('N', n))
	if err != nil {
		return w, err
	}
	line := make([]float32, n)
	for i := range c {
		for x := range uint64(convWidth) {
			row := artifact.Placement{From: at.From[:1], To: slices.Clone(at.To)}
			row.To[at.From[1].Axis] += i*at.From[1].Step + x*at.From[2].Step
			if err := b.read(line, place{&row, at.operand, false}); err != nil {
				return w, err
			}
			to := host[(i*convWidth+x)*n*4:][:n*4]
			if err := element.Encode(to, line, element.F32); err != nil {
				return w, err
			}
		}
	}
	return w, w.value.Buffer.ToDevice()
}

// alone checks that an operand holds, beside zeros, nothing but the named parameters, each once: what a kernel reads with a weight
// must be accounted for. So must what is folded into it: the named parameters, and those in norm.
func (l *locator) alone(operand int, norm, names []string) error {
	o := l.operand(operand)
	seen := make(map[int]bool, len(names))
	for i := range o.Placements {
		p := o.Placements[i].Parameter
		name := l.model.Index.Parameters[p].Name
		if !slices.Contains(names, name) || seen[p] {
			return l.misplaced(name, operand, "it lies there beside %q, which the runtime cannot account for", names)
		}
		seen[p] = true
	}
	for _, f := range o.Fills {
		if f.Value != 0 {
			return fmt.Errorf("operand %q, which holds %q: filled with %v at %v; only zeros were expected beside parameters", o.Name, names, f.Value, f.Begin)
		}
	}
	for _, p := range l.folds.into[operand] {
		if name := l.model.Index.Parameters[p].Name; !slices.Contains(names, name) && !slices.Contains(norm, name) {
			return l.misplaced(name, operand, "it is folded into %q there, which the runtime cannot account for", names)
		}
	}
	return nil
}
