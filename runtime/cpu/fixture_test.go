package cpu

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/artifact/plane/planetest"
	"npuw/runtime/device"
)

// unset is what outputs and all padding are filled with: NaN in every format, so that reading padding shows.
const unset = 0xff

// shape gives axes with their sizes, one letter each.
func shape(axes string, extents ...uint64) []layout.Axis {
	list := make([]layout.Axis, len(axes))
	for i := range list {
		list[i] = layout.Axis{Name: axes[i], Extent: extents[i], Padded: extents[i]}
	}
	return list
}

// resolved is a layout by its notation.
func resolved(tb testing.TB, notation string, axes []layout.Axis) layout.Layout {
	tb.Helper()
	spec, err := layout.Parse(notation)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// contract is written as a table: "a f32 M* K*" is an argument, with role Output if its name is c or y; axes take their sizes
// from the shape. A name alone is a scalar.
func contract(tb testing.TB, op kernel.Operation, sizes []layout.Axis, arguments ...string) *kernel.Contract {
	tb.Helper()
	c := &kernel.Contract{Name: "test", Operation: op, Xclbin: kernel.None, Instructions: kernel.None, Shape: sizes}
	for i, text := range arguments {
		words := strings.SplitN(text, " ", 3)
		if len(words) == 1 {
			c.Arguments = append(c.Arguments, kernel.Scalar(text, uint32(i)))
			continue
		}
		f, err := element.ParseFormat(words[1])
		if err != nil {
			tb.Fatal(err)
		}
		spec, err := layout.Parse(words[2])
		if err != nil {
			tb.Fatal(err)
		}
		var axes []layout.Axis
		for _, a := range sizes {
			if strings.ContainsRune(spec.AxisNames(), rune(a.Name)) {
				axes = append(axes, a)
			}
		}
		role := kernel.Activation
		if words[0] == "c" || words[0] == "y" {
			role = kernel.Output
		}
		c.Arguments = append(c.Arguments, kernel.Buffer(words[0], uint32(i), role, f, resolved(tb, words[2], axes)))
	}
	return c
}

// fixture is a kernel with its buffers, and the values of its inputs.
type fixture struct {
	tb       testing.TB
	device   *Device
	contract *kernel.Contract
	kernel   device.Kernel
	args     device.Arguments
	inputs   map[string][]float32 // dense, in the order of the layout's axes
}

// newFixture opens a contract on a device of its own and fills its inputs with random values, the same each time.
func newFixture(tb testing.TB, opts Options, c *kernel.Contract) *fixture {
	tb.Helper()
	f := &fixture{tb: tb, device: New(opts), contract: c, args: device.Arguments{}, inputs: map[string][]float32{}}
	var err error
	if f.kernel, err = f.device.Open(c); err != nil {
		tb.Fatal(err)
	}
	buffers := []device.Buffer{}
	tb.Cleanup(func() {
		for _, b := range buffers {
			if err := b.Close(); err != nil {
				tb.Error(err)
			}
		}
		if err := errors.Join(f.kernel.Close(), f.device.Close()); err != nil {
			tb.Error(err)
		}
	})
	for i, a := range c.Arguments {
		if a.Kind == kernel.ScalarArgument {
			f.args[a.Name] = device.Value{Scalar: 0.125}
			continue
		}
		b, err := f.device.Allocate(int64(a.Bytes), kernel.NoGroup)
		if err != nil {
			tb.Fatal(err)
		}
		buffers = append(buffers, b)
		f.args[a.Name] = device.Value{Buffer: b}
		host := must(b.Host())
		copy(host, bytes.Repeat([]byte{unset}, len(host)))
		if a.Role != kernel.Output && a.Format != 0 {
			f.inputs[a.Name] = fill(tb, host, a, uint64(i)+1)
		}
		check(tb, b.ToDevice())
	}
	return f
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// fill writes normally distributed values, rounded to the argument's format, and returns them.
func fill(tb testing.TB, packed []byte, a kernel.Argument, seed uint64) []float32 {
	tb.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	if s := a.Storage(); a.Encoding != plane.Plain || a.Format == element.BFP16 {
		copy(packed, planetest.Random(&s, random))
		return planetest.Decoded(&s, packed)
	}
	size := a.Format.Size()
	values := make([]float32, logicalElements(a.Layout))
	dense := make([]byte, len(values)*size)
	for i := range values {
		values[i] = float32(random.NormFloat64())
	}
	check(tb, errors.Join(element.Encode(dense, values, a.Format), element.ToFloat32(values, dense, a.Format)))
	eachElement(a.Layout, func(i int, offset uint64) {
		copy(packed[int(offset)*size:][:size], dense[i*size:])
	})
	return values
}

func logicalElements(l layout.Layout) int {
	n := 1
	for _, a := range l.Axes {
		n *= int(a.Extent)
	}
	return n
}

// eachElement gives the position in memory of every logical element, the last axis fastest.
func eachElement(l layout.Layout, do func(i int, offset uint64)) {
	index := make([]uint64, len(l.Axes))
	for i := range logicalElements(l) {
		rest := uint64(i)
		for axis := len(index) - 1; axis >= 0; axis-- {
			index[axis] = rest % l.Axes[axis].Extent
			rest /= l.Axes[axis].Extent
		}
		do(i, l.Offset(index))
	}
}

// run runs the kernel and returns the values of an output. Its padding must be as before.
func (f *fixture) run(output string) []float32 {
	f.tb.Helper()
	if _, err := f.kernel.Run(context.Background(), f.args); err != nil {
		f.tb.Fatal(err)
	}
	check(f.tb, f.args[output].Buffer.FromDevice())
	return f.values(output)
}

// values decodes the host's side of a buffer.
func (f *fixture) values(name string) []float32 {
	f.tb.Helper()
	a := f.contract.Argument(name)
	host := bytes.Clone(must(f.args[name].Buffer.Host()))
	size := a.Format.Size()
	dense := make([]byte, logicalElements(a.Layout)*size)
	eachElement(a.Layout, func(i int, offset uint64) {
		at := host[int(offset)*size:][:size]
		copy(dense[i*size:], at)
		copy(at, bytes.Repeat([]byte{unset}, size))
	})
	if !bytes.Equal(host, bytes.Repeat([]byte{unset}, len(host))) {
		f.tb.Errorf("padding of %q was written", name)
	}
	values := make([]float32, len(dense)/size)
	check(f.tb, element.ToFloat32(values, dense, a.Format))
	return values
}

// rounded is values as an element format holds them.
func rounded(tb testing.TB, values []float32, format element.Format) []float32 {
	tb.Helper()
	dense, out := make([]byte, len(values)*format.Size()), make([]float32, len(values))
	check(tb, errors.Join(element.Encode(dense, values, format), element.ToFloat32(out, dense, format)))
	return out
}
