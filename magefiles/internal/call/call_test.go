package call

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRoot(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{"a/b", "inner"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "inner/go.mod"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("module m\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]string{".": ".", "a": ".", "a/b": ".", "inner": "inner"} {
		got, err := Root(filepath.Join(root, dir))
		if want = filepath.Join(root, want); err != nil || got != want {
			t.Errorf("from %s: got %q, %v, want %q", dir, got, err, want)
		}
	}
	if got, err := Root(t.TempDir()); err == nil {
		t.Errorf("outside any module: got %q, want an error", got)
	}
}

func TestPath(t *testing.T) { // not parallel: it changes the current folder
	root := t.TempDir()
	t.Chdir(root)
	if got, want := Path(root, "a/b"), filepath.Join("a", "b"); got != want {
		t.Errorf("at the root: got %q, want %q", got, want)
	}
	t.Chdir(t.TempDir())
	if got, want := Path(root, "a/b"), filepath.Join(root, "a", "b"); got != want {
		t.Errorf("elsewhere: got %q, want %q", got, want)
	}
}

func TestGiven(t *testing.T) {
	t.Parallel()
	zero := 0
	if got := Given(&zero, 5); got != 0 {
		t.Errorf("a flag given as 0: got %d", got)
	}
	if got := Given(nil, 5); got != 5 {
		t.Errorf("a flag left out: got %d, want the default 5", got)
	}
}
