package device

import "fmt"

// LeakError is what Device.Close returns when something was still open; it has been closed then.
type LeakError struct {
	Device  string // its name
	Buffers int    // views not counted
	Kernels int
}

func (e *LeakError) Error() string {
	return fmt.Sprintf("device %s was closed with %d buffers and %d kernels still open", e.Device, e.Buffers, e.Kernels)
}
