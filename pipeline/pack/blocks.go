package pack

import (
	"context"
	"fmt"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/source"
)

// blocks are what the blocks of a band have in common: first the range of their values, then scales, zeros and minimums. Where the source
// has these, they are read instead. They take 48 bytes for each block of the band, and their memory is used again for the next.
type blocks struct {
	scheme element.Scheme
	size   []uint64 // how many indices of each axis a block spans
	first  []uint64 // the band's first, on each axis of the grid
	count  []uint64 // of those with values, on each axis
	ranges []element.Range
	shared []element.Block // row-major, as ranges are
	source []element.Block // those of a box, as the source has them

	// Of the patch in work: where in ranges and shared the blocks of its rows and columns are.
	row, col [element.PatchSize]int
}

// begin makes g those of a band.
func (g *blocks) begin(x *matrix, b *band) {
	g.scheme, g.size, g.count = x.storage.Scheme(), x.block, make([]uint64, len(x.block))
	g.first, _ = b.grid(x.block)
	for a, axis := range x.operand.Layout.Axes {
		if end := min(b.begin[a]+b.size[a], axis.Extent); end > b.begin[a] {
			g.count[a] = (end-1)/x.block[a] + 1 - g.first[a]
		}
	}
	g.shared = resize(g.shared, int(volume(g.count)))
}

// locate finds the blocks of a patch of a window.
func (g *blocks) locate(window *layout.Window, row, col uint64, rows, cols int) {
	axes := window.Layout.Axes
	last := len(axes) - 1
	for k := range cols {
		g.col[k] = int((window.Begin[last]+col+uint64(k))/g.size[last] - g.first[last])
	}
	var space [layout.MaxAxes]uint64
	index := space[:len(axes)]
	matrixIndex(index, axes, row, col)
	for i := range rows {
		at := uint64(0)
		for a := range last {
			at = at*g.count[a] + (window.Begin[a]+index[a])/g.size[a] - g.first[a]
		}
		g.row[i] = int(at * g.count[last])
		nextRow(index, axes)
	}
}

// measureBand reads the windows of a band for the ranges of its blocks, and chooses what these share.
func measureBand[T float32 | float64](ctx context.Context, w *worker, j *job, b *band, r *reader[T]) (*blocks, error) {
	g := &w.blocks
	g.begin(j.matrix, b)
	g.ranges = resize(g.ranges, len(g.shared))
	clear(g.ranges)
	for k := range b.windows() {
		if err := load(ctx, w, j, b, k, r); err != nil {
			return nil, err
		}
		if err := measureWindow(w, j, r, g); err != nil {
			return nil, err
		}
	}
	for i, r := range g.ranges {
		var err error
		if g.shared[i], err = g.scheme.Fit(r); err != nil {
			return nil, w.unfit(j, g, i, err, "use scales of a wider range in the recipe")
		}
	}
	return g, nil
}

// measureWindow extends the ranges of blocks by the values of a window.
func measureWindow[T float32 | float64](w *worker, j *job, r *reader[T], g *blocks) error {
	return eachPatch(&r.window, func(row, col uint64, rows, cols int) error {
		values, stride := r.patchAt(row, col, rows, cols)
		g.locate(&r.window, row, col, rows, cols)
		bad, err := element.MeasureRange(g.ranges, values, stride, rows, cols, g.row[:], g.col[:])
		if err != nil {
			return j.fault(err)
		}
		if bad >= 0 {
			return w.notFinite(j, &r.window, row+uint64(bad/cols), col+uint64(bad%cols), float64(values[bad/cols*stride+bad%cols]))
		}
		return nil
	})
}

// writeBlocks writes what the blocks of a band share to its planes.
func (w *worker) writeBlocks(j *job, b *band, g *blocks) error {
	var elements [plane.Minimums + 1][]byte
	for _, p := range j.storage.Planes[1:] {
		elements[p.Role] = make([]byte, len(g.shared)*max(p.Format.Size(), 1))
	}
	if err := g.scheme.EncodeBlocks(elements[plane.Scales], elements[plane.Zeros], elements[plane.Minimums], g.shared); err != nil {
		return j.fault(err)
	}
	for i := range j.storage.Planes[1:] {
		p := &j.storage.Planes[1+i]
		window, err := p.Layout.Window(b.grid(j.block))
		if err != nil {
			return j.fault(err)
		}
		w.begin(window.Layout, max(p.Format.Size(), 1), p.PadBits)
		last := len(g.count) - 1
		if len(g.shared) > 0 {
			err = w.place(elements[p.Role], 0, 0, int(volume(g.count[:last])), int(g.count[last]))
		}
		if err != nil {
			return j.fault(err)
		}
		if err := w.write(j, p, &window); err != nil {
			return err
		}
	}
	return nil
}

// unfit is the error for a block whose scale or minimum no element of its plane is.
func (w *worker) unfit(j *job, g *blocks, i int, err error, next string) error {
	block, index := make([]uint64, len(g.count)), make([]uint64, len(g.count))
	for a := len(g.count) - 1; a >= 0; a-- {
		block[a] = g.first[a] + uint64(i)%g.count[a]
		index[a] = block[a] * g.size[a]
		i /= int(g.count[a])
	}
	where := fmt.Sprintf("operand %q: block %d", j.operand.Name, block)
	if b := j.boxOf(index); b.parameter != nil {
		where = fmt.Sprintf("%s, from element %d of parameter %q on", where, b.element(index), b.parameter.Name)
	}
	return &source.Error{
		File: w.catalogue.Path, Offset: -1, Thing: where, Problem: err.Error(),
		Next: next, Err: source.ErrNotFinite,
	}
}
