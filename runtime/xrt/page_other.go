//go:build !linux

package xrt

// readOnlyPage is for Linux, where the NPU is.
func readOnlyPage() (page []byte, unmap func(), err error) { return nil, nil, errNoPage }
