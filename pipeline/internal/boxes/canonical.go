package boxes

import (
	"io"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// pieceBytes is about how much of a parameter is held at a time, twice where it has to be brought into another order.
const pieceBytes = 4 << 20

// Write writes the elements of a parameter as they are, row-major in the order of its own axes, which is PyTorch's: the same bytes
// wherever and in whatever orientation the source holds them.
func Write(w io.Writer, c *source.Catalogue, p *model.Parameter) error {
	return write(w, c, p, pieceBytes)
}

// write is Write with pieces of a given size.
func write(w io.Writer, c *source.Catalogue, p *model.Parameter, most uint64) error {
	if err := Check(p); err != nil {
		return err
	}
	t := canonical{Writer: w, catalogue: c, parameter: p, elem: uint64(p.Tensor.Type.Size()), most: most}
	return t.write(Whole(p.Shape), 0)
}

type canonical struct {
	io.Writer
	catalogue *source.Catalogue
	parameter *model.Parameter
	elem      uint64
	most      uint64 // bytes of a piece
	raw, out  []byte
}

// write writes a box that is whole on all axes behind axis, and one index of those before it.
func (t *canonical) write(b Box, axis int) error {
	n := b.Volume()
	if n == 0 {
		return nil
	}
	if n*t.elem <= t.most {
		return t.piece(b)
	}
	step := max(t.most/t.elem/(n/b.Size[axis]), 1)
	for i := uint64(0); i < b.Size[axis]; i += step {
		part := b.Part(axis, i, min(step, b.Size[axis]-i))
		next := t.piece
		if part.Volume()*t.elem > t.most {
			next = func(b Box) error { return t.write(b, axis+1) }
		}
		if err := next(part); err != nil {
			return err
		}
	}
	return nil
}

// piece writes a box that fits.
func (t *canonical) piece(b Box) error {
	n := int(b.Volume() * t.elem)
	if cap(t.raw) < n {
		t.raw = make([]byte, n)
	}
	raw := t.raw[:n]
	if err := Read(t.catalogue, t.parameter, b, raw); err != nil {
		return err
	}
	if order := Order(t.parameter); !ascending(order, b.Size) {
		if cap(t.out) < n {
			t.out = make([]byte, n)
		}
		t.out = t.out[:n]
		transpose(t.out, raw, b.Size, order, int(t.elem))
		raw = t.out
	}
	_, err := t.Write(raw)
	return err
}

// ascending reports whether axes in this order lie as they are numbered, those of size 1 left out.
func ascending(order []int, size []uint64) bool {
	last := -1
	for _, axis := range order {
		if size[axis] == 1 {
			continue
		}
		if axis < last {
			return false
		}
		last = axis
	}
	return true
}

// transpose brings the elements of a box, which lie in src with its axes in the given order, into ascending order of axes.
func transpose(dst, src []byte, size []uint64, order []int, elem int) {
	strides := make([]int, len(size)) // in dst, in bytes, by axis
	for axis, stride := len(size)-1, elem; axis >= 0; axis-- {
		strides[axis] = stride
		stride *= int(size[axis])
	}
	// Rows of src along its last axis, a block of them at a time, so that the lines of dst that they touch are still in the cache.
	last := order[len(order)-1]
	width, step := int(size[last]), strides[last]
	starts := rowStarts(size, order, strides)
	const block = 16
	row := width * elem
	for first := 0; first < len(starts); first += block {
		at := starts[first:min(first+block, len(starts))]
		from := src[first*row:]
		if elem == 4 && len(at) == block && at[block-1]-at[0] == (block-1)*elem {
			transposeBlock4(dst[at[0]:], from, row, step)
			continue
		}
		for column := range width {
			for i, begin := range at {
				copy(dst[begin+column*step:][:elem], from[i*row+column*elem:])
			}
		}
	}
}

// transposeBlock4 does it for 16 rows of elements of 4 bytes that become columns beside each other, as those of most matrices do.
func transposeBlock4(dst, src []byte, row, step int) {
	var rows [16][]byte
	for i := range rows {
		rows[i] = src[i*row:][:row]
	}
	for at := 0; at+4 <= row; at += 4 {
		to := (*[64]byte)(dst[at/4*step:])
		for i := range rows {
			*(*[4]byte)(to[4*i:]) = *(*[4]byte)(rows[i][at:])
		}
	}
}

// rowStarts gives where each row of a box, which lies with its axes in the given order, begins.
func rowStarts(size []uint64, order, strides []int) []int {
	starts := []int{0}
	for _, axis := range order[:len(order)-1] {
		next := make([]int, 0, len(starts)*int(size[axis]))
		for _, at := range starts {
			for i := range int(size[axis]) {
				next = append(next, at+i*strides[axis])
			}
		}
		starts = next
	}
	return starts
}
