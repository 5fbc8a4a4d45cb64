package report

import (
	"encoding/hex"
	"fmt"
	"strings"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
)

// contracts are the kernels that the artifact is bound to, and parameters that operands have absorbed.
type contracts struct {
	List        []contractCard
	Xclbins     []xclbinRow
	Notes       []noteRow
	More        string // of each
	MoreXclbins string
	MoreNotes   string
}

type xclbinRow struct{ Name, UUID, Bytes, Digest string }

type contractCard struct {
	Name, Computes, Kernel, Xclbin, Instructions, Shape string
	Arguments                                           []argumentRow
	More                                                string
}

type argumentRow struct {
	Index, Name, Role, Format, Layout, Shape, Bytes, Group string
	Operands                                               []string
}

type noteRow struct{ Parameter, Operand string }

func newContracts(x *artifact.Index) contracts {
	var c contracts
	for i, b := range x.Xclbins {
		if i == maxXclbins {
			c.MoreXclbins = leftOut(len(x.Xclbins)-i, "xclbin")
			break
		}
		c.Xclbins = append(c.Xclbins, xclbinRow{clean(b.Name), hex.EncodeToString(b.UUID[:]), size(b.Bytes), b.Digest.String()})
	}
	shown := x.Contracts[:min(len(x.Contracts), maxContracts)]
	bound := bindings(x, len(shown))
	for i := range shown {
		c.List = append(c.List, newContract(x, &shown[i], bound[i]))
	}
	c.More = leftOut(len(x.Contracts)-len(shown), "contract")
	for i, n := range x.Notes {
		if i == maxNotes {
			c.MoreNotes = leftOut(len(x.Notes)-i, "note")
			break
		}
		c.Notes = append(c.Notes, noteRow{clean(x.Parameters[n.Parameter].Name), clean(x.Operands[n.Operand].Name)})
	}
	return c
}

// bindings gives the names of the operands that are bound to each argument that is shown, of the first contracts.
func bindings(x *artifact.Index, shown int) [][]families {
	list := make([][]families, shown)
	for i := range list {
		list[i] = make([]families, min(len(x.Contracts[i].Arguments), maxArguments))
	}
	for _, b := range x.Bindings {
		if b.Contract < shown && b.Argument < len(list[b.Contract]) {
			list[b.Contract][b.Argument].add(x.Operands[b.Operand].Name)
		}
	}
	return list
}

func newContract(x *artifact.Index, c *artifact.Contract, bound []families) contractCard {
	d := contractCard{
		Name: clean(c.Name), Computes: clean(strings.TrimSpace(string(c.Operation) + " " + string(c.Epilogue))), Kernel: clean(c.Kernel),
		Shape: layout.Layout{Axes: c.Shape}.Shape(), More: leftOut(len(c.Arguments)-len(bound), "argument"),
	}
	if c.Xclbin != artifact.None {
		d.Xclbin = clean(x.Xclbins[c.Xclbin].Name)
	}
	if c.Instructions != artifact.None {
		d.Instructions = clean(x.Segments[c.Instructions].Name)
	}
	for i := range bound {
		a := &c.Arguments[i]
		row := argumentRow{Index: fmt.Sprint(a.Index), Name: clean(a.Name), Role: a.Role.String(), Operands: bound[i].texts()}
		if a.Kind == kernel.ScalarArgument {
			row.Role = "scalar"
		} else {
			row.Bytes, row.Group = size(a.Bytes), argumentGroup(a.MemoryGroup)
		}
		if a.Format != 0 {
			row.Format, row.Layout, row.Shape = a.Format.String(), clean(a.Layout.String()), a.Layout.Shape()
		}
		d.Arguments = append(d.Arguments, row)
	}
	return d
}

func argumentGroup(g int32) string {
	if g == artifact.NoGroup {
		return "none"
	}
	return fmt.Sprint(g)
}
