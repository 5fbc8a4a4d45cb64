package device_test

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// named is a part that opens what opening allows.
func named(name string, opening func(*kernel.Contract) error, operations ...kernel.Operation) device.Part {
	return device.Part{Device: &hooked{Device: cpu.New(cpu.Options{}), name: name, opening: opening}, Operations: operations}
}

func TestPlacement(t *testing.T) {
	t.Parallel()
	all := func(*kernel.Contract) error { return nil }
	for _, test := range []struct {
		name   string
		parts  []device.Part
		want   []string // the devices of GEMM and GELU; "": none
		reason string   // in Why of the last of them, or in the error
	}{
		{"the first", []device.Part{named("npu", all), named("host", all)}, []string{"npu", "npu"}, ""},
		{"what is left", []device.Part{named("npu", only(kernel.GEMM)), named("host", all)}, []string{"npu", "host"}, "only plain GEMM"},
		{"the third", []device.Part{named("npu", only(kernel.GEMM)), named("dsp", only(kernel.Add)), named("host", all)}, []string{"npu", "host"}, "only plain ADD"},
		{"nobody", []device.Part{named("npu", only(kernel.GEMM)), named("dsp", only(kernel.Add))}, []string{"npu", ""}, "only plain ADD"},
		{"by rule", []device.Part{named("npu", all), named("host", all, kernel.GELU)}, []string{"npu", "host"}, ""},
		{"by rule alone", []device.Part{named("npu", only(kernel.GEMM), kernel.GELU), named("host", all)}, []string{"npu", ""}, "only plain GEMM"},
		{"by two rules", []device.Part{named("host", all), named("npu", only(kernel.GEMM), kernel.GELU), named("dsp", all, kernel.GELU)}, []string{"host", "dsp"}, "only plain GEMM"},
	} {
		c := closing(t, device.NewComposite(test.parts[0], test.parts[1:]...)).(*device.Composite)
		for i, contract := range []*kernel.Contract{gemm("gemm"), gelu()} {
			k, err := c.Open(contract)
			if test.want[i] == "" {
				wants(t, test.name, err, device.ErrUnsupported)
				if k != nil || err == nil || !strings.HasPrefix(err.Error(), c.Name()+": ") || !strings.Contains(err.Error(), test.reason) {
					t.Errorf("%s: error %v", test.name, err)
				}
				continue
			}
			check(t, err)
			list := c.Placements()
			p := list[len(list)-1]
			if p.Contract != contract || k.Contract() != contract || p.Device != test.want[i] || i == 1 && (p.Why == "") != (test.reason == "") || !strings.Contains(p.Why, map[bool]string{true: test.reason}[i == 1]) {
				t.Errorf("%s: %s went to %+v, expected %q", test.name, contract.Name, p, test.want[i])
			}
			defer func() {
				check(t, errors.Join(k.Close(), k.Close()))
				if slices.ContainsFunc(c.Placements(), func(p device.Placement) bool { return p.Contract == contract }) {
					t.Errorf("%s: a closed kernel has a placement", test.name)
				}
			}()
		}
	}
}

// An error that is not of support ends the search: the device has the kernel, and something is wrong.
func TestPlacementErrors(t *testing.T) {
	t.Parallel()
	first := named("npu", func(*kernel.Contract) error { return device.ErrMismatch })
	c := closing(t, device.NewComposite(first, named("host", nil)))
	_, err := c.Open(gemm("gemm"))
	wants(t, "open", err, device.ErrMismatch)
	if c.Name() != "npu+host" {
		t.Errorf("name %q", c.Name())
	}
}

// pair is a composite that runs GEMM on its first device, of which the host sees nothing without syncs, and the rest on a second.
func pair(t testing.TB, running func(device.Arguments) (device.Arguments, error)) *device.Composite {
	t.Helper()
	first := &hooked{Device: cpu.New(cpu.Options{Shadow: true}), name: "npu", opening: only(kernel.GEMM)}
	second := &hooked{Device: cpu.New(cpu.Options{}), name: "host", running: running}
	return closing(t, device.NewComposite(device.Part{Device: first}, device.Part{Device: second})).(*device.Composite)
}

// bind opens a contract, and allocates its buffers, all of which are closed when the test ends.
func bind(t testing.TB, d device.Device, c *kernel.Contract) (device.Kernel, device.Arguments) {
	t.Helper()
	k := must(d.Open(c))
	args := device.Arguments{}
	for _, a := range c.Arguments {
		args[a.Name] = device.Value{Buffer: must(d.Allocate(int64(a.Bytes), a.MemoryGroup))}
	}
	own := maps.Clone(args)
	t.Cleanup(func() {
		for _, v := range own {
			check(t, v.Buffer.Close())
		}
		check(t, k.Close())
	})
	return k, args
}

// A program's syncs are the same wherever kernels run: GEMM here and GELU there give what one device gives.
func TestCompositeRuns(t *testing.T) {
	t.Parallel()
	results := map[string][]float32{}
	for name, d := range map[string]device.Device{"one": newCPU(t, cpu.Options{Shadow: true}), "two": pair(t, nil)} {
		first, in := bind(t, d, gemm("gemm"))
		second, out := bind(t, d, gelu())
		out["x"] = in["c"]
		for i, argument := range []string{"a", "b"} {
			b := in[argument].Buffer
			values := make([]float32, b.Len()/4)
			for j := range values {
				values[j] = float32(math.Sin(float64(i + j)))
			}
			check(t, errors.Join(element.Encode(must(b.Host()), values, element.F32), b.ToDevice()))
		}
		must(first.Run(t.Context(), in))
		r := must(second.Run(t.Context(), out))
		if r.Elapsed <= 0 {
			t.Errorf("%s: no time elapsed", name)
		}
		y := out["y"].Buffer
		check(t, y.FromDevice())
		values := make([]float32, y.Len()/4)
		check(t, element.ToFloat32(values, must(y.Host()), element.F32))
		results[name] = values
	}
	if !slices.Equal(results["one"], results["two"]) || results["one"][0] == 0 {
		t.Errorf("one device gives %v, two %v", results["one"][:4], results["two"][:4])
	}
}

// counted counts the syncs of a buffer.
type counted struct {
	device.Buffer
	to, from *atomic.Int64
}

func (b counted) ToDevice() error   { b.to.Add(1); return b.Buffer.ToDevice() }
func (b counted) FromDevice() error { b.from.Add(1); return b.Buffer.FromDevice() }
func (b counted) View(offset, bytes int64) (device.Buffer, error) {
	v, err := b.Buffer.View(offset, bytes)
	return counted{v, b.to, b.from}, err
}

// What another device's kernel reads is synced once before, what it writes once after, views and whole buffers alike.
func TestCompositeSyncsOnce(t *testing.T) {
	t.Parallel()
	var to, from atomic.Int64
	first := &hooked{Device: cpu.New(cpu.Options{Shadow: true}), opening: only(kernel.GEMM), buffer: func(b device.Buffer) device.Buffer {
		return counted{b, &to, &from}
	}}
	c := closing(t, device.NewComposite(device.Part{Device: first}, device.Part{Device: cpu.New(cpu.Options{})}))
	k, args := bind(t, c, gelu())
	must(k.Run(t.Context(), args))
	if to.Load() != 1 || from.Load() != 1 {
		t.Errorf("one input and one output, but %d syncs to the device and %d from it", to.Load(), from.Load())
	}
	x := args["x"].Buffer
	given := maps.Clone(args)
	given["x"] = device.Value{Buffer: must(must(x.View(0, x.Len())).View(0, x.Len()))}
	must(k.Run(t.Context(), given))
	if to.Load() != 2 || from.Load() != 2 {
		t.Errorf("two inputs and two outputs, but %d syncs to the device and %d from it", to.Load(), from.Load())
	}
}

func TestCompositeClose(t *testing.T) {
	t.Parallel()
	var order []string
	part := func(name string, op kernel.Operation) device.Part {
		return device.Part{Device: &hooked{
			Device: cpu.New(cpu.Options{}), name: name, opening: only(op), closing: func() { order = append(order, name) },
		}}
	}
	c := device.NewComposite(part("npu", kernel.GEMM), part("dsp", kernel.Add), part("host", kernel.GELU))
	b := must(c.Allocate(8, kernel.NoGroup))
	view := must(b.View(0, 4))
	must(c.Map(make([]byte, 4), kernel.NoGroup))
	check(t, must(c.Allocate(8, kernel.NoGroup)).Close())
	k := must(c.Open(gelu()))
	must(c.Open(gemm("gemm")))
	err := c.Close()
	leak, ok := err.(*device.LeakError)
	if !ok || *leak != (device.LeakError{Device: "npu+dsp+host", Buffers: 2, Kernels: 2}) {
		t.Errorf("two buffers and two kernels were open: %v", err)
	}
	if !slices.Equal(order, []string{"host", "dsp", "npu"}) {
		t.Errorf("closed in the order %v: the device whose buffers others use is closed last", order)
	}
	if len(c.Placements()) != 0 {
		t.Errorf("closed kernels have placements: %v", c.Placements())
	}
	_, err = c.Allocate(1, kernel.NoGroup)
	wants(t, "Allocate", err, device.ErrClosed)
	_, err = c.Map(nil, kernel.NoGroup)
	wants(t, "Map", err, device.ErrClosed)
	_, err = c.Open(gelu())
	wants(t, "Open", err, device.ErrClosed)
	_, err = k.Run(t.Context(), nil)
	wants(t, "Run", err, device.ErrClosed)
	for _, b := range []device.Buffer{b, view} {
		_, err = b.Host()
		wants(t, "Host", err, device.ErrClosed)
		_, err = b.View(0, 1)
		wants(t, "View", err, device.ErrClosed)
		wants(t, "ToDevice", b.ToDevice(), device.ErrClosed)
		wants(t, "FromDevice", b.FromDevice(), device.ErrClosed)
	}
	check(t, errors.Join(view.Close(), b.Close(), b.Close(), k.Close(), c.Close()))
}

// failing is a device whose Close fails.
type failing struct{ device.Device }

func (f failing) Close() error { return errors.Join(f.Device.Close(), errFailed) }

func TestCompositeCloseErrors(t *testing.T) {
	t.Parallel()
	for _, leaks := range []bool{false, true} {
		c := device.NewComposite(device.Part{Device: cpu.New(cpu.Options{})}, device.Part{Device: failing{cpu.New(cpu.Options{})}})
		if leaks {
			must(c.Allocate(8, kernel.NoGroup))
		}
		err := c.Close()
		wants(t, "a device that cannot be closed", err, errFailed)
		if leak := new(device.LeakError); errors.As(err, &leak) != leaks {
			t.Errorf("leaks %v: error %v", leaks, err)
		}
	}
}

// A closed view is closed alone; its buffer is not.
func TestCompositeViews(t *testing.T) {
	t.Parallel()
	c := pair(t, nil)
	whole := must(c.Allocate(10, kernel.NoGroup))
	if _, err := whole.View(5, 6); err == nil {
		t.Error("a view reaches beyond its buffer")
	}
	view := must(whole.View(2, 6))
	inner := must(view.View(3, 3))
	copy(must(inner.Host()), "abc")
	if got := must(whole.Host()); string(got[5:8]) != "abc" || inner.Len() != 3 {
		t.Errorf("a view's bytes do not lie in the buffer: %q", got)
	}
	check(t, view.Close())
	_, err := inner.Host()
	wants(t, "view of a closed view", err, device.ErrClosed)
	must(whole.Host())
	check(t, whole.Close())
}

// Kernels of the second device take turns at a buffer, and Close waits for them; those that share none do not wait.
func TestCompositeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int64
		goOn := make(chan struct{})
		c := pair(t, func(args device.Arguments) (device.Arguments, error) {
			running.Add(1)
			defer running.Add(-1)
			<-goOn
			return args, nil
		})
		k, one := bind(t, c, gelu())
		_, other := bind(t, c, gelu())
		ended := make(chan error, 4)
		start := func(ctx context.Context, args device.Arguments) {
			go func() {
				_, err := k.Run(ctx, args)
				ended <- err
			}()
			synctest.Wait()
		}
		expect := func(what string, n int64) {
			t.Helper()
			if got := running.Load(); got != n {
				t.Errorf("%s: %d kernels are running, expected %d", what, got, n)
			}
		}
		x := one["x"].Buffer
		shared := maps.Clone(other)
		shared["x"] = device.Value{Buffer: must(x.View(0, x.Len()))}

		start(t.Context(), one)
		start(t.Context(), shared)
		expect("two that share x", 1)
		start(t.Context(), other)
		expect("a third that shares y with the second, which waits", 2)
		ctx, cancel := context.WithCancel(t.Context())
		start(ctx, shared)
		cancel()
		wants(t, "a run that was cancelled while it waited", <-ended, context.Canceled)
		for range 3 {
			goOn <- struct{}{}
			check(t, <-ended)
			synctest.Wait()
		}
		expect("all have ended", 0)

		start(t.Context(), other)
		ctx, cancel = context.WithCancel(t.Context())
		start(ctx, device.Arguments{"x": one["x"], "y": other["y"]})
		cancel()
		wants(t, "a run that was cancelled at the second of its buffers", <-ended, context.Canceled)
		start(t.Context(), one)
		expect("one whose buffer the cancelled run had taken", 2)
		for range 2 {
			goOn <- struct{}{}
			check(t, <-ended)
		}
		synctest.Wait()

		start(t.Context(), one)
		closed := make(chan error, 1)
		go func() { closed <- errors.Join(must(x.View(0, 4)).Close(), x.Close()) }()
		synctest.Wait()
		if len(closed) != 0 {
			t.Error("a buffer was closed under a kernel")
		}
		must(x.Host())
		goOn <- struct{}{}
		check(t, errors.Join(<-ended, <-closed))
		close(goOn)
		_, err := k.Run(t.Context(), one)
		wants(t, "a closed buffer", err, device.ErrClosed)
	})
}

// Runs, syncs and closes from several goroutines on both devices, with weights that all share.
func TestCompositeConcurrently(t *testing.T) {
	t.Parallel()
	c := pair(t, nil)
	first, shared := bind(t, c, gemm("gemm"))
	second, _ := bind(t, c, gelu())
	b := shared["b"].Buffer
	clear(must(b.Host()))
	check(t, b.ToDevice())
	var group sync.WaitGroup
	for range 8 {
		_, own := bind(t, c, gemm("gemm"))
		_, out := bind(t, c, gelu())
		own["b"], out["x"] = shared["b"], own["c"]
		// The weights, read as an activation would be: all share them.
		odd := device.Arguments{"x": {Buffer: must(b.View(0, out["y"].Buffer.Len()))}, "y": out["y"]}
		group.Go(func() {
			var errs []error
			for range 10 {
				_, err1 := first.Run(t.Context(), own)
				_, err2 := second.Run(t.Context(), out)
				_, err3 := second.Run(t.Context(), odd)
				errs = append(errs, err1, err2, err3, out["y"].Buffer.FromDevice(), out["x"].Buffer.ToDevice())
			}
			if err := errors.Join(errs...); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// A composite may be a part of another.
func TestNestedComposites(t *testing.T) {
	t.Parallel()
	inner := device.NewComposite(named("npu", only(kernel.GEMM)), named("dsp", only(kernel.GELU)))
	c := closing(t, device.NewComposite(device.Part{Device: inner}, named("host", nil))).(*device.Composite)
	for _, contract := range []*kernel.Contract{gemm("gemm"), gelu()} {
		k, args := bind(t, c, contract)
		must(k.Run(t.Context(), args))
	}
	if c.Name() != "npu+dsp+host" || len(c.Placements()) != 2 || len(inner.Placements()) != 2 {
		t.Errorf("%s runs %v, %s of these %v", c.Name(), c.Placements(), inner.Name(), inner.Placements())
	}
	// Buffers of another composite are those of another device.
	k, args := bind(t, c, gelu())
	x := must(inner.Allocate(args["x"].Buffer.Len(), kernel.NoGroup))
	args["x"] = device.Value{Buffer: x}
	must(k.Run(t.Context(), args))
	check(t, x.Close())
}
