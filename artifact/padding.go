package artifact

import "npuw/artifact/layout"

// padding finds the elements of a layout that are padding, in memory order.
//
// The digits from one on, the others given, are a block of neighbours in memory; what they can add to each axis is known. A block
// that stays inside the extents has no padding, and one that begins beyond them on an axis is padding alone: only the blocks
// between are looked into.
type padding struct {
	layout layout.Layout
	pad    []byte     // the element that padding must be
	block  []uint64   // elements in a block of the digits from one on
	reach  [][]uint64 // for the same, the most that they add to each axis

	begin, end uint64 // the run of padding found last
}

// newPadding is nil for a layout that has no padding.
func newPadding(l layout.Layout, pad []byte) *padding {
	logical := uint64(1)
	for _, a := range l.Axes {
		logical *= a.Extent
	}
	if logical == l.Elements() {
		return nil
	}
	n := len(l.Digits)
	p := &padding{layout: l, pad: pad, block: make([]uint64, n+1), reach: make([][]uint64, n+1)}
	p.block[n], p.reach[n] = 1, make([]uint64, len(l.Axes))
	for d := n - 1; d >= 0; d-- {
		digit := l.Digits[d]
		p.block[d] = p.block[d+1] * digit.Size
		p.reach[d] = append([]uint64(nil), p.reach[d+1]...)
		p.reach[d][digit.Axis] += (digit.Size - 1) * digit.Stride
	}
	return p
}

// run finds the padding that holds element number from, or else the first behind it, with all that follows without a gap.
func (p *padding) run(from uint64) (begin, end uint64) {
	begin, end = p.next(from)
	for end < p.block[0] {
		more, last := p.next(end)
		if more != end {
			break
		}
		end = last
	}
	return begin, end
}

// next finds the run of padding that holds element number from, or else the first behind it: begin and end. Another may follow without
// a gap. There is none where begin is the number of all elements. It must be called with ascending numbers.
func (p *padding) next(from uint64) (begin, end uint64) {
	if p.end <= from {
		p.begin, p.end = p.block[0], p.block[0]
		p.find(0, 0, from, make([]uint64, len(p.layout.Axes)))
	}
	return p.begin, p.end
}

// check looks at the elements from number at on, whole ones, and returns the position of the first byte of padding that is
// wrong, -1 when all is well. It must be called with what follows the last call's.
func (p *padding) check(at uint64, b []byte) int {
	size := len(p.pad)
	last := at + uint64(len(b)/size)
	for from := at; from < last; from = p.end {
		p.next(from)
		for e := max(from, p.begin); e < min(last, p.end); e++ {
			for j, v := range p.pad {
				if i := int(e-at)*size + j; b[i] != v {
					return i
				}
			}
		}
		if p.end > last {
			break
		}
	}
	return -1
}

// find looks for the first run of padding that ends after from, in the block of the digits from d on which begins at element
// number at and at the index given. It sets begin and end and reports true when there is one.
func (p *padding) find(d int, at, from uint64, index []uint64) bool {
	inside := true
	for a, axis := range p.layout.Axes {
		if index[a] >= axis.Extent {
			p.begin, p.end = at, at+p.block[d]
			return true
		}
		inside = inside && index[a]+p.reach[d][a] < axis.Extent
	}
	if inside {
		return false
	}
	digit, step := p.layout.Digits[d], p.block[d+1]
	first := uint64(0)
	if from > at {
		first = (from - at) / step
	}
	before := index[digit.Axis]
	for v := first; v < digit.Size; v++ {
		index[digit.Axis] = before + v*digit.Stride
		if p.find(d+1, at+v*step, from, index) {
			index[digit.Axis] = before
			return true
		}
	}
	index[digit.Axis] = before
	return false
}

// elementBytes are the bits of an element of n bytes as they lie in the file.
func elementBytes(bits uint64, n int) []byte {
	b := make([]byte, n)
	for i := range min(n, 8) {
		b[i] = byte(bits >> (8 * i))
	}
	return b
}
