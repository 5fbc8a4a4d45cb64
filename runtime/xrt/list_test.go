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
	t.Parallel()
	fake := newFake(t)
	fake.devices = 2
	fake.facts = map[fact]string{
		nameFact: "NPU Phoenix", bdfFact: "0000:c5:00.1",
		hostFact:     `{"version": "2.25.0", "drivers": [{"name": "virtio-pci", "version": "unknown"}, {"name": "amdxdna", "version": "7.1"}]}`,
		platformFact: `{"platforms": [{"static_region": {"name": "NPU Phoenix", "total_columns": "5"}}]}`,
	}
	got, err := list(fake, 1<<30)
	check(t, err)
	want := Info{Name: "NPU Phoenix", Address: "0000:c5:00.1", XRT: "2.25.0", Driver: "amdxdna 7.1", Columns: 5, Maps: true, MemlockBytes: 1 << 30}
	if runtime.GOOS != "linux" {
		want.Maps, want.MapsWhy = false, errNoPage.Error()
	}
	second := want
	second.Index = 1
	if len(got) != 2 || got[0] != want || got[1] != second {
		t.Errorf("%+v", got)
	}
	fake.fail["user"] = &Error{Call: "make a buffer of mapped pages", Errno: syscall.EINVAL, Text: "refused"}
	fake.facts = nil
	got, err = list(fake, math.MaxInt64)
	check(t, err)
	if i := got[0]; i.Maps || runtime.GOOS == "linux" && !strings.Contains(i.MapsWhy, "older than March 2026") || i.Driver != "" || i.Columns != 0 {
		t.Errorf("%+v", i)
	}
	fake.fail["fact"] = &Error{Call: "ask the device", Errno: syscall.EIO, Text: "injected"}
	if _, err := list(fake, math.MaxInt64); !errors.Is(err, syscall.EIO) {
		t.Errorf("a device that does not answer: %v", err)
	}
	fake.devices = 0
	if _, err := list(fake, math.MaxInt64); !errors.Is(err, device.ErrUnsupported) {
		t.Errorf("no device: %v", err)
	}
	fake.hasNone(t)
}
