package whisper

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// chunk is how many values are compared at a time.
const chunk = 16 << 10

// isZero reports whether all values of t are 0.
func isZero(c *source.Catalogue, t *source.Tensor) (bool, error) {
	elements, _ := source.Elements(t.Shape)
	var buffer valueBuffer
	for at := uint64(0); at < elements; at += chunk {
		if err := buffer.read(c, t, at, min(chunk, elements-at)); err != nil {
			return false, err
		}
		values, err := buffer.decode(t)
		if err != nil || slices.ContainsFunc(values, func(x float64) bool { return x != 0 }) {
			return false, err
		}
	}
	return true, nil
}

// equal reports whether a and b, of the same shape, have the same values, bit for bit once they are float64.
func equal(c *source.Catalogue, a, b *source.Tensor) (bool, error) {
	if sameBytes(a, b) {
		return true, nil
	}
	elements, _ := source.Elements(a.Shape)
	var x, y valueBuffer
	for at := uint64(0); at < elements; at += chunk {
		n := min(chunk, elements-at)
		if err := x.read(c, a, at, n); err != nil {
			return false, err
		}
		if err := y.read(c, b, at, n); err != nil {
			return false, err
		}
		if a.Type == b.Type && bytes.Equal(x.raw, y.raw) {
			continue
		}
		v, err := x.decode(a)
		if err != nil {
			return false, err
		}
		w, err := y.decode(b)
		if err != nil || !slices.EqualFunc(v, w, func(v, w float64) bool { return math.Float64bits(v) == math.Float64bits(w) }) {
			return false, err
		}
	}
	return true, nil
}

// sameBytes reports whether a and b are the same bytes of a file.
func sameBytes(a, b *source.Tensor) bool {
	x, y := a.Data, b.Data
	plain := x.Inline == nil && y.Inline == nil && x.Decoder == nil && y.Decoder == nil
	return plain && a.Type == b.Type && x.File == y.File && x.Offset == y.Offset && x.Size == y.Size && x.Run == y.Run && x.Apart == y.Apart
}

// valueBuffer holds some values of a tensor: as the file has them, and what they are.
type valueBuffer struct {
	raw    []byte
	values []float64
}

// read reads n values, at most chunk, from value at on.
func (b *valueBuffer) read(c *source.Catalogue, t *source.Tensor, at, n uint64) error {
	size := uint64(t.Type.Size())
	if b.raw == nil {
		b.raw = make([]byte, n*size)
	}
	b.raw = b.raw[:n*size]
	return c.ReadAt(b.raw, t, int64(at*size))
}

// decode gives what was read.
func (b *valueBuffer) decode(t *source.Tensor) ([]float64, error) {
	n := len(b.raw) / t.Type.Size()
	if b.values == nil {
		b.values = make([]float64, n)
	}
	b.values = b.values[:n]
	return b.values, element.ToFloat64(b.values, b.raw, t.Type)
}

func noteZeroBiases(n int) string {
	return fmt.Sprintf("the biases of k_proj in %d layers are 0, and left out", n)
}

func noteLogits(sameBytes bool) string {
	if sameBytes {
		return "proj_out.weight is decoder.embed_tokens.weight: the same bytes of the file"
	}
	return "proj_out.weight is a copy of decoder.embed_tokens.weight, equal in every value, and left out"
}

// maxBlock bounds the values of a matrix that are held at a time while it is compared with one stored the other way round. A row of the
// largest Whisper has 1280, of which there are 51866.
const maxBlock = 1 << 20

// sameParameter reports whether p and q have the same shape and the same values, bit for bit once they are float64.
func sameParameter(c *source.Catalogue, p, q *parameter) (bool, error) {
	if !slices.Equal(p.Shape, q.Shape) {
		return false, nil
	}
	switch {
	case slices.Equal(p.Perm, q.Perm) && slices.Equal(p.Tensor.Shape, q.Tensor.Shape):
		return equal(c, &p.Tensor, &q.Tensor)
	case len(p.Shape) == 2 && slices.Equal(p.Tensor.Shape, []uint64{q.Tensor.Shape[1], q.Tensor.Shape[0]}):
		return equalTransposed(c, &p.Tensor, &q.Tensor)
	}
	return false, nil
}

// equalTransposed reports whether the matrix b is a with its axes exchanged. It reads some rows of a at a time, and the columns of b that
// should be them.
func equalTransposed(c *source.Catalogue, a, b *source.Tensor) (bool, error) {
	rows, cols := a.Shape[0], a.Shape[1]
	if cols > maxBlock {
		a, b, rows, cols = b, a, cols, rows
	}
	if cols > maxBlock {
		return false, &source.Error{
			File: c.Path, Offset: -1, Thing: fmt.Sprintf("tensor %.200q", a.Name), Problem: fmt.Sprintf("shape %v, to be compared with %.200q: limit %d along an axis", a.Shape, b.Name, maxBlock),
			Next: "export the model again", Err: source.ErrLimit,
		}
	}
	var x, y valueBuffer
	for at := uint64(0); at < rows && cols > 0; {
		n := min(maxBlock/cols, chunk, rows-at)
		if err := x.read(c, a, at*cols, n*cols); err != nil {
			return false, err
		}
		block, err := x.decode(a)
		if err != nil {
			return false, err
		}
		for j := range cols {
			if err := y.read(c, b, j*rows+at, n); err != nil {
				return false, err
			}
			column, err := y.decode(b)
			if err != nil {
				return false, err
			}
			for i, v := range column {
				if math.Float64bits(v) != math.Float64bits(block[uint64(i)*cols+j]) {
					return false, nil
				}
			}
		}
		at += n
	}
	return true, nil
}
