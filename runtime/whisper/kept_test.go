package whisper

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/pack"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
	"npuw/runtime/cpu"
	"npuw/schema/pyreader"
)

// codes is a tensor of random codes, in blocks along its two axes.
type codes struct {
	block, grid [2]uint64
	blocks      []element.Block
	values      []float32
}

// Decode gives values.
func (c *codes) Decode(_ *source.Catalogue, dst []byte, offset int64) error {
	_, err := binary.Encode(dst, binary.LittleEndian, c.values[offset/4:][:len(dst)/4])
	return err
}

// ReadBlocks gives blocks.
func (c *codes) ReadBlocks(_ *source.Catalogue, dst []element.Block, first, count []uint64) error {
	for i := range count[0] {
		copy(dst[i*count[1]:][:count[1]], c.blocks[(first[0]+i)*c.grid[1]+first[1]:])
	}
	return nil
}

// newCodes makes a tensor of a shape. Scales are of either sign, of the size that weights have.
func newCodes(t *testing.T, r *rand.Rand, shape []uint64, s element.Scheme, block [2]uint64) *codes {
	t.Helper()
	c := &codes{block: block, values: make([]float32, shape[0]*shape[1])}
	for a := range block {
		c.block[a] = min(block[a], shape[a])
		c.grid[a] = (shape[a]-1)/c.block[a] + 1
	}
	one := func(f element.Format) float64 { // an element at random
		var v [1]float32
		if err := element.ToFloat32(v[:], []byte{byte(r.IntN(1 << f.Bits()))}, f); err != nil {
			t.Fatal(err)
		}
		return float64(v[0])
	}
	for range c.grid[0] * c.grid[1] {
		b := element.Block{Scale: float64(r.IntN(255)-127) / (1 << 12)} // of a bf16 too
		if s.Zeros != 0 {
			b.Zero = one(s.Zeros)
		}
		c.blocks = append(c.blocks, b)
	}
	for i := range c.values {
		b := c.blocks[uint64(i)/shape[1]/c.block[0]*c.grid[1]+uint64(i)%shape[1]/c.block[1]]
		c.values[i] = float32((one(s.Codes) - b.Zero) * b.Scale)
	}
	return c
}

// Codes that are kept compute the bits of the same model with its values in f32, as each is read from the artifact.
func TestKeptCodes(t *testing.T) {
	t.Parallel()
	mel := readFloats(t, fixtures+"whisper-tiny-encoder.in.f32")
	for _, c := range []struct {
		name   string
		scheme element.Scheme
		k, n   uint64 // how many share a scale
	}{
		{"q4 with zeros", element.Scheme{Codes: element.U4, Scales: element.F32, Zeros: element.U4}, 32, 1},
		{"q4 with f16 scales", element.Scheme{Codes: element.I4, Scales: element.F16}, 16, 1},
		{"nf4", element.Scheme{Codes: element.NF4, Scales: element.F32}, 64, 1},
		{"int8 by column, zeros", element.Scheme{Codes: element.I8, Scales: element.BF16, Zeros: element.I8}, math.MaxUint32, 1},
		{"uint8 by tensor", element.Scheme{Codes: element.U8, Scales: element.F32, Zeros: element.U8}, math.MaxUint32, math.MaxUint32},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			catalogue, models, err := families.Open(fixtures + "whisper-tiny-encoder.onnx")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { catalogue.Close() })
			m, r := models[0], rand.New(rand.NewPCG(1, uint64(c.k)))
			for i := range m.Parameters {
				p := &m.Parameters[i]
				if p.Axes != "NK" {
					continue
				}
				var block [2]uint64
				block[p.Perm[0]], block[p.Perm[1]] = c.n, c.k
				x := newCodes(t, r, p.Tensor.Shape, c.scheme, block)
				p.Tensor.Data = source.Data{Size: int64(4 * len(x.values)), Decoder: x}
				p.Tensor.Codes = &source.Codes{Scheme: c.scheme, Block: x.block[:], Blocks: x}
			}
			text, err := recipe.BuiltinText("whisper-encoder/npu1-source")
			if err != nil {
				t.Fatal(err)
			}
			kept := packText(t, catalogue, m, string(text))
			twin := packText(t, catalogue, m, strings.ReplaceAll(string(text), "format: SOURCE", "format: F32"))
			checkKept(t, kept, c.scheme)
			d := newCPU(t, cpu.Options{})
			for _, f := range []element.Format{element.F32, element.BF16} {
				got, want := encode(t, d, kept, mel, Options{Activations: f}), encode(t, d, twin, mel, Options{Activations: f})
				if !slices.Equal(bitsOf(got), bitsOf(want)) {
					t.Errorf("%v activations: other bits than in f32, largest difference %.3g", f, maxError(t, got, want))
				}
				if slices.ContainsFunc(got, func(v float32) bool { return v-v != 0 }) {
					t.Error("the output is not finite")
				}
			}
		})
	}
}

// Real exports in 4 bits compute, kept, the bits of what their codes stand for in f32.
func TestKeptExports(t *testing.T) {
	t.Parallel()
	text, err := recipe.BuiltinText("whisper-encoder/npu1-source")
	if err != nil {
		t.Fatal(err)
	}
	mel := readFloats(t, fixtures+"whisper-tiny-encoder.in.f32")
	d := newCPU(t, cpu.Options{})
	for _, form := range []string{"q4", "q4asym", "bnb4"} {
		catalogue, models, err := families.Open(fixtures + "whisper-tiny-encoder-" + form + ".onnx")
		if err != nil {
			t.Fatal(err)
		}
		defer catalogue.Close()
		kept := packText(t, catalogue, models[0], string(text))
		twin := packText(t, catalogue, models[0], strings.ReplaceAll(string(text), "format: SOURCE", "format: F32"))
		checkKept(t, kept, models[0].Parameters[5].Tensor.Codes.Scheme)
		got, want := encode(t, d, kept, mel, Options{}), encode(t, d, twin, mel, Options{})
		if !slices.Equal(bitsOf(got), bitsOf(want)) {
			t.Errorf("%s: other bits than in f32, largest difference %.3g", form, maxError(t, got, want))
		}
	}
}

// packText packs a model by the text of a recipe.
func packText(t *testing.T, c *source.Catalogue, m *model.Model, text string) string {
	t.Helper()
	r, err := recipe.Parse("recipe.txtpb", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(m, r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(pyreader.TempDir(t), "model.npuw")
	if err := pack.Run(t.Context(), c, p, path, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkKept checks that the linear layers of an artifact are in a scheme, without any error.
func checkKept(t *testing.T, path string, s element.Scheme) {
	t.Helper()
	f, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kept := 0
	for _, o := range f.Index.Operands {
		if storage := o.Storage(); storage.Scheme() == s {
			kept++
			if o.Statistics.Inexact != 0 || o.Statistics.Elements == 0 {
				t.Errorf("%s: %+v", o.Name, o.Statistics)
			}
		}
	}
	if layers := int(f.Index.Model.Attributes[0].Integer); kept != 6*layers {
		t.Errorf("%d operands in %+v, of 6 linear layers in each of %d", kept, s, layers)
	}
}
