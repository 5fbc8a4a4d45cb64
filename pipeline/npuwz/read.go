package npuwz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"

	"npuw/artifact"
	"npuw/pipeline/source"
)

const copyAgain = "copy or make the file again"

// reader is an open file. Its tables have been checked before any frame is read. They take three times the memory that they take of
// the file.
type reader struct {
	*front
	path   string
	file   *source.File
	frames []int64 // where the frame of each chunk begins, and the end of the last
	zstd   *zstd.Decoder
}

// openReader opens a file of the kind wanted; with that many jobs will be read from it.
func openReader(path string, want kind, jobs int) (*reader, error) {
	file, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	r := &reader{path: path, file: file}
	if err := r.open(want, jobs); err != nil {
		file.Close()
		return nil, r.named(err)
	}
	return r, nil
}

func (r *reader) open(want kind, jobs int) (err error) {
	frontFrame, err := r.readFront()
	if err != nil {
		return err
	}
	if r.kind != want {
		next := map[kind]string{whole: "npuw decompress", delta: "npuw patch"}[r.kind]
		return &source.Error{Offset: frameHeader + atKind, Problem: fmt.Sprintf("holds %v, not %v", r.kind, want), Next: "use " + next, Err: source.ErrMisuse}
	}
	table := seekBytes(len(r.chunks) + 1)
	at := r.file.Size - table
	if at < frontFrame {
		return r.cut()
	}
	b := make([]byte, table)
	if err := r.readAt(b, at, "seek table"); err != nil {
		return err
	}
	if r.frames, err = decodeSeek(b, at, frontFrame, r.chunks); err != nil {
		return err
	}
	r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(jobs), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxChunk), zstd.WithDecodeAllCapLimit(true))
	return err
}

// readFront reads the first frame, and gives its length.
func (r *reader) readFront() (int64, error) {
	le := binary.LittleEndian
	first := make([]byte, min(r.file.Size, frameHeader+int64(len(magic))))
	if err := r.readAt(first, 0, "front"); err != nil {
		return 0, err
	}
	if len(first) < frameHeader+len(magic) || le.Uint32(first) != skippableMagic || string(first[frameHeader:]) != magic {
		return 0, &source.Error{Offset: 0, Problem: "does not begin as an .npuwz or .npuwd file does", Next: "give what npuw compress or npuw diff --delta wrote", Err: source.ErrNotRecognised}
	}
	n := int64(le.Uint32(first[4:]))
	switch {
	case n < frontBytes+digestBytes || n > maxFront:
		return 0, &source.Error{Offset: 4, Thing: "front", Problem: fmt.Sprintf("%d bytes, must be %d to %d", n, frontBytes+digestBytes, maxFront), Next: copyAgain, Err: source.ErrCorrupt}
	case n > r.file.Size-frameHeader:
		return 0, r.cut()
	}
	b := make([]byte, n)
	if err := r.readAt(b, frameHeader, "front"); err != nil {
		return 0, err
	}
	f, err := decodeFront(b)
	if e := new(source.Error); errors.As(err, &e) {
		e.Offset += frameHeader
	}
	r.front = f
	return frameHeader + n, err
}

// cut is the error of a file that is too short.
func (r *reader) cut() error {
	return &source.Error{Offset: r.file.Size, Problem: "the file ends here, before its last frame", Next: copyAgain, Err: source.ErrTruncated}
}

// readAt reads all of b.
func (r *reader) readAt(b []byte, at int64, thing string) error {
	n, err := r.file.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return &source.Error{Offset: at + int64(n), Thing: thing, Problem: "the file ends here; it was cut while it was read", Next: copyAgain, Err: source.ErrTruncated}
	}
	return &source.Error{Offset: at, Thing: thing, Problem: "cannot be read: " + err.Error(), Next: copyAgain, Err: err}
}

// named gives errors the file's name.
func (r *reader) named(err error) error {
	if e := new(source.Error); errors.As(err, &e) && e.File == "" {
		e.File = r.path
	}
	return err
}

// place gives the chunks from number first on their places in areas, and returns the number of the chunk behind them.
func (r *reader) place(first int, areas []area) (int, error) {
	for _, a := range areas {
		for done := uint64(0); done < a.bytes; first++ {
			if first == len(r.chunks) || uint64(r.chunks[first].bytes) > a.bytes-done {
				return 0, &source.Error{Offset: r.entry(first), Thing: a.thing, Problem: fmt.Sprintf("chunks up to number %d do not make %d bytes", first, a.bytes), Next: copyAgain, Err: source.ErrCorrupt}
			}
			r.chunks[first].at = a.at + done
			done += uint64(r.chunks[first].bytes)
		}
	}
	return first, nil
}

// entry is where the table of chunks says of chunk i, or behind the last of them.
func (r *reader) entry(i int) int64 { return frameHeader + int64(r.chunksAt) + 8*int64(i) }

// scratch is what a chunk needs while it is worked on.
type scratch struct {
	raw, planes, frame []byte
	ends               []int // of planes, where a frame is made
}

// grow gives room for n bytes of a chunk.
func (s *scratch) grow(n int) {
	if cap(s.raw) < n {
		room := min(1<<bits.Len(uint(n)), maxChunk)
		s.raw, s.planes = make([]byte, room), make([]byte, room)
	}
	s.raw, s.planes = s.raw[:n], s.planes[:n]
}

// decode reads chunk i into s.raw.
func (r *reader) decode(s *scratch, i int) error {
	c, at := r.chunks[i], r.frames[i]
	thing := fmt.Sprintf("frame %d", i+1)
	s.grow(int(c.bytes))
	if room := maxFrame(cap(s.raw)); cap(s.frame) < room {
		s.frame = make([]byte, room)
	}
	frame := s.frame[:r.frames[i+1]-at]
	if err := r.readAt(frame, at, thing); err != nil {
		return err
	}
	fail := func(problem string) error {
		return &source.Error{Offset: at, Thing: thing, Problem: problem, Next: copyAgain, Err: source.ErrCorrupt}
	}
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return fail("not a zstd frame: " + err.Error())
	}
	if h.Skippable || !h.HasFCS || !h.HasCheckSum || h.DictionaryID != 0 || h.FrameContentSize != uint64(c.bytes) {
		return fail(fmt.Sprintf("not a frame of %d bytes with a checksum", c.bytes))
	}
	out, err := r.zstd.DecodeAll(frame, s.planes[:0:c.bytes])
	switch {
	case err != nil:
		return fail("cannot be decompressed: " + err.Error())
	case len(out) != int(c.bytes):
		return fail(fmt.Sprintf("%d bytes, %d were expected", len(out), c.bytes))
	}
	r.transforms[c.transform].join(s.raw, out)
	return nil
}

// inside says of an error about the artifact that the file holds where in the file the frame with those bytes is.
func (r *reader) inside(err error) error {
	e := new(artifact.Error)
	if !errors.As(err, &e) {
		return err
	}
	at := int64(frameHeader + atHeader)
	for i, c := range r.chunks { // none is at 0, but where its place is not known yet
		if c.at > 0 && e.Offset >= int64(c.at) && e.Offset < int64(c.at)+int64(c.bytes) {
			at = r.frames[i]
			break
		}
	}
	inner := *e
	inner.File = ""
	return &source.Error{File: r.path, Offset: at, Thing: "the artifact in it", Problem: inner.Error(), Err: e.Err}
}

// close closes the file.
func (r *reader) close() {
	r.file.Close()
	r.zstd.Close()
}
