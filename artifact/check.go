package artifact

import (
	"fmt"
	"math"
	"math/bits"

	"npuw/artifact/layout"
)

// check proves that an index means something: names, ranges, orders, bijections (FORMAT.md, sections 4, 6 and 8). begin and end
// bound the segments in the file. It needs time and memory in proportion to the index, and reads no data.
func (x *Index) check(begin, end, pageBytes uint64) error {
	for _, step := range []func() error{
		func() error { return x.checkSegments(begin, end, pageBytes) },
		x.checkParameters, x.checkOperands, x.checkAttributes, x.checkContracts, x.checkRest,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func fault(thing, name, format string, args ...any) error {
	if name != "" {
		thing = fmt.Sprintf("%s %q", thing, name)
	}
	return &Error{Offset: -1, Thing: thing, Detail: fmt.Sprintf(format, args...), Err: ErrCorrupt}
}

// names refuses empty and repeated names.
type names map[string]struct{}

func (n names) add(thing, name string) error {
	before := len(n)
	n[name] = struct{}{}
	switch {
	case name == "":
		return fault(thing, "", "a %s without a name", thing)
	case len(n) == before:
		return fault(thing, name, "two have this name")
	case len(name) > maxString || !plainText(name):
		return fault(thing, name, "the name is longer than %d bytes, or is not UTF-8 without control characters", maxString)
	}
	return nil
}

func (x *Index) checkSegments(begin, end, pageBytes uint64) error {
	seen := make(names, len(x.Segments))
	at := begin
	for i := range x.Segments {
		s := &x.Segments[i]
		if err := seen.add("segment", s.Name); err != nil {
			return err
		}
		if s.Offset != at || s.Bytes == 0 || s.Bytes%pageBytes != 0 || s.Bytes > end-at {
			return fault("segment", s.Name, "%d bytes at %d; whole pages of %d were expected at %d, before %d", s.Bytes, s.Offset, pageBytes, at, end)
		}
		at += s.Bytes
	}
	if at != end {
		return fault("segments", "", "they end at %d, the index begins at %d", at, end)
	}
	return nil
}

func (x *Index) checkParameters() error {
	seen := make(names, len(x.Parameters))
	for i := range x.Parameters {
		p := &x.Parameters[i]
		if err := seen.add("parameter", p.Name); err != nil {
			return err
		}
		if len(p.Axes) != len(p.Shape) || len(p.Shape) > maxAxes {
			return fault("parameter", p.Name, "axes %q for %d sizes; at most %d", p.Axes, len(p.Shape), maxAxes)
		}
		n := uint64(1)
		for j, s := range p.Shape {
			if p.Axes[j] < 'A' || p.Axes[j] > 'Z' {
				return fault("parameter", p.Name, "axes %q are not upper-case letters", p.Axes)
			}
			hi, lo := bits.Mul64(n, s)
			if n = lo; hi != 0 || n == 0 || n > layout.MaxElements {
				return fault("parameter", p.Name, "shape %v holds no elements or too many", p.Shape)
			}
		}
	}
	return nil
}

func (x *Index) checkOperands() error {
	seen := make(names, len(x.Operands))
	segment, at := 0, uint64(0)
	for i := range x.Operands {
		o := &x.Operands[i]
		if err := seen.add("operand", o.Name); err != nil {
			return err
		}
		if o.Segment >= len(x.Segments) || o.Segment < segment {
			return fault("operand", o.Name, "segment %d, there are %d and operands stand in their order", o.Segment, len(x.Segments))
		}
		if o.Segment > segment {
			segment, at = o.Segment, 0
		}
		s := &x.Segments[segment]
		if o.Offset%OperandAlign != 0 || o.Offset < at || o.Offset > s.Bytes || o.Bytes > s.Bytes-o.Offset || s.Kind == Instructions {
			return fault("operand", o.Name, "%d bytes at %d of segment %q, which has %d bytes and is used up to %d", o.Bytes, o.Offset, s.Name, s.Bytes, at)
		}
		at = o.Offset + o.Bytes
		if err := x.checkOperand(o); err != nil {
			return err
		}
	}
	return nil
}

// checkOperand checks an operand by itself.
func (x *Index) checkOperand(o *Operand) error {
	for _, a := range o.Layout.Axes {
		if a.Extent == 0 {
			return fault("operand", o.Name, "axis %c has no elements", a.Name)
		}
	}
	if o.Encoding == 0 {
		if err := o.Layout.Validate(); err != nil {
			return fault("operand", o.Name, "%v", err)
		}
		size := uint64(o.Format.Size())
		if hi, n := bits.Mul64(o.Layout.Elements(), size); o.Supported() && (hi != 0 || n != o.Bytes) {
			return fault("operand", o.Name, "%d bytes for %d elements of %v", o.Bytes, o.Layout.Elements(), o.Format)
		}
		if o.Supported() && size < 8 && o.PadBits>>(8*size) != 0 {
			return fault("operand", o.Name, "pad_bits %#x are wider than %v", o.PadBits, o.Format)
		}
	} else if err := rowMajor(o.Layout.Axes).Validate(); err != nil { // the axes mean the same in every encoding
		return fault("operand", o.Name, "%v", err)
	}
	for i := range o.Placements {
		if err := x.checkPlacement(o, &o.Placements[i]); err != nil {
			return err
		}
	}
	for _, f := range o.Fills {
		if len(f.Begin) != len(o.Layout.Axes) || len(f.Size) != len(f.Begin) {
			return fault("operand", o.Name, "a fill of %d axes", len(f.Begin))
		}
		for a, axis := range o.Layout.Axes {
			if f.Size[a] == 0 || f.Begin[a] > axis.Extent || f.Size[a] > axis.Extent-f.Begin[a] {
				return fault("operand", o.Name, "a fill reaches outside axis %c", axis.Name)
			}
		}
	}
	return nil
}

func (x *Index) checkPlacement(o *Operand, p *Placement) error {
	if p.Parameter >= len(x.Parameters) {
		return fault("operand", o.Name, "a placement of parameter %d, there are %d", p.Parameter, len(x.Parameters))
	}
	q := &x.Parameters[p.Parameter]
	if len(p.From) != len(q.Shape) || len(p.To) != len(o.Layout.Axes) {
		return fault("operand", o.Name, "a placement of %q with %d and %d axes, expected %d and %d", q.Name, len(p.From), len(p.To), len(q.Shape), len(o.Layout.Axes))
	}
	if p.Scale == 0 || math.IsNaN(p.Scale) || math.IsInf(p.Scale, 0) {
		return fault("operand", o.Name, "a placement of %q with scale %v", q.Name, p.Scale)
	}
	var last [maxAxes]uint64
	copy(last[:], p.To)
	for j, f := range p.From {
		if f.Size == 0 || f.Begin > q.Shape[j] || f.Size > q.Shape[j]-f.Begin || f.Step == 0 || f.Axis >= len(p.To) {
			return fault("operand", o.Name, "a placement of %q reaches outside its axis %c", q.Name, q.Axes[j])
		}
		hi, way := bits.Mul64(f.Size-1, f.Step)
		sum, carry := bits.Add64(last[f.Axis], way, 0)
		if last[f.Axis] = sum; hi != 0 || carry != 0 {
			return fault("operand", o.Name, "a placement of %q reaches outside the operand", q.Name)
		}
	}
	for a, axis := range o.Layout.Axes {
		if last[a] >= axis.Extent {
			return fault("operand", o.Name, "a placement of %q reaches %d on axis %c, which has %d", q.Name, last[a], axis.Name, axis.Extent)
		}
	}
	return nil
}

func (x *Index) checkAttributes() error {
	seen := make(names, len(x.Model.Attributes))
	for i := range x.Model.Attributes {
		if err := seen.add("attribute", x.Model.Attributes[i].Name); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) checkContracts() error {
	seen := make(names, len(x.Contracts))
	for i := range x.Contracts {
		c := &x.Contracts[i]
		if err := seen.add("contract", c.Name); err != nil {
			return err
		}
		if c.Xclbin >= len(x.Xclbins) || c.Instructions >= len(x.Segments) ||
			(c.Instructions != None && x.Segments[c.Instructions].Kind != Instructions) {
			return fault("contract", c.Name, "xclbin %d or instructions %d are not in the index", c.Xclbin, c.Instructions)
		}
		if len(c.Shape) > maxAxes {
			return fault("contract", c.Name, "a shape of %d axes, the limit is %d", len(c.Shape), maxAxes)
		}
		for _, a := range c.Arguments {
			if a.Kind == BufferArgument && a.Format != 0 {
				if err := a.Layout.Validate(); err != nil {
					return fault("contract", c.Name, "argument %q: %v", a.Name, err)
				}
			}
		}
	}
	return nil
}

func (x *Index) checkRest() error {
	for _, n := range x.Notes {
		if n.Parameter >= len(x.Parameters) || n.Operand >= len(x.Operands) {
			return fault("note", "", "parameter %d or operand %d is not in the index", n.Parameter, n.Operand)
		}
	}
	for _, b := range x.Bindings {
		if b.Operand >= len(x.Operands) || b.Contract >= len(x.Contracts) || b.Argument >= len(x.Contracts[b.Contract].Arguments) {
			return fault("binding", "", "operand %d, contract %d or argument %d is not in the index", b.Operand, b.Contract, b.Argument)
		}
		o, a := &x.Operands[b.Operand], &x.Contracts[b.Contract].Arguments[b.Argument]
		if a.Kind != BufferArgument || a.Role != Weight || a.Format != o.Format || a.Bytes != o.Bytes ||
			a.MemoryGroup != x.Segments[o.Segment].MemoryGroup || !sameAxes(a.Layout.Axes, o.Layout.Axes) || !a.Layout.Equal(o.Layout) {
			return fault("binding", "", "operand %q does not fit argument %q of contract %q", o.Name, a.Name, x.Contracts[b.Contract].Name)
		}
	}
	return nil
}

func sameAxes(a, b []layout.Axis) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// checkCoverage proves that the index accounts for every element: placements and fills of each operand add up to its extents,
// and the placements of each parameter, pairwise equal or disjoint, to its shape. Operands and parameters with a note are
// excepted.
func (x *Index) checkCoverage() error {
	notedOperand, notedParameter := map[int]bool{}, map[int]bool{}
	for _, n := range x.Notes {
		notedOperand[n.Operand], notedParameter[n.Parameter] = true, true
	}
	boxes := make([][][]PlacedAxis, len(x.Parameters))
	for i := range x.Operands {
		o := &x.Operands[i]
		var n total
		for _, p := range o.Placements {
			n.add(placedVolume(p.From))
			boxes[p.Parameter] = append(boxes[p.Parameter], p.From)
		}
		for _, f := range o.Fills {
			n.add(volume(f.Size))
		}
		if uint64(n) != o.Elements() && !notedOperand[i] {
			return fault("operand", o.Name, "placements and fills name %d elements of %d", n, o.Elements())
		}
	}
	for i, list := range boxes {
		p := &x.Parameters[i]
		if notedParameter[i] {
			continue
		}
		n, err := distinctVolume(list)
		if err != nil {
			return fault("parameter", p.Name, "%v", err)
		}
		if n != p.Elements() {
			return fault("parameter", p.Name, "placements name %d elements of %d", n, p.Elements())
		}
	}
	return nil
}

// total adds up volumes, each at most layout.MaxElements, and stays at the largest number instead of overflowing.
type total uint64

func (t *total) add(n uint64) {
	if sum := uint64(*t) + n; sum >= n {
		*t = total(sum)
	} else {
		*t = math.MaxUint64
	}
}

func volume(size []uint64) uint64 {
	n := uint64(1)
	for _, s := range size {
		n *= s
	}
	return n
}

func placedVolume(box []PlacedAxis) uint64 {
	n := uint64(1)
	for _, a := range box {
		n *= a.Size
	}
	return n
}

// maxBoxes bounds the pairwise comparison of one parameter's boxes.
const maxBoxes = 4096

// distinctVolume adds up boxes that are pairwise equal or disjoint, equal ones once.
func distinctVolume(boxes [][]PlacedAxis) (uint64, error) {
	if len(boxes) > maxBoxes {
		return 0, fmt.Errorf("%d placements, the limit is %d", len(boxes), maxBoxes)
	}
	var n total
	for i, b := range boxes {
		repeated := false
		for _, c := range boxes[:i] {
			equal, apart := true, false
			for j := range b {
				equal = equal && b[j].Begin == c[j].Begin && b[j].Size == c[j].Size
				apart = apart || b[j].Begin+b[j].Size <= c[j].Begin || c[j].Begin+c[j].Size <= b[j].Begin
			}
			if !equal && !apart {
				return 0, fmt.Errorf("two placements overlap without being equal")
			}
			repeated = repeated || equal
		}
		if !repeated {
			n.add(placedVolume(b))
		}
	}
	return uint64(n), nil
}

// rowMajor is the layout in which the last axis is innermost.
func rowMajor(axes []layout.Axis) layout.Layout {
	l := layout.Layout{Axes: axes}
	for i, a := range axes {
		l.Digits = append(l.Digits, layout.Digit{Axis: i, Size: a.Padded, Stride: 1})
	}
	return l
}

// padBytes is the padding element as it lies in the file.
func (o *Operand) padBytes() []byte {
	b := make([]byte, o.Format.Size())
	for i := range b {
		b[i] = byte(o.PadBits >> (8 * i))
	}
	return b
}
