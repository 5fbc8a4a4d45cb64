package explain

import (
	"fmt"
	"html"
	"io"
	"maps"
	"slices"
	"strings"
)

// Sizes of the picture, in its units.
const (
	cellWidth  = 40
	cellHeight = 30
	corner     = 6 // from the corner of a cell to the path through it
	margin     = 24
	labelWidth = 40
	gridTop    = 116 // where the first row of cells begins
)

// tints is how many colours tiles take in turn.
const tints = 6

// Style has every colour of the pictures, for light and for dark surroundings; a page with grids in it (Grid.WriteSVG) needs it once.
// It says nothing of what is not in an element of class "layout".
const Style = `
.layout text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 13px; fill: #1c2024 }
.layout .title { font-size: 18px; font-weight: bold }
.layout .small { font-size: 12px; fill: #5b646d }
.layout .paper { fill: #ffffff }
.layout .cell { stroke: #ffffff; stroke-width: 1 }
.layout .tile { fill: none; stroke: #3a424a; stroke-width: 1.5 }
.layout .path { fill: none; stroke: #3a424a; stroke-opacity: 0.30; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.layout .jump { stroke-width: 1; stroke-dasharray: 2 4; stroke-opacity: 0.45 }
.layout .start { fill: #3a424a; fill-opacity: 0.55 }
.layout .t0 { fill: #cfe3fb } .layout .t1 { fill: #fde3c3 } .layout .t2 { fill: #d3efd2 }
.layout .t3 { fill: #f5d3df } .layout .t4 { fill: #e3dafa } .layout .t5 { fill: #d0eeee }
.layout .pad { fill: #e8eaed } .layout .padded { fill: #6b747d }
@media (prefers-color-scheme: dark) {
.layout text { fill: #e8eaed }
.layout .small { fill: #a2abb4 }
.layout .paper { fill: #15181c }
.layout .cell { stroke: #15181c }
.layout .tile { stroke: #c9d1d9 }
.layout .path { stroke: #e8eaed }
.layout .start { fill: #e8eaed }
.layout .t0 { fill: #1d4268 } .layout .t1 { fill: #68461a } .layout .t2 { fill: #22522a }
.layout .t3 { fill: #6b2c44 } .layout .t4 { fill: #453676 } .layout .t5 { fill: #1b5155 }
.layout .pad { fill: #2a2f35 } .layout .padded { fill: #8f98a1 }
}
`

// WriteSVG draws the grids side by side: every cell with its number, a colour for each tile, and the way that memory takes. The
// picture needs nothing from elsewhere, and reads in light and in dark surroundings.
func (x *Explanation) WriteSVG(w io.Writer) error {
	p := &printer{w: w}
	wide, high := 2*margin, 0
	for _, g := range x.Grids {
		gw, gh := g.extent()
		wide, high = wide+gw, max(high, gh)
	}
	wide += (len(x.Grids) - 1) * margin
	title := fmt.Sprintf("%s for %s", x.Layout, x.Shape)
	subtitle := fmt.Sprintf("%s, %d elements, %d bytes; the line follows memory, dashed where it jumps", x.Format, x.Elements, x.Bytes)
	if slices.ContainsFunc(x.Grids, Grid.hasPadding) {
		subtitle += "; grey is padding"
	}
	position := "position = " + x.Formula
	// A character is 0.62 em wide at most in the fonts above.
	wide = max(wide, 2*margin+len([]rune(title))*18*62/100, 2*margin+len(subtitle)*12*62/100, 2*margin+len(position)*12*62/100)
	high += gridTop + margin + 30
	p.line(`<svg xmlns="http://www.w3.org/2000/svg" class="layout" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`, wide, high, wide, high)
	p.line(`<title>%s</title>`, html.EscapeString(title))
	p.line(`<style>%s</style>`, Style)
	p.line(`<rect class="paper" width="%d" height="%d"/>`, wide, high)
	p.text(margin, margin+16, "title", "", title)
	p.text(margin, margin+36, "small", "", subtitle)
	left := margin
	for _, g := range x.Grids {
		p.text(left, gridTop-26, "small", "", g.Title())
		p.svgGrid(g, left)
		gw, _ := g.extent()
		left += gw + margin
	}
	p.text(margin, high-margin, "small", "", position)
	p.line(`</svg>`)
	return p.err
}

// WriteSVG draws a grid by itself, without its title, for a page that has Style.
func (g Grid) WriteSVG(w io.Writer) error {
	const top = gridTop - 24 // where the numbers of columns begin
	p := &printer{w: w}
	wide, high := labelWidth+len(g.Values[0])*g.cellWidth()+1, gridTop-top+len(g.Values)*cellHeight+1
	p.line(`<svg xmlns="http://www.w3.org/2000/svg" class="layout" viewBox="0 %d %d %d" width="%d" height="%d" role="img">`, top, wide, high, wide, high)
	p.line(`<title>%s</title>`, html.EscapeString(g.Title()))
	p.svgGrid(g, 0)
	p.line(`</svg>`)
	return p.err
}

func (p *printer) text(x, y int, class, anchor, text string) {
	if anchor != "" {
		anchor = fmt.Sprintf(` text-anchor=%q`, anchor)
	}
	if class != "" {
		class = fmt.Sprintf(` class=%q`, class)
	}
	p.line(`<text x="%d" y="%d"%s%s>%s</text>`, x, y, class, anchor, html.EscapeString(text))
}

// extent is the width and height that a grid takes, labels and title included, from gridTop down.
func (g Grid) extent() (wide, high int) {
	titleWidth := len(g.Title()) * 12 * 62 / 100
	return max(labelWidth+len(g.Values[0])*g.cellWidth(), titleWidth), len(g.Values) * cellHeight
}

// cellWidth is how wide the cells must be for their numbers.
func (g Grid) cellWidth() int {
	most := 0
	for _, row := range g.Values {
		for _, v := range row {
			most = max(most, len(fmt.Sprint(v)))
		}
	}
	return max(cellWidth, most*8+18)
}

func (p *printer) svgGrid(g Grid, left int) {
	cw := g.cellWidth()
	x0 := left + labelWidth
	for column := range g.Values[0] {
		p.text(x0+column*cw+cw/2, gridTop-8, "small", "middle", fmt.Sprint(column))
	}
	p.text(x0-8, gridTop-8, "small", "end", strings.TrimPrefix(g.Down+`\`+g.Across, `\`))
	for row, values := range g.Values {
		first := row
		if g.Down == "" {
			first = row * len(g.Values[0])
		}
		p.text(x0-8, gridTop+row*cellHeight+18, "small", "end", fmt.Sprint(first))
		for column := range values {
			class := fmt.Sprintf("t%d", g.tint(row, column))
			if g.Padding[row][column] {
				class = "pad"
			}
			p.line(`<rect class="cell %s" x="%d" y="%d" width="%d" height="%d"/>`, class, x0+column*cw, gridTop+row*cellHeight, cw, cellHeight)
		}
	}
	p.tiles(g, x0, cw)
	p.path(g, x0, cw)
	for row, values := range g.Values {
		for column, v := range values {
			class := ""
			if g.Padding[row][column] {
				class = "padded"
			}
			p.text(x0+column*cw+cw/2, gridTop+row*cellHeight+18, class, "middle", fmt.Sprint(v))
		}
	}
}

// tint is the colour of a cell: one for each tile, another for its neighbours on each side.
func (g Grid) tint(row, column int) int {
	down, across := g.tileOf(row, column)
	return (2*down + across) % tints
}

// tiles draws the border of every tile.
func (p *printer) tiles(g Grid, x0, cw int) {
	rows, columns := len(g.Values), len(g.Values[0])
	high, wide := rows, columns
	if g.TileDown > 0 {
		high = int(g.TileDown)
	}
	if g.TileAcross > 0 {
		wide = int(g.TileAcross)
	}
	if g.Down == "" && g.TileAcross > 0 {
		return // tiles go on from row to row: colours must do
	}
	for row := 0; row < rows; row += high {
		for column := 0; column < columns; column += wide {
			p.line(`<rect class="tile" x="%d" y="%d" width="%d" height="%d"/>`, x0+column*cw, gridTop+row*cellHeight,
				min(wide, columns-column)*cw, min(high, rows-row)*cellHeight)
		}
	}
}

// path draws the way through the cells in the order of memory: solid from a cell to its neighbour, dashed where it jumps, and
// interrupted where memory leaves the drawing.
func (p *printer) path(g Grid, x0, cw int) {
	type cell struct{ row, column int }
	at := map[uint64]cell{}
	for row, values := range g.Values {
		for column, v := range values {
			at[v] = cell{row, column}
		}
	}
	// Through the lower left corners, so that neither a row nor a column of it crosses the numbers.
	x := func(c cell) int { return x0 + c.column*cw + corner }
	y := func(c cell) int { return gridTop + (c.row+1)*cellHeight - corner }
	var solid, jumps strings.Builder
	joined := false // the solid path ends at the cell before
	for _, v := range slices.Sorted(maps.Keys(at)) {
		here := at[v]
		before, known := at[v-1]
		switch {
		case !known:
			joined = false
		case abs(here.row-before.row)+abs(here.column-before.column) == 1:
			if !joined {
				fmt.Fprintf(&solid, "M%d %d", x(before), y(before))
			}
			fmt.Fprintf(&solid, "L%d %d", x(here), y(here))
			joined = true
		default:
			fmt.Fprintf(&jumps, "M%d %dL%d %d", x(before), y(before), x(here), y(here))
			joined = false
		}
	}
	if jumps.Len() > 0 {
		p.line(`<path class="path jump" d="%s"/>`, jumps.String())
	}
	if solid.Len() > 0 {
		p.line(`<path class="path" d="%s"/>`, solid.String())
	}
	if start, ok := at[0]; ok {
		p.line(`<circle class="start" cx="%d" cy="%d" r="4"/>`, x(start), y(start))
	}
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
