//go:build !unix

// Package fifo makes named pipes for tests of what must be refused.
package fifo

import "errors"

// Make fails: there are no named pipes in folders here.
func Make(string) error { return errors.ErrUnsupported }
