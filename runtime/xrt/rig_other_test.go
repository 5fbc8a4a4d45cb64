//go:build !xrt

package xrt

import "testing"

// onSoftware does nothing in a program without XRT: `go tool mage test:xrt` builds one that has it.
func onSoftware(*testing.T, conditions, func(*testing.T, *rig)) {}
