// Package gemmtest makes the GEMMs that tests of the NPU backend run: contracts with the arguments of mlir-aie's kernels, and elements for
// their buffers.
package gemmtest

import (
	"math/rand/v2"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/xclbin/xclbintest"
)

// GEMM is a GEMM as a test sees it: its sizes, the layouts of its matrices, and the element format of what it reads. It writes F32.
type GEMM struct {
	M, K, N uint64
	A, B, C string
	Format  element.Format
	Bias    bool // in F32
}

// Small is one that takes no time.
var Small = GEMM{M: 13, K: 40, N: 24, A: "M* K*", B: "N* K* K8 N8", C: "M* N*", Format: element.BF16}

// Axes are those of the GEMM, without padding.
func (g GEMM) Axes() (m, k, n layout.Axis) {
	return layout.Axis{Name: 'M', Extent: g.M}, layout.Axis{Name: 'K', Extent: g.K}, layout.Axis{Name: 'N', Extent: g.N}
}

// Contract is the contract of the GEMM for kernel MLIR_AIE of xclbintest.MLIRAIE: opcode, instructions, how many, A, B, C; the bias takes
// the first buffer that mlir-aie's designs leave spare. It names neither an xclbin nor instructions yet.
func (g GEMM) Contract(t testing.TB, name string) *kernel.Contract {
	t.Helper()
	m, k, n := g.Axes()
	c := &kernel.Contract{
		Name: name, Operation: kernel.GEMM, Kernel: "MLIR_AIE", Xclbin: kernel.None, Instructions: kernel.None, Shape: []layout.Axis{m, k, n},
		Arguments: []kernel.Argument{
			{Name: "instructions", Index: 1, Role: kernel.Instructions, MemoryGroup: xclbintest.SRAM},
			Buffer(t, "a", 3, kernel.Activation, g.Format, g.A, m, k),
			Buffer(t, "b", 4, kernel.Weight, g.Format, g.B, k, n),
			Buffer(t, "c", 5, kernel.Output, element.F32, g.C, m, n),
		},
	}
	if g.Bias {
		c.Arguments = append(c.Arguments, Buffer(t, "bias", 6, kernel.Weight, element.F32, "N*", n))
	}
	for i := range c.Shape {
		c.Shape[i].Padded = c.Shape[i].Extent
	}
	return c
}

// Buffer is a buffer argument in the host's memory, with the padding that its layout asks for.
func Buffer(t testing.TB, name string, index uint32, role kernel.ArgumentRole, f element.Format, notation string, axes ...layout.Axis) kernel.Argument {
	t.Helper()
	a := kernel.Buffer(name, index, role, f, Layout(t, notation, axes...))
	a.MemoryGroup = xclbintest.Host
	return a
}

// Layout is a layout by its notation.
func Layout(t testing.TB, notation string, axes ...layout.Axis) layout.Layout {
	t.Helper()
	spec, err := layout.Parse(notation)
	if err != nil {
		t.Fatal(err)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Elements are random elements for an argument, in its padding too.
func Elements(r *rand.Rand, a *kernel.Argument) []byte {
	values := make([]float32, a.Layout.Elements())
	for i := range values {
		values[i] = float32(r.NormFloat64() * 4)
	}
	data := make([]byte, a.Bytes)
	if err := element.Encode(data, values, a.Format); err != nil {
		panic(err) // a contract in a format that cannot be encoded
	}
	return data
}
