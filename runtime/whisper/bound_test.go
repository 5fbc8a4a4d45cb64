package whisper

import (
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// resolved is an argument of a contract: axes with extents, padded as the notation asks.
func resolved(t testing.TB, name string, role kernel.ArgumentRole, f element.Format, notation string, axes []layout.Axis) kernel.Argument {
	t.Helper()
	spec, err := layout.Parse(notation)
	if err != nil {
		t.Fatal(err)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		t.Fatal(err)
	}
	return kernel.Buffer(name, 0, role, f, l)
}

// unpadded is how an operand lies, without the value of padding, which arguments do not have.
func unpadded(o *artifact.Operand) plane.Storage {
	s := o.Storage()
	s.Planes = slices.Clone(s.Planes)
	for i := range s.Planes {
		s.Planes[i].PadBits = 0
	}
	return s
}

// bindGEMM adds a contract for the operand called name, whose arguments are written in the given element format and layouts, with or
// without bias, and binds the operand to it.
func bindGEMM(t testing.TB, x *artifact.Index, rows uint64, name string, f element.Format, a, c string, bias bool) *artifact.Contract {
	t.Helper()
	i := slices.IndexFunc(x.Operands, func(o artifact.Operand) bool { return o.Name == name })
	b := kernel.Stored("b", 1, kernel.Weight, unpadded(&x.Operands[i]))
	k, n := b.Layout.Axes[0].Extent, b.Layout.Axes[1].Extent
	contract := artifact.Contract{
		Name: "bound to " + name, Operation: kernel.GEMM, Kernel: "MLIR_AIE", Xclbin: kernel.None, Instructions: kernel.None,
		Shape:     []layout.Axis{{Name: 'M', Extent: rows, Padded: rows}, {Name: 'K', Extent: k, Padded: k}, {Name: 'N', Extent: n, Padded: n}},
		Arguments: []kernel.Argument{resolved(t, "a", kernel.Activation, f, a, axes("MK", rows, k)), b},
	}
	if bias {
		j := slices.IndexFunc(x.Operands, func(o artifact.Operand) bool { return o.Name == strings.Replace(name, "weight", "bias", 1) })
		contract.Arguments = append(contract.Arguments, kernel.Stored("bias", 2, kernel.Weight, unpadded(&x.Operands[j])))
	}
	contract.Arguments = append(contract.Arguments, resolved(t, "c", kernel.Output, element.F32, c, axes("MN", rows, n)))
	x.Bindings = append(x.Bindings, artifact.Binding{Operand: i, Contract: len(x.Contracts), Argument: 1})
	x.Contracts = append(x.Contracts, contract)
	return &x.Contracts[len(x.Contracts)-1]
}

func TestBoundKernels(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 10)
	mel := n.input(10)
	d := newCPU(t, cpu.Options{Shadow: true})
	list := fold(n, plain(n, element.F32), "out", true, []float64{1}, "encoder.layers.0.self_attn.out_proj")
	want := encode(t, d, packNetwork(t, n, list, nil), mel, Options{})
	path := packNetwork(t, n, list, func(x *artifact.Index) {
		bindGEMM(t, x, n.Positions, "encoder.layers.0.fc1.weight", element.F32, "M* K* M4 K8", "N* M* M4 N4", true)
		bindGEMM(t, x, n.Positions, "encoder.layers.1.self_attn.v_proj.weight", element.F32, "K* M*", "M* N*", true)
		bindGEMM(t, x, n.Positions, "out", element.F32, "M* K* M8 K8", "M* N* M8 N8", false)
	})
	ran := map[string]string{}
	got := encode(t, d, path, mel, Options{Trace: func(s Step) error {
		ran[s.Name] = s.Kernel.Name
		_, err := s.Output()
		return err
	}})
	if !slices.Equal(bitsOf(got), bitsOf(want)) {
		t.Errorf("other bits than unbound, largest difference %.3g", maxError(t, got, want))
	}
	for step, kernel := range map[string]string{
		"encoder.layers.0.fc1":                "bound to encoder.layers.0.fc1.weight",
		"encoder.layers.0.fc1.a.layout":       "SCALE M=13 N=15",
		"encoder.layers.0.fc1.gelu":           "GELU M=13 N=37",
		"encoder.layers.1.fc1":                "GEMM M=13 K=15 N=37 GELU",
		"encoder.layers.1.self_attn.v_proj":   "bound to encoder.layers.1.self_attn.v_proj.weight",
		"encoder.layers.0.self_attn.out_proj": "bound to out",
	} {
		if ran[step] != kernel {
			t.Errorf("step %q ran kernel %q, want %q", step, ran[step], kernel)
		}
	}
}

// grouped is a device that notes the memory groups it allocates in.
type grouped struct {
	device.Device
	groups map[int32]bool
}

func (g grouped) Allocate(bytes int64, group int32) (device.Buffer, error) {
	g.groups[group] = true
	return g.Device.Allocate(bytes, group)
}

// What a kernel reads and writes lies in its memory groups, even where the layout is the encoder's own.
func TestBoundMemoryGroups(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 21)
	d := grouped{newCPU(t, cpu.Options{}), map[int32]bool{}}
	encode(t, d, packNetwork(t, n, plain(n, element.F32), func(x *artifact.Index) {
		c := bindGEMM(t, x, n.Positions, "encoder.layers.0.fc2.weight", element.F32, "M* K*", "M* N*", true)
		c.Arguments[0].MemoryGroup, c.Arguments[3].MemoryGroup = 7, 8
	}), n.input(21), Options{})
	for _, group := range []int32{kernel.NoGroup, 7, 8} {
		if !d.groups[group] {
			t.Errorf("nothing was allocated in group %d", group)
		}
	}
}

// An operand's axes may have other names than the operation's: positions are P and N.
func TestBoundPositions(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 23)
	d := newCPU(t, cpu.Options{})
	const name = "encoder.embed_positions.weight"
	want := encode(t, d, packNetwork(t, n, plain(n, element.F32), nil), n.input(23), Options{})
	path := packNetwork(t, n, plain(n, element.F32), func(x *artifact.Index) {
		i := slices.IndexFunc(x.Operands, func(o artifact.Operand) bool { return o.Name == name })
		plane := func(argument string, role kernel.ArgumentRole) kernel.Argument {
			return resolved(t, argument, role, element.F32, "N* M*", axes("MN", n.Positions, n.DModel))
		}
		x.Bindings = []artifact.Binding{{Operand: i, Contract: 0, Argument: 1}}
		x.Contracts = []artifact.Contract{{
			Name: "bound", Operation: kernel.Add, Xclbin: kernel.None, Instructions: kernel.None,
			Arguments: []kernel.Argument{
				plane("x", kernel.Activation), kernel.Buffer("z", 1, kernel.Weight, element.F32, x.Operands[i].Layout), plane("y", kernel.Output),
			},
		}}
	})
	ran := ""
	got := encode(t, d, path, n.input(23), Options{Trace: func(s Step) error {
		if s.Name == "encoder.embed_positions" {
			ran = s.Kernel.Name
		}
		return nil
	}})
	if ran != "bound" || !slices.Equal(bitsOf(got), bitsOf(want)) {
		t.Errorf("ran kernel %q; largest difference from unbound %.3g", ran, maxError(t, got, want))
	}
}

func TestBoundKernelsThatDoNotFit(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 11)
	const name = "encoder.layers.0.fc1.weight"
	for _, c := range []struct {
		name, message string
		bias          bool
		edit          func(*artifact.Contract)
	}{
		{"no bias", `contract "bound to encoder.layers.0.fc1.weight" has no argument "bias"`, false, func(*artifact.Contract) {}},
		{"no output", `has no argument "c"`, true, func(c *artifact.Contract) { c.Arguments = c.Arguments[:3] }},
		{"another output", `has an argument "d", for which`, true, func(c *artifact.Contract) {
			d := c.Arguments[3]
			d.Name = "d"
			c.Arguments = append(c.Arguments, d)
		}},
		{"bias of another format", `argument "bias" reads bf16, the operand is f32`, true, func(c *artifact.Contract) {
			c.Arguments[2] = resolved(t, "bias", kernel.Weight, element.BF16, "N*", axes("N", n.FFN))
		}},
		{"input of other sizes", `argument "a" has shape M=14 K=15; M=13 K=15 was expected`, true, func(c *artifact.Contract) {
			c.Arguments[0] = resolved(t, "a", kernel.Activation, element.F32, "K* M*", axes("MK", 14, 15))
		}},
	} {
		path := packNetwork(t, n, plain(n, element.F32), func(x *artifact.Index) {
			c.edit(bindGEMM(t, x, n.Positions, name, element.F32, "M* K*", "M* N*", c.bias))
		})
		refuse(t, c.name, path, c.message)
	}
}

// A contract for other sizes, or another operation, is for another program.
func TestBoundToOtherSizes(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 12)
	path := packNetwork(t, n, plain(n, element.F32), func(x *artifact.Index) {
		bindGEMM(t, x, 99, "encoder.layers.0.fc1.weight", element.F32, "M* K*", "M* N*", true)
		bindGEMM(t, x, n.Positions, "encoder.layers.0.fc2.weight", element.F32, "M* K*", "M* N*", true).Operation = "OTHER"
	})
	encode(t, newCPU(t, cpu.Options{}), path, n.input(12), Options{Trace: func(s Step) error {
		if strings.HasPrefix(s.Kernel.Name, "bound") {
			t.Errorf("step %s ran %s", s.Name, s.Kernel.Name)
		}
		return nil
	}})
}
