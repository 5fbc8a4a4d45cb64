package onnx

import (
	"fmt"
	"sync"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// coding tells how the values of a tensor are made of codes, scales and zero points, all of them arrays of numbers in the file. It is
// the source.Decoder of the tensor, and computes in float32 as ONNX Runtime's CPU kernels do:
//
//	value = (code - zero) * scale                  difference and product each rounded to float32
//	value = code * scale + (-zero * scale)         if it is split: each product and the sum rounded
//
// which is then rounded to the tensor's type. For codes and zero points that are integers of at most 8 bits the difference is exact.
type coding struct {
	typ                  element.Format // of the values: F32, F16 or BF16
	axes                 []codedAxis    // of the tensor, outermost first
	runs                 []codedAxis    // the same elements along as few axes as can be: what is decoded
	codes, scales, zeros numbers        // zeros of no elements: fixed is the zero point of all
	fixed                float32
	split                bool
}

// codedAxis is how an axis of a tensor lies in the arrays that its values are made of.
type codedAxis struct {
	size  uint64
	block uint64 // indices that share scale and zero point; size where all do
	// How many numbers neighbouring indices lie apart in the codes, 1 along the last axis, and neighbouring blocks in the scales and zero
	// points; 0 where these do not depend on the index.
	code, scale, zero uint64
}

// varies reports whether scale or zero point depend on the index.
func (a codedAxis) varies() bool { return a.scale != 0 || a.zero != 0 }

// newCoding completes c, whose arrays must hold all that its axes ask for; the error says which does not.
func newCoding(c coding) (*coding, error) {
	for i := range c.axes {
		if a := &c.axes[i]; !a.varies() || a.block > a.size {
			a.block = a.size
		}
	}
	for _, a := range c.axes {
		if a.size == 0 {
			return &c, nil // no value is asked of it
		}
		if n := len(c.runs); n > 0 {
			if both, ok := asOne(c.runs[n-1], a); ok {
				c.runs[n-1] = both
				continue
			}
		}
		c.runs = append(c.runs, a)
	}
	var code, scale, zero uint64 // the last of each
	for _, a := range c.axes {
		code += (a.size - 1) * a.code
		scale += (a.size - 1) / a.block * a.scale
		zero += (a.size - 1) / a.block * a.zero
	}
	for _, x := range []struct {
		what string
		last uint64
		of   *numbers
	}{{"codes", code, &c.codes}, {"scales", scale, &c.scales}, {"zero points", zero, &c.zeros}} {
		if x.last >= x.of.count && (x.of != &c.zeros || x.of.count > 0) {
			return nil, fmt.Errorf("%d %s, expected at least %d", x.of.count, x.what, x.last+1)
		}
	}
	return &c, nil
}

// asOne is the axes a and b, which follow each other, as one; false if the elements along both do not lie as along one.
func asOne(a, b codedAxis) (codedAxis, bool) {
	perRow := b.size / b.block // blocks of b for each index of a
	switch {
	case a.code != b.code*b.size:
		return a, false
	case !b.varies():
		a.size, a.block, a.code = a.size*b.size, a.block*b.size, b.code
		return a, true
	case a.block == 1 && b.size%b.block == 0 && a.scale == b.scale*perRow && a.zero == b.zero*perRow:
		b.size *= a.size
		return b, true
	}
	return a, false
}

// chunk is the number of elements that are decoded at a time.
const chunk = 4096

// scratch is the memory in which a chunk is decoded.
type scratch struct {
	raw           [4 * chunk]byte // of whatever is read
	values        [chunk]float32
	scales, zeros window
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Decode computes the values of dst.
func (d *coding) Decode(c *source.Catalogue, dst []byte, offset int64) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	size := d.typ.Size()
	for at := uint64(offset) / uint64(size); len(dst) > 0; {
		values := s.values[:min(chunk, len(dst)/size)]
		values, err := d.run(c, s, values, at)
		if err != nil {
			return err
		}
		n := len(values) * size
		if err := element.Encode(dst[:n], values, d.typ); err != nil {
			return err
		}
		dst, at = dst[n:], at+uint64(len(values))
	}
	return nil
}

// run computes the elements from at on: as many of values as lie along one axis, which it gives back.
func (d *coding) run(c *source.Catalogue, s *scratch, values []float32, at uint64) ([]float32, error) {
	last := &d.runs[len(d.runs)-1]
	in, rest := at%last.size, at/last.size
	first := in / last.block
	code, scale, zero := in*last.code, first*last.scale, first*last.zero
	for i := len(d.runs) - 2; i >= 0; i-- {
		a := &d.runs[i]
		index := rest % a.size
		rest /= a.size
		code, scale, zero = code+index*a.code, scale+index/a.block*a.scale, zero+index/a.block*a.zero
	}
	n := min(uint64(len(values)), last.size-in)
	// So few that their scales, and their zero points, are at most a chunk apart.
	blocks := (chunk-1)/max(last.scale, last.zero, 1) + 1
	n = min(n, last.block-in%last.block+(blocks-1)*min(last.block, chunk))
	values = values[:n]
	if err := d.codes.read(c, s, values, code); err != nil {
		return nil, err
	}
	blocks = (in+n-1)/last.block - first + 1
	scales, err := s.scales.of(c, s, &d.scales, scale, (blocks-1)*last.scale+1)
	if err != nil {
		return nil, err
	}
	zeros := []float32{d.fixed}
	if d.zeros.count > 0 {
		if zeros, err = s.zeros.of(c, s, &d.zeros, zero, (blocks-1)*last.zero+1); err != nil {
			return nil, err
		}
	}
	rest, next := n, (first+1)*last.block-in // of the block
	for b, x := uint64(0), values; rest > 0; b++ {
		m := min(rest, next)
		d.scale(x[:m], scales[b*last.scale], zeros[b*last.zero])
		x, rest, next = x[m:], rest-m, last.block
	}
	return values, nil
}

// scale makes values of codes that share scale and zero point. The conversions keep products and sums apart, which else may be
// rounded as one.
func (d *coding) scale(x []float32, scale, zero float32) {
	if d.split {
		back := float32(-scale * zero)
		for i, code := range x {
			x[i] = float32(code*scale) + back
		}
		return
	}
	for i, code := range x {
		x[i] = float32(code-zero) * scale
	}
}
