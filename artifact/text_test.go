package artifact

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"npuw/schema/pyreader"
)

// plainReference is plainText as the format states it.
func plainReference(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(refusedRunes, r) })
}

// refusedRunes are those that FORMAT.md, section 5, names.
var refusedRunes = &unicode.RangeTable{R16: []unicode.Range16{
	{0x0000, 0x001f, 1}, {0x007f, 0x009f, 1}, {0x2028, 0x2029, 1}, {0x202a, 0x202e, 1}, {0x2066, 0x2069, 1},
}}

// TestIsControl tries every rune, alone and after a word of eight bytes.
func TestIsControl(t *testing.T) {
	t.Parallel()
	for r := range rune(unicode.MaxRune + 1) {
		want := unicode.Is(refusedRunes, r)
		if IsControl(r) != want {
			t.Errorf("IsControl(%U) is %v", r, !want)
		}
		plain := utf8.ValidRune(r) && !want
		for _, before := range []string{"", "12345678", "1234567é"} {
			b := utf8.AppendRune([]byte(before), r)
			if utf8.ValidRune(r) && plainText(b) != plain {
				t.Errorf("plainText(%q) is %v", b, !plain)
			}
		}
	}
}

// TestPlainText puts every byte, and every pair of two that matter, at every place of texts around a word of eight bytes.
func TestPlainText(t *testing.T) {
	t.Parallel()
	compare := func(b []byte) {
		if got, want := plainText(b), plainReference(string(b)); got != want {
			t.Errorf("%q: %v, want %v", b, got, want)
		}
	}
	edges := []byte{0, 1, 0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0x81, 0xc2, 0xff}
	for n := range 20 {
		text := []byte(strings.Repeat("name", 5)[:n])
		compare(text)
		for i := range text {
			for c := range 256 {
				b := append([]byte(nil), text...)
				b[i] = byte(c)
				compare(b)
			}
			for j := range i {
				for _, c := range edges {
					for _, d := range edges {
						b := append([]byte(nil), text...)
						b[i], b[j] = c, d
						compare(b)
					}
				}
			}
		}
	}
	for _, s := range []string{
		"", "é", "1234567é", "12345678é", "日本語のテキスト", "→", "👩‍🔬", "a\u00a0b", "\u200f",
		"12345678\xc3", "\xc3", "é\xff", "é\n", "é\x7f", "\u0085", "\u009b31m",
		"a\u2028b", "12345678\u2029", "name\u202egpj.exe", "\u2066a\u2069",
	} {
		compare([]byte(s))
	}
}

// TestTextsOfFiles gives a sound artifact a text with one rune more, and wants both readers to refuse it or to take it.
func TestTextsOfFiles(t *testing.T) {
	t.Parallel()
	runes := []rune{
		' ', '~', 0xa0, 'é', 0x200f, 0x2027, '→', 0x202f, 0x2065, 0x206a, '重', '🎤', // fine
		0, '\t', '\n', 0x1b, 0x1f, 0x7f, 0x80, 0x85, 0x9b, 0x9f, // control characters
		0x2028, 0x2029, // separators
		0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069, // bidirectional controls
	}
	folder := pyreader.TempDir(t)
	var paths []string
	for _, r := range runes {
		d := newSmallSample().damaged()
		d.index.Segments[0].Name = "segment" + string(r)
		path := filepath.Join(folder, fmt.Sprintf("%U.npuw", r))
		if unicode.Is(refusedRunes, r) {
			pyreader.Damage(t, path)
		}
		if err := os.WriteFile(path, d.bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	faults := pyreader.Verify(t, paths...)
	for i, r := range runes {
		f, err := Open(paths[i])
		if err == nil {
			f.Close()
		}
		if refused := unicode.Is(refusedRunes, r); (err != nil) != refused || (faults[i] != "") != refused {
			t.Errorf("%U: %v; npuw.py says %q", r, err, faults[i])
		}
	}
}
