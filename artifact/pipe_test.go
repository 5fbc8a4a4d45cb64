//go:build unix

package artifact

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"npuw/schema/pyreader"
)

// TestPipe opens a pipe that nobody writes to.
func TestPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(pyreader.TempDir(t), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	if _, err := Open(path); !errors.Is(err, ErrNotArtifact) {
		t.Errorf("open: %v", err)
	}
}
