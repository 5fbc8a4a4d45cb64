package artifact

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"sync"
)

// File is an open artifact. Its index and header are copies that outlive it. Methods are safe from several goroutines.
type File struct {
	Path   string // empty for a file of NewFile
	Header Header
	Index  *Index

	operands, parameters names

	placesOnce sync.Once
	places     *places // once a parameter's values were asked for

	mu sync.Mutex
	r  io.ReaderAt // nil once closed
	f  *os.File    // that Open opened
	m  []byte      // the mapping, once there is one
}

// Open reads header and index of the artifact at path and checks both (FORMAT.md, section 9). It touches no data: Verify does.
func Open(path string) (*File, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	a, err := NewFile(f, size)
	if err != nil {
		f.Close()
		return nil, inFile(err, path)
	}
	a.Path, a.f = path, f
	return a, nil
}

// NewFile is Open for an artifact of size bytes in r, which must allow several reads at once. It cannot be mapped. Memory
// is bounded by the size: 16 bytes for each byte of the index, and 1 MiB.
func NewFile(r io.ReaderAt, size int64) (*File, error) {
	a := &File{r: r}
	var err error
	a.Header, a.Index, err = readIndex(r, uint64(max(size, 0)))
	if err != nil {
		return nil, err
	}
	h := &a.Header
	a.operands, a.parameters, err = a.Index.check(h.PageBytes, h.IndexOffset, h.PageBytes)
	if err == nil {
		err = a.Index.checkStatistics()
	}
	if err == nil && h.RequiredFeatures|h.OptionalFeatures == 0 {
		err = a.Index.checkNotes()
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// openRegular opens a file to read it, without waiting for the other end of a pipe, and gives its size.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|dontWait, 0)
	if err != nil {
		return nil, 0, osError(path, -1, "open", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		return f, info.Size(), nil
	}
	f.Close()
	if err != nil {
		return nil, 0, osError(path, -1, "open", err)
	}
	return nil, 0, &Error{File: path, Offset: -1, Thing: "open", Detail: "not a regular file", Err: ErrNotArtifact}
}

// indexBuffers keeps the memory of indexes that have been decoded.
var indexBuffers = sync.Pool{New: func() any { return new([]byte) }}

// readIndex reads header and index of an artifact of size bytes, each proved by its digest, and decodes them.
func readIndex(r io.ReaderAt, size uint64) (Header, *Index, error) {
	first := make([]byte, min(size, HeaderBytes))
	if err := readFull(r, first, 0, "header"); err != nil {
		return Header{}, nil, err
	}
	h, err := decodeHeader(first, size)
	if err != nil {
		return Header{}, nil, err
	}
	buffer := indexBuffers.Get().(*[]byte)
	defer indexBuffers.Put(buffer)
	if uint64(cap(*buffer)) < h.IndexBytes {
		*buffer = make([]byte, h.IndexBytes)
	}
	b := (*buffer)[:h.IndexBytes]
	if err := readFull(r, b, int64(h.IndexOffset), "index"); err != nil {
		return Header{}, nil, err
	}
	if got := Sum(b); got != h.IndexDigest {
		return Header{}, nil, &Error{Offset: int64(h.IndexOffset), Thing: "index", Detail: fmt.Sprintf("digest %v, recorded %v; copy or build the file again", got, h.IndexDigest), Err: ErrCorrupt}
	}
	index, err := decodeIndex(b, int64(h.IndexOffset))
	return h, index, err
}

// readFull reads all of b at off. A file that ends too early has been cut since it was opened.
func readFull(r io.ReaderAt, b []byte, off int64, thing string) error {
	n, err := r.ReadAt(b, off)
	var known *Error
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return &Error{Offset: off + int64(n), Thing: thing, Detail: "the file ends here; it was cut while it was read", Err: ErrTruncated}
	case errors.As(err, &known):
		return err
	default:
		return osError("", off, thing, err)
	}
}

// osError wraps an error of the operating system, without the paths: Error prints that of the file, and one may be of a temporary file.
func osError(file string, off int64, thing string, err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		err = p.Err
	case errors.As(err, &l):
		err = l.Err
	}
	return &Error{File: file, Offset: off, Thing: thing, Err: err}
}

// Close unmaps and closes the file. Bytes that Map returned must not be used afterwards. Closing twice does nothing. What
// NewFile was given to read from stays open.
func (a *File) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.r == nil {
		return nil
	}
	a.r = nil
	var err error
	if a.m != nil {
		err = unmapFile(a.m)
		a.m = nil
	}
	if a.f != nil {
		err = errors.Join(err, a.f.Close())
	}
	if err != nil {
		return osError(a.Path, -1, "close", err)
	}
	return nil
}

// Map returns the whole file, mapped read-only and shared (the mapping that drivers pin without a copy). The first call maps;
// pages are read when they are touched. A file that is truncated under its mapping makes the program fault: who cannot
// rule that out sets debug.SetPanicOnFault around the access. Where there is no mmap, and for a file of NewFile, the error
// unwraps to ErrUnsupported.
func (a *File) Map() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fail := func(detail string, err error) ([]byte, error) {
		return nil, &Error{File: a.Path, Offset: -1, Thing: "map", Detail: detail, Err: err}
	}
	switch {
	case a.r == nil:
		return fail("", os.ErrClosed)
	case a.m != nil:
		return a.m, nil
	case a.f == nil:
		return fail("not opened by its path", ErrUnsupported)
	case a.Header.FileBytes > math.MaxInt:
		return fail("too large for this machine's addresses", ErrUnsupported)
	}
	m, err := mapFile(a.f, int(a.Header.FileBytes))
	if err != nil {
		return nil, osError(a.Path, -1, "map", err)
	}
	a.m = m
	return m, nil
}

// ReadAt reads len(b) bytes of the file at off with pread.
func (a *File) ReadAt(b []byte, off int64) (int, error) {
	a.mu.Lock()
	r := a.r
	a.mu.Unlock()
	if r == nil {
		return 0, &Error{File: a.Path, Offset: off, Thing: "read", Err: os.ErrClosed}
	}
	return r.ReadAt(b, off)
}

// Operand looks an operand up by name; nil when there is none.
func (a *File) Operand(name string) *Operand {
	if i := a.operands.find(name, func(i int) string { return a.Index.Operands[i].Name }); i >= 0 {
		return &a.Index.Operands[i]
	}
	return nil
}

// Parameter looks a parameter up by name: its position in Index.Parameters, -1 when there is none.
func (a *File) Parameter(name string) int {
	return a.parameters.find(name, func(i int) string { return a.Index.Parameters[i].Name })
}
