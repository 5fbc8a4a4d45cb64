package targets

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReleaseOptions(t *testing.T) { // not parallel: it changes the current folder
	p, _ := newProject(t, map[string]string{"sub/x.go": "package sub\n"})
	manifest, out := "other.txtpb", "made"
	tests := []struct {
		name, dir     string
		manifest, out *string
		wantManifest  string
		wantOut       string
	}{
		{"defaults at the root", ".", nil, nil, filepath.FromSlash(defaultRelease), defaultOut},
		{"defaults below it", "sub", nil, nil, filepath.Join(p.root, filepath.FromSlash(defaultRelease)), filepath.Join(p.root, defaultOut)},
		{"given at the root", ".", &manifest, &out, manifest, out},
		{"given below it", "sub", &manifest, &out, manifest, out},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(filepath.Join(p.root, test.dir))
			got := releaseOptions(p, test.manifest, test.out)
			if got.Manifest != test.wantManifest || got.Out != test.wantOut || got.Progress == nil {
				t.Errorf("got %+v, want manifest %s and out %s", got, test.wantManifest, test.wantOut)
			}
		})
	}
}

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
