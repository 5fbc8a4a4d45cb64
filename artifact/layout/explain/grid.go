package explain

import (
	"fmt"
	"slices"
	"strings"

	"npuw/artifact/layout"
)

// Grid is a drawing of the first cells of an operand, one axis down and one across: each cell with its number in the order of
// memory.
type Grid struct {
	Cell string `json:"cell"` // what a cell is: "element", or "tile of K8 N4"
	// Down and Across are axes; with one axis Down is empty, and a row goes on where the one above ends.
	Down   string `json:"down"`
	Across string `json:"across"`
	Others string `json:"others"` // the axes that are not drawn, all at 0: "Y X"
	// TileDown and TileAcross are how many cells a tile has, 0 where the axis is not cut.
	TileDown   uint64     `json:"tile_down"`
	TileAcross uint64     `json:"tile_across"`
	More       bool       `json:"more"` // there are cells that are not drawn
	Values     [][]uint64 `json:"values"`
	Padding    [][]bool   `json:"padding"` // cells that hold nothing but padding
}

// side is how many cells a grid has at most, down and across.
const side = 16

// Grids draws the elements of a valid layout and, where the innermost digits are tiles that lie together, those tiles.
func Grids(l layout.Layout) []Grid {
	l = l.Canonical()
	down, across := drawnAxes(l)
	list := []Grid{grid(l, down, across, "element")}
	outer, tile := strip(l)
	if tile == "" || len(outer.Canonical().Digits) < 2 { // one tile after the other
		return list
	}
	return append(list, grid(outer, down, across, "tile of "+tile))
}

// drawnAxes are the axis down, -1 for none, and the axis across: the two of an operand, else those of the innermost digits.
func drawnAxes(l layout.Layout) (down, across int) {
	if len(l.Axes) == 1 {
		return -1, 0
	}
	if len(l.Axes) == 2 {
		return 0, 1
	}
	var axes []int
	for i := len(l.Digits) - 1; i >= 0 && len(axes) < 2; i-- {
		if !slices.Contains(axes, l.Digits[i].Axis) {
			axes = append(axes, l.Digits[i].Axis)
		}
	}
	for i := 0; len(axes) < 2; i++ {
		if !slices.Contains(axes, i) {
			axes = append(axes, i)
		}
	}
	return min(axes[0], axes[1]), max(axes[0], axes[1])
}

// strip takes from a canonical layout the innermost digits as long as each is the lowest of another axis: the tile. It returns
// the order of the tiles, and what is in one: "K8 N4", or nothing.
func strip(l layout.Layout) (outer layout.Layout, tile string) {
	n := len(l.Digits)
	var names []string
	units := make([]uint64, len(l.Axes))
	for ; n > 0; n-- {
		d := l.Digits[n-1]
		if d.Stride != 1 || units[d.Axis] != 0 {
			break
		}
		units[d.Axis] = d.Size
		names = append([]string{fmt.Sprintf("%c%d", l.Axes[d.Axis].Name, d.Size)}, names...)
	}
	outer = layout.Layout{Axes: slices.Clone(l.Axes), Digits: slices.Clone(l.Digits[:n])}
	for i := range outer.Digits {
		d := &outer.Digits[i]
		d.Stride /= max(units[d.Axis], 1)
	}
	for i := range outer.Axes {
		a := &outer.Axes[i]
		unit := max(units[i], 1)
		a.Extent, a.Padded = (a.Extent+unit-1)/unit, a.Padded/unit
	}
	return outer, strings.Join(names, " ")
}

func grid(l layout.Layout, down, across int, cell string) Grid {
	g := Grid{Cell: cell, Across: string(rune(l.Axes[across].Name)), TileAcross: lowest(l, across)}
	columns := shown(l.Axes[across].Padded, g.TileAcross)
	rows := uint64(1)
	if down >= 0 {
		g.Down, g.TileDown = string(rune(l.Axes[down].Name)), lowest(l, down)
		rows = shown(l.Axes[down].Padded, g.TileDown)
	} else {
		rows = min((l.Axes[across].Padded+columns-1)/columns, side)
	}
	var others []string
	for i, a := range l.Axes {
		if i != down && i != across {
			others = append(others, string(rune(a.Name)))
		}
	}
	g.Others = strings.Join(others, " ")
	index := make([]uint64, len(l.Axes))
	for row := range rows {
		values, padding := []uint64{}, []bool{}
		for column := range columns {
			index[across] = column
			if down >= 0 {
				index[down] = row
			} else if index[across] += row * columns; index[across] >= l.Axes[across].Padded {
				break
			}
			values = append(values, l.Offset(index))
			padding = append(padding, index[across] >= l.Axes[across].Extent || down >= 0 && index[down] >= l.Axes[down].Extent)
		}
		g.Values, g.Padding = append(g.Values, values), append(g.Padding, padding)
	}
	g.More = columns*rows < l.Axes[across].Padded || down >= 0 && (columns < l.Axes[across].Padded || rows < l.Axes[down].Padded)
	return g
}

// lowest is the size of the lowest digit of an axis, 0 if that is all of it.
func lowest(l layout.Layout, axis int) uint64 {
	for _, d := range l.Digits {
		if d.Axis == axis && d.Stride == 1 && d.Size > 1 && d.Size < l.Axes[axis].Padded {
			return d.Size
		}
	}
	return 0
}

// shown is how many cells of an axis are drawn: whole tiles, if a tile can be.
func shown(padded, tile uint64) uint64 {
	n := min(padded, side)
	if tile > 0 && tile < n {
		n -= n % tile
	}
	return n
}

// tileOf is the tile that a cell is in, counted down and across.
func (g Grid) tileOf(row, column int) (down, across int) {
	if g.TileDown > 0 {
		down = row / int(g.TileDown)
	}
	if g.TileAcross > 0 {
		if g.Down == "" {
			column += row * len(g.Values[0])
		}
		across = column / int(g.TileAcross)
	}
	return down, across
}
