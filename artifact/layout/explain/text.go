package explain

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"npuw/artifact/target"
)

// WriteText explains the layout to people, in lines of at most 100 characters unless it has very many digits.
func (x *Explanation) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s for %s, %s", x.Notation, x.Shape, x.Format)
	p.line("")
	p.digits(x)
	p.line("")
	p.line("layout     %s", x.Layout)
	if x.Canonical != x.Layout {
		p.line("canonical  %s", x.Canonical)
	}
	p.line("hash       %s", x.Hash)
	p.line("size       %d elements, %d bytes%s", x.Elements, x.Bytes, x.padding())
	p.wrapped("position   ", " + ", x.Formula)
	if e := x.Element; e != nil {
		p.line("")
		p.wrapped(x.elementName()+"  ", " + ", e.Sum)
		p.line("%s= %d, %s", strings.Repeat(" ", len(x.elementName())), e.Position, e.place())
	}
	p.line("")
	p.transfers(x)
	for _, g := range x.Grids {
		p.line("")
		p.grid(g)
	}
	return p.err
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// width is how long lines are.
const width = 100

// wrapped writes a name and a text that goes on below itself where it is too long.
func (p *printer) wrapped(name, separator, text string) {
	line := name
	for i, part := range strings.SplitAfter(text, separator) {
		if i > 0 && len(line)+len(part) > width {
			p.line("%s", strings.TrimRight(line, " "))
			line = strings.Repeat(" ", len(name))
		}
		line += part
	}
	p.line("%s", line)
}

func (p *printer) digits(x *Explanation) {
	if p.err != nil {
		return
	}
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "digit\tvalue\talong its axis\tin memory\tin bytes\t\n")
	for _, d := range x.Digits {
		fmt.Fprintf(t, "%s%d\t%s\t%d\t%d\t%s\t\n", d.Axis, d.Size, d.Value, d.Stride, d.Step, inBytes(d.Step, x.Bits))
	}
	p.err = t.Flush()
}

// inBytes writes how many bytes elements take, if it is whole ones.
func inBytes(elements uint64, bits int) string {
	if n := elements * uint64(bits); n%8 == 0 {
		return fmt.Sprint(n / 8)
	}
	return fmt.Sprintf("%d bits", elements*uint64(bits))
}

// padding says how much of the size is padding.
func (x *Explanation) padding() string {
	logical := uint64(1)
	for _, a := range x.Axes {
		logical *= a.Extent
	}
	if logical == x.Elements {
		return ""
	}
	return fmt.Sprintf("; %d of them padding", x.Elements-logical)
}

func (x *Explanation) elementName() string {
	var names []string
	for i, a := range x.Axes {
		names = append(names, fmt.Sprintf("%s=%d", a.Name, x.Element.Index[i]))
	}
	return strings.Join(names, " ")
}

func (e *Element) place() string {
	text := fmt.Sprintf("byte %d", e.Byte)
	if e.Bit > 0 {
		text += fmt.Sprintf(" from bit %d", e.Bit)
	}
	if e.Padding {
		text += " (padding)"
	}
	return text
}

func (p *printer) transfers(x *Explanation) {
	p.line("DMA on %s, loops as {size, step} in words of 4 bytes, outermost first", x.Target)
	source := ""
	for _, t := range x.Transfers {
		if t.Source != source {
			source = t.Source
			p.line("  the data lie %s", map[string]string{
				InOrder: "in this order:", RowMajor: "row-major, padded, and a DMA puts them in this order:",
			}[source])
		}
		p.transfer(t)
	}
}

func (p *printer) transfer(t Transfer) {
	what := fmt.Sprintf("all of it, %d bytes", t.Bytes)
	digit, _, _ := strings.Cut(t.Piece, " ")
	switch {
	case t.Columns > 1:
		what = fmt.Sprintf("for one of %d columns, every %dth step of %s, %d bytes", t.Columns, t.Columns, digit, t.Bytes)
	case t.Level != "shim":
		what = fmt.Sprintf("%s of %s, %d bytes", t.Shape, t.Piece, t.Bytes)
	}
	if t.Plan == nil {
		if t.Piece == "" {
			what = "nothing"
		}
		p.line("    %-8s %s: not possible", t.Level, what)
		p.line("             %s", t.Reason)
		return
	}
	p.line("    %-8s %s: %s", t.Level, what, count(t.Plan.Descriptors, "descriptor"))
	p.line("             %s", loops(t.Plan))
	for _, why := range t.Plan.Why {
		p.line("             %s", why)
	}
	if !t.Plan.Fits {
		p.line("             more than the %d that one channel has at a time", t.Reachable)
	}
	if t.Level == "shim" && t.Run < 64 && t.Run < t.Bytes {
		p.line("             reads runs of %s, where a burst has 64 and more", count(t.Run, "byte"))
	}
}

// loops writes the loops of a plan.
func loops(p *target.Plan) string {
	var texts []string
	for _, l := range p.Dimensions {
		texts = append(texts, l.String())
	}
	text := strings.Join(texts, " ")
	if p.Iteration.Size > 1 {
		text = fmt.Sprintf("iteration %v of %s", p.Iteration, text)
	}
	if len(p.Outer) > 0 {
		text += ", one for each step of"
		for _, l := range p.Outer {
			text += " " + l.String()
		}
	}
	return text
}

func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// grid draws cells as a table of numbers.
func (p *printer) grid(g Grid) {
	title := g.Title()
	if g.hasPadding() {
		title += ", . is padding"
	}
	p.line("%s:", title)
	cell := 2
	for _, row := range g.Values {
		for _, v := range row {
			cell = max(cell, len(fmt.Sprint(v)))
		}
	}
	label := max(4, len(g.Down+g.Across)+1)
	columns := p.columns(g, cell, label)
	head := fmt.Sprintf("%*s", label, strings.TrimPrefix(g.Down+`\`+g.Across, `\`))
	for column := range columns {
		head += g.gap(column) + fmt.Sprintf("%*d", cell, column)
	}
	p.line("%s", head)
	for row, values := range g.Values {
		if row > 0 && g.TileDown > 0 && row%int(g.TileDown) == 0 {
			p.line("%s", g.rule(label, cell, columns))
		}
		first := row
		if g.Down == "" {
			first = row * len(g.Values[0])
		}
		line := fmt.Sprintf("%*d", label, first)
		for column, v := range values[:min(columns, len(values))] {
			text := fmt.Sprint(v)
			if g.Padding[row][column] {
				text = "."
			}
			line += g.gap(column) + fmt.Sprintf("%*s", cell, text)
		}
		p.line("%s", line)
	}
}

// columns is how many columns of a grid fit the width, in whole tiles if that is possible. Rows of one axis are never cut.
func (p *printer) columns(g Grid, cell, label int) int {
	all := len(g.Values[0])
	n, used := 0, label
	for ; n < all; n++ {
		if used += cell + len(g.gap(n)); used > width && g.Down != "" {
			break
		}
	}
	if tile := int(g.TileAcross); n < all && tile > 0 && n > tile {
		n -= n % tile
	}
	return n
}

// gap is what stands before a column.
func (g Grid) gap(column int) string {
	if column > 0 && g.TileAcross > 0 && column%int(g.TileAcross) == 0 {
		return " | "
	}
	return " "
}

// rule is a line between tiles.
func (g Grid) rule(label, cell, columns int) string {
	line := strings.Repeat(" ", label)
	for column := range columns {
		line += strings.NewReplacer(" ", "-", "|", "+").Replace(g.gap(column)) + strings.Repeat("-", cell)
	}
	return line
}

// Title says what a grid shows.
func (g Grid) Title() string {
	title := "positions of the elements"
	if g.Cell != "element" {
		title = "order of the " + strings.Replace(g.Cell, "tile", "tiles", 1)
	}
	if g.Down == "" {
		title += fmt.Sprintf(" (%s across, row after row", g.Across)
	} else {
		title += fmt.Sprintf(" (%s down, %s across", g.Down, g.Across)
	}
	if g.Others != "" {
		title += "; " + strings.Join(strings.Fields(g.Others), ", ") + " at 0"
	}
	if g.More {
		title += "; the first of them"
	}
	return title + ")"
}

// hasPadding reports whether any cell is padding.
func (g Grid) hasPadding() bool {
	return slices.ContainsFunc(g.Padding, func(row []bool) bool { return slices.Contains(row, true) })
}
