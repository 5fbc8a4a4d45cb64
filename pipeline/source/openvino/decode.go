package openvino

import (
	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// values computes the values of a constant as they are read.
type values struct {
	name  string
	c     *constant
	steps []step
	typ   element.Format
}

// Decode computes the elements from offset on, a chunk at a time, each step rounded to its type: the last one as it is encoded.
func (v *values) Decode(c *source.Catalogue, dst []byte, offset int64) error {
	size := v.typ.Size()
	r := &reading{catalogue: c, name: v.name, operands: make([]window, len(v.steps))}
	n := min(chunk, len(dst)/size)
	r.values, r.rounded = make([]float32, n), make([]byte, 4*n)
	for first := uint64(offset) / uint64(size); len(dst) > 0; {
		n := min(chunk, len(dst)/size)
		r.left = uint64(len(dst) / size)
		part := r.values[:n]
		if err := r.root(part, v.c, first); err != nil {
			return err
		}
		for i := range v.steps {
			if i > 0 {
				if err := r.round(part, v.steps[i-1].to); err != nil {
					return err
				}
			}
			if err := r.step(part, &v.steps[i], &r.operands[i], first); err != nil {
				return err
			}
		}
		if err := element.Encode(dst[:n*size], part, v.typ); err != nil {
			return err
		}
		dst, first = dst[n*size:], first+uint64(n)
	}
	return nil
}

// reading is one call of Decode.
type reading struct {
	catalogue *source.Catalogue
	name      string
	values    []float32
	rounded   []byte
	left      uint64 // values still to be given
	operands  []window
}

// window is a part of the values of a step's operand.
type window struct {
	first  uint64
	values []float32
	buffer []float32
}

// root reads elements of the constant c from first on.
func (r *reading) root(dst []float32, c *constant, first uint64) error {
	bits := uint64(c.format.Bits())
	begin, end := first*bits/8, ((first+uint64(len(dst)))*bits+7)/8
	raw := make([]byte, end-begin)
	located := source.Tensor{Name: r.name, Data: c.data}
	if err := r.catalogue.ReadAt(raw, &located, int64(begin)); err != nil {
		return err
	}
	if bits != 4 {
		return element.ToFloat32(dst, raw, c.format)
	}
	codes := make([]byte, 2*len(raw))
	if err := element.Unpack4(codes, raw, false); err != nil {
		return err
	}
	return element.ToFloat32(dst, codes[first%2:][:len(dst)], c.format)
}

// round rounds values to a type.
func (r *reading) round(values []float32, to element.Format) error {
	if to == element.F32 {
		return nil
	}
	b := r.rounded[:len(values)*to.Size()]
	if err := element.Encode(b, values, to); err != nil {
		return err
	}
	return element.ToFloat32(values, b, to)
}

// step changes values, those from the index first on, and leaves them to be rounded. In float32 differences and products of 16-bit floats round to nearest as if they
// were exact, since it has more than twice their bits and two (Figueroa 1995, "When is double rounding innocuous?").
func (r *reading) step(values []float32, s *step, w *window, first uint64) error {
	for at := uint64(0); s.operand != nil && at < uint64(len(values)); {
		from, run, repeated := s.operandAt(first + at)
		run = min(run, uint64(len(values))-at)
		operand, err := r.operand(w, s.operand, from, run, repeated)
		if err != nil {
			return err
		}
		part := values[at:][:run]
		if !repeated {
			part = part[:min(len(part), len(operand))]
		}
		for i := range part {
			x := operand[0]
			if !repeated {
				x = operand[i]
			}
			if s.operator == '-' {
				part[i] -= x
			} else {
				part[i] *= x
			}
		}
		at += uint64(len(part))
	}
	return nil
}

// operandAt gives the index in the operand for the value at an index, and for how many values on, within the last axis, it is that
// one again (repeated) or the following ones.
func (s *step) operandAt(index uint64) (from, run uint64, repeated bool) {
	run, repeated = 1, true
	for axis := len(s.shape) - 1; axis >= 0; axis-- {
		i := index % s.shape[axis]
		if axis == len(s.shape)-1 {
			run, repeated = s.shape[axis]-i, s.strides[axis] == 0
		}
		from += i * s.strides[axis]
		index /= s.shape[axis]
	}
	return from, run, repeated
}

// operand gives values of a step's operand from an index on: one if that is repeated, else as many of the run as are at hand.
func (r *reading) operand(w *window, c *constant, from, run uint64, repeated bool) ([]float32, error) {
	if from < w.first || from >= w.first+uint64(len(w.values)) {
		if w.buffer == nil {
			w.buffer = make([]float32, min(chunk, r.left))
		}
		w.first = from
		w.values = w.buffer[:min(uint64(len(w.buffer)), r.left, elements(c.shape)-from)]
		if repeated { // the next ones are wanted only after the whole run
			w.values = w.values[:min(uint64(len(w.values)), 1+r.left/run)]
		}
		if err := r.root(w.values, c, from); err != nil {
			return nil, err
		}
		for _, s := range c.steps {
			if c.integers() {
				break
			}
			if err := r.round(w.values, s.to); err != nil {
				return nil, err
			}
		}
	}
	return w.values[from-w.first:], nil
}
