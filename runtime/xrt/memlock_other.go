//go:build !linux

package xrt

// memlockLimit is for Linux, where the NPU is.
func memlockLimit() (int64, error) { return noLimit, nil }
