package xrt

import (
	"context"
	"errors"
	"maps"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// load loads a fixture.
func load(t testing.TB, d device.Device, f fixture) *device.Model {
	t.Helper()
	m, err := device.Load(context.Background(), d, f.path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// openKernel opens contract i of a model.
func openKernel(t testing.TB, d device.Device, m *device.Model, i int) device.Kernel {
	t.Helper()
	k, err := d.Open(&m.Index.Contracts[i])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// hasNone fails the test where handles of the fake are still open.
func (f *fakeXRT) hasNone(t *testing.T) {
	t.Helper()
	if left := f.handles(); len(left) > 0 {
		t.Errorf("still open: %v", left)
	}
}

func TestLoadRunClose(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	f := newFixture(t, 1, nil, small, gemm{m: 4, k: 8, n: 8, a: "M* K*", b: "K* N*", c: "M* N*", format: small.format, bias: true})
	d := openFake(t, fake, f)
	m := load(t, d, f)
	for i, s := range m.Report.Segments {
		if !s.Mapped {
			t.Errorf("segment %d was copied: %s", i, s.Why)
		}
	}
	for i := range m.Index.Contracts {
		k := openKernel(t, d, m, i)
		args := arguments(t, d, m, i, 1)
		for range 3 {
			if _, err := k.Run(context.Background(), args); err != nil {
				t.Fatal(err)
			}
		}
		check(t, k.Close())
		check(t, k.Close())
		if _, err := k.Run(context.Background(), args); !errors.Is(err, device.ErrClosed) {
			t.Errorf("run after Close: %v", err)
		}
		closeActivations(t, k.Contract(), args)
	}
	check(t, m.Close())
	check(t, d.Close())
	check(t, d.Close())
	fake.hasNone(t)
	if fake.made["context"] != 1 || fake.made["run"] > 4 {
		t.Errorf("made %v; one context, and a run for each time a kernel was opened, were expected", fake.made)
	}
	if _, err := d.Allocate(1, 0); !errors.Is(err, device.ErrClosed) {
		t.Errorf("allocate after Close: %v", err)
	}
}

func TestLeaksAreReported(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	f := newFixture(t, 1, nil, small)
	d := openFake(t, fake, f)
	m := load(t, d, f)
	k := openKernel(t, d, m, 0)
	args := arguments(t, d, m, 0, 1)
	var leak *device.LeakError
	if err := d.Close(); !errors.As(err, &leak) || leak.Kernels != 1 || leak.Buffers != 4 {
		t.Errorf("Close: %v", err)
	}
	fake.hasNone(t)
	check(t, k.Close())
	closeActivations(t, k.Contract(), args)
	check(t, m.Close())
}

// What XRT would crash on, or do silently, is refused before XRT sees it: the fake complains of whatever comes through.
func TestArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	f := newFixture(t, 1, nil, small)
	d := openFake(t, fake, f)
	m := load(t, d, f)
	k := openKernel(t, d, m, 0)
	args := arguments(t, d, m, 0, 1)
	other := cpu.New(cpu.Options{})
	allocate := func(d device.Device, bytes int64, group int32) device.Value {
		b, err := d.Allocate(bytes, group)
		check(t, err)
		t.Cleanup(func() { check(t, b.Close()) })
		return device.Value{Buffer: b}
	}
	view := func(b device.Buffer, offset, bytes int64) device.Value {
		v, err := b.View(offset, bytes)
		check(t, err)
		return device.Value{Buffer: v}
	}
	size := func(name string) int64 { return args[name].Buffer.Len() }
	large := allocate(d, size("a")+size("c")+4096, 0).Buffer
	closed := view(large, 0, size("a"))
	check(t, closed.Buffer.Close())
	for name, c := range map[string]struct {
		argument string
		value    device.Value
		message  string
	}{
		"scalar for a buffer":  {"a", device.Value{Scalar: 1}, `argument "a": wrong kernel argument: no buffer`},
		"too short":            {"a", allocate(d, size("a")-2, 0), "bytes; the contract says 1040"},
		"too long":             {"c", allocate(d, size("c")+2, 0), `argument "c": wrong kernel argument: a buffer of 1250 bytes`},
		"another memory group": {"a", allocate(d, size("a"), 1), "a buffer in memory group 1; the kernel reads it in 0"},
		"another device":       {"a", allocate(other, size("a"), 0), "a buffer of another device"},
		"mapped output":        {"c", view(args["b"].Buffer, 0, size("c")), "a mapped buffer cannot be written"},
		"unaligned":            {"a", view(large, 32, size("a")), "1040 bytes at 32; a multiple of 64 was expected"},
		"not an argument":      {"d", allocate(d, 64, 0), `argument "d": wrong kernel argument: not to be given`},
		"instructions":         {"instructions", allocate(d, 64, 1), "not to be given"},
		"closed view":          {"a", closed, "used after Close"},
	} {
		given := maps.Clone(args)
		given[c.argument] = c.value
		if _, err := k.Run(context.Background(), given); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v", name, err)
		} else if !errors.Is(err, device.ErrArgument) && !errors.Is(err, device.ErrClosed) {
			t.Errorf("%s: %v is no ErrArgument", name, err)
		}
	}
	given := maps.Clone(args)
	delete(given, "b")
	if _, err := k.Run(context.Background(), given); !errors.Is(err, device.ErrArgument) || !strings.Contains(err.Error(), `"b": wrong kernel argument: missing`) {
		t.Errorf("missing: %v", err)
	}
	given["b"], given["a"], given["c"] = args["b"], view(large, 0, size("a")), view(large, 1024, size("c"))
	if _, err := k.Run(context.Background(), given); !errors.Is(err, device.ErrArgument) || !strings.Contains(err.Error(), `it overlaps argument "a"`) {
		t.Errorf("overlap: %v", err)
	}
	given["c"] = view(large, 1088, size("c"))
	if _, err := k.Run(context.Background(), given); err != nil {
		t.Errorf("parts of one buffer: %v", err)
	}
	if fake.made["start"] != 1 {
		t.Errorf("%d runs reached XRT, want 1", fake.made["start"])
	}
	check(t, k.Close())
	closeActivations(t, k.Contract(), args)
	check(t, m.Close())
}

// A refusal to map is remembered where it will not change, and the segments are copied.
func TestCopiesWherePagesAreRefused(t *testing.T) {
	t.Parallel()
	for errno, message := range map[syscall.Errno]string{
		syscall.ENOTSUP: "older than June 2025",
		syscall.EINVAL:  "older than March 2026",
		syscall.ENOMEM:  "RLIMIT_MEMLOCK is too small",
		syscall.EPERM:   "RLIMIT_MEMLOCK is 0",
		syscall.EIO:     "does not take the pages",
	} {
		fake := newFake(t)
		fake.fail["user"] = &Error{Call: "make a buffer of mapped pages", Errno: errno, Text: "refused"}
		f := newFixture(t, 1, nil, small)
		d := openFake(t, fake, f)
		m := load(t, d, f)
		for i, s := range m.Report.Segments {
			if s.Mapped || !strings.Contains(s.Why, message) || !strings.Contains(s.Why, "XRT: refused") {
				t.Errorf("%v: segment %d, mapped %v: %s", errno, i, s.Mapped, s.Why)
			}
		}
		check(t, m.Close())
		check(t, d.Close())
		fake.hasNone(t)
	}
}

func TestPagesMustBeWhole(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	d := openFake(t, fake, newFixture(t, 1, nil))
	pages := make([]byte, 3*65536)
	for _, p := range [][]byte{nil, pages[1:65537], pages[:100]} {
		if _, err := d.Map(p, 0); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "whole pages") {
			t.Errorf("%d bytes: %v", len(p), err)
		}
	}
	check(t, d.Close())
}

func TestRunList(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	other := small
	other.xclbin = 1
	f := newFixture(t, 2, nil, small, small, other)
	d := openFake(t, fake, f)
	m := load(t, d, f)
	var calls []Call
	for i := range 3 {
		k := openKernel(t, d, m, i)
		calls = append(calls, Call{k, arguments(t, d, m, i, 1)})
	}
	for range 2 {
		if _, err := d.RunList(context.Background(), calls[:2]); err != nil {
			t.Fatal(err)
		}
	}
	if fake.made["list"] != 2 || fake.made["start"] != 4 {
		t.Errorf("made %v", fake.made)
	}
	if _, err := d.RunList(context.Background(), calls); !errors.Is(err, device.ErrArgument) {
		t.Errorf("a list of two xclbins: %v", err)
	}
	fake.set(func() { fake.fail["add"] = &Error{Call: "add", Errno: syscall.EIO} })
	if _, err := d.RunList(context.Background(), calls[:2]); !errors.Is(err, syscall.EIO) {
		t.Errorf("a list that cannot be made: %v", err)
	}
	_, err := d.RunList(context.Background(), nil)
	check(t, err)
	for _, c := range calls {
		check(t, c.Kernel.Close())
		closeActivations(t, c.Kernel.Contract(), c.Args)
	}
	check(t, m.Close())
	check(t, d.Close())
	fake.hasNone(t)
}

// Buffers, kernels and device may be closed while others run.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	fake.polls = 2
	gemms := []gemm{small, small, small, small, small, small, small, small}
	for i := range gemms {
		gemms[i].xclbin = i
	}
	f := newFixture(t, len(gemms), nil, gemms...)
	d := openFake(t, fake, f)
	var wg sync.WaitGroup
	for i := range gemms {
		wg.Go(func() {
			m := load(t, d, f)
			k := openKernel(t, d, m, i)
			args := arguments(t, d, m, i, 1)
			var runs sync.WaitGroup
			for range 2 {
				runs.Go(func() {
					for range 10 {
						if _, err := k.Run(context.Background(), args); err != nil {
							t.Error(err)
						}
					}
				})
			}
			runs.Wait()
			closeActivations(t, k.Contract(), args)
			if err := errors.Join(k.Close(), m.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check(t, d.Close())
	fake.hasNone(t)
	if fake.made["start"] != 160 {
		t.Errorf("%d runs", fake.made["start"])
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	fixture := newFixture(t, 1, nil, small)
	for name, c := range map[string]struct {
		edit    func(*artifact.Index)
		err     error
		message string
	}{
		"no xclbin":       {func(x *artifact.Index) { x.Contracts[0].Xclbin = kernel.None }, device.ErrUnsupported, "names no xclbin"},
		"another digest":  {func(x *artifact.Index) { x.Xclbins[0].Digest.Lo++ }, device.ErrMismatch, "the one of this name there is another"},
		"another length":  {func(x *artifact.Index) { x.Xclbins[0].Bytes++ }, device.ErrMismatch, "gemm0.xclbin"},
		"another uuid":    {func(x *artifact.Index) { x.Xclbins[0].UUID[0]++ }, device.ErrMismatch, "the artifact is built for"},
		"another kernel":  {func(x *artifact.Index) { x.Contracts[0].Kernel = "OTHER" }, device.ErrMismatch, `has no kernel "OTHER"`},
		"no instructions": {func(x *artifact.Index) { x.Contracts[0].Instructions = kernel.None }, device.ErrMismatch, "0 words of instructions"},
		"no word count":   {func(x *artifact.Index) { x.Contracts[0].Arguments[0].Bytes = 0 }, device.ErrMismatch, "an argument with the role of instructions must say how many"},
		"half a word":     {func(x *artifact.Index) { x.Contracts[0].Arguments[0].Bytes = 6 }, device.ErrMismatch, "in words of 4"},
		"too many words":  {func(x *artifact.Index) { x.Contracts[0].Arguments[0].Bytes = 1 << 20 }, device.ErrMismatch, "1048576 bytes of instructions"},
		"memory group":    {func(x *artifact.Index) { x.Contracts[0].Arguments[1].MemoryGroup = 7 }, device.ErrMismatch, "bound to memory group 7"},
		"wrong index":     {func(x *artifact.Index) { x.Contracts[0].Arguments[1].Index = 99 }, device.ErrMismatch, "has index 99"},
	} {
		fake := newFake(t)
		f := newFixture(t, 1, c.edit, small)
		d := openFake(t, fake, f)
		m, err := device.Load(context.Background(), d, f.path, device.LoadOptions{})
		if c.err == device.ErrUnsupported {
			check(t, err)
			if len(m.Report.Unsupported) != 1 || !strings.Contains(m.Report.Unsupported[0].Why, c.message) {
				t.Errorf("%s: report %+v", name, m.Report.Unsupported)
			}
			check(t, m.Close())
		} else if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v", name, err)
		}
		check(t, d.Close())
		fake.hasNone(t)
	}
	d, err := open(newFake(t), math.MaxInt64, Options{})
	check(t, err)
	if _, err := device.Load(context.Background(), d, fixture.path, device.LoadOptions{}); !errors.Is(err, device.ErrMismatch) {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := d.Open(small.contract(t, "not loaded")); !errors.Is(err, device.ErrUnsupported) {
		t.Errorf("a contract of nothing: %v", err)
	}
}

func TestOpenDevice(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	fake.devices = 2
	for _, index := range []int{-1, 2} {
		if _, err := open(fake, math.MaxInt64, Options{Index: index}); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "sees 2") {
			t.Errorf("index %d: %v", index, err)
		}
	}
	fake.release = version{2, 20, 9}
	if _, err := open(fake, math.MaxInt64, Options{}); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "XRT 2.20.9 is too old; 2.21.0") {
		t.Errorf("an old XRT: %v", err)
	}
	var memlock *MemlockError
	_, err := open(fake, 8<<20, Options{NeedBytes: 1 << 20})
	if !errors.As(err, &memlock) || memlock.Limit != 8<<20 || memlock.Needed != 65<<20 || !strings.Contains(err.Error(), "limits.d") {
		t.Errorf("too little memory to lock: %v", err)
	}
	if fake.made["device"] != 0 {
		t.Error("the device was opened nevertheless")
	}
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
