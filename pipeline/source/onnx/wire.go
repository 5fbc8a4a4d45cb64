package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"google.golang.org/protobuf/encoding/protowire"

	"npuw/pipeline/source"
)

// reader walks protobuf's wire format over pread, through one small window that moves forward with the walk. Its first
// error stays: later calls give zero values and the loops over fields end, so callers check err once.
type reader struct {
	src    io.ReaderAt
	size   int64
	file   string // for errors
	window []byte // bytes of src from base
	base   int64
	memory int64 // what may still be kept, of maxMemory
	err    error
}

func newReader(src io.ReaderAt, size int64, file string) *reader {
	return &reader{src: src, size: size, file: file, window: make([]byte, 0, windowSize), memory: maxMemory}
}

// span is a range of bytes of the file.
type span struct{ start, end int64 }

func (s span) len() int64 { return s.end - s.start }

// field is one field of a message as it stands in the file.
type field struct {
	message string // for errors, "NodeProto"
	num     protowire.Number
	typ     protowire.Type
	at      int64  // offset of its tag
	scalar  uint64 // a varint's or fixed-size value
	span    span   // contents of a length-delimited field; bytes of a fixed-size one
}

// fail keeps the first error.
func (r *reader) fail(at int64, thing string, sentinel error, problem, next string) {
	if r.err == nil {
		r.err = &source.Error{File: r.file, Offset: at, Thing: thing, Problem: problem, Next: next, Err: sentinel}
	}
}

const (
	exportAgain = "export or download the model again"
	notReadYet  = "this is not read yet: export the model without it"
	overLimit   = "no exporter is known to write this: check where the file comes from"
)

// past says that something at offset at runs over the end of what encloses it: a truncated file where that is the file
// itself.
func (r *reader) past(at, end int64, message, problem string) {
	if end == r.size {
		r.fail(at, message, source.ErrTruncated, problem+", past the end of the file", exportAgain)
		return
	}
	r.fail(at, message, source.ErrCorrupt, fmt.Sprintf("%s, past the end of the message at byte %d", problem, end), exportAgain)
}

// peek gives up to n bytes from pos, fewer only at the end of the file. n is at most windowSize.
func (r *reader) peek(pos int64, n int) []byte {
	if r.err != nil || pos >= r.size {
		return nil
	}
	n = int(min(int64(n), r.size-pos))
	if pos < r.base || pos+int64(n) > r.base+int64(len(r.window)) {
		r.window = r.window[:min(windowSize, r.size-pos)]
		r.base = pos
		if !r.read(r.window, pos) {
			r.window = r.window[:0]
			return nil
		}
	}
	return r.window[pos-r.base:][:n]
}

// read fills b from pos.
func (r *reader) read(b []byte, pos int64) bool {
	n, err := r.src.ReadAt(b, pos)
	switch {
	case n == len(b):
		return true
	case errors.Is(err, io.EOF):
		r.fail(pos+int64(n), "", source.ErrTruncated, fmt.Sprintf("the file ends here; it had %d bytes when it was opened", r.size), "restore it and run again")
	default:
		reason := err
		if p := new(fs.PathError); errors.As(err, &p) {
			reason = p.Err // the path is in the message already
		}
		r.fail(pos, "", err, fmt.Sprintf("cannot be read: %v", reason), "check the disk, or copy the file elsewhere")
	}
	return false
}

// equal reports whether two parts of the file hold the same bytes.
func (r *reader) equal(s, t span) bool {
	if s.len() != t.len() {
		return false
	}
	var a, b [4 << 10]byte
	for at := int64(0); at < s.len(); at += int64(len(a)) {
		n := min(int64(len(a)), s.len()-at)
		if !r.read(a[:n], s.start+at) || !r.read(b[:n], t.start+at) || !bytes.Equal(a[:n], b[:n]) {
			return false
		}
	}
	return true
}

// varint reads the varint at pos, which must end before end, and gives the position after it.
func (r *reader) varint(pos, end int64, message string) (v uint64, next int64) {
	b := r.peek(pos, int(min(10, end-pos)))
	if r.err != nil {
		return 0, end
	}
	v, n := protowire.ConsumeVarint(b)
	if n > 0 {
		return v, pos + int64(n)
	}
	if len(b) < 10 {
		r.past(pos, end, message, "a number runs")
	} else {
		r.fail(pos, message, source.ErrCorrupt, "a number of more than 64 bits", exportAgain)
	}
	return 0, end
}

// fields yields the fields of the message in s, named message in errors. It ends early at the reader's first error.
func (r *reader) fields(s span, message string) iter.Seq[field] {
	return func(yield func(field) bool) {
		for pos := s.start; pos < s.end && r.err == nil; {
			f, next := r.field(pos, s.end, message)
			if r.err != nil || !yield(f) {
				return
			}
			pos = next
		}
	}
}

// field reads one field at pos, tag and length checked against end; contents of a length-delimited one are not read.
func (r *reader) field(pos, end int64, message string) (field, int64) {
	tag, next := r.varint(pos, end, message)
	f := field{message: message, num: protowire.Number(tag >> 3), typ: protowire.Type(tag & 7), at: pos}
	if r.err != nil {
		return f, end
	}
	if tag>>3 < uint64(protowire.MinValidNumber) || tag>>3 > uint64(protowire.MaxValidNumber) {
		r.fail(pos, message, source.ErrCorrupt, fmt.Sprintf("field number %d, which protobuf does not have", tag>>3), exportAgain)
		return f, end
	}
	switch f.typ {
	case protowire.VarintType:
		f.scalar, next = r.varint(next, end, message)
		return f, next
	case protowire.Fixed32Type:
		f.span = span{next, next + 4}
	case protowire.Fixed64Type:
		f.span = span{next, next + 8}
	case protowire.BytesType:
		length, start := r.varint(next, end, message)
		if r.err == nil && length > uint64(end-start) {
			r.past(pos, end, message, fmt.Sprintf("field %d of %d bytes runs", f.num, length))
			return f, end
		}
		f.span = span{start, start + int64(length)}
		return f, f.span.end
	default: // groups, which no version of ONNX has, and the two types that mean nothing
		r.fail(pos, message, source.ErrCorrupt, fmt.Sprintf("field %d of wire type %d, which ONNX does not use", f.num, f.typ), exportAgain)
		return f, end
	}
	if f.span.end > end {
		r.past(pos, end, message, fmt.Sprintf("field %d runs", f.num))
		return f, end
	}
	b := r.peek(f.span.start, int(f.span.len()))
	if r.err != nil {
		return f, end
	}
	if f.typ == protowire.Fixed32Type {
		v, _ := protowire.ConsumeFixed32(b)
		f.scalar = uint64(v)
	} else {
		f.scalar, _ = protowire.ConsumeFixed64(b)
	}
	return f, f.span.end
}

// want refuses a known field of another wire type. Protobuf itself would drop its value in silence.
func (r *reader) want(f field, typ protowire.Type) bool {
	if r.err == nil && f.typ != typ {
		r.fail(f.at, f.message, source.ErrCorrupt, fmt.Sprintf("field %d has wire type %d, expected %d", f.num, f.typ, typ), exportAgain)
	}
	return r.err == nil
}

// once refuses a singular message field given again. Protobuf would merge the two, which no exporter means; read one by
// one they would hide weights.
func (r *reader) once(f field, seen *bool) bool {
	if r.want(f, protowire.BytesType) && *seen {
		r.fail(f.at, f.message, source.ErrCorrupt, fmt.Sprintf("field %d is given twice, and may be given once", f.num), exportAgain)
	}
	*seen = true
	return r.err == nil
}

func (r *reader) int(f field) int64 {
	if !r.want(f, protowire.VarintType) {
		return 0
	}
	return int64(f.scalar)
}

// string reads a name or another short string.
func (r *reader) string(f field) string {
	if !r.want(f, protowire.BytesType) {
		return ""
	}
	n := f.span.len()
	if n > maxName {
		r.fail(f.at, f.message, source.ErrLimit, fmt.Sprintf("field %d is a name of %d bytes, limit %d", f.num, n, maxName), overLimit)
		return ""
	}
	if !r.keep(f.at, n+stringMemory) {
		return ""
	}
	if n <= windowSize {
		return string(r.peek(f.span.start, int(n)))
	}
	b := make([]byte, n)
	if !r.read(b, f.span.start) {
		return ""
	}
	return string(b)
}

// numbers yields the values of a repeated scalar field, packed or not, as raw bits: of typ varint, fixed32 or fixed64.
func (r *reader) numbers(f field, typ protowire.Type) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if f.typ != protowire.BytesType {
			if r.want(f, typ) {
				yield(f.scalar)
			}
			return
		}
		for pos := f.span.start; pos < f.span.end; {
			var v uint64
			if v, pos = r.number(pos, f, typ); r.err != nil || !yield(v) {
				return
			}
		}
	}
}

// number reads one element of a packed field.
func (r *reader) number(pos int64, f field, typ protowire.Type) (uint64, int64) {
	if typ == protowire.VarintType {
		return r.varint(pos, f.span.end, f.message)
	}
	size := int64(4)
	if typ == protowire.Fixed64Type {
		size = 8
	}
	if f.span.end-pos < size {
		r.fail(pos, f.message, source.ErrCorrupt, fmt.Sprintf("packed field %d of %d bytes, not a multiple of %d", f.num, f.span.len(), size), exportAgain)
		return 0, f.span.end
	}
	b := r.peek(pos, int(size))
	if r.err != nil {
		return 0, f.span.end
	}
	if size == 4 {
		v, _ := protowire.ConsumeFixed32(b)
		return uint64(v), pos + size
	}
	v, _ := protowire.ConsumeFixed64(b)
	return v, pos + size
}

// keep accounts for n bytes of memory.
func (r *reader) keep(at, n int64) bool {
	if r.err != nil {
		return false
	}
	if r.memory -= n; r.memory < 0 {
		r.fail(at, "", source.ErrLimit, fmt.Sprintf("names, nodes and shapes of more than %d bytes", int64(maxMemory)), overLimit)
	}
	return r.err == nil
}
