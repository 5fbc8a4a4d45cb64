package recipe

import (
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
)

// gemmText is a contract that binds fc1 of every layer.
const gemmText = `contract {
  name: "gemm"
  operation: "GEMM"
  kernel: "MLIR_AIE"
  shape { axis: "M" extent: 50 padded: 64 }
  shape { axis: "K" extent: 40 padded: 64 }
  shape { axis: "N" extent: 100 padded: 128 }
  argument { name: "instr" index: 1 role: INSTRUCTIONS }
  argument { name: "a" index: 3 role: ACTIVATION format: BF16 axes: "MK" layout: "M* K*" }
  argument { name: "b" index: 4 role: WEIGHT format: BF16 axes: "KN" layout: "N* K* K8 N8 K8 N4" operand: "layers.{i}.fc1" }
  argument { name: "c" index: 5 role: OUTPUT format: F32 axes: "MN" layout: "M* N*" }
}
`

// boundIndex is an index with two operands that gemmText binds.
func boundIndex(t *testing.T) *artifact.Index {
	t.Helper()
	spec, err := layout.Parse("N* K* K8 N8 K8 N4")
	if err != nil {
		t.Fatal(err)
	}
	l, err := spec.Resolve([]layout.Axis{{Name: 'K', Extent: 40}, {Name: 'N', Extent: 100}})
	if err != nil {
		t.Fatal(err)
	}
	x := &artifact.Index{Segments: []artifact.Segment{{Name: "s", MemoryGroup: artifact.NoGroup}}}
	for _, name := range []string{"layers.0.fc1", "layers.1.fc1"} {
		x.Operands = append(x.Operands, artifact.Operand{Name: name, Format: element.BF16, Layout: l, Bytes: 2 * l.Elements()})
	}
	return x
}

func TestBind(t *testing.T) {
	t.Parallel()
	k, err := ParseKernels("k.txtpb", []byte(gemmText))
	if err != nil {
		t.Fatal(err)
	}
	c := &k.Contracts[0]
	if b := c.Argument("b"); c.Operation != kernel.GEMM || c.Size('M') != 50 || b == nil || b.Role != kernel.Weight || b.Bytes != 64*128*2 || b.Index != 4 {
		t.Fatalf("contract %+v", c)
	}
	x := boundIndex(t)
	if err := k.Bind(x); err != nil {
		t.Fatal(err)
	}
	want := []artifact.Binding{{Operand: 0, Contract: 0, Argument: 2}, {Operand: 1, Contract: 0, Argument: 2}}
	if len(x.Contracts) != 1 || len(x.Bindings) != 2 || x.Bindings[0] != want[0] || x.Bindings[1] != want[1] {
		t.Errorf("bindings %v, want %v", x.Bindings, want)
	}
}

// Sizes that are not padded are worked on as they are; what an operation can do without need not be there.
func TestParseKernelsShort(t *testing.T) {
	t.Parallel()
	k, err := ParseKernels("k.txtpb", []byte(`contract {
		name: "norm" operation: "LAYER_NORM" shape { axis: "M" extent: 50 } shape { axis: "N" extent: 64 padded: 128 }
		argument { name: "x" index: 3 role: ACTIVATION format: BF16 axes: "MN" layout: "M* N*" }
		argument { name: "y" index: 4 role: OUTPUT format: BF16 axes: "MN" layout: "M* N*" }
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []layout.Axis{{Name: 'M', Extent: 50, Padded: 50}, {Name: 'N', Extent: 64, Padded: 128}}
	if got := k.Contracts[0].Shape; !slices.Equal(got, want) {
		t.Errorf("shape %v, want %v", got, want)
	}
}

func TestBindGroups(t *testing.T) {
	t.Parallel()
	text := strings.Replace(gemmText, `operand: "layers.{i}.fc1"`, `operand: "layers.0.fc1" memory_group: 7`, 1)
	other := strings.NewReplacer(`"gemm"`, `"other"`, "layers.0", "layers.1", "memory_group: 7", "memory_group: 8").Replace(text)
	k, err := ParseKernels("k.txtpb", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	x := boundIndex(t)
	if err := k.Bind(x); err != nil || x.Segments[0].MemoryGroup != 7 {
		t.Errorf("group %d, %v", x.Segments[0].MemoryGroup, err)
	}
	if k, err = ParseKernels("k.txtpb", []byte(text+other)); err != nil {
		t.Fatal(err)
	}
	err = k.Bind(boundIndex(t))
	if err == nil || !strings.Contains(err.Error(), `k.txtpb:22: operand "layers.1.fc1" binds to memory group 8 and operand "layers.0.fc1" of the same segment "s" to 7`) {
		t.Error(err)
	}
}

func TestBindMismatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"format":   {`role: WEIGHT format: BF16`, `role: WEIGHT format: F16`, `reads f16, the operand is bf16`},
		"layout":   {`"N* K* K8 N8 K8 N4"`, `"N* K* K8 N4 K8 N8"`, `reads layout N4 K1 K8 N4 K8 N8, the operand is in N4 K1 K8 N8 K8 N4`},
		"extent":   {`extent: 100 padded: 128`, `extent: 101 padded: 128`, `has shape K=40→64 N=101→128, the operand K=40→64 N=100→128`},
		"padding":  {`extent: 100 padded: 128`, `extent: 100 padded: 256`, `has shape K=40→64 N=100→256`},
		"nothing":  {`layers.{i}.fc1`, `layers.{i}.fc2`, `no operand matches "layers.{i}.fc2"; near: layers.0.fc1`},
		"one side": {`"layers.{i}.fc1"`, `"layers.1.fc1", operand: "layers.9.fc1"`, `no operand matches "layers.9.fc1"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(gemmText, c.old) {
				t.Fatalf("%q is not in the text", c.old)
			}
			k, err := ParseKernels("k.txtpb", []byte(strings.Replace(gemmText, c.old, c.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			err = k.Bind(boundIndex(t))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "k.txtpb:10: ") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestParseKernelsErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, want string }{
		{`name: "gemm"`, ``, `k.txtpb:1: the contract's name is empty`},
		{`"GEMM"`, `"GEM"`, `k.txtpb:3: operation "GEM"; GEMM, CONV`},
		{`operation: "GEMM"`, `operation: "GEMM" epilogue: "RELU"`, `k.txtpb:3: epilogue "RELU"`},
		{`axis: "M" extent: 50`, `axis: "M" extent: 0`, `k.txtpb:5: axis M has extent 0`},
		{`padded: 64 }`, `padded: 49 }`, `k.txtpb:5: axis M has extent 50, padded to 49`},
		{`axis: "K"`, `axis: "M"`, `k.txtpb:6: axis M stands twice`},
		{`axis: "K"`, `axis: "k"`, `k.txtpb:6: the axis of a shape is "k"`},
		{`name: "b"`, `name: "weights"`, `k.txtpb:10: argument "weights"; GEMM has a, b, bias, c`},
		{`name: "c"`, `name: "b"`, `names must be there and differ`},
		{`role: OUTPUT`, ``, `k.txtpb:11: argument "c" has no role`},
		{`role: OUTPUT format: F32`, `role: OUTPUT`, `k.txtpb:11: argument "c" has no format; write F32, F16, BF16 or BFP16`},
		{`axes: "MN"`, `axes: "MX"`, `k.txtpb:11: axis X of argument "c" is not in the shape`},
		{`axes: "MN"`, ``, `k.txtpb:11: axes "" of argument "c"`},
		{`"M* N*"`, `"M* N* N"`, `k.txtpb:11: argument "c":`},
		{`"M* N*"`, `"M*"`, `k.txtpb:11: argument "c":`},
		{`layout: "M* N*"`, `layout: "M* N*" operand: "x"`, `k.txtpb:11: operands are bound to a WEIGHT; argument "c" is none`},
		{`"layers.{i}.fc1"`, `"layers.{i}*"`, `two wildcards`},
		{`layout: "M* N*"`, `layuot: "M* N*"`, `k.txtpb:11: unknown field: layuot; near: layout`},
		{`index: 5`, `index: 4`, `k.txtpb:11: argument "c" has index 4, which argument "b" has too`},
		{`name: "a"`, `name: "bias"`, `k.txtpb:1: contract "gemm" has no argument "a"; GEMM has a, b, bias, c`},
		{`kernel: "MLIR_AIE"`, "xclbin: 'g.xclbin'", `k.txtpb:4: the contract names no kernel of the xclbin`},
		{`kernel: "MLIR_AIE"`, "kernel: 'a\\n'", `k.txtpb:4: the kernel's name "a\n" has a control character`},
		{`kernel: "MLIR_AIE"`, "kernel: 'k' xclbin: '/g.xclbin'", `k.txtpb:4: the path "/g.xclbin" of the xclbin is absolute; write it as it is from the folder of this file`},
		{`kernel: "MLIR_AIE"`, "instructions: '/g.bin'", `k.txtpb:4: the path "/g.bin" of the instructions is absolute`},
		{`kernel: "MLIR_AIE"`, "instructions: 'g\\r.bin'", `k.txtpb:4: the path of the instructions "g\r.bin" has a control character`},
		{`index: 5`, `index: 5 memory_group: 1073741825`, `k.txtpb:11: memory group 1073741825`},
		{gemmText, ``, `the file has no contracts`},
		{gemmText, gemmText + gemmText, `k.txtpb:14: the contract "gemm" is that of line 1 too`},
		{gemmText, `contract { name: "x" operation: "ADD" }`, `has no arguments`},
	} {
		if !strings.Contains(gemmText, c.old) {
			t.Fatalf("%q is not in the text", c.old)
		}
		_, err := ParseKernels("k.txtpb", []byte(strings.Replace(gemmText, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: %v, want %q", c.new, c.old, err, c.want)
		}
	}
}

func FuzzParseKernels(f *testing.F) {
	f.Add([]byte(gemmText))
	f.Add([]byte(scaledText(`format: U4 layout: "N* K* K4 N8 K8 N4" high_half_first: true
		scales { format: BF16 minimums: F16 group { axis: "K" size: 32 } group { axis: "N" size: 1 } }
		record { codes: 1024 align: 64 planes: ["scales", "codes", "minimums"] }`)))
	f.Add([]byte(scaledText(`format: BFP16 layout: "N* K* N4 K8 N8 K8"`)))
	f.Add([]byte(`contract { name: "n" operation: "LAYER_NORM" argument { name: "eps" role: SCALAR } }`))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseKernels("k.txtpb", text)
		if err != nil {
			if wrong := wrongError(err, text); wrong != "" {
				t.Fatal(wrong)
			}
			return
		}
		for i := range k.Contracts {
			if err := k.Contracts[i].Validate(); err != nil {
				t.Errorf("accepted, but %v", err)
			}
		}
		_ = k.Bind(&artifact.Index{
			Segments: make([]artifact.Segment, 1),
			Operands: []artifact.Operand{{Name: "layers.0.fc1", Format: element.BF16}},
		})
	})
}
