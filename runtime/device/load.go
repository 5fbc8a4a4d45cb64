package device

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"npuw/artifact"
)

// Model is an artifact on a device: each segment a buffer, each operand a view.
type Model struct {
	Index  *artifact.Index
	Report Report

	file     *artifact.File
	mu       sync.Mutex
	segments []Buffer // nil once closed
}

// Report says how an artifact was loaded.
type Report struct {
	Path, Device string
	Checked      bool // the digest of every segment was compared
	Segments     []SegmentReport
	Elapsed      time.Duration
}

// SegmentReport says how one segment became a buffer.
type SegmentReport struct {
	Name   string
	Bytes  uint64
	Mapped bool   // in place; otherwise copied
	Why    string // why it was copied
}

// LoadOptions say how to load. The zero value checks everything.
type LoadOptions struct {
	// SkipDigests leaves the comparison of segment digests out: a file of the right length with wrong bytes is then not noticed.
	SkipDigests bool
}

// Load opens the artifact at path and makes every segment a buffer of d: mapped where the device can, copied where not.
func Load(ctx context.Context, d Device, path string, opts LoadOptions) (*Model, error) {
	start := time.Now()
	file, err := artifact.Open(path)
	if err != nil {
		return nil, err
	}
	n := len(file.Index.Segments)
	m := &Model{
		Index: file.Index, file: file, segments: make([]Buffer, n),
		Report: Report{Path: path, Device: d.Name(), Checked: !opts.SkipDigests, Segments: make([]SegmentReport, n)},
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return m.loadSegment(d, i, opts)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.Report.Elapsed = time.Since(start)
	return m, nil
}

func (m *Model) loadSegment(d Device, i int, opts LoadOptions) error {
	s := &m.Index.Segments[i]
	if !opts.SkipDigests {
		if err := m.file.CheckSegment(i); err != nil {
			return err
		}
	}
	r := &m.Report.Segments[i]
	r.Name, r.Bytes = s.Name, s.Bytes
	pages, err := m.file.Map()
	if err == nil {
		if m.segments[i], err = d.Map(pages[s.Offset:s.Offset+s.Bytes], s.MemoryGroup); err == nil {
			r.Mapped = true
			return nil
		}
	}
	r.Why = err.Error()
	b, err := d.Allocate(int64(s.Bytes), s.MemoryGroup)
	if err != nil {
		return fmt.Errorf("segment %q: %w", s.Name, err)
	}
	m.segments[i] = b
	host, err := b.Host()
	if err != nil {
		return err
	}
	if _, err := m.file.ReadAt(host[:s.Bytes], int64(s.Offset)); err != nil {
		return fmt.Errorf("%s: segment %q: %w", m.file.Path, s.Name, err)
	}
	return b.ToDevice()
}

// Operand is the buffer of an operand, and what the index says of it.
func (m *Model) Operand(name string) (Buffer, *artifact.Operand, error) {
	o := m.file.Operand(name)
	if o == nil {
		return nil, nil, fmt.Errorf("%s: operand %q: %w; the recipe %q does not make it", m.file.Path, name, artifact.ErrNotFound, m.Index.Producer.Recipe)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.segments == nil {
		return nil, nil, fmt.Errorf("%s: %w", m.file.Path, ErrClosed)
	}
	b, err := m.segments[o.Segment].View(int64(o.Offset), int64(o.Bytes))
	return b, o, err
}

// Close closes the buffers, then the file. Kernels that still use them must have ended. Closing twice does nothing.
func (m *Model) Close() error {
	m.mu.Lock()
	segments := m.segments
	m.segments = nil
	m.mu.Unlock()
	var errs []error
	for _, b := range segments {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	return errors.Join(append(errs, m.file.Close())...)
}
