//go:build unix

package artifact

import "golang.org/x/sys/unix"

// dontWait keeps an open from waiting for the other end of a pipe.
const dontWait = unix.O_NONBLOCK
