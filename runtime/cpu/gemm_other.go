//go:build !amd64 || noasm

package cpu

// accumulate is accumulatePlain: without assembly the plain path does all.
func accumulate(c []float32, cStride int, a []float32, aStride int, b []float32, depth, groups int) {
	accumulatePlain(c, cStride, a, aStride, b, depth, groups)
}
