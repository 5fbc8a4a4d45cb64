// Package cpu is the reference device: it computes what kernel contracts say in Go, straight from the tiled operands of an
// artifact, on any machine. What it gives is what other devices are compared with.
//
//	operand, in its layout -- panel by panel --> float32 scratch -- product --> float32 sums -- epilogue, rounding --> output
//
// What is read may be in any encoding that an artifact can state; what is written is f32, f16 or bf16.
// A GEMM gives the same bits whatever the layouts, the number of workers and the processor, except for the payload of a NaN.
// Padding of what a kernel reads is ignored; padding of what it writes is left alone.
package cpu

import (
	"fmt"
	"math"
	"runtime"
	"sync"

	"npuw/artifact/kernel"
	"npuw/runtime/device"
)

// maxBuffer bounds one buffer, in bytes: 16 GiB.
const maxBuffer = 1 << 34

// Options are settings of a Device.
type Options struct {
	// Workers is how many goroutines a run uses at most; 0: one for each processor that Go uses.
	Workers int
	// Shadow lets kernels see a copy of each allocated buffer, zeros at first, that only syncs refresh: a missing sync then gives a
	// wrong result here as it does on hardware. A mapped buffer, which neither side writes, has no copy.
	Shadow bool
}

// Device is the reference device. Make it with New.
type Device struct {
	workers int
	shadow  bool
	scratch sync.Pool // of *scratch

	mu      sync.Mutex
	closed  bool
	buffers map[*memory]struct{}
	kernels map[*Kernel]struct{}
}

var _ device.Device = (*Device)(nil)

// New makes a device.
func New(opts Options) *Device {
	workers := opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &Device{
		workers: workers,
		shadow:  opts.Shadow,
		scratch: sync.Pool{New: func() any { return new(scratch) }},
		buffers: map[*memory]struct{}{},
		kernels: map[*Kernel]struct{}{},
	}
}

// Name is "cpu".
func (d *Device) Name() string { return "cpu" }

// Allocate makes a buffer of zeros; the memory group does not matter. Buffers are limited to 16 GiB.
func (d *Device) Allocate(bytes int64, _ int32) (device.Buffer, error) {
	if bytes < 0 || bytes > min(maxBuffer, math.MaxInt) {
		return nil, fmt.Errorf("cpu: cannot allocate a buffer of %d bytes; allowed are 0 to %d", bytes, int64(maxBuffer))
	}
	if err := d.open(); err != nil {
		return nil, err
	}
	return d.buffer(make([]byte, bytes), false)
}

// Map makes a buffer of pages, which it neither copies nor writes to; the memory group does not matter.
func (d *Device) Map(pages []byte, _ int32) (device.Buffer, error) {
	return d.buffer(pages, true)
}

// buffer makes and registers the buffer whose host side is given.
func (d *Device) buffer(host []byte, mapped bool) (device.Buffer, error) {
	m := &memory{owner: d, host: host, device: host, mapped: mapped}
	if d.shadow && !mapped {
		m.device = make([]byte, len(host))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	d.buffers[m] = struct{}{}
	return &Buffer{memory: m, length: len(host)}, nil
}

// Open makes a kernel ready to run. Errors wrap device.ErrUnsupported and say what it is in the contract that this device
// cannot do; those of a contract that is wrong in itself wrap kernel.ErrContract as well.
func (d *Device) Open(c *kernel.Contract) (device.Kernel, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	k, err := newKernel(d, c)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	d.kernels[k] = struct{}{}
	return k, nil
}

// Close waits for running kernels and ends the device with all that is open on it; if there was anything, it returns a
// *device.LeakError. Closing again does nothing.
func (d *Device) Close() error {
	d.mu.Lock()
	buffers, kernels := d.buffers, d.kernels
	d.buffers, d.kernels = nil, nil
	d.closed = true
	d.mu.Unlock()
	for k := range kernels {
		k.gate.Close()
	}
	for m := range buffers {
		m.close()
	}
	if len(buffers)+len(kernels) > 0 {
		return &device.LeakError{Device: d.Name(), Buffers: len(buffers), Kernels: len(kernels)}
	}
	return nil
}

var errClosed = fmt.Errorf("cpu: device: %w", device.ErrClosed)

func (d *Device) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	return nil
}
