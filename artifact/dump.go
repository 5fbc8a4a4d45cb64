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
	dumpEntries      = 1 << 17 // and how many entries of each vector of the index it explains
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
	h, index, err := readIndex(r, uint64(size))
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
	if err := d.index(&h); err != nil {
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
				d.fields(at, b, "", []field{is(16, fmt.Sprintf("operand %q", o.Name)), is(16, fmt.Sprintf("  %s, layout %v", o.FormatText(), o.Layout))})
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
func (d *dumper) index(h *Header) error {
	b := make([]byte, h.IndexBytes)
	if err := readFull(d.r, b, int64(h.IndexOffset), "index"); err != nil {
		return err
	}
	f := openFlat(b, int64(h.IndexOffset))
	if f.err != nil {
		return f.err
	}
	fmt.Fprintf(d.w, "\nindex, %d bytes at %08x; below, # is a place in it\n", h.IndexBytes, h.IndexOffset)
	parts := []part{{0, 8, "", []field{is(4, fmt.Sprintf("table #%x", f.root)), is(4, fmt.Sprintf("identifier %q", b[4:8]))}}, f.drawVtable(), f.drawTable()}
	for s := slotText; s < slotCount; s++ {
		if at := f.field(s); at != 0 {
			parts = append(parts, f.drawVector(s))
		}
	}
	slices.SortStableFunc(parts, func(p, q part) int { return cmp.Compare(p.at, q.at) })
	at := 0
	for _, p := range append(parts, part{at: len(b)}) {
		if zeros := b[min(at, p.at):p.at]; firstNonZero(zeros) >= 0 {
			d.note(f.base+int64(at), "%d bytes that nothing refers to", len(zeros))
		} else if len(zeros) >= 8 {
			d.note(f.base+int64(at), "zeros")
		}
		d.fields(f.base+int64(p.at), b[p.at:p.at+p.n], p.title, p.fields)
		at = max(at, p.at+p.n)
	}
	return nil
}

// part is a stretch of the index, and what it means.
type part struct {
	at, n  int
	title  string
	fields []field
}

func (f *flat) drawVtable() part {
	var texts []string
	for s := range slotCount {
		if at := f.field(s); at != 0 {
			texts = append(texts, fmt.Sprintf("%s +%d", slots[s].name, at-f.root))
		}
	}
	n := f.u16(f.vtable)
	text := fmt.Sprintf("vtable, %d bytes, of a table of %d: %s", n, f.u16(f.vtable+2), strings.Join(texts, ", "))
	return part{f.vtable, n, "", []field{is(n, text)}}
}

// drawTable draws the head and the fields behind it, in the order in which they lie.
func (f *flat) drawTable() part {
	p := part{f.root, 4, "table", []field{is(4, fmt.Sprintf("vtable #%x", f.vtable))}}
	present := []slot{}
	for s := range slotCount {
		if f.field(s) != 0 {
			present = append(present, s)
		}
	}
	slices.SortFunc(present, func(s, t slot) int { return cmp.Compare(f.field(s), f.field(t)) })
	for _, s := range present {
		at, name := f.field(s), slots[s].name
		if end := p.at + p.n; at > end {
			p.fields[len(p.fields)-1].n += at - end
			p.n += at - end
		}
		if !slots[s].single {
			p.fields = append(p.fields, is(4, fmt.Sprintf("%s #%x", name, at+int(f.u32(at)))))
			p.n += 4
			continue
		}
		fields := f.describe(slots[s].of, at)
		fields[0].text = name + ": " + fields[0].text
		p.fields = append(p.fields, fields...)
		p.n += slots[s].of.size
	}
	return p
}

func (f *flat) drawVector(s slot) part {
	of, first, count := slots[s].of, f.at[s], f.count[s]
	p := part{first - 4, 4 + count*of.size, slots[s].name, []field{is(4, fmt.Sprintf("%d of them", count))}}
	if s == slotText {
		p.fields = append(p.fields, is(count, strconv.Quote(f.text)))
		return p
	}
	for i := range min(count, dumpEntries) {
		fields := f.describe(of, first+i*of.size)
		fields[0].text = fmt.Sprintf("%d: %s", i, fields[0].text)
		fields[0].row = true
		p.fields = append(p.fields, fields...)
	}
	return p
}

// describe gives the fields of the struct at a position with their values.
func (f *flat) describe(s *structType, at int) []field {
	var fields []field
	end := 0
	for text := range strings.SplitSeq(s.fields, "; ") {
		words := strings.Fields(text)
		begin, _ := strconv.Atoi(words[0])
		if n := len(fields); n > 0 {
			fields[n-1].n += begin - end // zeros in between
		}
		name, kind := words[1], words[2]
		switch member := members[kind]; {
		case kind == "Text":
			fields = append(fields, is(8, fmt.Sprintf("%s %q", name, f.string(at+begin))))
			end = begin + 8
		case kind == "Range":
			first, count := f.u32(at+begin), f.u32(at+begin+4)
			text := fmt.Sprintf("%s %d to %d", name, first, int64(first)+int64(count)-1)
			if count == 0 {
				text = name + " none"
			}
			fields = append(fields, is(8, text))
			end = begin + 8
		case kind == "Statistics":
			inner := f.describe(member, at+begin)
			inner[0].text = name + ": " + inner[0].text
			fields = append(fields, inner...)
			end = begin + member.size
		default:
			value, n := scalar(f.b[at+begin:], kind)
			if s == &axisStruct && name == "name" {
				value = strconv.QuoteRune(rune(f.b[at+begin]))
			}
			if s != &number {
				value = name + " " + value
			}
			fields = append(fields, is(n, value))
			end = begin + n
		}
	}
	fields[len(fields)-1].n += s.size - end
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
