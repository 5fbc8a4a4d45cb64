package recipe

import (
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/artifact/target"
	"npuw/schema/releasepb"
)

// tile is the part of a matrix product that a core of a target works on at a time, of which the target has said that it can.
type tile struct {
	npu  *target.Target
	k, n uint64
	at   position
}

// multiplied is what an NPU multiplies for an element format of the text, 0 for one that it does not. Codes with or without a sign
// take the same room.
func multiplied(f releasepb.ElementFormat) target.Format {
	if f == releasepb.ElementFormat_I32 {
		return target.Int32
	}
	return multipliedFormat(formatOf(f))
}

func multipliedFormat(f element.Format) target.Format {
	switch f {
	case element.F32:
		return target.F32
	case element.F16:
		return target.F16
	case element.BF16:
		return target.BF16
	case element.BFP16:
		return target.BFP16
	case element.I8, element.U8:
		return target.Int8
	case element.I4, element.U4, element.NF4:
		return target.Int4
	}
	return 0
}

// parseTile checks the rule's tile against the recipe's target. Without a target there is nothing to check it against.
func (r *rule) parseTile(doc *document, o *releasepb.Operand, npu *target.Target) error {
	if o.Tile == nil || npu == nil {
		return nil
	}
	block, q := r.block.child("tile"), o.Tile
	t := target.Tile{M: q.M, K: q.K, N: q.N, B: multipliedFormat(r.encoding.format), R: int(q.R), S: int(q.S), T: int(q.T)}
	for _, f := range []struct {
		name   string
		format releasepb.ElementFormat
		to     *target.Format
	}{{"a", q.A, &t.A}, {"b", q.B, &t.B}, {"c", q.C, &t.C}} {
		if f.name == "b" && f.format == releasepb.ElementFormat_NONE && !r.encoding.kept {
			continue
		}
		if *f.to = multiplied(f.format); *f.to == 0 {
			return doc.fault(block.where(f.name, 0), "%s of the tile is in %v; write %s: BF16 or the like, what the kernel multiplies or yields", f.name, f.format, f.name)
		}
	}
	if t.M == 0 || t.K == 0 || t.N == 0 {
		return doc.fault(block.at, "the tile is %d x %d x %d; write m, k and n: the rows and columns of A, and the columns of B, that a core works on at a time", t.M, t.K, t.N)
	}
	if _, err := npu.Check(t); err != nil {
		return doc.fault(block.at, "the tile %v", err)
	}
	for _, name := range "KN" {
		if r.axes != "" && !slices.Contains([]byte(r.axes), byte(name)) {
			return doc.fault(block.at, "a tile is of axes K and N, the operand has %q", r.axes)
		}
	}
	r.tile = &tile{npu, q.K, q.N, block.at}
	return nil
}

// checkTile checks that an operand is made of whole tiles, which a column of the target can reach one after another.
func (r *Recipe) checkTile(rule *rule, o *Operand, name string) error {
	t := rule.tile
	if t == nil {
		return nil
	}
	n := none
	for _, side := range []struct {
		axis byte
		size uint64
	}{{'K', t.k}, {'N', t.n}} {
		i := slices.IndexFunc(o.Layout.Axes, func(a layout.Axis) bool { return a.Name == side.axis })
		if i < 0 {
			return r.doc.fault(t.at, "a tile is of axes K and N, %s has %q", name, axisNames(o.Layout.Axes))
		}
		if padded := o.Layout.Axes[i].Padded; padded%side.size != 0 {
			return r.doc.fault(t.at, "axis %c of %s is %d long with its padding, which is no multiple of the tile's %d; write pad { axis: \"%c\" multiple: %d }",
				side.axis, name, padded, side.size, side.axis, side.size)
		}
		n = i
	}
	columns, limit := uint64(t.npu.Columns), t.npu.Shim.DMA.MaxStep()*target.WordBytes
	if step := panelStep(o, n, t.n*columns); step > limit {
		return r.doc.fault(t.at, "of %s, the panel that a column of %s takes after its first lies %d bytes on (%d columns with panels of %d), and its shim steps by %d at most; "+
			"make panels smaller in the layout and the tile", name, t.npu.Name, step, columns, t.n, limit)
	}
	return nil
}

// panelStep is how many bytes lie from the first index of axis n to the one that is `next` further; 0 where there is none.
func panelStep(o *Operand, n int, next uint64) uint64 {
	if next >= o.Layout.Axes[n].Padded {
		return 0
	}
	index := make([]uint64, n+1)
	index[n] = next
	elements := o.Layout.Offset(index) / uint64(o.Format.Values())
	if o.Encoding != plane.Plain && o.Planes[0].RecordElements != 0 {
		return elements / o.Planes[0].RecordElements * o.Planes[0].RecordBytes
	}
	bytes, _ := plane.BytesOf(o.Format, elements)
	return bytes
}
