package artifact

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// IsControl reports whether r may not stand in a text of an artifact: it is a control character, a line or paragraph
// separator, or turns the direction of writing, and so would move or hide what a terminal shows beside it.
func IsControl(r rune) bool {
	switch {
	case r < ' ' || r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x2028 || r == 0x2029:
		return true
	default:
		return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
	}
}

// plainText reports whether s is UTF-8 without what IsControl finds.
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
	for i, c := range rest {
		if c >= utf8.RuneSelf {
			return utf8.Valid(rest[i:]) && !bytes.ContainsFunc(rest[i:], IsControl)
		}
		if IsControl(rune(c)) {
			return false
		}
	}
	return true
}
