package xrt

import (
	"context"
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"npuw/runtime/device"
)

// Whatever call of XRT fails, the error says so, the caller can go on, and nothing is left open.
func TestEveryCallMayFail(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"count", "open", "register", "context", "kernel", "group", "run", "allocate", "host", "part", "scalar", "buffer", "start", "sync"} {
		fake := newFake(t)
		fake.fail[call] = &Error{Call: call, Errno: syscall.EIO, Text: "injected"}
		f := newFixture(t, 1, nil, small)
		d, err := open(fake, math.MaxInt64, Options{Xclbins: Folder(f.folder)})
		if err == nil {
			err = useAll(d, f, 1)
		}
		var known *Error
		if !errors.As(err, &known) || known.Call != call || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "injected") {
			t.Errorf("%s: %v", call, err)
		}
		fake.hasNone(t)
	}
}

// useAll does all that there is with a device, up to the first error, and closes everything.
func useAll(d *Device, f fixture, runs int) (err error) {
	closing := func(close func() error) { err = errors.Join(err, close()) }
	defer func() { closing(d.Close) }()
	m, err := device.Load(context.Background(), d, f.path, device.LoadOptions{})
	if err != nil {
		return err
	}
	defer func() { closing(m.Close) }()
	k, err := d.Open(&m.Index.Contracts[0])
	if err != nil {
		return err
	}
	defer func() { closing(k.Close) }()
	b, err := d.Allocate(1<<16, 0)
	if err != nil {
		return err
	}
	defer func() { closing(b.Close) }()
	if err := b.ToDevice(); err != nil {
		return err
	}
	weights, _, err := m.Operand("b0")
	if err != nil {
		return err
	}
	args := device.Arguments{"b": {Buffer: weights}}
	for i, name := range []string{"a", "c"} {
		v, err := b.View(int64(i)<<15, int64(k.Contract().Argument(name).Bytes))
		if err != nil {
			return err
		}
		args[name] = device.Value{Buffer: v}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range runs {
		if _, err := k.Run(ctx, args); err != nil {
			return err
		}
	}
	return nil
}

func TestNPUGoesAway(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	f := newFixture(t, 1, nil, small)
	d := openFake(t, fake, f)
	m := load(t, d, f)
	k := openKernel(t, d, m, 0)
	args := arguments(t, d, m, 0, 1)
	fake.set(func() {
		fake.fail["start"] = &Error{Call: "start a run", Errno: syscall.ENODEV, Text: "EXEC_CMD IOCTL failed"}
	})
	_, err := k.Run(context.Background(), args)
	if !errors.Is(err, ErrGone) {
		t.Fatalf("run: %v", err)
	}
	message := err.Error()
	fake.set(func() { fake.fail = map[string]error{"sync": errors.New("another")} })
	for name, f := range map[string]func() error{
		"run":      func() error { _, err := k.Run(context.Background(), args); return err },
		"allocate": func() error { _, err := d.Allocate(64, 0); return err },
		"open":     func() error { _, err := d.Open(&m.Index.Contracts[0]); return err },
		"sync":     args["a"].Buffer.ToDevice,
	} {
		if err := f(); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "EXEC_CMD IOCTL failed") {
			t.Errorf("%s: %v; after %s", name, err, message)
		}
	}
	check(t, k.Close())
	closeActivations(t, k.Contract(), args)
	check(t, m.Close())
	check(t, d.Close())
	fake.hasNone(t)
}

// A run that does not end in its time is left with all that it uses; its kernel takes no more, a new one runs, in a context of its own.
func TestDeadline(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	f := newFixture(t, 1, nil, small)
	d := openFake(t, fake, f)
	m := load(t, d, f)
	k := openKernel(t, d, m, 0)
	args := arguments(t, d, m, 0, 1)
	fake.set(func() { fake.hang = 1 })
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := k.Run(ctx, args); !errors.Is(err, ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("run: %v", err)
	}
	if _, err := k.Run(context.Background(), args); !errors.Is(err, ErrBroken) {
		t.Errorf("run of a broken kernel: %v", err)
	}
	check(t, k.Close())
	again := openKernel(t, d, m, 0)
	if _, err := again.Run(context.Background(), args); err != nil {
		t.Errorf("run of another kernel: %v", err)
	}
	check(t, again.Close())
	closeActivations(t, k.Contract(), args)
	if err := m.Close(); err == nil || !strings.Contains(err.Error(), "must stay mapped") {
		t.Errorf("Close of the model, whose weights a run may read: %v", err)
	}
	fake.set(func() { fake.hang = 0 })
	check(t, d.Close())
	fake.hasNone(t)
}

// Without an end of the run, closing the device says what must stay.
func TestCloseAfterDeadline(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	f := newFixture(t, 1, nil, small)
	d := openFake(t, fake, f)
	m := load(t, d, f)
	k := openKernel(t, d, m, 0)
	args := arguments(t, d, m, 0, 1)
	fake.set(func() { fake.hang = 1 })
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := d.RunList(ctx, []Call{{k, args}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("run: %v", err)
	}
	check(t, k.Close())
	closeActivations(t, k.Contract(), args)
	if err := m.Close(); err == nil {
		t.Error("the model's weights were freed")
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "1 hardware contexts have runs") {
		t.Errorf("Close: %v", err)
	}
	if left := fake.handles(); left["run"] != 1 || left["device"] != 1 || left["bo"] != 4 {
		t.Errorf("open: %v; the run, its buffers and the device were expected", left)
	}
}

// The states in which a run ends without having completed.
func TestRunsThatFail(t *testing.T) {
	t.Parallel()
	for _, outcome := range []state{stateError, stateAborted, stateTimeout, stateNoResponse, 42} {
		fake := newFake(t)
		f := newFixture(t, 1, nil, small)
		d := openFake(t, fake, f)
		m := load(t, d, f)
		k := openKernel(t, d, m, 0)
		args := arguments(t, d, m, 0, 1)
		fake.set(func() { fake.outcome = outcome })
		if _, err := k.Run(context.Background(), args); err == nil || !strings.Contains(err.Error(), `state "`+outcome.String()+`"`) {
			t.Errorf("%v: %v", outcome, err)
		}
		fake.set(func() { fake.outcome = 0 })
		if _, err := k.Run(context.Background(), args); err != nil {
			t.Errorf("after %v: %v", outcome, err)
		}
		if want := map[bool]int{true: 1, false: 2}[outcome == stateError]; fake.made["context"] != want {
			t.Errorf("%v: %d contexts, want %d", outcome, fake.made["context"], want)
		}
		check(t, k.Close())
		closeActivations(t, k.Contract(), args)
		check(t, m.Close())
		check(t, d.Close())
		fake.hasNone(t)
	}
}
