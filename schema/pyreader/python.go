package pyreader

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// driver prints for each artifact a line of JSON, an Answer or a fault, then the bytes of each of its values: those of f32, then of
// raw.
//
//go:embed driver.py
var driver string

// python runs npuw.py.
type python struct {
	program string
	script  string // the path of npuw.py in the module that the tests belong to
}

// errNoPython says that there is no python3.
var errNoPython = errors.New("python3 is not installed")

// findPython looks for python3 and npuw.py. What it looks at is part of what a test's result depends on: the go command repeats the
// last result until that changes.
func findPython() (*python, error) {
	program, err := exec.LookPath("python3")
	if err != nil {
		return nil, errNoPython
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for at := dir; ; at = filepath.Dir(at) {
		path := filepath.Join(at, "schema", "npuw.py")
		if _, err := os.Stat(path); err == nil {
			return &python{program, path}, nil
		}
		if at == filepath.Dir(at) {
			return nil, fmt.Errorf("no schema/npuw.py above %s", dir)
		}
	}
}

// required says that what cannot be checked for want of python3 fails.
func required() bool { return os.Getenv("CI") != "" }

// command prepares a run of python3 that leaves no compiled files behind.
func (p *python) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, p.program, append([]string{"-I", "-B"}, args...)...)
}

// limits say how much of an artifact is read.
type limits struct {
	whole  int64 // a larger file is not read whole
	sample int64 // elements that are read of a larger one
}

// read has npuw.py verify artifacts and read them, in one process, and calls each with what it says of every one in turn: an answer, or
// a fault.
func (p *python) read(ctx context.Context, l limits, paths []string, each func(path string, a *Answer, fault string)) error {
	args := []string{"-c", driver, filepath.Dir(p.script), strconv.FormatInt(l.whole, 10), strconv.FormatInt(l.sample, 10)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := p.command(ctx, append(args, paths...)...)
	var complaint bytes.Buffer
	c.Stderr = &complaint
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return fmt.Errorf("npuw.py: %w", err)
	}
	r := bufio.NewReader(out)
	for _, path := range paths {
		a, fault, err := parse(r)
		if err != nil {
			cancel()
			return fmt.Errorf("npuw.py on %s: its answer cannot be read: %w\n%s", path, errors.Join(err, c.Wait()), &complaint)
		}
		each(path, a, fault)
	}
	if err := c.Wait(); err != nil {
		return fmt.Errorf("npuw.py: %w\n%s", err, &complaint)
	}
	return nil
}

// parse reads what driver prints of one artifact: an answer, or a fault.
func parse(r *bufio.Reader) (a *Answer, fault string, err error) {
	var head struct {
		Fault   string
		Listing json.RawMessage
		Values  []struct {
			Name         string
			Operand      bool
			Float32, Raw int // bytes; -1: none
		}
	}
	line, err := r.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &head)
	}
	if err != nil || head.Fault != "" {
		return nil, head.Fault, err
	}
	take := func(n int) []byte {
		if n < 0 || err != nil {
			return nil
		}
		b := make([]byte, n)
		_, err = io.ReadFull(r, b)
		return b
	}
	a = &Answer{Listing: head.Listing}
	for _, v := range head.Values {
		a.Values = append(a.Values, Values{v.Name, v.Operand, take(v.Float32), take(v.Raw)})
	}
	return a, "", err
}

// complaint gives what a program that failed wrote on standard error.
func complaint(err error) string {
	if err == nil {
		return "no error"
	}
	if e, ok := err.(*exec.ExitError); ok && len(e.Stderr) > 0 {
		return strings.TrimSpace(string(e.Stderr))
	}
	return err.Error()
}
