//go:build xrt

package npu

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"npuw/artifact/xclbin/xclbintest"
	"npuw/pipeline"
	"npuw/pipeline/recipe"
	"npuw/runtime/xrt/teststream"
	"npuw/schema/pyreader"
)

// tiling is how the kernels of a design read and write their matrices.
type tiling struct {
	recipe  string // that lays B out in the same way
	a, b, c string // layouts
	m, k, n uint64 // sizes are padded to multiples of these
}

var (
	// rowMajor is mlir-aie's whole_array GEMM on four columns: the DMA tiles 64x64x32, for four rows and four columns of cores.
	rowMajor = tiling{"whisper-encoder/npu1-rowmajor", "M* K*", "K* N*", "M* N*", 256, 64, 128}
	// tiled is a GEMM whose B lies in memory as its cores read it, in micro tiles of 4x8x4.
	tiled = tiling{"whisper-encoder/npu1-tiled", "M* K* M4 K8", "N* K* K8 N8 K8 N4", "M* N* M4 N4", 64, 64, 32}
)

// wideBiases is a tiling with a recipe of its own: the built-in one with vectors padded as matrices are. The built-in row-major recipe pads
// them to 32, which is enough for real models, whose sizes are multiples of 128, but not for the test's of 64.
func (l tiling) wideBiases(t *testing.T) tiling {
	t.Helper()
	text, err := recipe.BuiltinText(l.recipe)
	check(t, err)
	wide := strings.ReplaceAll(string(text), `pad { axis: "N" multiple: 32 }`, fmt.Sprintf(`pad { axis: "N" multiple: %d }`, l.n))
	l.recipe = filepath.Join(pyreader.TempDir(t), "wide-biases.txtpb")
	check(t, os.WriteFile(l.recipe, []byte(wide), 0o666))
	return l
}

// contracts has all linear layers of an encoder, one contract for each shape, in the order of mlir-aie's arguments: opcode, instr, ninstr,
// A, B, C. The bias takes the first buffer that is spare then.
var contracts = template.Must(template.New("kernels").Parse(`{{range .}}contract {
  name: "{{.Name}}"  operation: "GEMM"  kernel: "MLIR_AIE"  xclbin: "gemm.xclbin"  instructions: "{{.Name}}.bin"
  shape { axis: "M" extent: {{.M}} padded: {{.PaddedM}} }
  shape { axis: "K" extent: {{.K}} padded: {{.PaddedK}} }
  shape { axis: "N" extent: {{.N}} padded: {{.PaddedN}} }
  argument { name: "opcode" index: 0 role: SCALAR }
  argument { name: "instr" index: 1 role: INSTRUCTIONS }
  argument { name: "ninstr" index: 2 role: SCALAR }
  argument { name: "a" index: 3 role: ACTIVATION format: BF16 axes: "MK" layout: "{{.A}}" }
  argument { name: "b" index: 4 role: WEIGHT format: BF16 axes: "KN" layout: "{{.B}}"
{{- range .Layers}}
    operand: "encoder.layers.{i}.{{.}}.weight"{{end}} }
  argument { name: "c" index: 5 role: OUTPUT format: F32 axes: "MN" layout: "{{.C}}" }
{{- if .Bias}}
  argument { name: "bias" index: 6 role: WEIGHT format: BF16 axes: "N" layout: "N*"
{{- range .Layers}}
    operand: "encoder.layers.{i}.{{.}}.bias"{{end}} }{{end}}
}
{{end}}`))

// gemm is what the template makes a contract of.
type gemm struct {
	Name                      string
	M, K, N                   uint64
	PaddedM, PaddedK, PaddedN uint64
	A, B, C                   string
	Bias                      bool
	Layers                    []string
}

// linears are the contracts of an encoder's linear layers, and how many runs of them a layer of the encoder takes.
func (l *tiling) linears(positions, model, ffn uint64) (list []gemm, runs int) {
	up := func(n, multiple uint64) uint64 { return (n + multiple - 1) / multiple * multiple }
	add := func(name string, k, n uint64, bias bool, layers ...string) {
		list = append(list, gemm{name, positions, k, n, up(positions, l.m), up(k, l.k), up(n, l.n), l.a, l.b, l.c, bias, layers})
		runs += len(layers)
	}
	add("projection", model, model, true, "self_attn.q_proj", "self_attn.v_proj", "self_attn.out_proj")
	add("projection-without-bias", model, model, false, "self_attn.k_proj")
	add("fc1", model, ffn, true, "fc1")
	add("fc2", ffn, model, true, "fc2")
	return list, runs
}

// writeKernels writes contracts to a folder, with what they name: an xclbin, and instructions for the software NPU. It gives the path of
// the contracts.
func writeKernels(t *testing.T, dir string, list []gemm) string {
	t.Helper()
	var text strings.Builder
	check(t, contracts.Execute(&text, list))
	path := filepath.Join(dir, "kernels.txtpb")
	k, err := recipe.ParseKernels(path, []byte(text.String()))
	check(t, err)
	xclbin, err := xclbintest.Encode(xclbintest.MLIRAIE())
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "gemm.xclbin"), xclbin, 0o666))
	check(t, os.WriteFile(path, []byte(text.String()), 0o666))
	for i := range k.Contracts {
		stream, err := teststream.Encode(&k.Contracts[i])
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, k.Files[i].Instructions), stream, 0o666))
	}
	return path
}

// size is an attribute of a model.
func size(t *testing.T, b *pipeline.Build, name string) uint64 {
	t.Helper()
	for _, a := range b.Model.Attributes {
		if a.Name == name {
			return uint64(a.Int)
		}
	}
	t.Fatal(fmt.Errorf("the model has no %s", name))
	return 0
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
