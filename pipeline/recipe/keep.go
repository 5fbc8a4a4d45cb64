package recipe

import (
	"cmp"
	"fmt"
	"slices"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/model"
	"npuw/schema/releasepb"
)

// Format SOURCE leaves to the source how an operand's numbers are held. Plain values stay in their format. Codes stay codes, in blocks
// that the source's tensors have: each block of the operand must have the scale and zero of one block there.
//
//	tensor [N,K], blocks of 1 x 32          operand K, N: blocks of 32 x 1
//	n=0 | s00 ..... | s01 ..... |           k=0 .. 31  | s00 | s10 |
//	n=1 | s10 ..... | s11 ..... |           k=32 .. 63 | s01 | s11 |

// parseKept checks what a rule of format SOURCE says of codes.
func (r *rule) parseKept(doc *document, o *releasepb.Operand) error {
	for _, name := range []string{"pad_value", "bias_row", "rounding"} {
		if f := r.block.all(name); len(f) > 0 {
			return doc.fault(f[0].at, "%s stands beside format: SOURCE, which keeps what the source has; state a format to compute anything", name)
		}
	}
	for i := range r.parts {
		for _, name := range []string{"scale", "fold"} {
			if f := r.parts[i].block.all(name); len(f) > 0 {
				return doc.fault(f[0].at, "%s would round what format: SOURCE keeps as it is; state a format to compute anything", name)
			}
		}
	}
	r.encoding = encoding{block: r.block, kept: true, highFirst: o.HighHalfFirst}
	e := &r.encoding
	if s := o.Scales; s != nil {
		block := r.block.child("scales")
		switch {
		case s.Zeros:
			return doc.fault(block.where("zeros", 0), "with format: SOURCE there are zeros where the source has some; leave them out here")
		case s.Minimums != releasepb.ElementFormat_NONE:
			return doc.fault(block.where("minimums", 0), "with format: SOURCE codes have scales and zeros as the source has them, never minimums")
		case s.Format != releasepb.ElementFormat_NONE:
			if e.scheme.Scales = sharedFormat(s.Format); e.scheme.Scales == 0 {
				return doc.fault(block.where("format", 0), "scales in %v; write F32, F16, BF16 or E8M0, or leave it to the source", s.Format)
			}
		}
		if err := e.parseGroups(doc, block, s); err != nil {
			return err
		}
	}
	if o.Record == nil {
		return nil
	}
	return e.parseRecord(doc, r.block.child("record"), o.Record)
}

// holding is how a source holds a parameter's values: in a format by themselves or, with a scheme, as codes.
type holding struct {
	format element.Format
	scheme element.Scheme
}

func (h holding) String() string {
	if !isCode(h.format) {
		return fmt.Sprintf("values in %v", h.format)
	}
	return fmt.Sprintf("codes in %v", h.scheme)
}

// held is how the source holds a parameter. Where no operand can hold it so, wrong completes a sentence that begins with its name.
func held(p *model.Parameter) (h holding, wrong string) {
	t := &p.Tensor
	c := t.Codes
	switch {
	case c == nil && t.Stored != "":
		return h, fmt.Sprintf("is held as %s, which no operand can hold as it is", t.Stored)
	case c == nil && !t.Type.Plain():
		return h, fmt.Sprintf("is held in %v, which is no format of an operand", t.Type)
	case c == nil:
		return holding{format: t.Type}, ""
	case t.Type != element.F32:
		return h, fmt.Sprintf("is held as codes whose values are in %v, where those of an operand are in f32", t.Type)
	case c.Scheme.Validate() != nil || c.Scheme.Minimums != 0:
		return h, fmt.Sprintf("is held as codes in %v, which are not kept", c.Scheme)
	case c.Blocks == nil || len(c.Block) != len(t.Shape) || len(p.Perm) != len(t.Shape) || len(p.Axes) != len(t.Shape) || slices.Contains(c.Block, 0):
		return h, fmt.Sprintf("is held as codes in blocks of %d, which are none of a tensor of shape %d", c.Block, t.Shape)
	}
	return holding{c.Scheme.Codes, c.Scheme}, ""
}

// exactly tells which format holds a parameter's values as they are read; "" if none does.
func exactly(p *model.Parameter) string {
	for word, number := range releasepb.ElementFormat_value {
		if f := p.Tensor.Type; f.Plain() && formatOf(releasepb.ElementFormat(number)) == f {
			return fmt.Sprintf(": %s holds its values exactly", word)
		}
	}
	return ""
}

// keep is the encoding of an operand in layout l, which a fault calls thing, as its source has it.
func (a *assembly) keep(l layout.Layout, thing string) (encoding, error) {
	h, err := a.holding()
	if err != nil {
		return encoding{}, err
	}
	e := a.rule.encoding
	stated := e.scheme.Scales
	e.kept, e.format, e.scheme = false, h.format, h.scheme
	if !isCode(h.format) {
		return encoding{block: e.block, format: h.format}, nil
	}
	e.highFirst = e.highFirst && h.format.Bits() == 4
	if stated != 0 {
		if stated != h.scheme.Scales && stated != element.F32 {
			return e, a.doc.fault(e.block.child("scales").where("format", 0),
				"scales in %v, those of %s are in %v; write that, or F32, or leave it to the source", stated, a.called(0), h.scheme.Scales)
		}
		e.scheme.Scales = stated
	}
	if e.record != nil {
		r, roles := *e.record, e.roles()
		r.order = slices.DeleteFunc(slices.Clone(r.order), func(role plane.Role) bool { return !slices.Contains(roles, role) })
		if e.record = &r; r.codes%2 != 0 && h.format.Bits() == 4 {
			return e, a.doc.fault(r.at, "a record of %d codes; two of %v share a byte, so an even number was expected", r.codes, h.format)
		}
	}
	return e, a.keepGroups(&e, l, thing)
}

// holding is how the source holds all parts alike.
func (a *assembly) holding() (all holding, err error) {
	at, first := a.rule.block.where("format", 0), none
	for i := range a.parts {
		if a.parts[i].parameter == none {
			continue
		}
		h, wrong := held(&a.model.Parameters[a.parts[i].parameter])
		switch {
		case wrong != "":
			return h, a.doc.fault(at, "%s %s; write a rule for it that states a format%s", a.called(i), wrong, exactly(&a.model.Parameters[a.parts[i].parameter]))
		case first == none:
			all, first = h, i
		case h != all:
			return h, a.doc.fault(at, "the source has %s of %s, and %s of %s; parts that are kept as they are should be alike",
				all, a.called(first), h, a.called(i))
		}
	}
	return all, nil
}

// keepGroups sets the groups of e to those of the source, or to those that were stated where these are parts of them.
func (a *assembly) keepGroups(e *encoding, l layout.Layout, thing string) error {
	stated, at := e.groups, e.block.where("format", 0)
	for _, g := range stated {
		if !slices.ContainsFunc(l.Axes, func(x layout.Axis) bool { return x.Name == g.axis }) {
			return nil // lay says so
		}
	}
	e.groups = nil
	for x, axis := range l.Axes {
		size, err := a.group(x)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(stated, func(g group) bool { return g.axis == axis.Name })
		switch {
		case i >= 0 && size%stated[i].size == 0:
			e.groups = append(e.groups, stated[i])
		case i >= 0:
			return a.doc.fault(stated[i].at, "groups of %d along axis %c, the source of %s has groups of %d; write that, or a divisor of it, or leave groups to the source",
				stated[i].size, axis.Name, thing, size)
		case size != 0 && len(stated) > 0:
			return a.doc.fault(e.block.child("scales").at, "no group along axis %c, the source of %s has groups of %d; write group { axis: \"%c\" size: %d }, or leave all groups to the source",
				axis.Name, thing, size, axis.Name, size)
		case size != 0:
			e.groups = append(e.groups, group{axis.Name, size, at})
		}
	}
	return nil
}

// group is how many neighbours on an axis of the operand share a scale, 0 where all do.
func (a *assembly) group(axis int) (uint64, error) {
	size, by := uint64(0), 0 // the groups of the source, and a placement that has them
	for i := range a.o.Placements {
		n, wrong := groupOf(&a.o.Placements[i], &a.model.Parameters[a.o.Placements[i].Parameter], axis)
		name := a.model.Parameters[a.o.Placements[i].Parameter].Name
		switch {
		case wrong != "":
			return 0, a.doc.fault(a.places[i], "along axis %c, %s of %s", a.names[axis], wrong, name)
		case size == 0:
			size, by = n, i
		case n != 0 && n != size:
			return 0, a.doc.fault(a.places[i], "along axis %c, the source has groups of %d of %s, and of %d of %s; parts that are kept as they are should be alike",
				a.names[axis], size, a.model.Parameters[a.o.Placements[by].Parameter].Name, n, name)
		}
	}
	cut := uint64(0) // the greatest size of which each begin is a multiple; 0: all begin at 0
	for i := range a.o.Placements {
		begin := a.o.Placements[i].To[axis]
		if size != 0 && begin%size != 0 {
			return 0, a.doc.fault(a.places[i], "%s begins at index %d of axis %c, inside a group of %d; what is kept as it is should begin with a group",
				a.model.Parameters[a.o.Placements[i].Parameter].Name, begin, a.names[axis], size)
		}
		cut = gcd(cut, begin)
	}
	for _, f := range a.o.Fills {
		if size != 0 && f.Begin[axis]%size != 0 {
			return 0, a.doc.fault(a.rule.block.at, "zeros begin at index %d of axis %c, inside a group of %d; what is kept as it is should begin with a group",
				f.Begin[axis], a.names[axis], size)
		}
		cut = gcd(cut, f.Begin[axis])
	}
	if size == 0 {
		return cut, nil
	}
	return size, nil
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// groupOf is how many neighbours along an axis of the operand are of one block of the source, in what is placed of a parameter; 0: all.
// Where blocks are not whole or not of neighbours there, wrong begins a sentence.
func groupOf(p *artifact.Placement, of *model.Parameter, axis int) (size uint64, wrong string) {
	var on []int // the parameter's axes that lie there, the innermost first
	for j, f := range p.From {
		if f.Axis == axis && of.Shape[j] > 1 {
			on = append(on, j)
		}
	}
	slices.SortFunc(on, func(i, j int) int { return cmp.Compare(p.From[i].Step, p.From[j].Step) })
	size, found := uint64(1), false
	for i, j := range on {
		f, shape, block := p.From[j], of.Shape[j], of.Tensor.Codes.Block[of.Perm[j]]
		first, end := f.Begin, f.Begin+f.Size
		switch several := block < shape; {
		case found && block != 1:
			return 0, fmt.Sprintf("the source's groups of %d along %c lie apart, inside an axis that has several", block, of.Axes[j])
		case several && (first%block != 0 || end%block != 0 && (end != shape || i < len(on)-1)):
			return 0, fmt.Sprintf("indices %d to %d of %c cut the source's groups of %d", first, end-1, of.Axes[j], block)
		case found:
		case first/block == (end-1)/block:
			size *= f.Size
		default:
			size, found = size*block, true
		}
	}
	if !found {
		return 0, ""
	}
	return size, ""
}
