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

// memoryError says how much memory would be locked, and what to do, where the driver could not lock it: it answers ENOMEM, or EAGAIN from
// its mmap. buffers are the bytes of all buffers with the one that was asked for.
func memoryError(err error, buffers int64) error {
	if errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EAGAIN) {
		needed := lockedBytes(buffers)
		return fmt.Errorf("%w; the driver could lock no more memory, %d bytes (%s) are needed for the NPU's heap and buffers: %s",
			err, needed, mebibytes(needed), raiseMemlock)
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
	if needed := lockedBytes(buffers); limit < needed {
		return &MemlockError{Limit: limit, Needed: needed}
	}
	return nil
}

// lockedBytes is how much is locked with so many bytes of buffers.
func lockedBytes(buffers int64) int64 {
	return heapBytes + min(max(buffers, 0), math.MaxInt64-heapBytes)
}
