package xrt

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A process without the right to lock all memory is held to its limit.
func TestMemlockLimit(t *testing.T) {
	var old unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old))
	small := old
	small.Cur = min(8<<20, old.Max)
	check(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &small))
	t.Cleanup(func() { check(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old)) })
	limits := make(chan int64)
	go func() {
		runtime.LockOSThread() // and end with the thread, which has fewer rights then
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		err := unix.Capget(&header, &sets[0])
		sets[0].Effective &^= 1 << unix.CAP_IPC_LOCK
		limit, limitErr := int64(-1), error(nil)
		if err = errors.Join(err, unix.Capset(&header, &sets[0])); err == nil {
			limit, limitErr = memlockLimit()
		}
		if err := errors.Join(err, limitErr); err != nil {
			t.Error(err)
		}
		limits <- limit
	}()
	limit := <-limits
	if limit != int64(small.Cur) {
		t.Errorf("may lock %d bytes, want %d", limit, small.Cur)
	}
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		var memlock *MemlockError
		if _, err := open(r, limit, Options{NeedBytes: 1}); !errors.As(err, &memlock) || r.total("device") != 0 {
			t.Errorf("%v", err)
		}
	})
}
