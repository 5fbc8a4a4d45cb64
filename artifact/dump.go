package artifact

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// dumpOperandBytes is how much of each operand Dump draws.
const dumpOperandBytes = 64

// Dump draws the bytes of header and index of the artifact at path, and the first of each operand, each part with what it is.
func Dump(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return osError(path, -1, "open", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return osError(path, -1, "open", err)
	}
	var parts []part
	h, index, err := readIndex(f, uint64(info.Size()), func(at, n int, what string) { parts = append(parts, part{int64(at), n, what}) })
	if err != nil {
		return inFile(err, path)
	}
	for i := range parts {
		parts[i].at += int64(h.IndexOffset)
	}
	out := bufio.NewWriter(w)
	d := dumper{r: f, w: out}
	d.header(&h)
	for i, s := range index.Segments {
		d.note(int64(s.Offset), "segment %q, %d bytes, to %d", s.Name, s.Bytes, s.Offset+s.Bytes)
		for j := range index.Operands {
			if o := &index.Operands[j]; o.Segment == i {
				n := int(min(o.Bytes, dumpOperandBytes))
				d.bytes(part{int64(s.Offset + o.Offset), n, fmt.Sprintf("operand %q, %v, %v", o.Name, o.Format, o.Layout)})
				if uint64(n) < o.Bytes {
					d.note(int64(s.Offset+o.Offset)+int64(n), "%d bytes more", o.Bytes-uint64(n))
				}
			}
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(a.at, b.at) })
	at := int64(h.IndexOffset)
	for _, p := range parts {
		d.between(at, p.at)
		d.bytes(p)
		at = max(at, p.at+int64(p.n))
	}
	d.between(at, int64(h.FileBytes))
	if d.err != nil {
		return inFile(d.err, path)
	}
	return out.Flush()
}

// part is a range of bytes and what it is.
type part struct {
	at   int64
	n    int
	what string
}

type dumper struct {
	r   io.ReaderAt
	w   io.Writer
	err error
}

func (d *dumper) header(h *Header) {
	for _, p := range []part{
		{atMagic, 8, "magic"},
		{atVersion, 4, fmt.Sprintf("version %d", Version)},
		{atHeaderBytes, 4, fmt.Sprintf("header_bytes %d", HeaderBytes)},
		{atRequiredFeatures, 8, fmt.Sprintf("required_features %#x", h.RequiredFeatures)},
		{atOptionalFeatures, 8, fmt.Sprintf("optional_features %#x", h.OptionalFeatures)},
		{atFileBytes, 8, fmt.Sprintf("file_bytes %d", h.FileBytes)},
		{atPageBytes, 8, fmt.Sprintf("page_bytes %d", h.PageBytes)},
		{atIndexOffset, 8, fmt.Sprintf("index_offset %d", h.IndexOffset)},
		{atIndexBytes, 8, fmt.Sprintf("index_bytes %d", h.IndexBytes)},
		{atIndexDigest, 16, fmt.Sprintf("index_digest %v", h.IndexDigest)},
	} {
		d.bytes(p)
	}
	d.note(atReserved, "reserved, zero to %d", atHeaderDigest)
	d.bytes(part{atHeaderDigest, 16, fmt.Sprintf("header_digest %v", h.Digest)})
	d.note(HeaderBytes, "zero to %d", h.PageBytes)
}

// note writes a line about bytes that are not drawn.
func (d *dumper) note(at int64, format string, args ...any) {
	fmt.Fprintf(d.w, "%08x  %-48s %s\n", at, "...", fmt.Sprintf(format, args...))
}

// bytes draws a part, 16 bytes a line.
func (d *dumper) bytes(p part) {
	b := make([]byte, p.n)
	if d.err == nil {
		d.err = readFull(d.r, b, p.at, p.what)
	}
	for i := 0; i < p.n && d.err == nil; i += 16 {
		what := ""
		if i == 0 {
			what = p.what
		}
		line := fmt.Sprintf("% x", b[i:min(i+16, p.n)])
		fmt.Fprintln(d.w, trimRight(fmt.Sprintf("%08x  %-48s %s", p.at+int64(i), line, what)))
	}
}

// between draws what lies between the parts of the index: vtables, and zeros that align.
func (d *dumper) between(from, to int64) {
	if from >= to || d.err != nil {
		return
	}
	b := make([]byte, to-from)
	if d.err = readFull(d.r, b, from, "index"); d.err != nil {
		return
	}
	if firstNonZero(b) < 0 {
		d.bytes(part{from, len(b), "align"})
		return
	}
	what := "vtable"
	if from&3 == 0 && len(b) >= 8 && binary.LittleEndian.Uint32(b[4:]) == binary.LittleEndian.Uint32([]byte(flatIdentifier)) {
		what = "position of the root table, identifier"
	}
	d.bytes(part{from, len(b), what})
}

func trimRight(s string) string {
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return s
}
