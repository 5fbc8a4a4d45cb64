package artifact

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"npuw/artifact/element"
	"npuw/artifact/internal/whole"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// Writer writes an artifact whose index is known, but for what is measured: operand bytes in any order, from several
// goroutines, at the places that the index gives them. Nothing is at the path before Commit returns without an error.
type Writer struct {
	path   string
	index  *Index
	header Header
	sync   bool
	f      *whole.File
	stored *parts // of Restore: header and index as they are

	mu     sync.Mutex
	sealed []bool
}

// Create begins an artifact at path. The index gives segments and operands their places, and must not change but for what is
// measured: Digest of segments and Statistics of operands, until Commit. With sync, Commit returns when the file is on the
// disk. Stale temporary files of builds that were killed are removed from the folder. A symbolic link at path will be replaced itself,
// not what it leads to. An index that Open would refuse is an error that unwraps to ErrInvalid, and see CheckOutput for the path.
func Create(path string, index *Index, pageBytes uint64, sync bool) (*Writer, error) {
	return create(whole.OS{}, path, index, pageBytes, sync)
}

func create(system whole.System, path string, index *Index, pageBytes uint64, sync bool) (*Writer, error) {
	end, err := index.checkWritable(pageBytes)
	if err != nil {
		return nil, asInvalid(err, path)
	}
	if err := checkOutput(system.Stat, path); err != nil {
		return nil, err
	}
	f, err := whole.Create(system, path)
	if err != nil {
		return nil, osError(path, -1, "create", err)
	}
	w := &Writer{path: path, index: index, sync: sync, f: f, sealed: make([]bool, len(index.Segments))}
	w.header = Header{PageBytes: pageBytes, IndexOffset: end}
	if err := f.Reserve(int64(end)); err != nil {
		w.Abort()
		return nil, osError(path, -1, fmt.Sprintf("reserve %d bytes", end), err)
	}
	return w, nil
}

// checkWritable checks that an index can be written so that Open reads the same, and gives the end of its last segment.
func (x *Index) checkWritable(pageBytes uint64) (uint64, error) {
	if !ValidPageBytes(pageBytes) {
		return 0, fault("pages", "", "%d bytes, must be 4096, 16384 or 65536", pageBytes)
	}
	end := pageBytes
	for i := range x.Segments {
		s := &x.Segments[i]
		if s.Bytes > maxFileBytes-MaxIndexBytes-end {
			return 0, fault("segment", s.Name, "%d bytes are more than a file can have", s.Bytes)
		}
		if s.Kind > Instructions {
			return 0, fault("segment", s.Name, "kind %d is not known", s.Kind)
		}
		end += s.Bytes
	}
	for i := range x.Operands {
		switch o := &x.Operands[i]; {
		case !o.Supported():
			return 0, fault("operand", o.Name, "encoding %d in %v is not known", o.Encoding, o.Format)
		case !agree(o.Encoding, o.Format, o.PadBits, o.Layout, o.Planes):
			return 0, fault("operand", o.Name, "Format, Layout and PadBits are not those of its first plane")
		}
	}
	for i := range x.Contracts {
		for j := range x.Contracts[i].Arguments {
			if a := &x.Contracts[i].Arguments[j]; !agree(a.Encoding, a.Format, 0, a.Layout, a.Planes) {
				return 0, fault("argument", a.Name, "Format and Layout are not those of its first plane, without padding")
			}
		}
	}
	if err := x.checkNotes(); err != nil {
		return 0, err
	}
	if _, _, err := x.check(pageBytes, end, pageBytes); err != nil {
		return 0, err
	}
	if err := x.checkCoverage(); err != nil {
		return 0, err
	}
	_, err := x.encode()
	return end, err
}

// agree reports whether an operand or argument that has planes says the same of the first of them twice.
func agree(e plane.Encoding, f element.Format, padBits uint64, l layout.Layout, planes []plane.Plane) bool {
	if planes == nil {
		return true
	}
	return e != plane.Plain && len(planes) > 0 && planes[0].Format == f && planes[0].PadBits == padBits &&
		slices.Equal(planes[0].Layout.Axes, l.Axes) && slices.Equal(planes[0].Layout.Digits, l.Digits)
}

// encode encodes an index and proves that it can be decoded: lengths, counts and texts are within the limits.
func (x *Index) encode() ([]byte, error) {
	e := newEncoder(x)
	if e.badText != "" {
		return nil, fault("index", "", "the text %.100q, of %d bytes, is not UTF-8 without control characters of at most %d bytes", e.badText, len(e.badText), maxString)
	}
	b := e.encode(x)
	if len(b) > MaxIndexBytes {
		return nil, fault("index", "", "%d bytes, the limit is %d", len(b), MaxIndexBytes)
	}
	_, err := decodeIndex(b, 0)
	return b, err
}

// asInvalid makes a fault of an index one of the program that wants it written.
func asInvalid(err error, path string) error {
	if e := new(*Error); errors.As(err, e) {
		return &Error{File: path, Offset: -1, Thing: (*e).Thing, Detail: (*e).Detail, Err: ErrInvalid}
	}
	return err
}

// WriteAt writes b at off of the file, inside the segments. Bytes that are never written are zero.
func (w *Writer) WriteAt(b []byte, off int64) (int, error) {
	if off < int64(w.header.PageBytes) || off > int64(w.header.IndexOffset)-int64(len(b)) {
		return 0, &Error{File: w.path, Offset: off, Detail: fmt.Sprintf("%d bytes outside the segments", len(b)), Err: ErrInvalid}
	}
	n, err := w.f.WriteAt(b, off)
	if err != nil {
		return n, osError(w.path, off, "write", err)
	}
	return n, nil
}

// Seal reads segment i back and records its digest. Call it, from any goroutine, when the segment is complete: its pages are
// still in memory then. Commit seals what has not been.
func (w *Writer) Seal(i int) error {
	if outside(i, len(w.sealed)) {
		return &Error{File: w.path, Offset: -1, Thing: "seal", Detail: fmt.Sprintf("segment %d, there are %d", i, len(w.sealed)), Err: ErrInvalid}
	}
	s := &w.index.Segments[i]
	digest, err := sumSegment(w.f, s, func([]byte) error { return nil })
	if err != nil {
		return inFile(err, w.path)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Digest, w.sealed[i] = digest, true
	return nil
}

// Commit writes index and header, and puts the file in place of whatever was at the path. After an error the path is as it was,
// unless all that failed was to make the new name durable.
func (w *Writer) Commit() error { return w.CommitIf(nil) }

// CommitIf is Commit that shows the finished file to check, if that is not nil, before it has its name. An error of check is the
// error of CommitIf, and the path stays as it was.
func (w *Writer) CommitIf(check func(*File) error) error {
	defer w.Abort()
	if err := w.finish(); err != nil {
		return err
	}
	if check != nil {
		a, err := NewFile(w.f, int64(w.header.FileBytes))
		if err != nil {
			return inFile(err, w.path)
		}
		a.Path = w.path
		if err := check(a); err != nil {
			return err
		}
	}
	if err := w.f.Commit(w.sync); err != nil {
		return osError(w.path, -1, "put in place", err)
	}
	return nil
}

// finish writes all that is missing.
func (w *Writer) finish() error {
	if w.stored != nil {
		return w.writeEnds(w.stored.header, w.stored.index)
	}
	if err := w.sealRest(); err != nil {
		return err
	}
	if err := w.index.checkStatistics(); err != nil {
		return asInvalid(err, w.path)
	}
	b, err := w.index.encode()
	if err != nil {
		return asInvalid(err, w.path)
	}
	h := &w.header
	h.IndexBytes, h.IndexDigest = uint64(len(b)), Sum(b)
	h.FileBytes = h.IndexOffset + h.IndexBytes
	return w.writeEnds(h.encode(), b)
}

// writeEnds writes what lies around the segments.
func (w *Writer) writeEnds(header, index []byte) error {
	at := int64(w.header.IndexOffset)
	if _, err := w.f.WriteAt(index, at); err != nil {
		return osError(w.path, at, "write the index", err)
	}
	if _, err := w.f.WriteAt(header, 0); err != nil {
		return osError(w.path, 0, "write the header", err)
	}
	return nil
}

// sealRest seals what has not been.
func (w *Writer) sealRest() error {
	w.mu.Lock()
	sealed := slices.Clone(w.sealed)
	w.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, done := range sealed {
		if !done {
			g.Go(func() error { return w.Seal(i) })
		}
	}
	return g.Wait()
}

// Abort removes what has been written. After Commit, or a second time, it does nothing.
func (w *Writer) Abort() { w.f.Abort() }
