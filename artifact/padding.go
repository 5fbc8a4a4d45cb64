package artifact

// padding finds the elements of an operand that are padding, in memory order.
//
// The digits from one on, the others given, are a block of neighbours in memory; what they can add to each axis is known. A block
// that stays inside the extents has no padding, and one that begins beyond them on an axis is padding alone: only the blocks
// between are looked into.
type padding struct {
	o     *Operand
	pad   []byte
	block []uint64   // elements in a block of the digits from one on
	reach [][]uint64 // for the same, the most that they add to each axis

	begin, end uint64 // the run of padding found last
}

// newPadding is nil for an operand that has no padding, or that this version cannot read.
func newPadding(o *Operand) *padding {
	if !o.Supported() || o.Elements() == o.Layout.Elements() {
		return nil
	}
	n := len(o.Layout.Digits)
	p := &padding{o: o, pad: o.padBytes(), block: make([]uint64, n+1), reach: make([][]uint64, n+1)}
	p.block[n], p.reach[n] = 1, make([]uint64, len(o.Layout.Axes))
	for d := n - 1; d >= 0; d-- {
		digit := o.Layout.Digits[d]
		p.block[d] = p.block[d+1] * digit.Size
		p.reach[d] = append([]uint64(nil), p.reach[d+1]...)
		p.reach[d][digit.Axis] += (digit.Size - 1) * digit.Stride
	}
	return p
}

// check looks at the elements from number at on, whole ones, and returns the position of the first byte of padding that is
// wrong, -1 when all is well. It must be called with what follows the last call's.
func (p *padding) check(at uint64, b []byte) int {
	size := len(p.pad)
	last := at + uint64(len(b)/size)
	for from := at; from < last; from = p.end {
		if p.end <= from {
			p.begin, p.end = p.block[0], p.block[0]
			p.find(0, 0, from, make([]uint64, len(p.o.Layout.Axes)))
		}
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
	for a, axis := range p.o.Layout.Axes {
		if index[a] >= axis.Extent {
			p.begin, p.end = at, at+p.block[d]
			return true
		}
		inside = inside && index[a]+p.reach[d][a] < axis.Extent
	}
	if inside {
		return false
	}
	digit, step := p.o.Layout.Digits[d], p.block[d+1]
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

// padBytes is the padding element as it lies in the file.
func (o *Operand) padBytes() []byte {
	b := make([]byte, o.Format.Size())
	for i := range b {
		b[i] = byte(o.PadBits >> (8 * i))
	}
	return b
}
