package torch

import (
	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// strided reads a tensor whose elements, of size bytes, do not lie row-major: element [i, j...] is at offset + (i*stride[0] +
// j*stride[1] + ...) * size of the file.
type strided struct {
	name          string
	file          int
	offset, size  int64
	shape, stride []int64
}

// Decode reads runs along the axis whose stride is 1, as long as dst and that axis allow. Of a transposed matrix those are columns as
// high as dst has whole rows.
func (s strided) Decode(c *source.Catalogue, dst []byte, offset int64) error {
	axis, below := s.runs()
	for first, n := offset/s.size, int64(len(dst))/s.size; n > 0; {
		// As many whole sub-tensors below the axis as there are; or one element, or as many of the last axis.
		count, step := int64(1), int64(1)
		if axis >= 0 && first%below == 0 && n >= below {
			count = min(n/below, s.shape[axis]-first/below%s.shape[axis])
			step = below
		}
		block := dst[:count*step*s.size]
		if err := s.block(c, block, first, count, step); err != nil {
			return err
		}
		dst, first, n = dst[len(block):], first+count*step, n-count*step
	}
	return nil
}

// runs gives the axis along which elements lie one after another, -1 if there is none, and how many elements are below one index
// of it.
func (s strided) runs() (axis int, below int64) {
	below = 1
	for i := len(s.shape) - 1; i >= 0; i-- {
		if s.stride[i] == 1 && s.shape[i] > 1 {
			return i, below
		}
		below *= s.shape[i]
	}
	return -1, 1
}

// block reads count*step elements from element first on: step runs of count elements each, which go to every step-th place.
func (s strided) block(c *source.Catalogue, dst []byte, first, count, step int64) error {
	run := dst
	if step > 1 {
		run = make([]byte, count*s.size)
	}
	for i := range step {
		t := source.Tensor{Name: s.name, Type: element.I8, Data: source.Data{File: s.file, Offset: s.offset + s.at(first+i)*s.size, Size: count * s.size}}
		if err := c.ReadAt(run, &t, 0); err != nil {
			return err
		}
		if step == 1 {
			return nil
		}
		for j := range count {
			copy(dst[(j*step+i)*s.size:][:s.size], run[j*s.size:])
		}
	}
	return nil
}

// at is where element n, row-major, is, in elements.
func (s strided) at(n int64) int64 {
	at := int64(0)
	for i := len(s.shape) - 1; i >= 0; i-- {
		at += n % s.shape[i] * s.stride[i]
		n /= s.shape[i]
	}
	return at
}
