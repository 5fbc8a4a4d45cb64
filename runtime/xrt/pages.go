package xrt

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"npuw/runtime/device"
)

// checkPages says why pages cannot be given to the driver, which takes whole pages of this machine only.
func checkPages(pages []byte, pageBytes int) error {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(pages)))
	if len(pages) == 0 || at%uintptr(pageBytes) != 0 || len(pages)%pageBytes != 0 {
		return fmt.Errorf("xrt: %w: %d bytes at %#x are not whole pages of this machine, which have %d; build the artifact with page_bytes: %d",
			device.ErrUnsupported, len(pages), at, pageBytes, pageBytes)
	}
	return nil
}

// refusal says what it means that the driver did not take pages, and whether it will never take any.
func refusal(err error) (why string, always bool) {
	var errno syscall.Errno
	errors.As(err, &errno)
	switch errno {
	case syscall.ENOTSUP:
		return "this XRT takes no pages of the program's, it is older than June 2025", true
	case syscall.EINVAL, syscall.EFAULT:
		return "this driver takes no read-only pages of files, it is older than March 2026", true
	case syscall.ENOMEM:
		return "the driver cannot pin the pages: it is older than March 2026, or RLIMIT_MEMLOCK is too small", false
	case syscall.EPERM:
		return "the driver may not lock memory: RLIMIT_MEMLOCK is 0", false
	}
	return "the driver does not take the pages", false
}
