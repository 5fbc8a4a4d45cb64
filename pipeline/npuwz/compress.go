package npuwz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"npuw/artifact"
	"npuw/pipeline/source"
)

// Compress makes the .npuwz file at out of the artifact at in, which is verified before, and again while it is read. The bytes do not
// depend on the machine nor on the number of workers. After an error there is no new file.
func Compress(ctx context.Context, in, out string, opts Options) (Result, error) {
	if err := artifact.CheckOutput(out, in); err != nil {
		return Result{}, err
	}
	a, err := openVerified(in)
	if err != nil {
		return Result{}, err
	}
	defer a.Close()
	return write(ctx, a, &front{kind: whole}, out, opts)
}

// Delta makes the .npuwd file at out, with which Patch makes the artifact at to of the one at from. It holds the segments of to that from
// has not, by their digests. Both are verified before. After an error there is no new file.
func Delta(ctx context.Context, from, to, out string, opts Options) (Result, error) {
	if err := artifact.CheckOutput(out, from, to); err != nil {
		return Result{}, err
	}
	a, err := openVerified(from)
	if err != nil {
		return Result{}, err
	}
	defer a.Close()
	b, err := openVerified(to)
	if err != nil {
		return Result{}, err
	}
	defer b.Close()
	type content struct {
		digest artifact.Digest
		bytes  uint64
	}
	known := map[content]int{}
	for i, s := range a.Index.Segments {
		known[content{s.Digest, s.Bytes}] = i
	}
	f := &front{kind: delta, base: a.Header.Digest, reused: make([]uint32, len(b.Index.Segments))}
	for i, s := range b.Index.Segments {
		f.reused[i] = notReused
		if j, ok := known[content{s.Digest, s.Bytes}]; ok {
			f.reused[i] = uint32(j)
		}
	}
	return write(ctx, b, f, out, opts)
}

// openVerified opens an artifact of which every byte is right.
func openVerified(path string) (*artifact.File, error) {
	a, err := artifact.Open(path)
	if err != nil {
		return nil, err
	}
	if err := a.Verify(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// write writes the file at out that holds of a what f says. It fills f in.
func write(ctx context.Context, a *artifact.File, f *front, out string, opts Options) (Result, error) {
	areas, err := plan(a, f)
	if err != nil {
		return Result{}, err
	}
	result := Result{Artifact: a.Header, Segments: len(a.Index.Segments), Carried: len(areas) - 1}
	err = artifact.WriteWhole(out, !opts.NoSync, func(w io.Writer) error {
		result.Stored, err = writeFrames(ctx, w, a, f, areas, opts)
		return err
	})
	return result, err
}

// plan says which parts of an artifact a file holds, and cuts them into chunks.
func plan(a *artifact.File, f *front) ([]area, error) {
	f.header = make([]byte, artifact.HeaderBytes)
	if _, err := a.ReadAt(f.header, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", a.Path, err)
	}
	if h, err := artifact.HeaderOf(f.header); err != nil || h != a.Header {
		return nil, changed(a, 0, "header")
	}
	var c cutter
	areas := []area{indexArea(&a.Header)}
	c.cut(areas[0], []span{{a.Header.IndexBytes, asIs}})
	rest := a.Index.Operands // those of a segment follow those of the one before
	for i := range a.Index.Segments {
		n := 0
		for n < len(rest) && rest[n].Segment == i {
			n++
		}
		if s := &a.Index.Segments[i]; f.kind == whole || f.reused[i] == notReused {
			areas = append(areas, segmentArea(s))
			c.cut(areas[len(areas)-1], spansOf(s, rest[:n]))
		}
		rest = rest[n:]
	}
	f.transforms, f.chunks = c.transforms, c.chunks
	if n := f.bytes(); n > maxFront {
		return nil, &source.Error{File: a.Path, Offset: -1, Problem: fmt.Sprintf("%d chunks need %d bytes of tables, the limit is %d", len(f.chunks), n, maxFront), Err: source.ErrLimit}
	}
	return areas, nil
}

// changed is the error of an artifact that is not what it was when it was verified.
func changed(a *artifact.File, at uint64, thing string) error {
	return &source.Error{File: a.Path, Offset: int64(at), Thing: thing, Problem: "was changed while it was read", Next: "run again when nothing writes to it", Err: source.ErrChanged}
}

// writeFrames writes front, frames and seek table, and says how many bytes they are.
func writeFrames(ctx context.Context, w io.Writer, a *artifact.File, f *front, areas []area, opts Options) (int64, error) {
	b := f.encode()
	first := binary.LittleEndian.AppendUint32(nil, skippableMagic)
	first = append(binary.LittleEndian.AppendUint32(first, uint32(len(b))), b...)
	if _, err := w.Write(first); err != nil {
		return 0, err
	}
	stored, all := int64(len(first)), uint64(0)
	for _, area := range areas {
		all += area.bytes
	}
	var table seekTable
	table.add(len(first), 0)
	check := areaCheck{areas: areas}
	encoders := make(chan *encoder, opts.jobs()) // large, so that there is one a worker
	for range cap(encoders) {
		encoders <- new(encoder)
	}
	err := inOrder(ctx, cap(encoders), len(f.chunks), func(s *scratch, i int) error {
		e := <-encoders
		defer func() { encoders <- e }()
		return f.encodeChunk(s, e, a, i)
	}, func(s *scratch, i int) error {
		if bad := check.add(s.raw); bad != nil {
			return changed(a, bad.at, bad.thing)
		}
		table.add(len(s.frame), len(s.raw))
		stored += int64(len(s.frame))
		opts.progress(uint64(len(s.raw)), all)
		_, err := w.Write(s.frame)
		return err
	})
	if err != nil {
		return 0, err
	}
	_, err = w.Write(table.encode())
	return stored + seekBytes(len(f.chunks)+1), err
}

// encodeChunk reads chunk i of an artifact into s.raw, and makes a frame of it in s.frame.
func (f *front) encodeChunk(s *scratch, e *encoder, a *artifact.File, i int) error {
	c := f.chunks[i]
	s.grow(int(c.bytes))
	if n, err := a.ReadAt(s.raw, int64(c.at)); errors.Is(err, io.EOF) && n < len(s.raw) {
		return changed(a, c.at+uint64(n), "the end of the file")
	} else if n < len(s.raw) {
		return &source.Error{File: a.Path, Offset: int64(c.at) + int64(n), Problem: fmt.Sprintf("cannot be read: %v", err), Next: "check the disk", Err: err}
	}
	s.ends = f.transforms[c.transform].split(s.planes, s.raw, s.ends[:0])
	var err error
	s.frame, err = e.frame(s.frame, s.planes, s.ends)
	return err
}

// areaCheck compares the bytes of areas, one after another, with their digests.
type areaCheck struct {
	areas []area
	seen  uint64 // of the first of them
	hash  xxh3.Hasher
}

// add adds what comes next, of one area. It returns an area that ends here with another digest than its own.
func (c *areaCheck) add(b []byte) (bad *area) {
	a := &c.areas[0]
	_, _ = c.hash.Write(b)
	if c.seen += uint64(len(b)); c.seen < a.bytes {
		return nil
	}
	sum := c.hash.Sum128()
	c.hash.Reset()
	c.areas, c.seen = c.areas[1:], 0
	if (artifact.Digest{Lo: sum.Lo, Hi: sum.Hi}) != a.digest {
		return a
	}
	return nil
}
