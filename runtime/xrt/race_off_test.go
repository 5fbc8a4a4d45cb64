//go:build !race && xrt

package xrt

// detectorBytes is more than the race detector itself remembers of 1000 cycles: it is off.
const detectorBytes = 0
