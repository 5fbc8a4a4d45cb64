package xrt

import (
	"fmt"
	"math"
	"os"
	"sync"

	"npuw/runtime/device"
)

// partAlign is the boundary that parts of a buffer which kernels are given begin at.
const partAlign = 64

// memory is a buffer object with its parts. It is freed when it has been closed and no run holds it any more: XRT lets a run use what
// has been freed, and the NPU writes there.
type memory struct {
	owner  *Device
	native bo
	host   []byte
	group  int32
	locked int64       // bytes of it that count as locked
	mapped bool        // pages of a file: not to be written
	gate   device.Gate // for what runs and calls use at the moment

	mu     sync.Mutex
	parts  map[span]bo
	held   int // by runs that were given up but have not ended
	closed bool
	freed  bool
}

// span is a part of a memory, in bytes.
type span struct{ offset, bytes int64 }

// part is the buffer object of a part, made when it is first asked for and kept until the memory is freed. The caller has entered the gate.
func (m *memory) part(s span) (bo, error) {
	if s == (span{0, int64(len(m.host))}) {
		return m.native, nil
	}
	if s.offset%partAlign != 0 || s.bytes == 0 {
		return nil, fmt.Errorf("%w: a part of a buffer with %d bytes at %d; a multiple of %d was expected", device.ErrArgument, s.bytes, s.offset, partAlign)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.parts[s]; ok {
		return p, nil
	}
	p, err := m.native.part(s.offset, s.bytes)
	if err != nil {
		return nil, m.owner.check(err)
	}
	if m.parts == nil {
		m.parts = map[span]bo{}
	}
	m.parts[s] = p
	return p, nil
}

// sync makes a part visible to the other side.
func (m *memory) sync(toDevice bool, s span) error {
	if m.mapped || s.bytes == 0 {
		return nil // making the buffer object has flushed it, and neither side writes
	}
	if err := m.owner.usable(); err != nil {
		return err
	}
	return m.owner.check(m.native.sync(toDevice, s.offset, s.bytes))
}

// close waits for what uses the memory and frees it, unless a run that was given up holds it: then that frees it when it ends.
// It reports whether nothing holds it.
func (m *memory) close() bool {
	m.gate.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.freeUnused()
	return m.freed
}

// hold keeps the memory for a run that was given up. The caller has entered the gate.
func (m *memory) hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held++
}

// drop ends a hold.
func (m *memory) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held--
	m.freeUnused()
}

// freeUnused destroys the buffer objects, once, when nothing can use them any more. m.mu is held.
func (m *memory) freeUnused() {
	if !m.closed || m.held > 0 || m.freed {
		return
	}
	m.freed = true
	for _, p := range m.parts {
		p.close()
	}
	m.native.close()
	m.owner.locked.Add(-m.locked)
	m.parts, m.host = nil, nil
}

// newMemory allocates memory for arguments in a memory group.
func (d *Device) newMemory(bytes int64, kind memoryKind, group int32) (*memory, error) {
	if bytes < 0 || bytes > min(maxBuffer, math.MaxInt) {
		return nil, fmt.Errorf("xrt: cannot allocate a buffer of %d bytes; allowed are 0 to %d", bytes, int64(maxBuffer))
	}
	locked := int64(0) // in the heap nothing is locked but the heap itself
	if kind == hostMemory {
		pageBytes := int64(os.Getpagesize())
		locked = (bytes + pageBytes - 1) / pageBytes * pageBytes
	}
	native, err := d.npu.allocate(max(bytes, partAlign), kind, group)
	if err != nil {
		return nil, d.check(memoryError(err, d.locked.Load()+locked))
	}
	host, err := native.host()
	if err == nil && int64(len(host)) < bytes {
		err = fmt.Errorf("xrt: XRT mapped %d bytes of a buffer of %d", len(host), bytes)
	}
	if err != nil {
		native.close()
		return nil, d.check(err)
	}
	d.locked.Add(locked)
	return &memory{owner: d, native: native, host: host[:bytes:bytes], group: group, locked: locked}, nil
}
