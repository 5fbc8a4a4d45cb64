package recipe

import (
	"math/bits"
	"strings"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/model"
)

// Operand is what one parameter becomes, or several together.
type Operand struct {
	Name, Segment string
	Encoding      plane.Encoding
	Format        element.Format // of values, or of codes
	Layout        layout.Layout  // resolved; the axes in logical order
	PadBits       uint64         // the bits of a padding element in Format
	Planes        []plane.Plane  // all planes, in their places; nil in encoding plane.Plain
	Bytes         uint64
	Rounding      element.Rounding // of BFP16
	KeepNonFinite bool             // infinities and NaN in the source are no error
	Kept          bool             // codes, scales and zeros are those of the source (source.Tensor.Codes)

	// What it holds: Placement.Parameter is a position in the model's parameters. Where there is a fold, placements and fills
	// need not cover the operand; otherwise they do.
	Placements []artifact.Placement
	Fills      []artifact.Fill
	Folds      []Fold

	Line int // of the rule, for messages
}

// Fold is a part of a LayerNorm in an operand. All parameters that it names are folded into the operand (artifact.Folded).
//
// With Gamma, what lies in placement Placement is Scale * (gamma[k] * w), k being the index on axis Axis of its parameter. With Beta, what
// lies there is Scale * (b[n] + the sum over k of beta[k] * weight[n,k]); without a placement (-1), the sum alone times Scale lies at the
// operand's element At and those behind it along axis Along. Sums are those of schema/FORMAT.md ("Notes").
type Fold struct {
	Placement    int
	Gamma, Axis  int // Gamma -1: none
	Beta, Weight int // Beta -1: none
	At           []uint64
	Along        int
	Scale        float64
}

// Storage is how the operand's numbers lie in its bytes.
func (o *Operand) Storage() plane.Storage {
	return plane.Of(o.Encoding, o.Format, o.Layout, o.PadBits, o.Bytes, o.Planes)
}

// recipesFor ends a sentence with the built-in recipes for models of a family, if there are any.
func recipesFor(family string) string {
	var names []string
	for _, b := range BuiltinsFor(family) {
		names = append(names, b.Name)
	}
	if len(names) == 0 {
		return ""
	}
	return "; for those there are " + strings.Join(names, ", ")
}

// Expand says which operands a model becomes, in the order of the first parameter of each; a Placement's Parameter is a position in
// m.Parameters. Nothing of a parameter is looked at but its name, axes and shape and, where the format is SOURCE, how its tensor holds
// values. Errors are of type *Error: the recipe is for another family, a pattern matches nothing, a parameter is left or is taken twice,
// two operands have one name, or parts, axes, layout, padding and element format do not go with each other, or with source or target.
func (r *Recipe) Expand(m *model.Model) ([]Operand, error) {
	if m.Family != r.Family {
		return nil, r.doc.fault(r.doc.root.where("name", 0), "recipe %s is for %s, the model is a %s%s", r.Name, r.Family, m.Family, recipesFor(m.Family))
	}
	for i := range m.Parameters {
		if err := r.checkParameter(&m.Parameters[i]); err != nil {
			return nil, err
		}
	}
	c, err := r.choose(m)
	if err != nil {
		return nil, err
	}
	operands := make([]Operand, len(c.choices))
	names := make(map[string]int, len(c.choices))
	cover := newCover(m)
	for i := range c.choices {
		o := &operands[i]
		places, err := r.operand(m, &c.choices[i], o)
		if err != nil {
			return nil, err
		}
		if first, taken := names[o.Name]; taken {
			return nil, r.doc.fault(c.choices[i].rule.block.where("name", 0), "operand %q is made of %s and, by the rule in line %d, of %s; give each a name of its own",
				o.Name, m.Parameters[c.choices[i].parts[0].parameter].Name, operands[first].Line, m.Parameters[c.choices[first].parts[0].parameter].Name)
		}
		names[o.Name] = i
		if err := cover.add(r.doc, o, places); err != nil {
			return nil, err
		}
	}
	return operands, cover.check(r.doc, c)
}

// checkParameter refuses a parameter that cannot stand in an artifact.
func (r *Recipe) checkParameter(p *model.Parameter) error {
	if wrong := checkName(p.Name); wrong != "" {
		return r.doc.fault(position{}, "a parameter's name %s", wrong)
	}
	if wrong := checkAxes(p.Axes); wrong != "" {
		return r.doc.fault(position{}, "parameter %s: axes %s", p.Name, wrong)
	}
	if len(p.Axes) != len(p.Shape) {
		return r.doc.fault(position{}, "parameter %s has axes %q and shape %d", p.Name, p.Axes, p.Shape)
	}
	elements := uint64(1)
	for _, size := range p.Shape {
		var ok bool
		if elements, ok = product(elements, size); !ok || size == 0 {
			return r.doc.fault(position{}, "parameter %s has shape %d: no elements or more than 1<<62", p.Name, p.Shape)
		}
	}
	return nil
}

// product multiplies, and reports whether the result is within what a layout can hold.
func product(a, b uint64) (uint64, bool) {
	hi, lo := bits.Mul64(a, b)
	return lo, hi == 0 && lo <= layout.MaxElements
}

// operand makes the operand of a choice. places has what takes each placement.
func (r *Recipe) operand(m *model.Model, c *choice, o *Operand) (places []position, err error) {
	rule, first := c.rule, &m.Parameters[c.parts[0].parameter]
	*o = Operand{
		Name: first.Name, Segment: rule.segment.expand(c.found), Format: rule.encoding.format,
		PadBits: rule.padBits, Rounding: rule.rounding, KeepNonFinite: rule.keepNonFinite, Line: rule.block.at.line,
	}
	if rule.name != nil {
		o.Name = rule.name.expand(c.found)
	}
	for _, part := range []struct{ field, name string }{{"name", o.Name}, {"segment", o.Segment}} {
		if wrong := checkName(part.name); wrong != "" {
			return nil, r.doc.fault(rule.block.where(part.field, 0), "the %s for %s %s", part.field, first.Name, wrong)
		}
	}
	a := assembly{Recipe: r, model: m, choice: c, o: o}
	if err := a.join(); err != nil {
		return nil, err
	}
	// What a fault calls the operand: of one whole parameter, by that.
	t := thing{first.Name, first.Axes, first.Shape}
	if len(c.parts) > 1 || a.along != none || a.biasRow != none || len(rule.parts[0].slices) > 0 {
		t = thing{o.Name, a.names, a.extents}
	}
	if o.Layout, err = r.resolve(rule, axesOf(a.names, a.extents), t); err != nil {
		return nil, err
	}
	e := &rule.encoding
	if e.kept {
		k, err := a.keep(o.Layout, t.name)
		if err != nil {
			return nil, err
		}
		e, o.Format, o.Kept = &k, k.format, isCode(k.format)
	}
	s, err := e.lay(r.doc, o.Layout, o.PadBits, t.name)
	if err != nil {
		return nil, err
	}
	if o.Encoding, o.Bytes = s.Encoding, s.Bytes; s.Encoding != plane.Plain {
		o.Planes = s.Planes
	}
	return a.places, r.checkTile(rule, o, t.name)
}

// thing is what a message calls an operand.
type thing struct {
	name, axes string
	shape      []uint64
}

// resolve pads the axes and fits the rule's layout to them.
func (r *Recipe) resolve(rule *rule, axes []layout.Axis, t thing) (layout.Layout, error) {
	for i := range axes {
		for _, pad := range rule.pads {
			switch {
			case pad.axis != axes[i].Name:
			case pad.to == 0:
				axes[i].Padded = (axes[i].Extent-1)/pad.multiple*pad.multiple + pad.multiple // at most 1<<62 + 1<<20
			case pad.to < axes[i].Extent:
				return layout.Layout{}, r.doc.fault(pad.at, "pad of axis %c to %d, but %s has %d", pad.axis, pad.to, t.name, axes[i].Extent)
			default:
				axes[i].Padded = pad.to
			}
		}
	}
	spec, err := rule.spec, error(nil)
	if rule.rowMajor {
		var digits strings.Builder
		for i := range axes {
			digits.WriteByte(axes[i].Name)
			digits.WriteString("* ")
		}
		spec, err = layout.Parse(strings.TrimSuffix(digits.String(), " "))
	}
	var l layout.Layout
	if err == nil {
		l, err = spec.Resolve(axes)
	}
	if err != nil {
		return layout.Layout{}, r.doc.fault(rule.block.where("layout", 0), "layout %q for %s, axes %q, shape %d: %v",
			rule.notation, t.name, t.axes, t.shape, err)
	}
	for _, a := range l.Axes {
		for _, pad := range rule.pads {
			switch {
			case pad.axis != a.Name:
			case pad.to != 0 && a.Padded != pad.to:
				return layout.Layout{}, r.doc.fault(pad.at, "layout %q makes axis %c of %s %d long, where %d was asked for",
					rule.notation, a.Name, t.name, a.Padded, pad.to)
			case pad.to == 0 && a.Padded%pad.multiple != 0:
				return layout.Layout{}, r.doc.fault(pad.at, "layout %q makes axis %c of %s %d long, which is no multiple of %d",
					rule.notation, a.Name, t.name, a.Padded, pad.multiple)
			}
		}
	}
	return l, nil
}
