package pyreader

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// magic is at the beginning of every artifact: FORMAT.md, section 1.
const magic = "\x89NPUW\r\n\x1a"

// A digest is the last field of a header. That of a sound artifact names the content of the whole file.
type digest [16]byte

const (
	headerBytes = 256
	digestAt    = headerBytes - len(digest{})
)

// collection is what the tests of a package have made.
type collection struct {
	verify func(path string) error // by the reader in Go

	mu      sync.Mutex
	folder  string          // of what is kept; empty: none yet
	kept    []artifact      // all sound
	seen    map[digest]bool // of what is kept
	damaged map[string]bool // paths
	python  *python
	missing error // why python is nil
}

// artifact is one that is kept.
type artifact struct {
	path  string // of the copy
	from  string // the test that made it, and its path there
	bytes int64
}

// collected is what Compared set up. The tests of a package have nothing but variables in common with its TestMain.
var collected *collection

// TempDir is t.TempDir for tests that can make artifacts: what lies in the folder when the test ends is compared with npuw.py when all
// tests have ended.
func TempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if !inTest(t) {
		return dir
	}
	t.Cleanup(func() { // runs before that of t.TempDir
		if !t.Failed() {
			collected.collect(t, dir)
		}
	})
	return dir
}

// inTest is false in benchmarks and in fuzzing, which make artifacts without end.
func inTest(t any) bool {
	if _, ok := t.(*testing.B); ok {
		return false
	}
	for _, name := range []string{"test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != f.DefValue {
			return false
		}
	}
	return true
}

// A named test, or script.
type named interface {
	Name() string
	Fatalf(format string, args ...any)
}

// Damage says that the file at path will not be a sound artifact from now on, and keeps what is there, if that is one. t is a test or a
// script.
func Damage(t named, path string) {
	if collected != nil && inTest(t) {
		if err := collected.damage(t.Name(), path); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// collect keeps every artifact in a folder and those under it.
func (c *collection) collect(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || c.isDamaged(path) {
			return err
		}
		d, ok, err := readDigest(path)
		if err != nil || !ok {
			return err
		}
		name, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case c == nil:
			t.Errorf("%s is an artifact: this package needs a TestMain with pyreader.Compared, so that npuw.py is compared on it", name)
			return nil
		}
		if err := c.verify(path); err != nil {
			t.Errorf("the reader in Go refuses %s: %s\nif the test wants that, it must call pyreader.Damage before", name, strings.TrimSpace(err.Error()))
			return nil
		}
		return c.keep(d, path, t.Name()+", "+name, os.Link)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("looking for artifacts: %v", err)
	}
}

// damage is Damage in a test.
func (c *collection) damage(test, path string) error {
	path, err := filepath.Abs(path)
	if err != nil || c.isDamaged(path) {
		return err
	}
	d, ok, err := readDigest(path)
	if err == nil && ok && c.verify(path) == nil {
		err = c.keep(d, path, test+", "+filepath.Base(path)+" before it was damaged", copyFile)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.damaged[path] = true
	return nil
}

func (c *collection) isDamaged(path string) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.damaged[path]
}

// keep keeps the artifact with a digest, unless it has been kept, putting it into the folder with put.
func (c *collection) keep(d digest, path, from string, put func(from, to string) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[d] {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if c.folder == "" {
		if c.folder, err = os.MkdirTemp("", "npuw-kept-"); err != nil {
			return err
		}
		c.python, c.missing = findPython() // here, while the go command watches what is looked at
		required()
	}
	to := filepath.Join(c.folder, strconv.Itoa(len(c.kept))+".npuw")
	if err := put(path, to); err != nil {
		if err := copyFile(path, to); err != nil { // no links there
			return err
		}
	}
	c.seen[d] = true
	c.kept = append(c.kept, artifact{to, from, info.Size()})
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// readDigest reads the digest of a file's header. ok says that it begins as an artifact.
func readDigest(path string) (d digest, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return digest{}, false, err
	}
	defer f.Close()
	var b [headerBytes]byte
	if _, err := io.ReadFull(f, b[:]); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return digest{}, false, fmt.Errorf("%s: %w", path, err)
	}
	return digest(b[digestAt:]), string(b[:len(magic)]) == magic, nil
}
