package targets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/magefile/mage/mg"
)

// maxLine is how many bytes of a command an error repeats.
const maxLine = 200

// project is the module that the targets work on.
type project struct {
	root           string // absolute: the folder of go.mod
	stdout, stderr io.Writer
	verbose        bool // print every command before it runs
}

// openProject finds the project of the current folder.
func openProject() (*project, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	root, err := moduleRoot(dir)
	if err != nil {
		return nil, err
	}
	return &project{root: root, stdout: os.Stdout, stderr: os.Stderr, verbose: mg.Verbose()}, nil
}

// moduleRoot returns the nearest folder, from dir upwards, that holds a go.mod.
func moduleRoot(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		_, err := os.Stat(filepath.Join(at, "go.mod"))
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s: no go.mod here or above: run mage inside the project", dir)
		}
	}
}

// path returns a slash-separated path below the root in the system's form: relative when the current folder is the root, so
// that messages stay short.
func (p *project) path(name string) string {
	if dir, err := os.Getwd(); err == nil && dir == p.root {
		return filepath.FromSlash(name)
	}
	return filepath.Join(p.root, filepath.FromSlash(name))
}

// run runs a command at the root and passes its output through. Each env is a NAME=value beside the current environment.
func (p *project) run(ctx context.Context, env []string, name string, args ...string) error {
	return p.runTo(ctx, p.stdout, env, name, args...)
}

// runTo is run with the command's standard output going to w.
func (p *project) runTo(ctx context.Context, w io.Writer, env []string, name string, args ...string) error {
	line := strings.Join(append(append(append([]string{}, env...), name), args...), " ")
	if p.verbose {
		fmt.Fprintln(p.stderr, "+", line)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.root
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = w, p.stderr
	// Interrupted, the go command ends its children and removes its temporary files; killed, it does neither.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		if len(line) > maxLine {
			line = line[:maxLine] + "..."
		}
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// output runs a command at the root and returns what it printed.
func (p *project) output(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := p.runTo(ctx, &out, env, name, args...)
	return out.Bytes(), err
}

// tool runs one of the programs pinned in magefiles/tools.mod.
func (p *project) tool(ctx context.Context, w io.Writer, name string, args ...string) error {
	args = append([]string{"tool", "-modfile=" + filepath.Join("magefiles", "tools.mod"), name}, args...)
	return p.runTo(ctx, w, nil, "go", args...)
}
