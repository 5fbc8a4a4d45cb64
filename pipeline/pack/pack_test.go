package pack

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

var recipes = []string{"whisper-encoder/npu1-tiled", "whisper-encoder/npu1-rowmajor", "whisper-encoder/f32"}

// encoder writes the model that c says into a folder of its own.
func encoder(t testing.TB, c whisperonnx.Config) string {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "model.onnx")
	if err := whisperonnx.Write(path, c); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens a model file for the length of the test.
func open(t testing.TB, path string) (*source.Catalogue, *model.Model) {
	t.Helper()
	c, models, err := families.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if len(models) == 0 {
		t.Fatalf("%s is not recognised", path)
	}
	return c, models[0]
}

// planned plans an artifact by a built-in recipe.
func planned(t testing.TB, m *model.Model, name string) *plan.Plan {
	t.Helper()
	r, err := recipe.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(m, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// packed packs into a new file and returns its path.
func packed(t testing.TB, c *source.Catalogue, p *plan.Plan, jobs int, window uint64) string {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "x.npuw")
	if err := run(context.Background(), c, p, path, Options{Jobs: jobs, NoSync: true}, window); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verified opens an artifact, which must verify, for the length of the test.
func verified(t testing.TB, path string) *artifact.File {
	t.Helper()
	f, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Verify(); err != nil {
		t.Fatal(err)
	}
	return f
}

// operandBytes are the bytes of an operand in the file.
func operandBytes(t testing.TB, f *artifact.File, o *artifact.Operand) []byte {
	t.Helper()
	b := make([]byte, o.Bytes)
	if _, err := f.ReadAt(b, int64(f.Index.Segments[o.Segment].Offset+o.Offset)); err != nil {
		t.Fatal(err)
	}
	return b
}

// checkOperand compares an operand, and the parameter extracted from it, with what they must be.
func checkOperand(t *testing.T, f *artifact.File, name string, shape []int, value func(int) float64, want expectation) {
	t.Helper()
	o := f.Operand(name)
	if o == nil || o.Format != want.format {
		t.Errorf("%s: no such operand, or not in %v: %+v", name, want.format, o)
		return
	}
	b, stats := want.bytes(shape, value)
	if got := operandBytes(t, f, o); !bytes.Equal(got, b) {
		at := 0
		for at < min(len(got), len(b)) && got[at] == b[at] {
			at++
		}
		t.Errorf("%s: %d bytes, expected %d; the first that differs is byte %d, element %d", name, len(got), len(b), at, at/want.format.Size())
	}
	if !sameStats(o.Statistics, stats) {
		t.Errorf("%s: statistics %+v, expected %+v", name, o.Statistics, stats)
	}
	checkExtract(t, f, name, value, want.format)
}

// checkExtract compares a parameter extracted from the artifact with its rounded values.
func checkExtract(t *testing.T, f *artifact.File, name string, value func(int) float64, format element.Format) {
	t.Helper()
	v, err := f.ParameterValues(name)
	if err != nil {
		t.Error(err)
		return
	}
	var raw, floats bytes.Buffer
	if err := v.WriteRaw(&raw); err != nil {
		t.Error(err)
	}
	if err := v.WriteFloat32(&floats); err != nil {
		t.Error(err)
	}
	var wantRaw, wantFloats []byte
	for i := range raw.Len() / format.Size() {
		bits, y := rounded(value(i), format)
		wantRaw = appendBits(wantRaw, bits, format.Size())
		wantFloats = binary.LittleEndian.AppendUint32(wantFloats, math.Float32bits(float32(y)))
	}
	if !bytes.Equal(raw.Bytes(), wantRaw) {
		t.Errorf("%s: the elements extracted are not those packed", name)
	}
	if !bytes.Equal(floats.Bytes(), wantFloats) {
		t.Errorf("%s: the values extracted are not those packed", name)
	}
}

// checkEncoder compares every operand of an artifact of c.
func checkEncoder(t *testing.T, f *artifact.File, c whisperonnx.Config, recipe string) {
	t.Helper()
	list := c.Parameters()
	if len(f.Index.Operands) != len(list) || len(f.Index.Parameters) != len(list) {
		t.Fatalf("%d operands of %d parameters, expected %d", len(f.Index.Operands), len(f.Index.Parameters), len(list))
	}
	for i := range list {
		p := &list[i]
		want := builtinExpectation(recipe, p.Shape)
		if strings.HasSuffix(p.Name, "embed_positions.weight") {
			want = positionsExpectation(recipe, p.Shape)
		}
		checkOperand(t, f, p.Name, p.Shape, p.At, want)
	}
}

// sizes are encoders whose sizes are multiples of no tile, of some, and of all.
var sizes = map[string]whisperonnx.Config{
	"smallest": {DModel: 2, Layers: 1, Heads: 1, FFN: 3, Mels: 1, Positions: 2},
	"odd":      whisperonnx.Odd,
	"long":     {DModel: 65, Layers: 1, Heads: 5, FFN: 131, Mels: 43, Positions: 67},
	"prime":    {DModel: 101, Layers: 1, Heads: 1, FFN: 37, Mels: 3, Positions: 129},
	"even":     {DModel: 128, Layers: 1, Heads: 2, FFN: 256, Mels: 64, Positions: 64},
}

// Every operand of every recipe from every kind of source has the bytes and statistics that FORMAT.md and the recipe ask for.
func TestOperands(t *testing.T) {
	t.Parallel()
	for size, c := range sizes {
		for _, format := range []element.Format{element.F32, element.F16, element.BF16, element.F64} {
			for _, gemm := range []bool{false, true} {
				if testing.Short() && size != "odd" {
					continue // one size shows every path
				}
				c.Type, c.Gemm, c.External = format, gemm, gemm == (format == element.F32)
				c.Seed = uint64(format)
				t.Run(fmt.Sprintf("%s/%v/gemm=%v", size, format, gemm), func(t *testing.T) {
					t.Parallel()
					catalogue, m := open(t, encoder(t, c))
					for i, name := range recipes {
						path := packed(t, catalogue, planned(t, m, name), 1+i, windowElements)
						checkEncoder(t, verified(t, path), c, name)
					}
				})
			}
		}
	}
}

// The artifact is the same, byte for byte, whatever the number of workers and the size of the windows, and wherever and in
// whatever order the source keeps its weights.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	c := whisperonnx.Config{DModel: 138, Layers: 1, Heads: 6, FFN: 267, Mels: 35, Positions: 150, Seed: 5}
	sources := []whisperonnx.Config{c}
	for _, change := range []func(c *whisperonnx.Config){
		func(c *whisperonnx.Config) { c.Gemm = true },
		func(c *whisperonnx.Config) { c.External = true },
		func(c *whisperonnx.Config) { c.ConstantNodes = true },
		func(c *whisperonnx.Config) { c.ConstantNodes, c.External, c.Gemm = true, true, true },
	} {
		other := c
		change(&other)
		sources = append(sources, other)
	}
	if testing.Short() {
		sources = sources[:2] // both orders; where weights are kept is the reader's work
	}
	for _, name := range recipes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []byte
			for i, c := range sources {
				catalogue, m := open(t, encoder(t, c))
				p := planned(t, m, name)
				for _, how := range []struct {
					jobs   int
					window uint64
				}{{1, windowElements}, {1, 1}, {2, 9000}, {3, 20000}, {7, 1}} {
					got := read(t, packed(t, catalogue, p, how.jobs, how.window))
					if want == nil {
						want = got
					}
					if !bytes.Equal(got, want) {
						t.Errorf("source %d with %d workers and windows of %d: other bytes", i, how.jobs, how.window)
					}
				}
			}
		})
	}
}

// What a plan was packed to before does not matter: statistics and digests are measured anew.
func TestPackTwice(t *testing.T) {
	t.Parallel()
	catalogue, m := open(t, encoder(t, whisperonnx.Odd))
	p := planned(t, m, recipes[0])
	first := read(t, packed(t, catalogue, p, 2, windowElements))
	if second := read(t, packed(t, catalogue, p, 2, 1)); !bytes.Equal(first, second) {
		t.Error("the second artifact differs")
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	catalogue, m := open(t, encoder(t, whisperonnx.Odd))
	for _, name := range recipes {
		p := planned(t, m, name)
		total := make(chan int64, 1)
		total <- 0
		o := Options{Jobs: 3, NoSync: true, Progress: func(n int64) { total <- <-total + n }}
		if err := run(context.Background(), catalogue, p, filepath.Join(pyreader.TempDir(t), "x.npuw"), o, 1); err != nil {
			t.Fatal(err)
		}
		if got := <-total; got != p.OperandBytes() {
			t.Errorf("%s: told of %d bytes, expected %d", name, got, p.OperandBytes())
		}
	}
}
