package artifact

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// plainReference is plainText as the format states it.
func plainReference(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
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
	for _, s := range []string{"", "é", "1234567é", "12345678é", "日本語のテキスト", "12345678\xc3", "\xc3", "é\n", "\u0085", "a\u2028b"} {
		compare([]byte(s))
	}
}

func TestTextSlab(t *testing.T) {
	t.Parallel()
	var s textSlab
	var got, want []string
	for i := range 2000 {
		text := strings.Repeat(string(rune('a'+i%26)), i%maxString)
		b := []byte(text)
		got, want = append(got, s.copy(b)), append(want, text)
		clear(b)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("text %d has changed", i)
		}
	}
}
