package ggmlfile

import (
	"encoding/binary"
	"fmt"
	"math"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// maxBlocks is how many blocks are read at a time.
const maxBlocks = 1024

// values decodes a tensor of blocks to float32.
type values struct {
	t   *Type
	raw source.Tensor // the tensor's blocks as bytes
}

// Decode reads the blocks that the elements from offset on are in.
func (v *values) Decode(c *source.Catalogue, dst []byte, offset int64) error {
	first := offset / 4
	blocks := (first%blockValues + int64(len(dst)/4) + blockValues - 1) / blockValues
	buffer := make([]byte, min(blocks, maxBlocks)*v.t.Bytes)
	var decoded [blockValues]float32
	for len(dst) > 0 {
		n := min((first%blockValues+int64(len(dst)/4)+blockValues-1)/blockValues, maxBlocks)
		part := buffer[:n*v.t.Bytes]
		if err := c.ReadAt(part, &v.raw, first/blockValues*v.t.Bytes); err != nil {
			return err
		}
		for ; len(part) > 0 && len(dst) > 0; part = part[v.t.Bytes:] {
			v.t.decode(decoded[:], part[:v.t.Bytes])
			for _, x := range decoded[first%blockValues:][:min(blockValues-first%blockValues, int64(len(dst)/4))] {
				binary.LittleEndian.PutUint32(dst, math.Float32bits(x))
				dst, first = dst[4:], first+1
			}
		}
	}
	return nil
}

// scales reads what the blocks of a tensor share: the f16 with which each begins.
type scales struct {
	t    *Type
	raw  source.Tensor
	grid []uint64 // of blocks
}

// ReadBlocks reads the blocks of a box, one run of the last axis after another.
func (s *scales) ReadBlocks(c *source.Catalogue, dst []element.Block, first, count []uint64) error {
	last := len(s.grid) - 1
	index := make([]uint64, last) // within the box, of the axes before the last
	buffer := make([]byte, min(count[last], maxBlocks)*uint64(s.t.Bytes))
	for len(dst) > 0 {
		at := uint64(0) // of the run
		for i := range index {
			at = (at + first[i] + index[i]) * s.grid[i+1]
		}
		at += first[last]
		for left := count[last]; left > 0; {
			n := min(left, maxBlocks)
			if err := s.run(c, dst[:n], buffer[:n*uint64(s.t.Bytes)], int64(at)); err != nil {
				return err
			}
			dst, at, left = dst[n:], at+n, left-n
		}
		for i := last - 1; i >= 0; i-- {
			if index[i]++; index[i] < count[i] {
				break
			}
			index[i] = 0
		}
	}
	return nil
}

// run reads blocks that follow each other from the block at.
func (s *scales) run(c *source.Catalogue, dst []element.Block, buffer []byte, at int64) error {
	if err := c.ReadAt(buffer, &s.raw, at*s.t.Bytes); err != nil {
		return err
	}
	for i := range dst {
		d := float64(half(buffer[int64(i)*s.t.Bytes:]))
		if math.IsInf(d, 0) || math.IsNaN(d) {
			return &source.Error{
				File: c.Files[s.raw.Data.File].Path, Offset: s.raw.Data.Offset + (at+int64(i))*s.t.Bytes, Thing: fmt.Sprintf("tensor %.200q", s.raw.Name),
				Problem: fmt.Sprintf("a block has the scale %g, expected a finite number", d), Next: "convert the model again", Err: source.ErrNotFinite,
			}
		}
		dst[i] = element.Block{Scale: d, Zero: float64(s.t.zero)}
	}
	return nil
}
