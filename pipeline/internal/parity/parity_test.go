package parity

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/runtime/whisper"
	"npuw/schema/onnxpb"
	"npuw/schema/pyreader"
)

// tolerance is the largest difference from ONNX Runtime that any output may have.
const tolerance = 1e-4

//go:embed ort.js
var ortScript []byte

func TestParity(t *testing.T) {
	needORT(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	sizes := map[string]whisperonnx.Config{"tiny": whisperonnx.Tiny, "odd": whisperonnx.Odd}
	for i := range 3 {
		heads := 1 + r.IntN(5)
		sizes[fmt.Sprintf("random %d", i)] = whisperonnx.Config{
			DModel: heads * (4 + 2*r.IntN(20)), Layers: 1 + r.IntN(3), Heads: heads, FFN: 10 + r.IntN(200), Mels: 1 + r.IntN(40),
			Positions: 2 + r.IntN(90), Gemm: r.IntN(2) == 0, ConstantNodes: r.IntN(2) == 0,
		}
	}
	if !testing.Short() {
		sizes["base"] = whisperonnx.Base
	}
	for name, c := range sizes {
		c.Seed = r.Uint64()
		t.Run(name, func(t *testing.T) {
			dir := pyreader.TempDir(t)
			plain := filepath.Join(dir, "plain.onnx")
			if err := whisperonnx.Write(plain, c); err != nil {
				t.Fatal(err)
			}
			input := make([]float32, c.Mels*2*c.Positions)
			in := rand.New(rand.NewPCG(c.Seed, 1))
			for i := range input {
				input[i] = float32(in.NormFloat64())
			}
			compare(t, c, plain, input, func(r *recipe.Recipe) bool { return r.Name == "whisper-encoder/f32" })
			rounded := filepath.Join(dir, "rounded.onnx")
			roundWeights(t, plain, rounded)
			compare(t, c, rounded, input, func(*recipe.Recipe) bool { return true })
		})
	}
}

func needORT(t *testing.T) {
	t.Helper()
	if os.Getenv("NPUW_ORT") == "" {
		t.Skip("NPUW_ORT names no folder with onnxruntime-node: run `go tool mage test:parity`")
	}
}

// gates say what a recipe's output must be, on weights that were rounded to BF16 beforehand. Of those not named here, it must
// agree to tolerance, with the bits of all others.
var gates = map[string]struct {
	cosine float64                         // at least
	exact  func(c whisperonnx.Config) bool // to tolerance too, but not with the bits of others; nil: never
}{
	// Q is scaled by head_dim^-0.5 before it is rounded, which changes no bits when that is a power of two; biases are added in
	// another order.
	"whisper-encoder/npu1-rowmajor-bias": {0.999, func(c whisperonnx.Config) bool {
		root := int(math.Sqrt(float64(c.DModel / c.Heads)))
		return root*root*c.Heads == c.DModel && root&(root-1) == 0
	}},
	"whisper-encoder/npu1-int8":  {0.99, nil},
	"whisper-encoder/npu2-bfp16": {0.97, nil},
	"whisper-encoder/npu1-int4":  {0.8, nil},
}

// compare packs the model by every built-in recipe that is wanted and compares the encoder's output with ONNX Runtime's.
func compare(t *testing.T, c whisperonnx.Config, model string, input []float32, wanted func(*recipe.Recipe) bool) {
	t.Helper()
	want := runONNX(t, c, model, input)
	var first []float32
	for _, r := range recipe.BuiltinsFor("whisper-encoder") {
		if !wanted(r) {
			continue
		}
		got := runArtifact(t, model, r.Name, element.F32, input)
		worst, cosine := difference(got, want)
		t.Logf("%s %s: max error %.3g, cosine %.9f", filepath.Base(model), r.Name, worst, cosine)
		gate, gated := gates[r.Name]
		exact := !gated || gate.exact != nil && gate.exact(c)
		if exact && !(worst <= tolerance) {
			t.Errorf("%s %s: max error %g, at most %g allowed", filepath.Base(model), r.Name, worst, tolerance)
		}
		if !(cosine >= gate.cosine) {
			t.Errorf("%s %s: cosine %g, at least %g was expected", filepath.Base(model), r.Name, cosine, gate.cosine)
		}
		if gated || r.Name == "whisper-encoder/f32" {
			continue
		}
		if first == nil {
			first = got
			low := runArtifact(t, model, r.Name, element.BF16, input)
			worst, cosine := difference(low, want)
			t.Logf("%s %s, bf16 activations: max error %.3g, cosine %.9f", filepath.Base(model), r.Name, worst, cosine)
			if !(cosine > 0.999) {
				t.Errorf("bf16 activations: cosine %v", cosine)
			}
		}
		for i := range got {
			if math.Float32bits(got[i]) != math.Float32bits(first[i]) {
				t.Fatalf("%s: output %d is %v, another BF16 recipe gives %v", r.Name, i, got[i], first[i])
			}
		}
	}
}

func runArtifact(t *testing.T, model, recipeName string, activations element.Format, input []float32) []float32 {
	t.Helper()
	return runPacked(t, packBy(t, model, recipeName), activations, input)
}

func packBy(t *testing.T, model, recipeName string) string {
	t.Helper()
	b, err := pipeline.Prepare(model, recipeName)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(pyreader.TempDir(t), "model.npuw")
	if _, err := b.Pack(t.Context(), path, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	return path
}

func runPacked(t *testing.T, path string, activations element.Format, input []float32) []float32 {
	t.Helper()
	ctx := context.Background()
	d := cpu.New(cpu.Options{})
	m, err := device.Load(ctx, d, path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := whisper.New(ctx, d, m, whisper.Options{Activations: activations})
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(ctx, input)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface{ Close() error }{e, m, d} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	return out
}

func runONNX(t *testing.T, c whisperonnx.Config, model string, input []float32) []float32 {
	t.Helper()
	level := "all"
	if c.Quantized == whisperonnx.QDQ || c.Quantized == whisperonnx.QDQBlocks {
		level = "disabled" // which else multiplies with the codes, and rounds activations to 8 bits for that
	}
	return runShaped(t, model, level, input, c.Mels, 2*c.Positions, c.Positions*c.DModel)
}

// runShaped runs a model, optimized to a level, on an input [1, rows, cols]. It must give as many values as are wanted.
func runShaped(t *testing.T, model, level string, input []float32, rows, cols, wanted int) []float32 {
	t.Helper()
	dir := pyreader.TempDir(t)
	in, out := filepath.Join(dir, "in.f32"), filepath.Join(dir, "out.f32")
	raw, _ := binary.Append(nil, binary.LittleEndian, input)
	if err := os.WriteFile(in, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	ort(t, model, in, out, fmt.Sprint(rows), fmt.Sprint(cols), level)
	return readFloats(t, out, wanted)
}

// readFloats reads a file of as many float32 as are wanted.
func readFloats(t *testing.T, path string, wanted int) []float32 {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) != 4*wanted {
		t.Fatalf("ONNX Runtime gave %d bytes", len(raw))
	}
	y := make([]float32, wanted)
	_, _ = binary.Decode(raw, binary.LittleEndian, y)
	return y
}

// ort runs ort.js.
func ort(t *testing.T, args ...string) {
	t.Helper()
	script := filepath.Join(pyreader.TempDir(t), "ort.js")
	if err := os.WriteFile(script, ortScript, 0o666); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("node", append([]string{script}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ONNX Runtime: %v\n%s", err, text)
	}
}

// roundWeights writes the model with every weight rounded to the nearest BF16 value, ties to even. It shares no code with the
// packing.
func roundWeights(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var m onnxpb.ModelProto
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	tensors := m.Graph.Initializer
	for _, n := range m.Graph.Node {
		for _, a := range n.Attribute {
			if a.T != nil {
				tensors = append(tensors, a.T)
			}
		}
	}
	for _, x := range tensors {
		if raw := x.RawData; x.GetDataType() == 1 && len(raw) > 4 {
			for i := 0; i < len(raw); i += 4 {
				x := float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[i:])))
				binary.LittleEndian.PutUint32(raw[i:], math.Float32bits(float32(nearestBF16(x))))
			}
		}
	}
	if b, err = proto.Marshal(&m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// nearestBF16 rounds to 8 significant bits: scaled so that these are the integer part.
func nearestBF16(x float64) float64 {
	if x == 0 {
		return x
	}
	_, exponent := math.Frexp(x)
	unit := math.Ldexp(1, max(exponent-8, -133))
	return math.RoundToEven(x/unit) * unit
}

func difference(got, want []float32) (worst, cosine float64) {
	var xy, xx, yy float64
	for i := range want {
		x, y := float64(got[i]), float64(want[i])
		if d := math.Abs(x - y); !(d <= worst) {
			worst = d
		}
		xy, xx, yy = xy+x*y, xx+x*x, yy+y*y
	}
	return worst, xy / math.Sqrt(xx*yy)
}
