// Package pyreader lets tests ask npuw.py, the reader of artifacts that was written from FORMAT.md alone, what it makes of their
// artifacts, and compares that with what a reader in Go says.
//
// Every artifact that a test makes is compared. Tests of packages that know artifacts make all their files in folders that TempDir
// gives, never t.TempDir (a test in npuw/magefiles/arch sees to it), and such a package has
//
//	func TestMain(m *testing.M) { os.Exit(pyreader.Compared(m, artifact.Open).Run()) }
//
// When a test ends, its folders are searched for artifacts, known by the magic at their beginning, whoever wrote them. Each is kept,
// if no other of the same content has been. When all tests of the package have ended, a few Python processes go through what was kept:
// npuw.py must find every artifact sound, and its listing and the values of each operand and parameter must be those of the reader in
// Go, byte for byte; see WholeBytes for large ones. Any difference fails the package's run and names the test.
//
// A test that damages an artifact, or makes one up that is not sound, says so with Damage. An artifact in a folder of TempDir that the
// reader in Go refuses, and of which nobody said so, fails its test. What a test removes or replaces before it ends is not seen, nor is
// what benchmarks and fuzzing make.
//
// Where there is no python3, tests that need it are skipped, and so is the comparison, with a line that says so; if CI is set in the
// environment they fail.
package pyreader

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

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
	var answer *Answer
	err := need(t).read(t.Context(), limits{whole: math.MaxInt64}, []string{path}, func(_ string, a *Answer, fault string) {
		if fault != "" {
			t.Fatalf("npuw.py refuses %s: %s", path, fault)
		}
		answer = a
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Verify gives the fault that `npuw.py verify` finds in each file, "" for a sound one.
func Verify(t testing.TB, paths ...string) []string {
	t.Helper()
	p := need(t)
	// An exit status other than 0 says that there are faults; those are in the output.
	out, err := p.command(t.Context(), append([]string{p.script, "verify"}, paths...)...).Output()
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

// Extract gives what `npuw.py values` writes of a parameter or operand, and what it says on standard error.
func Extract(t testing.TB, path, name string) (values []byte, said string) {
	t.Helper()
	p := need(t)
	var complaint strings.Builder
	command := p.command(t.Context(), p.script, "values", path, name)
	command.Stderr = &complaint
	values, err := command.Output()
	if err != nil {
		t.Fatalf("npuw.py values %s %s: %v: %s", path, name, err, complaint.String())
	}
	return values, complaint.String()
}

// need finds Python, or ends the test.
func need(t testing.TB) *python {
	t.Helper()
	p, err := findPython()
	switch {
	case err == nil:
		return p
	case errors.Is(err, errNoPython) && !required():
		t.Skipf("%v: artifacts are not checked with schema/npuw.py", err)
	default:
		t.Fatalf("schema/npuw.py is needed to check artifacts: %v", err)
	}
	return nil
}
