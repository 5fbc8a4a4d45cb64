package whole_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/internal/whole"
	"npuw/artifact/internal/whole/wholetest"
)

// write writes a file whole, and gives the calls that it took, without names.
func write(t *testing.T, system *wholetest.Faulty, path string, sync bool) ([]string, error) {
	t.Helper()
	f, err := whole.Create(system, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if _, err := f.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	err = f.Commit(sync)
	var calls []string
	for _, call := range system.Calls() {
		call, _, _ = strings.Cut(call, " ")
		calls = append(calls, call)
	}
	return calls, err
}

// What makes the file durable comes in an order: the bytes are on the disk before they have their name, and the name after it.
func TestCommitOrder(t *testing.T) {
	t.Parallel()
	for _, sync := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "file")
		calls, err := write(t, &wholetest.Faulty{}, path, sync)
		if b, read := os.ReadFile(path); err != nil || read != nil || string(b) != "new" {
			t.Fatalf("%q, %v, %v", b, err, read)
		}
		want := []string{"write", "sync", "rename", "sync", "close"} // the lock is held until the name is there
		if runtime.GOOS == "windows" {
			want = []string{"write", "sync", "close", "rename", "sync"}
		}
		if !sync {
			want = slices.DeleteFunc(want, func(call string) bool { return call == "sync" })
		}
		if got := calls[slices.Index(calls, "write"):]; !slices.Equal(got, want) {
			t.Errorf("sync %t: %q, want %q", sync, got, want)
		}
	}
}

// A file whose bytes may not be on the disk does not get the name.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	calls, err := write(t, &wholetest.Faulty{}, filepath.Join(t.TempDir(), "file"), true)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	faulty := &wholetest.Faulty{At: 1 + slices.Index(calls, "sync"), Fault: func(string) error { return broken }}
	if _, err := write(t, faulty, path, true); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	entries, err := os.ReadDir(dir)
	if b, read := os.ReadFile(path); err != nil || read != nil || string(b) != "old" || len(entries) != 1 {
		t.Errorf("%q (%v) among %v (%v); the old file alone was expected", b, read, entries, err)
	}
}

// Another builder that finds the temporary file before it is locked takes it for stale and removes it: then there is a new one.
func TestRemovedBeforeItIsLocked(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("open files are not removed there")
	}
	calls, err := write(t, &wholetest.Faulty{}, filepath.Join(t.TempDir(), "file"), false)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	removed := ""
	system := &wholetest.Faulty{At: 1 + slices.Index(calls, "lock"), Fault: func(call string) error {
		_, name, _ := strings.Cut(call, " ")
		removed = filepath.Join(dir, name)
		return os.Remove(removed)
	}}
	f, err := whole.Create(system, filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if _, err := os.Stat(f.Name()); err != nil || removed == "" || f.Name() == removed {
		t.Errorf("%s was removed, %s is there instead: %v", removed, f.Name(), err)
	}
}
