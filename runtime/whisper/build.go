package whisper

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/runtime/device"
)

// maxBytes bounds what an encoder allocates for activations, all together. Whisper's largest needs 160 MB.
const maxBytes = 8 << 30

// argument is what a run gets for one argument, and how it lies there.
type argument struct {
	kernel.Argument
	value   device.Value
	operand int // position in the index, or none
}

// store lays an argument otherwise: over the same bytes.
func (a *argument) store(s plane.Storage) {
	group := a.MemoryGroup
	a.Argument = kernel.Stored(a.Name, a.Index, a.Role, s)
	a.MemoryGroup = group
}

// on lays an argument over other axes of the same padded sizes.
func (a *argument) on(axes []layout.Axis) {
	s := a.Storage()
	a.store(s.On(axes))
}

// renamed calls an argument's axes by the letters given.
func (a argument) renamed(letters string) argument {
	axes := slices.Clone(a.Layout.Axes)
	for i := range axes {
		axes[i].Name = letters[i]
	}
	a.on(axes)
	return a
}

// values reads a buffer with two axes back from the device, row-major in the order of its axes.
func (a *argument) values() ([]float32, error) {
	buffer := a.value.Buffer
	if err := buffer.FromDevice(); err != nil {
		return nil, err
	}
	host, err := buffer.Host()
	if err != nil {
		return nil, err
	}
	rows, cols := a.Layout.Axes[0].Extent, a.Layout.Axes[1].Extent
	values := make([]float32, rows*cols)
	if a.Encoding != plane.Plain || !a.Format.Plain() {
		return values, readValues(values, a.Storage(), host, []uint64{0, 0}, []uint64{rows, cols})
	}
	elem := a.Format.Size()
	plain := make([]byte, rows*cols*uint64(elem))
	if err := a.Layout.Unpack(plain, host, []int64{int64(cols), 1}, elem); err != nil {
		return nil, err
	}
	return values, element.ToFloat32(values, plain, a.Format)
}

// scalar is a number as an argument.
func scalar(name string, value float64) argument {
	return argument{Argument: kernel.Scalar(name, 0), value: device.Value{Scalar: value}, operand: none}
}

// builder collects the runs of an encoder, and what they need.
type builder struct {
	*locator
	device  device.Device
	sizes   Sizes
	format  element.Format // of the inputs of GEMM and CONV
	bytes   uint64         // allocated
	buffers []device.Buffer
	kernels map[string]device.Kernel // by contract
	tensors map[string]tensor        // by use and shape
	steps   []step
}

// step is one run.
type step struct {
	name   string
	kernel device.Kernel
	args   device.Arguments
	output argument
}

// close closes what was allocated and opened.
func (b *builder) close() error {
	var errs []error
	for _, k := range b.kernels {
		errs = append(errs, k.Close())
	}
	for _, buffer := range b.buffers {
		errs = append(errs, buffer.Close())
	}
	b.kernels, b.buffers, b.steps = nil, nil, nil
	return errors.Join(errs...)
}

func (b *builder) allocate(bytes uint64, group int32) (device.Buffer, error) {
	if bytes > maxBytes-b.bytes {
		return nil, fmt.Errorf("the encoder's activations need more than %d bytes: %+v", uint64(maxBytes), b.sizes)
	}
	buffer, err := b.device.Allocate(int64(bytes), group)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes on %s: %w", bytes, b.device.Name(), err)
	}
	b.bytes += bytes
	b.buffers = append(b.buffers, buffer)
	return buffer, nil
}

// tensor gives the buffer for a use. Layers have it in turns: the same use and shape is the same buffer. The columns in ones hold 1.
func (b *builder) tensor(use string, format element.Format, rows, cols, panel uint64, ones ...uint64) (tensor, error) {
	key := fmt.Sprint(use, format, rows, cols, panel, ones)
	if t, ok := b.tensors[key]; ok {
		return t, nil
	}
	t := tensor{format: format, rows: rows, cols: cols, panel: panel}
	n, ok := t.bytes(maxBytes)
	if !ok {
		return t, fmt.Errorf("%s, [%d, %d], needs more than %d bytes", use, rows, cols, uint64(maxBytes))
	}
	var err error
	if t.buffer, err = b.allocate(n, kernel.NoGroup); err != nil {
		return t, err
	}
	for _, c := range ones {
		if err := t.setColumn(c, 1); err != nil {
			return t, err
		}
	}
	b.tensors[key] = t
	return t, nil
}

// size is an entry of a contract's shape.
func size(axis byte, extent uint64) layout.Axis {
	return layout.Axis{Name: axis, Extent: extent, Padded: extent}
}

// add adds a run to the steps: with the contract that an operand among the arguments is bound to, otherwise with one stated here.
// The output is the last argument.
func (b *builder) add(name string, op kernel.Operation, epilogue kernel.Epilogue, shape []layout.Axis, args ...argument) error {
	stated := &kernel.Contract{Operation: op, Epilogue: epilogue, Xclbin: kernel.None, Instructions: kernel.None, Shape: shape}
	for i, a := range args {
		a.Index = uint32(i)
		stated.Arguments = append(stated.Arguments, a.Argument)
	}
	stated.Name = describe(stated)
	if bound := b.bound(stated, args); bound != nil {
		return b.addBound(name, bound, stated, args)
	}
	k, err := b.open(stated)
	if errors.Is(err, device.ErrUnsupported) && epilogue == kernel.GELUEpilogue {
		return b.addUnfused(name, stated, args)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.append(name, k, args)
	return nil
}

func (b *builder) append(name string, k device.Kernel, args []argument) {
	s := step{name: name, kernel: k, args: make(device.Arguments, len(args)), output: args[len(args)-1]}
	for _, a := range args {
		s.args[a.Name] = a.value
	}
	b.steps = append(b.steps, s)
}

// addUnfused adds a run whose epilogue the device does not have: the operation into a float32 buffer, then the epilogue by itself.
func (b *builder) addUnfused(name string, c *kernel.Contract, args []argument) error {
	last := len(args) - 1
	output, axes := args[last], args[last].Layout.Axes
	sums, err := b.tensor("sums", element.F32, axes[0].Extent, axes[1].Extent, axes[1].Extent)
	if err != nil {
		return err
	}
	between := sums.argument(output.Name, kernel.Output, axes[0].Name, axes[1].Name)
	if err := b.add(name, c.Operation, kernel.NoEpilogue, c.Shape, append(args[:last:last], between)...); err != nil {
		return err
	}
	return b.move(name+".gelu", kernel.GELU, between, output)
}

// elementwise adds y = op(x), with further arguments between the two.
func (b *builder) elementwise(name string, op kernel.Operation, x, y tensor, more ...argument) error {
	return b.move(name, op, x.argument("x", kernel.Activation, 'M', 'N'), y.argument("y", kernel.Output, 'M', 'N'), more...)
}

// move is elementwise for arguments of other runs, whatever they call their two axes.
func (b *builder) move(name string, op kernel.Operation, x, y argument, more ...argument) error {
	x, y = x.renamed("MN"), y.renamed("MN")
	x.Name, x.Role = "x", kernel.Activation
	y.Name, y.Role = "y", kernel.Output
	args := append(append([]argument{x}, more...), y)
	return b.add(name, op, kernel.NoEpilogue, x.Layout.Axes, args...)
}

// open opens the kernel of a contract, once.
func (b *builder) open(c *kernel.Contract) (device.Kernel, error) {
	unnamed := *c
	unnamed.Name = ""
	key := fmt.Sprintf("%+v", unnamed)
	if k, ok := b.kernels[key]; ok {
		return k, nil
	}
	k, err := b.device.Open(c)
	if err != nil {
		return nil, fmt.Errorf("open %s on %s: %w", c.Name, b.device.Name(), err)
	}
	b.kernels[key] = k
	return k, nil
}

// describe names a contract by what it computes: "GEMM M=1500 K=512 N=2048 GELU".
func describe(c *kernel.Contract) string {
	var text strings.Builder
	text.WriteString(string(c.Operation))
	for _, a := range c.Shape {
		fmt.Fprintf(&text, " %c=%d", a.Name, a.Extent)
	}
	if c.Epilogue != kernel.NoEpilogue {
		fmt.Fprintf(&text, " %s", c.Epilogue)
	}
	return text.String()
}
