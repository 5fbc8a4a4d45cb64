package layout

import "encoding/binary"

// Patches move in two ways, each the same in both directions:
//
//   - as pieces of a row that are contiguous in packed, with a load and a store a piece; at worst, a piece is one element;
//   - where rows are neighbours in packed, as square blocks that are transposed in registers, so that each load and each
//     store moves 8 bytes.

// rect is a patch whose place in both buffers has been checked.
type rect struct {
	packed, patch []byte
	toPatch       bool  // the direction
	rows, cols    []int // what each row and column adds to an offset in packed, in bytes
	stride        int   // bytes from one row of patch to the next
	elem          int
	// Rows, or columns, are neighbours in packed in runs of this many, 1 if they are not; begin is how far into a run the
	// patch begins.
	rowRun, colRun     int
	rowBegin, colBegin int
}

// move moves the patch, cut into parts that suit the ways above.
func (r rect) move() {
	lanes := 1
	if r.elem == 1 || r.elem == 2 || r.elem == 4 {
		lanes = 8 / r.elem
	}
	switch {
	case r.colRun > 1:
		head := min(len(r.cols), (r.colRun-r.colBegin)%r.colRun)
		tail := head + (len(r.cols)-head)/r.colRun*r.colRun
		r.columns(0, head).pieces(head)
		r.columns(head, tail).pieces(r.colRun)
		r.columns(tail, len(r.cols)).pieces(len(r.cols) - tail)
	case r.rowRun > 1 && lanes > 1 && r.rowRun%lanes == 0:
		head := min(len(r.rows), (lanes-r.rowBegin%lanes)%lanes)
		tail := head + (len(r.rows)-head)/lanes*lanes
		side := len(r.cols) / lanes * lanes
		r.lines(0, head).pieces(1)
		r.lines(head, tail).columns(0, side).turn()
		r.lines(head, tail).columns(side, len(r.cols)).pieces(1)
		r.lines(tail, len(r.rows)).pieces(1)
	default:
		r.pieces(1)
	}
}

// lines returns the rows from i to j-1.
func (r rect) lines(i, j int) rect {
	r.rows = r.rows[i:j]
	r.patch = r.patch[min(i*r.stride, len(r.patch)):]
	return r
}

// columns returns the columns from i to j-1.
func (r rect) columns(i, j int) rect {
	r.cols = r.cols[i:j]
	r.patch = r.patch[min(i*r.elem, len(r.patch)):]
	return r
}

// pieces moves every row in pieces of n columns, contiguous in packed; the columns are a multiple of n.
func (r rect) pieces(n int) {
	var inPacked, inPatch [block]int
	for c := 0; c < len(r.cols); {
		k := 0
		for ; k < block && c < len(r.cols); k++ {
			inPacked[k], inPatch[k] = r.cols[c], c*r.elem
			c += n
		}
		for i, row := range r.rows {
			if packed, patch := r.packed[row:], r.patch[i*r.stride:]; r.toPatch {
				movePieces(patch, packed, inPatch[:k], inPacked[:k], n*r.elem)
			} else {
				movePieces(packed, patch, inPacked[:k], inPatch[:k], n*r.elem)
			}
		}
	}
}

// movePieces copies size bytes from each offset of src to the offset of dst beside it.
func movePieces(dst, src []byte, to, from []int, size int) {
	from = from[:len(to)]
	switch size {
	case 1:
		for i, at := range to {
			dst[at] = src[from[i]]
		}
	case 2:
		for i, at := range to {
			*(*[2]byte)(dst[at : at+2 : at+2]) = *(*[2]byte)(src[from[i] : from[i]+2 : from[i]+2])
		}
	case 4:
		for i, at := range to {
			*(*[4]byte)(dst[at : at+4 : at+4]) = *(*[4]byte)(src[from[i] : from[i]+4 : from[i]+4])
		}
	case 8:
		for i, at := range to {
			*(*[8]byte)(dst[at : at+8 : at+8]) = *(*[8]byte)(src[from[i] : from[i]+8 : from[i]+8])
		}
	case 16:
		for i, at := range to {
			*(*[16]byte)(dst[at : at+16 : at+16]) = *(*[16]byte)(src[from[i] : from[i]+16 : from[i]+16])
		}
	default:
		for i, at := range to {
			copy(dst[at:at+size], src[from[i]:])
		}
	}
}

// turn moves blocks of 8/elem rows, neighbours in packed, and as many columns; rows and columns are multiples of that.
func (r rect) turn() {
	side := 8 / r.elem
	var inPatch [8]int
	for k := range inPatch {
		inPatch[k] = k * r.stride
	}
	for c := 0; c < len(r.cols); c += side {
		inPacked := r.cols[c:]
		for i := 0; i < len(r.rows); i += side {
			if packed, patch := r.packed[r.rows[i]:], r.patch[i*r.stride+c*r.elem:]; r.toPatch {
				turnBlock(patch, packed, inPatch[:], inPacked, side)
			} else {
				turnBlock(packed, patch, inPacked, inPatch[:], side)
			}
		}
	}
}

// turnBlock reads side words of side elements, one at each offset of src, and writes their transpose to the offsets of dst.
func turnBlock(dst, src []byte, to, from []int, side int) {
	switch side {
	case 2:
		to, from = to[:2:2], from[:2:2]
		a, b := swap(load(src, from[0]), load(src, from[1]), 32, 0x00000000ffffffff)
		store(dst, to[0], a)
		store(dst, to[1], b)
	case 4:
		to, from = to[:4:4], from[:4:4]
		a, c := swap(load(src, from[0]), load(src, from[2]), 32, 0x00000000ffffffff)
		b, d := swap(load(src, from[1]), load(src, from[3]), 32, 0x00000000ffffffff)
		a, b = swap(a, b, 16, 0x0000ffff0000ffff)
		c, d = swap(c, d, 16, 0x0000ffff0000ffff)
		store(dst, to[0], a)
		store(dst, to[1], b)
		store(dst, to[2], c)
		store(dst, to[3], d)
	case 8:
		turn8(dst, src, to[:8:8], from[:8:8])
	}
}

func turn8(dst, src []byte, to, from []int) {
	var w [8]uint64
	for i := range 4 {
		w[i], w[i+4] = swap(load(src, from[i]), load(src, from[i+4]), 32, 0x00000000ffffffff)
	}
	for _, i := range [...]int{0, 1, 4, 5} {
		w[i], w[i+2] = swap(w[i], w[i+2], 16, 0x0000ffff0000ffff)
	}
	for i := 0; i < 8; i += 2 {
		a, b := swap(w[i], w[i+1], 8, 0x00ff00ff00ff00ff)
		store(dst, to[i], a)
		store(dst, to[i+1], b)
	}
}

func load(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at : at+8 : at+8]) }

func store(b []byte, at int, v uint64) { binary.LittleEndian.PutUint64(b[at:at+8:at+8], v) }

// swap exchanges the upper fields of a with the lower fields of b, where mask covers the lower fields and shift leads from
// the lower to the upper.
func swap(a, b uint64, shift uint, mask uint64) (uint64, uint64) {
	t := (a>>shift ^ b) & mask
	return a ^ t<<shift, b ^ t
}
