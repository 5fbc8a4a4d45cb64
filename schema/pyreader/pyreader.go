// Package pyreader lets tests ask npuw.py, the reader of artifacts that was written from FORMAT.md alone, what it makes of a
// file, and compare that with what a reader in Go says:
//
//	f, err := artifact.Open(path)
//	...
//	pyreader.Compare(t, path, f, f.Index.List(true))
//
// It starts one Python process for each call. Where there is no python3 the test is skipped, unless CI is set in the environment: then
// it fails.
package pyreader

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// driver prints a line of JSON, an Answer, then the bytes of each of its values: those of f32, then of raw.
//
//go:embed driver.py
var driver string

// Answer is what npuw.py says of an artifact.
type Answer struct {
	Listing json.RawMessage // what `npuw.py list --json` prints
	Values  []Values
}

// Values are those of an operand or a parameter: row-major, little-endian, without padding. Operands come in the logical order of
// their axes, parameters in their own shape.
type Values struct {
	Name    string
	Operand bool   // else a parameter
	Float32 []byte // nil if they cannot be decoded
	Raw     []byte // in the element format they are stored in; nil if they have no one form
}

// Read verifies the artifact at path with npuw.py and reads all of it. A fault that npuw.py finds is fatal to the test.
func Read(t testing.TB, path string) *Answer {
	t.Helper()
	script := find(t)
	out, err := python(t, "-c", driver, filepath.Dir(script), path).Output()
	if err != nil {
		t.Fatalf("npuw.py refuses %s: %s", path, complaint(err))
	}
	a, err := parse(bufio.NewReader(bytes.NewReader(out)))
	if err != nil {
		t.Fatalf("npuw.py on %s: its answer cannot be read: %v", path, err)
	}
	return a
}

func parse(r *bufio.Reader) (*Answer, error) {
	var head struct {
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
	if err != nil {
		return nil, err
	}
	take := func(n int) []byte {
		if n < 0 || err != nil {
			return nil
		}
		b := make([]byte, n)
		_, err = io.ReadFull(r, b)
		return b
	}
	a := &Answer{Listing: head.Listing}
	for _, v := range head.Values {
		a.Values = append(a.Values, Values{v.Name, v.Operand, take(v.Float32), take(v.Raw)})
	}
	return a, err
}

// Verify gives the fault that `npuw.py verify` finds in each file, "" for a sound one.
func Verify(t testing.TB, paths ...string) []string {
	t.Helper()
	// An exit status other than 0 says that there are faults; those are in the output.
	out, err := python(t, append([]string{find(t), "verify"}, paths...)...).Output()
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(paths) {
		t.Fatalf("npuw.py verify: %d lines for %d files: %s", len(lines), len(paths), complaint(err))
	}
	faults := make([]string, len(paths))
	for i, line := range lines {
		verdict, told := strings.CutPrefix(line, paths[i]+": ")
		if !told || verdict == "" {
			t.Fatalf("npuw.py verify says %q of %s", line, paths[i])
		}
		if verdict != "ok" {
			faults[i] = verdict
		}
	}
	return faults
}

// python prepares a run of python3 that leaves no compiled files behind.
func python(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3 is needed to check artifacts with schema/npuw.py: %v", err)
		}
		t.Skip("python3 is not installed: artifacts are not checked with schema/npuw.py")
	}
	return exec.CommandContext(t.Context(), program, append([]string{"-I", "-B"}, args...)...)
}

// find gives the path of npuw.py in the module that the test belongs to.
func find(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		path := filepath.Join(at, "schema", "npuw.py")
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if at == filepath.Dir(at) {
			t.Fatalf("no schema/npuw.py above %s", dir)
		}
	}
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
