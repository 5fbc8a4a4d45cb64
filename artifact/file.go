package artifact

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// File is an open artifact. Its index and header are copies that outlive it. Methods are safe from several goroutines.
type File struct {
	Path   string
	Header Header
	Index  *Index

	f  *os.File
	mu sync.Mutex
	m  []byte // the mapping, once there is one

	operands, parameters map[string]int // built on first use
	lookup               sync.Once
}

// Open reads header and index of the artifact at path and checks both (FORMAT.md, section 9). It touches no data: Verify does.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, osError(path, -1, "open", err)
	}
	a, err := newFile(path, f)
	if err != nil {
		f.Close()
		return nil, inFile(err, path)
	}
	return a, nil
}

func newFile(path string, f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, osError(path, -1, "open", err)
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{Offset: -1, Thing: "open", Detail: "not a regular file", Err: ErrNotArtifact}
	}
	header, index, err := readIndex(f, uint64(info.Size()), nil)
	if err != nil {
		return nil, err
	}
	return &File{Path: path, Header: header, Index: index, f: f}, nil
}

// readIndex reads and checks header and index of an artifact of size bytes.
func readIndex(r io.ReaderAt, size uint64, trace func(at, n int, what string)) (Header, *Index, error) {
	first := make([]byte, min(size, HeaderBytes))
	if err := readFull(r, first, 0, "header"); err != nil {
		return Header{}, nil, err
	}
	h, err := decodeHeader(first, size)
	if err != nil {
		return Header{}, nil, err
	}
	b := make([]byte, h.IndexBytes)
	if err := readFull(r, b, int64(h.IndexOffset), "index"); err != nil {
		return Header{}, nil, err
	}
	if got := Sum(b); got != h.IndexDigest {
		return Header{}, nil, &Error{Offset: int64(h.IndexOffset), Thing: "index", Detail: fmt.Sprintf("digest %v, recorded %v; copy or build the file again", got, h.IndexDigest), Err: ErrCorrupt}
	}
	index, err := decodeIndex(b, int64(h.IndexOffset), trace)
	if err != nil {
		return Header{}, nil, err
	}
	return h, index, index.check(h.PageBytes, h.IndexOffset, h.PageBytes)
}

// readFull reads all of b at off. A file that ends too early has been cut since it was opened.
func readFull(r io.ReaderAt, b []byte, off int64, thing string) error {
	n, err := r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return &Error{Offset: off + int64(n), Thing: thing, Detail: "the file ends here; it was cut while it was read", Err: ErrTruncated}
	default:
		return osError("", off, thing, err)
	}
}

// osError wraps an error of the operating system, without the path that Error prints already.
func osError(file string, off int64, thing string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &Error{File: file, Offset: off, Thing: thing, Err: err}
}

// Close unmaps and closes the file. Bytes that Map returned must not be used afterwards. Closing twice does nothing.
func (a *File) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f == nil {
		return nil
	}
	var err error
	if a.m != nil {
		err = unmapFile(a.m)
	}
	err = errors.Join(err, a.f.Close())
	a.f, a.m = nil, nil
	return err
}

// Map returns the whole file, mapped read-only and shared (the mapping that drivers pin without a copy). The first call maps;
// pages are read when they are touched. A file that is truncated under its mapping makes the program fault: who cannot
// rule that out sets debug.SetPanicOnFault around the access. Where there is no mmap the error unwraps to ErrUnsupported.
func (a *File) Map() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f == nil {
		return nil, &Error{File: a.Path, Offset: -1, Thing: "map", Err: os.ErrClosed}
	}
	if a.m == nil {
		if a.Header.FileBytes != uint64(int(a.Header.FileBytes)) {
			return nil, &Error{File: a.Path, Offset: -1, Thing: "map", Detail: "too large for this machine's addresses", Err: ErrUnsupported}
		}
		m, err := mapFile(a.f, int(a.Header.FileBytes))
		if err != nil {
			return nil, osError(a.Path, -1, "map", err)
		}
		a.m = m
	}
	return a.m, nil
}

// ReadAt reads len(b) bytes of the file at off with pread.
func (a *File) ReadAt(b []byte, off int64) (int, error) {
	a.mu.Lock()
	f := a.f
	a.mu.Unlock()
	if f == nil {
		return 0, &Error{File: a.Path, Offset: off, Thing: "read", Err: os.ErrClosed}
	}
	return f.ReadAt(b, off)
}

// Operand looks an operand up by name; nil when there is none.
func (a *File) Operand(name string) *Operand {
	a.buildLookup()
	if i, ok := a.operands[name]; ok {
		return &a.Index.Operands[i]
	}
	return nil
}

// Parameter looks a parameter up by name: its position in Index.Parameters, -1 when there is none.
func (a *File) Parameter(name string) int {
	a.buildLookup()
	if i, ok := a.parameters[name]; ok {
		return i
	}
	return -1
}

func (a *File) buildLookup() {
	a.lookup.Do(func() {
		a.operands = make(map[string]int, len(a.Index.Operands))
		for i := range a.Index.Operands {
			a.operands[a.Index.Operands[i].Name] = i
		}
		a.parameters = make(map[string]int, len(a.Index.Parameters))
		for i := range a.Index.Parameters {
			a.parameters[a.Index.Parameters[i].Name] = i
		}
	})
}
