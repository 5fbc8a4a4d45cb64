package xrt

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// readOnlyPage maps a page of a file as artifacts are mapped: this program's own file.
func readOnlyPage() (page []byte, unmap func(), err error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNoPage, err)
	}
	defer f.Close()
	page, err = unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNoPage, err)
	}
	return page, func() { _ = unix.Munmap(page) }, nil
}
