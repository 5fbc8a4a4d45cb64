package artifact

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// check proves that an index means something: names, ranges, orders, bijections (FORMAT.md, sections 4 and 6 to 8). begin and end
// bound the segments in the file. It needs time and memory in proportion to the index, reads no data, and gives the names
// of operands and parameters.
func (x *Index) check(begin, end, pageBytes uint64) (operands, parameters names, err error) {
	if err := x.checkSegments(begin, end, pageBytes); err != nil {
		return operands, parameters, err
	}
	if parameters, err = x.checkParameters(); err != nil {
		return operands, parameters, err
	}
	if operands, err = x.checkOperands(); err != nil {
		return operands, parameters, err
	}
	_, err = checkNames("attribute", len(x.Model.Attributes), func(i int) string { return x.Model.Attributes[i].Name })
	if err == nil {
		err = x.checkContracts()
	}
	if err == nil {
		err = x.checkReferences()
	}
	return operands, parameters, err
}

func fault(thing, name, format string, args ...any) error {
	if name != "" {
		thing = fmt.Sprintf("%s %q", thing, name)
	}
	return &Error{Offset: -1, Thing: thing, Detail: fmt.Sprintf(format, args...), Err: ErrCorrupt}
}

// outside reports whether i is not a position among n entries.
func outside(i, n int) bool { return i < 0 || i >= n }

func (x *Index) checkSegments(begin, end, pageBytes uint64) error {
	if _, err := checkNames("segment", len(x.Segments), func(i int) string { return x.Segments[i].Name }); err != nil {
		return err
	}
	at := begin
	for i := range x.Segments {
		s := &x.Segments[i]
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

func (x *Index) checkParameters() (names, error) {
	found, err := checkNames("parameter", len(x.Parameters), func(i int) string { return x.Parameters[i].Name })
	if err != nil {
		return found, err
	}
	for i := range x.Parameters {
		p := &x.Parameters[i]
		if len(p.Axes) != len(p.Shape) || len(p.Shape) > maxAxes {
			return found, fault("parameter", p.Name, "axes %q for %d sizes; at most %d", p.Axes, len(p.Shape), maxAxes)
		}
		n, seen := uint64(1), uint32(0)
		for j, s := range p.Shape {
			letter := p.Axes[j] - 'A'
			if letter > 'Z'-'A' || seen>>letter&1 != 0 {
				return found, fault("parameter", p.Name, "axes %q are not upper-case letters, each once", p.Axes)
			}
			seen |= 1 << letter
			hi, lo := bits.Mul64(n, s)
			if n = lo; hi != 0 || n == 0 || n > layout.MaxElements {
				return found, fault("parameter", p.Name, "shape %v holds no elements or too many", p.Shape)
			}
		}
	}
	return found, nil
}

func (x *Index) checkOperands() (names, error) {
	found, err := checkNames("operand", len(x.Operands), func(i int) string { return x.Operands[i].Name })
	if err != nil {
		return found, err
	}
	segment, at := 0, uint64(0)
	var done proved
	for i := range x.Operands {
		o := &x.Operands[i]
		if o.Segment >= len(x.Segments) || o.Segment < segment {
			return found, fault("operand", o.Name, "segment %d, there are %d and operands stand in their order", o.Segment, len(x.Segments))
		}
		if o.Segment > segment {
			segment, at = o.Segment, 0
		}
		s := &x.Segments[segment]
		if o.Offset%OperandAlign != 0 || o.Offset < at || o.Offset > s.Bytes || o.Bytes > s.Bytes-o.Offset || s.Kind == Instructions {
			return found, fault("operand", o.Name, "%d bytes at %d of segment %q, which has %d bytes and is used up to %d", o.Bytes, o.Offset, s.Name, s.Bytes, at)
		}
		at = o.Offset + o.Bytes
		if err := x.checkOperand(o, &done); err != nil {
			return found, err
		}
	}
	return found, nil
}

// checkOperand checks an operand by itself.
func (x *Index) checkOperand(o *Operand, done *proved) error {
	if err := checkShape(o, done); err != nil {
		return err
	}
	if len(o.Placements) > maxBoxes || len(o.Fills) > maxBoxes {
		return fault("operand", o.Name, "%d placements and %d fills, the limit is %d each", len(o.Placements), len(o.Fills), maxBoxes)
	}
	for i := range o.Placements {
		if err := x.checkPlacement(o, &o.Placements[i]); err != nil {
			return err
		}
	}
	for _, f := range o.Fills {
		if len(f.Begin) != len(o.Layout.Axes) || len(f.Size) != len(f.Begin) {
			return fault("operand", o.Name, "a fill of %d and %d axes, there are %d", len(f.Begin), len(f.Size), len(o.Layout.Axes))
		}
		if math.IsNaN(f.Value) {
			return fault("operand", o.Name, "a fill with NaN")
		}
		for a, axis := range o.Layout.Axes {
			if f.Size[a] == 0 || f.Begin[a] > axis.Extent || f.Size[a] > axis.Extent-f.Begin[a] {
				return fault("operand", o.Name, "a fill reaches outside axis %c", axis.Name)
			}
		}
	}
	return nil
}

// proved are some layouts and storages that have been proved: operands that were read from a file share theirs.
type proved struct {
	layouts  [8]layout.Layout
	storages [8]plane.Storage
	next     int
}

// layout proves a layout.
func (p *proved) layout(l layout.Layout) error {
	for i := range p.layouts {
		if sameSlice(p.layouts[i].Digits, l.Digits) && sameSlice(p.layouts[i].Axes, l.Axes) {
			return nil
		}
	}
	p.layouts[p.next%len(p.layouts)] = l
	p.next++
	return l.Validate()
}

// storage proves a storage.
func (p *proved) storage(s plane.Storage) error {
	for i := range p.storages {
		known := &p.storages[i]
		if sameSlice(known.Planes, s.Planes) && sameSlice(known.Axes, s.Axes) && known.Encoding == s.Encoding && known.Bytes == s.Bytes {
			return nil
		}
	}
	p.storages[p.next%len(p.storages)] = s
	p.next++
	return s.Validate()
}

// sameSlice reports whether two slices are the same elements in memory.
func sameSlice[T any](a, b []T) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }

// checkShape checks axes, layout and size of an operand, as far as they are known.
func checkShape(o *Operand, done *proved) error {
	l := o.Layout
	if !o.Supported() { // axes mean the same whatever the encoding
		l = rowMajor(l.Axes)
	}
	if err := done.layout(l); err != nil {
		return fault("operand", o.Name, "%v", err)
	}
	for _, a := range l.Axes {
		if a.Extent == 0 {
			return fault("operand", o.Name, "axis %c has no elements", a.Name)
		}
	}
	if !o.Supported() {
		return nil
	}
	if !o.single() {
		if err := done.storage(o.Storage()); err != nil {
			return fault("operand", o.Name, "%v", err)
		}
		return nil
	}
	size := uint64(o.Format.Size())
	if hi, n := bits.Mul64(l.Elements(), size); hi != 0 || n != o.Bytes {
		return fault("operand", o.Name, "%d bytes for %d elements of %v", o.Bytes, l.Elements(), o.Format)
	}
	if o.PadBits>>(8*size) != 0 {
		return fault("operand", o.Name, "pad_bits %#x are wider than %v", o.PadBits, o.Format)
	}
	return nil
}

func (x *Index) checkPlacement(o *Operand, p *Placement) error {
	if outside(p.Parameter, len(x.Parameters)) {
		return fault("operand", o.Name, "a placement of parameter %d, there are %d", p.Parameter, len(x.Parameters))
	}
	q := &x.Parameters[p.Parameter]
	if len(p.From) != len(q.Shape) || len(p.To) != len(o.Layout.Axes) {
		return fault("operand", o.Name, "a placement of %q with %d and %d axes, expected %d and %d", q.Name, len(p.From), len(p.To), len(q.Shape), len(o.Layout.Axes))
	}
	if p.Scale == 0 || math.IsNaN(p.Scale) || math.IsInf(p.Scale, 0) {
		return fault("operand", o.Name, "a placement of %q with scale %v", q.Name, p.Scale)
	}
	var last [maxAxes]uint64 // the largest index on each axis of the operand
	copy(last[:], p.To)
	for j, f := range p.From {
		if f.Size == 0 || f.Begin > q.Shape[j] || f.Size > q.Shape[j]-f.Begin || f.Step == 0 || outside(f.Axis, len(p.To)) {
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

func (x *Index) checkContracts() error {
	for i := range x.Xclbins {
		if name := x.Xclbins[i].Name; name == "" || strings.ContainsAny(name, `/\`) {
			return fault("xclbin", name, "the name of a file without its folder was expected")
		}
	}
	if _, err := checkNames("contract", len(x.Contracts), func(i int) string { return x.Contracts[i].Name }); err != nil {
		return err
	}
	for i := range x.Contracts {
		c := &x.Contracts[i]
		if c.Xclbin != None && outside(c.Xclbin, len(x.Xclbins)) {
			return fault("contract", c.Name, "xclbin %d, there are %d", c.Xclbin, len(x.Xclbins))
		}
		if c.Instructions != None && (outside(c.Instructions, len(x.Segments)) || x.Segments[c.Instructions].Kind != Instructions) {
			return fault("contract", c.Name, "segment %d is none of instructions", c.Instructions)
		}
		if err := checkAxes(c.Shape); err != nil {
			return fault("contract", c.Name, "shape: %v", err)
		}
		thing := fmt.Sprintf("contract %q: argument", c.Name)
		if _, err := checkNames(thing, len(c.Arguments), func(i int) string { return c.Arguments[i].Name }); err != nil {
			return err
		}
		for j := range c.Arguments {
			a := &c.Arguments[j]
			if err := checkArgument(a); err != nil {
				return fault(thing, a.Name, "%v", err)
			}
			if c.Instructions != None && a.Role == kernel.Instructions && a.Bytes > x.Segments[c.Instructions].Bytes {
				s := &x.Segments[c.Instructions]
				return fault(thing, a.Name, "%d bytes of instructions, segment %q has %d", a.Bytes, s.Name, s.Bytes)
			}
		}
	}
	return nil
}

func checkArgument(a *Argument) error {
	if a.Format == 0 && len(a.Layout.Digits) > 0 {
		return fmt.Errorf("a layout without an element format")
	}
	if err := checkAxes(a.Layout.Axes); err != nil {
		return err
	}
	switch s := a.Storage(); {
	case a.Format == 0: // none, or of an encoding that is not known
		return nil
	case supported(a.Encoding, a.Format, a.Planes):
		return s.Validate()
	case a.Format == element.F64:
		return fmt.Errorf("%v is no element format of an argument", a.Format)
	}
	return nil
}

// checkAxes checks axes that may be missing.
func checkAxes(axes []layout.Axis) error {
	if len(axes) == 0 {
		return nil
	}
	for _, a := range axes {
		if a.Extent == 0 {
			return fmt.Errorf("axis %c has no elements", a.Name)
		}
	}
	return rowMajor(axes).Validate()
}

// checkReferences checks what names two entries of the index at once.
func (x *Index) checkReferences() error {
	for _, n := range x.Notes {
		if outside(n.Parameter, len(x.Parameters)) || outside(n.Operand, len(x.Operands)) {
			return fault("note", "", "parameter %d or operand %d is not in the index", n.Parameter, n.Operand)
		}
	}
	for _, b := range x.Bindings {
		if outside(b.Operand, len(x.Operands)) || outside(b.Contract, len(x.Contracts)) || outside(b.Argument, len(x.Contracts[b.Contract].Arguments)) {
			return fault("binding", "", "operand %d, contract %d or argument %d is not in the index", b.Operand, b.Contract, b.Argument)
		}
		o, a := &x.Operands[b.Operand], &x.Contracts[b.Contract].Arguments[b.Argument]
		reads, lies := a.Storage(), o.Storage()
		if a.Kind != kernel.BufferArgument || a.Role != kernel.Weight || a.Encoding != o.Encoding || a.Bytes != o.Bytes || a.MemoryGroup != x.Segments[o.Segment].MemoryGroup ||
			!slices.Equal(a.Layout.Axes, o.Layout.Axes) || o.Supported() && !reads.Equal(&lies) {
			return fault("binding", "", "operand %q does not fit argument %q of contract %q", o.Name, a.Name, x.Contracts[b.Contract].Name)
		}
	}
	return nil
}

// checkNotes refuses notes of kinds that version 1 has not.
func (x *Index) checkNotes() error {
	for i, n := range x.Notes {
		if n.Kind != Folded {
			return fault("notes", "", "number %d is of kind %d, version 1 has %d alone", i, n.Kind, Folded)
		}
	}
	return nil
}

// checkStatistics checks what is measured: the number of elements.
func (x *Index) checkStatistics() error {
	for i := range x.Operands {
		if o := &x.Operands[i]; o.Statistics.Elements != o.Elements() {
			return fault("operand", o.Name, "statistics of %d elements, it has %d", o.Statistics.Elements, o.Elements())
		}
	}
	return nil
}

// rowMajor is the layout in which the last axis is innermost.
func rowMajor(axes []layout.Axis) layout.Layout {
	l := layout.Layout{Axes: axes}
	for i, a := range axes {
		l.Digits = append(l.Digits, layout.Digit{Axis: i, Size: a.Padded, Stride: 1})
	}
	return l
}
