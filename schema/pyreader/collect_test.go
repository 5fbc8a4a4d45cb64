package pyreader

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newCollection is one whose reader in Go refuses what has "bad" in it.
func newCollection(t *testing.T) *collection {
	t.Helper()
	c := &collection{seen: map[digest]bool{}, damaged: map[string]bool{}}
	c.verify = func(path string) error {
		if bytes.Contains(contentOf(t, path), []byte("bad")) {
			return errors.New("it is bad")
		}
		return nil
	}
	t.Cleanup(func() { os.RemoveAll(c.folder) })
	return c
}

// made is a file that begins as an artifact, of a digest; the rest of its text comes after.
func made(digest byte, text string) string {
	header := []byte(magic + strings.Repeat("\x00", headerBytes-len(magic)))
	header[digestAt] = digest
	return string(header) + text
}

// write writes files into a folder.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
}

func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// contents are those of what is kept, without the headers.
func (c *collection) contents(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, a := range c.kept {
		list = append(list, string(contentOf(t, a.path)[headerBytes:]))
	}
	slices.Sort(list)
	return list
}

func TestCollect(t *testing.T) {
	t.Parallel()
	c, dir := newCollection(t), t.TempDir()
	write(t, dir, map[string]string{
		"a.npuw": made(1, "a"), "again.npuw": made(1, "a"), "deep/er/b": made(2, "b"), "model.onnx": "no artifact", "empty": "",
	})
	o := &outcome{TB: t}
	c.collect(o, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := c.contents(t); !slices.Equal(got, []string{"a", "b"}) || o.failed != "" {
		t.Errorf("kept %q, failed %q", got, o.failed)
	}
	if want := "TestCollect, " + filepath.Join("deep", "er", "b"); c.kept[len(c.kept)-1].from != want {
		t.Errorf("%q was made by %q", want, c.kept[len(c.kept)-1].from)
	}
	c.collect(o, dir)
	if o.failed != "" {
		t.Errorf("a folder that the test has removed: %q", o.failed)
	}
}

// What is not sound fails the test, unless the test has said so before: then what was there is kept.
func TestDamage(t *testing.T) {
	t.Parallel()
	c, dir := newCollection(t), t.TempDir()
	write(t, dir, map[string]string{"bad.npuw": made(1, "bad"), "short.npuw": magic + "bad", "good.npuw": made(2, "good")})
	o := &outcome{TB: t}
	c.collect(o, dir)
	for _, want := range []string{"refuses bad.npuw: it is bad", "refuses short.npuw: it is bad", "pyreader.Damage"} {
		if !strings.Contains(o.failed, want) {
			t.Errorf("failed %q, want %q", o.failed, want)
		}
	}
	if got := c.contents(t); !slices.Equal(got, []string{"good"}) {
		t.Errorf("kept %q", got)
	}

	c, o = newCollection(t), &outcome{TB: t}
	for _, name := range []string{"bad.npuw", "short.npuw", "good.npuw", "good.npuw", "none.npuw"} {
		if err := c.damage("test", filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	write(t, dir, map[string]string{"good.npuw": made(2, "bad now"), "none.npuw": made(3, "bad")})
	c.collect(o, dir)
	if got := c.contents(t); !slices.Equal(got, []string{"good"}) || o.failed != "" {
		t.Errorf("kept %q, failed %q", got, o.failed)
	}
}

func TestCollectWithoutTestMain(t *testing.T) {
	t.Parallel()
	var none *collection
	dir := t.TempDir()
	o := &outcome{TB: t}
	write(t, dir, map[string]string{"model.onnx": "no artifact"})
	none.collect(o, dir)
	if o.failed != "" {
		t.Errorf("without artifacts: failed %q", o.failed)
	}
	write(t, dir, map[string]string{"a.npuw": made(1, "a")})
	none.collect(o, dir)
	if !strings.Contains(o.failed, "a.npuw is an artifact: this package needs a TestMain") {
		t.Errorf("failed %q", o.failed)
	}
}

// collectedOne makes a collection of one file that begins as an artifact, to be compared.
func collectedOne(t *testing.T) *Tests {
	t.Helper()
	c, dir := newCollection(t), t.TempDir()
	write(t, dir, map[string]string{"a.npuw": made(1, "a")})
	c.collect(&outcome{TB: t}, dir)
	return &Tests{kept: c, compare: func(string, *Answer) []string { return nil }}
}

func TestCompareKept(t *testing.T) {
	t.Parallel()
	x := collectedOne(t)
	if x.kept.missing != nil {
		t.Skip(x.kept.missing)
	}
	var b strings.Builder
	if x.compareKept(&b) {
		t.Error("an artifact that npuw.py refuses passes")
	}
	for _, want := range []string{"--- FAIL: ", "TestCompareKept, a.npuw", "npuw.py finds it faulty: byte 8: version"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in %s", want, &b)
		}
	}
	_, rest, _ := strings.Cut(b.String(), "it is now ")
	path, _, _ := strings.Cut(rest, "\n")
	if got := string(contentOf(t, path)); got != made(1, "a") {
		t.Errorf("left for a look: %q", got)
	}
	os.Remove(path)

	x.kept.python.script = filepath.Join(t.TempDir(), "npuw.py")
	b.Reset()
	if x.compareKept(&b) || !strings.Contains(b.String(), "its answer cannot be read") || !strings.Contains(b.String(), "npuw") {
		t.Errorf("without npuw.py: %s", &b)
	}
	x.kept.kept = nil
	b.Reset()
	if !x.compareKept(&b) || b.Len() > 0 {
		t.Errorf("with nothing kept: %s", &b)
	}
}

// Where there is no python3, a line says that nothing was compared; in CI it is a failure.
func TestCompareKeptWithoutPython(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	x := collectedOne(t)
	for ci, want := range map[string]string{
		"":     "python3 is not installed: 1 artifacts are not compared with schema/npuw.py\n",
		"true": "--- FAIL: schema/npuw.py is needed to check 1 artifacts: python3 is not installed\n",
	} {
		t.Setenv("CI", ci)
		var b strings.Builder
		if passed := x.compareKept(&b); passed != (ci == "") || b.String() != want {
			t.Errorf("CI=%q: passed is %v, %q", ci, passed, &b)
		}
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	var kept []artifact
	for i := range 20 {
		kept = append(kept, artifact{bytes: processBytes / 10 * int64(1+i%3)})
	}
	total := 0
	for _, share := range shares(kept, WholeBytes) {
		if len(share) == 0 {
			t.Error("a process has nothing to do")
		}
		total += len(share)
	}
	if total != len(kept) {
		t.Errorf("%d artifacts are shared out, there are %d", total, len(kept))
	}
	if n := len(shares(kept[:1], WholeBytes)); n != 1 {
		t.Errorf("%d processes for one artifact", n)
	}
}
