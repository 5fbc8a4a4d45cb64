package portable

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a.npuw": "", "a/b c/d.npuw": "", ".hidden": "", "über/größe.npuw": "", "console.npuw": "", "com10": "", "a..b": "", "x/null": "",
		"":                                "is empty",
		"/a":                              "not a clean path",
		"..":                              "not a clean path",
		"../a":                            "not a clean path",
		"a/../b":                          "not a clean path",
		"a//b":                            "not a clean path",
		"a/":                              "not a clean path",
		"./a":                             "not a clean path",
		`a\b`:                             `'\\' in a name`,
		"a:b":                             "':' in a name",
		"a?":                              "'?' in a name",
		"a\nb":                            `'\n' in a name`,
		"a\x00":                           `'\x00' in a name`,
		"a/b./c":                          "ends in a dot or a space",
		"a ":                              "ends in a dot or a space",
		"con":                             "a device",
		"CON.npuw":                        "a device",
		"a/Nul.x.y":                       "a device",
		"com1.npuw":                       "a device",
		"LPT³":                            "a device",
		"aux .npuw":                       "a device",
		"\xff":                            "is not UTF-8",
		"a/conin$.x":                      "a device",
		strings.Repeat("n", MaxName+1):    "at most 200",
		strings.Repeat("n/", MaxPath/2+1): "at most 1024",
		strings.Repeat("n/", 31) + "n":    "",
		strings.Repeat("n/", 32) + "n":    "has 33 names",
	} {
		err := Check(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, expected %q", name, err, want)
		}
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	if Fold("A/ſ.npuw") != Fold("a/S.NPUW") || Fold("a") == Fold("b") {
		t.Error("names that differ in the case of letters are to be one, others are not")
	}
}
