package xrt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/runtime/device"
)

// Kernel is a kernel of a Device.
type Kernel struct {
	device       *Device
	contract     *kernel.Contract
	file         *xclbinFile
	signature    *signature
	instructions *memory // nil: none
	gate         device.Gate
	broken       atomic.Bool
}

var _ device.Kernel = (*Kernel)(nil)

// Open makes a kernel ready to run. The contract must be one of an index that has been bound, as device.Load does. One without an
// xclbin is none of this device's: the error wraps device.ErrUnsupported. One that does not fit its xclbin, or whose xclbin is not
// found, is a device.ErrMismatch that shows both sides.
func (d *Device) Open(c *kernel.Contract) (device.Kernel, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	k, err := d.newKernel(c)
	if err != nil {
		return nil, fmt.Errorf("xrt: kernel %q: %w", c.Name, err)
	}
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.kernels[k] = struct{}{}
	}
	d.mu.Unlock()
	if closed {
		k.end()
		return nil, errClosed
	}
	return k, nil
}

func (d *Device) newKernel(c *kernel.Contract) (*Kernel, error) {
	if c.Xclbin == kernel.None {
		return nil, fmt.Errorf("%w: the contract names no xclbin", device.ErrUnsupported)
	}
	b := d.bound(c)
	if b == nil {
		return nil, fmt.Errorf("%w: the contract is not one of an artifact that is loaded on this device", device.ErrUnsupported)
	}
	if c.Xclbin < 0 || c.Xclbin >= len(b.index.Xclbins) || c.Instructions >= len(b.index.Segments) {
		return nil, mismatch("xclbin %d or segment %d of instructions is not in the index", c.Xclbin, c.Instructions)
	}
	file, err := d.xclbin(&b.index.Xclbins[c.Xclbin])
	if err != nil {
		return nil, err
	}
	compiled := file.Kernel(c.Kernel)
	if compiled == nil || !compiled.DPU() {
		return nil, mismatch("%s has no kernel %q for the NPU", file.Path, c.Kernel)
	}
	stream, err := b.stream(c)
	if err != nil {
		return nil, err
	}
	k := &Kernel{device: d, contract: c, file: file}
	if k.signature, err = newSignature(c, compiled, len(stream)/wordBytes); err != nil {
		return nil, fmt.Errorf("%s: kernel %q: %w", file.Path, c.Kernel, err)
	}
	if len(stream) > 0 {
		if k.instructions, err = d.newInstructions(stream, k.signature.group); err != nil {
			return nil, err
		}
	}
	d.contexts.kernelOpened(k)
	if err := k.try(); err != nil {
		k.end()
		return nil, err
	}
	return k, nil
}

// wordBytes is the size of a word of instructions.
const wordBytes = 4

// stream copies the instructions of a contract: as many bytes of their segment as the argument says that they are.
func (b *binding) stream(c *kernel.Contract) ([]byte, error) {
	if c.Instructions < 0 {
		return nil, nil
	}
	s := &b.index.Segments[c.Instructions]
	n := uint64(0)
	for i := range c.Arguments {
		if a := &c.Arguments[i]; a.Role == kernel.Instructions {
			n = a.Bytes
		}
	}
	if s.Kind != artifact.Instructions || n == 0 || n%wordBytes != 0 || n > s.Bytes {
		return nil, mismatch("%d bytes of instructions in segment %q, which is of kind %d and has %d; an argument with the role of instructions must say how many, in words of %d",
			n, s.Name, s.Kind, s.Bytes, wordBytes)
	}
	segment, err := b.segment(c.Instructions)
	if err != nil {
		return nil, err
	}
	host, err := segment.Host()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(host)) {
		return nil, mismatch("%d bytes of instructions in a buffer of %d", n, len(host))
	}
	return copied(host[:n])
}

// copied copies bytes of a mapped file, which may have been truncated.
func copied(from []byte) (to []byte, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w (%v)", device.ErrFault, fault)
		}
	}()
	to = make([]byte, len(from))
	copy(to, from)
	return to, nil
}

// newInstructions puts a stream of instructions where the NPU fetches them.
func (d *Device) newInstructions(stream []byte, group int32) (*memory, error) {
	m, err := d.newMemory(int64(len(stream)), cacheableMemory, group)
	if err != nil {
		return nil, err
	}
	copy(m.host, stream)
	if err := m.sync(true, span{0, int64(len(stream))}); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// try puts the kernel into a hardware context, so that what is wrong with it shows when it is opened. While runs are in all contexts
// that must wait for its first run.
func (k *Kernel) try() error {
	c := k.device.contexts
	r, err := c.acquire(context.Background(), k.file, false)
	if errors.Is(err, errBusy) {
		return nil
	}
	if err != nil {
		return k.device.check(err)
	}
	defer c.release(r)
	h, run, err := c.hosted(r, k)
	if err != nil {
		return k.device.check(err)
	}
	c.keep(h, run)
	return nil
}

// place opens the kernel in a hardware context.
func (k *Kernel) place(in hwContext) (hwKernel, error) {
	native, err := in.kernel(k.contract.Kernel)
	if err != nil {
		return nil, err
	}
	if err := k.signature.compare(native); err != nil {
		native.close()
		return nil, err
	}
	return native, nil
}

// Contract is the contract by which the kernel was opened.
func (k *Kernel) Contract() *kernel.Contract { return k.contract }

// Close ends the kernel, once its runs have ended. Closing twice does nothing.
func (k *Kernel) Close() error {
	k.device.mu.Lock()
	delete(k.device.kernels, k)
	k.device.mu.Unlock()
	k.end()
	return nil
}

func (k *Kernel) end() {
	if !k.gate.Close() {
		return
	}
	k.device.contexts.kernelClosed(k)
	if k.instructions != nil {
		k.instructions.close()
	}
}
