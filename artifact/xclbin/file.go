package xclbin

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/zeebo/xxh3"

	"npuw/artifact"
)

// ErrNotXclbin is what errors unwrap to when the file is of another kind. Other faults of a file unwrap to artifact's ErrTruncated,
// ErrCorrupt or ErrUnsupported (larger than this package reads).
var ErrNotXclbin = errors.New("not an xclbin")

var le = binary.LittleEndian

// UUID is 16 bytes in the order of the file.
type UUID [16]byte

func (u UUID) String() string {
	s := hex.EncodeToString(u[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// File is what an xclbin says of itself. It holds no file open.
type File struct {
	Path          string
	Size          int64           // of the file, in bytes
	Digest        artifact.Digest // of the file
	UUID          UUID            // by which XRT and the driver know it
	InterfaceUUID UUID            // of the platform; often zero on an NPU
	VBNV          string          // vendor, board, name and version of the platform; often empty on an NPU
	Version       string          // of the XRT tools that wrote it
	Timestamp     uint64          // when it was written, in seconds since 1970
	Mode          Mode
	Sections      []Section
	Memories      []Memory // MEM_TOPOLOGY
	// Groups is what memory groups are positions in: GROUP_TOPOLOGY, or MEM_TOPOLOGY in a file without one.
	Groups    []Memory
	IPs       []IP
	Kernels   []Kernel
	Partition *Partition // nil: the file has none, as one for programmable logic
}

// Section is a part of the file. Where several are of one kind, the first counts.
type Section struct {
	Kind         Kind
	Name         string
	Offset, Size uint64 // in bytes; of no meaning is the offset of an empty one
}

// Section gives the first section of a kind, nil when there is none.
func (f *File) Section(kind Kind) *Section {
	for i := range f.Sections {
		if f.Sections[i].Kind == kind {
			return &f.Sections[i]
		}
	}
	return nil
}

// Open reads an xclbin. Every error is an *artifact.Error.
func Open(path string) (*File, error) {
	r, size, err := openRegular(path)
	if err != nil {
		return nil, inFile(err, path)
	}
	defer r.Close()
	f, err := NewFile(r, size)
	if err != nil {
		return nil, inFile(err, path)
	}
	f.Path = path
	return f, nil
}

// openRegular opens a regular file, and gives its size. It asks what there is before it opens: opening a pipe would wait.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, readError(-1, "open", err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &artifact.Error{Offset: -1, Thing: "open", Detail: "not a regular file", Err: ErrNotXclbin}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, readError(-1, "open", err)
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, 0, readError(-1, "open", err)
	}
	return f, info.Size(), nil
}

// NewFile reads an xclbin of size bytes. Every error is an *artifact.Error.
func NewFile(r io.ReaderAt, size int64) (*File, error) {
	f := &File{Size: size}
	if err := f.readHeader(r); err != nil {
		return nil, err
	}
	var err error
	if f.Memories, err = f.readTopology(r, MemTopology); err != nil {
		return nil, err
	}
	f.Groups = f.Memories
	if _, ok := f.part(r, GroupTopology); ok {
		if f.Groups, err = f.readTopology(r, GroupTopology); err != nil {
			return nil, err
		}
	}
	if f.IPs, err = f.readIPs(r); err != nil {
		return nil, err
	}
	if err := f.readKernels(r); err != nil {
		return nil, err
	}
	if f.Partition, err = f.readPartition(r); err != nil {
		return nil, err
	}
	f.Digest, err = digest(r, size)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// readHeader reads the header and the section headers.
func (f *File) readHeader(r io.ReaderAt) error {
	file := part{r, "header", 0, uint64(max(f.Size, 0))}
	b, err := file.read(0, min(headerBytes, file.size))
	if err != nil {
		return err
	}
	if known := min(len(b), len(magic)); known == 0 || string(b[:known]) != magic[:known] {
		return &artifact.Error{Offset: atMagic, Thing: "header", Detail: fmt.Sprintf("begins with %q, %q was expected", b[:known], magic), Err: ErrNotXclbin}
	}
	if len(b) < headerBytes {
		return truncated(f.Size, "header", "the file ends here; a header has %d bytes", headerBytes)
	}
	switch length := le.Uint64(b[atLength:]); {
	case length > file.size:
		return truncated(atLength, "header", "the length is %d, the file has %d bytes", length, f.Size)
	case length < file.size:
		return file.corrupt(atLength, "the length is %d, the file has %d bytes", length, f.Size)
	}
	f.UUID, f.InterfaceUUID = UUID(b[atUUID:]), UUID(b[atInterfaceUUID:])
	f.Version = fmt.Sprintf("%d.%d.%d", b[atMajor], b[atMinor], le.Uint16(b[atPatch:]))
	f.Timestamp, f.Mode = le.Uint64(b[atTimestamp:]), Mode(le.Uint16(b[atMode:]))
	if f.VBNV, err = file.text(b[atVBNV:atUUID], atVBNV, "the platform's name"); err != nil {
		return err
	}
	count := le.Uint32(b[atSections:])
	if count > maxSections {
		return file.corrupt(atSections, "%d sections, at most %d are allowed", count, maxSections)
	}
	file.thing = "section headers"
	if b, err = file.read(headerBytes, uint64(count)*sectionHeaderBytes); err != nil {
		return err
	}
	f.Sections = make([]Section, count)
	for i := range f.Sections {
		if err := f.Sections[i].decode(b[i*sectionHeaderBytes:], i, file); err != nil {
			return err
		}
	}
	return nil
}

// decode reads section header i, which must be of a section within the file.
func (s *Section) decode(b []byte, i int, file part) (err error) {
	s.Kind, s.Offset, s.Size = Kind(le.Uint32(b[atKind:])), le.Uint64(b[atSectionOffset:]), le.Uint64(b[atSectionSize:])
	at := uint64(headerBytes + i*sectionHeaderBytes)
	file.thing = fmt.Sprintf("header of section %d (%v)", i, s.Kind)
	if s.Name, err = file.text(b[atSectionName:][:16], at+atSectionName, "the name"); err != nil {
		return err
	}
	if s.Size > 0 && (s.Offset > file.size || s.Size > file.size-s.Offset) {
		return file.corrupt(at+atSectionOffset, "%d bytes at %d reach beyond the %d of the file", s.Size, s.Offset, file.size)
	}
	return nil
}

// part is a stretch of the file that offsets are relative to.
type part struct {
	r      io.ReaderAt
	thing  string // what errors call it
	offset int64
	size   uint64
}

// part gives the first section of a kind; ok is false when there is none, or an empty one.
func (f *File) part(r io.ReaderAt, kind Kind) (p part, ok bool) {
	s := f.Section(kind)
	if s == nil || s.Size == 0 {
		return part{}, false
	}
	return part{r, kind.String(), int64(s.Offset), s.Size}, true
}

// has reports whether n entries of stride bytes at an offset lie within the part. It cannot overflow while n is a u32.
func (p part) has(at, n, stride uint64) bool { return at <= p.size && n*stride <= p.size-at }

// read reads n bytes. Callers see to it that n has a bound.
func (p part) read(at, n uint64) ([]byte, error) {
	if !p.has(at, n, 1) {
		return nil, p.corrupt(min(at, p.size), "%d bytes at +%d reach beyond its %d", n, at, p.size)
	}
	b := make([]byte, n)
	off := p.offset + int64(at)
	got, err := p.r.ReadAt(b, off)
	switch {
	case got == len(b):
		return b, nil
	case err == nil || errors.Is(err, io.EOF):
		return nil, truncated(off+int64(got), p.thing, "the file ends here; it was cut while it was read")
	}
	return nil, readError(off, p.thing, err)
}

// table reads the entries, each of stride bytes from an offset, of a part that begins with their count (i32).
func (p part) table(from, stride uint64) ([]byte, int, error) {
	b, err := p.read(0, 4)
	if err != nil {
		return nil, 0, err
	}
	n := int32(le.Uint32(b))
	switch {
	case n == 0:
		return nil, 0, nil
	case n < 0 || !p.has(from, uint64(n), stride):
		return nil, 0, p.corrupt(0, "%d entries of %d bytes at +%d in %d bytes", n, stride, from, p.size)
	case n > maxEntries:
		return nil, 0, p.tooLarge(0, "%d entries", n, maxEntries)
	}
	b, err = p.read(from, uint64(n)*stride)
	return b, int(n), err
}

// text is the text in a field of fixed size, which a NUL must end. at is where the field is.
func (p part) text(b []byte, at uint64, what string) (string, error) {
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return "", p.corrupt(at, "%s, %q, is not ended by a NUL in its %d bytes", what, b, len(b))
	}
	return string(b[:end]), nil
}

func (p part) corrupt(at uint64, format string, args ...any) error {
	return &artifact.Error{Offset: p.offset + int64(at), Thing: p.thing, Detail: fmt.Sprintf(format, args...), Err: artifact.ErrCorrupt}
}

func (p part) tooLarge(at uint64, what string, n, limit any) error {
	return &artifact.Error{
		Offset: p.offset + int64(at), Thing: p.thing, Err: artifact.ErrUnsupported,
		Detail: fmt.Sprintf(what+", at most %v are read", n, limit),
	}
}

func truncated(at int64, thing, format string, args ...any) error {
	return &artifact.Error{Offset: at, Thing: thing, Detail: fmt.Sprintf(format, args...), Err: artifact.ErrTruncated}
}

// readError wraps an error of reading; artifact.Error prints the path itself.
func readError(at int64, thing string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &artifact.Error{Offset: at, Thing: thing, Err: err}
}

func inFile(err error, path string) error {
	var e *artifact.Error
	if errors.As(err, &e) {
		e.File = path
	}
	return err
}

// digest is artifact.Sum of the whole file, a little of it in memory at a time.
func digest(r io.ReaderAt, size int64) (artifact.Digest, error) {
	h := xxh3.New()
	n, err := io.Copy(h, io.NewSectionReader(r, 0, size))
	switch {
	case err != nil:
		return artifact.Digest{}, readError(n, "file", err)
	case n < size:
		return artifact.Digest{}, truncated(n, "file", "the file ends here; it was cut while it was read")
	}
	u := h.Sum128()
	return artifact.Digest{Lo: u.Lo, Hi: u.Hi}, nil
}
