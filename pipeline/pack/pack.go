// Package pack carries a plan out: a few workers stream windows of each operand from the source through reused buffers, encode and
// tile them, and write them where the plan says. The bytes do not depend on the number of workers, and memory does not grow
// with the model.
package pack

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/plan"
	"npuw/pipeline/source"
)

// Options say how to pack. The zero value packs with as many workers as there are processors, and syncs the file to disk.
type Options struct {
	Jobs   int  // workers; 0: one a processor
	NoSync bool // leaves fsync out, for scratch work
	// Progress, when not nil, is told how many bytes of operands have been written since it was last called, from any worker.
	Progress func(bytes int64)
	// Check, when not nil, is shown the finished artifact before it has its name; see artifact.Writer.CommitIf.
	Check func(*artifact.File) error
}

// maxJobs bounds the number of workers, each of which has some MiB of buffers.
const maxJobs = 256

// Run writes the artifact that p describes to path, with the weights of c. After an error there is no new file. The plan is not
// changed.
func Run(ctx context.Context, c *source.Catalogue, p *plan.Plan, path string, opts Options) error {
	return run(ctx, c, p, path, opts, windowElements)
}

// run is Run with windows of about so many elements. The bytes written do not depend on it.
func run(ctx context.Context, c *source.Catalogue, p *plan.Plan, path string, opts Options, window uint64) error {
	index := *p.Index // with room for what is measured
	index.Segments, index.Operands = slices.Clone(index.Segments), slices.Clone(index.Operands)
	w, err := artifact.Create(path, &index, p.PageBytes, !opts.NoSync)
	if err != nil {
		return err
	}
	defer w.Abort()
	jobs := opts.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	jobs = min(jobs, maxJobs)
	q := &queue{plan: p, index: &index, window: window, open: make([]int, len(index.Segments))}
	for _, o := range index.Operands {
		q.open[o.Segment]++
	}
	var wg sync.WaitGroup
	for range jobs {
		wg.Go(func() {
			worker := &worker{queue: q, catalogue: c, writer: w, progress: opts.Progress}
			worker.run(ctx)
		})
	}
	wg.Wait()
	if q.fault != nil {
		return q.fault
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, stream := range p.Streams {
		if _, err := w.WriteAt(stream, int64(index.Segments[i].Offset)); err != nil {
			return err
		}
	}
	if err := c.Unchanged(); err != nil {
		return err
	}
	return w.CommitIf(opts.Check)
}

// queue hands out windows in the order of the plan, and collects what is known of finished operands and segments.
type queue struct {
	plan   *plan.Plan
	index  *artifact.Index
	window uint64 // about how many elements a window holds

	mu      sync.Mutex
	operand int   // the next one to begin
	current *job  // whose windows are being handed out
	taken   int   // of current's windows
	issued  int   // windows handed out in all
	open    []int // operands of each segment that are not finished

	fault   error // of the first window, in the order of the plan, that failed
	faultAt int
}

// job is an operand in work.
type job struct {
	*matrix
	index   int // of the operand in the plan
	windows int
	left    int // windows not finished
	rows    int // of patches
	cols    int
	stats   []element.Stats // of each patch, row-major
}

// next is the window to work on, and its number in the order of the plan; nil when there is no more, or a fault.
func (q *queue) next() (j *job, window, number int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.fault == nil {
		if q.current != nil && q.taken < q.current.windows {
			q.taken++
			q.issued++
			return q.current, q.taken - 1, q.issued
		}
		if q.operand == len(q.plan.Operands) {
			break
		}
		x, err := newMatrix(&q.plan.Operands[q.operand], q.plan.Model, q.window)
		if err != nil {
			q.fault, q.faultAt = err, q.issued+1 // after every window handed out, some of which may fail yet
			break
		}
		j := &job{matrix: x, index: q.operand, windows: x.windows()}
		j.left = j.windows
		j.rows, j.cols = x.patches()
		j.stats = make([]element.Stats, j.rows*j.cols)
		q.current, q.taken = j, 0
		q.operand++
	}
	return nil, 0, 0
}

// fail records a fault. Windows are begun in order, so all before the one that failed come to an end, and the first is the
// same with any number of workers.
func (q *queue) fail(err error, number int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fault == nil || number < q.faultAt {
		q.fault, q.faultAt = err, number
	}
}

// finished counts a window of j done. It returns the segment that is now complete, -1 if none is.
func (q *queue) finished(j *job) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.left--; j.left > 0 {
		return -1
	}
	o := &q.index.Operands[j.index]
	o.Statistics = element.Stats{}
	for _, s := range j.stats { // in the order that FORMAT.md gives the sums
		o.Statistics.Add(s)
	}
	if q.open[o.Segment]--; q.open[o.Segment] > 0 {
		return -1
	}
	return o.Segment
}

// worker packs windows, one after another, in buffers of its own.
type worker struct {
	*queue
	catalogue *source.Catalogue
	writer    *artifact.Writer
	progress  func(int64)

	raw    []byte // source elements that are neither float32 nor float64
	single buffers[float32]
	double buffers[float64]
	packed []byte
	at     [][]int64 // of the window in work
	// The tables of the last window's layout: most windows of an operand have the same.
	scatter *layout.Scatter
	layout  layout.Layout
	elem    int
	patch   [element.PatchSize * element.PatchSize * 8]byte // one patch, encoded
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		j, i, number := w.next()
		if j == nil {
			return
		}
		if err := w.pack(j, i); err != nil {
			w.fail(err, number)
			return
		}
		if segment := w.finished(j); segment >= 0 {
			if err := w.writer.Seal(segment); err != nil {
				w.fail(err, number)
				return
			}
		}
	}
}

// scatterFor is the scatter of a layout of elements of elem bytes.
func (w *worker) scatterFor(l layout.Layout, elem int) *layout.Scatter {
	samePadded := func(a, b layout.Axis) bool { return a.Name == b.Name && a.Padded == b.Padded }
	if w.scatter == nil || w.elem != elem || !slices.Equal(w.layout.Digits, l.Digits) || !slices.EqualFunc(w.layout.Axes, l.Axes, samePadded) {
		w.scatter, w.layout, w.elem = layout.NewScatter(l, elem), l, elem
	}
	return w.scatter
}

// pack reads, encodes and writes one window.
func (w *worker) pack(j *job, i int) error {
	window, err := j.window(i)
	if err != nil {
		return fmt.Errorf("operand %q: %w", j.operand.Name, err)
	}
	size := j.operand.Format.Size()
	n := int(window.Layout.Elements()) * size
	if cap(w.packed) < n {
		w.packed = make([]byte, n)
	}
	w.packed = w.packed[:n]
	for _, a := range window.Layout.Axes {
		if a.Extent < a.Padded {
			fillPad(w.packed, j.operand.PadBits, size)
			break
		}
	}
	if j.parameter.Tensor.Type == element.F64 {
		err = encodeWindow(w, j, &window, &w.double)
	} else {
		err = encodeWindow(w, j, &window, &w.single)
	}
	if err != nil {
		return err
	}
	o := &w.index.Operands[j.index]
	base := w.index.Segments[o.Segment].Offset + o.Offset
	window.Runs(func(at, to, n uint64) bool {
		s := uint64(size)
		_, err = w.writer.WriteAt(w.packed[at*s:(at+n)*s], int64(base+to*s))
		return err == nil
	})
	if err == nil && w.progress != nil {
		w.progress(int64(n))
	}
	return err
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
