package recipe

import (
	"fmt"
	"slices"

	"npuw/schema/releasepb"
)

// part is what one parameter contributes to an operand, and its bias: a Part of a recipe, or all of a rule that has `parameter`.
type part struct {
	block     *field
	parameter reference // empty in the first part of a rule: what its pattern matched
	bias      reference // empty: none
	zeros     *expression
	scale     expression
	slices    []axisSlice
	orders    []axisOrder
	repeat    uint64
	fold      *fold
}

// reference is the name of a parameter, with words that the rule's pattern has found.
type reference struct {
	template
	text string
	at   position
}

func (r *reference) there() bool { return r.template != nil }

// axisSlice is the indices from begin to end-1 of an axis of a parameter; end 0 is the axis's end.
type axisSlice struct {
	axis       byte
	begin, end uint64
	at         position
}

// axisOrder is the order in which the indices of an axis of a parameter are taken: size of them, in runs.
type axisOrder struct {
	axis byte
	size uint64
	runs []run
	at   position
}

// run is size indices of an axis of a parameter from begin on, which stand at to, to+step, to+2*step...
type run struct{ begin, size, to, step uint64 }

// fold is a LayerNorm that is folded into a part.
type fold struct {
	gamma, beta, weight reference
	at                  position
}

// maxRepeat is the most that a part is repeated, as each makes a placement.
const maxRepeat = maxPlacements

// taking is what a rule with `parameter` and a part have in common.
type taking interface {
	GetScale() string
	GetSlice() []*releasepb.Slice
	GetOrder() []*releasepb.Order
	GetRepeat() uint32
	GetFold() *releasepb.Fold
}

// parseParts checks the parts of a rule, the one of `parameter` among them. The patterns have been.
func (r *rule) parseParts(doc *document, o *releasepb.Operand) error {
	if len(o.Part) == 0 {
		p := part{block: r.block}
		if err := r.parseTaking(doc, &p, o); err != nil {
			return err
		}
		r.parts = []part{p}
		return nil
	}
	for _, name := range []string{"scale", "slice", "order", "repeat", "fold"} {
		if f := r.block.all(name); len(f) > 0 {
			return doc.fault(f[0].at, "%s stands beside parts; write it in the part that it is for", name)
		}
	}
	blocks := r.block.all("part")
	for i, q := range o.Part {
		p := part{block: blocks[i]}
		if err := r.parsePart(doc, &p, q, i == 0); err != nil {
			return err
		}
		r.parts = append(r.parts, p)
	}
	if len(r.parts) > 1 && o.Name == "" {
		return doc.fault(r.block.at, "the operand is made of %d parts and has no name; write name: \"NAME\"", len(r.parts))
	}
	return nil
}

// parsePart checks what a part alone can have.
func (r *rule) parsePart(doc *document, p *part, q *releasepb.Part, first bool) error {
	var err error
	switch {
	case q.Zeros != "" && (first || q.Parameter != ""):
		return doc.fault(p.block.where("zeros", 0), "zeros stand instead of the parameter of a part other than the first")
	case q.Zeros != "":
		if len(q.Slice) > 0 || len(q.Order) > 0 || q.Bias != "" {
			return doc.fault(p.block.at, "zeros have no slice, order or bias")
		}
		at := p.block.where("zeros", 0)
		e, err := parseExpression(q.Zeros)
		if err != nil {
			return doc.fault(at, "zeros %q: %v", q.Zeros, err)
		}
		p.zeros = &e
	case q.Parameter == "":
		return doc.fault(p.block.at, "the part takes no parameter; write parameter: \"PATTERN\"")
	case !first:
		if p.parameter, err = r.reference(doc, p.block, "parameter", q.Parameter); err != nil {
			return err
		}
	}
	if p.bias, err = r.reference(doc, p.block, "bias", q.Bias); err != nil {
		return err
	}
	return r.parseTaking(doc, p, q)
}

// reference checks the name of a parameter that repeats words of the rule's patterns. An empty text is no reference.
func (r *rule) reference(doc *document, block *field, name, text string) (reference, error) {
	if text == "" {
		return reference{}, nil
	}
	at := block.where(name, 0)
	if wrong := checkName(text); wrong != "" {
		return reference{}, doc.fault(at, "the %s %s", name, wrong)
	}
	t, err := parseTemplate(text)
	if err != nil {
		return reference{}, doc.fault(at, "%s %q: %v", name, text, err)
	}
	if word, p := r.missingWord(t); p != nil {
		return reference{}, doc.fault(at, "%s %q repeats {%s}, which the pattern %q in line %d has not", name, text, word, p.text, p.at.line)
	}
	return reference{t, text, at}, nil
}

// parseTaking checks scale, slices, orders, repetition and fold.
func (r *rule) parseTaking(doc *document, p *part, q taking) error {
	if text := q.GetScale(); text != "" {
		var err error
		if p.scale, err = parseExpression(text); err != nil {
			return doc.fault(p.block.where("scale", 0), "scale %q: %v", text, err)
		}
	}
	if p.repeat = uint64(q.GetRepeat()); p.repeat > maxRepeat {
		return doc.fault(p.block.where("repeat", 0), "repeat is %d, at most %d are allowed", p.repeat, maxRepeat)
	}
	p.repeat = max(p.repeat, 1)
	seen := map[string]bool{}
	for i, s := range q.GetSlice() {
		at := p.block.where("slice", i)
		switch {
		case len(s.Axis) != 1 || checkAxes(s.Axis) != "":
			return doc.fault(at, "the axis of a slice is %q, one letter from A to Z was expected", s.Axis)
		case seen[s.Axis]:
			return doc.fault(at, "axis %s is sliced twice; make another part or rule for the second slice", s.Axis)
		case s.End != 0 && s.End <= s.Begin:
			return doc.fault(at, "slice of axis %s from %d to %d: nothing is in it; end is the index behind the last", s.Axis, s.Begin, s.End)
		}
		seen[s.Axis] = true
		p.slices = append(p.slices, axisSlice{s.Axis[0], s.Begin, s.End, at})
	}
	if err := r.parseOrders(doc, p, q.GetOrder()); err != nil {
		return err
	}
	return r.parseFold(doc, p, q.GetFold())
}

func (r *rule) parseOrders(doc *document, p *part, orders []*releasepb.Order) error {
	seen := map[string]bool{}
	for i, o := range orders {
		at := p.block.where("order", i)
		switch {
		case len(o.Axis) != 1 || checkAxes(o.Axis) != "":
			return doc.fault(at, "the axis of an order is %q, one letter from A to Z was expected", o.Axis)
		case seen[o.Axis]:
			return doc.fault(at, "axis %s is ordered twice", o.Axis)
		case len(o.Index) == 0:
			return doc.fault(at, "order of axis %s without indices; write index: [1, 0, ...]", o.Axis)
		}
		runs, err := runsOf(o.Index)
		if err != nil {
			return doc.fault(at, "order of axis %s: %v", o.Axis, err)
		}
		seen[o.Axis] = true
		p.orders = append(p.orders, axisOrder{o.Axis[0], uint64(len(o.Index)), runs, at})
	}
	return nil
}

// runsOf gives the runs of an order, index[q] being the index that stands at q: neighbours that stand at one distance from each
// other, ascending. Each index must be there once.
func runsOf(index []uint64) ([]run, error) {
	n := uint64(len(index))
	place := make([]uint64, n) // by index, 1 more than where it stands; 0: nowhere yet
	for q, i := range index {
		if i >= n {
			return nil, fmt.Errorf("index %d, and there are %d indices; each from 0 to %d once was expected", i, n, n-1)
		}
		if place[i] != 0 {
			return nil, fmt.Errorf("index %d stands at %d and at %d; each from 0 to %d once was expected", i, place[i]-1, q, n-1)
		}
		place[i] = uint64(q) + 1
	}
	var runs []run
	for i := uint64(0); i < n; {
		r := run{begin: i, size: 1, to: place[i] - 1, step: 1}
		if i+1 < n && place[i+1] > place[i] {
			r.step = place[i+1] - place[i]
		}
		for i++; i < n && place[i] == place[i-1]+r.step; i++ {
			r.size++
		}
		runs = append(runs, r)
	}
	return runs, nil
}

func (r *rule) parseFold(doc *document, p *part, f *releasepb.Fold) error {
	if f == nil {
		return nil
	}
	block := p.block.child("fold")
	p.fold = &fold{at: block.at}
	for _, part := range []struct {
		name, text string
		to         *reference
	}{{"gamma", f.Gamma, &p.fold.gamma}, {"beta", f.Beta, &p.fold.beta}, {"weight", f.Weight, &p.fold.weight}} {
		var err error
		if *part.to, err = r.reference(doc, block, part.name, part.text); err != nil {
			return err
		}
	}
	gamma, beta, weight := p.fold.gamma.there(), p.fold.beta.there(), p.fold.weight.there()
	switch {
	case !gamma && !beta:
		return doc.fault(block.at, "the fold has neither gamma nor beta; write gamma: \"NAME.weight\" or beta: \"NAME.bias\"")
	case weight && !beta:
		return doc.fault(block.at, "weight is for the sum over beta, and the fold has no beta")
	case gamma && (weight || p.zeros != nil):
		return doc.fault(block.at, "gamma is folded into the weight itself; with `weight`, or into zeros, beta alone is folded")
	case beta && weight && p.bias.there():
		return doc.fault(block.at, "the part has a bias, into which beta goes; `weight` is for a part that is a bias itself")
	case p.zeros != nil && !weight:
		return doc.fault(block.at, "the sum over beta needs a weight; write weight: \"NAME.weight\"")
	}
	return nil
}

// parseJoin checks along what parts are joined, and where biases go. Axes, merges and parts have been.
func (r *rule) parseJoin(doc *document, o *releasepb.Operand) error {
	for _, f := range []struct {
		name, text string
		to         *byte
	}{{"along", o.Along, &r.along}, {"bias_row", o.BiasRow, &r.biasRow}} {
		if f.text == "" {
			continue
		}
		if len(f.text) != 1 || checkAxes(f.text) != "" {
			return doc.fault(r.block.where(f.name, 0), "%s is %q, one axis of the operand was expected", f.name, f.text)
		}
		*f.to = f.text[0]
	}
	several := slices.IndexFunc(r.parts, func(p part) bool { return p.repeat > 1 })
	switch {
	case r.along == 0 && len(r.parts) > 1:
		return doc.fault(r.block.at, "the operand is made of %d parts; write along: \"N\", the axis along which they follow each other", len(r.parts))
	case r.along == 0 && several >= 0:
		return doc.fault(r.parts[several].block.where("repeat", 0), "repeat needs along: \"N\", the axis along which the copies follow each other")
	case r.biasRow != 0 && len(o.Part) == 0:
		return doc.fault(r.block.where("bias_row", 0), "bias_row needs parts; write part { parameter: \"NAME.weight\" bias: \"NAME.bias\" }")
	case r.biasRow != 0 && r.biasRow == r.along:
		return doc.fault(r.block.where("bias_row", 0), "parts are joined along axis %c, which bias_row is too; another was expected", r.along)
	}
	for i := range r.parts {
		p := &r.parts[i]
		if p.bias.there() && r.biasRow == 0 {
			return doc.fault(p.bias.at, "the operand has no bias_row for the bias; write bias_row: \"K\" or the like in the operand")
		}
		if p.fold != nil && p.fold.beta.there() && !p.fold.weight.there() && r.biasRow == 0 {
			return doc.fault(p.fold.at, "beta goes into a bias, and the operand has none; write bias_row: \"K\" or the like, or fold beta into the operand of the bias, with `weight`")
		}
	}
	return nil
}
