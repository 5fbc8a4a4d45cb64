//go:build !xrt

package xrt

import (
	"fmt"

	"npuw/runtime/device"
)

// systemDriver says how to build with XRT.
func systemDriver() (driver, error) {
	return nil, fmt.Errorf("xrt: %w: this program was built without XRT; build it with -tags xrt, cgo, a C++17 compiler, and XRT 2.21 or later (Debian: libxrt-dev, libxrt-npu2, uuid-dev)", device.ErrUnsupported)
}
