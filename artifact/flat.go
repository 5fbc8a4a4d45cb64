package artifact

import (
	"encoding/binary"
	"fmt"
	"math"
)

// flat reads a FlatBuffer that may hold anything: every position is checked before it is used. (FlatBuffers' own runtime for
// Go has no verifier and panics on corrupt input.) The first fault sticks in err; after it, tables have no fields and vectors
// are empty, so that a decoder can go on without looking at each step. Nothing that it gives out refers to b.
type flat struct {
	b     []byte
	base  int64 // position of b in the file, for messages
	spent int   // bytes of tables, vectors and strings reached
	err   *Error
	texts textSlab
	plans [len(tableTypes)]tablePlan // the last of each kind of table
	trace func(part)                 // when not nil, is told of everything reached
}

// part is a stretch of the index that has been reached: bytes at to at+n, which belong to a slot of a table.
type part struct {
	at, n int
	place
	form form
	of   *structType // of a formStruct or formStructs
}

// place is a slot of a table, or all of it. It prints as Operand.axes, or Operand.
type place struct {
	table *tableType
	slot  int // wholeTable: none
}

const wholeTable = -1

func (p place) String() string {
	if p.slot == wholeTable {
		return p.table.name
	}
	return p.table.name + "." + p.table.slots[p.slot].name
}

// form says how the bytes of a part are to be read.
type form uint8

const (
	formVtable     form = iota // u16s
	formHead                   // a table's first four bytes: the way to its vtable
	formReference              // a u32 distance in a table
	formStruct                 // in a table
	formStructs                // and the rest: a vector with its count
	formNumbers                // u64s
	formReferences             // u32 distances
	formText
)

const flatIdentifier = "NPUW"

func (f *flat) fail(at int, format string, args ...any) {
	if f.err == nil {
		f.err = &Error{Offset: f.base + int64(at), Thing: "index", Detail: fmt.Sprintf(format, args...), Err: ErrCorrupt}
	}
}

func (f *flat) u16(at int) int     { return int(binary.LittleEndian.Uint16(f.b[at:])) }
func (f *flat) u32(at int) uint32  { return binary.LittleEndian.Uint32(f.b[at:]) }
func (f *flat) u64(at int) uint64  { return binary.LittleEndian.Uint64(f.b[at:]) }
func (f *flat) f64(at int) float64 { return math.Float64frombits(f.u64(at)) }

// follow gives the position, inside the index, that the u32 distance at position at leads to; -1 after a fault.
func (f *flat) follow(at int, p place) int {
	if d := f.u32(at); d >= 4 && uint64(d) < uint64(len(f.b)-at) && f.err == nil {
		return at + int(d)
	}
	f.fail(at, "%v: distance %d leads outside the index", p, f.u32(at))
	return -1
}

// table is a table whose head, vtable and slots have been checked. It is of use until the next of its kind is looked at: no
// table leads to others of its kind.
type table struct {
	f    *flat
	at   int
	kind *tableType
	plan *tablePlan
}

// tablePlan is what a vtable says of the tables at an offset from a multiple of eight: most tables of an index share one with
// that before them. The size of the table that it states is of no use, since builders let tables of different sizes share one.
type tablePlan struct {
	vtable, phase int
	slots         [maxSlots]uint16 // the place of each from the table; 0: absent
	end           int              // where the last of them ends
	bytes         int              // the head and all slots
}

func (f *flat) root(kind *tableType) table {
	if len(f.b) < 8 || string(f.b[4:8]) != flatIdentifier {
		f.fail(min(4, len(f.b)), "the identifier %q is missing", flatIdentifier)
		return table{f: f, kind: kind, plan: &noPlan}
	}
	return f.table(f.follow(0, place{kind, wholeTable}), kind)
}

// table is the table at a position, without slots after a fault.
func (f *flat) table(at int, kind *tableType) table {
	t := table{f: f, at: max(at, 0), kind: kind, plan: &noPlan}
	if f.err != nil {
		return t
	}
	if at < 0 || at > len(f.b)-4 || at&3 != 0 {
		f.fail(t.at, "%v reaches outside the index or is not aligned to 4 bytes", place{kind, wholeTable})
		return t
	}
	v := int64(at) - int64(int32(f.u32(at)))
	plan := &f.plans[kind.number]
	if int64(plan.vtable) != v || plan.phase != at&7 || plan.end > len(f.b)-at || plan.end == 0 {
		if !f.plan(plan, &t, v) {
			return t
		}
	}
	if f.spent += plan.bytes; f.spent > len(f.b) {
		f.fail(at, "%v: parts of the index are referred to more than once", place{kind, wholeTable})
		return t
	}
	t.plan = plan
	if f.trace != nil {
		t.traceParts()
	}
	return t
}

// noPlan is that of a table without slots.
var noPlan tablePlan

// plan reads and checks the vtable at v for the table t.
func (f *flat) plan(p *tablePlan, t *table, v int64) bool {
	here := place{t.kind, wholeTable}
	if v < 0 || v > int64(len(f.b))-4 || v%2 != 0 {
		f.fail(t.at, "%v: its vtable lies outside the index", here)
		return false
	}
	n := f.u16(int(v))
	if n < 4 || n%2 != 0 || int64(n) > int64(len(f.b))-v {
		f.fail(int(v), "%v: a vtable of %d bytes", here, n)
		return false
	}
	*p = tablePlan{vtable: int(v), phase: t.at & 7, end: 4, bytes: 4}
	for slot, s := range t.kind.slots {
		size, align, must := 4, 4, false
		if s.of != nil {
			size, align, must = s.of.size, s.of.align, true
		}
		o := 0
		if 4+2*slot+2 <= n {
			o = f.u16(int(v) + 4 + 2*slot)
		}
		at := t.at + o
		switch {
		case o == 0 && must:
			f.fail(t.at, "%v is missing", place{t.kind, slot})
			return false
		case o == 0:
			continue
		case o < 4:
			f.fail(t.at, "%v lies in the table's head", place{t.kind, slot})
			return false
		case at > len(f.b) || size > len(f.b)-at:
			f.fail(min(at, len(f.b)), "%v reaches outside the index", place{t.kind, slot})
			return false
		case at&(align-1) != 0:
			f.fail(at, "%v is not aligned to %d bytes", place{t.kind, slot}, align)
			return false
		}
		p.slots[slot] = uint16(o)
		p.end = max(p.end, o+size)
		p.bytes += size
	}
	return true
}

func (t *table) traceParts() {
	f := t.f
	f.trace(part{t.plan.vtable, f.u16(t.plan.vtable), place{t.kind, wholeTable}, formVtable, nil})
	f.trace(part{t.at, 4, place{t.kind, wholeTable}, formHead, nil})
	for slot, s := range t.kind.slots {
		if at := t.field(slot); at >= 0 && s.of != nil {
			f.trace(part{at, s.of.size, place{t.kind, slot}, formStruct, s.of})
		} else if at >= 0 {
			f.trace(part{at, 4, place{t.kind, slot}, formReference, nil})
		}
	}
}

// field is the position of the field in a slot, -1 when there is none.
func (t *table) field(slot int) int {
	if o := int(t.plan.slots[slot]); o != 0 {
		return t.at + o
	}
	return -1
}

// structure is the position of the struct that must be in a slot; not ok after a fault.
func (t *table) structure(slot int) (at int, ok bool) {
	at = t.field(slot)
	return at, at >= 0 && t.f.gapIsZero(at, t.kind.slots[slot].of)
}

// gapIsZero checks the bytes between the fields of a struct.
func (f *flat) gapIsZero(at int, s *structType) bool {
	if s.gap != 0 && f.u64(at+s.gapAt)&s.gap != 0 {
		f.fail(at, "%s: a byte between fields is not zero", s.name)
		return false
	}
	return true
}

// sub is the table that must be in a slot.
func (t *table) sub(slot int, kind *tableType) table {
	at := t.field(slot)
	if at < 0 {
		t.f.fail(t.at, "%v is missing", place{t.kind, slot})
		return table{f: t.f, kind: kind, plan: &noPlan}
	}
	return t.f.table(t.f.follow(at, place{t.kind, slot}), kind)
}

// vector is the position of the first element of a vector of elements of n bytes, and their count; 0, 0 when absent.
func (t *table) vector(slot, n, align int, form form, of *structType) (at, count int) {
	f, o := t.f, int(t.plan.slots[slot])
	if o == 0 || f.err != nil {
		return 0, 0
	}
	d := uint64(f.u32(t.at + o))
	if d < 4 || d > uint64(len(f.b)-t.at-o-4) {
		f.fail(t.at+o, "%v: distance %d leads outside the index", place{t.kind, slot}, d)
		return 0, 0
	}
	at = t.at + o + int(d)
	first, elements := at+4, uint64(f.u32(at))
	length := elements * uint64(n)
	switch {
	case at&3 != 0 || first&(align-1) != 0:
		f.fail(at, "%v: elements are not aligned to %d bytes", place{t.kind, slot}, align)
		return 0, 0
	case length > uint64(len(f.b)-first):
		f.fail(at, "%v: %d elements do not fit the index", place{t.kind, slot}, elements)
		return 0, 0
	}
	if f.spent += 4 + int(length); f.spent > len(f.b) {
		f.fail(at, "%v: parts of the index are referred to more than once", place{t.kind, slot})
		return 0, 0
	}
	if f.trace != nil {
		f.trace(part{at, 4 + int(length), place{t.kind, slot}, form, of})
	}
	return first, int(elements)
}

// structs is a vector of structs: the position of the first, and their count. Bytes between their fields are left to be looked
// at.
func (t *table) structs(slot int, s *structType) (at, n int) {
	return t.vector(slot, s.size, s.align, formStructs, s)
}

// room is how many of the n entries of a vector of structs of the root are to be read: none when there are too many.
func (t *table) room(slot, n int) int {
	if n > maxEntries {
		t.f.fail(t.at, "%v: %d entries, the limit is %d", place{t.kind, slot}, n, maxEntries)
		return 0
	}
	return n
}

// each makes room for the tables that a vector refers to, and calls do with each, until a fault. What count allocates is in
// proportion to the index: that many tables must fit what is left of it.
func (t *table) each(slot int, kind *tableType, count func(n int), do func(i int, e table)) {
	at, n := t.vector(slot, 4, 4, formReferences, nil)
	here := place{t.kind, slot}
	switch {
	case n == 0:
		return
	case kind.most > 0 && n > kind.most:
		t.f.fail(at-4, "%v: %d entries, the limit is %d", here, n, kind.most)
		return
	case int64(n)*int64(kind.least) > int64(len(t.f.b)-t.f.spent):
		t.f.fail(at-4, "%v: %d entries do not fit the index, or are referred to more than once", here, n)
		return
	}
	count(n)
	for i := 0; i < n && t.f.err == nil; i++ {
		do(i, t.f.table(t.f.follow(at+4*i, here), kind))
	}
}

// text is a copy of the string in a slot, empty when absent.
func (t *table) text(slot int) string {
	f := t.f
	at, n := t.vector(slot, 1, 1, formText, nil)
	if at == 0 {
		return ""
	}
	s := f.b[at : at+n]
	switch {
	case n > maxString:
		f.fail(at, "%v: %d bytes, the limit is %d", place{t.kind, slot}, n, maxString)
	case at+n >= len(f.b) || f.b[at+n] != 0:
		f.fail(at, "%v: no zero byte after the string", place{t.kind, slot})
	case !plainText(s):
		f.fail(at, "%v: %q is not UTF-8 without control characters", place{t.kind, slot}, s)
	default:
		return f.texts.copy(s)
	}
	return ""
}
