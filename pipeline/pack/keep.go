package pack

import (
	"fmt"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// readBlocks reads from the source what the blocks of a band share. Those that hold fills alone have a scale of 1.
func (w *worker) readBlocks(j *job, b *band) (*blocks, error) {
	g := &w.blocks
	g.begin(j.matrix, b)
	for i := range g.shared {
		g.shared[i] = element.Block{Scale: 1}
	}
	for i := range j.boxes {
		if j.boxes[i].parameter == nil {
			continue
		}
		if err := g.read(w.catalogue, &j.boxes[i]); err != nil {
			return nil, j.fault(err)
		}
	}
	for i, s := range g.shared {
		if err := g.scheme.CheckBlock(s); err != nil {
			return nil, w.unfit(j, g, i, err, "repair the model, or state another format than SOURCE in the recipe")
		}
	}
	return g, nil
}

// read reads the blocks of a box that begin in the band: the least box of the source's blocks that has them all.
func (g *blocks) read(c *source.Catalogue, b *box) error {
	t := &b.parameter.Tensor
	if t.Codes == nil || !b.plain() || len(t.Codes.Block) != len(t.Shape) {
		return fmt.Errorf("tensor %q is not made of codes that can be kept as they are", t.Name)
	}
	axes := len(g.size)
	low, count := make([]uint64, axes), make([]uint64, axes) // of the band's blocks
	for a, n := range g.size {
		begin := max(g.first[a], (b.begin[a]+n-1)/n)
		end := min(g.first[a]+g.count[a], (b.begin[a]+b.size[a]-1)/n+1)
		if begin >= end {
			return nil
		}
		low[a], count[a] = begin, end-begin
	}
	first, sizes := make([]uint64, len(t.Shape)), make([]uint64, len(t.Shape)) // of the tensor's blocks
	of := make([][]uint64, len(b.from))                                        // along each axis of the parameter, those of the band's
	for k, f := range b.from {
		axis, n := b.parameter.Perm[k], g.size[f.Axis]
		of[k] = make([]uint64, count[f.Axis])
		least, most := ^uint64(0), uint64(0)
		for i := range of[k] {
			index := (low[f.Axis]+uint64(i))*n - b.begin[f.Axis]
			at := (f.Begin + index/f.Step%f.Size) / t.Codes.Block[axis]
			of[k][i], least, most = at, min(least, at), max(most, at)
		}
		first[axis], sizes[axis] = least, most-least+1
	}
	all := uint64(1)
	for _, n := range sizes {
		if all *= n; all > maxWindowElements { // sizes are bounded by extents
			return fmt.Errorf("tensor %q has its scales so far apart that those of %d blocks would be read at a time (at most %d)",
				t.Name, all, maxWindowElements)
		}
	}
	g.source = resize(g.source, int(all))
	if err := t.Codes.Blocks.ReadBlocks(c, g.source, first, sizes); err != nil {
		return err
	}
	g.spread(b, low, count, of, first, sizes)
	return nil
}

// spread brings the source's blocks, a box of sizes from first on, to the band's that have them, a box of count from low on.
func (g *blocks) spread(b *box, low, count []uint64, of [][]uint64, first, sizes []uint64) {
	strides := make([]uint64, len(sizes))
	for i, stride := len(sizes)-1, uint64(1); i >= 0; i-- {
		strides[i] = stride
		stride *= sizes[i]
	}
	places := make([][]uint64, len(count)) // of each index along an axis, in source
	for a, n := range count {
		places[a] = make([]uint64, n)
	}
	for k, f := range b.from {
		axis := b.parameter.Perm[k]
		for i, at := range of[k] {
			places[f.Axis][i] += (at - first[axis]) * strides[axis]
		}
	}
	index := make([]uint64, len(count))
	for range volume(count) {
		from, to := uint64(0), uint64(0)
		for a, i := range index {
			from += places[a][i]
			to = to*g.count[a] + low[a] + i - g.first[a]
		}
		g.shared[to] = g.source[from]
		for a := len(index) - 1; a >= 0; a-- {
			if index[a]++; index[a] < count[a] {
				break
			}
			index[a] = 0
		}
	}
}
