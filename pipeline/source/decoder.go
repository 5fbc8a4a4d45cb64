package source

import "npuw/artifact/element"

// Decoder computes the values of a tensor that its file holds in another form: as codes with scales, in other strides. It may be
// used from several goroutines.
type Decoder interface {
	// Decode fills dst with the tensor's bytes, row-major and little-endian, from byte offset on. Both are whole elements, and all of
	// them are within the tensor. It reads c's files, no more of them than a bounded multiple of what it gives.
	Decode(c *Catalogue, dst []byte, offset int64) error
}

// Codes are what the values of a tensor are made of, so that they can be moved to an operand without any rounding:
//
//	value = (decode(code) - zero) * scale
//
// rounded once, to the tensor's type. A block is what shares scale and zero. Blocks form a grid over the tensor: block [i, j] has the
// indices from i*Block[0] and j*Block[1] on.
type Codes struct {
	Scheme element.Scheme // formats of codes, scales and zeros; there are no minimums
	Block  []uint64       // how many indices of each axis of the tensor a block spans
	Blocks BlockReader
}

// BlockReader reads what blocks share. It may be used from several goroutines.
type BlockReader interface {
	// ReadBlocks fills dst with the blocks of the box [first, first+count) of the grid, row-major.
	ReadBlocks(c *Catalogue, dst []element.Block, first, count []uint64) error
}

// pieces decodes a part of a tensor: pieces of run bytes that begin apart bytes from one another, the first at first.
type pieces struct {
	of                Decoder
	first, run, apart int64
}

// Decode gives the bytes of the pieces, one behind the other.
func (p pieces) Decode(c *Catalogue, dst []byte, offset int64) error {
	for len(dst) > 0 {
		n := min(int64(len(dst)), p.run-offset%p.run)
		if err := p.of.Decode(c, dst[:n], p.first+offset/p.run*p.apart+offset%p.run); err != nil {
			return err
		}
		dst, offset = dst[n:], offset+n
	}
	return nil
}
