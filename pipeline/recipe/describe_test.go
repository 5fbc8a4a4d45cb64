package recipe

import (
	"fmt"
	"slices"
	"strings"

	"npuw/pipeline/model"
)

// describe writes what an operand is, a line for each thing that it holds:
//
//	w in s: K=5 N=18, values bf16 in K5 N18
//	  q.weight N[0:6]>N K[0:4]>K at 0,0 times 0.5
//	  0 at 4,6 of 1,6
//	  fold norm.weight into 0, along axis 1, times 0.5
//
// `>K*3` goes in steps of 3.
func describe(o *Operand, m *model.Model) string {
	var b strings.Builder
	s := o.Storage()
	fmt.Fprintf(&b, "%s in %s: %s, %s", o.Name, o.Segment, o.Layout.Shape(), s.String())
	name := func(i int) string { return m.Parameters[i].Name }
	for _, p := range o.Placements {
		fmt.Fprintf(&b, "\n  %s", name(p.Parameter))
		for j, f := range p.From {
			fmt.Fprintf(&b, " %c[%d:%d]>%c", m.Parameters[p.Parameter].Axes[j], f.Begin, f.Begin+f.Size, o.Layout.Axes[f.Axis].Name)
			if f.Step != 1 {
				fmt.Fprintf(&b, "*%d", f.Step)
			}
		}
		fmt.Fprintf(&b, " at %s", list(p.To))
		if p.Scale != 1 {
			fmt.Fprintf(&b, " times %v", p.Scale)
		}
	}
	for _, f := range o.Fills {
		fmt.Fprintf(&b, "\n  %v at %s of %s", f.Value, list(f.Begin), list(f.Size))
	}
	for _, f := range o.Folds {
		switch {
		case f.Gamma >= 0:
			fmt.Fprintf(&b, "\n  fold %s into %d, along axis %d", name(f.Gamma), f.Placement, f.Axis)
		case f.Placement >= 0:
			fmt.Fprintf(&b, "\n  fold %s by %s into %d", name(f.Beta), name(f.Weight), f.Placement)
		default:
			fmt.Fprintf(&b, "\n  fold %s by %s at %s along %c", name(f.Beta), name(f.Weight), list(f.At), o.Layout.Axes[f.Along].Name)
		}
		if f.Scale != 1 {
			fmt.Fprintf(&b, ", times %v", f.Scale)
		}
	}
	return b.String()
}

func list(numbers []uint64) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(numbers), "[]"), " ", ",")
}

// described gives the description of an operand by its name.
func described(operands []Operand, name string, m *model.Model) string {
	i := slices.IndexFunc(operands, func(o Operand) bool { return o.Name == name })
	if i < 0 {
		return "there is no operand " + name
	}
	return describe(&operands[i], m)
}
