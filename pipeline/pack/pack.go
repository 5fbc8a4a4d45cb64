// Package pack carries a plan out: a few workers stream windows of each operand from the source through reused buffers, encode and
// tile them, and write them where the plan says.
//
//	operand   a matrix: its last axis are the columns. It is made of boxes: of a parameter, of a constant, of a fold's sums
//	  band    windows that share blocks of quantized values; mostly one window. What a worker takes at a time
//	    window    a part that the layout can be cut to: read, then encoded, then written
//	      patch     64 x 64 values of the matrix: what is encoded and measured at a time
//
// The bytes do not depend on the number of workers nor on how operands are cut: blocks and patches have their places in the
// operand, and the patches' statistics are added up in the order of FORMAT.md. Where an operand keeps the source's codes, blocks are read
// from there, and each code is found by its value: so that the two are the same is proved for every element. Memory does not grow with the model: a worker
// has a window of values and of elements, and 48 bytes for each block of a band. An operand in work has 72 bytes for each
// patch, and 8 for each value of a fold.
package pack

import (
	"context"
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
	q := &queue{plan: p, catalogue: c, index: &index, window: window, open: make([]int, len(index.Segments))}
	for _, o := range index.Operands {
		q.open[o.Segment]++
	}
	var wg sync.WaitGroup
	for range jobs {
		wg.Go(func() {
			worker := &worker{queue: q, writer: w, progress: opts.Progress}
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

// queue hands out bands in the order of the plan, and collects what is known of finished operands and segments.
type queue struct {
	plan      *plan.Plan
	catalogue *source.Catalogue
	index     *artifact.Index
	window    uint64 // about how many elements a window holds

	mu      sync.Mutex
	operand int   // the next one to begin
	current *job  // whose bands are being handed out
	taken   int   // of current's bands
	issued  int   // bands handed out in all
	open    []int // operands of each segment that are not finished

	fault   error // of the first band, in the order of the plan, that failed
	faultAt int
}

// job is an operand in work.
type job struct {
	*matrix
	folds func() error    // reads what folds need, once; all bands wait for it
	index int             // of the operand in the plan
	total int             // bands
	left  int             // bands not finished
	cols  int             // of patches
	stats []element.Stats // of each patch, row-major
}

// begin makes a job of the next operand.
func (q *queue) begin() (*job, error) {
	x, err := newMatrix(&q.plan.Operands[q.operand], q.plan.Model, q.window)
	if err != nil {
		return nil, err
	}
	rows, cols := x.patches()
	n := int(volume(x.bands))
	return &job{
		matrix: x, folds: sync.OnceValue(func() error { return x.readFolds(q.catalogue) }),
		index: q.operand, total: n, left: n, cols: cols, stats: make([]element.Stats, rows*cols),
	}, nil
}

// next is the band to work on, and its number in the order of the plan; nil when there is no more, or a fault.
func (q *queue) next() (j *job, band, number int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.fault == nil {
		if q.current != nil && q.taken < q.current.total {
			q.taken++
			q.issued++
			return q.current, q.taken - 1, q.issued
		}
		if q.operand == len(q.plan.Operands) {
			break
		}
		j, err := q.begin()
		if err != nil {
			q.fault, q.faultAt = err, q.issued+1 // after every band handed out, some of which may fail yet
			break
		}
		q.current, q.taken = j, 0
		q.operand++
	}
	return nil, 0, 0
}

// fail records a fault. Bands are begun in order, so all before the one that failed come to an end, and the first is the
// same with any number of workers.
func (q *queue) fail(err error, number int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fault == nil || number < q.faultAt {
		q.fault, q.faultAt = err, number
	}
}

// finished counts a band of j done. It returns the segment that is now complete, -1 if none is.
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

// worker packs bands, one after another, in buffers of its own.
type worker struct {
	*queue
	writer   *artifact.Writer
	progress func(int64)

	single reader[float32]
	double reader[float64]
	blocks blocks

	// The window in work: its elements as they will lie, and its axes. Tables are those of the last layout: most windows of an operand
	// have the same.
	packed  []byte
	axes    []layout.Axis
	size    int // bytes of an element
	layout  layout.Layout
	scatter *layout.Scatter
	sheet   sheet                                           // what goes to records
	pairs   []byte                                          // a run of 4-bit elements, two a byte
	patch   [element.PatchSize * element.PatchSize * 4]byte // one patch, encoded
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		j, i, number := w.next()
		if j == nil {
			return
		}
		if err := w.pack(ctx, j, i); err != nil {
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

// pack packs one band.
func (w *worker) pack(ctx context.Context, j *job, band int) error {
	if err := j.folds(); err != nil {
		return err
	}
	if j.matrix.double {
		return packBand(ctx, w, j, band, &w.double)
	}
	return packBand(ctx, w, j, band, &w.single)
}
