package xrt

import (
	"context"
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"

	"npuw/runtime/device"
)

// Whatever call of XRT fails, the error says so, the caller can go on, and nothing is left open. Most of these calls XRT does not let
// fail by itself, whatever the driver does; TestSoftwareErrorsInTurn has those that do.
func TestEveryCallMayFail(t *testing.T) {
	for _, call := range []string{"count", "open", "register", "context", "kernel", "group", "run", "allocate", "host", "part", "scalar", "buffer", "start", "sync"} {
		onEach(t, conditions{}, func(t *testing.T, r *rig) {
			r.fail[call] = failure(call, syscall.EIO)
			f := newFixture(t, small)
			d, err := open(r, math.MaxInt64, Options{Xclbins: Folder(f.folder)})
			if err == nil {
				err = useAll(d, f, 1)
			}
			var known *Error
			if !errors.As(err, &known) || known.Call != call || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "the ioctl failed") {
				t.Errorf("%s: %v", call, err)
			}
			r.hasNone()
		})
	}
}

// A run whose state cannot be asked for has not ended as far as anybody knows: what it uses is kept until it can.
func TestStateCannotBeAskedFor(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		d := r.device(f)
		s := newSession(t, d, f, 0)
		r.set(func() { r.fail["state"] = failure("state", syscall.EIO) })
		if err := s.run(context.Background()); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v", err)
		}
		if err := s.run(context.Background()); !errors.Is(err, ErrBroken) {
			t.Errorf("the next: %v", err)
		}
		s.done()
		r.set(func() { clear(r.fail) })
		r.settle()
		again := sessionOf(t, d, f, s.model, 0)
		again.mustRun()
		again.right(r)
		again.close()
		check(t, d.Close())
		r.hasNone()
	})
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
	for range runs {
		if _, err := k.Run(context.Background(), args); err != nil {
			return err
		}
	}
	return nil
}

func TestNPUGoesAway(t *testing.T) {
	onEach(t, conditions{gone: 2}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		d := r.device(f)
		s := newSession(t, d, f, 0)
		s.mustRun()
		err := s.run(context.Background())
		if !errors.Is(err, ErrGone) {
			t.Fatalf("run: %v", err)
		}
		var first *Error
		if !errors.As(err, &first) {
			t.Fatalf("run: %v", err)
		}
		for name, use := range map[string]func() error{
			"run":      func() error { return s.run(context.Background()) },
			"allocate": func() error { _, err := d.Allocate(64, 0); return err },
			"map":      func() error { _, err := d.Map(make([]byte, page), 0); return err },
			"open":     func() error { _, err := d.Open(&s.model.Index.Contracts[0]); return err },
			"sync":     s.args["a"].Buffer.ToDevice,
		} {
			if err := use(); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), first.Error()) {
				t.Errorf("%s: %v; after %v", name, err, first)
			}
		}
		s.close()
		check(t, d.Close())
		r.hasNone()
	})
}

// A run that does not end in its time is left with all that it uses; its kernel takes no more, a new one runs, in a context of its own.
func TestDeadline(t *testing.T) {
	onEach(t, conditions{held: 1}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		d := r.device(f)
		s := newSession(t, d, f, 0)
		if err := s.run(newOverdue()); !errors.Is(err, ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("run: %v", err)
		}
		if err := s.run(context.Background()); !errors.Is(err, ErrBroken) {
			t.Errorf("run of a broken kernel: %v", err)
		}
		again := newSession(t, d, f, 0) // the next load
		again.mustRun()
		again.right(r)
		again.close()
		s.done()
		if err := s.model.Close(); err == nil || !strings.Contains(err.Error(), "must stay mapped") {
			t.Errorf("Close of the model, whose weights a run may read: %v", err)
		}
		r.release()
		r.settle()
		check(t, d.Close())
		r.hasNone()
	})
}

// Without an end of the run, closing the device says what must stay.
func TestCloseAfterDeadline(t *testing.T) {
	onEach(t, conditions{held: 1}, func(t *testing.T, r *rig) {
		if !r.alone() {
			return
		}
		r.leaves = true
		f := newFixture(t, small)
		d := r.device(f)
		s := newSession(t, d, f, 0)
		if _, err := d.RunList(newOverdue(), []Call{{s.kernel, s.args}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("run: %v", err)
		}
		s.done()
		if err := s.model.Close(); err == nil {
			t.Error("the model's weights were freed")
		}
		if err := d.Close(); err == nil || !strings.Contains(err.Error(), "1 hardware contexts have runs") {
			t.Errorf("Close: %v", err)
		}
		if left := r.handles(); left["run"] != 1 || left["device"] != 1 || left["bo"] != 4 {
			t.Errorf("open: %v; the run, its buffers and the device were expected", left)
		}
	})
}

// The states in which a run ends without having completed.
func TestRunsThatFail(t *testing.T) {
	for _, outcome := range []state{stateError, stateAborted, stateTimeout, stateNoResponse, 12} {
		onEach(t, conditions{outcome: outcome}, func(t *testing.T, r *rig) {
			f := newFixture(t, small)
			d := r.device(f)
			s := newSession(t, d, f, 0)
			if err := s.run(context.Background()); err == nil || !strings.Contains(err.Error(), `state "`+outcome.String()+`"`) {
				t.Errorf("%v: %v", outcome, err)
			}
			s.mustRun()
			s.right(r)
			if want := map[bool]int{true: 1, false: 2}[outcome == stateError]; r.total("context") != want {
				t.Errorf("%v: %d contexts, want %d", outcome, r.total("context"), want)
			}
			s.close()
			check(t, d.Close())
			r.hasNone()
		})
	}
}
