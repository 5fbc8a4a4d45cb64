//go:build xrt

package xrt

import (
	"bytes"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"npuw/runtime/device"
)

// usage is what a process holds.
type usage struct {
	descriptors, mappings int
	bytes                 int64 // in memory
}

func measure(t *testing.T) usage {
	t.Helper()
	debug.FreeOSMemory()
	descriptors, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	maps, err := os.ReadFile("/proc/self/maps")
	check(t, err)
	statm, err := os.ReadFile("/proc/self/statm")
	check(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	check(t, err)
	return usage{len(descriptors), bytes.Count(maps, []byte("\n")), pages * int64(os.Getpagesize())}
}

// cycle loads an artifact, runs a contract and closes all.
func cycle(t *testing.T, d device.Device, f fixture, contract int, want []byte) {
	m, err := device.Load(context.Background(), d, f.path, device.LoadOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	k, err := d.Open(&m.Index.Contracts[contract])
	if err != nil {
		t.Error(err)
		return
	}
	args := arguments(t, d, m, contract, 7)
	if _, err := k.Run(context.Background(), args); err != nil {
		t.Error(err)
	} else if !bytes.Equal(output(t, args, "c"), want) {
		t.Error("other bits")
	}
	check(t, k.Close())
	closeActivations(t, k.Contract(), args)
	check(t, m.Close())
}

// Loading, running and closing a thousand times, and eight times at once, leaves nothing behind: no buffers and contexts in the driver,
// no descriptors, mappings and memory in the process.
func TestSoftwareLeaksNothing(t *testing.T) {
	gemms := make([]gemm, 8)
	for i := range gemms {
		gemms[i] = small
		gemms[i].xclbin = i
	}
	f := newFixture(t, len(gemms), nil, gemms[:1]...)
	many := newFixture(t, len(gemms), nil, gemms...)
	want := reference(t, f.path, 0, 7)
	var wants [][]byte
	for i := range gemms {
		wants = append(wants, reference(t, many.path, i, 7))
	}
	cycles := func(n int) {
		for range n / 20 {
			d := software(t, "", Options{Xclbins: Folder(f.folder)})
			for range 20 {
				cycle(t, d, f, 0, want)
			}
			d.done(t)
		}
		d := software(t, "", Options{Xclbins: Folder(many.folder)})
		var wg sync.WaitGroup
		for i := range gemms {
			wg.Go(func() { cycle(t, d, many, i, wants[i]) })
		}
		wg.Wait()
		d.done(t)
	}
	cycles(300)
	before := measure(t)
	start := time.Now()
	cycles(1000)
	after := measure(t)
	t.Logf("1000 cycles in %v: from %+v to %+v", time.Since(start), before, after)
	// The C library's arenas and Go's heap move a little; a mapping or a page lost in each cycle shows.
	if after.descriptors > before.descriptors || after.mappings > before.mappings+64 || after.bytes > before.bytes+8<<20 {
		t.Errorf("1000 cycles: from %+v to %+v", before, after)
	}
}
