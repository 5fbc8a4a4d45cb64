package xrt

import (
	"encoding/json"
	"errors"
	"fmt"

	"npuw/runtime/device"
)

// Info is what is known of an NPU and its driver.
type Info struct {
	Index   int    // for Options
	Name    string // "NPU Phoenix"; that of a stand-in says so
	Address string // on the PCI bus
	XRT     string // version
	Driver  string // name and version; empty where XRT does not know
	Columns int    // of compute cores; 0 where XRT does not know
	// Maps reports whether the driver takes pages of a file that are mapped read-only, without a copy; MapsWhy says why not.
	Maps    bool
	MapsWhy string
	// MemlockBytes is how much memory this process may lock; math.MaxInt64: all.
	MemlockBytes int64
}

// List opens each NPU and asks it. Where there is none, and without the build tag xrt, the error wraps device.ErrUnsupported and says
// what is missing.
func List() ([]Info, error) {
	x, err := systemDriver()
	if err != nil {
		return nil, err
	}
	limit, err := memlockLimit()
	if err != nil {
		return nil, fmt.Errorf("xrt: read RLIMIT_MEMLOCK: %w", err)
	}
	return list(x, limit)
}

func list(x driver, memlock int64) ([]Info, error) {
	var found []Info
	for i := 0; ; i++ {
		n, err := x.count()
		if err != nil {
			return nil, fmt.Errorf("xrt: %w", err)
		}
		if i > 0 && i >= n {
			return found, nil
		}
		d, err := open(x, memlock, Options{Index: i})
		if err != nil {
			return nil, err
		}
		info := Info{Index: i, XRT: x.version().String(), MemlockBytes: memlock}
		err = d.describe(&info)
		if err := errors.Join(err, d.Close()); err != nil {
			return nil, err
		}
		found = append(found, info)
	}
}

// describe fills in what the device says.
func (d *Device) describe(info *Info) error {
	var err error
	if info.Name, err = d.npu.fact(nameFact); err != nil {
		return d.check(err)
	}
	if info.Address, err = d.npu.fact(bdfFact); err != nil {
		return d.check(err)
	}
	host, err := d.npu.fact(hostFact)
	if err == nil {
		info.Driver = driverOf(host)
	}
	platform, err := d.npu.fact(platformFact)
	if err == nil {
		info.Columns = columnsOf(platform)
	}
	page, unmap, err := readOnlyPage()
	if err != nil {
		info.MapsWhy = err.Error()
		return nil
	}
	defer unmap()
	b, err := d.Map(page, 0)
	if err != nil {
		info.MapsWhy = err.Error()
		return nil
	}
	info.Maps = true
	return b.Close()
}

// driverOf finds the NPU's driver in what XRT says of the host.
func driverOf(text string) string {
	var host struct {
		Drivers []struct{ Name, Version string }
	}
	if json.Unmarshal([]byte(text), &host) != nil {
		return ""
	}
	for _, d := range host.Drivers {
		if d.Name == "amdxdna" {
			return d.Name + " " + d.Version
		}
	}
	return ""
}

// columnsOf finds the number of columns in what XRT says of the platform.
func columnsOf(text string) int {
	var platform struct {
		Platforms []struct {
			Region struct {
				Columns int `json:"total_columns,string"`
			} `json:"static_region"`
		}
	}
	if json.Unmarshal([]byte(text), &platform) != nil || len(platform.Platforms) == 0 {
		return 0
	}
	return platform.Platforms[0].Region.Columns
}

var errNoPage = fmt.Errorf("xrt: %w: no page of a file could be mapped to try it", device.ErrUnsupported)
