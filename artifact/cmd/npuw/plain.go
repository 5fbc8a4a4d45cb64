package main

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// plain is a writer of text for people. What a terminal might obey instead of showing it (names and paths may come from anywhere) is
// written as Go escapes it: control characters other than \n and \t, marks that reorder text, and what is not UTF-8.
type plain struct {
	w    io.Writer
	rest []byte // the beginning of a character, the end of which has not been written yet
}

func (p *plain) Write(b []byte) (int, error) {
	text := b
	if len(p.rest) > 0 {
		text = append(p.rest, b...)
	}
	whole := len(text)
	for i := max(0, whole-utf8.UTFMax+1); i < whole; i++ {
		if utf8.RuneStart(text[i]) && !utf8.FullRune(text[i:]) {
			whole = i
			break
		}
	}
	p.rest = bytes.Clone(text[whole:])
	if _, err := p.w.Write(escape(text[:whole], `\x%02x`, `\u%04x`)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// unfiltered is the writer under a plain one.
func unfiltered(w io.Writer) io.Writer {
	if p, ok := w.(*plain); ok {
		return p.w
	}
	return w
}

// plainText is a text as plain writes it.
func plainText(s string) string { return string(escape([]byte(s), `\x%02x`, `\u%04x`)) }

// escape puts the number of each byte and character that is not plain in its place: by the first format for ASCII and bytes that are not
// UTF-8, by the second for others.
func escape(text []byte, ascii, other string) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		format := other
		switch {
		case r == utf8.RuneError && size == 1:
			r, format = rune(text[i]), ascii
		case isPlain(r):
			i += size
			continue
		case r < utf8.RuneSelf:
			format = ascii
		}
		out = fmt.Appendf(append(out, text[done:i]...), format, r)
		i += size
		done = i
	}
	if done == 0 {
		return text
	}
	return append(out, text[done:]...)
}

func isPlain(r rune) bool {
	const lineSeparator, paragraphSeparator = '\u2028', '\u2029'
	switch {
	case r == '\n' || r == '\t':
		return true
	case r == lineSeparator || r == paragraphSeparator:
		return false
	}
	return !unicode.IsControl(r) && (r < utf8.RuneSelf || !unicode.Is(unicode.Bidi_Control, r))
}
