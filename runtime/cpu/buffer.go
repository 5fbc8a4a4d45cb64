package cpu

import (
	"fmt"
	"sync/atomic"

	"npuw/runtime/device"
)

// memory is what a buffer and its views are parts of.
type memory struct {
	owner  *Device
	gate   device.Gate
	host   []byte // nil after close
	device []byte // what kernels see: host itself, or its copy where shadowed
	mapped bool   // not to be written
}

// shadowed reports whether host and device have different memory.
func (m *memory) shadowed() bool { return m.owner.shadow && !m.mapped }

// close waits for the runs that use the memory and lets go of it.
func (m *memory) close() {
	if m.gate.Close() {
		m.host, m.device = nil, nil
	}
}

// Buffer is a buffer of a Device, or a view of one.
type Buffer struct {
	memory *memory
	parent *Buffer // of which this is a view; nil: it is a whole buffer
	begin  int     // in memory
	length int
	closed atomic.Bool // for views
}

var _ device.Buffer = (*Buffer)(nil)

// Len is the number of bytes.
func (b *Buffer) Len() int64 { return int64(b.length) }

// Host is the host's side of the buffer, valid until Close. Without shadow mode it is what kernels see, too.
func (b *Buffer) Host() ([]byte, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.memory.gate.Leave()
	return b.part(b.memory.host), nil
}

// ToDevice lets kernels see what the host wrote.
func (b *Buffer) ToDevice() error {
	if err := b.enter(); err != nil {
		return err
	}
	defer b.memory.gate.Leave()
	if b.memory.shadowed() {
		copy(b.part(b.memory.device), b.part(b.memory.host))
	}
	return nil
}

// FromDevice lets the host see what kernels wrote.
func (b *Buffer) FromDevice() error {
	if err := b.enter(); err != nil {
		return err
	}
	defer b.memory.gate.Leave()
	if b.memory.shadowed() {
		copy(b.part(b.memory.host), b.part(b.memory.device))
	}
	return nil
}

// View is the part of the buffer from offset on. Its syncs refresh that part alone.
func (b *Buffer) View(offset, bytes int64) (device.Buffer, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.memory.gate.Leave()
	if offset < 0 || bytes < 0 || offset > b.Len() || bytes > b.Len()-offset {
		return nil, fmt.Errorf("cpu: no view of %d bytes at %d in a buffer of %d", bytes, offset, b.length)
	}
	return &Buffer{memory: b.memory, parent: b, begin: b.begin + int(offset), length: int(bytes)}, nil
}

// Close ends the buffer and its views once no run uses it any more. That of a view ends the view and its views.
func (b *Buffer) Close() error {
	if b.parent != nil {
		b.closed.Store(true)
		return nil
	}
	owner := b.memory.owner
	owner.mu.Lock()
	delete(owner.buffers, b.memory)
	owner.mu.Unlock()
	b.memory.close()
	return nil
}

// enter keeps the memory until b.memory.gate.Leave.
func (b *Buffer) enter() error {
	for v := b; v != nil; v = v.parent {
		if v.closed.Load() {
			return fmt.Errorf("cpu: view of a buffer: %w", device.ErrClosed)
		}
	}
	if !b.memory.gate.Enter() {
		return fmt.Errorf("cpu: buffer: %w", device.ErrClosed)
	}
	return nil
}

// part is the buffer's part of one side of its memory.
func (b *Buffer) part(side []byte) []byte {
	return side[b.begin:][:b.length:b.length]
}

// overlaps reports whether both have bytes in common.
func (b *Buffer) overlaps(o *Buffer) bool {
	return b.memory == o.memory && b.begin < o.begin+o.length && o.begin < b.begin+b.length
}
