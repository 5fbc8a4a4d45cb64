package artifact

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// flat reads the FlatBuffer of an index, which may hold anything: every position is checked before it is used. (FlatBuffers' own
// runtime for Go has no verifier and panics on corrupt input.) The first fault sticks in err; after it, what is read is of no
// meaning. Nothing that it gives out refers to b.
type flat struct {
	b      []byte
	base   int64 // position of b in the file, for messages
	at     [slotCount]int
	count  [slotCount]int
	root   int // the table
	vtable int
	text   string // of slotText
	err    *Error

	// What is being decoded, for messages: entry number of the vector of a struct.
	of     *structType
	number int
}

const flatIdentifier = "NPUW"

func (f *flat) fail(at int, format string, args ...any) {
	if f.err != nil {
		return
	}
	thing := "index"
	if f.of != nil {
		thing = fmt.Sprintf("index: %s %d", f.of.name, f.number)
	}
	f.err = &Error{Offset: f.base + int64(at), Thing: thing, Detail: fmt.Sprintf(format, args...), Err: ErrCorrupt}
}

func (f *flat) u16(at int) int     { return int(binary.LittleEndian.Uint16(f.b[at:])) }
func (f *flat) u32(at int) uint32  { return binary.LittleEndian.Uint32(f.b[at:]) }
func (f *flat) u64(at int) uint64  { return binary.LittleEndian.Uint64(f.b[at:]) }
func (f *flat) f64(at int) float64 { return math.Float64frombits(f.u64(at)) }

// openFlat finds the slots of the index in b, which begins at base of the file.
func openFlat(b []byte, base int64) *flat {
	f := &flat{b: b, base: base}
	if len(b) < 8 || string(b[4:8]) != flatIdentifier {
		f.fail(min(4, len(b)), "the identifier %q is missing", flatIdentifier)
		return f
	}
	root := f.u32(0)
	if root < 4 || uint64(root) > uint64(len(b)-4) || root%4 != 0 {
		f.fail(0, "the table at %d lies outside or is not aligned to 4 bytes", root)
		return f
	}
	f.root = int(root)
	v := int64(f.root) - int64(int32(f.u32(f.root)))
	if v < 0 || v > int64(len(b))-4 || v%2 != 0 {
		f.fail(f.root, "the vtable at %d lies outside or is not aligned to 2 bytes", v)
		return f
	}
	f.vtable = int(v)
	if n := f.u16(f.vtable); n < 4 || n%2 != 0 || n > len(b)-f.vtable {
		f.fail(f.vtable, "a vtable of %d bytes", n)
		return f
	}
	left := len(b) // of what vectors may add up to
	for s := range slotCount {
		f.find(s, &left)
	}
	f.readText()
	return f
}

// field is the position of the field in a slot, 0 when there is none.
func (f *flat) field(s slot) int {
	entry := 4 + 2*int(s)
	if entry+2 > f.u16(f.vtable) {
		return 0
	}
	if place := f.u16(f.vtable + entry); place != 0 {
		return f.root + place
	}
	return 0
}

// find finds the struct or the vector of a slot.
func (f *flat) find(s slot, left *int) {
	if f.err != nil {
		return
	}
	t, at := &slots[s], f.field(s)
	size, align := 4, 4
	if t.single {
		size, align = t.of.size, t.of.align
	}
	switch {
	case at == 0 && t.single:
		f.fail(f.root, "%s is missing", t.name)
		return
	case at == 0:
		return
	case at < f.root+4:
		f.fail(f.root, "%s lies in the table's head", t.name)
		return
	case at > len(f.b)-size || at%align != 0:
		f.fail(min(at, len(f.b)), "%s reaches outside the index or is not aligned to %d bytes", t.name, align)
		return
	case t.single:
		f.at[s], f.count[s] = at, 1
		return
	}
	distance := f.u32(at)
	if distance < 4 || uint64(distance) > uint64(len(f.b)-at-4) {
		f.fail(at, "%s: distance %d leads outside the index", t.name, distance)
		return
	}
	begin := at + int(distance)
	count, first := uint64(f.u32(begin)), begin+4
	switch {
	case begin%4 != 0 || first%t.of.align != 0:
		f.fail(begin, "%s: elements are not aligned to %d bytes", t.name, t.of.align)
	case count*uint64(t.of.size) > uint64(len(f.b)-first):
		f.fail(begin, "%s: %d entries do not fit the index", t.name, count)
	case t.most > 0 && count > uint64(t.most):
		f.fail(begin, "%s: %d entries, the limit is %d", t.name, count, t.most)
	case 4+int(count)*t.of.size > *left:
		f.fail(begin, "%s: vectors lie over each other", t.name)
	default:
		*left -= 4 + int(count)*t.of.size
		f.at[s], f.count[s] = first, int(count)
	}
}

// readText copies the text, which is checked as a whole.
func (f *flat) readText() {
	text := f.b[f.at[slotText]:][:f.count[slotText]]
	if !plainText(text) {
		good := 0
		for good < len(text) {
			r, n := utf8.DecodeRune(text[good:])
			if r == utf8.RuneError && n == 1 || IsControl(r) {
				break
			}
			good += n
		}
		f.fail(f.at[slotText]+good, "the text is not UTF-8 without control characters: after %q", text[max(0, good-32):good])
		return
	}
	f.text = string(text)
}

// string is the Text at a position.
func (f *flat) string(at int) string {
	first, n := uint64(f.u32(at)), uint64(f.u32(at+4))
	end := first + n
	switch {
	case n > maxString:
		f.fail(at, "a string of %d bytes, the limit is %d", n, maxString)
	case end > uint64(len(f.text)) || n == 0 && first != 0:
		f.fail(at, "a string of %d bytes at %d of a text of %d", n, first, len(f.text))
	case n == 0:
	case !utf8.RuneStart(f.text[first]) || end < uint64(len(f.text)) && !utf8.RuneStart(f.text[end]):
		f.fail(at, "a string that begins or ends inside a character")
	default:
		return f.text[first:end]
	}
	return ""
}

// readEntries decodes a slot's vector: each entry by one call of decode with its position.
func readEntries[T any](f *flat, s slot, decode func(at int, v *T)) []T {
	if f.err != nil || f.count[s] == 0 {
		return nil
	}
	list, of := make([]T, f.count[s]), slots[s].of
	at := f.at[s]
	f.of = of
	for i := range list {
		f.number = i
		if of.gap != 0 && f.u64(at+of.gapAt)&of.gap != 0 {
			f.fail(at, "a byte between fields is not zero")
			return nil
		}
		decode(at, &list[i])
		at += of.size
	}
	f.of = nil
	return list
}

// subrange is what the Range at a position names of a list, at most so many entries.
func subrange[T any](f *flat, list []T, at, most int) []T {
	first, n := uint64(f.u32(at)), uint64(f.u32(at+4))
	if n == 0 && first == 0 {
		return nil
	}
	if end := first + n; n != 0 && end <= uint64(len(list)) && n <= uint64(most) {
		return list[first:end:end]
	}
	f.fail(at, "%d entries from %d, of %d; at most %d can be named", n, first, len(list), most)
	return nil
}

// owned is subrange for lists of which each entry has one owner: taken from rest, in order.
func owned[T any](f *flat, list []T, taken *int, at, most int) []T {
	part := subrange(f, list, at, most)
	if first := int(f.u32(at)); part != nil && first != *taken {
		f.fail(at, "entries from %d, expected from %d: they belong to one owner each, in order", first, *taken)
	}
	*taken += len(part)
	return part
}
