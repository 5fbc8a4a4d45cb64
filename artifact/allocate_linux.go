package artifact

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate reserves n zero bytes, so that a full disk shows before the work and not after it.
func allocate(f *os.File, n int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(n)
	}
	return err
}
