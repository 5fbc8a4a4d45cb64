package xrt

import (
	"math"

	"golang.org/x/sys/unix"
)

// memlockLimit is how many bytes this process may lock in memory, noLimit where it may lock all: RLIMIT_MEMLOCK does not hold for
// CAP_IPC_LOCK, which root has.
func memlockLimit() (int64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err == nil && sets[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0 {
		return noLimit, nil
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return 0, err
	}
	return int64(min(limit.Cur, math.MaxInt64)), nil
}
