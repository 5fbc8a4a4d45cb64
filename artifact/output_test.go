package artifact

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/schema/pyreader"
)

func TestCheckOutput(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"input", "old"} {
		if err := os.WriteFile(at(name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(at("folder"), 0o777); err != nil {
		t.Fatal(err)
	}
	linked := os.Symlink("input", at("link")) == nil
	for _, c := range []struct {
		path string
		want error
		says string
	}{
		{at("new"), nil, ""},
		{at("old"), nil, ""},
		{"a name without a folder", nil, ""},
		{at("folder"), fs.ErrExist, "is a folder"},
		{at("folder") + string(filepath.Separator), fs.ErrExist, "is a folder"},
		{at("none") + string(filepath.Separator), fs.ErrInvalid, "the name of a file"},
		{at(filepath.Join("none", "new")), fs.ErrNotExist, "there is no folder " + at("none")},
		{os.DevNull, fs.ErrExist, "is not a regular file"},
		{at("input"), fs.ErrExist, "would be overwritten while it is read"},
		{dir + string(filepath.Separator) + "." + string(filepath.Separator) + "input", fs.ErrExist, "would be overwritten while it is read"},
		{at("link"), fs.ErrExist, "would be overwritten while it is read"},
	} {
		if c.path == at("link") && !linked {
			continue
		}
		err := CheckOutput(c.path, at("missing"), at("input"))
		var e *Error
		if c.want == nil && err == nil {
			continue
		}
		if !errors.Is(err, c.want) || !errors.As(err, &e) || e.File != c.path || !strings.Contains(e.Detail, c.says) {
			t.Errorf("%s: %v, want %v that says %q", c.path, err, c.want, c.says)
		}
	}
}

// An error says what it knows of.
func TestErrorText(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*Error{
		"truncated":                            {Offset: -1, Err: ErrTruncated},
		"f: truncated":                         {File: "f", Offset: -1, Err: ErrTruncated},
		"f: at byte 0: corrupt":                {File: "f", Err: ErrCorrupt},
		"header: 3 of 4":                       {Offset: -1, Thing: "header", Detail: "3 of 4"},
		"f: at byte 9: header: 3 (corrupt)":    {File: "f", Offset: 9, Thing: "header", Detail: "3", Err: ErrCorrupt},
		"open: no such file or directory":      {Offset: -1, Thing: "open", Err: errors.New("no such file or directory")},
		"f: is a folder (file already exists)": {File: "f", Offset: -1, Detail: "is a folder", Err: fs.ErrExist},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
