package pack

import (
	"context"
	"fmt"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// packBand packs a band: it reads each of its windows, encodes them patch by patch, and writes them.
func packBand[T float32 | float64](ctx context.Context, w *worker, j *job, i int, r *reader[T]) error {
	band := j.band(i)
	var b *blocks
	if j.block != nil {
		var err error
		if j.operand.Kept {
			b, err = w.readBlocks(j, &band)
		} else {
			b, err = measureBand(ctx, w, j, &band, r)
		}
		if err != nil {
			return err
		}
		if err := w.writeBlocks(j, &band, b); err != nil {
			return err
		}
		if i == 0 { // these are there already
			j.storage.Gaps(func(_, n, _, count uint64) bool { w.tell(n * count); return true })
		}
	}
	for k := range band.windows() {
		if b == nil || j.operand.Kept || band.windows() > 1 { // else it is still there
			if err := load(ctx, w, j, &band, k, r); err != nil {
				return err
			}
		}
		w.begin(j.elements(r.window.Layout), j.size, j.operand.PadBits)
		if err := encodeWindow(w, j, r, b); err != nil {
			return err
		}
		if err := w.write(j, &j.storage.Planes[0], &r.window); err != nil {
			return err
		}
		if j.records != nil {
			if err := w.sheet.flush(j.records, func(b []byte, off uint64) error { return w.writeAt(j, b, off) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// load reads a window, unless there is no need for it any more.
func load[T float32 | float64](ctx context.Context, w *worker, j *job, b *band, i int, r *reader[T]) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.load(w.catalogue, j.matrix, b, i)
}

// eachPatch calls do for the patches of a window, until it gives an error.
func eachPatch(window *layout.Window, do func(row, col uint64, rows, cols int) error) error {
	axes := window.Layout.Axes
	last := len(axes) - 1
	all, width := volume(extents(axes[:last])), axes[last].Extent
	for row := uint64(0); row < all; row += element.PatchSize {
		for col := uint64(0); col < width; col += element.PatchSize {
			if err := do(row, col, int(min(element.PatchSize, all-row)), int(min(element.PatchSize, width-col))); err != nil {
				return err
			}
		}
	}
	return nil
}

// encodeWindow encodes the patches of a window to their places in w.packed.
func encodeWindow[T float32 | float64](w *worker, j *job, r *reader[T], b *blocks) error {
	return eachPatch(&r.window, func(row, col uint64, rows, cols int) error {
		values, stride := r.patchAt(row, col, rows, cols)
		if b != nil {
			b.locate(&r.window, row, col, rows, cols)
		}
		stats, bad, err := encodePatch(w.patch[:], values, stride, rows, cols, j.matrix, b)
		if err != nil {
			return j.fault(err)
		}
		if bad >= 0 && !j.keepsNonFinite() {
			i, k := bad/cols, bad%cols
			v := float64(values[i*stride+k])
			if j.operand.Kept && v-v == 0 {
				return w.unlike(j, &r.window, row+uint64(i), col+uint64(k), v, &b.shared[b.row[i]+b.col[k]])
			}
			return w.notFinite(j, &r.window, row+uint64(i), col+uint64(k), v)
		}
		j.stats[j.patchNumber(&r.window, row, col)] = stats
		return w.place(w.patch[:], row/uint64(j.high), col/uint64(j.wide), (rows-1)/j.high+1, (cols-1)/j.wide+1)
	})
}

// encodePatch encodes a patch to elements that lie row by row, one behind the other.
func encodePatch[T float32 | float64](
	dst []byte, values []T, stride, rows, cols int, x *matrix, b *blocks,
) (element.Stats, int, error) {
	f := x.operand.Format
	switch {
	case x.operand.Kept:
		return element.MatchPatch(dst, cols, values, stride, rows, cols, b.scheme, b.shared, b.row[:], b.col[:])
	case b != nil:
		return element.QuantizePatch(dst, cols, values, stride, rows, cols, b.scheme, b.shared, b.row[:], b.col[:])
	case f != element.BFP16:
		return element.EncodePatch(dst, cols*x.size, values, stride, rows, cols, f)
	case x.high > 1:
		return element.EncodeBFP16Patch(dst, cols*x.size, values, stride, rows, cols, element.AlongColumn, x.operand.Rounding)
	}
	return element.EncodeBFP16Patch(dst, ((cols-1)/x.wide+1)*x.size, values, stride, rows, cols, element.AlongRow, x.operand.Rounding)
}

// patchNumber is the place in the operand's statistics of the patch in row and column of a window.
func (j *job) patchNumber(window *layout.Window, row, col uint64) int {
	axes := j.operand.Layout.Axes
	last := len(axes) - 1
	var space [layout.MaxAxes]uint64
	index := space[:len(axes)]
	matrixIndex(index, window.Layout.Axes, row, col)
	at := uint64(0)
	for a := range last {
		at = at*axes[a].Extent + window.Begin[a] + index[a]
	}
	return int(at/element.PatchSize)*j.cols + int((window.Begin[last]+col)/element.PatchSize)
}

// begin makes room for the elements of a window, whose layout is l, and gives those beyond its extents the bits of padding.
func (w *worker) begin(l layout.Layout, size int, pad uint64) {
	w.axes, w.packed = l.Axes, resize(w.packed, int(l.Elements())*size)
	for _, a := range l.Axes {
		if a.Extent < a.Padded {
			fillPad(w.packed, pad, size)
			break
		}
	}
	samePadded := func(a, b layout.Axis) bool { return a.Name == b.Name && a.Padded == b.Padded }
	if w.scatter == nil || w.size != size || !slices.Equal(w.layout.Digits, l.Digits) || !slices.EqualFunc(w.layout.Axes, l.Axes, samePadded) {
		w.scatter, w.layout, w.size = layout.NewScatter(l, size), l, size
	}
}

// resize gives a slice of n elements, in the memory of s where it is large enough.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// fillPad fills b with elements of size bytes whose bits are pad.
func fillPad(b []byte, pad uint64, size int) {
	if pad == 0 {
		clear(b)
		return
	}
	for i := range size {
		b[i] = byte(pad >> (8 * i))
	}
	for n := size; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// place puts rows x cols elements that lie row by row where they belong in w.packed: the first is in row and column of the matrix that
// its axes make.
func (w *worker) place(elements []byte, row, col uint64, rows, cols int) error {
	var space [layout.MaxAxes]uint64
	index, last := space[:len(w.axes)], len(w.axes)-1
	matrixIndex(index, w.axes, row, col)
	if last <= 1 {
		return w.scatter.Place(w.packed, elements, cols, index, 0, last, rows, cols)
	}
	for i := range rows {
		if err := w.scatter.Place(w.packed, elements[i*cols*w.size:], cols, index, 0, last, 1, cols); err != nil {
			return err
		}
		nextRow(index, w.axes)
	}
	return nil
}

// write writes w.packed, a window of a plane, to the file; what lies in records, to the sheet.
func (w *worker) write(j *job, p *plane.Plane, window *layout.Window) error {
	values, bits, size := uint64(p.Format.Values()), uint64(p.Format.Bits()), uint64(w.size)
	total := uint64(0)
	var err error
	window.Runs(func(at, to, n uint64) bool {
		first, count := to/values, n/values
		b := w.packed[at/values*size:][:count*size]
		if bits%8 != 0 {
			w.pairs = resize(w.pairs, len(b)/2)
			if err = element.Pack4(w.pairs, b, p.HighFirst); err != nil {
				err = j.fault(fmt.Errorf("%v: %w", p.Role, err))
				return false
			}
			b = w.pairs
		}
		total += uint64(len(b))
		if j.records != nil {
			w.sheet.add(p, first, count, b)
			return true
		}
		err = w.writeAt(j, b, p.Offset+first*bits/8)
		return err == nil
	})
	if err == nil {
		w.tell(total)
	}
	return err
}

// tell tells of bytes of operands that have been written.
func (w *worker) tell(n uint64) {
	if w.progress != nil && n > 0 {
		w.progress(int64(n))
	}
}

// writeAt writes bytes of an operand from off on.
func (w *worker) writeAt(j *job, b []byte, off uint64) error {
	o := &w.index.Operands[j.index]
	_, err := w.writer.WriteAt(b, int64(w.index.Segments[o.Segment].Offset+o.Offset+off))
	return err
}
