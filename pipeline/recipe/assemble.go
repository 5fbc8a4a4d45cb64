package recipe

import (
	"fmt"
	"strings"

	"npuw/artifact"
	"npuw/artifact/layout"
	"npuw/pipeline/model"
)

// assembly joins the parts of an operand: one behind the other along an axis, their biases as one more index of another.
//
//	          N: q_proj     k_proj     v_proj
//	K    0  | weight   | weight   | weight   |
//	     .. |          |          |          |
//	bias_row| bias     | a fill   | bias     |
type assembly struct {
	*Recipe
	model *model.Model
	*choice
	names   string // of the axes
	extents []uint64
	along   int // the axis that parts are joined along, none if they are not
	biasRow int // the axis that has the biases as its last index, none if there are none
	o       *Operand
	places  []position // of what takes each placement, for messages
}

// join finds the axes of the operand, and where on them parameters lie.
func (a *assembly) join() error {
	pieces, biases, err := a.pieces()
	if err != nil {
		return err
	}
	if err := a.measure(pieces, biases); err != nil {
		return err
	}
	offset := uint64(0) // along the axis that parts are joined along
	for i := range a.rule.parts {
		p := &a.rule.parts[i]
		for range p.repeat {
			if err := a.put(i, &pieces[i], &biases[i], offset); err != nil {
				return err
			}
			if a.along != none {
				offset += pieces[i].extents[a.along]
			}
			if max(len(a.o.Placements), len(a.o.Fills), len(a.o.Folds)) > maxPlacements {
				return a.doc.fault(p.block.at, "operand %q is made of more than %d placements up to here, which is the most that an artifact holds", a.o.Name, maxPlacements)
			}
		}
	}
	return nil
}

// pieces places each part, and its bias, by itself. Zeros are pieces without a placement.
func (a *assembly) pieces() (pieces, biases []piece, err error) {
	a.names = a.rule.axes
	if a.names == "" {
		a.names = a.model.Parameters[a.parts[0].parameter].Axes
	}
	if a.along, err = a.axis("along", a.rule.along); err != nil {
		return nil, nil, err
	}
	if a.biasRow, err = a.axis("bias_row", a.rule.biasRow); err != nil {
		return nil, nil, err
	}
	pieces, biases = make([]piece, len(a.parts)), make([]piece, len(a.parts))
	for i := range a.parts {
		p := placer{Recipe: a.Recipe, rule: a.rule, part: &a.rule.parts[i]}
		if p.part.zeros != nil {
			if pieces[i], err = a.zeros(p.part, pieces[0].extents); err != nil {
				return nil, nil, err
			}
			continue
		}
		p.of = &a.model.Parameters[a.parts[i].parameter]
		if pieces[i], err = p.place(a.names); err != nil {
			return nil, nil, err
		}
		if a.parts[i].bias != none {
			p.of, p.bias = &a.model.Parameters[a.parts[i].bias], true
			if biases[i], err = p.place(a.names); err != nil {
				return nil, nil, err
			}
		}
	}
	return pieces, biases, nil
}

// axis is the position of an axis that a field of the rule names; none where it names none.
func (a *assembly) axis(field string, name byte) (int, error) {
	if name == 0 {
		return none, nil
	}
	i := strings.IndexByte(a.names, name)
	if i < 0 {
		return none, a.doc.fault(a.rule.block.where(field, 0), "%s is %c, which is not one of axes %q", field, name, a.names)
	}
	return i, nil
}

// zeros is a piece like the first, of as many zeros as the part says.
func (a *assembly) zeros(p *part, like []uint64) (piece, error) {
	at := p.block.where("zeros", 0)
	n, err := p.zeros.count(a.model)
	if err != nil {
		return piece{}, a.doc.fault(at, "zeros %q: %v", p.zeros.text, err)
	}
	extents := append([]uint64(nil), like...)
	extents[a.along] = n // there is one: zeros are never the only part
	return piece{extents: extents}, nil
}

// measure finds the extents of the operand, and checks that its parts go together.
func (a *assembly) measure(pieces, biases []piece) error {
	a.extents = append([]uint64(nil), pieces[0].extents...)
	first := a.called(0)
	if a.along != none {
		a.extents[a.along] = 0
	}
	for i := range pieces {
		p := &a.rule.parts[i]
		for x, n := range pieces[i].extents {
			if b := biases[i].extents; b != nil && x != a.biasRow && b[x] != n {
				return a.doc.fault(p.bias.at, "the bias %s makes axis %c %d long, its weight %d", a.model.Parameters[a.parts[i].bias].Name, a.names[x], b[x], n)
			}
			if x != a.along {
				if n != a.extents[x] {
					return a.doc.fault(p.block.at, "%s makes axis %c %d long, %s made it %d; parts may differ along %s alone",
						a.called(i), a.names[x], n, first, a.extents[x], axisName(a.names, a.along))
				}
				continue
			}
			total, ok := product(n, p.repeat)
			if a.extents[x] += total; !ok || a.extents[x] > layout.MaxElements {
				return a.doc.fault(p.block.at, "the parts make axis %c longer than 1<<62", a.names[x])
			}
		}
	}
	if a.biasRow != none {
		a.extents[a.biasRow]++ // at most 1<<62 + 1, which no layout takes
	}
	return nil
}

func axisName(names string, axis int) string {
	if axis == none {
		return "no axis"
	}
	return "axis " + names[axis:axis+1]
}

// called is what part i is, for messages.
func (a *assembly) called(i int) string {
	if a.parts[i].parameter == none {
		return fmt.Sprintf("zeros of %q", a.rule.parts[i].zeros.text)
	}
	return a.model.Parameters[a.parts[i].parameter].Name
}

// put adds part i to the operand, with its bias and what is folded into it.
func (a *assembly) put(i int, weight, bias *piece, offset uint64) error {
	p := &a.rule.parts[i]
	scale, err := p.scale.value(a.model)
	if err != nil {
		return a.doc.fault(p.block.where("scale", 0), "scale %q: %v", p.scale.text, err)
	}
	by := make([]uint64, len(a.extents))
	if a.along != none {
		by[a.along] = offset
	}
	f := folder{assembly: a, part: p, chosen: &a.parts[i], scale: scale, by: by, weightPiece: weight}
	if p.zeros != nil {
		if a.parts[i].beta != none {
			return f.zeros(weight.extents[a.along])
		}
		size := append([]uint64(nil), weight.extents...)
		if a.biasRow != none {
			size[a.biasRow]++
		}
		a.o.Fills = append(a.o.Fills, artifact.Fill{Begin: by, Size: size})
		return nil
	}
	at := p.parameter.at
	if i == 0 {
		at = p.block.where("parameter", 0)
	}
	f.weights = a.add(a.parts[i].parameter, weight, scale, by, at)
	if a.biasRow != none {
		by = append([]uint64(nil), by...)
		by[a.biasRow] = a.extents[a.biasRow] - 1
		f.row = by
		switch {
		case a.parts[i].bias != none:
			f.biases = a.add(a.parts[i].bias, bias, scale, by, p.bias.at)
		case a.parts[i].beta == none || p.fold.weight.there():
			size := append([]uint64(nil), weight.extents...)
			size[a.biasRow] = 1
			a.o.Fills = append(a.o.Fills, artifact.Fill{Begin: by, Size: size})
		}
	}
	return f.fold()
}

// add adds the placements of a piece, and gives their positions.
func (a *assembly) add(parameter int, p *piece, scale float64, by []uint64, at position) []int {
	var numbers []int
	for _, q := range p.placements {
		q = moved(q, by)
		q.Parameter, q.Scale = parameter, scale
		numbers = append(numbers, len(a.o.Placements))
		a.o.Placements = append(a.o.Placements, q)
		a.places = append(a.places, at)
	}
	return numbers
}
