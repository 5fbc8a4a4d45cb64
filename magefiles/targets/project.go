package targets

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/magefile/mage/mg"

	"npuw/magefiles/internal/call"
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
	root, err := call.Root(dir)
	if err != nil {
		return nil, err
	}
	return &project{root: root, stdout: os.Stdout, stderr: os.Stderr, verbose: mg.Verbose()}, nil
}

// path is call.Path from the root.
func (p *project) path(name string) string { return call.Path(p.root, name) }

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
