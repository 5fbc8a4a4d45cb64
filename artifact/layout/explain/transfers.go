package explain

import (
	"strings"

	"npuw/artifact/layout"
	"npuw/artifact/target"
)

// Transfer is one way in which a DMA could stream the operand, or a piece of it, so that its elements come in the layout's order.
type Transfer struct {
	Level  string `json:"level"`  // whose DMA reads: "shim", "memtile", "core"
	Source string `json:"source"` // how the data lie there: InOrder, or RowMajor
	// Piece is the layout of what is read, as the digits of the whole from one on; its shape and bytes.
	Piece string `json:"piece"`
	Shape string `json:"shape"`
	Bytes uint64 `json:"bytes"`
	// Columns is over 1 where one of so many columns reads every so-manieth step of the outermost digit.
	Columns int          `json:"columns"`
	Plan    *target.Plan `json:"plan,omitempty"`
	Run     uint64       `json:"run_bytes"`        // that lie together
	Reason  string       `json:"reason,omitempty"` // why there is no plan
	// Reachable is how many descriptors one channel of the DMA has.
	Reachable int `json:"reachable"`
}

// How data lie.
const (
	InOrder  = "in this order" // the layout's
	RowMajor = "row-major"     // with the layout's padding; a piece: of the piece's own shape
)

// transfers lists what each level of a target can do: read from DDR what lies there in order, all of it or a column's share; and put
// in order what lies row-major, in DDR all of it, elsewhere the largest piece that the memory holds.
func transfers(l layout.Layout, bits int, t target.Target) []Transfer {
	list := []Transfer{transfer(t.Shim, InOrder, l, l, bits)}
	if share, ok := columnShare(l, bits, t); ok {
		list = append(list, share)
	}
	for _, level := range t.Levels() {
		piece := l
		if level.Bytes > 0 {
			piece, _ = target.Piece(l, bits, level.Bytes-level.Reserved)
		}
		if len(piece.Digits) == 0 {
			list = append(list, Transfer{
				Level: level.Name, Source: RowMajor, Columns: 1,
				Reason: "not even the innermost digit fits the memory",
			})
			continue
		}
		list = append(list, transfer(level, RowMajor, piece, target.RowMajor(piece.Axes), bits))
	}
	return list
}

// transfer plans how a level reads data that lie in the order of source, so that they come in the order of l.
func transfer(level target.Level, source string, l, from layout.Layout, bits int) Transfer {
	t := Transfer{Level: level.Name, Source: source, Piece: digitsOf(l), Shape: l.Shape(), Bytes: byteSize(l, bits), Columns: 1}
	loops, err := target.Stream(l, from)
	if err == nil {
		loops, err = target.InWords(loops, bits)
	}
	t.plan(level, loops, err)
	return t
}

func (t *Transfer) plan(level target.Level, loops []target.Loop, err error) {
	if err != nil {
		t.Reason = strings.TrimPrefix(err.Error(), target.ErrNoStream.Error()+": ")
		return
	}
	p := level.DMA.Plan(loops)
	t.Reachable = level.DMA.Reachable
	t.Plan, t.Run = &p, p.Run()*target.WordBytes
}

// columnShare is what one column reads where the columns take the steps of the outermost digit in turn, and whether they can.
func columnShare(l layout.Layout, bits int, t target.Target) (Transfer, bool) {
	columns := uint64(t.Columns)
	if len(l.Digits) == 0 || l.Digits[0].Size < columns || l.Digits[0].Size%columns != 0 {
		return Transfer{}, false
	}
	size := l.Digits[0].Size
	step := l.Elements() / size
	share := Transfer{
		Level: t.Shim.Name, Source: InOrder, Piece: digitsOf(l), Shape: l.Shape(), Bytes: byteSize(l, bits) / columns, Columns: t.Columns,
	}
	loops, err := target.InWords([]target.Loop{{Size: size / columns, Step: columns * step}, {Size: step, Step: 1}}, bits)
	share.plan(t.Shim, loops, err)
	return share, true
}

// digitsOf writes the digits of a layout without those that String adds for axes that have none.
func digitsOf(l layout.Layout) string {
	fields := strings.Fields(l.String())
	return strings.Join(fields[:len(l.Digits)], " ")
}
