package weights

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"npuw/pipeline/release"
	"npuw/schema/pyreader"
)

// importer is a project that imports the targets: a module of its own, with npuw by a replace directive.
type importer struct{ root, cache string }

// newImporter makes one with npuw's models and manifest where npuw has them, and the same manifest at the top. Its go.sum is npuw's.
func newImporter(t *testing.T, npuw string) importer {
	t.Helper()
	p := importer{root: pyreader.TempDir(t), cache: pyreader.TempDir(t)}
	if err := os.CopyFS(filepath.Join(p.root, "testdata"), os.DirFS(filepath.Join(npuw, "testdata"))); err != nil {
		t.Fatal(err)
	}
	goLine, _ := goVersion(t)
	manifest := string(read(t, filepath.Join(npuw, DefaultRelease)))
	for name, text := range map[string]string{
		"go.mod": fmt.Sprintf("module example.test/importer\n\ngo %s\n\nrequire npuw v0.0.0\n\nreplace npuw => %q\n\ntool github.com/magefile/mage\n",
			goLine, filepath.ToSlash(npuw)),
		"go.sum":                string(read(t, filepath.Join(npuw, "go.sum"))),
		"magefiles/magefile.go": "//go:build mage\n\npackage main\n\nimport (\n\t//mage:import\n\t_ \"npuw/magefiles/weights\"\n)\n",
		"release.txtpb":         strings.ReplaceAll(manifest, `source: "`, `source: "testdata/`),
	} {
		write(t, filepath.Join(p.root, filepath.FromSlash(name)), text)
	}
	// What `go mod tidy` writes to go.mod. That asks for what the tests of dependencies need, too, which nothing may have downloaded.
	p.run(t, "GOFLAGS=-mod=mod", "list", "-deps", "-tags=mage", "./...")
	return p
}

// mage calls mage there.
func (p importer) mage(t *testing.T, args ...string) string {
	t.Helper()
	return p.run(t, "GOFLAGS=", append([]string{"tool", "mage"}, args...)...)
}

// run calls the go command there, without a network and with one more variable, and returns what it printed.
func (p importer) run(t *testing.T, env string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = p.root
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAGEFILE_") }) // of a mage that runs this test
	cmd.Env = append(cmd.Env, "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "MAGEFILE_CACHE="+p.cache, env)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %q: %v\n%s%s", args, err, out, &stderr)
	}
	return string(out)
}

func TestImport(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another project")
	}
	t.Parallel()
	npuw, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	own := pyreader.TempDir(t)
	if err := release.Build(t.Context(), release.Options{
		Manifest: filepath.Join(npuw, filepath.FromSlash(DefaultRelease)), Out: own, Progress: io.Discard,
	}); err != nil {
		t.Fatal(err)
	}
	p := newImporter(t, npuw)

	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^  (\S+)`).FindAllStringSubmatch(p.mage(t, "-l"), -1) {
		listed = append(listed, m[1])
	}
	if want := []string{"build:plan", "build:weights", "release:plan", "release:verify"}; !slices.Equal(listed, want) {
		t.Errorf("mage -l lists %q, want %q", listed, want)
	}

	calls := examples(t)
	calls["no flags"] = [][]string{{"build:weights"}}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		dist := filepath.Join(p.root, DefaultOut)
		if err := os.RemoveAll(dist); err != nil {
			t.Fatal(err)
		}
		for _, args := range calls[name] {
			p.mage(t, args...)
		}
		if got, want := digests(t, dist), digests(t, own); len(want) == 0 || !maps.Equal(got, want) {
			t.Errorf("%s: made %v, and npuw's own build %v", name, got, want)
		}
	}
}

// digests are those of the files in a folder and below, by name.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			found[name] = fmt.Sprintf("%x", sha256.Sum256(read(t, filepath.Join(dir, filepath.FromSlash(name)))))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
