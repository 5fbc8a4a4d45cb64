package pack

import (
	"fmt"
	"math"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/source"
)

// buffers are a worker's memory for source values as T.
type buffers[T float32 | float64] struct {
	values []T                                      // of the window, as they follow each other in the source
	patch  [element.PatchSize * element.PatchSize]T // one patch, row-major, where the source has it in another order
}

// span is the part of the source that holds a window: count pieces, each of length elements from first + i*apart.
type span struct {
	first, apart  int64
	count, length int64
}

// spanOf finds the source elements of a window: for each index along the outer axis, those of all other axes. An outer axis
// without an even step is not read piece by piece.
func (j *job) spanOf(w *layout.Window) span {
	s := span{count: 1}
	var low, high int64
	for a, axis := range w.Layout.Axes {
		table := j.source[a][w.Begin[a]:][:axis.Extent]
		if step, even := evenStep(table); a == j.outer && even {
			s.first, s.apart, s.count = table[0], step, int64(len(table))
			continue
		}
		lo, hi := table[0], table[0]
		for _, v := range table {
			lo, hi = min(lo, v), max(hi, v)
		}
		low, high = low+lo, high+hi
	}
	s.first += low
	s.length = high - low + 1
	if s.apart == s.length || s.count == 1 { // the pieces follow each other: one read
		s.length *= s.count
		s.apart, s.count = s.length, 1
	}
	return s
}

// evenStep is the distance between neighbours, where it is the same for all and not negative. A single element has any: 0.
func evenStep(at []int64) (step int64, even bool) {
	if len(at) < 2 {
		return 0, true
	}
	step = at[1] - at[0]
	for i := 2; i < len(at); i++ {
		if at[i]-at[i-1] != step {
			return 0, false
		}
	}
	return step, step >= 0
}

// encodeWindow reads the source values of a window, and encodes them patch by patch to their places in w.packed.
func encodeWindow[T float32 | float64](w *worker, j *job, window *layout.Window, b *buffers[T]) error {
	for _, a := range window.Layout.Axes {
		if a.Extent == 0 { // all padding
			return nil
		}
	}
	s := j.spanOf(window)
	if err := readSpan(w, j, s, b); err != nil {
		return err
	}
	e := windowEncoder[T]{worker: w, job: j, window: window, buffers: b, scatter: w.scatterFor(window.Layout, j.operand.Format.Size())}
	e.place(s)
	axes := window.Layout.Axes
	cols := axes[len(axes)-1].Extent
	rows := uint64(1)
	for _, a := range axes[:len(axes)-1] {
		rows *= a.Extent
	}
	for r := uint64(0); r < rows; r += element.PatchSize {
		for c := uint64(0); c < cols; c += element.PatchSize {
			if err := e.encode(r, c, int(min(element.PatchSize, rows-r)), int(min(element.PatchSize, cols-c))); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSpan reads the pieces of a span one behind the other into b.values.
func readSpan[T float32 | float64](w *worker, j *job, s span, b *buffers[T]) error {
	if s.length > maxWindowElements/s.count {
		return fmt.Errorf("operand %q: the source has its elements so far apart that %d x %d would be read for one window (at most %d)",
			j.operand.Name, s.count, s.length, maxWindowElements)
	}
	n := s.count * s.length
	if int64(cap(b.values)) < n {
		b.values = make([]T, n)
	}
	b.values = b.values[:n]
	t := &j.parameter.Tensor
	size := int64(t.Type.Size())
	for i := range s.count {
		values := b.values[i*s.length:][:s.length]
		raw := element.Memory(values)
		direct := t.Type == element.F64 || t.Type == element.F32
		if !direct {
			if int64(cap(w.raw)) < s.length*size {
				w.raw = make([]byte, s.length*size)
			}
			raw = w.raw[:s.length*size]
		}
		if err := w.catalogue.ReadAt(raw, t, (s.first+i*s.apart)*size); err != nil {
			return err
		}
		if direct {
			element.Swapped(values)
		} else if err := element.ToFloat32(any(values).([]float32), raw, t.Type); err != nil {
			return fmt.Errorf("operand %q: %w", j.operand.Name, err)
		}
	}
	return nil
}

// windowEncoder encodes the patches of a window.
type windowEncoder[T float32 | float64] struct {
	*worker
	job     *job
	window  *layout.Window
	buffers *buffers[T]
	scatter *layout.Scatter
	at      [][]int64 // worker.at: for each axis, what an index of the window adds to the position in buffers.values
}

// place works out where in buffers.values the window's elements are.
func (e *windowEncoder[T]) place(s span) {
	axes := e.window.Layout.Axes
	for len(e.worker.at) < len(axes) {
		e.worker.at = append(e.worker.at, nil)
	}
	e.at = e.worker.at[:len(axes)]
	for a, axis := range axes {
		from := e.job.source[a][e.window.Begin[a]:][:axis.Extent]
		low := slices.Min(from)
		table := slices.Grow(e.at[a][:0], len(from))[:len(from)]
		for i, v := range from {
			if table[i] = v - low; a == e.job.outer && s.count > 1 {
				table[i] = int64(i) * s.length
			}
		}
		e.at[a] = table
	}
}

// encode encodes the patch of rows x cols elements whose first is in row r and column c of the window.
func (e *windowEncoder[T]) encode(r, c uint64, rows, cols int) error {
	j, axes := e.job, e.window.Layout.Axes
	last := len(axes) - 1
	src, stride := e.patch(r, c, rows, cols)
	size := j.operand.Format.Size()
	out := e.worker.patch[:rows*cols*size]
	stats, bad, err := element.EncodePatch(out, cols*size, src, stride, rows, cols, j.operand.Format)
	if err != nil {
		return fmt.Errorf("operand %q: %w", j.operand.Name, err)
	}
	index := make([]uint64, len(axes))
	if bad >= 0 && !j.operand.KeepNonFinite {
		e.indexOf(index, r+uint64(bad/cols), c+uint64(bad%cols))
		return e.notFinite(index, float64(src[bad/cols*stride+bad%cols]))
	}
	e.indexOf(index, r, c)
	j.stats[e.patchNumber(index)] = stats
	if last <= 1 {
		return e.scatter.Place(e.packed, out, cols, index, 0, last, rows, cols)
	}
	for i := range rows {
		e.indexOf(index, r+uint64(i), c)
		if err := e.scatter.Place(e.packed, out[i*cols*size:], cols, index, 0, last, 1, cols); err != nil {
			return err
		}
	}
	return nil
}

// indexOf sets index to that of row r, column c of the window.
func (e *windowEncoder[T]) indexOf(index []uint64, r, c uint64) {
	axes := e.window.Layout.Axes
	index[len(axes)-1] = c
	for a := len(axes) - 2; a >= 0; a-- {
		index[a] = r % axes[a].Extent
		r /= axes[a].Extent
	}
}

// patchNumber is the place in the operand's statistics of the patch whose first element has this index in the window.
func (e *windowEncoder[T]) patchNumber(index []uint64) int {
	axes := e.job.operand.Layout.Axes
	last := len(axes) - 1
	row := uint64(0)
	for a := range last {
		row = row*axes[a].Extent + e.window.Begin[a] + index[a]
	}
	return int(row/element.PatchSize)*e.job.cols + int((e.window.Begin[last]+index[last])/element.PatchSize)
}

// patch gives the source values of a patch, row-major, rows stride apart: in place where the source has them so, else collected.
func (e *windowEncoder[T]) patch(r, c uint64, rows, cols int) (src []T, stride int) {
	last := len(e.at) - 1
	column := e.at[last][c:][:cols]
	values, patch := e.buffers.values, e.buffers.patch[:]
	if step, even := evenStep(column); last <= 1 && even && (step == 1 || cols == 1) {
		if last == 0 {
			return values[column[0]:], cols
		}
		row := e.at[0][r:][:rows]
		if apart, even := evenStep(row); even && (int(apart) >= cols || rows == 1) {
			return values[row[0]+column[0]:], max(int(apart), cols)
		}
	}
	if last == 1 { // the source has columns one after another: read along them
		row := e.at[0][r:][:rows]
		for k, at := range column {
			for i, v := range row {
				patch[i*cols+k] = values[at+v]
			}
		}
		return patch, cols
	}
	index := make([]uint64, len(e.at))
	for i := range rows {
		e.indexOf(index, r+uint64(i), c)
		base := int64(0)
		for a := range last {
			base += e.at[a][index[a]]
		}
		for k, at := range column {
			patch[i*cols+k] = values[base+at]
		}
	}
	return patch, cols
}

// notFinite is the error for a value that no kernel can have been meant to read.
func (e *windowEncoder[T]) notFinite(index []uint64, x float64) error {
	j := e.job
	parameter := make([]uint64, len(j.parameter.Shape))
	for k, f := range j.operand.Placements[0].From {
		parameter[k] = (e.window.Begin[f.Axis] + index[f.Axis]) / f.Step % f.Size
	}
	what := fmt.Sprintf("is %v", x)
	if !math.IsNaN(x) && !math.IsInf(x, 0) {
		what = fmt.Sprintf("is %v, which %v cannot hold", x, j.operand.Format)
	}
	return &source.Error{
		File: e.catalogue.Path, Offset: -1, Thing: fmt.Sprintf("parameter %q (tensor %q)", j.parameter.Name, j.parameter.Tensor.Name),
		Problem: fmt.Sprintf("element %v %s", parameter, what),
		Next:    "repair the model, or set keep_non_finite in the recipe", Err: source.ErrNotFinite,
	}
}
