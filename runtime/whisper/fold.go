package whisper

import (
	"cmp"
	"fmt"
	"slices"

	"npuw/artifact"
)

// A LayerNorm is folded when the operands of the linear layers behind it hold gamma_k W[n,k] where W is placed, and b[n] plus the sum of
// beta_k W[n,k] where the bias is: then it runs without gamma and beta. schema/FORMAT.md, "Notes".

// folds are what notes say is folded into operands.
type folds struct {
	set  map[[2]int]bool // a parameter, an operand
	into map[int][]int   // parameters by operand
	of   map[int][]int   // operands by parameter
}

func newFolds(notes []artifact.Note) folds {
	f := folds{map[[2]int]bool{}, map[int][]int{}, map[int][]int{}}
	for _, n := range notes {
		key := [2]int{n.Parameter, n.Operand}
		if n.Kind != artifact.Folded || f.set[key] {
			continue
		}
		f.set[key] = true
		f.into[n.Operand] = append(f.into[n.Operand], n.Parameter)
		f.of[n.Parameter] = append(f.of[n.Parameter], n.Operand)
	}
	return f
}

func (f *folds) has(parameter, operand int) bool { return f.set[[2]int{parameter, operand}] }

// folded reports whether the parameter of a name is folded into an operand.
func (l *locator) folded(name string, operand int) bool {
	i, ok := l.parameters[name]
	return ok && l.folds.has(i, operand)
}

// nowhere says why a parameter has no place where it is, or with folded is not, what it was trained to be.
func (l *locator) nowhere(i int, folded bool) error {
	name := l.model.Index.Parameters[i].Name
	if len(l.places[i]) > 0 {
		at := l.places[i][0]
		if folded {
			return l.misplaced(name, at.operand, "it lies there as it is; one into which a LayerNorm is folded was expected")
		}
		return l.misplaced(name, at.operand, "%s; its own values were expected", l.foldedWith(i, at.operand))
	}
	if in := l.folds.of[i]; len(in) > 0 {
		return l.misplaced(name, in[0], "it is folded there, and lies in no operand by itself")
	}
	return fmt.Errorf("parameter %q: %w in any operand", name, artifact.ErrNotFound)
}

// foldedWith says what else is folded into an operand.
func (l *locator) foldedWith(parameter, operand int) string {
	var others []string
	for _, p := range l.folds.into[operand] {
		if p != parameter {
			others = append(others, l.model.Index.Parameters[p].Name)
		}
	}
	return fmt.Sprintf("what lies there was computed from it and %q", others)
}

// foldedInto reports whether a LayerNorm is folded into the members behind it: into all of them, or into none. Where members lie both
// ways, the others decide.
func (l *locator) foldedInto(norm string, members ...member) (bool, error) {
	var in, out string // a member into which it is folded wherever it lies, and one into which it is nowhere
	for _, m := range members {
		places := l.places[l.parameters[m.name+".weight"]] // checkParameters has found it
		other := func(at place) bool { return at.folded != places[0].folded }
		if len(places) == 0 || slices.ContainsFunc(places, other) {
			continue
		}
		text := fmt.Sprintf("%q (operand %q)", m.name, l.operand(places[0].operand).Name)
		if places[0].folded {
			in = cmp.Or(in, text)
		} else {
			out = cmp.Or(out, text)
		}
	}
	if in != "" && out != "" {
		return false, fmt.Errorf("LayerNorm %q is folded into %s, but not into %s; fold it into all linear layers behind it, or into none", norm, in, out)
	}
	return in != "", nil
}

// halves says that only one of a LayerNorm's two parameters is folded into a linear layer.
func (l *locator) halves(norm, folded, apart string, operand int) error {
	return fmt.Errorf("LayerNorm %q is folded by halves: %q is folded into its linear layers, but operand %q has none of %q; fold both, or none",
		norm, folded, l.operand(operand).Name, apart)
}

// checkFold checks that gamma is folded into the operand where a folded weight of the layers behind norm lies.
func (l *locator) checkFold(norm, weight string, at place) error {
	switch gamma := norm + ".weight"; {
	case !at.folded || norm == "":
		return nil
	case !l.folded(gamma, at.operand):
		i := l.parameters[weight]
		return l.misplaced(weight, at.operand, "%s, but not from %q, the LayerNorm's before it", l.foldedWith(i, at.operand), gamma)
	}
	return nil
}

// addSums finds what the folded beta adds to members that have no bias: in a row under the weight, or in a vector.
func (l *locator) addSums(x *linear, k uint64, norm string) error {
	for _, m := range x.members {
		if !m.at.folded {
			continue
		}
		if !m.bias {
			if err := l.addSum(x, m, k, norm); err != nil {
				return err
			}
		}
	}
	return l.checkOnes(x)
}

// addSum is addSums for one member, a weight of k rows.
func (l *locator) addSum(x *linear, m placed, k uint64, norm string) error {
	beta, weight := norm+".bias", m.name+".weight"
	below := l.folded(beta, m.at.operand)
	if below {
		rows := l.uncovered(m.at.operand, m.at.From[1].Axis, span{k, x.k}, span{m.col, m.col + m.n})
		shared := slices.DeleteFunc(slices.Clone(x.ones), func(row uint64) bool { return !contains(rows, row) })
		switch {
		case len(shared) == 1: // the row that others have their biases in
			return nil
		case len(rows) == 1 && rows[0].end-rows[0].begin == 1:
			x.ones = append(x.ones, rows[0].begin)
			return nil
		case len(rows) > 0:
			return l.misplaced(beta, m.at.operand, "it is folded into %q there, which has no bias; what that adds could be in any of rows %v of K", weight, rows)
		}
	}
	at, beside := l.sumVector(beta, m)
	switch {
	case at.Placement != nil:
		x.vector = append(x.vector, part{m.col, m.n, at})
		return nil
	case below || beside:
		return l.misplaced(weight, m.at.operand, "%q is folded into it, which has no bias, and there is neither a row under it nor a vector for what that adds", beta)
	}
	return l.halves(norm, norm+".weight", beta, m.at.operand)
}

// sumVector finds the vector of what beta adds to a member without a bias: where beta and its weight are folded into an operand with one
// axis, the only part of its length that nothing else covers. It also reports whether there is such an operand at all.
func (l *locator) sumVector(beta string, m placed) (at place, beside bool) {
	for _, v := range l.folds.of[l.parameters[beta]] {
		o := l.operand(v)
		if v == m.at.operand || !l.folded(beta, v) || !l.folded(m.name+".weight", v) || len(o.Layout.Axes) != 1 || !o.Supported() {
			continue
		}
		free := l.uncovered(v, 0, span{0, o.Layout.Axes[0].Extent}, span{})
		free = slices.DeleteFunc(free, func(s span) bool { return s.end-s.begin != m.n })
		if beside = true; len(free) == 1 {
			p := &artifact.Placement{Parameter: none, Scale: m.scale, From: []artifact.PlacedAxis{{Size: m.n, Step: 1}}, To: []uint64{free[0].begin}}
			return place{p, v, true}, true
		}
	}
	return place{}, beside
}

// checkOnes checks that rows that are added to all columns hold nothing but biases there: in an operand with notes there may be more.
func (l *locator) checkOnes(x *linear) error {
	for _, m := range x.members {
		n := m.at.From[0].Axis
		for _, row := range x.ones {
			free := l.uncovered(m.at.operand, n, span{m.col, m.col + m.n}, span{row, row + 1})
			if len(free) > 0 && (m.bias || !m.at.folded) {
				return l.misplaced(m.name+".weight", m.at.operand, "row %d of K, which is added to it, holds something in columns %v that the runtime cannot account for", row, free)
			}
		}
	}
	return nil
}

// span is the indices from begin to end-1.
type span struct{ begin, end uint64 }

func (s span) String() string { return fmt.Sprintf("%d to %d", s.begin, s.end-1) }

func contains(list []span, i uint64) bool {
	return slices.ContainsFunc(list, func(s span) bool { return s.begin <= i && i < s.end })
}

// uncovered gives the parts of a span on an axis of an operand that no placement and no fill reaches at any index in across, a span of the
// other axis, if there is one.
func (l *locator) uncovered(operand, axis int, all, across span) []span {
	o := l.operand(operand)
	var covered []span
	cover := func(begin, end []uint64) {
		for a := range begin {
			if a != axis && (begin[a] >= across.end || end[a] <= across.begin) {
				return
			}
		}
		covered = append(covered, span{begin[axis], end[axis]})
	}
	for i := range o.Placements {
		p := &o.Placements[i]
		end := slices.Clone(p.To)
		for a := range end {
			end[a]++
		}
		for _, f := range p.From {
			end[f.Axis] += (f.Size - 1) * f.Step
		}
		cover(p.To, end)
	}
	for _, f := range o.Fills {
		end := slices.Clone(f.Begin)
		for a := range end {
			end[a] += f.Size[a]
		}
		cover(f.Begin, end)
	}
	slices.SortFunc(covered, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
	var free []span
	at := all.begin
	for _, c := range covered {
		if c.begin > at && at < all.end {
			free = append(free, span{at, min(c.begin, all.end)})
		}
		at = max(at, c.end)
	}
	if at < all.end {
		free = append(free, span{at, all.end})
	}
	return free
}
