//go:build amd64 && !noasm

package cpu

import "golang.org/x/sys/cpu"

var hasAVX = cpu.X86.HasAVX

// accumulate is accumulatePlain, with the same bits.
func accumulate(c []float32, cStride int, a []float32, aStride int, b []float32, depth, groups int) {
	if !hasAVX || depth == 0 || groups == 0 {
		accumulatePlain(c, cStride, a, aStride, b, depth, groups)
		return
	}
	rows := groups * tileRows
	_, _, _ = c[(rows-1)*cStride+tileCols-1], a[(rows-1)*aStride+depth-1], b[depth*tileCols-1]
	accumulateAVX(&c[0], 4*cStride, &a[0], 4*aStride, &b[0], depth, groups)
}

// accumulateAVX is accumulatePlain with strides in bytes; depth > 0, groups > 0.
//
//go:noescape
func accumulateAVX(c *float32, cStride int, a *float32, aStride int, b *float32, depth, groups int)
