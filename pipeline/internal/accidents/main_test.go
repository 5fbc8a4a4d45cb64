package accidents

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/schema/pyreader"
)

// npuw is the path of the command.
var npuw string

func TestMain(m *testing.M) {
	run := pyreader.Compared(m, artifact.Open).Run
	if npuw = os.Getenv("NPUW_TEST_COMMAND"); npuw != "" { // in a program that a test starts
		os.Exit(run())
	}
	dir, err := os.MkdirTemp("", "npuw-accidents-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := withCommand(dir, run)
	os.RemoveAll(dir)
	os.Exit(status)
}

// withCommand builds the command into a folder, then calls run.
func withCommand(dir string, run func() int) int {
	npuw = filepath.Join(dir, "npuw")
	if runtime.GOOS == "windows" {
		npuw += ".exe"
	}
	const source = "../../../artifact/cmd/npuw"
	if files, err := filepath.Glob(source + "/*.go"); err == nil {
		for _, file := range files {
			_, _ = os.Stat(file) // by which the go command knows that the tests depend on it
		}
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", npuw, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // so that every call is one of the command's own, and none of a loader's
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return run()
}

// model writes a model, and packs it to know what comes of it.
func model(t *testing.T, c whisperonnx.Config) (path string, golden artifact.Digest) {
	t.Helper()
	dir := pyreader.TempDir(t)
	path = filepath.Join(dir, "model.onnx")
	if err := whisperonnx.Write(path, c); err != nil {
		t.Fatal(err)
	}
	return path, goldenOf(t, path, "")
}

// goldenOf is the digest that names what is packed of a model by a recipe.
func goldenOf(t *testing.T, path, recipe string) artifact.Digest {
	t.Helper()
	b, err := pipeline.Prepare(path, recipe)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	out := filepath.Join(pyreader.TempDir(t), "golden.npuw")
	if _, err := b.Pack(t.Context(), out, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	f, err := artifact.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Header.Digest
}

// state says what is at a path: "nothing", "before" where it has just that text, the digest of a sound artifact, or else what is wrong.
func state(path string) string {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "nothing"
	case err == nil && string(b) == "before":
		return "before"
	case err != nil:
		return err.Error()
	}
	f, err := artifact.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if err := f.Verify(); err != nil {
		return err.Error()
	}
	return f.Header.Digest.String()
}

// names are those of what is in a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// put makes a file that says "before" at a path.
func put(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("before"), 0o666); err != nil {
		t.Fatal(err)
	}
}
