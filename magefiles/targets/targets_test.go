package targets

import (
	"os"
	"path/filepath"
	"testing"
)

func TestClean(t *testing.T) { // not parallel: it changes the current folder
	p, _ := newProject(t, map[string]string{"dist/a/b.npuw": "1", "sub/dist/keep": "2"})
	t.Chdir(filepath.Join(p.root, "sub"))
	for range 2 { // with nothing to remove, too
		if err := Clean(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(p.root, "dist")); !os.IsNotExist(err) {
		t.Errorf("dist is still there (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(p.root, "sub", "dist", "keep")); err != nil {
		t.Errorf("clean removed more than dist at the root: %v", err)
	}
}
