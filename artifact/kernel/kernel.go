// Package kernel describes compiled kernels as plain values: what one computes, in which sizes, and for each of its arguments
// the element format, layout and memory group it is read or written in. A contract is what a build checks operands against and the
// only way to open a kernel on a device.
package kernel

import (
	"errors"
	"fmt"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// Operation names what a kernel computes. The names are those of schema/FORMAT.md, section 8, which defines each.
type Operation string

// The operations that this version knows, with their arguments by name; those in brackets may be left out. Letters are axes:
// of the contract's shape, and of the arguments' layouts. Every argument may be F32, F16 or BF16 in any layout, each for itself. What
// is read may also be BFP16, or codes with scales (encoding plane.Scaled), of which the operation sees the values, rounded to float32.
const (
	// GEMM: c[M,N] = epilogue(a[M,K] * b[K,N] [+ bias[N]]). Products and sums are float32, K ascending, one accumulator an output, product
	// and sum rounded each; bias is added to the finished sum.
	GEMM Operation = "GEMM"
	// Conv: c[Q,N] = epilogue(a[P,C] convolved along P with b, [+ bias[N]]), zero padding X/2 on both sides, stride S, X odd. b is
	// [K,N] with K = C*X, C outermost, or [N,C,X]. It is the GEMM over K of the unfolded a.
	Conv Operation = "CONV"
	// LayerNorm: y[M,N] = (x[M,N] - mean) / sqrt(variance + eps) [* gamma[N]] [+ beta[N]], mean and variance of each row; eps a scalar.
	LayerNorm Operation = "LAYER_NORM"
	// Softmax: y[M,N] = exp(x - max) / sum of each row of x[M,N].
	Softmax Operation = "SOFTMAX"
	// GELU: y[M,N] = x/2 * (1 + erf(x / sqrt(2))).
	GELU Operation = "GELU"
	// Add: y[M,N] = x[M,N] + z[M,N].
	Add Operation = "ADD"
	// Scale: y[M,N] = x[M,N] * scale; scale a scalar.
	Scale Operation = "SCALE"
)

// Epilogue is applied to each result of a GEMM or CONV before it is stored.
type Epilogue string

// The epilogues that this version knows.
const (
	NoEpilogue   Epilogue = ""
	GELUEpilogue Epilogue = "GELU"
)

// None stands for no xclbin, or no instructions, in a Contract.
const None = -1

// NoGroup is the memory group of what has not been bound to an argument of a compiled kernel.
const NoGroup = -1

// Contract says what one compiled kernel reads and writes.
type Contract struct {
	Name         string
	Operation    Operation
	Epilogue     Epilogue
	Kernel       string // its name in the xclbin
	Xclbin       int    // position in the index's xclbins, or None
	Instructions int    // position in the index's segments, or None
	// Shape gives the sizes of the operation by axis: Extent is what is computed, Padded what the kernel works on.
	Shape     []layout.Axis
	Arguments []Argument
}

// ArgumentKind tells a buffer from a scalar.
type ArgumentKind uint8

// The kinds of arguments.
const (
	BufferArgument ArgumentKind = 0
	ScalarArgument ArgumentKind = 1
)

// ArgumentRole says what a kernel does with an argument.
type ArgumentRole uint8

// The roles of arguments.
const (
	Activation   ArgumentRole = 0
	Weight       ArgumentRole = 1
	Output       ArgumentRole = 2
	Instructions ArgumentRole = 3
	Constant     ArgumentRole = 4
)

// String is the role's name in listings.
func (r ArgumentRole) String() string {
	names := [...]string{"activation", "weight", "output", "instructions", "constant"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Argument is one argument of a kernel. Axes and digits of Layout stand for the shape; a scalar has none.
type Argument struct {
	Name        string
	Index       uint32 // in the kernel's signature
	Kind        ArgumentKind
	Role        ArgumentRole
	MemoryGroup int32
	Bytes       uint64
	Format      element.Format // of its values, or codes; 0: none
	Layout      layout.Layout
	Encoding    plane.Encoding
	Planes      []plane.Plane // all planes, of which Format and Layout are those of the first; nil in encoding Plain
}

// Storage is how the argument's numbers lie in its bytes. It must have an element format.
func (a *Argument) Storage() plane.Storage {
	return plane.Of(a.Encoding, a.Format, a.Layout, 0, a.Bytes, a.Planes)
}

// Buffer is an argument that is a buffer with elements of format f in layout l, of any memory group.
func Buffer(name string, index uint32, role ArgumentRole, f element.Format, l layout.Layout) Argument {
	return Argument{
		Name: name, Index: index, Role: role, MemoryGroup: NoGroup, Format: f, Layout: l,
		Bytes: bytesOf(f, l),
	}
}

// Stored is an argument that is a buffer whose numbers lie as those of s, of any memory group: what reads an operand of that storage.
func Stored(name string, index uint32, role ArgumentRole, s plane.Storage) Argument {
	first := &s.Planes[0]
	a := Argument{
		Name: name, Index: index, Role: role, MemoryGroup: NoGroup, Bytes: s.Bytes,
		Encoding: s.Encoding, Format: first.Format, Layout: first.Layout,
	}
	if s.Encoding != plane.Plain {
		a.Planes = s.Planes
	}
	return a
}

// bytesOf is how many bytes a layout takes in a format; 0 when they are too many to count.
func bytesOf(f element.Format, l layout.Layout) uint64 {
	n, _ := plane.BytesOf(f, plane.Elements(f, l))
	return n
}

// Scalar is an argument that is a number, given at each run.
func Scalar(name string, index uint32) Argument {
	return Argument{Name: name, Index: index, Kind: ScalarArgument, Role: Constant, MemoryGroup: NoGroup}
}

// Argument gives the argument of a name, nil when there is none.
func (c *Contract) Argument(name string) *Argument {
	for i := range c.Arguments {
		if c.Arguments[i].Name == name {
			return &c.Arguments[i]
		}
	}
	return nil
}

// Size is the extent of an axis of the operation, 0 when it has no such axis.
func (c *Contract) Size(axis byte) uint64 {
	for _, a := range c.Shape {
		if a.Name == axis {
			return a.Extent
		}
	}
	return 0
}

// ErrContract is wrapped by every error of Validate.
var ErrContract = errors.New("invalid kernel contract")

// Validate checks a contract by itself: names are unique, layouts are bijections, buffers are as long as their elements ask.
func (c *Contract) Validate() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("contract %q: %w: %s", c.Name, ErrContract, fmt.Sprintf(format, args...))
	}
	if c.Operation == "" {
		return fail("no operation")
	}
	if len(c.Shape) > layout.MaxAxes {
		return fail("a shape of %d axes, at most %d allowed", len(c.Shape), layout.MaxAxes)
	}
	for i, a := range c.Arguments {
		if a.Name == "" || c.Argument(a.Name) != &c.Arguments[i] {
			return fail("argument %d is called %q; names must be there and differ", i, a.Name)
		}
		if a.Kind != BufferArgument || a.Format == 0 {
			continue
		}
		if err := a.validate(); err != nil {
			return fail("argument %q: %v", a.Name, err)
		}
	}
	return nil
}

// validate proves how an argument with an element format lies.
func (a *Argument) validate() error {
	if err := a.Layout.Validate(); err != nil {
		return err
	}
	if !a.Format.Known() || !a.Encoding.Known() {
		return nil // of a later version
	}
	if len(a.Planes) == 0 {
		if n := bytesOf(a.Format, a.Layout); n != a.Bytes {
			return fmt.Errorf("%d bytes for %d elements of %v", a.Bytes, a.Layout.Elements(), a.Format)
		}
	}
	s := a.Storage()
	if first := &s.Planes[0]; first.Format != a.Format || !first.Layout.Equal(a.Layout) {
		return fmt.Errorf("%v in %v, but its first plane is %v in %v", a.Format, a.Layout, first.Format, first.Layout)
	}
	return s.Validate()
}

// Fits says why an operand that lies so, in a memory group, cannot be passed as argument a; nil when it can.
func (a *Argument) Fits(s plane.Storage, group int32) error {
	f, l := s.Planes[0].Format, s.Planes[0].Layout
	mine := a.Storage()
	switch {
	case a.Kind != BufferArgument:
		return fmt.Errorf("argument %q is a scalar", a.Name)
	case a.Format != f:
		return fmt.Errorf("argument %q reads %v, the operand is %v", a.Name, a.Format, f)
	case a.Layout.Shape() != l.Shape():
		return fmt.Errorf("argument %q has shape %s, the operand %s", a.Name, a.Layout.Shape(), l.Shape())
	case !a.Layout.Equal(l):
		return fmt.Errorf("argument %q reads layout %v, the operand is in %v", a.Name, a.Layout, l)
	case a.Encoding != plane.Plain && !mine.Equal(&s):
		return fmt.Errorf("argument %q reads %v of %d bytes, the operand is %v of %d", a.Name, mine.String(), a.Bytes, s.String(), s.Bytes)
	case a.Bytes != s.Bytes:
		return fmt.Errorf("argument %q has %d bytes, the operand %d", a.Name, a.Bytes, s.Bytes)
	case a.MemoryGroup != group:
		return fmt.Errorf("argument %q lies in memory group %d, the operand in %d", a.Name, a.MemoryGroup, group)
	}
	return nil
}
