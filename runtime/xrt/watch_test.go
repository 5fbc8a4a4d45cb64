package xrt

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"npuw/artifact/xclbin"
)

// watch is a driver over another one, the real XRT or the fake. It counts handles, and complains of all that XRT would crash on or do
// silently: what is used after it was closed, closed twice or too early, runs that end before they have ended, arguments that are wrong or
// missing. It can let calls fail that XRT itself does not: those that it makes do not reach XRT.
type watch struct {
	t     *testing.T
	inner driver

	mu       sync.Mutex
	fail     map[string]error // by call
	skew     uint32           // added to the memory groups of arguments
	left     map[string]int   // handles by kind
	made     map[string]int   // those that there have been, and runs that were started: "start"
	numbers  map[uint32]uint64
	inFlight map[*flight]bool
}

// flight is a run or a list of runs, with all that it uses.
type flight struct {
	launch launch
	runs   []*watchedRun
}

func newWatch(t *testing.T, inner driver) *watch {
	return &watch{
		t: t, inner: inner, fail: map[string]error{}, left: map[string]int{}, made: map[string]int{}, numbers: map[uint32]uint64{},
		inFlight: map[*flight]bool{},
	}
}

// begin notes a call, and gives the error that it is to fail with.
func (w *watch) begin(call string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fail[call]
}

func (w *watch) set(edit func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	edit()
}

// total is how many of a kind have been made.
func (w *watch) total(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made[kind]
}

// handles are those still open.
func (w *watch) handles() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := maps.Clone(w.left)
	maps.DeleteFunc(list, func(_ string, n int) bool { return n == 0 })
	return list
}

// hasNone fails the test where handles are still open.
func (w *watch) hasNone() {
	w.t.Helper()
	if left := w.handles(); len(left) > 0 {
		w.t.Errorf("still open: %v", left)
	}
}

// await waits until a number of runs are in flight.
func (w *watch) await(runs int) {
	for {
		w.mu.Lock()
		n := len(w.inFlight)
		w.mu.Unlock()
		if n == runs {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// settle waits until everything in flight has ended. Nobody else may ask for its state meanwhile.
func (w *watch) settle() {
	w.mu.Lock()
	flights := slices.Collect(maps.Keys(w.inFlight))
	w.mu.Unlock()
	for _, f := range flights {
		for {
			if s, err := f.launch.state(); err != nil || !s.pending() {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// handle is a handle of XRT.
type handle struct {
	w      *watch
	kind   string
	parent *handle
	parts  int
	closed bool
}

func (w *watch) handle(kind string, parent *handle) handle {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left[kind]++
	w.made[kind]++
	if parent != nil {
		parent.parts++
	}
	return handle{w: w, kind: kind, parent: parent}
}

// use notes a call with the handle, and gives the error that it is to fail with.
func (h *handle) use(call string) error {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.closed {
		h.w.t.Errorf("%s: a %s is used after it was closed", call, h.kind)
	}
	return h.w.fail[call]
}

// ends notes that the handle is closed.
func (h *handle) ends() {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.closed {
		h.w.t.Errorf("a %s is closed twice", h.kind)
		return
	}
	if h.parts > 0 {
		h.w.t.Errorf("a %s is closed before what was made from it", h.kind)
	}
	h.closed = true
	h.w.left[h.kind]--
	if h.parent != nil {
		h.parent.parts--
	}
}

func (w *watch) version() version { return w.inner.version() }

func (w *watch) count() (int, error) {
	if err := w.begin("count"); err != nil {
		return 0, err
	}
	return w.inner.count()
}

func (w *watch) open(index int) (npu, error) {
	if err := w.begin("open"); err != nil {
		return nil, err
	}
	n, err := w.inner.open(index)
	if err != nil {
		return nil, err
	}
	return &watchedNPU{w.handle("device", nil), n, map[[16]byte]*xclbin.File{}}, nil
}

type watchedNPU struct {
	handle
	inner      npu
	registered map[[16]byte]*xclbin.File
}

func (d *watchedNPU) fact(which fact) (string, error) {
	if err := d.use("fact"); err != nil {
		return "", err
	}
	return d.inner.fact(which)
}

func (d *watchedNPU) register(data []byte) ([16]byte, error) {
	if err := d.use("register"); err != nil {
		return [16]byte{}, err
	}
	file, err := xclbin.NewFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		d.w.t.Errorf("an xclbin is registered that cannot be read: %v", err)
		return [16]byte{}, err
	}
	d.w.set(func() { d.registered[file.UUID] = file })
	return d.inner.register(data)
}

func (d *watchedNPU) context(uuid [16]byte) (hwContext, error) {
	if err := d.use("context"); err != nil {
		return nil, err
	}
	c, err := d.inner.context(uuid)
	if err != nil {
		return nil, err
	}
	d.w.mu.Lock()
	file := d.registered[uuid]
	d.w.mu.Unlock()
	return &watchedContext{d.w.handle("context", &d.handle), c, file}, nil
}

func (d *watchedNPU) allocate(bytes int64, kind memoryKind, group int32) (bo, error) {
	if err := d.use("allocate"); err != nil {
		return nil, err
	}
	b, err := d.inner.allocate(bytes, kind, group)
	return d.w.bo(&d.handle, "bo", b, bytes, group, err)
}

func (d *watchedNPU) user(pages []byte, group int32) (bo, error) {
	if err := d.use("user"); err != nil {
		return nil, err
	}
	b, err := d.inner.user(pages, group)
	return d.w.bo(&d.handle, "bo", b, int64(len(pages)), group, err)
}

func (d *watchedNPU) close() {
	d.ends()
	d.inner.close()
}

type watchedContext struct {
	handle
	inner hwContext
	file  *xclbin.File
}

func (c *watchedContext) kernel(name string) (hwKernel, error) {
	if err := c.use("kernel"); err != nil {
		return nil, err
	}
	k, err := c.inner.kernel(name)
	if err != nil {
		return nil, err
	}
	return &watchedKernel{c.w.handle("kernel", &c.handle), k, c.file.Kernel(name)}, nil
}

func (c *watchedContext) list() (runList, error) {
	if err := c.use("list"); err != nil {
		return nil, err
	}
	l, err := c.inner.list()
	if err != nil {
		return nil, err
	}
	return &watchedList{c.w.handle("list", &c.handle), l, flight{launch: l}}, nil
}

func (c *watchedContext) close() {
	c.ends()
	c.inner.close()
}

type watchedKernel struct {
	handle
	inner    hwKernel
	compiled *xclbin.Kernel
}

func (k *watchedKernel) group(index uint32) (uint32, error) {
	if err := k.use("group"); err != nil {
		return 0, err
	}
	if a := k.compiled.ArgumentAt(int(index)); a == nil || !a.Buffer() {
		k.w.t.Errorf("the memory group of argument %d, which is no buffer, is asked for", index)
	}
	id, err := k.inner.group(index)
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	return id + k.w.skew, err
}

func (k *watchedKernel) run() (hwRun, error) {
	if err := k.use("run"); err != nil {
		return nil, err
	}
	r, err := k.inner.run()
	if err != nil {
		return nil, err
	}
	w := &watchedRun{handle: k.w.handle("run", &k.handle), inner: r, kernel: k, buffers: map[uint32]*watchedBO{}, scalars: map[uint32]uint64{}}
	w.flight = flight{r, []*watchedRun{w}}
	return w, nil
}

func (k *watchedKernel) close() {
	k.ends()
	k.inner.close()
}

type watchedBO struct {
	handle
	inner bo
	bytes int64
	bank  int32
}

func (w *watch) bo(parent *handle, kind string, b bo, bytes int64, bank int32, err error) (bo, error) {
	if err != nil {
		return nil, err
	}
	return &watchedBO{w.handle(kind, parent), b, bytes, bank}, nil
}

func (b *watchedBO) host() ([]byte, error) {
	if err := b.use("host"); err != nil {
		return nil, err
	}
	return b.inner.host()
}

func (b *watchedBO) sync(toDevice bool, offset, bytes int64) error {
	if offset < 0 || bytes < 0 || offset+bytes > b.bytes {
		b.w.t.Errorf("sync of %d bytes at %d in a buffer of %d", bytes, offset, b.bytes)
	}
	if err := b.use("sync"); err != nil {
		return err
	}
	return b.inner.sync(toDevice, offset, bytes)
}

func (b *watchedBO) part(offset, bytes int64) (bo, error) {
	if err := b.use("part"); err != nil {
		return nil, err
	}
	p, err := b.inner.part(offset, bytes)
	return b.w.bo(&b.handle, "part", p, bytes, b.bank, err)
}

func (b *watchedBO) close() {
	b.w.mu.Lock()
	for f := range b.w.inFlight {
		for _, r := range f.runs {
			for _, used := range r.buffers {
				if used == b {
					b.w.t.Errorf("a buffer is freed that a run is using")
				}
			}
		}
	}
	b.w.mu.Unlock()
	b.ends()
	b.inner.close()
}
