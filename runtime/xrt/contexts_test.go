package xrt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"npuw/runtime/device"
)

// many is a device with a kernel in each of several xclbins.
type many struct {
	fake    *fakeXRT
	device  *Device
	model   *device.Model
	kernels []device.Kernel
	args    []device.Arguments
}

func newMany(t *testing.T, n int) *many {
	t.Helper()
	gemms := make([]gemm, n)
	for i := range gemms {
		gemms[i] = small
		gemms[i].xclbin = i
	}
	f := newFixture(t, n, nil, gemms...)
	s := &many{fake: newFake(t)}
	s.device = openFake(t, s.fake, f)
	s.model = load(t, s.device, f)
	for i := range n {
		s.kernels = append(s.kernels, openKernel(t, s.device, s.model, i))
		s.args = append(s.args, arguments(t, s.device, s.model, i, 1))
	}
	return s
}

func (s *many) run(t *testing.T, i int) {
	t.Helper()
	if _, err := s.kernels[i].Run(context.Background(), s.args[i]); err != nil {
		t.Fatal(err)
	}
}

func (s *many) close(t *testing.T) {
	t.Helper()
	for i, k := range s.kernels {
		check(t, k.Close())
		closeActivations(t, k.Contract(), s.args[i])
	}
	check(t, s.model.Close())
	check(t, s.device.Close())
	s.fake.hasNone(t)
}

// resident are the xclbins in contexts, least recently used first.
func (s *many) resident() []int {
	s.device.contexts.mu.Lock()
	defer s.device.contexts.mu.Unlock()
	var list []int
	for _, r := range s.device.contexts.live {
		list = append(list, slices.IndexFunc(s.kernels, func(k device.Kernel) bool { return k.(*Kernel).file == r.file }))
	}
	return list
}

func TestEviction(t *testing.T) {
	t.Parallel()
	s := newMany(t, 8)
	want := func(list ...int) {
		t.Helper()
		if got := s.resident(); !slices.Equal(got, list) {
			t.Errorf("in contexts: %v, want %v", got, list)
		}
	}
	want(2, 3, 4, 5, 6, 7)
	s.run(t, 2)
	want(3, 4, 5, 6, 7, 2)
	s.run(t, 0)
	want(4, 5, 6, 7, 2, 0)
	check(t, s.kernels[7].Close())
	s.run(t, 1) // that of 7, which no kernel needs, goes before older ones
	want(4, 5, 6, 2, 0, 1)
	made := s.fake.made["context"]
	for range 3 {
		for _, i := range []int{4, 5, 6, 2, 0, 1} {
			s.run(t, i)
		}
	}
	if s.fake.made["context"] != made {
		t.Error("contexts were made anew that there was room for")
	}
	s.close(t)
}

// Other programs have contexts, too: then there is room for fewer.
func TestFewerContextsThanThought(t *testing.T) {
	t.Parallel()
	s := newMany(t, 3)
	s.fake.set(func() { s.fake.limit = 2 })
	for range 3 {
		for i := range s.kernels {
			s.run(t, i)
		}
	}
	s.close(t)
	fake := newFake(t)
	fake.limit = 0
	f := newFixture(t, 1, nil, small)
	d := openFake(t, fake, f)
	if _, err := device.Load(context.Background(), d, f.path, device.LoadOptions{}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("no context at all: %v", err)
	}
	check(t, d.Close())
	fake.hasNone(t)
}

// With runs in all contexts, another waits for one of them, or for the end of its time.
func TestWaitsForAContext(t *testing.T) {
	t.Parallel()
	s := newMany(t, 7)
	s.fake.set(func() { s.fake.polls = 1 << 30 })
	var errs []chan error
	for i := range 6 {
		done := make(chan error, 1)
		errs = append(errs, done)
		go func() {
			_, err := s.kernels[i].Run(context.Background(), s.args[i])
			done <- err
		}()
	}
	s.fake.await(6)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := s.kernels[6].Run(ctx, s.args[6])
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "waiting for a hardware context") {
		t.Errorf("a run that waits: %v", err)
	}
	k, err := s.device.Open(s.kernels[6].Contract()) // needs no context yet
	check(t, err)
	check(t, k.Close())
	waiting := make(chan error, 1)
	go func() {
		_, err := s.kernels[6].Run(context.Background(), s.args[6])
		waiting <- err
	}()
	s.fake.set(func() { s.fake.polls = 0 })
	for _, done := range append(errs, waiting) {
		check(t, <-done)
	}
	s.close(t)
}

// Where every context waits for a run that never ends, nothing can run, and that is what the error says.
func TestAllContextsHang(t *testing.T) {
	t.Parallel()
	s := newMany(t, 7)
	s.fake.set(func() { s.fake.polls = 1 << 30 })
	for i := range 6 {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			s.fake.await(i + 1)
			cancel()
		}()
		if _, err := s.kernels[i].Run(ctx, s.args[i]); !errors.Is(err, ErrBroken) || !errors.Is(err, context.Canceled) {
			t.Errorf("run %d: %v", i, err)
		}
	}
	if _, err := s.kernels[6].Run(context.Background(), s.args[6]); !errors.Is(err, errLost) {
		t.Errorf("with all contexts lost: %v", err)
	}
	s.fake.set(func() { s.fake.polls = 0 })
	s.run(t, 6)
	s.close(t)
}
