package artifact

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/schema/pyreader"
)

// damaged is an artifact in memory whose parts can be damaged before its digests are made.
type damaged struct {
	header Header
	edit   func(b []byte) // of the header, after it has been encoded
	gap    []byte
	data   []byte
	index  *Index
	raw    []byte // the encoded index; nil: of index
	tail   []byte // behind everything
}

// damaged gives the parts of the artifact.
func (s *sample) damaged() *damaged {
	return &damaged{header: Header{PageBytes: s.page}, gap: make([]byte, s.page-HeaderBytes), data: s.data(), index: cloneIndex(s.index)}
}

// seal gives the segments the digests of what is there, where they have none.
func (d *damaged) seal() {
	for i := range d.index.Segments {
		g := &d.index.Segments[i]
		from := g.Offset - d.header.PageBytes
		if end := from + g.Bytes; from <= end && end <= uint64(len(d.data)) && g.Digest == (Digest{}) {
			g.Digest = Sum(d.data[from:end])
		}
	}
}

// bytes puts the parts together. Digests and lengths are those of what is there, so that nothing but the damage itself can be
// found. Values other than 0 that are in the header already stay.
func (d *damaged) bytes() []byte {
	d.seal()
	raw := d.raw
	if raw == nil {
		raw = encodeIndex(d.index)
	}
	h := d.header
	set := func(v *uint64, to int) {
		if *v == 0 {
			*v = uint64(to)
		}
	}
	set(&h.IndexOffset, HeaderBytes+len(d.gap)+len(d.data))
	set(&h.IndexBytes, len(raw))
	set(&h.FileBytes, HeaderBytes+len(d.gap)+len(d.data)+len(raw)+len(d.tail))
	if h.IndexDigest == (Digest{}) {
		h.IndexDigest = Sum(raw)
	}
	head := h.encode()
	if d.edit != nil {
		d.edit(head)
		clear(head[atHeaderDigest:])
		putDigest(head[atHeaderDigest:], Sum(head))
	}
	return bytes.Join([][]byte{head, d.gap, d.data, raw, d.tail}, nil)
}

// openBytes opens an artifact in memory.
func openBytes(b []byte) (*File, error) { return NewFile(bytes.NewReader(b), int64(len(b))) }

// leave puts a sound artifact that is in memory into a folder of the test, so that npuw.py is compared on it.
func leave(t *testing.T, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(pyreader.TempDir(t), "left.npuw"), b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// check opens and verifies an artifact in memory.
func check(b []byte) error {
	f, err := openBytes(b)
	if err != nil {
		return err
	}
	return f.Verify()
}

// cloneIndex copies what tests change: nothing of it is shared.
func cloneIndex(x *Index) *Index {
	y, err := decodeIndex(encodeIndex(x), 0)
	if err != nil {
		panic(fmt.Sprint("the index of a sample does not decode: ", err))
	}
	for i := range y.Operands {
		o := &y.Operands[i]
		cloneLayout(&o.Layout)
		o.Planes = clonePlanes(o.Planes)
		o.Placements, o.Fills = slices.Clone(o.Placements), slices.Clone(o.Fills)
		for j := range o.Placements {
			p := &o.Placements[j]
			p.From, p.To = slices.Clone(p.From), slices.Clone(p.To)
		}
		for j := range o.Fills {
			o.Fills[j].Begin, o.Fills[j].Size = slices.Clone(o.Fills[j].Begin), slices.Clone(o.Fills[j].Size)
		}
	}
	for i := range y.Parameters {
		y.Parameters[i].Shape = slices.Clone(y.Parameters[i].Shape)
	}
	for i := range y.Contracts {
		c := &y.Contracts[i]
		c.Shape, c.Arguments = slices.Clone(c.Shape), slices.Clone(c.Arguments)
		for j := range c.Arguments {
			a := &c.Arguments[j]
			cloneLayout(&a.Layout)
			a.Planes = clonePlanes(a.Planes)
		}
	}
	return y
}

func cloneLayout(l *layout.Layout) { l.Axes, l.Digits = slices.Clone(l.Axes), slices.Clone(l.Digits) }

func clonePlanes(planes []plane.Plane) []plane.Plane {
	planes = slices.Clone(planes)
	for i := range planes {
		cloneLayout(&planes[i].Layout)
		planes[i].Block = slices.Clone(planes[i].Block)
	}
	return planes
}
