package xrt

import (
	"fmt"
	"math"
	"strings"

	"npuw/artifact/kernel"
	"npuw/artifact/xclbin"
	"npuw/runtime/device"
)

// opcodeRun is the opcode by which the firmware runs a stream of instructions.
const opcodeRun = 3

// addressBytes is the size of a buffer argument.
const addressBytes = 8

// signature is what a kernel must be given, by position, as a contract and the xclbin's metadata agree on it.
type signature struct {
	arguments    []argument // in the contract's order
	numbers      []number   // the same for every run
	instructions int        // the argument that they are, an index in the xclbin; -1: none
	group        int32      // their memory group
}

// argument is one of a contract's arguments.
type argument struct {
	*kernel.Argument
	group int32  // of a buffer
	kind  string // of a scalar, in C
	size  int    // of a scalar, in bytes
}

// number is a scalar argument with its value.
type number struct {
	index uint32
	value uint64
	size  int
}

// newSignature compares a contract with the kernel that the xclbin has. instructions is the number of words of its stream.
func newSignature(c *kernel.Contract, k *xclbin.Kernel, instructions int) (*signature, error) {
	s := &signature{instructions: -1, group: xclbin.NoGroup}
	taken := make(map[uint32]string, len(c.Arguments))
	for i := range c.Arguments {
		a := &c.Arguments[i]
		if other, ok := taken[a.Index]; ok {
			return nil, mismatch("arguments %q and %q both have index %d", other, a.Name, a.Index)
		}
		taken[a.Index] = a.Name
		if err := s.take(a, k, instructions); err != nil {
			return nil, err
		}
	}
	for i := range k.Arguments {
		m := &k.Arguments[i]
		if m.Index == xclbin.NoIndex || taken[uint32(m.Index)] != "" {
			continue
		}
		if err := s.supply(m, instructions); err != nil {
			return nil, err
		}
	}
	if (s.instructions >= 0) != (instructions > 0) {
		return nil, mismatch("the artifact has %d words of instructions for a kernel with arguments %s", instructions, names(k))
	}
	return s, nil
}

// take checks an argument of the contract. A contract may name the opcode and the number of instruction words too, as the kernel's
// signature has them; their values are not the caller's to give all the same.
func (s *signature) take(a *kernel.Argument, k *xclbin.Kernel, instructions int) error {
	m := k.ArgumentAt(int(min(a.Index, math.MaxInt32)))
	if m == nil {
		return mismatch("argument %q has index %d; the xclbin's kernel has %s", a.Name, a.Index, names(k))
	}
	if a.Kind == kernel.ScalarArgument {
		if m.Buffer() || m.Size != 4 && m.Size != 8 {
			return mismatch("argument %q is a scalar; in the xclbin, argument %d, %q, is a %q of %d bytes", a.Name, a.Index, m.Name, m.Type, m.Size)
		}
		if m.Name == "opcode" || m.Name == "ninstr" {
			return s.supply(m, instructions)
		}
		s.arguments = append(s.arguments, argument{Argument: a, kind: m.Type, size: int(m.Size)})
		return nil
	}
	if err := checkBuffer(a.Name, m); err != nil {
		return err
	}
	if a.MemoryGroup != kernel.NoGroup && a.MemoryGroup != m.MemoryGroup {
		return mismatch("argument %q is bound to memory group %d; in the xclbin, argument %d, %q, lies in %d", a.Name, a.MemoryGroup, a.Index, m.Name, m.MemoryGroup)
	}
	s.arguments = append(s.arguments, argument{Argument: a, group: m.MemoryGroup})
	if a.Role == kernel.Instructions {
		s.instructions, s.group = m.Index, m.MemoryGroup
	}
	return nil
}

// checkBuffer checks that a buffer can be passed for an argument of the xclbin.
func checkBuffer(name string, m *xclbin.Argument) error {
	if !m.Buffer() || m.Size != addressBytes {
		return mismatch("argument %q is a buffer; in the xclbin, argument %d, %q, is a %q of %d bytes", name, m.Index, m.Name, m.Type, m.Size)
	}
	if m.MemoryGroup == xclbin.NoGroup {
		return mismatch("argument %q is a buffer; in the xclbin, argument %d, %q, reaches no memory", name, m.Index, m.Name)
	}
	return nil
}

// supply finds out what an argument gets that the contract does not have: the opcode, or the number of instruction words. Buffers other
// than the instructions are spare ones, which designs of mlir-aie declare five of whether they use them or not.
func (s *signature) supply(m *xclbin.Argument, instructions int) error {
	switch {
	case m.Buffer() && m.Name == "instr":
		return mismatch("the xclbin's kernel reads instructions, argument %d, for which the contract has no argument", m.Index)
	case m.Buffer():
		return nil
	case m.Size != 4 && m.Size != 8:
	case m.Name == "opcode":
		s.numbers = append(s.numbers, number{uint32(m.Index), opcodeRun, int(m.Size)})
		return nil
	case m.Name == "ninstr":
		s.numbers = append(s.numbers, number{uint32(m.Index), uint64(instructions), int(m.Size)})
		return nil
	}
	return mismatch("the xclbin's kernel has a scalar %q, a %q of %d bytes, at index %d, for which the contract has nothing", m.Name, m.Type, m.Size, m.Index)
}

// names lists the arguments of a kernel by index.
func names(k *xclbin.Kernel) string {
	var list []string
	for i := range k.Arguments {
		if m := &k.Arguments[i]; m.Index != xclbin.NoIndex {
			list = append(list, fmt.Sprintf("%d %s", m.Index, m.Name))
		}
	}
	return strings.Join(list, ", ")
}

func mismatch(format string, args ...any) error {
	return fmt.Errorf("%w: %s", device.ErrMismatch, fmt.Sprintf(format, args...))
}

// encode gives the bits that a scalar is passed as.
func (a *argument) encode(v float64) (uint64, error) {
	switch {
	case a.kind == "float" && a.size == 4:
		return uint64(math.Float32bits(float32(v))), nil
	case a.kind == "double" && a.size == 8:
		return math.Float64bits(v), nil
	}
	bits := a.size * 8
	low, high := -math.Ldexp(1, bits-1), math.Ldexp(1, bits-1)
	if strings.HasPrefix(a.kind, "u") {
		low, high = 0, math.Ldexp(1, bits)
	}
	switch {
	case v != math.Trunc(v) || v < low || v >= high || math.IsNaN(v):
		return 0, fmt.Errorf("%v is no %s of %d bytes", v, a.kind, a.size)
	case low < 0:
		return uint64(int64(v)), nil
	}
	return uint64(v), nil
}

// compare checks that the context gives each buffer argument the memory group that the xclbin's metadata says: buffers are allocated
// by that, and XRT silently copies one that lies elsewhere.
func (s *signature) compare(k hwKernel) error {
	for i := range s.arguments {
		a := &s.arguments[i]
		if a.Kind != kernel.BufferArgument {
			continue
		}
		if err := compareGroup(k, a.Name, a.Index, a.group); err != nil {
			return err
		}
	}
	return nil
}

func compareGroup(k hwKernel, name string, index uint32, want int32) error {
	id, err := k.group(index)
	if err != nil {
		return err
	}
	if _, group := xclbin.SplitGroupID(id); group != want {
		return mismatch("argument %q: XRT gives memory group %d (%#x), the xclbin's metadata %d", name, group, id, want)
	}
	return nil
}
