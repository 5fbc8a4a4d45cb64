package cpu

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/runtime/device"
)

// Kernel is a kernel of a Device.
type Kernel struct {
	device   *Device
	contract *kernel.Contract
	gate     device.Gate

	// What the contract says, resolved.
	name      string
	arguments []argument // in the contract's order
	inPlace   bool       // an output may be an input
	program   program
}

var _ device.Kernel = (*Kernel)(nil)

// argument is what a run must be given.
type argument struct {
	name    string
	scalar  bool
	ignored bool // only compiled kernels have it: it may be left out
	bytes   uint64
	output  bool
	padded  bool
	operand *operand // nil: a scalar, or ignored
}

// program computes one operation.
type program func(ctx context.Context, r *run) error

// newKernel resolves a contract.
func newKernel(d *Device, c *kernel.Contract) (*Kernel, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("cpu: %w: %w", device.ErrUnsupported, err)
	}
	op, known := operations[c.Operation]
	if !known {
		return nil, fmt.Errorf("cpu: kernel %q: %w: operation %s", c.Name, device.ErrUnsupported, c.Operation)
	}
	r := &resolver{contract: c, arguments: make([]argument, len(c.Arguments)), axes: map[byte]uint64{}}
	p, err := op.resolve(r)
	if err == nil {
		err = r.rest()
	}
	if err == nil && c.Epilogue != kernel.NoEpilogue && (!op.epilogue || c.Epilogue != kernel.GELUEpilogue) {
		err = fmt.Errorf("epilogue %s of operation %s", c.Epilogue, c.Operation)
	}
	if err != nil {
		return nil, fmt.Errorf("cpu: kernel %q: %w: %w", c.Name, device.ErrUnsupported, err)
	}
	return &Kernel{device: d, contract: c, name: c.Name, arguments: r.arguments, inPlace: op.inPlace, program: p}, nil
}

// operation says how a contract of it is resolved.
type operation struct {
	resolve  func(*resolver) (program, error)
	epilogue bool // it may have one
	inPlace  bool // each output depends on inputs at its own place, or row, alone
}

var operations = map[kernel.Operation]operation{
	kernel.GEMM:      {resolve: newGEMM, epilogue: true},
	kernel.Conv:      {resolve: newConv, epilogue: true},
	kernel.LayerNorm: {resolve: newLayerNorm, inPlace: true},
	kernel.Softmax:   {resolve: newSoftmax, inPlace: true},
	kernel.GELU:      {resolve: newGELU, inPlace: true},
	kernel.Add:       {resolve: newAdd, inPlace: true},
	kernel.Scale:     {resolve: newScale, inPlace: true},
}

// resolver takes the arguments of a contract one by one.
type resolver struct {
	contract  *kernel.Contract
	arguments []argument
	axes      map[byte]uint64 // extents by axis of the operation, as far as arguments have said
}

// take finds an argument by name and notes it; -1 when the contract has none.
func (r *resolver) take(name string, kind kernel.ArgumentKind) (int, error) {
	for i, a := range r.contract.Arguments {
		if a.Name != name {
			continue
		}
		if a.Kind != kind {
			return -1, fmt.Errorf("argument %q is of the wrong kind, buffer or scalar", name)
		}
		r.arguments[i] = argument{name: name, scalar: kind == kernel.ScalarArgument, bytes: a.Bytes, output: a.Role == kernel.Output}
		return i, nil
	}
	return -1, nil
}

// scalar gives the position of a scalar, which must be there.
func (r *resolver) scalar(name string) (int, error) {
	i, err := r.take(name, kernel.ScalarArgument)
	if err == nil && i < 0 {
		err = fmt.Errorf("no scalar %q", name)
	}
	return i, err
}

// buffer makes the operand of a buffer argument, with axes still to be named; nil when the contract has none.
func (r *resolver) buffer(name string, output bool) (*operand, error) {
	i, err := r.take(name, kernel.BufferArgument)
	if err != nil || i < 0 {
		return nil, err
	}
	a := r.contract.Arguments[i]
	if err := readable(&a, output); err != nil {
		return nil, fmt.Errorf("argument %q %w", name, err)
	}
	if output != (a.Role == kernel.Output) {
		return nil, fmt.Errorf("argument %q has role %d", name, a.Role)
	}
	values := uint64(0)
	for _, axis := range a.Layout.Axes {
		values += min(axis.Padded, maxValues+1)
		if axis.Padded != axis.Extent {
			r.arguments[i].padded = true
		}
	}
	if values > maxValues || a.Bytes > math.MaxInt/2 { // places of 4-bit elements count half bytes
		return nil, fmt.Errorf("argument %q with axes %s", name, a.Layout.Shape())
	}
	s := a.Storage()
	o := newOperand(i, &s)
	r.arguments[i].operand = o
	return o, nil
}

// readable says why values of an argument cannot be read, or with output written.
func readable(a *kernel.Argument, output bool) error {
	single := a.Format == element.F32 || a.Format == element.F16 || a.Format == element.BF16
	joined := a.Encoding == plane.Scaled || a.Format == element.BFP16
	switch {
	case !a.Encoding.Known():
		return fmt.Errorf("in encoding %d; known are %d and %d", a.Encoding, plane.Plain, plane.Scaled)
	case !a.Format.Known() || !joined && !single:
		return fmt.Errorf("in %v; known are f32, f16, bf16 and bfp16, and codes with scales", a.Format)
	case joined && output:
		return fmt.Errorf("in %v, which this device reads but does not write; known for outputs are f32, f16 and bf16", a.Format)
	}
	return nil
}

// named is buffer for an argument with the given axes of the operation, rows before columns; the layout may have them in any order.
func (r *resolver) named(name, axes string, output bool) (*operand, error) {
	o, err := r.buffer(name, output)
	if err != nil || o == nil {
		return nil, err
	}
	if len(o.layout.Axes) != len(axes) {
		return nil, fmt.Errorf("argument %q has axes %s; expected %s", name, o.layout.Shape(), axes)
	}
	for _, axis := range []byte(axes) {
		at := o.axis(axis)
		if at < 0 {
			return nil, fmt.Errorf("argument %q has axes %s; expected %s", name, o.layout.Shape(), axes)
		}
		o.row, o.col = o.col, at
		if err := r.fix(axis, o.layout.Axes[at].Extent, name); err != nil {
			return nil, err
		}
	}
	if len(axes) == 1 {
		o.row = -1
	}
	return o, nil
}

// ordered is buffer for a matrix or vector whose last axis is the columns and whose first the rows, whatever their names.
func (r *resolver) ordered(name string, axes int, output bool) (*operand, error) {
	o, err := r.buffer(name, output)
	if err != nil || o == nil {
		return nil, err
	}
	if len(o.layout.Axes) != axes {
		return nil, fmt.Errorf("argument %q has axes %s; expected %d", name, o.layout.Shape(), axes)
	}
	o.col = axes - 1
	if axes == 2 {
		o.row = 0
		if err := r.fix('M', o.layout.Axes[0].Extent, name); err != nil {
			return nil, err
		}
	}
	return o, r.fix('N', o.layout.Axes[o.col].Extent, name)
}

// fix notes the extent of an axis of the operation, which must be that of the shape and of other arguments.
func (r *resolver) fix(axis byte, extent uint64, name string) error {
	if known, ok := r.axes[axis]; ok && known != extent {
		return fmt.Errorf("argument %q has %d on axis %c, others %d", name, extent, axis, known)
	}
	for _, a := range r.contract.Shape {
		if a.Name == axis && a.Extent != extent {
			return fmt.Errorf("argument %q has %d on axis %c, the shape %d", name, extent, axis, a.Extent)
		}
	}
	r.axes[axis] = extent
	return nil
}

// size is the extent of an axis that an argument has.
func (r *resolver) size(axis byte) int { return int(r.axes[axis]) }

// rest accounts for arguments that the operation does not have. A compiled kernel may have instructions and constants.
func (r *resolver) rest() error {
	for i, a := range r.contract.Arguments {
		if r.arguments[i].name != "" {
			continue
		}
		if a.Role != kernel.Instructions && a.Role != kernel.Constant {
			return fmt.Errorf("argument %q, which operation %s has not", a.Name, r.contract.Operation)
		}
		r.arguments[i] = argument{name: a.Name, scalar: a.Kind == kernel.ScalarArgument, bytes: a.Bytes, ignored: true}
	}
	return nil
}

// axis finds an axis of the operand's layout, -1 if there is none.
func (o *operand) axis(name byte) int {
	for i, a := range o.layout.Axes {
		if a.Name == name {
			return i
		}
	}
	return -1
}

// required says which of the operands that an operation cannot do without is nil.
func required(names []string, operands ...*operand) error {
	for i, o := range operands {
		if o == nil {
			return fmt.Errorf("no argument %q", names[i])
		}
	}
	return nil
}

// Contract is the contract by which the kernel was opened.
func (k *Kernel) Contract() *kernel.Contract { return k.contract }

// Run computes. Instructions and constants that only compiled kernels use may be left out of args. An output may be the same
// buffer as an input only in LAYER_NORM, SOFTMAX, GELU, ADD and SCALE, and then in the same format and layout. Errors name the
// kernel; they wrap device.ErrArgument, device.ErrClosed, device.ErrFault where a file was truncated under its mapping, or ctx.Err().
func (k *Kernel) Run(ctx context.Context, args device.Arguments) (device.Result, error) {
	begin := time.Now()
	err := k.run(ctx, args)
	if err != nil {
		err = fmt.Errorf("cpu: kernel %q: %w", k.name, err)
	}
	return device.Result{Elapsed: time.Since(begin)}, err
}

// Close ends the kernel, once its runs have ended.
func (k *Kernel) Close() error {
	k.device.mu.Lock()
	delete(k.device.kernels, k)
	k.device.mu.Unlock()
	k.gate.Close()
	return nil
}

func (k *Kernel) run(ctx context.Context, args device.Arguments) error {
	if !k.gate.Enter() {
		return device.ErrClosed
	}
	defer k.gate.Leave()
	r := &run{device: k.device, data: make([][]byte, len(k.arguments)), scalars: make([]float64, len(k.arguments))}
	defer r.release()
	if err := k.bind(r, args); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := k.program(ctx, r); err != nil {
		return err
	}
	return r.finish()
}

// bind checks args against the contract and fills r.
func (k *Kernel) bind(r *run, args device.Arguments) error {
	for i := range k.arguments {
		a := &k.arguments[i]
		v, given := args[a.name]
		switch {
		case !given && a.ignored:
		case !given:
			return argumentError(a.name, "missing")
		case a.scalar && v.Buffer != nil:
			return argumentError(a.name, "a buffer for a scalar")
		case a.scalar:
			r.scalars[i] = v.Scalar
		case v.Buffer == nil:
			return argumentError(a.name, "no buffer")
		case v.Buffer.Len() < 0 || uint64(v.Buffer.Len()) != a.bytes:
			return argumentError(a.name, fmt.Sprintf("a buffer of %d bytes; the contract says %d", v.Buffer.Len(), a.bytes))
		case !a.ignored:
			if err := r.use(i, a, v.Buffer); err != nil {
				return fmt.Errorf("argument %q: %w", a.name, err)
			}
		}
	}
	for name := range args {
		if !slices.ContainsFunc(k.arguments, func(a argument) bool { return a.name == name }) {
			return argumentError(name, "not in the contract")
		}
	}
	return k.checkOverlaps(args)
}

func argumentError(name, problem string) error {
	return fmt.Errorf("argument %q: %w: %s", name, device.ErrArgument, problem)
}

// checkOverlaps refuses outputs that overlap other arguments, where the result would depend on the order of blocks.
func (k *Kernel) checkOverlaps(args device.Arguments) error {
	for i := range k.arguments {
		out, own := args[k.arguments[i].name].Buffer.(*Buffer)
		if !own || !k.arguments[i].output {
			continue
		}
		for j := range k.arguments {
			o := &k.arguments[j]
			in, own := args[o.name].Buffer.(*Buffer)
			if i == j || !own || o.operand == nil || !out.overlaps(in) {
				continue
			}
			same := out.begin == in.begin && out.length == in.length && k.arguments[i].operand.alike(o.operand)
			if !k.inPlace || !same {
				return argumentError(k.arguments[i].name, fmt.Sprintf("it overlaps argument %q", o.name))
			}
		}
	}
	return nil
}

// alike reports whether elements at the same position of the matrix lie at the same place.
func (o *operand) alike(other *operand) bool {
	if o.format != other.format || o.row != other.row || o.col != other.col || len(o.layout.Axes) != len(other.layout.Axes) {
		return false
	}
	renamed := layout.Layout{Axes: slices.Clone(other.layout.Axes), Digits: other.layout.Digits}
	for i := range renamed.Axes {
		renamed.Axes[i].Name = o.layout.Axes[i].Name
	}
	return o.layout.Equal(renamed)
}

// run is what one run of a kernel uses.
type run struct {
	device  *Device
	data    [][]byte  // what kernels see of each buffer, by position in the contract
	scalars []float64 // by position in the contract
	held    []*memory
	outputs []device.Buffer // of other devices
}

// use makes the memory of a buffer ready for argument i and holds it until release.
func (r *run) use(i int, a *argument, buffer device.Buffer) error {
	own, ok := buffer.(*Buffer)
	if !ok || own.memory.owner != r.device {
		return r.useForeign(i, a, buffer)
	}
	if a.output && own.memory.mapped {
		return fmt.Errorf("%w: a mapped buffer cannot be written", device.ErrArgument)
	}
	if err := own.enter(); err != nil {
		return err
	}
	r.held = append(r.held, own.memory)
	r.data[i] = own.part(own.memory.device)
	return nil
}

// useForeign takes a buffer of another device through the host's side.
func (r *run) useForeign(i int, a *argument, buffer device.Buffer) error {
	if !a.output || a.padded { // padding of an output stays as it is
		if err := buffer.FromDevice(); err != nil {
			return err
		}
	}
	host, err := buffer.Host()
	if err != nil {
		return err
	}
	if uint64(len(host)) != a.bytes {
		return fmt.Errorf("%w: the host's side has %d bytes; the contract says %d", device.ErrArgument, len(host), a.bytes)
	}
	if a.output {
		r.outputs = append(r.outputs, buffer)
	}
	r.data[i] = host
	return nil
}

// finish hands outputs to the devices that they belong to.
func (r *run) finish() error {
	var errs []error
	for _, b := range r.outputs {
		errs = append(errs, b.ToDevice())
	}
	return errors.Join(errs...)
}

func (r *run) release() {
	for _, m := range r.held {
		m.gate.Leave()
	}
}
