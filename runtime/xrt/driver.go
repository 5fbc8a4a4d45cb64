package xrt

import (
	"fmt"
	"syscall"
)

// driver is XRT as far as this package uses it, so that tests can stand in for it. Handles are closed once, after all that was made
// from them; a launch never before it has ended. Calls that touch different handles may overlap.
type driver interface {
	version() version
	count() (int, error)
	open(index int) (npu, error)
}

// version is that of XRT.
type version struct{ major, minor, patch int }

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

// oldest is the first version that drives NPUs as this package does.
var oldest = version{2, 21, 0}

// npu is an open device.
type npu interface {
	fact(which fact) (string, error)
	register(xclbin []byte) (uuid [16]byte, err error)
	context(uuid [16]byte) (hwContext, error)
	allocate(bytes int64, kind memoryKind, group int32) (bo, error)
	user(pages []byte, group int32) (bo, error)
	close()
}

// fact is something that an NPU says about itself.
type fact int

const (
	nameFact     fact = iota
	bdfFact           // its PCI address
	hostFact          // JSON: versions of XRT and drivers
	platformFact      // JSON: the device
)

// memoryKind is where a buffer lies.
type memoryKind int

const (
	hostMemory      memoryKind = iota // in the host's memory, shared
	cacheableMemory                   // in the device's heap, for instructions
)

// hwContext is a share of the device's columns that is configured with an xclbin.
type hwContext interface {
	kernel(name string) (hwKernel, error)
	list() (runList, error)
	close()
}

// hwKernel is a kernel in a context.
type hwKernel interface {
	// group is what XRT calls the group of a buffer argument; xclbin.SplitGroupID takes it apart.
	group(index uint32) (uint32, error)
	run() (hwRun, error)
	close()
}

// bo is a buffer object, or a part of one.
type bo interface {
	host() ([]byte, error)
	sync(toDevice bool, offset, bytes int64) error
	part(offset, bytes int64) (bo, error)
	close()
}

// launch is work that can be given to the device: a run or a list of runs.
type launch interface {
	start() error
	state() (state, error)
	close()
}

// hwRun is a run of a kernel.
type hwRun interface {
	launch
	scalar(index uint32, value uint64, bytes int) error
	buffer(index uint32, b bo) error
}

// runList is a list of runs in one context, which must outlive it.
type runList interface {
	launch
	add(r hwRun) error
}

// state is how far a launch is: ert_cmd_state of XRT's ert.h.
type state int

const (
	stateNew        state = 1
	stateQueued     state = 2
	stateRunning    state = 3
	stateCompleted  state = 4
	stateError      state = 5
	stateAborted    state = 6
	stateSubmitted  state = 7
	stateTimeout    state = 8
	stateNoResponse state = 9
)

var stateNames = map[state]string{
	stateNew: "new", stateQueued: "queued", stateRunning: "running", stateCompleted: "completed", stateError: "error",
	stateAborted: "aborted", stateSubmitted: "submitted", stateTimeout: "timeout", stateNoResponse: "no response",
}

func (s state) String() string {
	if name, ok := stateNames[s]; ok {
		return name
	}
	return fmt.Sprintf("state %d", int(s))
}

// pending reports whether the device still works on it, or will.
func (s state) pending() bool {
	return s == stateNew || s == stateQueued || s == stateRunning || s == stateSubmitted
}

// Error is what XRT answered to a call.
type Error struct {
	Call  string        // what was asked for: "open the device"
	Errno syscall.Errno // 0 where XRT gave none
	Text  string        // what XRT said
}

func (e *Error) Error() string {
	if e.Errno == 0 {
		return fmt.Sprintf("%s: XRT: %s", e.Call, e.Text)
	}
	return fmt.Sprintf("%s: XRT: %s (%v)", e.Call, e.Text, e.Errno)
}

// Unwrap gives the errno, nil where there is none.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}
