package pack

import (
	"fmt"
	"slices"

	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// join puts windows together to bands: so that each block of values, and each byte of the planes that hold what blocks share, lies
// in one.
func (x *matrix) join() error {
	x.per, x.bands = ones(len(x.step)), slices.Clone(x.count)
	if x.operand.Encoding == plane.Plain {
		return nil
	}
	x.block = x.storage.Planes[1].Block
	if x.block == nil {
		x.block = ones(len(x.step))
	}
	shared := x.storage.Planes[1:]
	for i := range shared {
		block := shared[i].Block
		if block == nil {
			block = ones(len(x.step))
		}
		if !slices.Equal(block, x.block) {
			return fmt.Errorf("%v by blocks of %d and %v by %d; the same were expected", shared[i].Role, block, shared[0].Role, x.block)
		}
	}
	for a, b := range x.block {
		unit := x.bandUnit(a, b)
		if padded := x.operand.Layout.Axes[a].Padded; unit >= padded {
			x.per[a] = x.count[a]
		} else {
			x.per[a] = min(unit/gcd(unit, x.step[a]), x.count[a])
		}
	}
	x.countBands()
	if !x.sharable() {
		copy(x.per, x.count)
		x.countBands()
	}
	return nil
}

// bandUnit is how many indices of an axis make whole blocks, and whole bytes of what blocks share.
func (x *matrix) bandUnit(axis int, block uint64) uint64 {
	for i := range x.storage.Planes[1:] {
		p := &x.storage.Planes[1+i]
		if d, ok := innermost(p.Layout); ok && d.Axis == axis && p.Format.Bits()%8 != 0 {
			return 2 * block
		}
	}
	return block
}

func (x *matrix) countBands() {
	for a := range x.bands {
		x.bands[a] = (x.count[a]-1)/x.per[a] + 1
	}
}

// sharable reports whether what the blocks of each band share can be packed band by band. Where it cannot, the operand is one band.
func (x *matrix) sharable() bool {
	for i := range x.storage.Planes[1:] {
		p := &x.storage.Planes[1+i]
		if d, ok := innermost(p.Layout); p.Format.Bits()%8 != 0 && (!ok || d.Stride != 1 || d.Size%2 != 0) {
			return false
		}
		for j := range int(volume(x.bands)) {
			b := x.band(j)
			if _, err := p.Layout.Window(b.grid(x.block)); err != nil {
				return false
			}
		}
	}
	return true
}

// band is a box of windows: count of them from first on, on each axis. Together they are the box [begin, begin+size) of the
// padded index space.
type band struct {
	first, count []uint64
	begin, size  []uint64
}

// band is the i-th of them. Bands, and the windows of one, are counted through the axes as the operand has them: the last varies
// fastest.
func (x *matrix) band(i int) band {
	n := len(x.step)
	b := band{make([]uint64, n), make([]uint64, n), make([]uint64, n), make([]uint64, n)}
	rest := uint64(i)
	for a := n - 1; a >= 0; a-- {
		b.first[a] = rest % x.bands[a] * x.per[a]
		rest /= x.bands[a]
		b.count[a] = min(x.per[a], x.count[a]-b.first[a])
		b.begin[a] = b.first[a] * x.step[a]
		b.size[a] = min(b.count[a]*x.step[a], x.operand.Layout.Axes[a].Padded-b.begin[a])
	}
	return b
}

// windows is the number of a band's windows.
func (b *band) windows() int { return int(volume(b.count)) }

// grid is the box of blocks that a band holds.
func (b *band) grid(block []uint64) (begin, size []uint64) {
	begin, size = make([]uint64, len(block)), make([]uint64, len(block))
	for a, n := range block {
		begin[a] = b.begin[a] / n
		size[a] = (b.begin[a]+b.size[a]-1)/n + 1 - begin[a]
	}
	return begin, size
}

// window is the i-th window of a band.
func (x *matrix) window(b *band, i int) (layout.Window, error) {
	begin, size := make([]uint64, len(x.step)), make([]uint64, len(x.step))
	rest := uint64(i)
	for a := len(begin) - 1; a >= 0; a-- {
		begin[a] = (b.first[a] + rest%b.count[a]) * x.step[a]
		rest /= b.count[a]
		size[a] = min(x.step[a], x.operand.Layout.Axes[a].Padded-begin[a])
	}
	return x.operand.Layout.Window(begin, size)
}
