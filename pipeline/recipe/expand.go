package recipe

import (
	"fmt"
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

// Expand says which operands a model becomes, one for each parameter, in the order of the parameters; a Placement's Parameter
// is a position in m.Parameters. Nothing of a parameter but its name, axes and shape is looked at. Errors are of type *Error:
// the recipe is for another family, a pattern matches nothing, a parameter is matched by no pattern or by two, two operands
// have one name, or axes, layout and padding do not go with a parameter.
func (r *Recipe) Expand(m *model.Model) ([]Operand, error) {
	if m.Family != r.Family {
		return nil, r.doc.fault(r.doc.root.where("name", 0), "recipe %s is for %s, the model is a %s", r.Name, r.Family, m.Family)
	}
	for i := range m.Parameters {
		if err := r.checkParameter(&m.Parameters[i]); err != nil {
			return nil, err
		}
	}
	matches, err := r.match(m)
	if err != nil {
		return nil, err
	}
	operands := make([]Operand, len(matches))
	names := make(map[string]int, len(matches))
	for i, match := range matches {
		o, err := r.operand(match, i, &m.Parameters[i])
		if err != nil {
			return nil, err
		}
		if first, taken := names[o.Name]; taken {
			return nil, r.doc.fault(match.rule.block.where("name", 0), "operand %q is made of %s and, by the rule in line %d, of %s",
				o.Name, m.Parameters[i].Name, operands[first].Line, m.Parameters[first].Name)
		}
		names[o.Name], operands[i] = i, o
	}
	return operands, nil
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

// match is what a parameter is matched by.
type match struct {
	rule    *rule
	pattern *pattern
	found   map[string]string
}

// match finds the rule of each parameter.
func (r *Recipe) match(m *model.Model) ([]match, error) {
	matches := make([]match, len(m.Parameters))
	for i := range r.rules {
		rule := &r.rules[i]
		for j := range rule.patterns {
			p := &rule.patterns[j]
			matched := false
			for k := range m.Parameters {
				found, ok := p.match(m.Parameters[k].Name)
				if !ok {
					continue
				}
				if first := matches[k].pattern; first != nil {
					return nil, r.doc.fault(p.at, "%s is matched by %q here and by %q in line %d",
						m.Parameters[k].Name, p.text, first.text, first.at.line)
				}
				matches[k], matched = match{rule, p, found}, true
			}
			if !matched {
				return nil, r.doc.fault(p.at, "no parameter matches %q%s", p.text, near(p.symbols(), names(m)))
			}
		}
	}
	return matches, r.checkUnmatched(matches, m)
}

func names(m *model.Model) []string {
	all := make([]string, len(m.Parameters))
	for i := range m.Parameters {
		all[i] = m.Parameters[i].Name
	}
	return all
}

// checkUnmatched refuses parameters that no pattern matches. The place is the end of the last rule, where one can be added.
func (r *Recipe) checkUnmatched(matches []match, m *model.Model) error {
	var left []string
	for i := range matches {
		if matches[i].rule == nil {
			left = append(left, m.Parameters[i].Name)
		}
	}
	if len(left) == 0 {
		return nil
	}
	others := ""
	if len(left) > 1 {
		others = fmt.Sprintf(" (nor %d others)", len(left)-1)
	}
	return r.doc.fault(r.rules[len(r.rules)-1].block.end, "no rule takes %s%s; write parameter: %q in a rule, or a rule for it",
		left[0], others, generalize(left[0]))
}

// operand applies a rule to one parameter.
func (r *Recipe) operand(match match, index int, p *model.Parameter) (Operand, error) {
	rule := match.rule
	o := Operand{
		Name: p.Name, Segment: rule.segment.expand(match.found),
		Format: rule.format, PadBits: rule.padBits, KeepNonFinite: rule.keepNonFinite,
		Line: rule.block.at.line,
	}
	if rule.name != nil {
		o.Name = rule.name.expand(match.found)
	}
	for _, part := range []struct{ field, name string }{{"name", o.Name}, {"segment", o.Segment}} {
		if wrong := checkName(part.name); wrong != "" {
			return Operand{}, r.doc.fault(rule.block.where(part.field, 0), "the %s for %s %s", part.field, p.Name, wrong)
		}
	}
	axes, placement, err := r.place(rule, p)
	if err != nil {
		return Operand{}, err
	}
	placement.Parameter = index
	o.Placements = []artifact.Placement{placement}
	if o.Layout, err = r.resolve(rule, axes, p); err != nil {
		return o, err
	}
	o.Bytes, _ = plane.BytesOf(o.Format, plane.Elements(o.Format, o.Layout)) // plan refuses what is too large
	return o, nil
}

// place finds the axes of the operand and how the parameter lies in them.
func (r *Recipe) place(rule *rule, p *model.Parameter) ([]layout.Axis, artifact.Placement, error) {
	names := rule.axes
	if names == "" {
		names = p.Axes
	}
	axes := make([]layout.Axis, len(names))
	placement := artifact.Placement{Scale: 1, From: make([]artifact.PlacedAxis, len(p.Axes)), To: make([]uint64, len(names))}
	for i := range len(names) {
		of, at := names[i:i+1], rule.block.where("axes", 0)
		for _, m := range rule.merges {
			if m.axis == names[i] {
				of, at = m.of, m.at
			}
		}
		axes[i] = layout.Axis{Name: names[i], Extent: 1}
		for k := len(of) - 1; k >= 0; k-- { // innermost first
			j := strings.IndexByte(p.Axes, of[k])
			if j < 0 {
				return nil, placement, r.doc.fault(at, "%s has no axis %c; its axes are %q", p.Name, of[k], p.Axes)
			}
			if placement.From[j].Size != 0 {
				return nil, placement, r.doc.fault(at, "axis %c of %s is used twice", of[k], p.Name)
			}
			placement.From[j] = artifact.PlacedAxis{Size: p.Shape[j], Step: axes[i].Extent, Axis: i}
			axes[i].Extent *= p.Shape[j] // within checkParameter's product
		}
	}
	for j := range placement.From {
		if placement.From[j].Size == 0 {
			return nil, placement, r.doc.fault(rule.block.where("axes", 0),
				"axes %q leave out %c of %s, which has %q; name it, or make it part of one: merge { axis: \"K\" of: \"CX\" }",
				names, p.Axes[j], p.Name, p.Axes)
		}
	}
	return axes, placement, nil
}

// resolve pads the axes and fits the rule's layout to them.
func (r *Recipe) resolve(rule *rule, axes []layout.Axis, p *model.Parameter) (layout.Layout, error) {
	for i := range axes {
		for _, pad := range rule.pads {
			if pad.axis == axes[i].Name {
				axes[i].Padded = (axes[i].Extent-1)/pad.multiple*pad.multiple + pad.multiple // at most 1<<62 + 1<<20
			}
		}
	}
	l, err := rule.spec.Resolve(axes)
	if err != nil {
		return layout.Layout{}, r.doc.fault(rule.block.where("layout", 0), "layout %q for %s, axes %q, shape %d: %v",
			rule.notation, p.Name, p.Axes, p.Shape, err)
	}
	for _, a := range l.Axes {
		for _, pad := range rule.pads {
			if pad.axis == a.Name && a.Padded%pad.multiple != 0 {
				return layout.Layout{}, r.doc.fault(pad.at, "layout %q makes axis %c of %s %d long, which is no multiple of %d",
					rule.notation, a.Name, p.Name, a.Padded, pad.multiple)
			}
		}
	}
	return l, nil
}
