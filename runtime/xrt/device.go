package xrt

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/runtime/device"
)

// maxBuffer bounds one buffer, in bytes: 16 GiB.
const maxBuffer = 1 << 34

// Device is an NPU. Make it with Open.
type Device struct {
	npu      npu
	find     func(*artifact.Xclbin) (string, error)
	contexts *contexts

	locked atomic.Int64 // bytes of its buffers, which stay in memory as long as they are open

	configuring sync.Mutex // held while XRT changes what it knows of the device

	registering sync.Mutex               // guards the next, and is held while a file is read
	xclbins     map[[16]byte]*xclbinFile // by uuid

	mu       sync.Mutex
	closed   bool
	gone     error // why
	refused  error // why the driver takes no pages of ours, once that is known
	buffers  map[*memory]struct{}
	kernels  map[*Kernel]struct{}
	bindings map[*binding]struct{}
}

var _ device.Binder = (*Device)(nil)

// Open opens an NPU. Without the build tag xrt, and where there is no NPU, the error wraps device.ErrUnsupported and says what is
// missing; where memory cannot be locked, it is a *MemlockError.
func Open(opts Options) (*Device, error) {
	d, err := systemDriver()
	if err != nil {
		return nil, err
	}
	limit, err := memlockLimit()
	if err != nil {
		return nil, fmt.Errorf("xrt: read RLIMIT_MEMLOCK: %w", err)
	}
	return open(d, limit, opts)
}

// open is Open with another driver and limit.
func open(xrt driver, memlock int64, opts Options) (*Device, error) {
	if err := checkMemlock(memlock, opts.NeedBytes); err != nil {
		return nil, err
	}
	if v := xrt.version(); v.major < oldest.major || v.major == oldest.major && v.minor < oldest.minor {
		return nil, fmt.Errorf("xrt: %w: XRT %v is too old; %v or later was expected", device.ErrUnsupported, v, oldest)
	}
	n, err := xrt.count()
	if err != nil {
		return nil, fmt.Errorf("xrt: %w", err)
	}
	if opts.Index < 0 || opts.Index >= n {
		return nil, fmt.Errorf("xrt: %w: no NPU with number %d, XRT %v sees %d: is the amdxdna driver loaded, is there a /dev/accel/accel%d, and may this user open it (group render)?",
			device.ErrUnsupported, opts.Index, xrt.version(), n, max(opts.Index, 0))
	}
	npu, err := xrt.open(opts.Index)
	if err != nil {
		return nil, fmt.Errorf("xrt: NPU %d: %w", opts.Index, memoryError(err, opts.NeedBytes))
	}
	d := &Device{
		npu: npu, find: opts.Xclbins, xclbins: map[[16]byte]*xclbinFile{},
		buffers: map[*memory]struct{}{}, kernels: map[*Kernel]struct{}{}, bindings: map[*binding]struct{}{},
	}
	limit := opts.Contexts
	if limit <= 0 {
		limit = npu1Contexts
	}
	d.contexts = newContexts(limit, d.newContext, d.resident)
	return d, nil
}

// Name is "xrt".
func (d *Device) Name() string { return "xrt" }

// Allocate makes a buffer of zeros in the host's memory, which the NPU shares. For arguments of any memory group it is made in
// group 0. Buffers are limited to 16 GiB.
func (d *Device) Allocate(bytes int64, group int32) (device.Buffer, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	m, err := d.newMemory(bytes, hostMemory, max(group, 0))
	if err != nil {
		return nil, err
	}
	return d.add(m)
}

// Map makes a buffer of pages without a copy: the driver pins them. They must be whole pages of this machine, mapped read-only and
// shared from a file opened read-only. Where the driver refuses, the error wraps device.ErrUnsupported and says why.
func (d *Device) Map(pages []byte, group int32) (device.Buffer, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	if err := checkPages(pages, os.Getpagesize()); err != nil {
		return nil, err
	}
	d.mu.Lock()
	refused := d.refused
	d.mu.Unlock()
	if refused != nil {
		return nil, refused
	}
	native, err := d.npu.user(pages, max(group, 0))
	if err != nil {
		return nil, d.refuse(err)
	}
	m := &memory{owner: d, native: native, host: pages, group: max(group, 0), mapped: true, locked: int64(len(pages))}
	d.locked.Add(m.locked)
	return d.add(m)
}

// refuse says why the driver did not take pages, and remembers a reason that will not change.
func (d *Device) refuse(err error) error {
	why, always := refusal(err)
	if err := d.check(err); errors.Is(err, ErrGone) {
		return err
	}
	err = fmt.Errorf("xrt: %w: %s: %w", device.ErrUnsupported, why, err)
	if always {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.refused = err
	}
	return err
}

// add adds a buffer to those that Close must find.
func (d *Device) add(m *memory) (device.Buffer, error) {
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.buffers[m] = struct{}{}
	}
	d.mu.Unlock()
	if closed {
		m.close()
		return nil, errClosed
	}
	return &Buffer{memory: m, span: span{0, int64(len(m.host))}}, nil
}

// forget takes a buffer off those that Close must find.
func (d *Device) forget(m *memory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.buffers, m)
}

var errClosed = fmt.Errorf("xrt: device: %w", device.ErrClosed)

// usable says why the device cannot be used, nil when it can.
func (d *Device) usable() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	return d.gone
}

// check makes one error of all that XRT says once the NPU has gone away, and passes others on.
func (d *Device) check(err error) error {
	if !errors.Is(err, syscall.ENODEV) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone == nil {
		d.gone = fmt.Errorf("xrt: %w: %w", ErrGone, err)
	}
	return d.gone
}

// Close waits for running kernels and ends the device with all that is open on it; if there was anything, it returns a
// *device.LeakError. What runs use that did not end in their time is left to the end of the process, which is an error, too. Closing
// again does nothing.
func (d *Device) Close() error {
	d.mu.Lock()
	again := d.closed
	d.closed = true
	buffers, kernels := d.buffers, d.kernels
	d.buffers, d.kernels, d.bindings = nil, nil, nil
	d.mu.Unlock()
	if again {
		return nil
	}
	for k := range kernels {
		k.end()
	}
	left := d.contexts.close()
	for m := range buffers {
		m.close()
	}
	var errs []error
	if len(buffers)+len(kernels) > 0 {
		errs = append(errs, &device.LeakError{Device: d.Name(), Buffers: len(buffers), Kernels: len(kernels)})
	}
	if left > 0 {
		return errors.Join(append(errs, fmt.Errorf("xrt: %d hardware contexts have runs that did not end in their time; they and their buffers stay until this process ends", left))...)
	}
	d.npu.close()
	if len(errs) > 0 {
		return errs[0] // a *device.LeakError, as it is
	}
	return nil
}

// binding is an artifact whose contracts can be opened.
type binding struct {
	index   *artifact.Index
	segment func(i int) (device.Buffer, error)
}

// Bind makes the contracts of an index known, with the segments that their instructions are in.
func (d *Device) Bind(index *artifact.Index, segment func(i int) (device.Buffer, error)) (release func(), err error) {
	b := &binding{index, segment}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	d.bindings[b] = struct{}{}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.bindings, b)
	}, nil
}

// resident reports whether an artifact that names an xclbin is loaded.
func (d *Device) resident(x *xclbinFile) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for b := range d.bindings {
		for i := range b.index.Xclbins {
			if b.index.Xclbins[i].UUID == x.UUID {
				return true
			}
		}
	}
	return false
}

// bound finds the artifact that a contract is part of, nil when it has not been bound.
func (d *Device) bound(c *kernel.Contract) *binding {
	d.mu.Lock()
	defer d.mu.Unlock()
	for b := range d.bindings {
		for i := range b.index.Contracts {
			if &b.index.Contracts[i] == c {
				return b
			}
		}
	}
	return nil
}
