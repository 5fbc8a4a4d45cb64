package xrt

import (
	"context"
	"math"
	"sync"
	"syscall"
	"testing"
)

// conditions say what is below the driver and how it behaves. The zero conditions are an NPU that does as it is told.
type conditions struct {
	npus     int           // how many there are; 0: one; none: not one
	contexts int           // how many hardware contexts there can be; 0: 6; none: not one
	refusal  syscall.Errno // of user pointers; 0: they are taken
	held     int           // the run, from 1, that does not begin before release; or all
	outcome  state         // in which the first run ends; 0: completed
	gone     int           // the run, from 1, at which the NPU goes away; 0: it stays
	trace    bool          // the software NPU's log shows the arguments of each run
}

const (
	all  = -1 // runs
	none = -1 // contexts, or NPUs
)

// room is how many contexts there can be.
func (c *conditions) room() int {
	switch c.contexts {
	case none:
		return 0
	case 0:
		return npu1Contexts
	}
	return c.contexts
}

// rig is an NPU for a test, with a driver that is watched.
type rig struct {
	*watch
	real    bool          // it is the software NPU, below the real XRT: outputs are real
	release func()        // lets held runs begin
	log     func() string // what the software NPU wrote
	// alone reports whether to go on with a test that leaves something open in XRT, or needs XRT to begin anew: the software NPU's runs
	// in a process of its own.
	alone func() bool
	// leaves says that the test does so.
	leaves bool
}

// onEach runs a test on the fake, and, in a program that was built with XRT, on the real one over the software NPU.
func onEach(t *testing.T, c conditions, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Run("fake", func(t *testing.T) {
		t.Parallel()
		f := newFake(c)
		test(t, &rig{watch: newWatch(t, f), release: f.letGo, log: func() string { return "" }, alone: func() bool { return true }})
	})
	onSoftware(t, c, test)
}

// device opens the device with the xclbins of a fixture, without a limit of memory.
func (r *rig) device(f fixture) *Device { return r.deviceWith(Options{Xclbins: Folder(f.folder)}) }

func (r *rig) deviceWith(opts Options) *Device {
	r.t.Helper()
	d, err := open(r, math.MaxInt64, opts)
	check(r.t, err)
	return d
}

// overdue is a context whose deadline passes as soon as somebody waits for it: by then work has begun, on the fastest machine and on
// the slowest.
type overdue struct {
	context.Context
	once sync.Once
	done chan struct{}
}

func newOverdue() *overdue { return &overdue{Context: context.Background(), done: make(chan struct{})} }

func (o *overdue) Done() <-chan struct{} {
	o.once.Do(func() { close(o.done) })
	return o.done
}

func (o *overdue) Err() error {
	select {
	case <-o.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
