//go:build unix

package release

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the file's advisory lock, which the kernel drops when its holder dies; errHeld when somebody else has it.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errHeld
	}
	return err
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // some file systems do not sync folders and need not
		return err
	}
	return nil
}
