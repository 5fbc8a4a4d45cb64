package recipe

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/target"
	"npuw/schema/releasepb"
)

// rule is one operand block of a recipe, checked as far as that can be done without a model.
type rule struct {
	block         *field
	patterns      []pattern // that choose the parameter of the first part
	parts         []part
	name          template // empty: the parameter's name
	segment       template
	axes          string // empty: the axes of the first parameter
	along         byte   // the axis that parts are joined along; 0: none
	biasRow       byte   // the axis with one more index, for biases; 0: none
	merges        []merge
	notation      string
	spec          layout.Spec
	pads          []pad
	encoding      encoding
	padBits       uint64
	rounding      element.Rounding
	keepNonFinite bool
	optional      bool     // its patterns may match nothing
	ofAxes        []string // the axes of parameters that patterns match; empty: any
	rowMajor      bool     // over the operand's axes, which spec does not tell
	tile          *tile    // checked against a target; nil: none
}

// merge makes axis of the operand from the axes of the parameter in of, outermost first.
type merge struct {
	axis byte
	of   string
	at   position
}

// pad gives an axis a larger size: the next multiple, or `to` where that is not 0.
type pad struct {
	axis         byte
	multiple, to uint64
	at           position
}

// anyRowMajor is the layout that is row-major over any axes.
const anyRowMajor = "*"

// maxMultiple is the largest multiple of a pad. Kernels ask for a few hundred.
const maxMultiple = 1 << 20

// parseRule checks a rule, for a target or nil. Errors are of type *Error.
func parseRule(doc *document, block *field, o *releasepb.Operand, npu *target.Target) (rule, error) {
	r := rule{block: block, axes: o.Axes, notation: o.Layout, keepNonFinite: o.KeepNonFinite, optional: o.Optional}
	steps := []func(*document, *releasepb.Operand) error{
		r.parsePatterns, r.parseNames, r.parseParts, r.parseFormat, r.parseAxes, r.parseMerges, r.parseJoin, r.parseLayout, r.parsePads,
		func(doc *document, o *releasepb.Operand) error { return r.parseTile(doc, o, npu) },
	}
	for _, step := range steps {
		if err := step(doc, o); err != nil {
			return rule{}, err
		}
	}
	return r, nil
}

func (r *rule) parsePatterns(doc *document, o *releasepb.Operand) error {
	parts := r.block.all("part")
	if len(parts) != len(o.Part) {
		return doc.fault(r.block.at, "%d parts were read but %d were found in the text", len(o.Part), len(parts))
	}
	texts, block := o.Parameter, r.block
	if len(o.Part) > 0 {
		if len(o.Parameter) > 0 {
			return doc.fault(parts[0].at, "the operand has both parameter and part; write the parameter in a part of its own, or a rule for it")
		}
		texts, block = []string{o.Part[0].Parameter}, parts[0]
		if texts[0] == "" {
			return doc.fault(block.at, "the first part takes no parameter; write parameter: \"PATTERN\"")
		}
	}
	if len(texts) == 0 {
		return doc.fault(r.block.at, "the operand takes no parameter; write parameter: \"PATTERN\"")
	}
	for i, text := range texts {
		at := block.where("parameter", i)
		if wrong := checkName(text); wrong != "" {
			return doc.fault(at, "the pattern %s", wrong)
		}
		p, err := parsePattern(text)
		if err != nil {
			return doc.fault(at, "pattern %q: %v", text, err)
		}
		p.at = at
		r.patterns = append(r.patterns, p)
	}
	return nil
}

func (r *rule) parseNames(doc *document, o *releasepb.Operand) error {
	if o.Segment == "" {
		return doc.fault(r.block.at, "the operand has no segment; write segment: \"NAME\"")
	}
	for _, part := range []struct {
		field, text string
		to          *template
	}{{"name", o.Name, &r.name}, {"segment", o.Segment, &r.segment}} {
		if part.text == "" {
			continue
		}
		at := r.block.where(part.field, 0)
		if wrong := checkName(part.text); wrong != "" {
			return doc.fault(at, "the %s %s", part.field, wrong)
		}
		t, err := parseTemplate(part.text)
		if err != nil {
			return doc.fault(at, "%s %q: %v", part.field, part.text, err)
		}
		if word, p := r.missingWord(t); p != nil {
			return doc.fault(at, "%s %q repeats {%s}, which the pattern %q in line %d has not", part.field, part.text, word, p.text, p.at.line)
		}
		*part.to = t
	}
	return nil
}

// missingWord returns a word of a template and a pattern that does not name it, or nil.
func (r *rule) missingWord(t template) (string, *pattern) {
	for i := range r.patterns {
		for _, word := range words(t) {
			if !slices.Contains(words(r.patterns[i].tokens), word) {
				return word, &r.patterns[i]
			}
		}
	}
	return "", nil
}

func (r *rule) parseFormat(doc *document, o *releasepb.Operand) error {
	at := r.block.where("format", 0)
	format, kept := formatOf(o.Format), o.Format == releasepb.ElementFormat_SOURCE
	var err error
	switch {
	case o.Format == releasepb.ElementFormat_NONE:
		return doc.fault(at, "the operand has no element format; write format: %s", ruleFormats)
	case kept:
		err = r.parseKept(doc, o)
	case format == 0:
		return doc.fault(at, "%v is no element format of an operand; write format: %s", o.Format, ruleFormats)
	default:
		r.encoding, err = parseEncoding(doc, r.block, format, o)
	}
	if err != nil {
		return err
	}
	if r.keepNonFinite && !kept && !format.Plain() {
		return doc.fault(r.block.where("keep_non_finite", 0), "%v has no infinities and no NaN to keep", format)
	}
	rounding, known := roundings[o.Rounding]
	if r.rounding = rounding; !known {
		return doc.fault(r.block.where("rounding", 0), "rounding %v is not known; write FLOOR or NEAREST", o.Rounding)
	}
	if len(r.block.all("rounding")) > 0 && format != element.BFP16 {
		return doc.fault(r.block.where("rounding", 0), "rounding is for BFP16; %v rounds to nearest, ties to even", format)
	}
	if kept {
		return nil // padding is of zero bits
	}
	bits, err := encodePad(o.PadValue, format)
	if err != nil {
		return doc.fault(r.block.where("pad_value", 0), "%v", err)
	}
	r.padBits = bits
	return nil
}

// roundings gives the rounding that a word of the text stands for.
var roundings = map[releasepb.Rounding]element.Rounding{
	releasepb.Rounding_FLOOR: element.Floor, releasepb.Rounding_NEAREST: element.NearestEven,
}

// encodePad returns the bits of a padding element. Those of codes and of bfp16 are 0.
func encodePad(value float64, format element.Format) (uint64, error) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return 0, fmt.Errorf("pad_value is %v; padding must be finite", value)
	}
	if !format.Plain() {
		if value != 0 {
			return 0, fmt.Errorf("pad_value is %v; padding of %v is zero bits", value, format)
		}
		return 0, nil
	}
	var buffer [8]byte
	encoded, decoded := buffer[:format.Size()], []float64{0}
	if err := element.Encode(encoded, []float64{value}, format); err != nil {
		return 0, err
	}
	if err := element.ToFloat64(decoded, encoded, format); err != nil {
		return 0, err
	}
	if math.IsInf(decoded[0], 0) {
		return 0, fmt.Errorf("pad_value %v is beyond the range of %v", value, format)
	}
	bits := uint64(0)
	for i, b := range encoded {
		bits |= uint64(b) << (8 * i)
	}
	return bits, nil
}

func (r *rule) parseAxes(doc *document, o *releasepb.Operand) error {
	if wrong := checkAxes(r.axes); wrong != "" {
		return doc.fault(r.block.where("axes", 0), "axes %s", wrong)
	}
	for i, axes := range o.OfAxes {
		wrong := checkAxes(axes)
		switch {
		case axes == "":
			wrong = "are empty; write of_axes: \"NK\" or the like"
		case wrong == "" && slices.Contains(r.ofAxes, axes):
			wrong = fmt.Sprintf("%q stand there twice", axes)
		}
		if wrong != "" {
			return doc.fault(r.block.where("of_axes", i), "of_axes %s", wrong)
		}
		r.ofAxes = append(r.ofAxes, axes)
	}
	return nil
}

// checkAxes refuses what is not a list of axes, each once. The result completes a sentence, and is empty when all is right.
func checkAxes(axes string) string {
	if len(axes) > layout.MaxAxes {
		return fmt.Sprintf("%q are %d, at most %d are allowed", axes, len(axes), layout.MaxAxes)
	}
	for i := range len(axes) {
		switch c := axes[i]; {
		case c < 'A' || c > 'Z':
			return fmt.Sprintf("%q must be letters from A to Z", axes)
		case strings.IndexByte(axes, c) < i:
			return fmt.Sprintf("%q have %c twice", axes, c)
		}
	}
	return ""
}

func (r *rule) parseMerges(doc *document, o *releasepb.Operand) error {
	seen, used := "", ""
	for i, m := range o.Merge {
		at := r.block.where("merge", i)
		switch {
		case r.axes == "":
			return doc.fault(at, "a merge needs the operand's axes; write axes: \"KN\" or the like")
		case len(m.Axis) != 1 || !strings.Contains(r.axes, m.Axis):
			return doc.fault(at, "merge makes axis %q, which is not one of axes %q", m.Axis, r.axes)
		case strings.Contains(seen, m.Axis):
			return doc.fault(at, "axis %s is made by two merges", m.Axis)
		case m.Of == "":
			return doc.fault(at, "merge makes axis %s of nothing; write of: \"CX\" or the like", m.Axis)
		}
		if wrong := checkAxes(m.Of); wrong != "" {
			return doc.fault(at, "merge of %s", wrong)
		}
		if i := strings.IndexAny(m.Of, used); i >= 0 {
			return doc.fault(at, "axis %c is in two merges", m.Of[i])
		}
		seen, used = seen+m.Axis, used+m.Of
		r.merges = append(r.merges, merge{m.Axis[0], m.Of, at})
	}
	return nil
}

func (r *rule) parseLayout(doc *document, o *releasepb.Operand) error {
	at := r.block.where("layout", 0)
	if o.Layout == "" {
		return doc.fault(at, "the operand has no layout; write layout: \"K* N*\" or the like")
	}
	if o.Layout == anyRowMajor {
		r.rowMajor = true
		return nil
	}
	spec, err := layout.Parse(o.Layout)
	if err != nil {
		return doc.fault(at, "%v", err)
	}
	r.spec = spec
	if r.axes == "" {
		return nil
	}
	names := spec.AxisNames()
	for _, name := range names {
		if !strings.ContainsRune(r.axes, name) {
			return doc.fault(at, "layout %q has digits of axis %c, which is not one of axes %q", o.Layout, name, r.axes)
		}
	}
	for _, name := range r.axes {
		if !strings.ContainsRune(names, name) {
			return doc.fault(at, "layout %q has no digit of axis %c of axes %q; write %c* where it belongs", o.Layout, name, r.axes, name)
		}
	}
	return nil
}

func (r *rule) parsePads(doc *document, o *releasepb.Operand) error {
	names := r.spec.AxisNames()
	if r.rowMajor {
		names = r.axes
	}
	seen := ""
	for i, p := range o.Pad {
		at := r.block.where("pad", i)
		switch {
		case len(p.Axis) != 1 || !strings.Contains(names, p.Axis):
			return doc.fault(at, "pad is for axis %q, which the layout %q has not", p.Axis, o.Layout)
		case strings.Contains(seen, p.Axis):
			return doc.fault(at, "axis %s is padded twice", p.Axis)
		case p.Multiple != 0 && p.To != 0:
			return doc.fault(at, "pad of axis %s to a multiple of %d and to %d; write one of them", p.Axis, p.Multiple, p.To)
		case p.To > maxSize:
			return doc.fault(at, "pad of axis %s to %d, at most %d are allowed", p.Axis, p.To, uint64(maxSize))
		case p.To == 0 && (p.Multiple == 0 || p.Multiple > maxMultiple):
			return doc.fault(at, "pad of axis %s to a multiple of %d; allowed are 1 to %d", p.Axis, p.Multiple, maxMultiple)
		}
		seen += p.Axis
		r.pads = append(r.pads, pad{p.Axis[0], p.Multiple, p.To, at})
	}
	return nil
}
