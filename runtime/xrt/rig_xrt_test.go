//go:build xrt

package xrt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"npuw/schema/pyreader"
)

// onSoftware runs a test on the real XRT over the software NPU.
func onSoftware(t *testing.T, c conditions, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Run("software NPU", func(t *testing.T) { test(t, newSoftwareRig(t, c)) })
}

// newSoftwareRig makes the software NPU behave as conditions say. It reads them when the device is opened, so such tests are not
// parallel. After the test everything must be closed in it, too.
func newSoftwareRig(t *testing.T, c conditions) *rig {
	t.Helper()
	dir := pyreader.TempDir(t)
	hold, log := filepath.Join(dir, "hold"), filepath.Join(dir, "log")
	check(t, os.WriteFile(hold, nil, 0o666))
	t.Setenv("SWNPU_MODE", strings.Join(c.words(hold), ","))
	t.Setenv("SWNPU_LOG", log)
	xrt, err := systemDriver()
	check(t, err)
	r := &rig{
		watch: newWatch(t, xrt), real: true,
		release: func() { check(t, os.Remove(hold)) },
		log: func() string {
			text, err := os.ReadFile(log)
			if !errors.Is(err, fs.ErrNotExist) { // as long as no device has been opened
				check(t, err)
			}
			return string(text)
		},
		alone: func() bool { return alone(t) },
	}
	t.Cleanup(func() {
		log := r.log()
		opened, clean := strings.Count(log, "open: software NPU\n"), strings.Count(log, "leaks: bos=0 contexts=0 syncobjs=0\n")
		if opened != clean && !r.leaves && c.gone == 0 || strings.Contains(log, "unhandled") {
			t.Errorf("the software NPU says:\n%s", log)
		}
	})
	return r
}

// words are the conditions as SWNPU_MODE has them; what is held waits for the end of a file.
func (c *conditions) words(hold string) []string {
	var words []string
	add := func(given bool, format string, args ...any) {
		if given {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(c.npus > 0, "npus=%d", c.npus)
	add(c.npus == none, "absent")
	add(c.contexts != 0, "contexts=%d", c.room())
	add(c.refusal != 0, "fail=USERPTR:%d", int(c.refusal))
	add(c.held == all, "hold=%s", hold)
	add(c.held > 0, "hold=%s:%d", hold, c.held)
	add(c.outcome != 0, "state=%d:1", int(c.outcome))
	add(c.gone != 0, "gone=%d", c.gone)
	add(c.trace, "trace")
	return words
}

// alone runs a test in a process of its own, with an environment that has more in it, and reports whether this is it.
func alone(t *testing.T, env ...string) bool {
	t.Helper()
	const mark = "NPUW_TEST_ALONE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v")
	cmd.Env = append(append(os.Environ(), mark+"="+t.Name()), env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}
