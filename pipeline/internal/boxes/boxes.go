// Package boxes reads boxes of a parameter from its source, in whatever order the source has them and in pieces that fit the memory.
package boxes

import (
	"fmt"
	"slices"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// Box is a part of a parameter: [Begin, Begin+Size) on each of its axes.
type Box struct{ Begin, Size []uint64 }

// Whole is all of a parameter of the given shape.
func Whole(shape []uint64) Box {
	return Box{make([]uint64, len(shape)), slices.Clone(shape)}
}

// Volume is the number of elements.
func (b Box) Volume() uint64 {
	n := uint64(1)
	for _, s := range b.Size {
		n *= s
	}
	return n
}

// Part is the box that is [begin, begin+size) of b on one axis, and b on all others. It shares no memory with b.
func (b Box) Part(axis int, begin, size uint64) Box {
	p := Box{slices.Clone(b.Begin), slices.Clone(b.Size)}
	p.Begin[axis] += begin
	p.Size[axis] = size
	return p
}

// Order gives the axes of a parameter in the order of its source, outermost first.
func Order(p *model.Parameter) []int {
	order := make([]int, len(p.Shape))
	for axis, at := range p.Perm {
		order[at] = axis
	}
	return order
}

// Check refuses a parameter that cannot be read: its elements are no whole bytes, or its shape is not that of its tensor.
func Check(p *model.Parameter) error {
	t := &p.Tensor
	fits := t.Type.Size() > 0 && len(p.Perm) == len(p.Shape) && len(t.Shape) == len(p.Shape)
	for axis := range p.Shape {
		fits = fits && p.Perm[axis] >= 0 && p.Perm[axis] < len(t.Shape) && t.Shape[p.Perm[axis]] == p.Shape[axis]
	}
	if !fits {
		return fmt.Errorf("parameter %q of shape %d lies as %v of shape %d, axes %d: these cannot be read", p.Name, p.Shape, t.Type, t.Shape, p.Perm)
	}
	return nil
}

// Read reads the elements of a box into raw, one behind the other in the order of the source.
func Read(c *source.Catalogue, p *model.Parameter, b Box, raw []byte) error {
	order := Order(p)
	strides := make([]uint64, len(order)) // by place in order, in elements
	for i, stride := len(order)-1, uint64(1); i >= 0; i-- {
		strides[i] = stride
		stride *= p.Shape[order[i]]
	}
	// A run is what lies together: the innermost axes as far as they are whole, and one more.
	size := uint64(p.Tensor.Type.Size())
	run, outer := size, len(order)
	for outer > 0 {
		outer--
		axis := order[outer]
		run *= b.Size[axis]
		if b.Size[axis] != p.Shape[axis] {
			break
		}
	}
	first := uint64(0)
	for i, axis := range order {
		first += b.Begin[axis] * strides[i]
	}
	index := make([]uint64, outer)
	for {
		at := first
		for i, n := range index {
			at += n * strides[i]
		}
		if err := c.ReadAt(raw[:run], &p.Tensor, int64(at*size)); err != nil {
			return err
		}
		raw = raw[run:]
		i := outer - 1
		for ; i >= 0; i-- {
			if index[i]++; index[i] < b.Size[order[i]] {
				break
			}
			index[i] = 0
		}
		if i < 0 {
			return nil
		}
	}
}
