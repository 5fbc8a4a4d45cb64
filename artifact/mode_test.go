//go:build unix

package artifact

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"npuw/schema/pyreader"
)

// TestFileMode runs alone: the umask is the process's.
func TestFileMode(t *testing.T) {
	defer unix.Umask(unix.Umask(0o027))
	path := filepath.Join(pyreader.TempDir(t), "a.npuw")
	newSmallSample().write(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o640 {
		t.Errorf("mode %v, want -rw-r-----", info.Mode())
	}
}
