package whisper

import (
	"fmt"
	"runtime/debug"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/runtime/device"
)

// vector gives parts, which do not overlap, as an argument [N] of n elements with zeros between them. Where one operand holds
// just that, it is the argument; otherwise the parts, wherever they lie, are put together in a buffer of their own, once.
func (b *builder) vector(name string, n uint64, parts ...part) (argument, error) {
	places := make([]place, len(parts))
	names := make([]string, len(parts))
	direct := true
	for i, p := range parts {
		at, err := find(b.locator, p.name, "N", []uint64{p.n}, func(at place) (place, error) {
			if !sameScale(at.Scale, p.scale) {
				return at, b.misplaced(p.name, at.operand, "scaled by %v; %v was expected", at.Scale, p.scale)
			}
			return at, nil
		})
		if err != nil {
			return argument{}, err
		}
		places[i], names[i] = at, p.name
		o := b.operand(at.operand)
		direct = direct && at.operand == places[0].operand && len(o.Layout.Axes) == 1 && o.Layout.Axes[0].Extent == n &&
			at.From[0].Step == 1 && at.To[0] == p.at
	}
	if direct && b.alone(places[0].operand, names...) == nil {
		return b.weight(places[0].operand, name, "N")
	}
	values := make([]float32, n)
	for i, p := range parts {
		if err := b.read(values[p.at:p.at+p.n], places[i]); err != nil {
			return argument{}, err
		}
	}
	return b.constant(name, values)
}

// read decodes the parameter at a place, which has one axis.
func (b *builder) read(values []float32, at place) error {
	buffer, o, err := b.model.Operand(b.operand(at.operand).Name)
	if err != nil {
		return err
	}
	host, err := buffer.Host()
	if err != nil {
		return err
	}
	size := uint64(o.Format.Size())
	index := append([]uint64(nil), at.To...)
	return guard(func() error {
		for i := range values {
			p := o.Layout.Offset(index) * size
			if err := element.ToFloat32(values[i:i+1], host[p:p+size], o.Format); err != nil {
				return err
			}
			index[at.From[0].Axis] += at.From[0].Step
		}
		return nil
	})
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

// constant makes a vector [N] of float32 on the device.
func (b *builder) constant(name string, values []float32) (argument, error) {
	n := uint64(len(values))
	l := layout.Layout{Axes: []layout.Axis{{Name: 'N', Extent: n, Padded: n}}, Digits: []layout.Digit{{Axis: 0, Size: n, Stride: 1}}}
	a := argument{Argument: kernel.Buffer(name, 0, kernel.Weight, element.F32, l), operand: none}
	buffer, err := b.allocate(a.Bytes, kernel.NoGroup)
	if err != nil {
		return a, err
	}
	host, err := buffer.Host()
	if err != nil {
		return a, err
	}
	if err := element.Encode(host[:a.Bytes], values, element.F32); err != nil {
		return a, err
	}
	a.value.Buffer = buffer
	return a, buffer.ToDevice()
}
