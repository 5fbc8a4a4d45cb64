package xrt

import (
	"fmt"
	"sync/atomic"

	"npuw/runtime/device"
)

// Buffer is a buffer of a Device, or a view of one.
type Buffer struct {
	memory *memory
	parent *Buffer // of which this is a view; nil: it is a whole buffer
	span   span
	closed atomic.Bool // for views
}

var _ device.Buffer = (*Buffer)(nil)

// Len is the number of bytes.
func (b *Buffer) Len() int64 { return b.span.bytes }

// Host is the host's side of the buffer, valid until Close.
func (b *Buffer) Host() ([]byte, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.memory.gate.Leave()
	return b.memory.host[b.span.offset:][:b.span.bytes:b.span.bytes], nil
}

// ToDevice lets kernels see what the host wrote. For a mapped buffer it does nothing: the driver has flushed it.
func (b *Buffer) ToDevice() error { return b.sync(true) }

// FromDevice lets the host see what kernels wrote. For a mapped buffer, which they cannot write, it does nothing.
func (b *Buffer) FromDevice() error { return b.sync(false) }

func (b *Buffer) sync(toDevice bool) error {
	if err := b.enter(); err != nil {
		return err
	}
	defer b.memory.gate.Leave()
	return b.memory.sync(toDevice, b.span)
}

// View is the part of the buffer from offset on. A kernel can be given one that begins at a multiple of 64 of the whole buffer.
func (b *Buffer) View(offset, bytes int64) (device.Buffer, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.memory.gate.Leave()
	if offset < 0 || bytes < 0 || offset > b.Len() || bytes > b.Len()-offset {
		return nil, fmt.Errorf("xrt: no view of %d bytes at %d in a buffer of %d", bytes, offset, b.Len())
	}
	return &Buffer{memory: b.memory, parent: b, span: span{b.span.offset + offset, bytes}}, nil
}

// Close ends the buffer and its views once no run uses it any more. That of a view ends the view and its views. The pages of a mapped
// buffer that a run which did not end in its time may still read must stay mapped: that is an error, and they are the device's then.
func (b *Buffer) Close() error {
	if b.parent != nil {
		b.closed.Store(true)
		return nil
	}
	b.memory.owner.forget(b.memory)
	if !b.memory.close() && b.memory.mapped {
		return fmt.Errorf("xrt: buffer over mapped pages: %w; they must stay mapped", errHeld)
	}
	return nil
}

// enter keeps the memory until b.memory.gate.Leave.
func (b *Buffer) enter() error {
	for v := b; v != nil; v = v.parent {
		if v.closed.Load() {
			return fmt.Errorf("xrt: view of a buffer: %w", device.ErrClosed)
		}
	}
	if !b.memory.gate.Enter() {
		return fmt.Errorf("xrt: buffer: %w", device.ErrClosed)
	}
	return nil
}

// overlaps reports whether both have bytes in common.
func (b *Buffer) overlaps(o *Buffer) bool {
	return b.memory == o.memory && b.span.offset < o.span.offset+o.span.bytes && o.span.offset < b.span.offset+b.span.bytes
}
