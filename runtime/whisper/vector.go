package whisper

import (
	"fmt"
	"runtime/debug"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/runtime/device"
)

// whole gives a parameter [n], unscaled, as an argument [N].
func (b *builder) whole(argumentName, parameter string, n uint64) (argument, error) {
	at, err := find(b.locator, vectorOf(parameter, n), func(at place) (place, error) {
		if !one(at.Scale) {
			return at, b.misplaced(parameter, at.operand, "scaled by %v; 1 was expected", at.Scale)
		}
		return at, nil
	})
	if err != nil {
		return argument{}, err
	}
	return b.vector(argumentName, n, part{0, n, at})
}

// vector gives parts, which do not overlap, as an argument [N] of n elements with zeros between them. Where one operand holds
// just that, it is the argument; otherwise the parts, wherever they lie, are put together in a buffer of their own, once.
func (b *builder) vector(name string, n uint64, parts ...part) (argument, error) {
	if b.direct(n, parts) {
		return b.weight(parts[0].place.operand, name, "N")
	}
	values := make([]float32, n)
	for _, p := range parts {
		if err := b.read(values[p.at:p.at+p.n], p.place); err != nil {
			return argument{}, err
		}
	}
	return b.constant(name, values, size('N', n))
}

// direct reports whether one operand holds the parts as they are to stand, and else zeros.
func (b *builder) direct(n uint64, parts []part) bool {
	operand := parts[0].place.operand
	o := b.operand(operand)
	if len(o.Layout.Axes) != 1 || o.Layout.Axes[0].Extent != n {
		return false
	}
	var names []string
	held := uint64(0)
	for _, p := range parts {
		if p.place.operand != operand || p.place.From[0].Step != 1 || p.place.To[0] != p.at {
			return false
		}
		if p.place.Parameter != none {
			names = append(names, b.model.Index.Parameters[p.place.Parameter].Name)
		}
		held += p.n
	}
	for _, f := range o.Fills {
		held += f.Size[0]
	}
	noted := b.folds.into[operand] // which need not be covered by placements and fills
	var known []string
	for _, p := range noted {
		known = append(known, b.model.Index.Parameters[p].Name)
	}
	return (len(noted) == 0 || held == n) && b.alone(operand, known, names) == nil
}

// read decodes the vector at a place.
func (b *builder) read(values []float32, at place) error {
	buffer, o, err := b.model.Operand(b.operand(at.operand).Name)
	if err != nil {
		return err
	}
	host, err := buffer.Host()
	if err != nil {
		return err
	}
	begin, size := slices.Clone(at.To), make([]uint64, len(at.To))
	for a := range size {
		size[a] = 1
	}
	axis, step := at.From[0].Axis, at.From[0].Step
	const most = 4096 // elements that are decoded at a time
	part := make([]float32, most)
	return guard(func() error {
		for len(values) > 0 {
			n := min(uint64(len(values)), (most-1)/step+1)
			size[axis] = (n-1)*step + 1
			if err := readValues(part[:size[axis]], o.Storage(), host, begin, size); err != nil {
				return fmt.Errorf("operand %q: %w", o.Name, err)
			}
			for i := range n {
				values[i] = part[i*step]
			}
			values, begin[axis] = values[n:], begin[axis]+n*step
		}
		return nil
	})
}

// readValues decodes a box of values that lie as s in host, row-major, each rounded to float32 once.
func readValues(values []float32, s plane.Storage, host []byte, begin, size []uint64) error {
	wide := make([]float64, len(values))
	r := plane.NewReader(&s, func(b []byte, off uint64) error {
		if off > uint64(len(host)) || uint64(len(b)) > uint64(len(host))-off {
			return fmt.Errorf("%d bytes at %d of %d", len(b), off, len(host))
		}
		copy(b, host[off:])
		return nil
	})
	if err := r.Float64(wide, begin, size); err != nil {
		return err
	}
	for i, x := range wide {
		values[i] = float32(x)
	}
	return nil
}

// guard calls f, which reads mapped pages: a file that was truncated under its mapping is an error, not a fault.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			err = fmt.Errorf("%w: %v", device.ErrFault, r)
		}
	}()
	return f()
}

// constant makes a buffer of float32 on the device, row-major, with values of its own.
func (b *builder) constant(name string, values []float32, axes ...layout.Axis) (argument, error) {
	a, host, err := b.room(name, axes...)
	if err != nil {
		return a, err
	}
	if err := element.Encode(host, values, element.F32); err != nil {
		return a, err
	}
	return a, a.value.Buffer.ToDevice()
}

// room makes a buffer of float32, row-major, and gives its host's side.
func (b *builder) room(name string, axes ...layout.Axis) (argument, []byte, error) {
	l := layout.Layout{Axes: axes}
	for i, a := range axes {
		l.Digits = append(l.Digits, layout.Digit{Axis: i, Size: a.Padded, Stride: 1})
	}
	a := argument{Argument: kernel.Buffer(name, 0, kernel.Weight, element.F32, l), operand: none}
	buffer, err := b.allocate(a.Bytes, kernel.NoGroup)
	if err != nil {
		return a, nil, err
	}
	a.value.Buffer = buffer
	host, err := buffer.Host()
	if err != nil {
		return a, nil, err
	}
	return a, host[:a.Bytes], nil
}
