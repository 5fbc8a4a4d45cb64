package whisper

import (
	"math"
	"slices"
	"strings"
)

// member is a linear layer of n outputs: parameters NAME.weight [N,K] and, with bias, NAME.bias [N].
type member struct {
	name string
	n    uint64
	bias bool
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
	col   uint64
	scale float64
}

// part is a parameter as a part of a vector.
type part struct {
	name  string
	at, n uint64
	scale float64 // that its operand must have
}

// linears finds the GEMMs that compute the members, all of k inputs: one for each operand.
func (l *locator) linears(k uint64, members ...member) ([]linear, error) {
	var list []linear
	names := make([]string, 0, 2*len(members))
	for _, m := range members {
		names = append(names, m.name+".weight", m.name+".bias")
	}
	for _, m := range members {
		at, err := find(l, m.name+".weight", "NK", []uint64{m.n, k}, func(at place) (place, error) {
			return at, l.checkMatrix(m.name+".weight", at)
		})
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list, func(x linear) bool { return x.b.operand == at.operand })
		if i < 0 {
			if err := l.alone(at.operand, names...); err != nil {
				return nil, err
			}
			x, err := l.newLinear(at)
			if err != nil {
				return nil, err
			}
			i, list = len(list), append(list, x)
		}
		if err := l.addMember(&list[i], m, at); err != nil {
			return nil, err
		}
	}
	return list, nil
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
func (l *locator) addMember(x *linear, m member, at place) error {
	n, k := at.From[0].Axis, at.From[1].Axis
	p := placed{m, at.To[n], at.Scale}
	x.name = joinNames(x.name, m.name)
	x.members = append(x.members, p)
	if !m.bias {
		return nil
	}
	name := m.name + ".bias"
	i, ok := l.parameters[name]
	if !ok || !slices.ContainsFunc(l.places[i], func(b place) bool { return b.operand == at.operand }) {
		x.vector = append(x.vector, part{name, p.col, m.n, p.scale})
		return nil
	}
	_, err := find(l, name, "N", []uint64{m.n}, func(b place) (place, error) {
		if b.operand != at.operand || b.From[0].Axis != n || b.From[0].Step != 1 || b.To[n] != p.col || b.To[k] < at.From[1].Size || !sameScale(b.Scale, p.scale) {
			return b, l.misplaced(name, b.operand, "it begins at %v, scaled by %v; a row under its weight, scaled by %v, was expected", b.To, b.Scale, p.scale)
		}
		if !slices.Contains(x.ones, b.To[k]) {
			x.ones = append(x.ones, b.To[k])
		}
		return b, nil
	})
	return err
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

// only gives the one GEMM of a member that must have an operand to itself, unscaled.
func (l *locator) only(k uint64, m member) (*linear, error) {
	list, err := l.linears(k, m)
	if err != nil {
		return nil, err
	}
	x := &list[0]
	if p := x.members[0]; x.n != m.n || !one(p.scale) {
		return nil, l.misplaced(m.name+".weight", x.b.operand, "it has %d columns, scaled by %v; %d, scaled by 1, were expected", x.n, p.scale, m.n)
	}
	return x, nil
}

// attention is where the projections of self-attention lie.
type attention struct {
	linears []linear
	// scale is what q still has to be multiplied by: head_dim^-0.5, unless the weights have been.
	scale float64
}

// projections finds q_proj, k_proj (which has no bias) and v_proj of a layer.
func (l *locator) projections(layer string, s *Sizes) (attention, error) {
	d := s.DModel
	q, k, v := layer+"self_attn.q_proj", layer+"self_attn.k_proj", layer+"self_attn.v_proj"
	list, err := l.linears(d, member{q, d, true}, member{k, d, false}, member{v, d, true})
	if err != nil {
		return attention{}, err
	}
	a := attention{linears: list, scale: 1 / math.Sqrt(float64(s.headDim()))}
	for i := range list {
		x := &list[i]
		for _, p := range x.members {
			switch {
			case p.col%s.headDim() != 0 || p.col > x.n || p.n > x.n-p.col:
				return a, l.misplaced(p.name+".weight", x.b.operand, "it begins at column %d of %d; a multiple of the head size %d was expected", p.col, x.n, s.headDim())
			case p.name != v:
				a.scale /= p.scale
			case !one(p.scale):
				return a, l.misplaced(p.name+".weight", x.b.operand, "scaled by %v; 1 was expected", p.scale)
			}
		}
	}
	return a, nil
}
