package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"npuw/artifact"
)

// fileMap is the file from its first byte to its last, to scale, and each segment of weights with its operands.
type fileMap struct {
	Blocks []block // of the file
	Strips []block // the operands in it
	Rows   []segmentRow
	More   string
}

// block is a part of a bar: where it is, and what to show of it.
type block struct {
	Left, Width string // in percent of the bar
	Class       string // of its colour
	Late        bool   // in the second half: there is no room for words at its right
	Label       string // in the block, where there is room
	Link        string // "#..."; empty: none
	Lines       []string
}

// segmentRow is a segment with its operands.
type segmentRow struct {
	ID, Name, Place, Group, Digest string
	Blocks                         []block
	More                           string
}

// least is the part of a bar that has room for a word.
const least = 25

// colours is how many kinds of operands have one of their own.
const colours = 8

func newFileMap(h artifact.Header, x *artifact.Index) fileMap {
	m := fileMap{Blocks: []block{fileBlock(h, 0, min(h.PageBytes, h.FileBytes), block{
		Class: "meta", Lines: []string{"header", "256 bytes at 0, then zeros to the end of the page"},
	})}}
	kinds := kindColours(x)
	left, next := maxRows, 0
	for i := range x.Segments {
		g := &x.Segments[i]
		if i == maxSegments {
			rest := h.IndexOffset - min(h.IndexOffset, g.Offset)
			m.More = leftOut(len(x.Segments)-i, "segment")
			m.Blocks = append(m.Blocks, fileBlock(h, g.Offset, rest, block{Class: "more", Label: "more", Lines: []string{m.More}}))
			break
		}
		first := next // of its operands
		for next < len(x.Operands) && x.Operands[next].Segment <= i {
			next++
		}
		operands := x.Operands[first:next]
		b := block{Class: "segment", Link: fmt.Sprintf("#s%d", i), Lines: segmentLines(g, len(operands))}
		if g.Bytes >= h.FileBytes/least {
			b.Label = segmentLabel(g.Name)
		}
		m.Blocks = append(m.Blocks, fileBlock(h, g.Offset, g.Bytes, b))
		row := segmentRow{
			ID: fmt.Sprintf("s%d", i), Name: clean(g.Name), Place: size(g.Bytes) + " at " + count(g.Offset), Digest: g.Digest.String(),
		}
		if g.MemoryGroup != artifact.NoGroup {
			row.Group = fmt.Sprintf("group %d", g.MemoryGroup)
		}
		n := min(len(operands), maxBlocks, left)
		left -= n
		for j := range operands[:n] {
			b := operandBlock(g, &operands[j], first+j, kinds)
			row.Blocks = append(row.Blocks, b)
			m.Strips = append(m.Strips, fileBlock(h, g.Offset+operands[j].Offset, operands[j].Bytes, block{Class: b.Class}))
		}
		row.More = leftOut(len(operands)-n, "operand")
		m.Rows = append(m.Rows, row)
	}
	m.Blocks = append(m.Blocks, fileBlock(h, h.IndexOffset, h.IndexBytes, block{
		Class: "meta", Lines: []string{"index", fmt.Sprintf("%s at %s, to the end of the file", plural(h.IndexBytes, "byte"), count(h.IndexOffset))},
	}))
	return m
}

// fileBlock puts a block where its bytes are in the file.
func fileBlock(h artifact.Header, offset, bytes uint64, b block) block {
	b.put(offset, bytes, h.FileBytes)
	return b
}

func (b *block) put(offset, bytes, all uint64) {
	b.Left, b.Width, b.Late = share(float64(offset), float64(all)), share(float64(bytes), float64(all)), offset > all/2
}

func segmentLines(g *artifact.Segment, operands int) []string {
	lines := []string{clean(g.Name), plural(g.Bytes, "byte") + " at " + count(g.Offset), group(g.MemoryGroup)}
	if g.Kind == artifact.Weights {
		return append(lines, plural(operands, "operand"))
	}
	return append(lines, clean(g.Kind.String()))
}

func group(g int32) string {
	if g == artifact.NoGroup {
		return "no memory group"
	}
	return fmt.Sprintf("memory group %d", g)
}

// segmentLabel is the end of a segment's name: "stem", "layers.3".
func segmentLabel(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i > 0 && placeOf(name+".").layer >= 0 {
		i = strings.LastIndexByte(name[:i], '.')
	}
	return clean(name[i+1:])
}

func operandBlock(g *artifact.Segment, o *artifact.Operand, number int, kinds map[string]string) block {
	p := placeOf(o.Name)
	b := block{
		Class: "other", Link: rowLink(number),
		Lines: []string{
			clean(o.Name), plural(o.Bytes, "byte") + " at " + count(add(g.Offset, o.Offset)) + fmt.Sprintf(" (+%s)", count(o.Offset)),
			strings.TrimSpace(o.FormatText() + " " + clean(o.LayoutText())), o.Layout.Shape(), "relative L2 error " + small(o.Statistics.RelativeL2()),
		},
	}
	b.put(o.Offset, o.Bytes, g.Bytes)
	if class := kinds[p.kind]; class != "" {
		b.Class = class
	}
	if o.Bytes >= g.Bytes/least {
		b.Label = clean(strings.TrimSuffix(shortKinds([]string{p.kind})[0], ".weight"))
	}
	return b
}

// rowLink is the link to an operand in the table; empty where the table does not have it.
func rowLink(number int) string {
	if number >= maxRows {
		return ""
	}
	return fmt.Sprintf("#o%d", number)
}

// kindColours gives those kinds of operands a colour each that have most bytes.
func kindColours(x *artifact.Index) map[string]string {
	bytes := map[string]uint64{}
	var kinds []string
	for i := range x.Operands {
		kind := placeOf(x.Operands[i].Name).kind
		if _, ok := bytes[kind]; !ok {
			if len(kinds) == maxRows {
				continue
			}
			kinds = append(kinds, kind)
		}
		bytes[kind] = add(bytes[kind], x.Operands[i].Bytes)
	}
	order := slices.Clone(kinds)
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(bytes[b], bytes[a]) })
	order = order[:min(len(order), colours)]
	classes := map[string]string{}
	for _, kind := range kinds { // neighbours in the file get neighbouring colours
		if slices.Contains(order, kind) {
			classes[kind] = fmt.Sprintf("k%d", len(classes))
		}
	}
	return classes
}
