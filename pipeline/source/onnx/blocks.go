package onnx

import (
	"slices"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// asCodes tells what codes the values of d are, nil where no scheme of operands says the same: for zero points that are not integers,
// and codes in 2 bits, FP4, float8 or 32 bits. typ is the type of the codes.
func (d *coding) asCodes(typ DataType) *source.Codes {
	format := map[DataType]element.Format{
		typeUint8: element.U8, typeInt8: element.I8, typeUint4: element.U4, typeInt4: element.I4, codeNF4: element.NF4,
	}[typ]
	scheme := element.Scheme{Codes: format, Scales: d.scales.tensor.Type}
	unsigned := format == element.U8 || format == element.U4
	if unsigned || d.zeros.count > 0 || d.fixed != 0 {
		scheme.Zeros = format
	}
	if d.split || d.zeros.count > 0 && d.zeros.codes == nil || scheme.Validate() != nil {
		return nil
	}
	block := make([]uint64, len(d.axes))
	for i, a := range d.axes {
		block[i] = a.block
	}
	return &source.Codes{Scheme: scheme, Block: block, Blocks: d}
}

// ReadBlocks gives scale and zero point of the blocks of a box.
func (d *coding) ReadBlocks(c *source.Catalogue, dst []element.Block, first, count []uint64) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	at := slices.Clone(first)
	for i := range dst {
		var scale, zero uint64
		for a, index := range at {
			scale, zero = scale+index*d.axes[a].scale, zero+index*d.axes[a].zero
		}
		values, err := s.scales.of(c, s, &d.scales, scale, 1)
		if err != nil {
			return err
		}
		dst[i] = element.Block{Scale: float64(values[0]), Zero: float64(d.fixed)}
		if d.zeros.count > 0 {
			if values, err = s.zeros.of(c, s, &d.zeros, zero, 1); err != nil {
				return err
			}
			dst[i].Zero = float64(values[0])
		}
		for a := len(at) - 1; a >= 0; a-- {
			if at[a]++; at[a] < first[a]+count[a] {
				break
			}
			at[a] = first[a]
		}
	}
	return nil
}

// partBlocks are the blocks of a part of an axis of which each index is a block.
type partBlocks struct {
	of   source.BlockReader
	axis int
	part Part
}

// ReadBlocks gives the blocks of a box of the part.
func (p partBlocks) ReadBlocks(c *source.Catalogue, dst []element.Block, first, count []uint64) error {
	outer, inner := uint64(1), uint64(1)
	for _, n := range count[:p.axis] {
		outer *= n
	}
	for _, n := range count[p.axis+1:] {
		inner *= n
	}
	of, one := slices.Clone(first), slices.Clone(count)
	one[p.axis] = 1
	blocks := make([]element.Block, outer*inner)
	for i := range count[p.axis] {
		index := first[p.axis] + i
		of[p.axis] = index/p.part.Run*p.part.Apart + p.part.First + index%p.part.Run
		if err := p.of.ReadBlocks(c, blocks, of, one); err != nil {
			return err
		}
		for j := range outer {
			copy(dst[(j*count[p.axis]+i)*inner:][:inner], blocks[j*inner:][:inner])
		}
	}
	return nil
}

// partOf is the codes of part p of an axis of size indices; nil where a block is of more than one index and less than all.
func partOf(c *source.Codes, axis int, p Part, size, whole uint64) *source.Codes {
	if c == nil || c.Block[axis] != 1 && c.Block[axis] != whole {
		return nil
	}
	of := *c
	of.Block = slices.Clone(c.Block)
	if c.Block[axis] == 1 {
		of.Blocks = partBlocks{c.Blocks, axis, p}
	} else {
		of.Block[axis] = size
	}
	return &of
}
