// Package ggmlfile is what GGUF and the older files of ggml have in common: little-endian numbers and strings one after another, and
// the types of tensors, whose values lie as they are or in blocks of codes with a scale.
package ggmlfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"npuw/pipeline/source"
)

// windowSize is how many bytes are read at a time.
const windowSize = 64 << 10

// MaxString bounds the strings that Bytes gives.
const MaxString = windowSize

// Reader reads numbers and strings from a file, one after another, little-endian. After the first fault all that it gives is zero.
type Reader struct {
	file   *source.File
	at     int64  // of what is read next
	window []byte // of the file, that begins at from
	from   int64
	buffer []byte
	err    *source.Error
}

// NewReader gives a reader from the beginning of f.
func NewReader(f *source.File) *Reader {
	return &Reader{file: f, buffer: make([]byte, min(windowSize, f.Size))}
}

// At is where what is read next begins.
func (r *Reader) At() int64 { return r.at }

// Left is how many bytes follow.
func (r *Reader) Left() int64 { return r.file.Size - r.at }

// OK reports whether nothing was wrong so far.
func (r *Reader) OK() bool { return r.err == nil }

// Err gives the first fault as an error, nil if there is none.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Fail notes a fault of thing at an offset, unless there was one before.
func (r *Reader) Fail(at int64, thing string, sentinel error, problem, next string) {
	if r.err == nil {
		r.err = &source.Error{File: r.file.Path, Offset: at, Thing: thing, Problem: problem, Next: next, Err: sentinel}
	}
}

// Bytes gives the next n bytes, at most MaxString, which thing needs. They are valid until the next call; nil after a fault.
func (r *Reader) Bytes(n int64, thing string) []byte {
	if r.err != nil || n == 0 {
		return nil
	}
	if n > r.Left() {
		r.truncated(n, thing)
		return nil
	}
	if r.at < r.from || r.at+n > r.from+int64(len(r.window)) {
		window := r.buffer[:min(int64(len(r.buffer)), r.Left())]
		if got, err := r.file.ReadAt(window, r.at); got < len(window) {
			r.unreadable(err, thing)
			return nil
		}
		r.window, r.from = window, r.at
	}
	b := r.window[r.at-r.from:][:n]
	r.at += n
	return b
}

// Skip passes over n bytes of thing.
func (r *Reader) Skip(n int64, thing string) {
	if r.err == nil && n > r.Left() {
		r.truncated(n, thing)
	}
	if r.err == nil {
		r.at += n
	}
}

// U32 reads a number of 32 bits.
func (r *Reader) U32(thing string) uint32 {
	if b := r.Bytes(4, thing); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads a number of 64 bits.
func (r *Reader) U64(thing string) uint64 {
	if b := r.Bytes(8, thing); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *Reader) truncated(n int64, thing string) {
	r.Fail(r.at, thing, source.ErrTruncated, fmt.Sprintf("%d bytes were expected here, the file ends after %d", n, r.Left()), "download or convert the file again")
}

func (r *Reader) unreadable(err error, thing string) {
	if errors.Is(err, io.EOF) {
		r.Fail(r.at, thing, source.ErrTruncated, "the file became shorter while it was read", "run again when nothing writes to it")
		return
	}
	r.Fail(r.at, thing, err, "cannot be read: "+err.Error(), "check the disk, or copy the file elsewhere")
}
