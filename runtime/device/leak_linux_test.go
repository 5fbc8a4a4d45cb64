//go:build !nommap

package device_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// held counts the descriptors and mappings of this process that belong to a file.
func held(path string) (descriptors, mappings int) {
	for _, fd := range must(os.ReadDir("/proc/self/fd")) {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && target == path {
			descriptors++
		}
	}
	return descriptors, bytes.Count(must(os.ReadFile("/proc/self/maps")), []byte(path))
}

// Loads that succeed, and loads that fail at different places, leave no descriptor and no mapping behind. Not parallel: without
// garbage collection, which would close descriptors that were lost.
func TestCyclesLeakNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	s := newSample(t, nil)
	mapping := newCPU(t, cpu.Options{})
	copying := &hooked{Device: mapping, mapping: refuse(errNoMap)}
	m := must(device.Load(t.Context(), mapping, s.path, device.LoadOptions{}))
	if descriptors, mappings := held(s.path); descriptors != 1 || mappings != 1 {
		t.Errorf("one model is loaded: %d descriptors, %d mappings", descriptors, mappings)
	}
	check(t, m.Close())
	for i := range 1000 {
		d, fails := mapping, i%4 > 1
		if i%2 == 1 {
			d = copying
		}
		if fails {
			d = &hooked{Device: d, mapping: at(int64(1+i%segments), refuse(device.ErrClosed)), buffer: func(b device.Buffer) device.Buffer {
				return &brokenBuffer{Buffer: b, host: errFailed}
			}}
		}
		m, err := device.Load(t.Context(), d, s.path, device.LoadOptions{SkipDigests: i%8 > 3})
		if err == nil {
			err = m.Close()
		}
		if (err != nil) != fails {
			t.Errorf("cycle %d: error %v", i, err)
		}
	}
	if descriptors, mappings := held(s.path); descriptors != 0 || mappings != 0 {
		t.Errorf("after 1000 cycles: %d descriptors, %d mappings", descriptors, mappings)
	}
}

// Where a buffer cannot be closed, its device may still read the pages: they stay mapped, whoever calls Close again.
func TestMappingOutlivesStuckBuffer(t *testing.T) {
	t.Parallel()
	s := newSample(t, nil)
	d := &hooked{Device: newCPU(t, cpu.Options{}), buffer: func(b device.Buffer) device.Buffer {
		return &brokenBuffer{Buffer: b, close: errFailed}
	}}
	m := must(device.Load(t.Context(), d, s.path, device.LoadOptions{}))
	wants(t, "Close", m.Close(), errFailed)
	check(t, m.Close())
	if _, mappings := held(s.path); mappings != 1 {
		t.Errorf("%d mappings", mappings)
	}
}
