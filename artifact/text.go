package artifact

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// plainText reports whether s is UTF-8 without control characters.
func plainText(s []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	rest := s
	for ; len(rest) >= 8; rest = rest[8:] { // eight bytes at a time while they are printable ASCII
		w := binary.LittleEndian.Uint64(rest)
		// A byte from 0x80 has its top bit set. Of the lowest byte below a space, and of the lowest DEL, the subtraction sets it.
		control, deleted := w-' '*ones, (w^0x7f*ones)-ones
		if (w|control|deleted)&tops != 0 {
			break
		}
	}
	ascii := true
	for _, c := range rest {
		if c < ' ' || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.Valid(rest)
}

// textSlab copies strings into larger allocations: an index holds thousands of short ones.
type textSlab struct{ b strings.Builder }

// textSlabBytes is what a slab allocates at a time, several times the longest string.
const textSlabBytes = 16 << 10

func (s *textSlab) copy(text []byte) string {
	if s.b.Cap()-s.b.Len() < len(text) { // so that the builder never moves what it has given out
		s.b = strings.Builder{}
		s.b.Grow(textSlabBytes)
	}
	from := s.b.Len()
	s.b.Write(text)
	return s.b.String()[from:]
}
