// Package xrt is AMD's NPU as a device, through XRT 2.21 or later: buffer objects over the pages of a mapped artifact where the
// driver takes them, and the compiled kernels of xclbins, opened by contract.
//
//	artifact pages -- Map --> user-pointer BO --.
//	activations -- Allocate --> host_only BO ----+--> sub-BOs by argument index --> run --> state, polled to a deadline
//	instruction segment --> cacheable BO --------'                                   ^
//	xclbin, found by digest --> hardware context, least recently used goes first ----'
//
// XRT is C++: the build tag `xrt` brings it in, with cgo. Without it everything here compiles, and Open says how to build with it. For
// an XRT outside of the compiler's own folders: CGO_CXXFLAGS=-I/opt/xilinx/xrt/include CGO_LDFLAGS=-L/opt/xilinx/xrt/lib.
//
// XRT faults on wrong indexes, runs silently with missing arguments, copies buffers of the wrong memory group and aborts the process
// when a run is destroyed too early. So everything is checked against the xclbin's own metadata before XRT sees it, and what a run uses
// that did not end in its time is kept until it has ended after all.
package xrt

import (
	"errors"

	"npuw/artifact"
)

// ErrGone is wrapped by the errors of a device whose NPU went away: the driver was unloaded, or it gave the NPU up.
var ErrGone = errors.New("the NPU is gone: see dmesg, reload the amdxdna driver and open the device again")

// ErrBroken is wrapped by the errors of a kernel one of whose runs did not end in its time. Opening it again gives one that works, if
// the NPU does.
var ErrBroken = errors.New("a run of this kernel did not end in its time; close it and open it again")

// npu1Contexts is how many hardware contexts npu1 takes at a time. Later NPUs take more.
const npu1Contexts = 6

// Options say what to open.
type Options struct {
	// Index is the number of the NPU; 0 is the first.
	Index int
	// Xclbins finds the file of an xclbin that an artifact names; Folder makes one. Without it, no kernel can be opened.
	Xclbins func(x *artifact.Xclbin) (path string, err error)
	// NeedBytes is how many bytes of buffers will be open at a time, about. Open checks that they may be locked in memory.
	NeedBytes int64
	// Contexts is how many hardware contexts may be open at a time; 0: the 6 that the smallest NPU takes.
	Contexts int
}
