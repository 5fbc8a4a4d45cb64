package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
	"npuw/schema/pyreader"
)

// bounds are how far a parameter may come back from what it was, by the element format of the operand: a part of each value itself,
// and of the largest one. Steps are those of FORMAT.md's formats: half a step where they round, one where they cut off.
var bounds = map[element.Format]struct{ ofValue, ofLargest float64 }{
	element.F32:   {},
	element.BF16:  {ofValue: 1. / 256},       // 8 bits, and Q's scale undone
	element.I8:    {ofLargest: 0.501 / 127},  // the scale itself is rounded
	element.BFP16: {ofLargest: 1. / 64},      // floor, 7 bits with the sign
	element.U4:    {ofLargest: 2 * 1.1 / 15}, // from the least to the greatest in 15 steps; the zero point and the BF16 scale are rounded
}

// TestParametersComeBack: from what each built-in recipe makes of an odd-sized model and of two layers of whisper-base's sizes, every parameter
// can be extracted again, within the bound of its element format.
func TestParametersComeBack(t *testing.T) {
	t.Parallel()
	sizes := map[string]whisperonnx.Config{"odd": whisperonnx.Odd}
	if !testing.Short() {
		base := whisperonnx.Base
		base.Layers = 2 // the others are like them
		sizes["base"] = base
	}
	for name, c := range sizes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := pyreader.TempDir(t)
			model := filepath.Join(dir, "model.onnx")
			if err := whisperonnx.Write(model, c); err != nil {
				t.Fatal(err)
			}
			exact := packBy(t, model, "whisper-encoder/f32", dir)
			for _, r := range recipe.BuiltinsFor("whisper-encoder") {
				comeBack(t, r.Name, packBy(t, model, r.Name, dir), exact)
			}
		})
	}
}

// TestGroupsComeBack: int8 weights with a scale for any number of neighbours along K, or for a whole matrix, through all of the pipeline.
func TestGroupsComeBack(t *testing.T) {
	t.Parallel()
	text, err := recipe.BuiltinText("whisper-encoder/npu1-int8")
	if err != nil {
		t.Fatal(err)
	}
	dir := pyreader.TempDir(t)
	model := filepath.Join(dir, "model.onnx")
	if err := whisperonnx.Write(model, whisperonnx.Odd); err != nil {
		t.Fatal(err)
	}
	exact := packBy(t, model, "whisper-encoder/f32", dir)
	const column = `group { axis: "N" size: 1 }`
	for name, group := range map[string]string{
		"32": column + ` group { axis: "K" size: 32 }`, "48": column + ` group { axis: "K" size: 48 }`,
		"64": column + ` group { axis: "K" size: 64 }`, "128": column + ` group { axis: "K" size: 128 }`, "tensor": "",
	} {
		changed := strings.ReplaceAll(string(text), column, group)
		file := filepath.Join(dir, "groups-"+name+".txtpb")
		if err := os.WriteFile(file, []byte(changed), 0o666); err != nil {
			t.Fatal(err)
		}
		comeBack(t, name, packBy(t, model, file, dir), exact)
	}
}

// packBy packs a model into a folder, verifies the artifact and opens it.
func packBy(t *testing.T, model, recipeName, dir string) *artifact.File {
	t.Helper()
	b, err := Prepare(model, recipeName)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(dir, filepath.Base(recipeName)+".npuw")
	if _, err := b.Pack(t.Context(), path, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	f, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func comeBack(t *testing.T, recipeName string, got, exact *artifact.File) {
	t.Helper()
	if n := len(exact.Index.Parameters); len(got.Index.Parameters) != n {
		t.Fatalf("%s: %d parameters, the model has %d", recipeName, len(got.Index.Parameters), n)
	}
	for i := range exact.Index.Parameters {
		name := exact.Index.Parameters[i].Name
		want, have := parameter(t, exact, name), parameter(t, got, name)
		at := slices.IndexFunc(got.Index.Operands, func(o artifact.Operand) bool {
			return slices.ContainsFunc(o.Placements, func(p artifact.Placement) bool { return got.Index.Parameters[p.Parameter].Name == name })
		})
		bound, known := bounds[got.Index.Operands[at].Format]
		if !known || len(have) != len(want) {
			t.Fatalf("%s: %s: %d values of %v, the model has %d", recipeName, name, len(have), got.Index.Operands[at].Format, len(want))
		}
		largest := 0.
		for _, x := range want {
			largest = max(largest, math.Abs(float64(x)))
		}
		for j, x := range want {
			if d := math.Abs(float64(have[j]) - float64(x)); !(d <= bound.ofValue*math.Abs(float64(x))+bound.ofLargest*largest) {
				t.Fatalf("%s: %s: value %d of %v came back as %v; the largest is %v", recipeName, name, j, x, have[j], largest)
			}
		}
	}
}

func parameter(t *testing.T, f *artifact.File, name string) []float32 {
	t.Helper()
	v, err := f.ParameterValues(name)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := v.WriteFloat32(&b); err != nil {
		t.Fatal(err)
	}
	values := make([]float32, b.Len()/4)
	if _, err := binary.Decode(b.Bytes(), binary.LittleEndian, values); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return values
}
