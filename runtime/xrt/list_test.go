package xrt

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"npuw/runtime/device"
)

func TestList(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		got, err := list(r, 1<<30)
		check(t, err)
		if len(got) != 1 {
			t.Fatalf("%+v", got)
		}
		i := got[0]
		name, maps := "fake NPU", runtime.GOOS == "linux"
		if r.real {
			name = "software NPU"
		}
		if i.Index != 0 || i.Name != name || i.Address != "0000:c5:00.1" || i.Columns != 5 || i.Maps != maps || i.MemlockBytes != 1<<30 {
			t.Errorf("%+v", i)
		}
		if !strings.HasPrefix(i.XRT, "2.") || !strings.HasPrefix(i.Driver, "amdxdna ") || len(i.Driver) == len("amdxdna ") || (i.MapsWhy == "") != maps {
			t.Errorf("%+v", i)
		}
		r.set(func() { r.fail["fact"] = failure("ask the device", syscall.EIO) })
		if _, err := list(r, math.MaxInt64); !errors.Is(err, syscall.EIO) {
			t.Errorf("a device that does not answer: %v", err)
		}
		r.hasNone()
	})
}

func TestListTwo(t *testing.T) {
	onEach(t, conditions{npus: 2}, func(t *testing.T, r *rig) {
		if !r.alone() { // XRT looks for NPUs once
			return
		}
		got, err := list(r, math.MaxInt64)
		check(t, err)
		if len(got) != 2 || got[0].Index != 0 || got[1].Index != 1 || got[0].Name != got[1].Name {
			t.Fatalf("%+v", got)
		}
		if r.real && got[1].Address != "0000:c6:00.1" {
			t.Errorf("the second is at %s", got[1].Address)
		}
		r.hasNone()
	})
}

func TestListWithoutMaps(t *testing.T) {
	onEach(t, conditions{refusal: syscall.EINVAL}, func(t *testing.T, r *rig) {
		got, err := list(r, math.MaxInt64)
		check(t, err)
		if i := got[0]; i.Maps || runtime.GOOS == "linux" && !strings.Contains(i.MapsWhy, "older than March 2026") {
			t.Errorf("%+v", i)
		}
		r.hasNone()
	})
}

// Facts are read out of what XRT prints for people; what is not there is not known, which is no error.
func TestFactsThatAreNotThere(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "[]", `{"drivers": []}`, `{"drivers": [{"name": "virtio-pci", "version": "1"}]}`} {
		if got := driverOf(text); got != "" {
			t.Errorf("%s: driver %q", text, got)
		}
	}
	for _, text := range []string{"", "{", "{}", `{"platforms": []}`, `{"platforms": [{"static_region": {"total_columns": "many"}}]}`} {
		if got := columnsOf(text); got != 0 {
			t.Errorf("%s: %d columns", text, got)
		}
	}
}

func TestNoDevice(t *testing.T) {
	onEach(t, conditions{npus: none}, func(t *testing.T, r *rig) {
		if !r.alone() { // XRT looks for NPUs once
			return
		}
		if _, err := list(r, math.MaxInt64); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "sees 0:") {
			t.Errorf("list: %v", err)
		}
		if _, err := open(r, math.MaxInt64, Options{}); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "/dev/accel/accel0") {
			t.Errorf("open: %v", err)
		}
	})
}
