package artifact

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// flat reads a FlatBuffer that may hold anything: every position is checked before it is used. (FlatBuffers' own runtime for
// Go has no verifier and panics on corrupt input.) The first fault sticks in err; after it, reads give zeros and vectors
// are empty, so that a decoder can go on without looking at each step.
type flat struct {
	b     []byte
	text  string // the same bytes: strings are cut from it without a copy of their own
	spent int    // bytes of tables, vectors and strings reached
	err   *Error
	base  int64                        // position of b in the file, for messages
	trace func(at, n int, what string) // when not nil, is told of everything reached
}

const flatIdentifier = "NPUW"

func newFlat(b []byte, base int64) *flat { return &flat{b: b, text: string(b), base: base} }

func (f *flat) fail(at int, format string, args ...any) {
	if f.err == nil {
		f.err = &Error{Offset: f.base + int64(at), Thing: "index", Detail: fmt.Sprintf(format, args...), Err: ErrCorrupt}
	}
}

// reach checks that n bytes at position at lie in the buffer on a multiple of align, and accounts for them.
func (f *flat) reach(at, n, align int, what string) bool {
	if f.err != nil {
		return false
	}
	if at < 0 || n < 0 || at > len(f.b) || n > len(f.b)-at {
		f.fail(min(max(at, 0), len(f.b)), "%s reaches outside the index", what)
		return false
	}
	if at%align != 0 {
		f.fail(at, "%s is not aligned to %d bytes", what, align)
		return false
	}
	if f.spent += n; f.spent > len(f.b) {
		f.fail(at, "%s: parts of the index are referred to more than once", what)
		return false
	}
	if f.trace != nil {
		f.trace(at, n, what)
	}
	return true
}

func (f *flat) u32(at int) uint32  { return binary.LittleEndian.Uint32(f.b[at:]) }
func (f *flat) u64(at int) uint64  { return binary.LittleEndian.Uint64(f.b[at:]) }
func (f *flat) f64(at int) float64 { return math.Float64frombits(f.u64(at)) }

// follow gives the position that the u32 distance at position at leads to, -1 after a fault.
func (f *flat) follow(at int, what string) int {
	d := uint64(f.u32(at))
	if d < 4 || d > uint64(len(f.b)-at) {
		f.fail(at, "%s: distance %d leads outside the index", what, d)
		return -1
	}
	return at + int(d)
}

// table is a table whose vtable has been checked. Its fields are checked one by one: the size that a vtable states is of no
// use, since builders let tables of different sizes share one. The zero table has no fields.
type table struct {
	f      *flat
	at     int
	vtable []byte // from slot 0
	what   string
}

func (f *flat) root(what string) table {
	if len(f.b) < 8 || string(f.b[4:8]) != flatIdentifier {
		f.fail(min(4, len(f.b)), "the identifier %q is missing", flatIdentifier)
		return table{f: f}
	}
	return f.table(f.follow(0, what), what)
}

func (f *flat) table(at int, what string) table {
	none := table{f: f}
	if f.err != nil {
		return none
	}
	if !f.reach(at, 4, 4, what) {
		return none
	}
	v := int64(at) - int64(int32(f.u32(at)))
	if v < 0 || v > int64(len(f.b))-4 || v%2 != 0 {
		f.fail(at, "%s: its vtable lies outside the index", what)
		return none
	}
	le := binary.LittleEndian
	vbytes := int64(le.Uint16(f.b[v:]))
	if vbytes < 4 || vbytes%2 != 0 || vbytes > int64(len(f.b))-v {
		f.fail(int(v), "%s: a vtable of %d bytes", what, vbytes)
		return none
	}
	return table{f, at, f.b[v+4 : v+vbytes], what}
}

// field is the position of the field of n bytes in a slot; -1 when absent or wrong.
func (t table) field(slot, n, align int) int {
	if t.f.err != nil || len(t.vtable) < 2*slot+2 {
		return -1
	}
	o := int(binary.LittleEndian.Uint16(t.vtable[2*slot:]))
	if o == 0 {
		return -1
	}
	if o < 4 || !t.f.reach(t.at+o, n, align, t.what) {
		t.f.fail(t.at, "%s: slot %d lies in the table's head", t.what, slot)
		return -1
	}
	return t.at + o
}

// structure is the position of the struct of n bytes that must be in a slot.
func (t table) structure(slot, n, align int) (int, bool) {
	at := t.field(slot, n, align)
	if at < 0 {
		t.f.fail(t.at, "%s: the struct in slot %d is missing", t.what, slot)
	}
	return at, at >= 0
}

// sub is the table that must be in a slot.
func (t table) sub(slot int, what string) table {
	at := t.field(slot, 4, 4)
	if at < 0 {
		t.f.fail(t.at, "%s: %s is missing", t.what, what)
		return table{f: t.f}
	}
	return t.f.table(t.f.follow(at, what), what)
}

// vector is the position of the first element of a vector of elements of n bytes, and their count; 0, 0 when absent.
func (t table) vector(slot, n, align int, what string) (at, count int) {
	field := t.field(slot, 4, 4)
	if field < 0 {
		return 0, 0
	}
	at = t.f.follow(field, what)
	if at < 0 || at > len(t.f.b)-4 || at%4 != 0 {
		t.f.fail(field, "%s begins outside the index or unaligned", what)
		return 0, 0
	}
	length := uint64(t.f.u32(at)) * uint64(n)
	if length > uint64(len(t.f.b)-at-4) {
		t.f.fail(at, "%s: %d elements do not fit the index", what, t.f.u32(at))
		return 0, 0
	}
	if (at+4)%align != 0 {
		t.f.fail(at, "%s: elements are not aligned to %d bytes", what, align)
		return 0, 0
	}
	if !t.f.reach(at, 4+int(length), 4, what) {
		return 0, 0
	}
	return at + 4, int(t.f.u32(at))
}

// each calls do with every table of a vector of tables until a fault.
func (t table) each(slot int, limit int, vector, what string, count func(n int), do func(i int, e table)) {
	at, n := t.vector(slot, 4, 4, vector)
	if n > limit {
		t.f.fail(at-4, "%s: %d entries, the limit is %d", vector, n, limit)
		return
	}
	if n == 0 {
		return
	}
	count(n)
	for i := 0; i < n && t.f.err == nil; i++ {
		do(i, t.f.table(t.f.follow(at+4*i, what), what))
	}
}

// text is the string in a slot, empty when absent.
func (t table) text(slot int, what string) string {
	at, n := t.vector(slot, 1, 1, what)
	if n == 0 {
		return ""
	}
	s := t.f.text[at : at+n]
	switch {
	case n > maxString:
		t.f.fail(at, "%s: %d bytes, the limit is %d", what, n, maxString)
	case at+n >= len(t.f.b) || t.f.b[at+n] != 0:
		t.f.fail(at, "%s: no zero byte after the string", what)
	case !plainText(s):
		t.f.fail(at, "%s: %q is not UTF-8 without control characters", what, s)
	default:
		return s
	}
	return ""
}

// plainText reports whether s is UTF-8 without control characters.
func plainText(s string) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == 0x7f {
			return false
		} else if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	return ascii || utf8.ValidString(s)
}
