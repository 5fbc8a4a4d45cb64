package whole

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate reserves n zero bytes, so that a full disk shows before the work and not after it.
func allocate(f *os.File, n int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, n)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return f.Truncate(n)
		}
		return err
	}
}
