//go:build xrt

package xrt

import (
	"bytes"
	"os"
	"runtime/debug"
	"slices"
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

// allowance is how much memory 1000 cycles may take: half a page each, and what the race detector remembers of them, if it is there.
func allowance() int64 {
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return 10 << 20
	}
	return 2 << 20
}

// cycle loads an artifact, runs a contract and closes all.
func cycle(t *testing.T, d device.Device, f fixture, contract int, want []byte) {
	s := newSession(t, d, f, contract)
	s.mustRun()
	if !bytes.Equal(s.output(), want) {
		t.Error("other bits")
	}
	s.close()
}

// Loading, running and closing a thousand times, and eight times at once, leaves nothing behind: no buffers and contexts in the driver,
// no descriptors, mappings and memory in the process.
func TestSoftwareLeaksNothing(t *testing.T) {
	gemms := apart(8)
	f, many := newFixture(t, small), newFixture(t, gemms...)
	want := reference(t, f, 0)
	var wants [][]byte
	for i := range gemms {
		wants = append(wants, reference(t, many, i))
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
	// The C library's arenas and Go's heap grow into what they need and move a little, for longer on a busy machine: less in each round.
	// A mapping, or half a page, that is lost in each cycle is lost in every round.
	for range 6 {
		before, start := measure(t), time.Now()
		cycles(1000)
		after := measure(t)
		t.Logf("1000 cycles in %v: from %+v to %+v", time.Since(start), before, after)
		if after.descriptors <= before.descriptors && after.mappings < before.mappings+64 && after.bytes < before.bytes+allowance() {
			return
		}
	}
	t.Error("every 1000 cycles leave something behind")
}
