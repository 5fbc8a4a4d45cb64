package recipe

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, r := range []rune{
		0, '\t', '\n', 0x1b, 0x1f, 0x7f, 0x80, 0x85, 0x9b, 0x9f, // control characters
		0x2028, 0x2029, // line and paragraph separator
		0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069, // bidirectional controls
	} {
		wrong := checkName("layer" + string(r) + "é")
		if !strings.HasSuffix(wrong, " has a control character") || strings.ContainsRune(wrong, r) {
			t.Errorf("%U: %q", r, wrong)
		}
		if got := printable("layer" + string(r) + "é"); got != "layer?é" {
			t.Errorf("%U is printed: %q", r, got)
		}
	}
	for _, name := range []string{
		" ", "~", "é", "→", "a\u00a0b", "\u2027", "\u202f", "\u2065", "\u206a", "重み", "🎤", "👩‍🔬", strings.Repeat("n", maxName),
	} {
		if wrong := checkName(name); wrong != "" {
			t.Errorf("%q %s", name, wrong)
		}
		if got := printable(name); len(name) < maxName && got != name {
			t.Errorf("%q is printed: %q", name, got)
		}
	}
	for name, want := range map[string]string{
		"":                             "is empty",
		"a\xff":                        "is not UTF-8",
		strings.Repeat("n", maxName+1): "has 1025 bytes, at most 1024 are allowed",
	} {
		if wrong := checkName(name); wrong != want {
			t.Errorf("%q %q, want %q", name, wrong, want)
		}
	}
}
