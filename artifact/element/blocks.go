package element

import (
	"fmt"
	"math"
)

// EncodeBlocks writes what the blocks share as elements of the scheme's formats, in their order: the scales, the zero points (one a
// byte, also those of 4 bits) and the minimums. What the scheme does not have must be empty. A block whose numbers are not values
// of these formats is an error.
func (s Scheme) EncodeBlocks(scales, zeros, minimums []byte, blocks []Block) error {
	if err := s.checkPlanes(scales, zeros, minimums, len(blocks)); err != nil {
		return err
	}
	planes := [...][]byte{scales, zeros, minimums}
	for i, b := range blocks {
		for k, n := range s.numbers(b) {
			size := n.size()
			if err := n.encode(planes[k][i*size:][:size]); err != nil {
				return fmt.Errorf("element: block %d: %w", i, err)
			}
		}
	}
	return nil
}

// CheckBlock says why no block of s can be b; nil when one can: its numbers are finite and values of their formats.
func (s Scheme) CheckBlock(b Block) error {
	var element [4]byte
	for _, n := range s.numbers(b) {
		if err := n.encode(element[:n.size()]); err != nil {
			return fmt.Errorf("element: %w", err)
		}
	}
	return nil
}

// number is one of those that a block shares, and the format of its element; 0: the scheme has none.
type number struct {
	what  string
	f     Format
	value float64
}

// numbers are those of a block, in the order of their planes.
func (s Scheme) numbers(b Block) [3]number {
	return [...]number{{"scale", s.Scales, b.Scale}, {"zero", s.Zeros, b.Zero}, {"minimum", s.Minimums, b.Minimum}}
}

// size is how many bytes the element takes, unpacked.
func (n number) size() int {
	if n.f == 0 {
		return 0
	}
	return n.f.unpacked()
}

// encode writes the element whose value the number is; without a format it must be 0.
func (n number) encode(dst []byte) error {
	if n.f == 0 && n.value == 0 || n.f != 0 && encodeExactly(dst, n.value, n.f) {
		return nil
	}
	return fmt.Errorf("%s %g is no finite value of %v", n.what, n.value, n.f)
}

// DecodeBlocks is the inverse of EncodeBlocks. A scale or a minimum that is not finite is an error.
func (s Scheme) DecodeBlocks(blocks []Block, scales, zeros, minimums []byte) error {
	if err := s.checkPlanes(scales, zeros, minimums, len(blocks)); err != nil {
		return err
	}
	for i := range blocks {
		b := &blocks[i]
		*b = Block{Scale: decodeOne(scales, i, s.Scales)}
		if s.Zeros != 0 {
			b.Zero = decodeOne(zeros, i, s.Zeros)
		}
		if s.Minimums != 0 {
			b.Minimum = decodeOne(minimums, i, s.Minimums)
		}
		if !finite(b.Scale) || !finite(b.Minimum) {
			return fmt.Errorf("element: block %d has scale %g and minimum %g; finite ones were expected", i, b.Scale, b.Minimum)
		}
	}
	return nil
}

// checkPlanes reports a scheme that is none, and planes that do not have the given number of elements.
func (s Scheme) checkPlanes(scales, zeros, minimums []byte, blocks int) error {
	if err := s.Validate(); err != nil {
		return err
	}
	for _, p := range []struct {
		what  string
		bytes int
		f     Format
	}{{"scales", len(scales), s.Scales}, {"zeros", len(zeros), s.Zeros}, {"minimums", len(minimums), s.Minimums}} {
		switch {
		case p.f == 0 && p.bytes != 0:
			return fmt.Errorf("element: %d bytes of %s, of which the scheme has none", p.bytes, p.what)
		case p.f != 0 && checkLengths(blocks, p.bytes, p.f) != nil:
			return fmt.Errorf("element: %d bytes of %s are not %d of %v", p.bytes, p.what, blocks, p.f)
		}
	}
	return nil
}

// encodeExactly writes the element of f whose value is v, and reports whether there is one.
func encodeExactly(dst []byte, v float64, f Format) bool {
	switch {
	case f.Plain():
		encode(dst, []float64{v}, f)
	case f == E8M0:
		_, exponent := math.Frexp(v)
		dst[0] = byte(min(max(exponent-1+biasE8M0, 0), nanE8M0))
	default:
		dst[0] = byte(math.Float64bits(v + integer))
		if f.Size() == 0 {
			dst[0] &= 0xf
		}
	}
	return finite(v) && decodeOne(dst, 0, f) == v
}

// decodeOne is the value of element i of f in src, those of 4 bits one a byte.
func decodeOne(src []byte, i int, f Format) float64 {
	var v [1]float32
	size := f.unpacked()
	decode32(v[:], src[i*size:][:size], f)
	return float64(v[0])
}
