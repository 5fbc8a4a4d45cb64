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
