//go:build unix

package artifact

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// dontWait keeps an open from waiting for the other end of a pipe.
const dontWait = unix.O_NONBLOCK

// lock takes the file's advisory lock, which the kernel drops when its holder dies; it fails when somebody else has it.
func lock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

const renamesOpenFiles = true

// syncFolder makes a rename in the folder durable. Some file systems do not sync folders and need not.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
