package xrt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"

	"npuw/artifact/element"
	"npuw/runtime/device"
	"npuw/runtime/xrt/gemmtest"
)

func TestLoadRunClose(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		biased := gemm{GEMM: gemmtest.GEMM{M: 4, K: 8, N: 8, A: "M* K*", B: "K* N*", C: "M* N*", Format: element.BF16, Bias: true}}
		f := newFixture(t, small, biased)
		d := r.device(f)
		m := load(t, d, f)
		for i, s := range m.Report.Segments {
			if !s.Mapped {
				t.Errorf("segment %d was copied: %s", i, s.Why)
			}
		}
		for i := range m.Index.Contracts {
			s := sessionOf(t, d, f, m, i)
			for range 3 {
				s.mustRun()
			}
			s.right(r)
			check(t, s.kernel.Close())
			check(t, s.kernel.Close())
			if err := s.run(context.Background()); !errors.Is(err, device.ErrClosed) {
				t.Errorf("run after Close: %v", err)
			}
			s.done()
		}
		check(t, m.Close())
		check(t, d.Close())
		check(t, d.Close())
		r.hasNone()
		if r.total("context") != 1 || r.total("run") > 4 {
			t.Errorf("made %v; one context, and a run for each time a kernel was opened, were expected", r.made)
		}
		if _, err := d.Allocate(1, 0); !errors.Is(err, device.ErrClosed) {
			t.Errorf("allocate after Close: %v", err)
		}
	})
}

func TestLeaksAreReported(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		d := r.device(f)
		s := newSession(t, d, f, 0)
		var leak *device.LeakError
		if err := d.Close(); !errors.As(err, &leak) || leak.Kernels != 1 || leak.Buffers != 4 {
			t.Errorf("Close: %v", err)
		}
		r.hasNone()
		s.close()
	})
}

// A refusal to map is remembered where it will not change, and the segments are copied.
func TestCopiesWherePagesAreRefused(t *testing.T) {
	for errno, message := range map[syscall.Errno]string{
		syscall.ENOTSUP: "older than June 2025",
		syscall.EINVAL:  "older than March 2026",
		syscall.ENOMEM:  "RLIMIT_MEMLOCK is too small",
		syscall.EPERM:   "RLIMIT_MEMLOCK is 0",
		syscall.EIO:     "does not take the pages",
	} {
		onEach(t, conditions{refusal: errno}, func(t *testing.T, r *rig) {
			f := newFixture(t, small)
			d := r.device(f)
			s := newSession(t, d, f, 0)
			for i, segment := range s.model.Report.Segments {
				if segment.Mapped || !strings.Contains(segment.Why, message) || !strings.Contains(segment.Why, errno.Error()) {
					t.Errorf("%v: segment %d, mapped %v: %s", errno, i, segment.Mapped, segment.Why)
				}
			}
			if always := errno == syscall.ENOTSUP || errno == syscall.EINVAL; (d.refused != nil) != always {
				t.Errorf("%v: remembered %v", errno, d.refused)
			}
			s.mustRun()
			s.right(r)
			s.close()
			check(t, d.Close())
			r.hasNone()
		})
	}
}

func TestPagesMustBeWhole(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		d := r.device(newFixture(t))
		pages := make([]byte, 3*65536)
		for _, p := range [][]byte{nil, pages[1:65537], pages[:100]} {
			if _, err := d.Map(p, 0); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "whole pages") {
				t.Errorf("%d bytes: %v", len(p), err)
			}
		}
		check(t, d.Close())
		if r.total("bo") != 0 {
			t.Error("such pages reached XRT")
		}
	})
}

func TestBufferSizes(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		d := r.device(newFixture(t))
		for _, bytes := range []int64{-1, maxBuffer + 1, math.MinInt64, math.MaxInt64} {
			if _, err := d.Allocate(bytes, 0); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d bytes; allowed are 0 to", bytes)) {
				t.Errorf("%d bytes: %v", bytes, err)
			}
		}
		if r.total("bo") != 0 {
			t.Error("such buffers reached XRT")
		}
		for _, bytes := range []int64{0, 1, 63, 4097} {
			b, err := d.Allocate(bytes, 0)
			check(t, err)
			host, err := b.Host()
			check(t, err)
			if int64(len(host)) != bytes || b.Len() != bytes {
				t.Errorf("a buffer of %d bytes has %d, and %d on the host's side", bytes, b.Len(), len(host))
			}
			check(t, errors.Join(b.ToDevice(), b.FromDevice(), b.Close()))
		}
		check(t, d.Close())
		r.hasNone()
	})
}

func TestRunList(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		next := gemm{GEMM: gemmtest.GEMM{M: 13, K: 24, N: 8, A: "M* K*", B: "K* N*", C: "M* N*", Format: element.F32}}
		f := newFixture(t, small, next, gemm{gemmtest.Small, 1})
		d := r.device(f)
		m := load(t, d, f)
		var sessions []*session
		var calls []Call
		for i := range m.Index.Contracts {
			s := sessionOf(t, d, f, m, i)
			sessions, calls = append(sessions, s), append(calls, Call{s.kernel, s.args})
		}
		// The second reads what the first writes.
		chained := []Call{calls[0], {calls[1].Kernel, device.Arguments{"a": calls[0].Args["c"], "b": calls[1].Args["b"], "c": calls[1].Args["c"]}}}
		for range 2 {
			_, err := d.RunList(context.Background(), chained)
			check(t, err)
		}
		if r.total("list") != 2 || r.total("start") != 4 {
			t.Errorf("made %v", r.made)
		}
		sessions[0].right(r)
		got := sessions[1].output()
		for _, c := range chained {
			_, err := c.Kernel.Run(context.Background(), c.Args)
			check(t, err)
		}
		if string(got) != string(sessions[1].output()) {
			t.Error("a list gives other bits than its runs one by one")
		}
		if _, err := d.RunList(context.Background(), calls); !errors.Is(err, device.ErrArgument) {
			t.Errorf("a list of two xclbins: %v", err)
		}
		r.set(func() { r.fail["add"] = failure("add a run to a list", syscall.EIO) })
		if _, err := d.RunList(context.Background(), calls[:2]); !errors.Is(err, syscall.EIO) {
			t.Errorf("a list that cannot be made: %v", err)
		}
		_, err := d.RunList(context.Background(), nil)
		check(t, err)
		for _, s := range sessions {
			s.done()
		}
		check(t, m.Close())
		check(t, d.Close())
		r.hasNone()
	})
}

// Kernels, buffers and models may be opened, run and closed while others run.
func TestConcurrentUse(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		gemms := apart(8)
		f := newFixture(t, gemms...)
		d := r.device(f)
		var wg sync.WaitGroup
		for i := range gemms {
			wg.Go(func() {
				s := newSession(t, d, f, i)
				var runs sync.WaitGroup
				for range 2 {
					runs.Go(func() {
						for range 10 {
							if err := s.run(context.Background()); err != nil {
								t.Error(err)
							}
						}
					})
				}
				runs.Wait()
				s.right(r)
				s.close()
			})
		}
		wg.Wait()
		check(t, d.Close())
		r.hasNone()
		if r.total("start") != 160 {
			t.Errorf("%d runs", r.total("start"))
		}
	})
}

func TestOpenDevice(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		for _, index := range []int{-1, 1} {
			if _, err := open(r, math.MaxInt64, Options{Index: index}); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "sees 1:") {
				t.Errorf("index %d: %v", index, err)
			}
		}
		var memlock *MemlockError
		_, err := open(r, 8<<20, Options{NeedBytes: 1 << 20})
		if !errors.As(err, &memlock) || memlock.Limit != 8<<20 || memlock.Needed != 65<<20 || !strings.Contains(err.Error(), "limits.d") {
			t.Errorf("too little memory to lock: %v", err)
		}
		if r.total("device") != 0 || strings.Contains(r.log(), "open:") {
			t.Error("the device was opened nevertheless")
		}
		d, err := open(r, 64<<20, Options{})
		check(t, err)
		check(t, d.Close())
		r.hasNone()
	})
}

// The second of two NPUs is another one.
func TestSecondDevice(t *testing.T) {
	onEach(t, conditions{npus: 2}, func(t *testing.T, r *rig) {
		if !r.alone() { // XRT looks for NPUs once
			return
		}
		f := newFixture(t, small)
		if _, err := open(r, math.MaxInt64, Options{Index: 2}); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "sees 2:") {
			t.Errorf("index 2: %v", err)
		}
		first, second := r.device(f), r.deviceWith(Options{Index: 1, Xclbins: Folder(f.folder)})
		one, two := newSession(t, first, f, 0), newSession(t, second, f, 0)
		for _, s := range []*session{one, two} {
			s.mustRun()
			s.right(r)
		}
		one.args, two.args = two.args, one.args
		if err := one.run(context.Background()); !errors.Is(err, device.ErrArgument) {
			t.Errorf("buffers of another NPU: %v", err)
		}
		one.args, two.args = two.args, one.args
		one.close()
		two.close()
		check(t, errors.Join(first.Close(), second.Close()))
		r.hasNone()
	})
}

func TestCheckMemlock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, need int64
		ok          bool
	}{{noLimit, math.MaxInt64, true}, {64 << 20, 0, true}, {64<<20 - 1, 0, false}, {65 << 20, 1 << 20, true}, {1 << 62, math.MaxInt64, false}, {64 << 20, -5, true}} {
		if err := checkMemlock(c.limit, c.need); (err == nil) != c.ok {
			t.Errorf("limit %d, need %d: %v", c.limit, c.need, err)
		}
	}
	if _, err := memlockLimit(); err != nil {
		t.Error(err)
	}
}

// An XRT that is too old is refused before anything is asked of it. TestSoftwareOldXRT is the same on the real one.
func TestOldXRT(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		release version
		ok      bool
	}{{version{2, 20, 9}, false}, {version{1, 30, 0}, false}, {version{2, 21, 0}, true}, {version{3, 0, 0}, true}} {
		f := newFake(conditions{})
		f.release = c.release
		w := newWatch(t, f)
		d, err := open(w, math.MaxInt64, Options{})
		if c.ok {
			check(t, err)
			check(t, d.Close())
		} else if !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), fmt.Sprintf("XRT %v is too old; 2.21.0", c.release)) || w.total("device") != 0 {
			t.Errorf("%v: %v", c.release, err)
		}
	}
}
