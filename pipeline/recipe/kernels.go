package recipe

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/schema/releasepb"
)

// Kernels are checked kernel contracts, with the operands to bind to each, made by ParseKernels.
type Kernels struct {
	Contracts []kernel.Contract
	Files     []KernelFiles     // of each contract
	Digest    [sha256.Size]byte // as Recipe.Digest

	doc    *document
	blocks []*field
	binds  []bind
}

// KernelFiles are the files that a contract names, relative to the folder of its own; empty: none.
type KernelFiles struct{ Xclbin, Instructions string }

// Fault is an error at a field of contract i, or of its argument j where j is not negative.
func (k *Kernels) Fault(i, j int, name, format string, args ...any) error {
	block := k.blocks[i]
	if arguments := block.all("argument"); j >= 0 && j < len(arguments) {
		block = arguments[j]
	}
	return k.doc.fault(block.where(name, 0), format, args...)
}

// bind says that operands of these names are for an argument.
type bind struct {
	contract, argument int
	pattern            pattern
	at                 position
}

// operations are those whose contracts can be written, with the arguments each may have.
var operations = map[kernel.Operation][]string{
	kernel.GEMM:      {"a", "b", "bias", "c"},
	kernel.Conv:      {"a", "b", "bias", "c"},
	kernel.LayerNorm: {"x", "gamma", "beta", "eps", "y"},
	kernel.Softmax:   {"x", "y"},
	kernel.GELU:      {"x", "y"},
	kernel.Add:       {"x", "z", "y"},
	kernel.Scale:     {"x", "scale", "y"},
}

// mayBeLeftOut are arguments that a kernel need not have: what it adds or multiplies by can be nothing, or compiled into it.
var mayBeLeftOut = map[string]bool{"bias": true, "gamma": true, "beta": true, "eps": true, "scale": true}

// roles gives the role that a word of the text stands for.
var roles = map[releasepb.ArgumentRole]kernel.ArgumentRole{
	releasepb.ArgumentRole_ACTIVATION:   kernel.Activation,
	releasepb.ArgumentRole_WEIGHT:       kernel.Weight,
	releasepb.ArgumentRole_OUTPUT:       kernel.Output,
	releasepb.ArgumentRole_INSTRUCTIONS: kernel.Instructions,
	releasepb.ArgumentRole_SCALAR:       kernel.Constant,
}

// ParseKernels reads and checks a file of kernel contracts of at most 1 MiB. The file's name is for messages only. Errors are of
// type *Error.
func ParseKernels(file string, text []byte) (*Kernels, error) {
	var m releasepb.Kernels
	doc, err := unmarshal(file, text, &m)
	if err != nil {
		return nil, err
	}
	blocks := doc.root.all("contract")
	if len(blocks) != len(m.Contract) {
		return nil, doc.fault(position{}, "%d contracts were read but %d were found in the text", len(m.Contract), len(blocks))
	}
	if len(blocks) == 0 {
		return nil, doc.fault(doc.root.end, "the file has no contracts; write contract { ... }")
	}
	k := &Kernels{doc: doc, blocks: blocks}
	if k.Digest, err = meaning(&m); err != nil {
		return nil, err
	}
	for i, c := range m.Contract {
		p := contractParser{kernels: k, block: blocks[i], number: i}
		if err := p.parse(c); err != nil {
			return nil, err
		}
		if first := slices.IndexFunc(k.Contracts, func(o kernel.Contract) bool { return o.Name == c.Name }); first < i {
			return nil, doc.fault(blocks[i].where("name", 0), "the contract %q is that of line %d too", c.Name, blocks[first].at.line)
		}
	}
	return k, nil
}

// contractParser checks one contract block.
type contractParser struct {
	kernels *Kernels
	block   *field
	number  int
	c       kernel.Contract
}

func (p *contractParser) fault(at position, format string, args ...any) error {
	return p.kernels.doc.fault(at, format, args...)
}

func (p *contractParser) parse(c *releasepb.Contract) error {
	p.c = kernel.Contract{
		Name: c.Name, Operation: kernel.Operation(c.Operation), Epilogue: kernel.Epilogue(c.Epilogue), Kernel: c.Kernel,
		Xclbin: kernel.None, Instructions: kernel.None,
	}
	if wrong := checkName(c.Name); wrong != "" {
		return p.fault(p.block.where("name", 0), "the contract's name %s", wrong)
	}
	if _, known := operations[p.c.Operation]; !known {
		return p.fault(p.block.where("operation", 0), "operation %q; GEMM, CONV, LAYER_NORM, SOFTMAX, GELU, ADD or SCALE was expected", c.Operation)
	}
	if p.c.Epilogue != kernel.NoEpilogue && p.c.Epilogue != kernel.GELUEpilogue {
		return p.fault(p.block.where("epilogue", 0), "epilogue %q; GELU or nothing was expected", c.Epilogue)
	}
	if wrong := checkName(c.Kernel); c.Kernel != "" && wrong != "" {
		return p.fault(p.block.where("kernel", 0), "the kernel's name %s", wrong)
	}
	if err := p.parseShape(c); err != nil {
		return err
	}
	blocks := p.block.all("argument")
	if len(blocks) != len(c.Argument) || len(blocks) == 0 {
		return p.fault(p.block.at, "the contract has no arguments; write argument { ... }")
	}
	for i, a := range c.Argument {
		if err := p.parseArgument(blocks[i], a); err != nil {
			return err
		}
	}
	if err := p.c.Validate(); err != nil {
		return p.fault(p.block.at, "%v", err)
	}
	for _, name := range operations[p.c.Operation] {
		if p.c.Argument(name) == nil && !mayBeLeftOut[name] {
			return p.fault(p.block.at, "contract %q has no argument %q; %s has %s", c.Name, name, p.c.Operation, strings.Join(operations[p.c.Operation], ", "))
		}
	}
	for _, f := range [][2]string{{"xclbin", c.Xclbin}, {"instructions", c.Instructions}} {
		if wrong := checkName(f[1]); f[1] != "" && wrong != "" {
			return p.fault(p.block.where(f[0], 0), "the path of the %s %s", f[0], wrong)
		}
		if strings.HasPrefix(f[1], "/") || filepath.IsAbs(f[1]) {
			return p.fault(p.block.where(f[0], 0), "the path %q of the %s is absolute; write it as it is from the folder of this file", f[1], f[0])
		}
	}
	if c.Xclbin != "" && c.Kernel == "" {
		return p.fault(p.block.where("xclbin", 0), "the contract names no kernel of the xclbin; write kernel: \"MLIR_AIE\" or the like")
	}
	p.kernels.Contracts = append(p.kernels.Contracts, p.c)
	p.kernels.Files = append(p.kernels.Files, KernelFiles{c.Xclbin, c.Instructions})
	return nil
}

// maxSize bounds a size in a contract; sums and products of a few stay far from overflow.
const maxSize = 1 << 32

func (p *contractParser) parseShape(c *releasepb.Contract) error {
	for i, s := range c.Shape {
		at := p.block.where("shape", i)
		padded := s.Padded
		if padded == 0 {
			padded = s.Extent
		}
		if wrong := checkAxes(s.Axis); wrong != "" || len(s.Axis) != 1 {
			return p.fault(at, "the axis of a shape is %q, one letter from A to Z was expected", s.Axis)
		}
		if s.Extent == 0 || padded < s.Extent || padded > maxSize {
			return p.fault(at, "axis %s has extent %d, padded to %d; 1 to %d, and padded at least the extent, were expected", s.Axis, s.Extent, padded, uint64(maxSize))
		}
		if p.c.Size(s.Axis[0]) != 0 {
			return p.fault(at, "axis %s stands twice in the shape", s.Axis)
		}
		p.c.Shape = append(p.c.Shape, layout.Axis{Name: s.Axis[0], Extent: s.Extent, Padded: padded})
	}
	return nil
}

func (p *contractParser) parseArgument(block *field, a *releasepb.Argument) error {
	// What a compiled kernel needs besides (an opcode, the instructions and how many) goes by the names of its own.
	own := a.Role == releasepb.ArgumentRole_INSTRUCTIONS || a.Role == releasepb.ArgumentRole_SCALAR
	if !own && !slices.Contains(operations[p.c.Operation], a.Name) {
		return p.fault(block.where("name", 0), "argument %q; %s has %s", a.Name, p.c.Operation, strings.Join(operations[p.c.Operation], ", "))
	}
	role, known := roles[a.Role]
	if !known {
		return p.fault(block.where("role", 0), "argument %q has no role; write ACTIVATION, WEIGHT, OUTPUT, INSTRUCTIONS or SCALAR", a.Name)
	}
	for i := range p.c.Arguments {
		if o := &p.c.Arguments[i]; o.Index == a.Index {
			return p.fault(block.where("index", 0), "argument %q has index %d, which argument %q has too; each has its own place in the kernel's signature", a.Name, a.Index, o.Name)
		}
	}
	argument := kernel.Argument{Name: a.Name, Index: a.Index, Role: role, MemoryGroup: kernel.NoGroup}
	if a.MemoryGroup != nil {
		if *a.MemoryGroup > 1<<30 {
			return p.fault(block.where("memory_group", 0), "memory group %d", *a.MemoryGroup)
		}
		argument.MemoryGroup = int32(*a.MemoryGroup)
	}
	switch role {
	case kernel.Constant:
		argument.Kind = kernel.ScalarArgument
	case kernel.Instructions:
	default:
		if err := p.parseBuffer(block, a, &argument); err != nil {
			return err
		}
	}
	for i, text := range a.Operand {
		at := block.where("operand", i)
		pattern, err := parsePattern(text)
		if err != nil {
			return p.fault(at, "pattern %q: %v", text, err)
		}
		if role != kernel.Weight {
			return p.fault(at, "operands are bound to a WEIGHT; argument %q is none", a.Name)
		}
		p.kernels.binds = append(p.kernels.binds, bind{p.number, len(p.c.Arguments), pattern, at})
	}
	p.c.Arguments = append(p.c.Arguments, argument)
	return nil
}

// parseBuffer reads format, axes and layout, and of codes how they become values.
func (p *contractParser) parseBuffer(block *field, a *releasepb.Argument, argument *kernel.Argument) error {
	allowed := valueFormats
	if argument.Role == kernel.Weight {
		allowed = formats
	}
	format := formatOf(a.Format)
	switch {
	case a.Format == releasepb.ElementFormat_NONE:
		return p.fault(block.where("format", 0), "argument %q has no format; write %s", a.Name, allowed)
	case format == 0 || argument.Role != kernel.Weight && isCode(format):
		return p.fault(block.where("format", 0), "%v is no format of argument %q; write %s", a.Format, a.Name, allowed)
	}
	e, err := parseEncoding(p.kernels.doc, block, format, a)
	if err != nil {
		return err
	}
	if wrong := checkAxes(a.Axes); wrong != "" || a.Axes == "" {
		return p.fault(block.where("axes", 0), "axes %q of argument %q; letters of the shape's axes were expected", a.Axes, a.Name)
	}
	var axes []layout.Axis
	for i := range len(a.Axes) {
		j := slices.IndexFunc(p.c.Shape, func(s layout.Axis) bool { return s.Name == a.Axes[i] })
		if j < 0 {
			return p.fault(block.where("axes", 0), "axis %c of argument %q is not in the shape", a.Axes[i], a.Name)
		}
		axes = append(axes, p.c.Shape[j])
	}
	spec, err := layout.Parse(a.Layout)
	if err == nil {
		argument.Layout, err = spec.Resolve(axes)
	}
	if err != nil {
		return p.fault(block.where("layout", 0), "argument %q: %v", a.Name, err)
	}
	s, err := e.lay(p.kernels.doc, argument.Layout, 0, fmt.Sprintf("argument %q", a.Name))
	if err != nil {
		return err
	}
	if argument.Format, argument.Encoding, argument.Bytes = format, s.Encoding, s.Bytes; s.Encoding != plane.Plain {
		argument.Planes = s.Planes
	}
	return nil
}

// Bind records contracts and bindings in an index, each operand checked against the argument it is for. The memory group of the
// argument becomes that of the operand's segment. An error shows both sides.
func (k *Kernels) Bind(x *artifact.Index) error {
	x.Contracts, x.Bindings = k.Contracts, nil
	names := make([]string, len(x.Operands))
	for i, o := range x.Operands {
		names[i] = o.Name
	}
	grouped := map[int]string{} // segments that have a group, by the operand that gave it
	for _, b := range k.binds {
		c := &k.Contracts[b.contract]
		a := &c.Arguments[b.argument]
		found := false
		for i := range x.Operands {
			o := &x.Operands[i]
			if _, ok := b.pattern.match(o.Name); !ok {
				continue
			}
			found = true
			s := &x.Segments[o.Segment]
			if by, set := grouped[o.Segment]; set && s.MemoryGroup != a.MemoryGroup {
				return k.doc.fault(b.at, "operand %q binds to memory group %d and operand %q of the same segment %q to %d; give them segments of their own",
					o.Name, a.MemoryGroup, by, s.Name, s.MemoryGroup)
			}
			grouped[o.Segment], s.MemoryGroup = o.Name, a.MemoryGroup
			if err := a.Fits(o.Storage(), s.MemoryGroup); err != nil {
				return k.doc.fault(b.at, "operand %q does not fit contract %q: %v", o.Name, c.Name, err)
			}
			x.Bindings = append(x.Bindings, artifact.Binding{Operand: i, Contract: b.contract, Argument: b.argument})
		}
		if !found {
			return k.doc.fault(b.at, "no operand matches %q%s", b.pattern.text, near(b.pattern.symbols(), names))
		}
	}
	return nil
}
