package release

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"npuw/pipeline"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// later is a cache for which all files were changed long ago.
func later(path string) *cache {
	c := openCache(path)
	c.now = func() time.Time { return time.Now().Add(time.Hour) }
	return c
}

func needsIdentity(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("nothing is remembered of files on this system")
	}
}

// What is unchanged is not read again; any change of a file, also one that its time and size do not show, has it read again.
func TestCacheOfFiles(t *testing.T) {
	t.Parallel()
	needsIdentity(t)
	dir := pyreader.TempDir(t)
	path, cachePath := filepath.Join(dir, "file"), filepath.Join(dir, "sub", "cache")
	write(t, path, "one")
	c := later(cachePath)
	first, err := c.fileDigest(t.Context(), path)
	must(t, err)
	c.save()
	known := func() bool {
		c := later(cachePath)
		f, err := source.OpenFile(path)
		must(t, err)
		defer f.Close()
		key, _, err := c.open(f)
		must(t, err)
		d, ok := c.get(key, "file")
		return ok && d == first.SHA256
	}
	if !known() {
		t.Fatal("the digest is not remembered")
	}
	must(t, os.Rename(path, path+"2"))
	must(t, os.Rename(path+"2", path))
	info, err := os.Stat(path)
	must(t, err)
	for range 100 { // until the clock of the file system has moved on
		time.Sleep(time.Millisecond)
		write(t, path, "two")
		must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		if !known() {
			break
		}
	}
	again, err := c.fileDigest(t.Context(), path)
	must(t, err)
	if known() || again.SHA256 == first.SHA256 {
		t.Error("a change was not seen")
	}
}

// What was changed just before it was read is not remembered.
func TestRacy(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "file")
	write(t, path, "one")
	c := openCache(filepath.Join(dir, "cache"))
	for _, when := range []time.Duration{0, -time.Hour, time.Second} { // an hour ago: the clock was set back since
		c.now = func() time.Time { return time.Now().Add(when) }
		_, err := c.fileDigest(t.Context(), path)
		must(t, err)
		if len(c.entries) > 0 {
			t.Errorf("%v after the change: remembered", when)
		}
	}
	c.save()
	if _, err := os.Stat(c.path); err == nil {
		t.Error("a cache of nothing was written")
	}
}

// The digests of a model's parameters are remembered all together, and by where they are.
func TestCacheOfParameters(t *testing.T) {
	t.Parallel()
	needsIdentity(t)
	dir := pyreader.TempDir(t)
	path, cachePath := filepath.Join(dir, "model.onnx"), filepath.Join(dir, "cache")
	form, err := little.With("external")
	must(t, err)
	must(t, whisperonnx.Write(path, form))
	b, err := pipeline.Prepare(path, "")
	must(t, err)
	defer b.Close()
	c := later(cachePath)
	s := sourceDigests{c, b}
	if _, known := s.cached(); known {
		t.Fatal("known before it was read")
	}
	list, err := s.all(t.Context())
	must(t, err)
	c.save()
	s.cache = later(cachePath)
	if again, known := s.cached(); !known || !slices.Equal(again, list) {
		t.Error("not remembered")
	}
	plain, err := sourceDigests{nil, b}.all(t.Context())
	must(t, err)
	if !slices.Equal(plain, list) {
		t.Error("other digests without a cache")
	}
	p := &b.Model.Parameters[0]
	p.Tensor.Data.Offset++
	if _, known := s.cached(); known {
		t.Error("known, though it lies elsewhere")
	}
	p.Tensor.Data.Offset--
	p.Tensor.Data.Decoder = decoder{}
	if _, known := s.cached(); known {
		t.Error("known, though it is computed")
	}
	p.Tensor.Data.Decoder = nil
	external := path + "_data"
	now := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(external, now, now))
	if _, known := s.cached(); known {
		t.Error("known, though a file of it was touched")
	}
}

type decoder struct{ source.Decoder }

// A damaged cache is as none.
func TestDamagedCache(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "file")
	write(t, path, "one")
	c := later(filepath.Join(dir, "cache"))
	_, err := c.fileDigest(t.Context(), path)
	must(t, err)
	c.save()
	good, err := os.ReadFile(c.path)
	if err != nil {
		t.Skip("nothing is remembered of files on this system")
	}
	for at := range good {
		bad := append([]byte{}, good...)
		bad[at] ^= 1
		write(t, c.path, string(bad))
		if n := len(openCache(c.path).entries); n > 0 {
			t.Fatalf("byte %d is flipped: %d entries", at, n)
		}
	}
	must(t, os.Remove(c.path))
	must(t, os.Mkdir(c.path, 0o777)) // cannot be written, either
	c = later(c.path)
	_, err = c.fileDigest(t.Context(), path)
	must(t, err)
	c.save()
	if list := files(t, dir); strings.Contains(strings.Join(list, " "), "tmp") {
		t.Errorf("left behind: %v", list)
	}
}

// The cache forgets what was not used for longest.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := later(filepath.Join(pyreader.TempDir(t), "cache"))
	for i := range maxCached + 10 {
		c.entries[string(rune('a'+i%26))+strings.Repeat("x", i)] = &cached{Used: int64(i), Digests: map[string]Digest{}}
	}
	c.changed = true
	c.save()
	again := openCache(c.path)
	if len(again.entries) != maxCached {
		t.Errorf("%d entries, expected %d", len(again.entries), maxCached)
	}
	for _, e := range again.entries {
		if e.Used < 10 {
			t.Errorf("the entry used at %d is there", e.Used)
		}
	}
}

// place must say all of what a tensor is made of: a field that it leaves out would let other bytes pass for those remembered.
func TestPlaceKnowsEveryField(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		of     any
		fields string
	}{
		{source.Tensor{}, "Name Type Shape Data Stored Codes"}, // Codes come with a Decoder
		{source.Data{}, "File Offset Size Run Apart Inline Decoder"},
	} {
		var names []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(test.of)) {
			names = append(names, f.Name)
		}
		if got := strings.Join(names, " "); got != test.fields {
			t.Errorf("%T has fields %s, place knows %s: have it say the new ones, then change this test", test.of, got, test.fields)
		}
	}
}
