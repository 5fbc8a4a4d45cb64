package cpu

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"npuw/artifact/kernel"
	"npuw/runtime/device"
)

func TestAllocate(t *testing.T) {
	t.Parallel()
	d := New(Options{})
	for _, bytes := range []int64{-1, -1 << 63, maxBuffer + 1, 1<<63 - 1} {
		if _, err := d.Allocate(bytes, kernel.NoGroup); err == nil {
			t.Errorf("%d bytes were allocated", bytes)
		}
	}
	for _, n := range []int64{0, 1, 4097} {
		b := must(d.Allocate(n, 3))
		if host := must(b.Host()); b.Len() != n || !bytes.Equal(host, make([]byte, n)) {
			t.Errorf("buffer of %d bytes: Len %d, Host %v", n, b.Len(), host)
		}
		check(t, b.Close())
	}
	check(t, d.Close())
}

func TestViews(t *testing.T) {
	t.Parallel()
	d := New(Options{})
	whole := must(d.Allocate(10, kernel.NoGroup))
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, 11}, {10, 1}, {11, 0}, {1 << 62, 1 << 62}, {5, 1<<63 - 1}} {
		if _, err := whole.View(r[0], r[1]); err == nil {
			t.Errorf("view of %d bytes at %d of 10", r[1], r[0])
		}
	}
	part := must(whole.View(2, 6))
	inner := must(part.View(3, 3))
	copy(must(inner.Host()), "abc")
	if got := must(whole.Host()); !bytes.Equal(got[5:8], []byte("abc")) || inner.Len() != 3 || cap(must(inner.Host())) != 3 {
		t.Errorf("a view's bytes do not lie in the buffer: %q", got)
	}
	check(t, part.Close())
	for name, b := range map[string]device.Buffer{"view": part, "view of it": inner} {
		if _, err := b.Host(); !errors.Is(err, device.ErrClosed) {
			t.Errorf("%s after Close: error %v", name, err)
		}
	}
	must(whole.Host())
	check(t, whole.Close())
	check(t, d.Close())
}

func TestUseAfterClose(t *testing.T) {
	t.Parallel()
	d := New(Options{})
	c := gemmContract(t)
	k := must(d.Open(c))
	b := must(d.Allocate(120, kernel.NoGroup))
	view := must(b.View(0, 80))
	run := func() error {
		args := device.Arguments{}
		for _, a := range c.Arguments {
			other := must(d.Allocate(int64(a.Bytes), kernel.NoGroup))
			defer other.Close()
			args[a.Name] = device.Value{Buffer: other}
		}
		args["a"] = device.Value{Buffer: view}
		_, err := k.Run(context.Background(), args)
		return err
	}
	check(t, run())
	check(t, errors.Join(b.Close(), b.Close()))
	closed := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, device.ErrClosed) {
			t.Errorf("%s: error %v, expected %v", name, err, device.ErrClosed)
		}
	}
	for name, b := range map[string]device.Buffer{"buffer": b, "view": view} {
		_, err := b.Host()
		closed(name+" Host", err)
		_, err = b.View(0, 1)
		closed(name+" View", err)
		closed(name+" ToDevice", b.ToDevice())
		closed(name+" FromDevice", b.FromDevice())
	}
	closed("Run with a closed buffer", run())
	check(t, errors.Join(k.Close(), k.Close()))
	closed("Run of a closed kernel", run())
	check(t, errors.Join(d.Close(), d.Close()))
	_, err := d.Allocate(1, kernel.NoGroup)
	closed("Allocate", err)
	_, err = d.Map(nil, kernel.NoGroup)
	closed("Map", err)
	_, err = d.Open(c)
	closed("Open", err)
}

func TestLeaks(t *testing.T) {
	t.Parallel()
	d := New(Options{})
	k := must(d.Open(gemmContract(t)))
	b := must(d.Allocate(8, kernel.NoGroup))
	must(b.View(0, 4))
	must(d.Map(make([]byte, 8), kernel.NoGroup))
	check(t, must(d.Allocate(8, kernel.NoGroup)).Close())
	var leak *device.LeakError
	if err := d.Close(); !errors.As(err, &leak) || leak.Buffers != 2 || leak.Kernels != 1 || leak.Device != "cpu" {
		t.Errorf("leaked two buffers and a kernel: %v", err)
	}
	if _, err := b.Host(); !errors.Is(err, device.ErrClosed) {
		t.Errorf("buffer of a closed device: error %v", err)
	}
	if _, err := k.Run(context.Background(), nil); !errors.Is(err, device.ErrClosed) {
		t.Errorf("kernel of a closed device: error %v", err)
	}
	check(t, errors.Join(b.Close(), k.Close(), d.Close()))
}

// A mapped buffer is the very pages.
func TestMap(t *testing.T) {
	t.Parallel()
	for _, shadow := range []bool{false, true} {
		f := newFixture(t, Options{Shadow: shadow}, gemmContract(t))
		want := f.run("c")
		pages := bytes.Clone(must(f.args["b"].Buffer.Host()))
		b := must(f.device.Map(pages, kernel.NoGroup))
		if &must(b.Host())[0] != &pages[0] {
			t.Error("Host is not the pages")
		}
		f.args["b"] = device.Value{Buffer: b}
		sameBits(t, f.run("c"), want)
		check(t, errors.Join(b.ToDevice(), b.FromDevice(), b.Close()))
	}
}

// In shadow mode a kernel sees what the host wrote only after ToDevice, and the host what it wrote only after FromDevice.
func TestShadow(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Shadow: true}, addContract(t))
	run := func() {
		t.Helper()
		_, err := f.kernel.Run(context.Background(), f.args)
		check(t, err)
	}
	x, y := f.args["x"].Buffer, f.args["y"].Buffer
	host := must(y.Host())
	run()
	if host[0] != unset {
		t.Error("the host sees the result without FromDevice")
	}
	check(t, must(y.View(0, 4)).FromDevice())
	if host[3] == unset || host[4] != unset {
		t.Errorf("FromDevice of a view refreshes its range alone: %x", host[:8])
	}
	check(t, y.FromDevice())
	first := f.values("y")

	clear(must(x.Host()))
	run()
	check(t, y.FromDevice())
	sameBits(t, f.values("y"), first)

	check(t, must(x.View(4, 4)).ToDevice())
	run()
	check(t, y.FromDevice())
	first[1] = f.inputs["z"][1]
	sameBits(t, f.values("y"), first)

	check(t, x.ToDevice())
	run()
	check(t, y.FromDevice())
	sameBits(t, f.values("y"), f.inputs["z"])

	copy(host, bytes.Repeat([]byte{unset}, len(host)))
	check(t, y.FromDevice())
	sameBits(t, f.values("y"), f.inputs["z"])
}

// Buffers of another device are read after FromDevice and handed back with ToDevice.
func TestForeignBuffers(t *testing.T) {
	t.Parallel()
	c := contract(t, kernel.Add, shape("MN", 4, 6), "x f32 M* N*", "z f32 M* N*", "y f32 M* N* N4")
	theirs := newFixture(t, Options{Shadow: true}, c)
	ours := newFixture(t, Options{}, c)
	want := theirs.run("y")
	for name, v := range theirs.args { // their device has what their host no longer has
		host := must(v.Buffer.Host())
		clear(host)
		ours.args[name] = v
	}
	check(t, must(theirs.args["y"].Buffer.View(0, 4)).ToDevice())
	_, err := ours.kernel.Run(context.Background(), ours.args)
	check(t, err)
	host := must(theirs.args["y"].Buffer.Host())
	clear(host)
	check(t, theirs.args["y"].Buffer.FromDevice())
	sameBits(t, theirs.values("y"), want)

	other := must(theirs.device.Allocate(96, kernel.NoGroup))
	check(t, other.Close())
	ours.args["x"] = device.Value{Buffer: other}
	if _, err := ours.kernel.Run(context.Background(), ours.args); !errors.Is(err, device.ErrClosed) {
		t.Errorf("closed buffer of another device: error %v", err)
	}
}

func TestCancelledRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Workers: 2}, contract(t, kernel.GEMM, shape("MKN", 64, 8, 64), "a f32 M* K*", "b f32 K* N*", "c f32 M* N*"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.kernel.Run(ctx, f.args); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, expected %v", err, context.Canceled)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 0)
	defer cancel()
	if _, err := f.kernel.Run(ctx, f.args); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, expected %v", err, context.DeadlineExceeded)
	}
}

// The end of a context ends a run between two blocks.
func TestCancelBetweenBlocks(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := &run{device: New(Options{Workers: 1})}
	blocks := 0
	err := r.split(ctx, 5, func(*scratch, int) error {
		if blocks++; blocks == 2 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || blocks != 2 {
		t.Errorf("%d blocks, error %v", blocks, err)
	}
}

// Runs, syncs and closes from several goroutines: each run gives the right result or says that something was closed.
func TestConcurrentRuns(t *testing.T) {
	t.Parallel()
	c := contract(t, kernel.GEMM, shape("MKN", 40, 70, 50), "a f32 M* K*", "b bf16 N* K* K8 N4", "c f32 M* N*")
	f := newFixture(t, Options{Workers: 2}, c)
	want := f.run("c")
	closing := must(f.device.Allocate(int64(c.Argument("a").Bytes), kernel.NoGroup))
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			out := must(f.device.Allocate(int64(c.Argument("c").Bytes), kernel.NoGroup))
			defer out.Close()
			args := device.Arguments{"a": f.args["a"], "b": f.args["b"], "c": {Buffer: out}}
			if i == 0 {
				args["a"] = device.Value{Buffer: closing}
			}
			for range 20 {
				_, err := f.kernel.Run(context.Background(), args)
				if err != nil && (i != 0 || !errors.Is(err, device.ErrClosed)) {
					t.Error(err)
				}
			}
			if i == 1 {
				if err := closing.Close(); err != nil {
					t.Error(err)
				}
			}
			if host := must(out.Host()); i != 0 && !bytes.Equal(host, must(f.args["c"].Buffer.Host())) {
				t.Error("runs at the same time give different results")
			}
		})
	}
	group.Wait()
	sameBits(t, f.values("c"), want)
}
