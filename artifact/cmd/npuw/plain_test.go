package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                         "",
		"a\tb\n":                   "a\tb\n",
		"é 日本語 🙂 \u00a0\ufffd":     "é 日本語 🙂 \u00a0\ufffd",
		"\x1b]0;title\x07\r\b\x00": `\x1b]0;title\x07\x0d\x08\x00`,
		"a\x7fb":                   `a\x7fb`,
		"\u0080\u009b31m\u009f":    `\u0080\u009b31m\u009f`,
		"\u202aa\u202e\u2066\u2069\u200e\u200f\u061c": `\u202aa\u202e\u2066\u2069\u200e\u200f\u061c`,
		"a\u2028b\u2029":                 `a\u2028b\u2029`,
		"\x9b31m\xc2 \xff":               `\x9b31m\xc2 \xff`,
		"\xed\xa0\x80\xf4\x90\x80\x80\n": `\xed\xa0\x80\xf4\x90\x80\x80` + "\n", // a surrogate; beyond the last character
		`\x1b`:                           `\x1b`,
	} {
		if got := plainText(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		for step := 1; step <= len(text); step++ { // written in pieces
			var b bytes.Buffer
			p := &plain{w: &b}
			for rest := []byte(text); len(rest) > 0; {
				n, err := p.Write(rest[:min(step, len(rest))])
				if err != nil || n != min(step, len(rest)) {
					t.Fatalf("%q: wrote %d, %v", text, n, err)
				}
				rest = rest[n:]
			}
			if b.String() != want {
				t.Errorf("%q in pieces of %d: %q, want %q", text, step, b.String(), want)
			}
		}
	}
}

// TestPlainBetweenWrites wants no control character to be made of the end of one text and the beginning of the next.
func TestPlainBetweenWrites(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := &plain{w: &b}
	for _, text := range []string{"a\xc2", "\x9b31m\xe2\x80", "x\n"} {
		if _, err := p.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if want := `a\u009b31m\xe2\x80` + "x\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestPrintJSON wants JSON that a terminal can show, and that means what was to be printed.
func TestPrintJSON(t *testing.T) {
	t.Parallel()
	text := "a\x1b\x7f\u0085\u009b31m\u202e\u2028\t\n\\ é <&> 🙂 \x9b"
	var b strings.Builder
	if err := printJSON(&b, map[string]string{"name": text}); err != nil {
		t.Fatal(err)
	}
	want := "{\n  \"name\": \"a\\u001b\\u007f\\u0085\\u009b31m\\u202e\\u2028\\t\\n\\\\ é <&> 🙂 \\ufffd\"\n}\n"
	if b.String() != want {
		t.Errorf("%s, want %s", b.String(), want)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil || got["name"] != strings.ToValidUTF8(text, "\ufffd") {
		t.Errorf("%q, %v, want %q", got["name"], err, text)
	}
}

// FuzzPlain wants nothing that a terminal obeys, wherever a text is cut in two.
func FuzzPlain(f *testing.F) {
	f.Add([]byte("a\x1b[31m\u009b\u202e\x9b é🙂\n"), 4)
	f.Add([]byte("\xf0\x9f\x99\x80\xc2"), 2)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		var b bytes.Buffer
		p := &plain{w: &b}
		at = max(0, min(at, len(text)))
		for _, part := range [][]byte{text[:at], text[at:], []byte("\n")} {
			if n, err := p.Write(part); err != nil || n != len(part) {
				t.Fatalf("wrote %d of %d, %v", n, len(part), err)
			}
		}
		if got, want := b.String(), plainText(string(text)+"\n"); got != want {
			t.Errorf("cut at %d: %q, want %q", at, got, want)
		}
		for _, r := range b.String() {
			if !isPlain(r) {
				t.Errorf("%q is in %q", r, b.String())
			}
		}
		if !utf8.Valid(b.Bytes()) || plainText(b.String()) != b.String() {
			t.Errorf("%q is not plain", b.String())
		}
	})
}
