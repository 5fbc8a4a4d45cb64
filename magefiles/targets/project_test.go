package targets

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/schema/pyreader"
)

// newProject makes a module of the files given by slash-separated path, with the default go.mod if there is none among them.
func newProject(t *testing.T, files map[string]string) (p *project, stdout *bytes.Buffer) {
	t.Helper()
	p = &project{root: pyreader.TempDir(t), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	if _, ok := files["go.mod"]; !ok {
		writeFile(t, p.root, "go.mod", "module example.test/m\n\ngo 1.26\n")
	}
	for name, text := range files {
		writeFile(t, p.root, name, text)
	}
	return p, p.stdout.(*bytes.Buffer)
}

func writeFile(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestModuleRoot(t *testing.T) {
	t.Parallel()
	p, _ := newProject(t, map[string]string{"a/b/c.go": "package b\n", "inner/go.mod": "module inner\n"})
	for dir, want := range map[string]string{".": ".", "a": ".", "a/b": ".", "inner": "inner"} {
		got, err := moduleRoot(filepath.Join(p.root, dir))
		if want = filepath.Join(p.root, want); err != nil || got != want {
			t.Errorf("from %s: got %q, %v, want %q", dir, got, err, want)
		}
	}
	if got, err := moduleRoot(pyreader.TempDir(t)); err == nil {
		t.Errorf("outside any module: got %q, want an error", got)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	p, stdout := newProject(t, nil)
	p.verbose = true
	if err := p.run(t.Context(), []string{"GOOS=plan9", "GOARCH=arm"}, "go", "env", "GOOS", "GOMOD"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(stdout.String()); len(got) != 2 || got[0] != "plan9" || !sameFile(t, got[1], filepath.Join(p.root, "go.mod")) {
		t.Errorf("output is %q: want plan9 and the go.mod of %s", got, p.root)
	}
	if got, want := p.stderr.(*bytes.Buffer).String(), "+ GOOS=plan9 GOARCH=arm go env GOOS GOMOD\n"; got != want {
		t.Errorf("verbose mode printed %q, want %q", got, want)
	}

	err := p.run(t.Context(), nil, "go", "no-such-command", strings.Repeat("long", maxLine))
	if err == nil || !strings.HasPrefix(err.Error(), "go no-such-command long") || len(err.Error()) > maxLine+50 {
		t.Errorf("got %v, want a short error that begins with the command", err)
	}

	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := p.run(stopped, nil, "go", "version"); err == nil {
		t.Error("a command under a cancelled context succeeded")
	}
}

// sameFile compares what two paths lead to, since a temporary folder may be reached through a link.
func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func TestGiven(t *testing.T) {
	t.Parallel()
	zero := 0
	if got := given(&zero, 5); got != 0 {
		t.Errorf("a flag given as 0: got %d", got)
	}
	if got := given(nil, 5); got != 5 {
		t.Errorf("a flag left out: got %d, want the default 5", got)
	}
}
