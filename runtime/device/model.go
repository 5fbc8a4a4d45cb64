package device

import (
	"errors"
	"fmt"
	"sync"

	"npuw/artifact"
)

// Model is an artifact on a device: each segment a buffer, each operand a view. Its methods may be called from several goroutines.
type Model struct {
	Index  *artifact.Index
	Report Report

	file     *artifact.File
	release  func() // ends the binding of the index; nil: there is none
	mu       sync.Mutex
	segments []Buffer // nil once closed
}

// Operand is the buffer of an operand, and what the index says of it. Where this version cannot read the operand, the error wraps
// artifact.ErrUnsupported.
func (m *Model) Operand(name string) (Buffer, *artifact.Operand, error) {
	o := m.file.Operand(name)
	if o == nil {
		return nil, nil, fmt.Errorf("%s: operand %q: %w; the recipe %q does not make it", m.Report.Path, name, artifact.ErrNotFound, m.Index.Producer.Recipe)
	}
	if s := &m.Index.Segments[o.Segment]; !o.Supported() || s.Kind != artifact.Weights {
		return nil, nil, fmt.Errorf("%s: operand %q: %w: encoding %d, element format %v, in a segment of kind %d; a newer npuw is needed", m.Report.Path, name, artifact.ErrUnsupported, o.Encoding, o.Format, s.Kind)
	}
	b, err := m.view(o.Segment, o.Offset, o.Bytes)
	if err != nil {
		return nil, nil, m.fault("operand", name, err)
	}
	return b, o, nil
}

// Segment is all of segment i of the index: weights, or the instruction stream that a contract names.
func (m *Model) Segment(i int) (Buffer, error) {
	if i < 0 || i >= len(m.Index.Segments) {
		return nil, fmt.Errorf("%s: segment %d: %w; there are %d", m.Report.Path, i, artifact.ErrNotFound, len(m.Index.Segments))
	}
	s := &m.Index.Segments[i]
	b, err := m.view(i, 0, s.Bytes)
	if err != nil {
		return nil, m.fault("segment", s.Name, err)
	}
	return b, nil
}

// view is a part of a segment.
func (m *Model) view(segment int, offset, bytes uint64) (Buffer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.segments == nil {
		return nil, fmt.Errorf("model: %w", ErrClosed)
	}
	return m.segments[segment].View(int64(offset), int64(bytes))
}

// Close ends the binding, closes the buffers, then the file. Kernels that were opened by contracts of the index must be closed, and runs
// of other devices that use the buffers have ended. Where a buffer cannot be closed, its device may still read it: the file
// stays mapped then. Closing twice does nothing.
func (m *Model) Close() error {
	m.mu.Lock()
	segments := m.segments
	m.segments = nil
	m.mu.Unlock()
	if segments == nil {
		return nil
	}
	if m.release != nil {
		m.release()
	}
	var errs []error
	for i, b := range segments {
		if b != nil {
			errs = append(errs, m.fault("segment", m.Index.Segments[i].Name, b.Close()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return m.file.Close()
}
