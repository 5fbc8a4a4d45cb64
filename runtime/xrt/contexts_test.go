package xrt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"npuw/runtime/device"
)

// many is a device with a kernel in each of several xclbins.
type many struct {
	t        *testing.T
	rig      *rig
	device   *Device
	model    *device.Model
	sessions []*session
}

func newMany(t *testing.T, r *rig, n int) *many {
	t.Helper()
	f := newFixture(t, apart(n)...)
	s := &many{t: t, rig: r, device: r.device(f)}
	s.model = load(t, s.device, f)
	for i := range n {
		s.sessions = append(s.sessions, sessionOf(t, s.device, f, s.model, i))
	}
	return s
}

func (s *many) run(i int) {
	s.t.Helper()
	s.sessions[i].mustRun()
}

func (s *many) close() {
	s.t.Helper()
	for _, x := range s.sessions {
		x.done()
	}
	check(s.t, s.model.Close())
	check(s.t, s.device.Close())
	s.rig.hasNone()
}

// resident are the xclbins in contexts, least recently used first.
func (s *many) resident() []int {
	s.device.contexts.mu.Lock()
	defer s.device.contexts.mu.Unlock()
	var list []int
	for _, r := range s.device.contexts.live {
		list = append(list, slices.IndexFunc(s.sessions, func(x *session) bool { return x.kernel.(*Kernel).file == r.file }))
	}
	return list
}

// want fails the test where other xclbins are in contexts.
func (s *many) want(list ...int) {
	s.t.Helper()
	if got := s.resident(); !slices.Equal(got, list) {
		s.t.Errorf("in contexts: %v, want %v", got, list)
	}
}

func TestEviction(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		s := newMany(t, r, 8)
		s.want(2, 3, 4, 5, 6, 7)
		s.run(2)
		s.want(3, 4, 5, 6, 7, 2)
		s.run(0)
		s.want(4, 5, 6, 7, 2, 0)
		check(t, s.sessions[7].kernel.Close())
		s.run(1) // that of 7, which no kernel needs, goes before older ones
		s.want(4, 5, 6, 2, 0, 1)
		made := r.total("context")
		for range 3 {
			for _, i := range []int{4, 5, 6, 2, 0, 1} {
				s.run(i)
			}
		}
		if r.total("context") != made {
			t.Error("contexts were made anew that there was room for")
		}
		for _, x := range s.sessions[:7] {
			x.mustRun()
			x.right(r)
		}
		s.close()
	})
}

// An xclbin of an artifact that is not loaded any more goes before an older one, whose weights are resident.
func TestEvictionSparesWhatIsLoaded(t *testing.T) {
	onEach(t, conditions{contexts: 2}, func(t *testing.T, r *rig) {
		f := newFixture(t, apart(3)...)
		d := r.deviceWith(Options{Xclbins: Folder(f.folder), Contexts: 2})
		resident := load(t, d, f) // which leaves the xclbins of contracts 1 and 2 in contexts, and no kernel open
		other := newEdited(t, edits{xclbin: aged}, small)
		d.find = Folder(other.folder)
		check(t, load(t, d, other).Close()) // takes the place of 1
		before := r.total("context")
		third := newEdited(t, edits{xclbin: func(s *xclbinSpec) { aged(s); aged(s) }}, small)
		d.find = Folder(third.folder)
		x := newSession(t, d, third, 0) // takes that of the other, although 2 is the least recently used
		two := sessionOf(t, d, f, resident, 2)
		two.mustRun()
		if made := r.total("context") - before; made != 1 {
			t.Errorf("%d contexts were made, want 1", made)
		}
		x.mustRun()
		two.done()
		x.close()
		check(t, resident.Close())
		check(t, d.Close())
		r.hasNone()
	})
}

// Other programs have contexts, too: then there is room for fewer.
func TestFewerContextsThanThought(t *testing.T) {
	onEach(t, conditions{contexts: 2}, func(t *testing.T, r *rig) {
		s := newMany(t, r, 3)
		for range 3 {
			for i := range s.sessions {
				s.run(i)
				s.sessions[i].right(r)
			}
		}
		s.close()
	})
}

func TestNoContextAtAll(t *testing.T) {
	onEach(t, conditions{contexts: none}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		d := r.device(f)
		if _, err := device.Load(context.Background(), d, f.path, device.LoadOptions{}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%v", err)
		}
		check(t, d.Close())
		r.hasNone()
	})
}

// With runs in all contexts, another waits for one of them, or for the end of its time.
func TestWaitsForAContext(t *testing.T) {
	onEach(t, conditions{held: all}, func(t *testing.T, r *rig) {
		s := newMany(t, r, 7)
		var errs []chan error
		start := func(i int) {
			done := make(chan error, 1)
			errs = append(errs, done)
			go func() { done <- s.sessions[i].run(context.Background()) }()
		}
		for i := range 6 {
			start(i)
		}
		r.await(6)
		err := s.sessions[6].run(newOverdue())
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "waiting for a hardware context") {
			t.Errorf("a run that waits: %v", err)
		}
		k, err := s.device.Open(s.sessions[6].kernel.Contract()) // needs no context yet
		check(t, err)
		check(t, k.Close())
		start(6)
		r.release()
		for i, done := range errs {
			check(t, <-done)
			s.sessions[i].right(r)
		}
		s.close()
	})
}

// Where every context waits for a run that does not end, nothing can run, and that is what the error says.
func TestAllContextsHang(t *testing.T) {
	onEach(t, conditions{held: all}, func(t *testing.T, r *rig) {
		s := newMany(t, r, 7)
		for i := range 6 {
			if err := s.sessions[i].run(newOverdue()); !errors.Is(err, ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("run %d: %v", i, err)
			}
		}
		if err := s.sessions[6].run(context.Background()); !errors.Is(err, errLost) {
			t.Errorf("with all contexts lost: %v", err)
		}
		r.release()
		r.settle()
		s.run(6)
		s.sessions[6].right(r)
		s.close()
	})
}

// What took longer than its time ends after all, and is freed without a further run.
func TestAbandonedRunsAreReaped(t *testing.T) {
	onEach(t, conditions{held: 1}, func(t *testing.T, r *rig) {
		s := newMany(t, r, 1)
		if err := s.sessions[0].run(newOverdue()); !errors.Is(err, ErrBroken) {
			t.Fatalf("%v", err)
		}
		r.release()
		r.settle()
		s.close()
	})
}
