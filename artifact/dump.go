package artifact

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	dumpOperandBytes = 32      // how much of each operand Dump draws
	dumpParts        = 1 << 18 // and of how many parts of an index
)

// Dump draws the bytes of header and index of the artifact at path, and the first of each operand: where they are, the bytes, and
// what they mean.
func Dump(w io.Writer, path string) error {
	f, size, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return inFile(dump(w, f, size), path)
}

func dump(w io.Writer, r io.ReaderAt, size int64) error {
	var parts []part
	h, index, err := readIndex(r, uint64(size), func(p part) {
		if len(parts) < dumpParts {
			parts = append(parts, p)
		}
	})
	if err != nil {
		return err
	}
	if _, _, err := index.check(h.PageBytes, h.IndexOffset, h.PageBytes); err != nil {
		return err
	}
	d := &dumper{r: r, w: bufio.NewWriter(w)}
	if err := d.header(&h); err != nil {
		return err
	}
	if err := d.segments(index); err != nil {
		return err
	}
	if err := d.index(&h, parts); err != nil {
		return err
	}
	return d.w.Flush()
}

// dumper writes lines of at most 16 bytes, each with what the fields that begin in it mean.
type dumper struct {
	r io.ReaderAt
	w *bufio.Writer
}

// field is some bytes and what they mean.
type field struct {
	n    int
	text string
	row  bool // begins a line
}

func is(n int, text string) field { return field{n: n, text: text} }

func (d *dumper) line(at int64, b []byte, text string) {
	line := fmt.Sprintf("%08x  % -49x%s", at, b, text)
	d.w.WriteString(strings.TrimRight(line, " "))
	d.w.WriteByte('\n')
}

// note writes a line about bytes that are not drawn.
func (d *dumper) note(at int64, format string, args ...any) {
	fmt.Fprintf(d.w, "%08x  %-49s%s\n", at, "...", fmt.Sprintf(format, args...))
}

// fields draws bytes that lie at at. A field that does not fit the line begins the next, and may be cut where none would hold it.
func (d *dumper) fields(at int64, b []byte, title string, fields []field) {
	if title != "" {
		title += ": "
	}
	for len(b) > 0 {
		n, texts := 0, []string(nil)
		for len(fields) > 0 && n < 16 && (n == 0 || n+fields[0].n <= 16) {
			f := &fields[0]
			if f.row && n > 0 {
				break
			}
			if f.text != "" {
				texts = append(texts, f.text)
				f.text = ""
			}
			take := min(f.n, 16-n)
			n += take
			if f.n -= take; f.n == 0 {
				fields = fields[1:]
			}
		}
		if n = min(n, len(b)); len(fields) == 0 {
			n = min(16, len(b))
		}
		d.line(at, b[:n], title+strings.Join(texts, "; "))
		at, b = at+int64(n), b[n:]
		if title != "" {
			title = "  "
		}
	}
}

func (d *dumper) header(h *Header) error {
	b := make([]byte, HeaderBytes)
	if err := readFull(d.r, b, 0, "header"); err != nil {
		return err
	}
	d.fields(0, b[:atReserved], "header", []field{
		is(8, "magic"),
		is(4, fmt.Sprintf("version %d", Version)),
		is(4, fmt.Sprintf("header_bytes %d", HeaderBytes)),
		is(8, fmt.Sprintf("required_features %#x", h.RequiredFeatures)),
		is(8, fmt.Sprintf("optional_features %#x", h.OptionalFeatures)),
		is(8, fmt.Sprintf("file_bytes %d", h.FileBytes)),
		is(8, fmt.Sprintf("page_bytes %d", h.PageBytes)),
		is(8, fmt.Sprintf("index_offset %d", h.IndexOffset)),
		is(8, fmt.Sprintf("index_bytes %d", h.IndexBytes)),
		is(16, fmt.Sprintf("index_digest %v", h.IndexDigest)),
	})
	d.note(atReserved, "  zeros to %d", atHeaderDigest)
	d.line(atHeaderDigest, b[atHeaderDigest:], fmt.Sprintf("  header_digest %v", h.Digest))
	d.note(HeaderBytes, "zeros to the first page")
	return nil
}

// segments draws the beginning of each operand.
func (d *dumper) segments(x *Index) error {
	operands := x.Operands
	for i := range x.Segments {
		s := &x.Segments[i]
		fmt.Fprintf(d.w, "\nsegment %q, %d bytes at %08x\n", s.Name, s.Bytes, s.Offset)
		end := s.Offset
		for ; len(operands) > 0 && operands[0].Segment == i; operands = operands[1:] {
			o := &operands[0]
			b := make([]byte, min(o.Bytes, dumpOperandBytes))
			at := int64(s.Offset + o.Offset)
			if err := readFull(d.r, b, at, fmt.Sprintf("operand %q", o.Name)); err != nil {
				return err
			}
			if uint64(at) > end {
				d.note(int64(end), "zeros")
			}
			if o.Supported() {
				d.fields(at, b, "", []field{is(16, fmt.Sprintf("operand %q", o.Name)), is(16, fmt.Sprintf("  %v, layout %v", o.Format, o.Layout))})
			} else {
				d.fields(at, b, "", []field{is(32, fmt.Sprintf("operand %q, unsupported", o.Name))})
			}
			if more := o.Bytes - uint64(len(b)); more > 0 {
				d.note(at+int64(len(b)), "  and %d bytes more", more)
			}
			end = uint64(at) + o.Bytes
		}
		if end < s.Offset+s.Bytes {
			d.note(int64(end), "%s", map[bool]string{true: "zeros to the end of the segment", false: "not operands"}[s.Kind == Weights])
		}
	}
	return nil
}

// index draws the parts of the index in the order of their places.
func (d *dumper) index(h *Header, parts []part) error {
	b := make([]byte, h.IndexBytes)
	if err := readFull(d.r, b, int64(h.IndexOffset), "index"); err != nil {
		return err
	}
	x := indexDump{dumper: d, b: b, base: int64(h.IndexOffset)}
	fmt.Fprintf(d.w, "\nindex, %d bytes at %08x; below, # is a place in it\n", h.IndexBytes, h.IndexOffset)
	root := binary.LittleEndian.Uint32(b)
	x.draw(0, 8, "", []field{is(4, fmt.Sprintf("root table #%x", root)), is(4, fmt.Sprintf("identifier %q", b[4:8]))})
	at := 8
	slices.SortStableFunc(parts, func(p, q part) int { return cmp.Compare(p.at, q.at) })
	parts = slices.CompactFunc(parts, func(p, q part) bool { return p.at == q.at && p.n == q.n })
	for i := 0; i < len(parts); {
		n := 1
		for parts[i].form == formHead && i+n < len(parts) && x.continues(parts[i:i+n+1]) {
			n++
		}
		x.between(at, parts[i].at)
		x.parts(parts[i : i+n])
		last := parts[i+n-1]
		at = max(at, last.at+last.n)
		i += n
	}
	if len(parts) == dumpParts {
		d.note(x.base+int64(at), "more than is drawn")
		return nil
	}
	x.between(at, len(b))
	return nil
}

// indexDump draws an index.
type indexDump struct {
	*dumper
	b    []byte
	base int64
}

// continues reports whether the last of the parts is a field of the table that the first is the head of, right behind those
// between or after less than eight zeros.
func (x *indexDump) continues(parts []part) bool {
	head, before, p := parts[0], parts[len(parts)-2], parts[len(parts)-1]
	end := before.at + before.n
	return p.table == head.table && (p.form == formReference || p.form == formStruct) &&
		p.at >= end && p.at-end < 8 && firstNonZero(x.b[end:p.at]) < 0
}

// between draws what no part covers: zeros that align, or what is not known.
func (x *indexDump) between(from, to int) {
	if from >= to {
		return
	}
	if firstNonZero(x.b[from:to]) >= 0 {
		x.note(x.base+int64(from), "%d bytes that nothing refers to", to-from)
	} else if to-from >= 8 {
		x.note(x.base+int64(from), "zeros")
	}
}

// parts draws a table's head and the fields behind it, or a single part.
func (x *indexDump) parts(parts []part) {
	first := parts[0]
	title, at, fields := first.place.String(), first.at, []field(nil)
	for _, p := range parts {
		if p.at > at {
			fields = append(fields, is(p.at-at, ""))
		}
		fields = append(fields, x.part(p)...)
		at = p.at + p.n
	}
	if first.form == formVtable {
		title = ""
	}
	x.draw(first.at, at-first.at, title, fields)
}

func (x *indexDump) draw(at, n int, title string, fields []field) {
	x.fields(x.base+int64(at), x.b[at:at+n], title, fields)
}

// part says what the bytes of a part mean.
func (x *indexDump) part(p part) []field {
	b := x.b[p.at : p.at+p.n]
	le := binary.LittleEndian
	switch p.form {
	case formVtable:
		return x.vtable(p, b)
	case formHead:
		return []field{is(4, fmt.Sprintf("vtable #%x", p.at-int(int32(le.Uint32(b)))))}
	case formReference:
		return []field{is(4, fmt.Sprintf("%s #%x", p.table.slots[p.slot].name, p.at+int(le.Uint32(b))))}
	case formStruct:
		fields := p.of.describe(b)
		fields[0].text = p.table.slots[p.slot].name + ": " + fields[0].text
		return fields
	case formText:
		return []field{is(4, fmt.Sprintf("%d bytes", le.Uint32(b))), is(p.n-4, strconv.Quote(string(b[4:])))}
	}
	fields := []field{is(4, fmt.Sprintf("%d of them", le.Uint32(b)))}
	for at := 4; at < p.n; {
		switch p.form {
		case formStructs:
			fields = append(fields, p.of.describe(b[at:at+p.of.size])...)
			fields[len(fields)-p.of.count()].row = true
			at += p.of.size
		case formNumbers:
			fields = append(fields, is(8, strconv.FormatUint(le.Uint64(b[at:]), 10)))
			at += 8
		default:
			fields = append(fields, is(4, fmt.Sprintf("#%x", p.at+at+int(le.Uint32(b[at:])))))
			at += 4
		}
	}
	return fields
}

func (x *indexDump) vtable(p part, b []byte) []field {
	le := binary.LittleEndian
	texts := []string{}
	for slot, s := range p.table.slots {
		if 4+2*slot+2 <= len(b) {
			if place := le.Uint16(b[4+2*slot:]); place != 0 {
				texts = append(texts, fmt.Sprintf("%s +%d", s.name, place))
			}
		}
	}
	return []field{is(len(b), fmt.Sprintf("vtable of %s, %d bytes, table of %d: %s", p.table.name, le.Uint16(b), le.Uint16(b[2:]), strings.Join(texts, ", ")))}
}

// count is the number of a struct's fields.
func (s *structType) count() int { return strings.Count(s.fields, ";") + 1 }

// describe gives the fields of a struct with their values.
func (s *structType) describe(b []byte) []field {
	var fields []field
	at := 0
	for text := range strings.SplitSeq(s.fields, "; ") {
		words := strings.Fields(text)
		begin, _ := strconv.Atoi(words[0])
		if n := len(fields); n > 0 {
			fields[n-1].n += begin - at // zeros in between
		}
		value, n := scalar(b[begin:], words[2])
		if words[1] == "name" { // of an axis
			value = strconv.QuoteRune(rune(b[begin]))
		}
		fields = append(fields, is(n, words[1]+" "+value))
		at = begin + n
	}
	fields[len(fields)-1].n += s.size - at
	return fields
}

// scalar prints a little-endian value and gives its size.
func scalar(b []byte, kind string) (string, int) {
	le := binary.LittleEndian
	switch kind {
	case "u8":
		return strconv.Itoa(int(b[0])), 1
	case "u32":
		return strconv.FormatUint(uint64(le.Uint32(b)), 10), 4
	case "i32":
		return strconv.FormatInt(int64(int32(le.Uint32(b))), 10), 4
	case "i64":
		return strconv.FormatInt(int64(le.Uint64(b)), 10), 8
	case "f64":
		return strconv.FormatFloat(math.Float64frombits(le.Uint64(b)), 'g', -1, 64), 8
	case "Digest":
		return getDigest(b).String(), 16
	default:
		return strconv.FormatUint(le.Uint64(b), 10), 8
	}
}
