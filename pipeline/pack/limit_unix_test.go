//go:build unix

package pack

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// A write that fails midway, as on a full disk, leaves nothing. A limit on the size of files is the one way to have it fail
// everywhere; it is that of a process, so this runs as one of its own.
func TestWriteError(t *testing.T) {
	t.Parallel()
	const name = "NPUW_TEST_WRITE_ERROR"
	if path := os.Getenv(name); path != "" {
		writeWithLimit(t, path, os.Getenv(name+"_INTO"))
		return
	}
	dir := pyreader.TempDir(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriteError$")
	cmd.Env = append(os.Environ(), name+"="+encoder(t, whisperonnx.Odd), name+"_INTO="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	empty(t, dir)
}

// writeWithLimit packs the model at path and lowers the limit when space has been reserved and the first window written.
func writeWithLimit(t *testing.T, path, dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	c, m := open(t, path)
	p := planned(t, m, recipes[0])
	o := Options{Jobs: 1, NoSync: true, Progress: func(int64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 20000, Max: 20000}); err != nil {
			t.Error(err)
		}
	}}
	out := filepath.Join(dir, "x.npuw")
	err := run(context.Background(), c, p, out, o, windowElements)
	var fault *artifact.Error
	if !errors.Is(err, syscall.EFBIG) || !errors.As(err, &fault) || fault.File != out || fault.Offset < 4096 || fault.Offset > 20000 {
		t.Errorf("%v, expected that the system refuses a write that passes byte 20000 of %s", err, out)
	}
}
