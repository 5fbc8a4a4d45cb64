package artifact

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"npuw/artifact/element"
)

// PrintModel writes what the index says of the model.
func (x *Index) PrintModel(w io.Writer) {
	fmt.Fprintf(w, "model     %s", x.Model.Family)
	for _, a := range x.Model.Attributes {
		v := a.value()
		if a.Kind == Real {
			v = fmt.Sprintf("%.6g", a.Real)
		}
		fmt.Fprintf(w, " %s=%v", a.Name, v)
	}
	fmt.Fprintf(w, "\nrecipe    %s (written by %s, revision %d)\n", x.Producer.Recipe, x.Producer.Name, x.Producer.Revision)
}

// PrintOperands writes segments and operands as a table; with measured, each operand's error too.
func (x *Index) PrintOperands(w io.Writer, measured bool) error {
	t := newColumns("operand", "<offset", "<bytes", "format", "layout", "shape")
	if measured {
		t = newColumns("operand", "<offset", "<bytes", "format", "layout", "shape", "max error", "rel. L2 error")
	}
	segment := 0
	for i := range x.Operands {
		o := &x.Operands[i]
		for ; segment <= o.Segment; segment++ {
			x.Segments[segment].addTo(t, segment, len(x.Segments))
		}
		cells := []string{"  " + o.Name, fmt.Sprintf("+%d", o.Offset), strconv.FormatUint(o.Bytes, 10), o.FormatText(), o.LayoutText(), o.Layout.Shape()}
		if measured {
			cells = append(cells, errorCells(&o.Statistics)...)
		}
		t.add(cells...)
	}
	for ; segment < len(x.Segments); segment++ {
		x.Segments[segment].addTo(t, segment, len(x.Segments))
	}
	return t.write(w)
}

func (s *Segment) addTo(t *columns, i, n int) {
	t.add(fmt.Sprintf("%s (segment %d of %d)", s.Name, i+1, n), strconv.FormatUint(s.Offset, 10), strconv.FormatUint(s.Bytes, 10))
}

func errorCells(s *element.Stats) []string {
	if s.Inexact == 0 && s.NonFinite == 0 {
		return []string{"exact"}
	}
	cells := []string{fmt.Sprintf("%.3g", s.MaxAbsError), fmt.Sprintf("%.3g", s.RelativeL2())}
	if s.NonFinite > 0 {
		cells[1] += fmt.Sprintf(", %d not finite", s.NonFinite)
	}
	return cells
}

// PrintParameters writes the parameters and the operands that hold them as a table.
func (x *Index) PrintParameters(w io.Writer) error {
	t := newColumns("parameter", "shape", "operands (where not of the same name)")
	for _, p := range x.List(false).Parameters {
		shape := make([]string, len(p.Shape))
		for i, size := range p.Shape {
			shape[i] = fmt.Sprintf("%c=%d", p.Axes[i], size)
		}
		operands := strings.Join(p.Operands, ", ")
		if operands == p.Name {
			operands = ""
		}
		t.add(p.Name, strings.Join(shape, " "), operands)
	}
	return t.write(w)
}

// PrintContracts writes the kernel contracts and the operands bound to them as a table; nothing when there are none.
func (x *Index) PrintContracts(w io.Writer) error {
	if len(x.Contracts) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newColumns("contract", "<index", "role", "format", "layout", "shape", "operands")
	for i, c := range x.List(false).Contracts {
		t.add(strings.TrimSpace(strings.Join([]string{c.Name, c.Operation, c.Epilogue, c.Kernel, c.Xclbin}, " ")))
		for j, a := range c.Arguments {
			operands := strings.Join(a.Operands, ", ")
			if len(a.Operands) > 2 {
				operands = fmt.Sprintf("%s and %d more", a.Operands[0], len(a.Operands)-1)
			}
			t.add("  "+a.Name, strconv.Itoa(int(a.Index)), a.Role, a.Format, a.Layout, x.Contracts[i].Arguments[j].Layout.Shape(), operands)
		}
	}
	return t.write(w)
}

// columns line up columns of text; a heading that begins with "<" is that of a column of numbers, which end in line.
type columns struct {
	numbers []bool
	rows    [][]string
	widths  []int // in characters
}

func newColumns(headings ...string) *columns {
	t := &columns{numbers: make([]bool, len(headings)), widths: make([]int, len(headings))}
	for i, h := range headings {
		headings[i], t.numbers[i] = strings.CutPrefix(h, "<")
	}
	t.add(headings...)
	return t
}

// add appends a row; cells that it lacks at its end stay empty.
func (t *columns) add(cells ...string) {
	t.rows = append(t.rows, cells)
	for i, c := range cells {
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c))
	}
}

func (t *columns) write(w io.Writer) error {
	out := bufio.NewWriter(w)
	var line strings.Builder
	for _, row := range t.rows {
		line.Reset()
		for i, c := range row {
			gap := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(c))
			if t.numbers[i] {
				c, gap = gap+c, ""
			}
			line.WriteString(c + gap + "  ")
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
	return out.Flush()
}
