package device_test

import (
	"errors"
	"testing"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// binder opens contracts of the one index that is bound, if the instructions that they name are there.
type binder struct {
	device.Device
	fails   error // of Bind
	index   *artifact.Index
	segment func(int) (device.Buffer, error)
	bound   int // so far
}

func (b *binder) Bind(index *artifact.Index, segment func(int) (device.Buffer, error)) (func(), error) {
	if b.fails != nil {
		return nil, b.fails
	}
	b.index, b.segment = index, segment
	b.bound++
	return func() { b.index = nil }, nil
}

func (b *binder) Open(c *kernel.Contract) (device.Kernel, error) {
	if b.index == nil || &b.index.Contracts[0] != c {
		return nil, device.ErrUnsupported
	}
	code, err := b.segment(c.Instructions)
	if err != nil {
		return nil, err
	}
	if host := must(code.Host()); string(host[:len(codeBytes)]) != string(codeBytes) {
		return nil, device.ErrMismatch
	}
	return b.Device.Open(c)
}

// newBinders are a binder alone, and one in a composite.
func newBinders(t *testing.T) map[*binder]device.Device {
	t.Helper()
	alone, part, other := &binder{Device: cpu.New(cpu.Options{})}, &binder{Device: cpu.New(cpu.Options{})}, device.Part{Device: cpu.New(cpu.Options{})}
	return map[*binder]device.Device{alone: closing(t, alone), part: closing(t, device.NewComposite(device.Part{Device: part}, other))}
}

func boundSample(t *testing.T) *sample {
	t.Helper()
	return newSample(t, func(x *artifact.Index) {
		x.Contracts = []artifact.Contract{*gemm("gemm")}
		x.Contracts[0].Instructions = codeSegment
	})
}

// While a model is loaded, a device of compiled kernels knows its index, and can open its contracts.
func TestBind(t *testing.T) {
	t.Parallel()
	s := boundSample(t)
	for b, d := range newBinders(t) {
		m := must(device.Load(t.Context(), d, s.path, device.LoadOptions{}))
		if b.index != m.Index || len(m.Report.Unsupported) != 0 {
			t.Errorf("%s: bound to %p, the model's index is %p; %v", d.Name(), b.index, m.Index, m.Report.Unsupported)
		}
		check(t, must(b.Open(&m.Index.Contracts[0])).Close())
		check(t, errors.Join(m.Close(), m.Close()))
		if b.index != nil || b.bound != 1 {
			t.Errorf("%s: still bound, or bound %d times", d.Name(), b.bound)
		}
		_, err := b.segment(codeSegment)
		wants(t, "a segment of a closed model", err, device.ErrClosed)
	}
}

func TestBindFails(t *testing.T) {
	t.Parallel()
	for b, d := range newBinders(t) {
		s := boundSample(t)
		b.fails = errFailed
		_, err := device.Load(t.Context(), d, s.path, device.LoadOptions{})
		wants(t, "Bind", err, errFailed)
		b.fails = nil
		s.patch(t, s.index.Segments[codeSegment].Offset, 'X')
		_, err = device.Load(t.Context(), d, s.path, device.LoadOptions{SkipDigests: true})
		wants(t, "other instructions", err, device.ErrMismatch)
		if b.index != nil {
			t.Errorf("%s: an index that did not load is still bound", d.Name())
		}
	}
}

// Where one part cannot be bound, those before it are released.
func TestBindPartly(t *testing.T) {
	t.Parallel()
	first, second := &binder{Device: cpu.New(cpu.Options{})}, &binder{Device: cpu.New(cpu.Options{}), fails: errFailed}
	c := closing(t, device.NewComposite(device.Part{Device: first}, device.Part{Device: second}))
	_, err := device.Load(t.Context(), c, boundSample(t).path, device.LoadOptions{})
	wants(t, "Bind", err, errFailed)
	if first.bound != 1 || first.index != nil {
		t.Errorf("the first part was bound %d times, and still is to %v", first.bound, first.index)
	}
}
