package recipe

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// planeAlign is where contiguous planes begin: vectors load at 32 bytes, and cache lines have 64.
const planeAlign = 64

// lay puts the numbers of an operand or argument, which a fault calls thing, in planes: values or codes in layout l, scales and what
// else there is in layouts over groups.
func (e *encoding) lay(doc *document, l layout.Layout, padBits uint64, thing string) (plane.Storage, error) {
	at := e.block.where("layout", 0)
	if err := e.checkInnermost(l); err != nil {
		return plane.Storage{}, doc.fault(at, "layout %v for %s: %v", l, thing, err)
	}
	n, countable := plane.BytesOf(e.format, plane.Elements(e.format, l))
	if !isCode(e.format) {
		s := plane.Of(plane.Plain, e.format, l, padBits, n, nil)
		if !countable {
			return s, nil // no bytes: plan refuses it
		}
		return s, e.prove(doc, &s, thing)
	}
	if !countable {
		return plane.Storage{}, doc.fault(at, "layout %v for %s: too many elements to count their bits", l, thing)
	}
	block, err := e.blocks(doc, l, thing)
	if err != nil {
		return plane.Storage{}, err
	}
	grid, err := e.grid(doc, l, block, thing)
	if err != nil {
		return plane.Storage{}, err
	}
	s := plane.Storage{Encoding: plane.Scaled, Axes: l.Axes}
	for _, role := range e.roles() {
		p := plane.Plane{Role: role, Format: e.format, Block: block, Layout: grid}
		switch role {
		case plane.Values:
			p = plane.Plane{Format: e.format, PadBits: padBits, Layout: l}
		case plane.Scales:
			p.Format = e.scheme.Scales
		case plane.Minimums:
			p.Format = e.scheme.Minimums
		}
		if p.HighFirst = e.highFirst && p.Format.Bits() == 4; p.Format.Bits() == 4 && p.Layout.Elements()%2 != 0 {
			return s, doc.fault(at, "%d %v in %v for %s: two share a byte, so an even number was expected; pad an axis, or make smaller groups",
				p.Layout.Elements(), role, p.Format, thing)
		}
		s.Planes = append(s.Planes, p)
	}
	if e.record == nil {
		s.Bytes = contiguous(s.Planes)
	} else if s.Bytes, err = e.inRecords(doc, s.Planes, thing); err != nil {
		return s, err
	}
	return s, e.prove(doc, &s, thing)
}

// prove has the artifact's own rules prove what was made.
func (e *encoding) prove(doc *document, s *plane.Storage, thing string) error {
	if err := s.Validate(); err != nil {
		return doc.fault(e.block.where("layout", 0), "%s: %v", thing, err)
	}
	return nil
}

// checkInnermost refuses layouts in which the elements that share bytes, two codes of 4 bits or the eight values of bfp16, are not
// neighbours on one axis.
func (e *encoding) checkInnermost(l layout.Layout) error {
	together, why := uint64(1), ""
	switch {
	case e.format.Values() > 1:
		together, why = uint64(e.format.Values()), "share an exponent"
	case e.format.Bits() == 4:
		together, why = 2, "share a byte"
	default:
		return nil
	}
	i := len(l.Digits) - 1
	for i >= 0 && l.Digits[i].Size == 1 {
		i--
	}
	if i >= 0 && l.Digits[i].Stride == 1 && l.Digits[i].Size%together == 0 {
		return nil
	}
	found := "there is none"
	if i >= 0 {
		d := l.Digits[i]
		found = fmt.Sprintf("it is %c%d@%d", l.Axes[d.Axis].Name, d.Size, d.Stride)
	}
	return fmt.Errorf("in %v, %d neighbours %s: the innermost digit should have stride 1 and a size that is a multiple of %d; %s",
		e.format, together, why, together, found)
}

// blocks gives how many indices of each axis share a scale: the group's, or all.
func (e *encoding) blocks(doc *document, l layout.Layout, thing string) ([]uint64, error) {
	block := make([]uint64, len(l.Axes))
	for a, axis := range l.Axes {
		block[a] = axis.Padded
	}
	for _, g := range e.groups {
		a := slices.IndexFunc(l.Axes, func(x layout.Axis) bool { return x.Name == g.axis })
		if a < 0 {
			return nil, doc.fault(g.at, "a group along axis %c, which %s has not; its axes are %q", g.axis, thing, axisNames(l.Axes))
		}
		block[a] = g.size
	}
	return block, nil
}

func axisNames(axes []layout.Axis) string {
	names := make([]byte, len(axes))
	for i, a := range axes {
		names[i] = a.Name
	}
	return string(names)
}

// grid gives the order of scales over the groups: as stated, in records as the codes go, else row-major.
func (e *encoding) grid(doc *document, l layout.Layout, block []uint64, thing string) (layout.Layout, error) {
	axes := plane.Grid(l.Axes, block)
	switch {
	case e.notation != "":
		return e.stated(doc, axes, thing)
	case e.record != nil:
		if g, ok := asCodes(l, axes, block); ok {
			return g, nil
		}
		return layout.Layout{}, doc.fault(e.block.where("scales", 0),
			"groups of %d cut layout %v of %s where it has no digit: the order of its scales in records cannot be told; state their layout", block, l, thing)
	}
	g := layout.Layout{Axes: axes}
	for a, axis := range axes {
		g.Digits = append(g.Digits, layout.Digit{Axis: a, Size: axis.Padded, Stride: 1})
	}
	return g, nil
}

// stated fits the notation of the scales' layout to the grid of groups. Axes with one group may be left out of it.
func (e *encoding) stated(doc *document, axes []layout.Axis, thing string) (layout.Layout, error) {
	at := e.block.child("scales").where("layout", 0)
	fail := func(format string, args ...any) (layout.Layout, error) {
		return layout.Layout{}, doc.fault(at, "layout %q of the scales of %s: %s", e.notation, thing, fmt.Sprintf(format, args...))
	}
	names := e.spec.AxisNames()
	var there []layout.Axis
	var number []int // of each in axes
	for a, axis := range axes {
		if slices.Contains([]byte(names), axis.Name) {
			there, number = append(there, axis), append(number, a)
		} else if axis.Padded > 1 {
			return fail("it has no digit of axis %c, along which there are %d groups", axis.Name, axis.Padded)
		}
	}
	sub, err := e.spec.Resolve(there)
	if err != nil {
		return fail("%v", err)
	}
	for i, axis := range sub.Axes {
		if axis.Padded != there[i].Padded {
			return fail("it asks for %d groups along axis %c, there are %d; pad the axis of the operand", axis.Padded, axis.Name, there[i].Padded)
		}
	}
	for i := range sub.Digits {
		sub.Digits[i].Axis = number[sub.Digits[i].Axis]
	}
	return layout.Layout{Axes: axes, Digits: sub.Digits}, nil
}

// asCodes is the order of the groups in which codes in layout l meet them first; false where a digit of l goes neither over whole
// groups nor inside one.
func asCodes(l layout.Layout, axes []layout.Axis, block []uint64) (layout.Layout, bool) {
	g := layout.Layout{Axes: axes}
	for _, d := range l.Digits {
		b := block[d.Axis]
		switch top := d.Stride * d.Size; {
		case top <= b: // inside a group
			continue
		case d.Stride >= b && d.Stride%b == 0:
			d.Stride /= b
		case d.Stride < b && b%d.Stride == 0 && top%b == 0:
			d.Size, d.Stride = top/b, 1
		default:
			return g, false
		}
		g.Digits = append(g.Digits, d)
	}
	return g, g.Validate() == nil
}

// contiguous puts planes one behind the other, and gives where the last ends.
func contiguous(planes []plane.Plane) uint64 {
	end := uint64(0)
	for i := range planes {
		p := &planes[i]
		p.Offset = (end + planeAlign - 1) / planeAlign * planeAlign
		p.Bytes, _ = plane.BytesOf(p.Format, p.Layout.Elements())
		end = p.Offset + p.Bytes
	}
	return end
}

// inRecords puts planes into records, and gives how many bytes all take.
func (e *encoding) inRecords(doc *document, planes []plane.Plane, thing string) (uint64, error) {
	r := e.record
	n := planes[0].Layout.Elements()
	if n%r.codes != 0 {
		return 0, doc.fault(r.at, "records of %d codes: %s has %d, which is no multiple", r.codes, thing, n)
	}
	records := n / r.codes
	outer, ok := outerDigits(planes[0].Layout, r.codes)
	if !ok {
		return 0, doc.fault(r.at, "records of %d codes: layout %v of %s has no pieces of so many; as many as some of its innermost digits hold, all of them or whole parts of the "+
			"outermost of these, were expected", r.codes, planes[0].Layout, thing)
	}
	for i := range planes {
		p := &planes[i]
		if p.RecordElements = p.Layout.Elements() / records; p.Layout.Elements()%records != 0 || !sameOuter(outer, p) {
			return 0, doc.fault(r.at, "records of %d codes: those of %s, in layout %v, do not hold whole groups with their %v, which are %d in layout %v",
				r.codes, thing, planes[0].Layout, p.Role, p.Layout.Elements(), p.Layout)
		}
	}
	end := uint64(0)
	for _, role := range r.order {
		p := &planes[slices.IndexFunc(planes, func(p plane.Plane) bool { return p.Role == role })]
		p.Offset = end
		part, _ := plane.BytesOf(p.Format, p.RecordElements)
		if end += part; p.Format.Bits() == 4 && p.RecordElements%2 != 0 {
			return 0, doc.fault(r.at, "records of %d codes: %d %v in %v in each of %s, and two share a byte; larger records were expected",
				r.codes, p.RecordElements, role, p.Format, thing)
		}
	}
	size := (end + r.align - 1) / r.align * r.align
	hi, all := bits.Mul64(records, size)
	if hi != 0 || all > layout.MaxElements {
		return 0, doc.fault(r.at, "%d records of %d bytes for %s are too many", records, size, thing)
	}
	for i := range planes {
		p := &planes[i]
		part, _ := plane.BytesOf(p.Format, p.RecordElements)
		p.RecordBytes, p.Bytes = size, (records-1)*size+part
	}
	return all, nil
}

// sameOuter reports whether the records of a plane follow each other over the operand as those of the codes do, whose digits are outer,
// so that each has the scales of its own codes.
func sameOuter(outer []layout.Digit, p *plane.Plane) bool {
	theirs, ok := outerDigits(p.Layout, p.RecordElements)
	if !ok {
		return false
	}
	if p.Block != nil {
		outer = slices.Clone(outer)
		for i := range outer {
			b := p.Block[outer[i].Axis]
			if outer[i].Stride%b != 0 {
				return false
			}
			outer[i].Stride /= b
		}
	}
	same := func(a, b layout.Digit) int {
		return cmp.Or(a.Axis-b.Axis, cmp.Compare(a.Size, b.Size), cmp.Compare(a.Stride, b.Stride))
	}
	merge := func(digits []layout.Digit) []layout.Digit { return layout.Layout{Digits: digits}.Canonical().Digits }
	return slices.CompareFunc(merge(outer), merge(theirs), same) == 0
}

// outerDigits are the digits of a layout that number blocks of so many elements that are neighbours in memory; false when blocks are
// not made of digits.
func outerDigits(l layout.Layout, elements uint64) ([]layout.Digit, bool) {
	digits := l.Canonical().Digits
	for elements > 1 {
		if len(digits) == 0 {
			return nil, false
		}
		d := &digits[len(digits)-1]
		if d.Size <= elements {
			if elements%d.Size != 0 {
				return nil, false
			}
			elements /= d.Size
			digits = digits[:len(digits)-1]
			continue
		}
		if d.Size%elements != 0 {
			return nil, false
		}
		d.Size, d.Stride = d.Size/elements, d.Stride*elements
		elements = 1
	}
	return digits, true
}
