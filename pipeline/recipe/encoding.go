package recipe

import (
	"fmt"
	"slices"
	"strings"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/schema/releasepb"
)

// encoding is how the numbers of an operand or argument are held: their element format, and of codes what makes them values.
type encoding struct {
	block     *field // where format, layout, scales and record stand
	kept      bool   // the source has the format and the rest; what is here was stated about it
	format    element.Format
	highFirst bool
	scheme    element.Scheme // of codes; the zero scheme: the format holds values by itself
	groups    []group
	notation  string // of the order of scales; empty: none is stated
	spec      layout.Spec
	record    *record
}

// group says that size neighbours on an axis share a scale.
type group struct {
	axis byte
	size uint64
	at   position
}

// record is so many codes with their scales, zeros or minimums, filled to a multiple of align bytes, in the order given.
type record struct {
	codes, align uint64
	order        []plane.Role
	at           position
}

// Formats of values and codes, for messages.
const (
	valueFormats = "F32, F16, BF16 or BFP16"
	formats      = valueFormats + ", or with scales I8, U8, I4, U4 or NF4"
	ruleFormats  = formats + ", or SOURCE"
)

// formatOf is the element format that a word of the text stands for, 0 for one that no operand has.
func formatOf(f releasepb.ElementFormat) element.Format {
	switch f {
	case releasepb.ElementFormat_F32:
		return element.F32
	case releasepb.ElementFormat_F16:
		return element.F16
	case releasepb.ElementFormat_BF16:
		return element.BF16
	case releasepb.ElementFormat_I8:
		return element.I8
	case releasepb.ElementFormat_U8:
		return element.U8
	case releasepb.ElementFormat_I4:
		return element.I4
	case releasepb.ElementFormat_U4:
		return element.U4
	case releasepb.ElementFormat_NF4:
		return element.NF4
	case releasepb.ElementFormat_BFP16:
		return element.BFP16
	}
	return 0
}

// isCode reports whether elements of a format are values only with scales.
func isCode(f element.Format) bool { return !f.Plain() && f != element.BFP16 }

// encoded is what an operand's rule and an argument say of their elements.
type encoded interface {
	GetScales() *releasepb.Scales
	GetRecord() *releasepb.Record
	GetHighHalfFirst() bool
}

// parseEncoding checks how numbers in a format, which is one of operands, are held.
func parseEncoding(doc *document, block *field, format element.Format, q encoded) (encoding, error) {
	e := encoding{block: block, format: format, highFirst: q.GetHighHalfFirst()}
	if e.highFirst && format.Bits() != 4 {
		return e, doc.fault(block.where("high_half_first", 0), "high_half_first is for codes of 4 bits; the format is %v", format)
	}
	scales, record := q.GetScales(), q.GetRecord()
	switch {
	case !isCode(format) && scales != nil:
		return e, doc.fault(block.where("scales", 0), "scales make values of codes; %v holds values by itself", format)
	case !isCode(format) && record != nil:
		return e, doc.fault(block.where("record", 0), "a record holds codes and scales; %v holds values by itself", format)
	case !isCode(format):
		return e, nil
	case scales == nil:
		return e, doc.fault(block.where("format", 0),
			"elements of %v are codes, which scales make values of; write scales { group { axis: \"K\" size: 32 } } or the like", format)
	}
	if err := e.parseScales(doc, block.child("scales"), scales); err != nil {
		return e, err
	}
	if record == nil {
		return e, nil
	}
	return e, e.parseRecord(doc, block.child("record"), record)
}

// sharedFormat is the format of scales or minimums, 0 for one that they cannot have.
func sharedFormat(f releasepb.ElementFormat) element.Format {
	if f == releasepb.ElementFormat_E8M0 {
		return element.E8M0
	}
	if e := formatOf(f); e.Plain() {
		return e
	}
	return 0
}

func (e *encoding) parseScales(doc *document, block *field, s *releasepb.Scales) error {
	e.scheme = element.Scheme{Codes: e.format, Scales: element.F32}
	if s.Format != releasepb.ElementFormat_NONE {
		if e.scheme.Scales = sharedFormat(s.Format); e.scheme.Scales == 0 {
			return doc.fault(block.where("format", 0), "scales in %v; write F32, F16, BF16 or E8M0", s.Format)
		}
	}
	if s.Zeros {
		e.scheme.Zeros = e.format
	}
	if s.Minimums != releasepb.ElementFormat_NONE {
		if e.scheme.Minimums = sharedFormat(s.Minimums); e.scheme.Minimums == 0 {
			return doc.fault(block.where("minimums", 0), "minimums in %v; write F32, F16 or BF16", s.Minimums)
		}
	}
	if err := e.scheme.Validate(); err != nil {
		return doc.fault(block.at, "%s", strings.TrimPrefix(err.Error(), "element: "))
	}
	return e.parseGroups(doc, block, s)
}

// parseGroups reads what shares a scale, and the order of scales.
func (e *encoding) parseGroups(doc *document, block *field, s *releasepb.Scales) error {
	for i, g := range s.Group {
		at := block.where("group", i)
		switch {
		case len(g.Axis) != 1 || checkAxes(g.Axis) != "":
			return doc.fault(at, "the axis of a group is %q, one letter from A to Z was expected", g.Axis)
		case slices.ContainsFunc(e.groups, func(o group) bool { return o.axis == g.Axis[0] }):
			return doc.fault(at, "two groups along axis %s", g.Axis)
		case g.Size == 0 || g.Size > maxSize:
			return doc.fault(at, "a group of %d along axis %s; 1 to %d were expected", g.Size, g.Axis, uint64(maxSize))
		}
		e.groups = append(e.groups, group{g.Axis[0], g.Size, at})
	}
	if s.Layout == "" {
		return nil
	}
	spec, err := layout.Parse(s.Layout)
	if err != nil {
		return doc.fault(block.where("layout", 0), "%v", err)
	}
	e.notation, e.spec = s.Layout, spec
	return nil
}

// roleNames are the planes of codes by what a record's `planes` calls them.
var roleNames = map[string]plane.Role{"codes": plane.Values, "scales": plane.Scales, "zeros": plane.Zeros, "minimums": plane.Minimums}

// roles are the planes of codes, in the order of their numbers: all that there may be, where the source tells.
func (e *encoding) roles() []plane.Role {
	list := []plane.Role{plane.Values, plane.Scales}
	if e.scheme.Zeros != 0 || e.kept {
		list = append(list, plane.Zeros)
	}
	if e.scheme.Minimums != 0 {
		list = append(list, plane.Minimums)
	}
	return list
}

func (e *encoding) parseRecord(doc *document, block *field, q *releasepb.Record) error {
	r := &record{codes: q.Codes, align: max(q.Align, 1), order: e.roles(), at: block.at}
	switch {
	case r.codes == 0 || r.codes > maxSize:
		return doc.fault(block.where("codes", 0), "a record of %d codes; 1 to %d were expected: codes: 1024", r.codes, uint64(maxSize))
	case e.format.Bits() == 4 && r.codes%2 != 0:
		return doc.fault(block.where("codes", 0), "a record of %d codes; two of %v share a byte, so an even number was expected", r.codes, e.format)
	case r.align > maxMultiple:
		return doc.fault(block.where("align", 0), "records of multiples of %d bytes, at most %d are allowed", r.align, maxMultiple)
	}
	e.record = r
	if len(q.Planes) == 0 {
		return nil
	}
	var order []plane.Role
	for i, name := range q.Planes {
		role, known := roleNames[name]
		if at := block.where("planes", i); !known || !slices.Contains(r.order, role) || slices.Contains(order, role) {
			return doc.fault(at, "planes %q: %q; each of %s once was expected", q.Planes, name, e.planeNames())
		}
		order = append(order, role)
	}
	if len(order) < len(r.order) {
		return doc.fault(block.where("planes", 0), "planes %q; each of %s once was expected", q.Planes, e.planeNames())
	}
	r.order = order
	return nil
}

// planeNames lists what planes there are, for messages.
func (e *encoding) planeNames() string {
	names := make([]string, 0, 3)
	for _, role := range e.roles() {
		name := role.String()
		if role == plane.Values {
			name = "codes"
		}
		names = append(names, fmt.Sprintf("%q", name))
	}
	return strings.Join(names, ", ")
}
