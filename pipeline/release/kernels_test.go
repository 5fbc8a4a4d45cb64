package release

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/runtime/whisper"
)

// kernelsText is the contract of fc1 in whisperonnx.Odd, packed by npu1-tiled: K = 36, N = 100, padded to 64 and 128.
const kernelsText = `contract {
  name: "fc1"
  operation: "GEMM"
  kernel: "MLIR_AIE"
  shape { axis: "M" extent: 11 }
  shape { axis: "K" extent: 36 padded: 64 }
  shape { axis: "N" extent: %d padded: 128 }
  argument { name: "a" index: 3 role: ACTIVATION format: F32 axes: "MK" layout: "M* K*" }
  argument { name: "b" index: 4 role: WEIGHT format: BF16 axes: "KN" layout: "N* K* K8 N8 K8 N4" operand: "encoder.layers.{i}.fc1.weight" }
  argument { name: "bias" index: 5 role: WEIGHT format: BF16 axes: "N" layout: "N*" operand: "encoder.layers.{i}.fc1.bias" }
  argument { name: "c" index: 6 role: OUTPUT format: F32 axes: "MN" layout: "M* N*" }
}
`

// A release's contracts are checked against its operands, recorded, and what the runtime opens kernels by.
func TestKernels(t *testing.T) {
	t.Parallel()
	opts := folder(t, `artifact { source: "a.onnx" output: "plain.npuw" } artifact { source: "a.onnx" output: "bound.npuw" kernels: "kernels.txtpb" }`)
	kernels := filepath.Join(filepath.Dir(opts.Manifest), "kernels.txtpb")
	if err := os.WriteFile(kernels, fmt.Appendf(nil, kernelsText, 100), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Build(context.Background(), opts); err != nil {
		t.Fatal(err)
	}
	f, err := artifact.Open(filepath.Join(opts.Out, "bound.npuw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Index.Contracts) != 1 || len(f.Index.Bindings) != 4 {
		t.Fatalf("%d contracts, %d bindings, expected 1 and 4", len(f.Index.Contracts), len(f.Index.Bindings))
	}
	if list := f.Index.List(true).Contracts[0].Arguments[1].Operands; strings.Join(list, " ") != "encoder.layers.0.fc1.weight encoder.layers.1.fc1.weight" {
		t.Errorf("bound to b: %v", list)
	}
	plain, bound := encode(t, filepath.Join(opts.Out, "plain.npuw")), encode(t, filepath.Join(opts.Out, "bound.npuw"))
	for i := range plain {
		if math.Float32bits(plain[i]) != math.Float32bits(bound[i]) {
			t.Fatalf("output %d is %v bound, %v unbound", i, bound[i], plain[i])
		}
	}
}

// encode runs the encoder of an artifact made of whisperonnx.Odd.
func encode(t *testing.T, path string) []float32 {
	t.Helper()
	d := cpu.New(cpu.Options{})
	defer d.Close()
	m, err := device.Load(t.Context(), d, path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e, err := whisper.New(t.Context(), d, m, whisper.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	mel := make([]float32, whisperonnx.Odd.Mels*2*whisperonnx.Odd.Positions)
	for i := range mel {
		mel[i] = float32(i%13) - 6
	}
	y, err := e.Run(t.Context(), mel)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func TestKernelsMismatch(t *testing.T) {
	t.Parallel()
	opts := folder(t, `artifact { source: "a.onnx" output: "bound.npuw" kernels: "kernels.txtpb" }`)
	kernels := filepath.Join(filepath.Dir(opts.Manifest), "kernels.txtpb")
	if err := os.WriteFile(kernels, fmt.Appendf(nil, kernelsText, 101), 0o666); err != nil {
		t.Fatal(err)
	}
	err := Build(context.Background(), opts)
	if err == nil || !strings.Contains(err.Error(), kernels+":9: ") || !strings.Contains(err.Error(), "K=36→64 N=101→128, the operand K=36→64 N=100→128") {
		t.Errorf("%v, expected the line of the argument and both shapes", err)
	}
	if list, _ := os.ReadDir(opts.Out); len(list) > 0 {
		t.Errorf("left behind %v", list)
	}
}
