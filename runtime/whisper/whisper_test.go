package whisper

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/pipeline"
	"npuw/pipeline/pack"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/schema/pyreader"
)

const fixtures = "../../testdata/whisper-tiny/"

// Sizes of test networks: a head is a power of two wide in the first, and all is odd in the second.
var (
	evenSizes = Sizes{Layers: 2, DModel: 32, Heads: 2, FFN: 48, Mels: 8, Positions: 20, Eps: 1e-5}
	oddSizes  = Sizes{Layers: 2, DModel: 15, Heads: 3, FFN: 37, Mels: 7, Positions: 13, Eps: 1e-3}
)

// open makes an encoder of the artifact at path on d. What it opens is closed when the test ends, and then nothing may be left open.
func open(t testing.TB, d device.Device, path string, opts Options) *Encoder {
	t.Helper()
	m, err := device.Load(t.Context(), d, path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), d, m, opts)
	if err != nil {
		t.Fatal(errors.Join(err, m.Close()))
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), m.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func newCPU(t testing.TB, opts cpu.Options) *cpu.Device {
	t.Helper()
	d := cpu.New(opts)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// encode runs the artifact at path on d once.
func encode(t testing.TB, d device.Device, path string, mel []float32, opts Options) []float32 {
	t.Helper()
	y, err := open(t, d, path, opts).Run(t.Context(), mel)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// packModel packs an ONNX model by a recipe.
func packModel(t testing.TB, model, recipe string) string {
	t.Helper()
	b, err := pipeline.Prepare(model, recipe)
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

// readFloats reads little-endian float32.
func readFloats(t testing.TB, path string) []float32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := make([]float32, len(b)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return values
}

func bitsOf(values []float32) []uint32 {
	bits := make([]uint32, len(values))
	for i, v := range values {
		bits[i] = math.Float32bits(v)
	}
	return bits
}

func TestAgreesWithONNXRuntime(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"whisper-tiny-encoder", "whisper-tiny-op17-encoder"} {
		path := packModel(t, fixtures+name+".onnx", "whisper-encoder/f32")
		got := encode(t, newCPU(t, cpu.Options{}), path, readFloats(t, fixtures+name+".in.f32"), Options{})
		worst := maxError(t, got, readFloats(t, fixtures+name+".ort.f32"))
		t.Logf("%s: largest error %.3g", name, worst)
		if worst > 1e-4 {
			t.Errorf("%s: largest error %.3g, allowed 1e-4", name, worst)
		}
	}
}

// tiny is the network of whisper-tiny-encoder.onnx.
func tiny(t testing.TB) *network {
	t.Helper()
	n := newNetwork(Sizes{Layers: 2, DModel: 64, Heads: 4, FFN: 128, Mels: 16, Positions: 50, Eps: 1e-5}, 1)
	values := readFloats(t, fixtures+"whisper-tiny-encoder.params.f32")
	list, err := os.ReadFile(fixtures + "whisper-tiny-encoder.params.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		name, _, _ := strings.Cut(line, "\t")
		p := n.parameters["encoder."+name]
		for i := range p.values {
			p.values[i] = float64(values[i])
		}
		values = values[len(p.values):]
	}
	if len(values) != 0 {
		t.Fatalf("%d values are left over", len(values))
	}
	return n
}

func TestBuiltInBF16Recipes(t *testing.T) {
	t.Parallel()
	d := newCPU(t, cpu.Options{})
	mel := readFloats(t, fixtures+"whisper-tiny-encoder.in.f32")
	want := tiny(t).rounded().encode(mel)
	for _, activations := range []element.Format{element.F32, element.BF16} {
		var first []float32
		for _, recipe := range []string{"whisper-encoder/npu1-tiled", "whisper-encoder/npu1-rowmajor"} {
			got := encode(t, d, packModel(t, fixtures+"whisper-tiny-encoder.onnx", recipe), mel, Options{Activations: activations})
			if first == nil {
				first = got
			}
			if !slices.Equal(bitsOf(got), bitsOf(first)) {
				t.Errorf("%s, activations %v: other bits than by the first recipe", recipe, activations)
			}
		}
		worst := maxError(t, first, want)
		t.Logf("activations %v: largest error %.3g", activations, worst)
		if allowed := map[element.Format]float64{element.F32: 1e-4, element.BF16: 0.1}[activations]; worst > allowed {
			t.Errorf("activations %v: largest error %.3g, allowed %g", activations, worst, allowed)
		}
	}
}

func TestBF16OfOtherSizes(t *testing.T) {
	t.Parallel()
	d := newCPU(t, cpu.Options{})
	for i, s := range []Sizes{
		evenSizes, oddSizes,
		{Layers: 1, DModel: 1, Heads: 1, FFN: 1, Mels: 1, Positions: 1, Eps: 1e-5},
		{Layers: 3, DModel: 49, Heads: 7, FFN: 101, Mels: 3, Positions: 67, Eps: 1e-6},
	} {
		n := newNetwork(s, uint64(i))
		mel := n.input(uint64(i))
		got := encode(t, d, packNetwork(t, n, plain(n, element.BF16), nil), mel, Options{})
		if worst := maxError(t, got, n.rounded().encode(mel)); worst > 1e-4 {
			t.Errorf("%+v: largest error %.3g, allowed 1e-4", s, worst)
		}
	}
}

func TestShadowDeviceGivesTheSameBits(t *testing.T) {
	t.Parallel()
	for _, s := range []Sizes{evenSizes, oddSizes} {
		n := newNetwork(s, 3)
		mel := n.input(3)
		folded, gathered := foldAll(n, plain(n, element.BF16)), stack(n, plain(n, element.BF16))
		for _, list := range [][]operand{folded, gathered} {
			path := packNetwork(t, n, list, nil)
			for _, f := range []element.Format{element.F32, element.BF16} {
				want := encode(t, newCPU(t, cpu.Options{}), path, mel, Options{Activations: f})
				got := encode(t, newCPU(t, cpu.Options{Shadow: true, Workers: 1}), path, mel, Options{Activations: f})
				if !slices.Equal(bitsOf(got), bitsOf(want)) {
					t.Errorf("%+v, activations %v: the shadow device gives other bits", s, f)
				}
			}
		}
	}
}

// unfused is a device without epilogues.
type unfused struct{ device.Device }

func (u unfused) Open(c *kernel.Contract) (device.Kernel, error) {
	if c.Epilogue != kernel.NoEpilogue {
		return nil, device.ErrUnsupported
	}
	return u.Device.Open(c)
}

func TestDeviceWithoutEpilogues(t *testing.T) {
	t.Parallel()
	d := newCPU(t, cpu.Options{})
	n := newNetwork(oddSizes, 4)
	mel := n.input(4)
	path := packNetwork(t, n, plain(n, element.F32), nil)
	for _, f := range []element.Format{element.F32, element.BF16} {
		want := encode(t, d, path, mel, Options{Activations: f})
		if got := encode(t, unfused{d}, path, mel, Options{Activations: f}); !slices.Equal(bitsOf(got), bitsOf(want)) {
			t.Errorf("activations %v: GELU by itself gives other bits", f)
		}
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 5)
	seen := map[string]bool{}
	var last []float32
	e := open(t, newCPU(t, cpu.Options{}), packNetwork(t, n, plain(n, element.F32), nil), Options{Trace: func(s Step) error {
		if seen[s.Name] {
			t.Errorf("step %q comes twice", s.Name)
		}
		seen[s.Name] = true
		var err error
		if last, err = s.Output(); err != nil {
			return err
		}
		if uint64(len(last)) != s.Rows*s.Cols || s.Bytes == 0 {
			t.Errorf("step %q: %d values of [%d, %d], %d bytes", s.Name, len(last), s.Rows, s.Cols, s.Bytes)
		}
		if (s.Flops > 0) != (s.Kernel.Operation == kernel.GEMM || s.Kernel.Operation == kernel.Conv) {
			t.Errorf("step %q: %d operations in a %s", s.Name, s.Flops, s.Kernel.Operation)
		}
		if strings.HasSuffix(s.Name, ".softmax") {
			checkSums(t, s.Name, last, int(s.Cols))
		}
		return nil
	}})
	got, err := e.Run(t.Context(), n.input(5))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, last) {
		t.Error("the last step gave something else than the result")
	}
	for _, name := range []string{"encoder.conv1", "encoder.layers.1.self_attn.head.2.softmax", "encoder.layers.0.fc2", "encoder.layer_norm"} {
		if !seen[name] {
			t.Errorf("no step %q", name)
		}
	}
}

// checkSums checks that every row adds up to 1.
func checkSums(t *testing.T, name string, values []float32, cols int) {
	t.Helper()
	for row := range slices.Chunk(values, cols) {
		sum := 0.0
		for _, v := range row {
			sum += float64(v)
		}
		if math.Abs(sum-1) > 1e-5 {
			t.Errorf("%s: a row adds up to %v", name, sum)
		}
	}
}

func TestTraceEndsRun(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 5)
	enough := errors.New("enough")
	e := open(t, newCPU(t, cpu.Options{}), packNetwork(t, n, plain(n, element.F32), nil), Options{Trace: func(Step) error { return enough }})
	if _, err := e.Run(t.Context(), n.input(5)); !errors.Is(err, enough) {
		t.Errorf("error %v, want that of Trace", err)
	}
}

func TestEncodersShareADevice(t *testing.T) {
	t.Parallel()
	d := newCPU(t, cpu.Options{Shadow: true})
	n := newNetwork(evenSizes, 6)
	path := packNetwork(t, n, plain(n, element.BF16), nil)
	mels := [][]float32{n.input(1), n.input(2)}
	want := [][]float32{encode(t, d, path, mels[0], Options{}), encode(t, d, path, mels[1], Options{})}
	var wait sync.WaitGroup
	for range 3 {
		e := open(t, d, path, Options{})
		for i := range 4 { // two goroutines for each input
			wait.Go(func() {
				got, err := e.Run(t.Context(), mels[i%2])
				if err != nil {
					t.Error(err)
				} else if !slices.Equal(got, want[i%2]) {
					t.Error("another result than alone")
				}
			})
		}
	}
	wait.Wait()
}

func BenchmarkRun(b *testing.B) {
	n := newNetwork(Sizes{Layers: 2, DModel: 256, Heads: 4, FFN: 1024, Mels: 80, Positions: 300, Eps: 1e-5}, 7)
	path := packNetwork(b, n, plain(n, element.BF16), nil)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	d := newCPU(b, cpu.Options{})
	e := open(b, d, path, Options{})
	mel := n.input(7)
	b.SetBytes(info.Size())
	for b.Loop() {
		if _, err := e.Run(context.Background(), mel); err != nil {
			b.Fatal(err)
		}
	}
}
