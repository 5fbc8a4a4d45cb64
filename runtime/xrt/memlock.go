package xrt

import (
	"errors"
	"fmt"
	"math"
	"syscall"
)

// heapBytes is what opening the device locks in memory: the heap that instructions lie in.
const heapBytes = 64 << 20

// noLimit stands for a process that may lock all memory.
const noLimit = math.MaxInt64

// MemlockError says that a process may not lock as much memory as the device needs.
type MemlockError struct {
	Limit  int64 // RLIMIT_MEMLOCK, in bytes
	Needed int64 // for the device's heap and the buffers
}

func (e *MemlockError) Error() string {
	return fmt.Sprintf("xrt: this process may lock %d bytes (%s) of memory, and needs %d (%s: %s for the NPU's heap, the rest for buffers): %s",
		e.Limit, mebibytes(e.Limit), e.Needed, mebibytes(e.Needed), mebibytes(heapBytes), raiseMemlock)
}

// raiseMemlock says how to let a process lock more memory.
const raiseMemlock = "to raise RLIMIT_MEMLOCK, write \"* - memlock unlimited\" to /etc/security/limits.d/npu.conf and log in again, or as root run " +
	"prlimit --pid $$ --memlock=unlimited; a service needs LimitMEMLOCK=infinity, a container --ulimit memlock=-1"

// memoryError says what to do where the driver could not lock memory: it answers ENOMEM, or EAGAIN from its mmap.
func memoryError(err error) error {
	if errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EAGAIN) {
		return fmt.Errorf("%w; the driver could lock no more memory: %s", err, raiseMemlock)
	}
	return err
}

// mebibytes prints a number of bytes, rounded up.
func mebibytes(n int64) string {
	return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
}

// checkMemlock compares what is needed with the limit, before the driver answers with an EAGAIN that says nothing.
func checkMemlock(limit, buffers int64) error {
	if limit == noLimit {
		return nil
	}
	needed := int64(heapBytes)
	if buffers > math.MaxInt64-needed {
		needed = math.MaxInt64
	} else {
		needed += max(buffers, 0)
	}
	if limit >= needed {
		return nil
	}
	return &MemlockError{Limit: limit, Needed: needed}
}
