//go:build unix

package source

import "syscall"

// dontWait keeps an open from waiting for a writer to the other end of a FIFO.
const dontWait = syscall.O_NONBLOCK
