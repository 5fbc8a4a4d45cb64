// Package device says what a device is: buffers that host and device see in turns, kernels opened by contract, runs; it makes one
// device of several, and it loads artifacts onto one.
//
//	artifact -- Load --> segments as buffers --> operands as views --> kernel arguments, by name
//
// A device is safe for use from several goroutines. Using what has been closed is an error, never a fault.
package device

import (
	"context"
	"errors"
	"time"

	"npuw/artifact/kernel"
)

// What can go wrong on a device. Errors of this package and of devices wrap one of these where a caller can act on it.
var (
	ErrClosed      = errors.New("used after Close")
	ErrUnsupported = errors.New("not supported by this device")
	ErrArgument    = errors.New("wrong kernel argument")
	ErrMismatch    = errors.New("artifact and device do not fit")
	ErrFault       = errors.New("memory fault: the mapped file was truncated")
)

// Device computes.
type Device interface {
	Name() string
	// Allocate makes a buffer of zeros for arguments in a memory group (kernel.NoGroup: any).
	Allocate(bytes int64, group int32) (Buffer, error)
	// Map makes a read-only buffer of pages that are mapped in this process already, without a copy; they must stay mapped until
	// the buffer is closed. ErrUnsupported where the device cannot: at all, or not these pages (they begin at a page of the
	// artifact, which may be less than one of the host).
	Map(pages []byte, group int32) (Buffer, error)
	// Open makes a kernel ready to run. ErrUnsupported where the device has none that keeps this contract, ErrMismatch where the one
	// that the contract names differs from the device's.
	Open(c *kernel.Contract) (Kernel, error)
	// Close waits for runs and closes all that is still open; if there was anything, it returns a *LeakError. Closing again does
	// nothing.
	Close() error
}

// Buffer is memory that host and device see in turns. What the host writes reaches the device at ToDevice, what the device
// writes reaches the host at FromDevice; in between, either may see old data.
//
// A program calls ToDevice after it has written through Host, and FromDevice before it reads, whatever kernels run where. Runs of
// kernels of the buffer's own device sync nothing. A kernel of another device works on the host's side: its run itself calls
// FromDevice before it reads and ToDevice after it has written, and nobody else does so for it. Meanwhile the program must leave the
// host's side alone.
type Buffer interface {
	Len() int64
	// Host is the host's side of the buffer, all Len bytes, valid until Close. A mapped buffer's must not be written.
	Host() ([]byte, error)
	ToDevice() error
	FromDevice() error
	// View is a part of the buffer, in place. Its syncs are those of that part. It needs no Close, and ends with the buffer.
	View(offset, bytes int64) (Buffer, error)
	// Close waits for the runs of the buffer's device that use it or a view of it. Closing again does nothing.
	Close() error
}

// Value is what a run gets for an argument: a buffer, or a number for a scalar argument.
type Value struct {
	Buffer Buffer
	Scalar float64
}

// Arguments are values by argument name.
type Arguments map[string]Value

// Kernel is a kernel that is ready to run. Runs of one kernel may overlap.
type Kernel interface {
	Contract() *kernel.Contract
	// Run computes and waits for the end, or for that of ctx; then buffers that it writes hold no defined values. Arguments are
	// checked against the contract first: every one there, none else, each as long as the contract says. Buffers of other devices are
	// synced as Buffer says, and must stay open until Run returns; ErrArgument where a device cannot take them. Runs that
	// overlap must not share them, since both would sync.
	Run(ctx context.Context, args Arguments) (Result, error)
	// Close waits for runs. Closing again does nothing.
	Close() error
}

// Result is what is known of a run.
type Result struct {
	Elapsed time.Duration
}
