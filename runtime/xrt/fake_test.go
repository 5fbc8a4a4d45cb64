package xrt

import (
	"bytes"
	"sync"
	"syscall"

	"npuw/artifact/xclbin"
)

// fake stands in for XRT, and for the NPU below it, where there is neither. It computes nothing.
type fake struct {
	conditions
	release version
	facts   map[fact]string

	mu     sync.Mutex
	live   int // contexts
	starts int
	free   bool // what was held is not any more
	lost   bool // the NPU is gone
}

func newFake(c conditions) *fake {
	return &fake{conditions: c, release: version{2, 25, 0}, facts: map[fact]string{
		nameFact: "fake NPU", bdfFact: "0000:c5:00.1",
		hostFact:     `{"version": "2.25.0", "drivers": [{"name": "virtio-pci", "version": "unknown"}, {"name": "amdxdna", "version": "7.1"}]}`,
		platformFact: `{"platforms": [{"static_region": {"name": "fake NPU", "total_columns": "5"}}]}`,
	}}
}

// failure is what XRT answers to an ioctl that fails.
func failure(call string, errno syscall.Errno) error {
	return &Error{Call: call, Errno: errno, Text: "the ioctl failed"}
}

// here is an error where the NPU is gone.
func (f *fake) here(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost {
		return failure(call, syscall.ENODEV)
	}
	return nil
}

// letGo lets held runs end.
func (f *fake) letGo() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = true
}

func (f *fake) version() version { return f.release }

func (f *fake) count() (int, error) {
	if f.npus == none {
		return 0, nil
	}
	return max(f.npus, 1), nil
}

func (f *fake) open(int) (npu, error) {
	return &fakeNPU{f: f, registered: map[[16]byte]*xclbin.File{}}, nil
}

type fakeNPU struct {
	f          *fake
	registered map[[16]byte]*xclbin.File
}

func (d *fakeNPU) fact(which fact) (string, error) { return d.f.facts[which], d.f.here("ask") }

func (d *fakeNPU) register(data []byte) ([16]byte, error) {
	file, err := xclbin.NewFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return [16]byte{}, err
	}
	d.registered[file.UUID] = file
	return file.UUID, nil
}

func (d *fakeNPU) context(uuid [16]byte) (hwContext, error) {
	if err := d.f.here("make a hardware context"); err != nil {
		return nil, err
	}
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	if d.f.live >= d.f.room() {
		return nil, failure("make a hardware context", syscall.EINVAL)
	}
	d.f.live++
	return &fakeContext{d.f, d.registered[uuid]}, nil
}

func (d *fakeNPU) allocate(bytes int64, _ memoryKind, _ int32) (bo, error) {
	return &fakeBO{d.f, make([]byte, bytes)}, d.f.here("allocate a buffer")
}

func (d *fakeNPU) user(pages []byte, _ int32) (bo, error) {
	if d.f.refusal != 0 {
		return nil, failure("make a buffer of mapped pages", d.f.refusal)
	}
	return &fakeBO{d.f, pages}, d.f.here("make a buffer of mapped pages")
}

func (d *fakeNPU) close() {}

type fakeContext struct {
	f    *fake
	file *xclbin.File
}

func (c *fakeContext) kernel(name string) (hwKernel, error) {
	return &fakeKernel{c.f, c.file.Kernel(name)}, nil
}

func (c *fakeContext) list() (runList, error) { return &fakeList{fakeRun{f: c.f}}, nil }

func (c *fakeContext) close() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.live--
}

type fakeKernel struct {
	f        *fake
	compiled *xclbin.Kernel
}

func (k *fakeKernel) group(index uint32) (uint32, error) {
	return xclbin.GroupID(1, k.compiled.ArgumentAt(int(index)).MemoryGroup), nil
}

func (k *fakeKernel) run() (hwRun, error) { return &fakeRun{f: k.f}, nil }
func (k *fakeKernel) close()              {}

type fakeBO struct {
	f    *fake
	data []byte
}

func (b *fakeBO) host() ([]byte, error)            { return b.data, nil }
func (b *fakeBO) sync(bool, int64, int64) error    { return b.f.here("sync a buffer") }
func (b *fakeBO) part(at, bytes int64) (bo, error) { return &fakeBO{b.f, b.data[at : at+bytes]}, nil }
func (b *fakeBO) close()                           {}

type fakeRun struct {
	f      *fake
	number int // of the runs of the device, from 1
}

func (r *fakeRun) scalar(uint32, uint64, int) error { return nil }
func (r *fakeRun) buffer(uint32, bo) error          { return nil }

func (r *fakeRun) start() error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.starts++
	r.number = r.f.starts
	if r.f.gone > 0 && r.number >= r.f.gone {
		r.f.lost = true
		return failure("start a run", syscall.ENODEV)
	}
	return nil
}

func (r *fakeRun) state() (state, error) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	switch {
	case !r.f.free && (r.f.held == all || r.f.held == r.number):
		return stateRunning, nil
	case r.f.outcome != 0 && r.number == 1:
		return r.f.outcome, nil
	}
	return stateCompleted, nil
}

func (r *fakeRun) close() {}

type fakeList struct{ fakeRun }

func (l *fakeList) add(hwRun) error { return nil }
