package weights

import (
	"os"
	"path/filepath"
	"testing"

	"npuw/schema/pyreader"
)

func TestReleaseOptions(t *testing.T) { // not parallel: it changes the current folder
	root := pyreader.TempDir(t)
	write(t, filepath.Join(root, "go.mod"), "module example.test/m\n\ngo 1.26\n")
	write(t, filepath.Join(root, "sub", "x.go"), "package sub\n")
	manifest, out := "other.txtpb", "made"
	tests := []struct {
		name, dir     string
		manifest, out *string
		wantManifest  string
		wantOut       string
	}{
		{"defaults at the root", ".", nil, nil, filepath.FromSlash(DefaultRelease), DefaultOut},
		{"defaults below it", "sub", nil, nil, filepath.Join(root, filepath.FromSlash(DefaultRelease)), filepath.Join(root, DefaultOut)},
		{"given at the root", ".", &manifest, &out, manifest, out},
		{"given below it", "sub", &manifest, &out, manifest, out},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(filepath.Join(root, test.dir))
			got, err := releaseOptions(test.manifest, test.out)
			if err != nil || got.Manifest != test.wantManifest || got.Out != test.wantOut || got.Progress == nil {
				t.Errorf("got %+v, %v, want manifest %s and out %s", got, err, test.wantManifest, test.wantOut)
			}
		})
	}
	t.Chdir(pyreader.TempDir(t))
	if got, err := releaseOptions(nil, nil); err == nil {
		t.Errorf("outside any module: got %+v, want an error", got)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
