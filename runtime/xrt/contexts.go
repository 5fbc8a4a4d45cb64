package xrt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"
)

// contexts are the hardware contexts of a device, of which it takes few: one for each xclbin in use, least recently used first to go.
// One whose weights are resident goes only where no other will do, one with an open kernel after those; one with runs in it stays. One
// with a run that did not end in its time is retired: it takes no more runs, and counts until the device is through with it.
type contexts struct {
	limit    int
	open     func(x *xclbinFile) (hwContext, error)
	resident func(x *xclbinFile) bool // an artifact that names it is loaded

	mu      sync.Mutex
	live    []*residence // least recently used first
	retired []*residence
	changed chan struct{} // closed, and made anew, when a context may have become free
}

// residence is an xclbin in a hardware context.
type residence struct {
	file    *xclbinFile
	native  hwContext
	users   int                 // runs in it, and calls
	kernels map[*Kernel]*hosted // that have run in it
	given   []*abandoned        // runs that did not end in their time
}

// hosted is a kernel in a context, with runs that are ready to be used again.
type hosted struct {
	native hwKernel
	idle   []hwRun
}

// abandoned is what a run that did not end in its time uses.
type abandoned struct {
	launch launch
	runs   []hwRun // of a list
	held   []*memory
}

var (
	errBusy = errors.New("all hardware contexts have runs in them")
	errHeld = errors.New("a run that did not end in its time may still read it")
	errLost = errors.New("all hardware contexts wait for runs that did not end in their time; the NPU hangs: end this process, or reload the amdxdna driver")
)

// lookAgain is how long to wait before looking again whether abandoned runs have ended.
const lookAgain = 20 * time.Millisecond

func newContexts(limit int, open func(*xclbinFile) (hwContext, error), resident func(*xclbinFile) bool) *contexts {
	return &contexts{limit: limit, open: open, resident: resident, changed: make(chan struct{})}
}

// acquire gives the context of an xclbin, for a run in it; release or abandon must follow. While runs are in all contexts it waits,
// or, without wait, gives errBusy.
func (c *contexts) acquire(ctx context.Context, x *xclbinFile, wait bool) (*residence, error) {
	for {
		r, changed, err := c.try(x)
		if r != nil || err != nil && (!wait || !errors.Is(err, errBusy)) {
			return r, err
		}
		timer := time.NewTimer(lookAgain)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("waiting for a hardware context: %w", ctx.Err())
		}
		timer.Stop()
	}
}

// try is acquire without waiting. changed is closed when another try may do better.
func (c *contexts) try(x *xclbinFile) (r *residence, changed chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.live, func(r *residence) bool { return r.file == x }); i >= 0 {
		r := c.live[i]
		c.live = append(slices.Delete(c.live, i, i+1), r)
		r.users++
		return r, nil, nil
	}
	c.reap()
	if len(c.live)+len(c.retired) >= c.limit && !c.evict() {
		if !slices.ContainsFunc(slices.Concat(c.live, c.retired), func(r *residence) bool { return r.users > 0 }) {
			return nil, nil, errLost
		}
		return nil, c.changed, errBusy
	}
	native, err := c.open(x)
	if errors.Is(err, syscall.EINVAL) && c.evict() { // other programs have contexts, too
		native, err = c.open(x)
	}
	if err != nil {
		return nil, nil, err
	}
	r = &residence{file: x, native: native, users: 1, kernels: map[*Kernel]*hosted{}}
	c.live = append(c.live, r)
	return r, nil, nil
}

// evict closes the context that will be missed least, if there is one without runs.
func (c *contexts) evict() bool {
	victim, least := -1, 0
	for i, r := range c.live {
		if r.users > 0 {
			continue
		}
		if missed := c.missed(r); victim < 0 || missed < least {
			victim, least = i, missed
		}
	}
	if victim < 0 {
		return false
	}
	c.live[victim].destroy()
	c.live = slices.Delete(c.live, victim, victim+1)
	return true
}

// missed is how soon a context will be needed again, as far as that can be told.
func (c *contexts) missed(r *residence) int {
	switch {
	case r.file.open > 0:
		return 2
	case c.resident(r.file):
		return 1
	}
	return 0
}

// release ends what acquire began.
func (c *contexts) release(r *residence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.users--
	c.notify()
}

// retire lets no more runs into a context.
func (c *contexts) retire(r *residence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retireLocked(r)
}

func (c *contexts) retireLocked(r *residence) {
	if i := slices.Index(c.live, r); i >= 0 {
		c.live = slices.Delete(c.live, i, i+1)
		c.retired = append(c.retired, r)
	}
}

// abandon is release for a run that did not end in its time, with what it uses.
func (c *contexts) abandon(r *residence, a *abandoned) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retireLocked(r)
	r.given = append(r.given, a)
	r.users--
	c.notify()
}

func (c *contexts) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// reap frees what abandoned runs used that have ended after all, and contexts that wait for none any more.
func (c *contexts) reap() {
	c.retired = slices.DeleteFunc(c.retired, func(r *residence) bool {
		r.given = slices.DeleteFunc(r.given, (*abandoned).ended)
		if r.users > 0 || len(r.given) > 0 {
			return false
		}
		r.destroy()
		return true
	})
}

// ended frees what an abandoned run used, if it has ended.
func (a *abandoned) ended() bool {
	if s, err := a.launch.state(); err != nil || s.pending() {
		return false
	}
	a.launch.close()
	for _, r := range a.runs {
		r.close()
	}
	for _, m := range a.held {
		m.drop()
	}
	return true
}

// destroy closes a context that nobody uses.
func (r *residence) destroy() {
	for _, h := range r.kernels {
		h.destroy()
	}
	r.native.close()
}

func (h *hosted) destroy() {
	for _, run := range h.idle {
		run.close()
	}
	h.native.close()
}

// kernelOpened and kernelClosed count the open kernels of an xclbin; the latter frees what a kernel has in contexts.
func (c *contexts) kernelOpened(k *Kernel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.file.open++
}

func (c *contexts) kernelClosed(k *Kernel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.file.open--
	for _, r := range c.live {
		if h := r.kernels[k]; h != nil {
			h.destroy()
			delete(r.kernels, k)
		}
	}
	c.reap()
}

// hosted gives a kernel in a context that the caller has acquired, with a run that is ready if there is one.
func (c *contexts) hosted(r *residence, k *Kernel) (*hosted, hwRun, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := r.kernels[k]
	if h == nil {
		native, err := k.place(r.native)
		if err != nil {
			return nil, nil, err
		}
		h = &hosted{native: native}
		r.kernels[k] = h
	}
	if n := len(h.idle); n > 0 {
		run := h.idle[n-1]
		h.idle = h.idle[:n-1]
		return h, run, nil
	}
	run, err := h.native.run()
	return h, run, err
}

// keep puts a run that has ended aside to be used again.
func (c *contexts) keep(h *hosted, run hwRun) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.idle = append(h.idle, run)
}

// close ends all contexts that no abandoned run is in, and gives the number of those that had to be left. All runs have ended or been
// abandoned.
func (c *contexts) close() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.live {
		r.destroy()
	}
	c.live = nil
	c.reap()
	return len(c.retired)
}
