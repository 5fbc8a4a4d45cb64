package check

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
	"npuw/schema/pyreader"
)

// foldedRecipe joins Q, K and V, folds the LayerNorm before them in, and gives codes to what follows.
const foldedRecipe = `name: "whisper-encoder/folded"
operand {
  name: "encoder.layers.{i}.qkv" segment: "s" format: BF16 axes: "KN" layout: "N* K* K8 N4" along: "N" bias_row: "K"
  part { parameter: "encoder.layers.{i}.self_attn.q_proj.weight" bias: "encoder.layers.{i}.self_attn.q_proj.bias" scale: "head_dim^-0.5"
         fold { gamma: "encoder.layers.{i}.self_attn_layer_norm.weight" beta: "encoder.layers.{i}.self_attn_layer_norm.bias" } }
  part { parameter: "encoder.layers.{i}.self_attn.k_proj.weight"
         fold { gamma: "encoder.layers.{i}.self_attn_layer_norm.weight" beta: "encoder.layers.{i}.self_attn_layer_norm.bias" } }
  part { parameter: "encoder.layers.{i}.self_attn.v_proj.weight" bias: "encoder.layers.{i}.self_attn.v_proj.bias"
         fold { gamma: "encoder.layers.{i}.self_attn_layer_norm.weight" beta: "encoder.layers.{i}.self_attn_layer_norm.bias" } }
}
operand {
  parameter: "encoder.conv*.weight" segment: "s" format: F16 axes: "NCX" layout: "N* C* X* C4 N4"
}
operand {
  parameter: "encoder.layers.*.self_attn.out_proj.weight"
  parameter: "encoder.layers.*.fc1.weight"
  parameter: "encoder.layers.*.fc2.weight" segment: "s" format: F32 layout: "K* N*"
}
operand { parameter: "encoder.embed_positions.weight" segment: "s" format: BF16 layout: "P* N*" }
operand {
  parameter: "encoder.conv*.bias"
  parameter: "encoder.layers.*.self_attn.out_proj.bias"
  parameter: "encoder.layers.*.fc1.bias"
  parameter: "encoder.layers.*.fc2.bias"
  parameter: "encoder.layers.*.final_layer_norm.*"
  parameter: "encoder.layer_norm.*" segment: "s" format: F32 layout: "N*"
}
`

// made packs a model, and checks the artifact as a build does. The recipe is a built-in one's name, or a text.
func made(t *testing.T, c whisperonnx.Config, name string) (*pipeline.Build, string) {
	t.Helper()
	dir := pyreader.TempDir(t)
	model, out := filepath.Join(dir, "model.onnx"), filepath.Join(dir, "x.npuw")
	if err := whisperonnx.Write(model, c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(name, "{") {
		text := name
		name = filepath.Join(dir, "own.txtpb")
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	b, err := pipeline.Prepare(model, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	checked := false
	_, err = b.Pack(context.Background(), out, pack.Options{NoSync: true, Check: func(f *artifact.File) error {
		checked = true
		return Artifact(t.Context(), f, b.Catalogue, b.Plan)
	}})
	if err != nil || !checked {
		t.Fatalf("%v, checked: %t", err, checked)
	}
	return b, out
}

// What pack makes is what check expects, by every recipe there is and of sources in every form.
func TestArtifact(t *testing.T) {
	t.Parallel()
	names := []string{foldedRecipe}
	for _, r := range recipe.BuiltinsFor("whisper-encoder") {
		names = append(names, r.Name)
	}
	for _, form := range []string{"", "gemm", "attention", "f16", "bf16", "f64"} {
		c, err := whisperonnx.Odd.With(form)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if form == "f64" && name == "whisper-encoder/npu1-source" {
				continue // it keeps what the source has, and no operand has f64
			}
			t.Run(form+" "+name[:min(30, len(name))], func(t *testing.T) {
				t.Parallel()
				made(t, c, name)
			})
		}
	}
}

// Encoder and decoder in files of their own are checked against both.
func TestWhole(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	encoder, decoder, out := filepath.Join(dir, "encoder.onnx"), filepath.Join(dir, "decoder.onnx"), filepath.Join(dir, "x.npuw")
	d := whisperonnx.OddDecoder
	d.Cache, d.Head = whisperonnx.Unshared, whisperonnx.Own
	if err := errors.Join(whisperonnx.Write(encoder, whisperonnx.Odd), whisperonnx.WriteDecoder(decoder, whisperonnx.Odd, d)); err != nil {
		t.Fatal(err)
	}
	for _, r := range recipe.BuiltinsFor("whisper") {
		b, err := pipeline.PrepareFiles([]string{encoder, decoder}, r.Name)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		_, err = b.Pack(t.Context(), out, pack.Options{NoSync: true, Check: func(f *artifact.File) error {
			return Artifact(t.Context(), f, b.Catalogue, b.Plan)
		}})
		if err != nil {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
}

// Pieces smaller than the operand: what the sizes of real models bring about.
func TestInPieces(t *testing.T) {
	t.Parallel()
	c := whisperonnx.Config{DModel: 264, Layers: 1, Heads: 2, FFN: 1100, Mels: 80, Positions: 1500}
	for _, name := range []string{"whisper-encoder/npu1-tiled", "whisper-encoder/npu1-int8", foldedRecipe} {
		made(t, c, name)
	}
}

// swap exchanges two elements of an operand in the file.
func swap(t *testing.T, path string, o *artifact.Operand, base int64, a, b []uint64) {
	t.Helper()
	size := int64(o.Format.Size())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, y := make([]byte, size), make([]byte, size)
	at, bt := base+int64(o.Layout.Offset(a))*size, base+int64(o.Layout.Offset(b))*size
	for _, step := range []func() (int, error){
		func() (int, error) { return f.ReadAt(x, at) }, func() (int, error) { return f.ReadAt(y, bt) },
		func() (int, error) { return f.WriteAt(y, at) }, func() (int, error) { return f.WriteAt(x, bt) },
	} {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if string(x) == string(y) {
		t.Fatal("the elements are equal: nothing was swapped")
	}
}

// Two elements that changed places are found, wherever they are, and named by the parameter's index.
func TestWrongPlaces(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ recipe, operand, want string }{
		{"whisper-encoder/npu1-tiled", "encoder.layers.1.fc1.weight", `parameter "encoder.layers.1.fc1.weight" at [`},
		{"whisper-encoder/f32", "encoder.layers.0.fc2.weight", `parameter "encoder.layers.0.fc2.weight" at [`},
		{"whisper-encoder/npu1-rowmajor-bias", "encoder.layers.0.self_attn.qkv_proj.weight", `parameter "encoder.layers.0.self_attn.`},
		{"whisper-encoder/npu1-int8", "encoder.layers.0.fc1.weight", `operand "encoder.layers.0.fc1.weight"`},
		{foldedRecipe, "encoder.layers.1.qkv", `operand "encoder.layers.1.qkv"`},
	} {
		b, path := made(t, whisperonnx.Odd, test.recipe)
		pyreader.Damage(t, path)
		f, err := artifact.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		o := f.Operand(test.operand)
		if o == nil {
			t.Fatalf("%s: there is no operand %s", test.recipe[:20], test.operand)
		}
		swap(t, path, o, int64(f.Index.Segments[o.Segment].Offset+o.Offset), []uint64{1, 2}, []uint64{33, 35})
		err = Artifact(t.Context(), f, b.Catalogue, b.Plan)
		if !errors.Is(err, artifact.ErrCorrupt) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.30s: %v, expected %s", test.recipe, err, test.want)
		}
	}
}

// The weights of another model, or an index that is not the plan's, do not pass.
func TestOther(t *testing.T) {
	t.Parallel()
	other := whisperonnx.Odd
	other.Seed = 5
	for _, name := range []string{"whisper-encoder/npu1-tiled", "whisper-encoder/npu1-int4", "whisper-encoder/npu2-bfp16", foldedRecipe} {
		_, path := made(t, whisperonnx.Odd, name)
		b, _ := made(t, other, name)
		f, err := artifact.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := Artifact(t.Context(), f, b.Catalogue, b.Plan); !errors.Is(err, artifact.ErrCorrupt) {
			t.Errorf("%.30s: another model's weights: %v", name, err)
		}
		b.Plan.Index.Producer.Revision++
		if err := Artifact(t.Context(), f, b.Catalogue, b.Plan); !errors.Is(err, artifact.ErrCorrupt) || !strings.Contains(err.Error(), "planned") {
			t.Errorf("%.30s: another plan: %v", name, err)
		}
		f.Close()
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	b, path := made(t, whisperonnx.Odd, "")
	f, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Artifact(ctx, f, b.Catalogue, b.Plan); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	b, _ := made(t, whisperonnx.Odd, "")
	stream := []byte{1, 2, 3, 4}
	i := b.Plan.AddStream("instructions.x", stream)
	path := filepath.Join(pyreader.TempDir(t), "x.npuw")
	check := func(f *artifact.File) error { return Artifact(t.Context(), f, b.Catalogue, b.Plan) }
	if _, err := b.Pack(context.Background(), path, pack.Options{NoSync: true, Check: check}); err != nil {
		t.Fatal(err)
	}
	f, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, wrong := range [][]byte{{1, 2, 3, 5}, {1, 2, 3}, {1, 2, 3, 4, 1}, make([]byte, 1<<20)} {
		if Stream(f, i, wrong) == nil {
			t.Errorf("taken for %.8v", wrong)
		}
	}
	if err := Stream(f, i, []byte{1, 2, 3, 4, 0}); err != nil { // of which the artifact cannot know
		t.Error(err)
	}
	stream[0]++
	if err := check(f); !errors.Is(err, artifact.ErrCorrupt) || !strings.Contains(err.Error(), "instructions.x") {
		t.Error(err)
	}
}

// at is scale * (factor * x + addend), by the index on the axis of each.
func TestValuesAt(t *testing.T) {
	t.Parallel()
	v := values{scale: 0.5, factor: []float64{1, 2, 3}, factorAxis: 1, addend: []float64{10, 20}, addendAxis: 0}
	if got := v.at(4, []uint64{1, 0}, 1, 2); got != 0.5*(3*4+20) {
		t.Error(got)
	}
	if got := v.at(4, []uint64{0, 1}, 0, 1); got != 0.5*(2*4+20) {
		t.Error(got)
	}
	if got := (&values{scale: 2}).at(math.Inf(1), nil, 0, 0); !math.IsInf(got, 1) {
		t.Error(got)
	}
}

// Codes that are kept from the source must be its own: one that is changed in the file is found.
func TestKeptCodes(t *testing.T) {
	t.Parallel()
	b, err := pipeline.Prepare(filepath.Join("..", "..", "testdata", "whisper-tiny", "whisper-tiny-encoder-q4asym.onnx"), "whisper-encoder/npu1-source")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	path := filepath.Join(pyreader.TempDir(t), "x.npuw")
	check := func(f *artifact.File) error { return Artifact(t.Context(), f, b.Catalogue, b.Plan) }
	if _, err := b.Pack(context.Background(), path, pack.Options{NoSync: true, Check: check}); err != nil {
		t.Fatal(err)
	}
	pyreader.Damage(t, path)
	f, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	o := f.Operand("encoder.layers.1.fc1.weight")
	if o == nil || o.Planes == nil {
		t.Fatal("the weight is not held as codes")
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	at, code := int64(f.Index.Segments[o.Segment].Offset+o.Offset+o.Planes[0].Offset), make([]byte, 1)
	if _, err := w.ReadAt(code, at); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte{code[0] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
	if err := check(f); !errors.Is(err, artifact.ErrCorrupt) || !strings.Contains(err.Error(), "encoder.layers.1.fc1.weight") {
		t.Error(err)
	}
}
