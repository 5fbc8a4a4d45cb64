package artifact

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/internal/whole"
	"npuw/artifact/internal/whole/wholetest"
	"npuw/schema/pyreader"
)

// writeOn writes the sample to path on a file system, each call in its turn.
func writeOn(system whole.System, path string) error {
	s := newSample(4096)
	w, err := create(system, path, s.index, s.page, true)
	if err != nil {
		return err
	}
	defer w.Abort()
	data := s.data()
	for i, g := range s.index.Segments {
		for at, end := g.Offset, g.Offset+g.Bytes; at < end; { // in two pieces
			n := min(g.Bytes/2+100, end-at)
			if _, err := w.WriteAt(data[at-s.page:][:n], int64(at)); err != nil {
				return err
			}
			at += n
		}
		if err := w.Seal(i); err != nil {
			return err
		}
	}
	return w.CommitIf(func(f *File) error { return f.Verify() })
}

// site is a folder in which an artifact is built, where a killed build has left a temporary file.
type site struct {
	dir, path, before string
	golden            Digest
}

// The file that was there before, and the temporary file that a killed build left.
const stale = ".a.npuw.npuw-tmp-stale"

func newSite(t *testing.T, before string, golden Digest) *site {
	t.Helper()
	s := &site{dir: pyreader.TempDir(t), before: before, golden: golden}
	s.path = filepath.Join(s.dir, "a.npuw")
	for name, text := range map[string]string{"a.npuw": before, stale: "half of someth"} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// state says what is at the path: "before" what was there, or nothing; "golden"; else what is wrong.
func (s *site) state() string {
	b, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, os.ErrNotExist) && s.before == "", err == nil && string(b) == s.before:
		return "before"
	case err != nil:
		return err.Error()
	}
	f, err := Open(s.path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if err := f.Verify(); err != nil {
		return err.Error()
	}
	if f.Header.Digest != s.golden {
		return "another artifact: " + f.Header.Digest.String()
	}
	return "golden"
}

// temporaries are the files there beside the artifact.
func (s *site) temporaries(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(entries(t, s.dir), func(name string) bool { return name == "a.npuw" })
}

// rebuild builds without a fault, and wants nothing but the artifact to be there then.
func (s *site) rebuild(t *testing.T, after string) {
	t.Helper()
	if err := writeOn(whole.OS{}, s.path); err != nil {
		t.Errorf("the next build after %s: %v", after, err)
	}
	if state := s.state(); state != "golden" {
		t.Errorf("the next build after %s: %s", after, state)
	}
	if left := s.temporaries(t); len(left) > 0 {
		t.Errorf("the next build after %s left %q", after, left)
	}
}

// faultFree builds without a fault, and gives the digest of what it made and the calls that it took.
func faultFree(t *testing.T, before string) (golden Digest, calls []string) {
	t.Helper()
	s, system := newSite(t, before, Digest{}), &wholetest.Faulty{}
	if err := writeOn(system, s.path); err != nil {
		t.Fatal(err)
	}
	f, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	calls = system.Calls()
	const file = " .a.npuw.npuw-tmp-"
	for _, call := range []string{"create" + file, "allocate" + file, "lock" + file, "read" + file, "write" + file, "sync" + file, "rename" + file, "close" + file, "remove " + stale, "sync " + filepath.Base(s.dir)} {
		if !slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, call) }) {
			t.Fatalf("no %s among the calls %q", call, calls)
		}
	}
	return f.Header.Digest, calls
}

// TestEveryCallFails has each call of the writer fail in turn. Those that only tidy up may: the artifact is there then. After
// another the path is as it was, but for that which makes the new name durable. No temporary file is left, unless it is the removal
// that fails, and none after the next build.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	made, failed := 0, 0
	for _, before := range []string{"", "before"} {
		golden, calls := faultFree(t, before)
		for _, half := range []bool{false, true} {
			for n := 1; n <= len(calls); n++ {
				if testing.Short() && n%5 > 0 {
					continue
				}
				made++
				s := newSite(t, before, golden)
				did := ""
				err := writeOn(&wholetest.Faulty{At: n, Half: half, Fault: func(call string) error {
					did = call
					return broken
				}}, s.path)
				want := "before"
				if err == nil || did == "sync "+filepath.Base(s.dir) {
					want = "golden"
				}
				if state := s.state(); state != want {
					t.Errorf("%s fails (%v): %s, want %s", did, err, state, want)
				}
				var fault *Error
				if err != nil && (!errors.Is(err, broken) || !errors.As(err, &fault) || fault.File != s.path || strings.Contains(err.Error(), "npuw-tmp")) {
					t.Errorf("%s fails: %v; want an *Error of %s", did, err, s.path)
				}
				if err != nil {
					failed++
				}
				if left := slices.DeleteFunc(s.temporaries(t), func(name string) bool { return name == stale }); len(left) > 0 {
					t.Errorf("%s fails: left %q", did, left)
				}
				s.rebuild(t, did+" fails")
			}
		}
	}
	t.Logf("%d calls failed; %d of these were errors of the build", made, failed)
	if failed < made/2 {
		t.Errorf("of %d failures of calls %d were told", made, failed)
	}
}

// TestKilledAtEveryCall kills a program that writes an artifact before each of its calls, and in the middle of each write.
func TestKilledAtEveryCall(t *testing.T) {
	t.Parallel()
	const variable = "NPUW_TEST_KILLED"
	if path := os.Getenv(variable); path != "" { // the program
		var system wholetest.Faulty
		if _, err := fmt.Sscan(os.Getenv(variable+"_AT"), &system.At, &system.Half); err != nil {
			t.Fatal(err)
		}
		system.Fault = wholetest.Kill
		if err := writeOn(&system, path); err != nil {
			t.Error(err)
		}
		return
	}
	killed, states := 0, map[string]int{}
	for _, before := range []string{"", "before"} {
		golden, calls := faultFree(t, before)
		for _, half := range []bool{false, true} {
			for n := 1; n <= len(calls); n++ {
				call, _, _ := strings.Cut(calls[n-1], " ")
				if half && call != "write" && call != "allocate" || testing.Short() && n%5 > 0 {
					continue
				}
				s := newSite(t, before, golden)
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledAtEveryCall$")
				cmd.Env = append(os.Environ(), variable+"="+s.path, fmt.Sprintf("%s_AT=%d %t", variable, n, half))
				var exit *exec.ExitError
				out, err := cmd.CombinedOutput()
				if !errors.As(err, &exit) || exit.ExitCode() == 1 && len(out) > 0 {
					t.Fatalf("killed at call %d, %s: %v\n%s", n, calls[n-1], err, out)
				}
				killed++
				state := s.state()
				states[state]++
				if state != "before" && state != "golden" {
					t.Errorf("killed at call %d, %s: %s", n, calls[n-1], state)
				}
				if left := s.temporaries(t); len(left) > 2 {
					t.Errorf("killed at call %d, %s: left %q", n, calls[n-1], left)
				}
				s.rebuild(t, "a kill at "+calls[n-1])
			}
		}
	}
	t.Logf("%d kills; afterwards: %v", killed, states)
	if !testing.Short() && (states["before"] == 0 || states["golden"] == 0) {
		t.Errorf("after %d kills: %v; both were expected", killed, states)
	}
}
