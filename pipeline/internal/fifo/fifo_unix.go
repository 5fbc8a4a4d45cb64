//go:build unix

// Package fifo makes named pipes for tests of what must be refused.
package fifo

import "golang.org/x/sys/unix"

// Make makes a named pipe at path.
func Make(path string) error { return unix.Mkfifo(path, 0o600) }
