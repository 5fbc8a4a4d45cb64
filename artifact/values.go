package artifact

import (
	"fmt"
	"io"
	"math"
	"slices"

	"npuw/artifact/element"
)

// Values is what an operand or a parameter holds, to be written row-major.
type Values struct {
	Name   string
	Shape  []uint64
	Format element.Format // of the operands the values lie in; 0 when they differ, or an element there is no value by itself
	Exact  bool           // every scale is a power of two: nothing but encoding stands between these and the values packed

	file   *File
	pieces []piece // disjoint, and together all of Shape
	limits limits
}

// limits bound what is in memory at a time.
type limits struct {
	band   uint64 // values that are gathered
	window uint64 // elements of an operand that are read, padding included
}

var usualLimits = limits{band: 1 << 20, window: 1 << 21}

// piece is a box of the values and where it lies: for values of an operand, all of it.
type piece struct {
	operand *Operand
	Placement
}

// OperandValues gives the logical values of an operand, in the order of its axes.
func (a *File) OperandValues(name string) (*Values, error) {
	o := a.Operand(name)
	if o == nil {
		return nil, a.fault("operand", name, ErrNotFound, "")
	}
	if !o.Supported() {
		return nil, a.fault("operand", name, ErrUnsupported, "encoding %d in %v; use a newer npuw", o.Encoding, o.Format)
	}
	p := Placement{Scale: 1, To: make([]uint64, len(o.Layout.Axes))}
	v := &Values{Name: name, file: a, limits: usualLimits}
	for i, axis := range o.Layout.Axes {
		v.Shape = append(v.Shape, axis.Extent)
		p.From = append(p.From, PlacedAxis{Size: axis.Extent, Step: 1, Axis: i})
	}
	v.add(piece{o, p})
	return v, nil
}

// ParameterValues gives a parameter's values, in its own shape, recovered from the operands that hold it: where several hold
// the same, from the first that this version can read.
func (a *File) ParameterValues(name string) (*Values, error) {
	i := a.Parameter(name)
	if i < 0 {
		return nil, a.fault("parameter", name, ErrNotFound, "")
	}
	parameter := &a.Index.Parameters[i]
	v := &Values{Name: name, Shape: parameter.Shape, file: a, limits: usualLimits}
	var boxes [][]PlacedAxis
	a.placesOnce.Do(func() { a.places = findPlaces(a.Index) })
	folded, into := map[int]bool{}, ""
	for _, j := range a.places.notes.of(i) {
		folded[j], into = true, a.Index.Operands[j].Name
	}
	for _, at := range a.places.placed.of(i) {
		o := &a.Index.Operands[at.operand]
		p := o.Placements[at.placement]
		known := func(box []PlacedAxis) bool { return sameBox(box, p.From) }
		if !o.Supported() || folded[at.operand] || len(boxes) <= maxBoxes && slices.ContainsFunc(boxes, known) {
			continue
		}
		boxes = append(boxes, p.From)
		v.add(piece{o, p})
	}
	// A box may name no more than its operand has: then values take no more room than the file, whatever a sound index says.
	for _, p := range v.pieces {
		if placedVolume(p.From) > p.operand.Elements() {
			return nil, a.fault("parameter", name, ErrCorrupt, "operand %q has not so many elements", p.operand.Name)
		}
	}
	if n, err := distinctVolume(boxes); err != nil || n != parameter.Elements() {
		if into != "" {
			return nil, a.fault("parameter", name, ErrUnsupported, "it is folded into operand %q, which was computed from it and others: its values cannot be recovered", into)
		}
		return nil, a.fault("parameter", name, ErrUnsupported, "its values cannot all be recovered from the operands")
	}
	return v, nil
}

func (a *File) fault(thing, name string, err error, format string, args ...any) error {
	return &Error{File: a.Path, Offset: -1, Thing: fmt.Sprintf("%s %q", thing, name), Detail: fmt.Sprintf(format, args...), Err: err}
}

func (v *Values) add(p piece) {
	mantissa, _ := math.Frexp(p.Scale)
	exact := math.Abs(mantissa) == 0.5
	format := p.operand.Format
	if !p.operand.single() {
		format = 0
	}
	if len(v.pieces) == 0 {
		v.Format, v.Exact = format, exact
	}
	if v.Format != format {
		v.Format = 0
	}
	v.Exact = v.Exact && exact
	v.pieces = append(v.pieces, p)
}

// Permuted gives the same values with their axes in another order: axis i is axis order[i] of v.
func (v *Values) Permuted(order ...int) (*Values, error) {
	sorted := slices.Sorted(slices.Values(order))
	for i, axis := range sorted {
		if axis != i {
			return nil, v.badOrder(order)
		}
	}
	if len(order) != len(v.Shape) {
		return nil, v.badOrder(order)
	}
	permuted := *v
	permuted.Shape = permute(v.Shape, order)
	permuted.pieces = slices.Clone(v.pieces)
	for i := range permuted.pieces {
		permuted.pieces[i].From = permute(v.pieces[i].From, order)
	}
	return &permuted, nil
}

func (v *Values) badOrder(order []int) error {
	return v.file.fault("values", v.Name, ErrInvalid, "%v is no order of %d axes", order, len(v.Shape))
}

func permute[T any](s []T, order []int) []T {
	out := make([]T, len(order))
	for i, axis := range order {
		out[i] = s[axis]
	}
	return out
}

// WriteFloat32 writes the values as little-endian float32, rounded where a scale has to be undone. Memory does not grow with
// them: it is less than 64 MiB.
func (v *Values) WriteFloat32(w io.Writer) error { return v.write(w, element.F32, false) }

// WriteRaw writes the elements as they are encoded, in Format. It fails where there is no one format or a scale other than 1.
func (v *Values) WriteRaw(w io.Writer) error {
	for _, p := range v.pieces {
		if p.Scale != 1 || v.Format == 0 {
			return &Error{File: v.file.Path, Offset: -1, Thing: fmt.Sprintf("%q", v.Name), Detail: "lies scaled, as codes, or in operands of several formats; ask for f32", Err: ErrUnsupported}
		}
	}
	return v.write(w, v.Format, true)
}

// write goes through the values in bands, boxes whose values follow each other in the output: whole on the last axes, cut on
// one, and of one index on those before it.
func (v *Values) write(w io.Writer, format element.Format, raw bool) error {
	n := len(v.Shape)
	begin, size := make([]uint64, n), slices.Clone(v.Shape)
	cut, inner := n-1, uint64(1) // inner: values in one index of axis cut
	for cut >= 0 && inner <= v.limits.band/v.Shape[cut] {
		inner *= v.Shape[cut]
		cut--
	}
	step := uint64(1)
	if cut >= 0 {
		if step = v.limits.band / inner; step > 64 { // so that tiles are read once
			step &^= 63
		}
		for a := range cut {
			size[a] = 1
		}
	}
	g := gatherer{file: v.file, window: v.limits.window, raw: raw, elem: format.Size(), out: make([]byte, inner*step*uint64(format.Size()))}
	for {
		if cut >= 0 {
			size[cut] = min(step, v.Shape[cut]-begin[cut])
		}
		if err := g.band(v.pieces, begin, size); err != nil {
			return inFile(err, v.file.Path)
		}
		if _, err := w.Write(g.out[:volume(size)*uint64(g.elem)]); err != nil {
			return err
		}
		a := cut
		for ; a >= 0; a-- {
			if begin[a] += size[a]; begin[a] < v.Shape[a] {
				break
			}
			begin[a] = 0
		}
		if a < 0 {
			return nil
		}
	}
}
