package whisper

import (
	"math"
	"slices"
	"strings"
)

// member is a linear layer of n outputs: parameters NAME.weight [N,K] and, with bias, NAME.bias [N]; scaled: any scale will do.
type member struct {
	name         string
	n            uint64
	bias, scaled bool
}

// linear is one GEMM: an operand [K,N] that holds the weights of one or several members side by side along N.
type linear struct {
	name    string // of its members
	b       argument
	k, n    uint64   // extents of the operand
	ones    []uint64 // rows of K that hold biases: there `a` needs ones
	members []placed
	vector  []part // biases that lie elsewhere
}

// placed is a member in an operand: its outputs are the columns from col on, times scale.
type placed struct {
	member
	at    place // of its weight
	col   uint64
	scale float64
}

// part is a vector as a part of a longer one: where its n elements lie, and from which element on they are to stand.
type part struct {
	at, n uint64
	place place
}

// linears finds the GEMMs that compute the members, all of k inputs: one for each operand. norm is the LayerNorm before them, empty where
// there is none, and folded whether it is folded into them.
func (l *locator) linears(k uint64, norm string, folded bool, members ...member) ([]linear, error) {
	var list []linear
	var names, norms []string
	for _, m := range members {
		names = append(names, m.name+".weight", m.name+".bias")
	}
	if folded {
		norms = []string{norm + ".weight", norm + ".bias"}
	}
	for _, m := range members {
		weight := wanted{name: m.name + ".weight", axes: "NK", shape: []uint64{m.n, k}, folded: folded}
		at, err := find(l, weight, func(at place) (place, error) {
			if !m.scaled && !one(at.Scale) {
				return at, l.misplaced(weight.name, at.operand, "scaled by %v; 1 was expected", at.Scale)
			}
			return at, firstError(l.checkMatrix(weight.name, at), l.checkFold(norm, weight.name, at))
		})
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list, func(x linear) bool { return x.b.operand == at.operand })
		if i < 0 {
			if err := l.alone(at.operand, norms, names); err != nil {
				return nil, err
			}
			x, err := l.newLinear(at)
			if err != nil {
				return nil, err
			}
			i, list = len(list), append(list, x)
		}
		if err := l.addMember(&list[i], m, at, norm); err != nil {
			return nil, err
		}
	}
	for i := range list {
		if err := l.addSums(&list[i], k, norm); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkMatrix checks that a weight [N,K] is a block of columns of an operand [K,N] or [N,K], from its first row on.
func (l *locator) checkMatrix(name string, at place) error {
	o := l.operand(at.operand)
	n, k := at.From[0], at.From[1]
	if len(o.Layout.Axes) != 2 || n.Axis == k.Axis || n.Step != 1 || k.Step != 1 || at.To[k.Axis] != 0 {
		return l.misplaced(name, at.operand, "it has shape %s and the parameter begins at %v; a matrix K, N with it from row 0 of K on was expected", o.Layout.Shape(), at.To)
	}
	return nil
}

// newLinear makes the GEMM of the operand in which a weight lies.
func (l *locator) newLinear(at place) (linear, error) {
	n, k := at.From[0].Axis, at.From[1].Axis
	b, err := l.matrix(at.operand, k)
	if err != nil {
		return linear{}, err
	}
	return linear{b: b, k: b.Layout.Axes[k].Extent, n: b.Layout.Axes[n].Extent}, nil
}

// addMember adds what is at a place of x's operand to x, and finds its bias: in a row of the same operand, or elsewhere.
func (l *locator) addMember(x *linear, m member, at place, norm string) error {
	p := placed{m, at, at.To[at.From[0].Axis], at.Scale}
	x.name = joinNames(x.name, m.name)
	x.members = append(x.members, p)
	if !m.bias {
		return nil
	}
	bias := vectorOf(m.name+".bias", m.n)
	i, err := l.parameter(bias)
	if err != nil {
		return err
	}
	bias.folded = at.folded && slices.ContainsFunc(l.places[i], func(b place) bool { return b.folded })
	below := slices.ContainsFunc(l.places[i], func(b place) bool { return b.operand == at.operand })
	b, err := find(l, bias, func(b place) (place, error) {
		if below {
			return b, l.addRow(x, p, b)
		}
		if !sameScale(b.Scale, p.scale) {
			return b, l.misplaced(bias.name, b.operand, "scaled by %v; %v was expected", b.Scale, p.scale)
		}
		x.vector = append(x.vector, part{p.col, m.n, b})
		return b, nil
	})
	if err == nil && at.folded && !(b.folded && l.folded(norm+".bias", b.operand)) {
		err = l.halves(norm, norm+".weight", norm+".bias", b.operand)
	}
	return err
}

// addRow adds the row of K, under a member's weight, in which its bias lies.
func (l *locator) addRow(x *linear, p placed, b place) error {
	n, k := p.at.From[0].Axis, p.at.From[1].Axis
	if b.operand != p.at.operand || b.From[0].Axis != n || b.From[0].Step != 1 || b.To[n] != p.col || b.To[k] < p.at.From[1].Size || !sameScale(b.Scale, p.scale) {
		return l.misplaced(p.name+".bias", b.operand, "it begins at %v, scaled by %v; a row under its weight, scaled by %v, was expected", b.To, b.Scale, p.scale)
	}
	if !slices.Contains(x.ones, b.To[k]) {
		x.ones = append(x.ones, b.To[k])
	}
	return nil
}

// factor is what the outputs of a member are multiplied by; 1 but for rounding where it must be that.
func (p *placed) factor() float64 {
	if !p.scaled {
		return 1
	}
	return p.scale
}

// joinNames names members that are computed together: q_proj and k_proj of a layer are NAME.q_proj+k_proj.
func joinNames(all, next string) string {
	if all == "" {
		return next
	}
	return all + "+" + next[strings.LastIndexByte(next, '.')+1:]
}

// sameScale reports whether two scales are equal but for rounding.
func sameScale(a, b float64) bool { return one(a / b) }

// only gives the one GEMM of a member that must have an operand to itself.
func (l *locator) only(k uint64, norm string, folded bool, m member) (*linear, error) {
	list, err := l.linears(k, norm, folded, m)
	if err != nil {
		return nil, err
	}
	x := &list[0]
	if x.n != m.n {
		return nil, l.misplaced(m.name+".weight", x.b.operand, "it has %d columns; %d were expected", x.n, m.n)
	}
	return x, nil
}

// attention is where the projections of self-attention lie.
type attention struct {
	linears []linear
	folded  bool // the LayerNorm before them is folded into them
	// scale is what q still has to be multiplied by: head_dim^-0.5, unless the weights have been.
	scale float64
}

// projections finds q_proj, k_proj (which has no bias) and v_proj of a layer.
func (l *locator) projections(layer string, s *Sizes) (attention, error) {
	d := s.DModel
	q, k, v := layer+"self_attn.q_proj", layer+"self_attn.k_proj", layer+"self_attn.v_proj"
	members := []member{{q, d, true, true}, {k, d, false, true}, {v, d, true, false}}
	norm := layer + "self_attn_layer_norm"
	folded, err := l.foldedInto(norm, members...)
	if err != nil {
		return attention{}, err
	}
	list, err := l.linears(d, norm, folded, members...)
	if err != nil {
		return attention{}, err
	}
	a := attention{linears: list, folded: folded, scale: 1 / math.Sqrt(float64(s.headDim()))}
	for i := range list {
		x := &list[i]
		for _, p := range x.members {
			if p.col%s.headDim() != 0 || p.col > x.n || p.n > x.n-p.col {
				return a, l.misplaced(p.name+".weight", x.b.operand, "it begins at column %d of %d; a multiple of the head size %d was expected", p.col, x.n, s.headDim())
			}
			a.scale /= p.factor()
		}
	}
	return a, nil
}
