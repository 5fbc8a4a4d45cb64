package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"npuw/artifact"
)

// Report says how an artifact was loaded.
type Report struct {
	Path, Device string
	Checked      bool // the digest of every segment was compared
	Segments     []SegmentReport
	// Unsupported are the contracts of the index that the device has no kernel for. Programs for other devices may use them.
	Unsupported []ContractReport
	Elapsed     time.Duration
}

// SegmentReport says how one segment became a buffer.
type SegmentReport struct {
	Name   string
	Bytes  uint64
	Mapped bool   // in place; otherwise copied
	Why    string // why it was copied
}

// ContractReport says why a contract cannot be opened.
type ContractReport struct{ Name, Why string }

// LoadOptions say how to load. The zero value checks everything.
type LoadOptions struct {
	// SkipDigests leaves the comparison of segment digests out: a file of the right length with wrong bytes is then not noticed.
	SkipDigests bool
}

// Load opens the artifact at path and makes every segment a buffer of d: mapped where the device can, copied where not. Each segment's
// digest is compared, of a copy in the copy itself. The index is bound where d is a Binder, and each of its contracts opened once and
// closed, so that an artifact built for other kernels than the device has is an ErrMismatch now. After an error nothing is left open.
// The end of ctx is noticed between segments and between contracts.
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
	if err := m.load(ctx, d); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.Report.Elapsed = time.Since(start)
	return m, nil
}

// load does the work of Load. On an error, Close frees what there is.
func (m *Model) load(ctx context.Context, d Device) error {
	g, loading := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range m.segments {
		g.Go(func() error {
			err := loading.Err()
			if err == nil {
				err = m.loadSegment(ctx, d, i)
			}
			return m.fault("segment", m.Index.Segments[i].Name, err)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if b, ok := d.(Binder); ok {
		release, err := b.Bind(m.Index, m.Segment)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Report.Path, err)
		}
		m.release = release
	}
	return m.tryContracts(ctx, d)
}

// fault names file and thing in an error, unless it says both already.
func (m *Model) fault(thing, name string, err error) error {
	var known *artifact.Error
	if err == nil || errors.As(err, &known) && known.File != "" {
		return err
	}
	return fmt.Errorf("%s: %s %q: %w", m.Report.Path, thing, name, err)
}

func (m *Model) loadSegment(ctx context.Context, d Device, i int) error {
	s, r := &m.Index.Segments[i], &m.Report.Segments[i]
	r.Name, r.Bytes = s.Name, s.Bytes
	b, refused := m.mapSegment(d, s)
	switch {
	case refused == nil:
		m.segments[i], r.Mapped = b, true
		if m.Report.Checked {
			return m.file.CheckSegment(ctx, i)
		}
		return nil
	case errors.Is(refused, ErrClosed):
		return refused
	}
	r.Why = refused.Error()
	b, err := d.Allocate(int64(s.Bytes), s.MemoryGroup)
	if err != nil {
		return fmt.Errorf("it can be neither mapped (%v) nor copied: %w", refused, err)
	}
	m.segments[i] = b
	return m.copySegment(b, i)
}

func (m *Model) mapSegment(d Device, s *artifact.Segment) (Buffer, error) {
	pages, err := m.file.Map()
	if err != nil {
		return nil, err
	}
	end := s.Offset + s.Bytes
	return d.Map(pages[s.Offset:end:end], s.MemoryGroup)
}

// copySegment fills a buffer with segment i, read once.
func (m *Model) copySegment(b Buffer, i int) error {
	s := &m.Index.Segments[i]
	host, err := b.Host()
	if err != nil {
		return err
	}
	if uint64(len(host)) != s.Bytes {
		return fmt.Errorf("the device gave a buffer of %d bytes; %d were expected", len(host), s.Bytes)
	}
	n, err := m.file.ReadAt(host, int64(s.Offset))
	switch {
	case n == len(host):
	case errors.Is(err, io.EOF):
		return &artifact.Error{
			File: m.Report.Path, Offset: int64(s.Offset) + int64(n), Thing: fmt.Sprintf("segment %q", s.Name),
			Detail: "the file ends here; it was cut while it was read", Err: artifact.ErrTruncated,
		}
	default:
		return err
	}
	if m.Report.Checked {
		if err := m.file.CheckDigest(i, artifact.Sum(host)); err != nil {
			return err
		}
	}
	return b.ToDevice()
}

// tryContracts opens and closes every contract of the index. That operands fit what they are bound to, artifact.Open has checked; that
// xclbins, kernels and arguments are those of the contracts, the device's Open checks.
func (m *Model) tryContracts(ctx context.Context, d Device) error {
	for i := range m.Index.Contracts {
		c := &m.Index.Contracts[i]
		err := ctx.Err()
		if err == nil {
			err = tryContract(d, c)
		}
		if errors.Is(err, ErrUnsupported) {
			m.Report.Unsupported = append(m.Report.Unsupported, ContractReport{c.Name, err.Error()})
			continue
		}
		if err != nil {
			return m.fault("contract", c.Name, err)
		}
	}
	return nil
}

func tryContract(d Device, c *artifact.Contract) error {
	k, err := d.Open(c)
	if err != nil {
		return err
	}
	return k.Close()
}
