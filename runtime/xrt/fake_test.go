package xrt

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"npuw/artifact/xclbin"
)

// fakeXRT stands in for XRT in tests of what is around it. It computes nothing, and complains of all that XRT would crash on: what is
// used after it was closed, closed twice or too early, runs that end before they have ended, indexes that are wrong.
type fakeXRT struct {
	t       *testing.T
	devices int
	facts   map[fact]string
	release version

	mu       sync.Mutex
	fail     map[string]error // by call
	limit    int              // of contexts
	hang     int              // the run, from 1, that does not end
	outcome  state            // of runs; 0: completed
	group    uint32           // added to what group gives
	left     map[string]int   // handles by kind
	made     map[string]int
	inFlight map[*fakeRun]bool
	polls    int // how many times a run is asked before it has ended
}

func newFake(t *testing.T) *fakeXRT {
	return &fakeXRT{t: t, devices: 1, release: version{2, 25, 0}, fail: map[string]error{}, limit: 6, left: map[string]int{}, made: map[string]int{}, inFlight: map[*fakeRun]bool{}}
}

// begin notes a call, and gives the error that it is to fail with.
func (f *fakeXRT) begin(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail[call]
}

func (f *fakeXRT) set(edit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit()
}

// await waits until a number of runs are in flight.
func (f *fakeXRT) await(runs int) {
	for {
		f.mu.Lock()
		n := len(f.inFlight)
		f.mu.Unlock()
		if n == runs {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// handles are those still open.
func (f *fakeXRT) handles() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := maps.Clone(f.left)
	maps.DeleteFunc(list, func(_ string, n int) bool { return n == 0 })
	return list
}

// handle is a handle of XRT.
type handle struct {
	f      *fakeXRT
	kind   string
	parent *handle
	parts  int
	closed bool
}

func (f *fakeXRT) handle(kind string, parent *handle) handle {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left[kind]++
	f.made[kind]++
	if parent != nil {
		parent.parts++
	}
	return handle{f: f, kind: kind, parent: parent}
}

func (h *handle) use() {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	if h.closed {
		h.f.t.Errorf("a %s is used after it was closed", h.kind)
	}
}

func (h *handle) close() {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	if h.closed {
		h.f.t.Errorf("a %s is closed twice", h.kind)
		return
	}
	if h.parts > 0 {
		h.f.t.Errorf("a %s is closed before what was made from it", h.kind)
	}
	h.closed = true
	h.f.left[h.kind]--
	if h.parent != nil {
		h.parent.parts--
	}
}

func (f *fakeXRT) version() version    { return f.release }
func (f *fakeXRT) count() (int, error) { return f.devices, f.begin("count") }
func (f *fakeXRT) open(int) (npu, error) {
	if err := f.begin("open"); err != nil {
		return nil, err
	}
	return &fakeNPU{handle: f.handle("device", nil), registered: map[[16]byte]*xclbin.File{}}, nil
}

type fakeNPU struct {
	handle
	registered map[[16]byte]*xclbin.File
}

func (d *fakeNPU) fact(which fact) (string, error) { return d.f.facts[which], d.f.begin("fact") }

func (d *fakeNPU) register(data []byte) ([16]byte, error) {
	d.use()
	file, err := xclbin.NewFile(readerOf(data), int64(len(data)))
	if err != nil {
		return [16]byte{}, err
	}
	d.f.set(func() { d.registered[file.UUID] = file })
	return file.UUID, d.f.begin("register")
}

func (d *fakeNPU) context(uuid [16]byte) (hwContext, error) {
	d.use()
	if err := d.f.begin("context"); err != nil {
		return nil, err
	}
	d.f.mu.Lock()
	full, file := d.f.left["context"] >= d.f.limit, d.registered[uuid]
	d.f.mu.Unlock()
	if full {
		return nil, &Error{Call: "make a hardware context", Errno: syscall.EINVAL, Text: "no more"}
	}
	return &fakeContext{handle: d.f.handle("context", &d.handle), file: file}, nil
}

func (d *fakeNPU) allocate(bytes int64, _ memoryKind, group int32) (bo, error) {
	d.use()
	if err := d.f.begin("allocate"); err != nil {
		return nil, err
	}
	return &fakeBO{handle: d.f.handle("bo", &d.handle), data: make([]byte, bytes), bank: group}, nil
}

func (d *fakeNPU) user(pages []byte, group int32) (bo, error) {
	d.use()
	if err := d.f.begin("user"); err != nil {
		return nil, err
	}
	return &fakeBO{handle: d.f.handle("bo", &d.handle), data: pages, bank: group}, nil
}

type fakeContext struct {
	handle
	file *xclbin.File
}

func (c *fakeContext) kernel(name string) (hwKernel, error) {
	c.use()
	if err := c.f.begin("kernel"); err != nil {
		return nil, err
	}
	return &fakeKernel{handle: c.f.handle("kernel", &c.handle), compiled: c.file.Kernel(name)}, nil
}

func (c *fakeContext) list() (runList, error) {
	c.use()
	return &fakeList{handle: c.f.handle("list", &c.handle)}, c.f.begin("list")
}

type fakeKernel struct {
	handle
	compiled *xclbin.Kernel
}

func (k *fakeKernel) group(index uint32) (uint32, error) {
	k.use()
	return xclbin.GroupID(1, k.compiled.ArgumentAt(int(index)).MemoryGroup) + k.f.group, k.f.begin("group")
}

func (k *fakeKernel) run() (hwRun, error) {
	k.use()
	if err := k.f.begin("run"); err != nil {
		return nil, err
	}
	return &fakeRun{handle: k.f.handle("run", &k.handle), kernel: k, buffers: map[uint32]*fakeBO{}, scalars: map[uint32]uint64{}}, nil
}

type fakeBO struct {
	handle
	data []byte
	bank int32
}

func (b *fakeBO) host() ([]byte, error) { return b.data, b.f.begin("host") }

func (b *fakeBO) sync(_ bool, offset, bytes int64) error {
	b.use()
	if offset < 0 || bytes < 0 || offset+bytes > int64(len(b.data)) {
		b.f.t.Errorf("sync of %d bytes at %d in a buffer of %d", bytes, offset, len(b.data))
	}
	return b.f.begin("sync")
}

func (b *fakeBO) part(offset, bytes int64) (bo, error) {
	b.use()
	if err := b.f.begin("part"); err != nil {
		return nil, err
	}
	return &fakeBO{handle: b.f.handle("part", &b.handle), data: b.data[offset : offset+bytes], bank: b.bank}, nil
}

func (b *fakeBO) close() {
	b.f.mu.Lock()
	for r := range b.f.inFlight {
		for _, used := range r.buffers {
			if used == b {
				b.f.t.Errorf("a buffer is freed that a run is using")
			}
		}
	}
	b.f.mu.Unlock()
	b.handle.close()
}

type fakeRun struct {
	handle
	kernel  *fakeKernel
	buffers map[uint32]*fakeBO
	scalars map[uint32]uint64
	number  int
	asked   int
}

func (r *fakeRun) scalar(index uint32, value uint64, bytes int) error {
	r.use()
	if a := r.kernel.compiled.ArgumentAt(int(index)); a == nil || a.Buffer() || a.Size != uint64(bytes) {
		r.f.t.Errorf("a number of %d bytes for argument %d", bytes, index)
	}
	r.scalars[index] = value
	return r.f.begin("scalar")
}

func (r *fakeRun) buffer(index uint32, b bo) error {
	r.use()
	used := b.(*fakeBO)
	used.use()
	a := r.kernel.compiled.ArgumentAt(int(index))
	if a == nil || !a.Buffer() || a.MemoryGroup != used.bank {
		r.f.t.Errorf("a buffer of bank %d for argument %d", used.bank, index)
	}
	r.buffers[index] = used
	return r.f.begin("buffer")
}

func (r *fakeRun) start() error {
	r.use()
	if err := r.f.begin("start"); err != nil {
		return err
	}
	for _, index := range []uint32{0, 2} {
		if _, ok := r.scalars[index]; !ok {
			r.f.t.Errorf("scalar %d was not set", index)
		}
	}
	if r.buffers[1] == nil || r.scalars[0] != opcodeRun || r.scalars[2] != uint64(len(r.buffers[1].data)/wordBytes) && len(r.buffers[1].data) > partAlign {
		r.f.t.Errorf("opcode %d with %d words of instructions", r.scalars[0], r.scalars[2])
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	for _, b := range r.buffers {
		if b.closed {
			r.f.t.Errorf("a run starts with a buffer that was freed")
		}
	}
	r.f.made["start"]++
	r.number, r.asked = r.f.made["start"], 0
	r.f.inFlight[r] = true
	return nil
}

func (r *fakeRun) state() (state, error) {
	r.use()
	if err := r.f.begin("state"); err != nil {
		return 0, err
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.asked++
	if r.number == r.f.hang || r.asked <= r.f.polls {
		return stateRunning, nil
	}
	delete(r.f.inFlight, r)
	if r.f.outcome != 0 {
		return r.f.outcome, nil
	}
	return stateCompleted, nil
}

func (r *fakeRun) close() {
	r.f.mu.Lock()
	if r.f.inFlight[r] {
		r.f.t.Errorf("a run is closed before it has ended")
	}
	r.f.mu.Unlock()
	r.handle.close()
}

type fakeList struct {
	handle
	runs []*fakeRun
}

func (l *fakeList) add(r hwRun) error {
	l.use()
	run := r.(*fakeRun)
	if slices.Contains(l.runs, run) {
		l.f.t.Error("a run is twice in a list")
	}
	l.runs = append(l.runs, run)
	return l.f.begin("add")
}

func (l *fakeList) start() error {
	l.use()
	for _, r := range l.runs {
		if err := r.start(); err != nil {
			return err
		}
	}
	return nil
}

func (l *fakeList) state() (state, error) {
	l.use()
	for _, r := range l.runs {
		if s, err := r.state(); err != nil || s != stateCompleted {
			return s, err
		}
	}
	return stateCompleted, nil
}

// openFake opens a device on the fake, without a limit of memory.
func openFake(t *testing.T, f *fakeXRT, fixture fixture) *Device {
	t.Helper()
	d, err := open(f, math.MaxInt64, Options{Xclbins: Folder(fixture.folder)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readerOf(data []byte) *bytes.Reader { return bytes.NewReader(data) }
