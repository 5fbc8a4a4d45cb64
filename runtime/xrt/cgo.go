//go:build xrt

package xrt

/*
#cgo CXXFLAGS: -std=c++17 -Wall -Wextra
#cgo LDFLAGS: -lxrt_coreutil -luuid
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"bytes"
	"sync"
	"syscall"
	"unsafe"
)

// This file is the only one with cgo: it gives each handle of the shim a type of its own, and each fault a Go error.

type (
	library    struct{}
	cgoDevice  struct{ p *C.npuw_device }
	cgoContext struct{ p *C.npuw_context }
	cgoKernel  struct{ p *C.npuw_kernel }
	cgoRun     struct{ p *C.npuw_run }
	cgoList    struct{ p *C.npuw_list }
	cgoBO      struct {
		p    *C.npuw_bo
		size int64
	}
)

// systemDriver is the XRT that this program is linked with.
func systemDriver() (driver, error) { return library{}, nil }

// faults keeps memory for what calls answer, so that polling allocates none.
var faults = sync.Pool{New: func() any { return new(C.npuw_fault) }}

// call makes a call of the shim, and an error of its fault.
func call(what string, f func(fault *C.npuw_fault) C.int) error {
	fault := faults.Get().(*C.npuw_fault)
	defer faults.Put(fault)
	if f(fault) == 0 {
		return nil
	}
	return &Error{Call: what, Errno: syscall.Errno(fault.code), Text: C.GoString(&fault.text[0])}
}

func (library) version() version {
	var major, minor, patch C.uint
	C.npuw_version(&major, &minor, &patch)
	return version{int(major), int(minor), int(patch)}
}

func (library) count() (int, error) {
	var n C.uint
	err := call("look for devices", func(fault *C.npuw_fault) C.int { return C.npuw_count(&n, fault) })
	return int(n), err
}

func (library) open(index int) (npu, error) {
	d := new(cgoDevice)
	if err := call("open the device", func(fault *C.npuw_fault) C.int { return C.npuw_device_open(C.uint(index), &d.p, fault) }); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *cgoDevice) close() { C.npuw_device_close(d.p) }

func (d *cgoDevice) fact(which fact) (string, error) {
	text := make([]byte, 1<<16)
	err := call("ask the device", func(fault *C.npuw_fault) C.int {
		return C.npuw_device_fact(d.p, [...]C.enum_npuw_fact{
			nameFact: C.NPUW_NAME, bdfFact: C.NPUW_BDF, hostFact: C.NPUW_HOST, platformFact: C.NPUW_PLATFORM,
		}[which], (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)), fault)
	})
	text, _, _ = bytes.Cut(text, []byte{0})
	return string(text), err
}

func (d *cgoDevice) register(xclbin []byte) (uuid [16]byte, err error) {
	err = call("register the xclbin", func(fault *C.npuw_fault) C.int {
		return C.npuw_device_register(d.p, unsafe.Pointer(unsafe.SliceData(xclbin)), C.size_t(len(xclbin)), (*C.uint8_t)(&uuid[0]), fault)
	})
	return uuid, err
}

func (d *cgoDevice) context(uuid [16]byte) (hwContext, error) {
	c := new(cgoContext)
	err := call("make a hardware context", func(fault *C.npuw_fault) C.int {
		return C.npuw_context_open(d.p, (*C.uint8_t)(&uuid[0]), &c.p, fault)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d *cgoDevice) allocate(bytes int64, kind memoryKind, group int32) (bo, error) {
	b := &cgoBO{size: bytes}
	err := call("allocate a buffer", func(fault *C.npuw_fault) C.int {
		return C.npuw_bo_make(d.p, C.size_t(bytes), C.int(kind), C.uint32_t(group), &b.p, fault)
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (d *cgoDevice) user(pages []byte, group int32) (bo, error) {
	b := &cgoBO{size: int64(len(pages))}
	err := call("make a buffer of mapped pages", func(fault *C.npuw_fault) C.int {
		return C.npuw_bo_user(d.p, unsafe.Pointer(unsafe.SliceData(pages)), C.size_t(len(pages)), C.uint32_t(group), &b.p, fault)
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (c *cgoContext) close() { C.npuw_context_close(c.p) }

func (c *cgoContext) kernel(name string) (hwKernel, error) {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	k := new(cgoKernel)
	if err := call("open the kernel", func(fault *C.npuw_fault) C.int { return C.npuw_kernel_open(c.p, text, &k.p, fault) }); err != nil {
		return nil, err
	}
	return k, nil
}

func (c *cgoContext) list() (runList, error) {
	l := new(cgoList)
	if err := call("make a list of runs", func(fault *C.npuw_fault) C.int { return C.npuw_list_open(c.p, &l.p, fault) }); err != nil {
		return nil, err
	}
	return l, nil
}

func (k *cgoKernel) close() { C.npuw_kernel_close(k.p) }

func (k *cgoKernel) group(index uint32) (uint32, error) {
	var group C.uint32_t
	err := call("ask for an argument's memory group", func(fault *C.npuw_fault) C.int {
		return C.npuw_kernel_group(k.p, C.int(index), &group, fault)
	})
	return uint32(group), err
}

func (k *cgoKernel) run() (hwRun, error) {
	r := new(cgoRun)
	if err := call("make a run", func(fault *C.npuw_fault) C.int { return C.npuw_run_open(k.p, &r.p, fault) }); err != nil {
		return nil, err
	}
	return r, nil
}

func (b *cgoBO) close() { C.npuw_bo_close(b.p) }

func (b *cgoBO) host() ([]byte, error) {
	var p unsafe.Pointer
	if err := call("map a buffer", func(fault *C.npuw_fault) C.int { return C.npuw_bo_map(b.p, &p, fault) }); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), b.size), nil
}

func (b *cgoBO) sync(toDevice bool, offset, bytes int64) error {
	to := C.int(0)
	if toDevice {
		to = 1
	}
	return call("sync a buffer", func(fault *C.npuw_fault) C.int {
		return C.npuw_bo_sync(b.p, to, C.size_t(offset), C.size_t(bytes), fault)
	})
}

func (b *cgoBO) part(offset, bytes int64) (bo, error) {
	part := &cgoBO{size: bytes}
	err := call("make a part of a buffer", func(fault *C.npuw_fault) C.int {
		return C.npuw_bo_part(b.p, C.size_t(offset), C.size_t(bytes), &part.p, fault)
	})
	if err != nil {
		return nil, err
	}
	return part, nil
}

func (r *cgoRun) close() { C.npuw_run_close(r.p) }

func (r *cgoRun) scalar(index uint32, value uint64, bytes int) error {
	return call("set a number", func(fault *C.npuw_fault) C.int {
		return C.npuw_run_scalar(r.p, C.int(index), C.uint64_t(value), C.size_t(bytes), fault)
	})
}

func (r *cgoRun) buffer(index uint32, b bo) error {
	return call("set a buffer", func(fault *C.npuw_fault) C.int {
		return C.npuw_run_bo(r.p, C.int(index), b.(*cgoBO).p, fault)
	})
}

func (r *cgoRun) start() error {
	return call("start a run", func(fault *C.npuw_fault) C.int { return C.npuw_run_start(r.p, fault) })
}

func (r *cgoRun) state() (state, error) {
	var s C.int
	err := call("ask for a run's state", func(fault *C.npuw_fault) C.int { return C.npuw_run_state(r.p, &s, fault) })
	return state(s), err
}

func (l *cgoList) close() { C.npuw_list_close(l.p) }

func (l *cgoList) add(r hwRun) error {
	return call("add a run to a list", func(fault *C.npuw_fault) C.int { return C.npuw_list_add(l.p, r.(*cgoRun).p, fault) })
}

func (l *cgoList) start() error {
	return call("start a list of runs", func(fault *C.npuw_fault) C.int { return C.npuw_list_start(l.p, fault) })
}

func (l *cgoList) state() (state, error) {
	var s C.int
	err := call("ask for the state of a list of runs", func(fault *C.npuw_fault) C.int { return C.npuw_list_state(l.p, &s, fault) })
	return state(s), err
}
