package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/artifact/xclbin"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/schema/pyreader"
)

// boundText is a contract for fc1 of whisperonnx.Odd, packed by npu1-tiled, in mlir-aie's argument order.
const boundText = `contract {
  name: "fc1"
  operation: "GEMM"
  kernel: "MLIR_AIE"
  xclbin: "gemm.xclbin"
  instructions: "gemm.bin"
  shape { axis: "M" extent: 11 }
  shape { axis: "K" extent: 36 padded: 64 }
  shape { axis: "N" extent: 100 padded: 128 }
  argument { name: "opcode" index: 0 role: SCALAR }
  argument { name: "instr" index: 1 role: INSTRUCTIONS }
  argument { name: "a" index: 3 role: ACTIVATION format: F32 axes: "MK" layout: "M* K*" }
  argument { name: "b" index: 4 role: WEIGHT format: BF16 axes: "KN" layout: "N* K* K8 N8 K8 N4" operand: "encoder.layers.{i}.fc1.weight" }
  argument { name: "c" index: 5 role: OUTPUT format: F32 axes: "MN" layout: "M* N*" }
}
`

// bind makes a folder with an xclbin, instructions and contracts, edited, and binds an encoder to them.
func bind(t *testing.T, edit func(string) string) (b *Build, dir string, err error) {
	t.Helper()
	dir = pyreader.TempDir(t)
	s := xclbintest.MLIRAIE()
	logic := xclbintest.MLIRAIEKernel("LOGIC", 5) // no kernel for the NPU
	logic.Type = "pl"
	lost := xclbintest.MLIRAIEKernel("LOST", 5) // one whose buffer bo0 lies in a bank that is not there
	lost.ID, lost.Arguments[3].Banks = 0x902, []int{len(s.Banks)}
	s.Banks, s.Kernels = append(s.Banks, xclbintest.Bank{Type: 2, Tag: "unused"}), append(s.Kernels, logic, lost)
	x, err := xclbintest.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"gemm.xclbin": x, "gemm.bin": []byte("12345678"), "odd.bin": []byte("123"), "kernels.txtpb": []byte(edit(boundText)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	model := filepath.Join(dir, "model.onnx")
	if err := whisperonnx.Write(model, whisperonnx.Odd); err != nil {
		t.Fatal(err)
	}
	if b, err = Prepare(model, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, dir, b.BindKernels(filepath.Join(dir, "kernels.txtpb"))
}

func same(s string) string { return s }

func TestBindKernels(t *testing.T) {
	t.Parallel()
	b, dir, err := bind(t, same)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "bound.npuw")
	if _, err := b.Pack(t.Context(), out, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	f, err := artifact.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := xclbin.Open(filepath.Join(dir, "gemm.xclbin"))
	if err != nil {
		t.Fatal(err)
	}
	want := artifact.Xclbin{Name: "gemm.xclbin", UUID: x.UUID, Bytes: uint64(x.Size), Digest: x.Digest}
	if !slices.Equal(f.Index.Xclbins, []artifact.Xclbin{want}) {
		t.Errorf("xclbins %+v, expected %+v", f.Index.Xclbins, want)
	}
	c := &f.Index.Contracts[0]
	s := &f.Index.Segments[c.Instructions]
	stream := make([]byte, 8)
	if _, err := f.ReadAt(stream, int64(s.Offset)); err != nil || string(stream) != "12345678" || s.Kind != artifact.Instructions {
		t.Errorf("instructions %q in a segment of %v (%v)", stream, s.Kind, err)
	}
	if instr := c.Argument("instr"); instr.Bytes != 8 || instr.MemoryGroup != 1 || c.Argument("b").MemoryGroup != 0 || c.Argument("opcode").MemoryGroup != kernel.NoGroup {
		t.Errorf("arguments %+v: expected the memory groups of the xclbin", c.Arguments)
	}
	if len(f.Index.Bindings) != 2 || f.Index.Segments[f.Index.Operands[f.Index.Bindings[0].Operand].Segment].MemoryGroup != 0 {
		t.Errorf("bindings %+v", f.Index.Bindings)
	}

	moved := filepath.Join(dir, "other name")
	if err := os.Rename(filepath.Join(dir, "gemm.xclbin"), moved); err != nil {
		t.Fatal(err)
	}
	if err := VerifyKernels(out, []string{filepath.Join(dir, "model.onnx"), moved}); err != nil {
		t.Errorf("found by digest under another name: %v", err)
	}
	if err := VerifyKernels(out, []string{filepath.Join(dir, "model.onnx")}); err == nil || !strings.Contains(err.Error(), want.Digest.String()) {
		t.Errorf("without the xclbin: %v", err)
	}
}

func TestBindKernelsMismatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, want string }{
		{`  argument { name: "instr" index: 1 role: INSTRUCTIONS }
`, ``, `kernels.txtpb:6: no argument of contract "fc1" takes them`},
		{`kernel: "MLIR_AIE"`, `kernel: "OTHER"`, `kernels.txtpb:4: %s has no kernel "OTHER" for the NPU; it has "MLIR_AIE", "LOST"`},
		{`kernel: "MLIR_AIE"`, `kernel: "LOGIC"`, `kernels.txtpb:4: %s has no kernel "LOGIC" for the NPU`},
		{`kernel: "MLIR_AIE"`, `kernel: "LOST"`, `kernels.txtpb:12: argument "a" is a buffer; argument 3 ("bo0") of kernel "LOST" of %s reaches no memory`},
		{`"gemm.xclbin"`, `"none.xclbin"`, `(paths in a file of contracts are taken from its folder, `},
		{`"gemm.xclbin"`, `"gemm.bin"`, `kernels.txtpb:5: `},
		{`"gemm.bin"`, `"none.bin"`, `(paths in a file of contracts are taken from its folder, `},
		{`"gemm.bin"`, `"odd.bin"`, `kernels.txtpb:6: `},
		{`index: 0 role: SCALAR`, `index: 9 role: SCALAR`, `kernels.txtpb:10: argument "opcode" has index 9; kernel "MLIR_AIE" of %s has no such argument`},
		{`index: 5`, `index: 2`, `kernels.txtpb:14: argument "c" is a buffer, argument 2 ("ninstr") of kernel "MLIR_AIE" of %s a scalar`},
		{`"N* K* K8 N8 K8 N4"`, `"N* K* K8 N8 K8 N4" memory_group: 1`, `kernels.txtpb:13: argument "b" is in memory group 1, argument 4 ("bo1") of kernel "MLIR_AIE" of %s in group 0`},
	} {
		_, dir, err := bind(t, func(s string) string { return strings.Replace(s, c.old, c.new, 1) })
		want := c.want
		if strings.Contains(want, "%s") {
			want = fmt.Sprintf(want, filepath.Join(dir, "gemm.xclbin"))
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %s", c.new, err, want)
		}
	}
}
