package pipeline

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/families"
	"npuw/pipeline/model/generic"
	"npuw/schema/onnxpb"
	"npuw/schema/pyreader"
)

// made is a graph that is put together at random, one operator behind the other, and what is expected of its constants.
type made struct {
	rng     *rand.Rand
	graph   onnxpb.GraphProto
	last    string
	expects []expected
}

// expected is a constant of a graph as a parameter: values in the order of the axes.
type expected struct {
	name, axes string
	shape      []uint64
	values     []float32
}

// constant adds one of the given shape, which becomes a parameter with axes; turned are its last two axes, in the file the other way
// round.
func (g *made) constant(axes string, turned bool, shape ...int) string {
	e := expected{name: fmt.Sprintf("c%d.%s", len(g.expects), axes), axes: axes}
	n := 1
	t := &onnxpb.TensorProto{Name: &e.name, DataType: proto.Int32(1)}
	for _, size := range shape {
		n *= size
		t.Dims, e.shape = append(t.Dims, int64(size)), append(e.shape, uint64(size))
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(g.rng.IntN(255) - 127) // which BF16 holds
		t.RawData = binary.LittleEndian.AppendUint32(t.RawData, math.Float32bits(values[i]))
	}
	e.values = values
	if turned {
		rows, cols := shape[len(shape)-2], shape[len(shape)-1]
		e.shape[len(shape)-2], e.shape[len(shape)-1] = uint64(cols), uint64(rows)
		e.values = make([]float32, n)
		for i := range values {
			matrix, row, col := i/(rows*cols), i/cols%rows, i%cols
			e.values[matrix*rows*cols+col*rows+row] = values[i]
		}
	}
	g.graph.Initializer, g.expects = append(g.graph.Initializer, t), append(g.expects, e)
	return e.name
}

// node adds one to which what is computed so far goes wherever inputs has an x.
func (g *made) node(op string, attributes map[string]int64, inputs ...string) {
	n := &onnxpb.NodeProto{OpType: &op, Output: []string{fmt.Sprintf("v%d", len(g.graph.Node))}}
	for _, in := range inputs {
		if in == "x" {
			in = g.last
		}
		n.Input = append(n.Input, in)
	}
	for name, v := range attributes {
		n.Attribute = append(n.Attribute, &onnxpb.AttributeProto{Name: &name, I: &v, Type: onnxpb.AttributeProto_INT.Enum()})
	}
	g.graph.Node, g.last = append(g.graph.Node, n), n.Output[0]
}

// size is a number from 1 to 70: more than a panel or a tile, and seldom a multiple of either.
func (g *made) size() int { return 1 + g.rng.IntN(70) }

// grow adds an operator.
func (g *made) grow() {
	n, k, few := g.size(), g.size(), 1+g.rng.IntN(4)
	switch g.rng.IntN(13) {
	case 0:
		g.node("MatMul", nil, "x", g.constant("NK", true, k, n))
		g.node("Add", nil, "x", g.constant("N", false, n))
	case 1:
		g.node("MatMul", nil, g.constant("NK", false, n, k), "x")
	case 2:
		g.node("Gemm", map[string]int64{"transB": 1}, "x", g.constant("NK", false, n, k), g.constant("N", false, n))
	case 3:
		g.node("Gemm", nil, "x", g.constant("NK", true, k, n))
	case 4:
		g.node("Conv", nil, "x", g.constant("NCX", false, n, few, 3))
	case 5:
		g.node("Conv", nil, "x", g.constant("NCYX", false, n, few, 3, 2), g.constant("N", false, n))
	case 6:
		g.node("Conv", map[string]int64{"group": int64(n + 1)}, "x", g.constant("NIYX", false, n+1, 1, 3, 3))
	case 7:
		g.node("ConvTranspose", nil, "x", g.constant("CNYX", false, k, few, 2, 2))
	case 8:
		g.node("BatchNormalization", nil, "x", g.constant("N", false, n), g.constant("N", false, n), g.constant("N", false, n), g.constant("N", false, n))
	case 9:
		g.node("Gather", nil, g.constant("PN", false, k, n), "x")
	case 10:
		g.node("LSTM", nil, "x", g.constant("BNK", false, few, 4*few, n), g.constant("BNK", false, few, 4*few, few), g.constant("BN", false, few, 8*few))
	case 11:
		g.node("MatMul", nil, "x", g.constant("BNK", true, few, k, n))
	case 12:
		g.node("Mystery", nil, "x", g.constant("ABC", false, n, few, 2), g.constant("A", false, n+1))
	}
}

// write writes the graph to a file.
func (g *made) write(t *testing.T) string {
	t.Helper()
	file, err := proto.Marshal(&onnxpb.ModelProto{IrVersion: proto.Int64(8), Graph: &g.graph})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(pyreader.TempDir(t), "model.onnx")
	if err := os.WriteFile(path, file, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever a graph is made of, both recipes take it, and every constant comes back from the artifact, its axes as the operators have them.
func TestAnyGraphPacks(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		g := &made{rng: rand.New(rand.NewPCG(seed, 1)), last: "input"}
		for len(g.graph.Node) < 16 {
			g.grow()
		}
		path := g.write(t)
		for _, recipe := range []string{"", "generic/f32"} {
			f := packBy(t, path, recipe, pyreader.TempDir(t))
			if f.Index.Model.Family != generic.Family || len(f.Index.Parameters) != len(g.expects) {
				t.Fatalf("seed %d: family %s, %d parameters, expected %d", seed, f.Index.Model.Family, len(f.Index.Parameters), len(g.expects))
			}
			for _, e := range g.expects {
				i := f.Parameter(e.name)
				if i < 0 {
					t.Fatalf("seed %d: no parameter %s", seed, e.name)
				}
				if p := &f.Index.Parameters[i]; p.Axes != e.axes || !slices.Equal(p.Shape, e.shape) {
					t.Fatalf("seed %d: %s: %s %v, expected %s %v", seed, e.name, p.Axes, p.Shape, e.axes, e.shape)
				}
				if !slices.Equal(parameter(t, f, e.name), e.values) {
					t.Errorf("seed %d: %q: %s: other values than in the model", seed, recipe, e.name)
				}
			}
		}
	}
}

// What a kernel reads: K of a convolution is channel, row and column, the outputs of a depthwise one lie side by side, tables stay rows.
func TestGenericOperands(t *testing.T) {
	t.Parallel()
	g := &made{rng: rand.New(rand.NewPCG(1, 2)), last: "input"}
	g.node("Conv", nil, "x", g.constant("NCYX", false, 40, 3, 2, 5))
	g.node("Conv", map[string]int64{"group": 40}, "x", g.constant("NIX", false, 40, 1, 3))
	g.node("Gather", nil, g.constant("PN", false, 5, 3), "x")
	g.node("Add", nil, "x", g.constant("N", false, 33))
	g.node("Mystery", nil, "x", g.constant("AB", false, 2, 2))
	f := packBy(t, g.write(t), "generic/npu1-tiled", pyreader.TempDir(t))
	for name, want := range map[string]string{
		"c0.NCYX": "weights bf16 K=30/64 N=40/64: N2@32 K8@8 N8@4 K8@1 N4@1",
		"c1.NIX":  "weights bf16 N=40/64 I=1/1 X=3/3: N2@32 X3@1 N32@1",
		"c2.PN":   "weights bf16 P=5/5 N=3/3: P5@1 N3@1",
		"c3.N":    "weights bf16 N=33/64: N64@1",
		"c4.AB":   "constants f32 A=2/2 B=2/2: A2@1 B2@1",
	} {
		o := f.Operand(name)
		var b strings.Builder
		fmt.Fprintf(&b, "%s %v", f.Index.Segments[o.Segment].Name, o.Format)
		for _, a := range o.Layout.Axes {
			fmt.Fprintf(&b, " %c=%d/%d", a.Name, a.Extent, a.Padded)
		}
		b.WriteByte(':')
		for _, d := range o.Layout.Digits {
			if d.Size > 1 {
				fmt.Fprintf(&b, " %c%d@%d", o.Layout.Axes[d.Axis].Name, d.Size, d.Stride)
			}
		}
		if b.String() != want {
			t.Errorf("%s: %s, expected %s", name, b.String(), want)
		}
	}
	// Element [k, n] of the convolution's matrix is [n, k / 10, k / 5 % 2, k % 5] of its weight.
	v, err := f.OperandValues("c0.NCYX")
	if err != nil {
		t.Fatal(err)
	}
	var raw strings.Builder
	if err := v.WriteFloat32(&raw); err != nil {
		t.Fatal(err)
	}
	for k := range 30 {
		for n := range 40 {
			got := math.Float32frombits(binary.LittleEndian.Uint32([]byte(raw.String()[4*(k*40+n):])))
			if want := g.expects[0].values[n*30+k]; got != want {
				t.Fatalf("B[%d, %d] is %v, expected %v", k, n, got, want)
			}
		}
	}
}

// Masks hold infinities, and numbers that BF16 makes infinite.
func TestMasksPack(t *testing.T) {
	t.Parallel()
	g := &made{rng: rand.New(rand.NewPCG(1, 3)), last: "input"}
	g.node("Add", nil, "x", g.constant("PN", false, 2, 3))
	g.node("Mystery", nil, "x", g.constant("AB", false, 2, 3))
	for i, x := range []float32{float32(math.Inf(-1)), -math.MaxFloat32} {
		for _, c := range g.graph.Initializer {
			binary.LittleEndian.PutUint32(c.RawData[4*i:], math.Float32bits(x))
		}
	}
	path := g.write(t)
	for recipe, want := range map[string][2]float64{"generic/f32": {math.Inf(-1), -math.MaxFloat32}, "generic/npu1-tiled": {math.Inf(-1), math.Inf(-1)}} {
		f := packBy(t, path, recipe, pyreader.TempDir(t))
		got := parameter(t, f, "c0.PN")
		if float64(got[0]) != want[0] || float64(got[1]) != want[1] {
			t.Errorf("%s: %v, expected %v first", recipe, got, want)
		}
	}
}

// Every fixture is packed as it is, and gives the values that its tensors have.
func TestFixturesPackAsGeneric(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../testdata/whisper-tiny/*.onnx")
	if err != nil || len(paths) < 9 {
		t.Fatalf("%v, %v", paths, err)
	}
	for _, pattern := range []string{"*-decoder*.onnx", "*.safetensors", "*.pt", "*.bin"} {
		beside, err := filepath.Glob(filepath.Join(whisperonnx.Beside("shared/fixtures/whisper-tiny"), pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, beside...)
	}
	paths = append(paths, write(t, "{}", "model.safetensors", checkpoints.Safetensors(checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd))))
	for _, path := range paths {
		c, models, err := families.OpenAs(path, generic.Family)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		f := packBy(t, path, "generic/f32", pyreader.TempDir(t))
		if got, want := len(f.Index.Parameters), len(models[0].Parameters); got != want || want < 20 {
			t.Errorf("%s: %d parameters, expected %d", path, got, want)
		}
		for i := range models[0].Parameters {
			p := &models[0].Parameters[i]
			raw := make([]byte, p.Tensor.Data.Size)
			if err := c.ReadAt(raw, &p.Tensor, 0); err != nil {
				t.Fatal(err)
			}
			values := make([]float64, len(raw)/p.Tensor.Type.Size())
			if err := element.ToFloat64(values, raw, p.Tensor.Type); err != nil {
				t.Fatal(err)
			}
			if !sameTurned(parameter(t, f, p.Name), values, p.Shape, p.Tensor.Shape, p.Perm) {
				t.Errorf("%s: %s: other values than its tensor", path, p.Name)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// sameTurned compares values of a shape with those of a tensor, of which axis i is axis perm[i].
func sameTurned(got []float32, tensor []float64, shape, tensorShape []uint64, perm []int) bool {
	if len(got) != len(tensor) {
		return false
	}
	for i, x := range got {
		rest, at := uint64(i), make([]uint64, len(shape))
		for a := len(shape) - 1; a >= 0; a-- {
			at[perm[a]] = rest % shape[a]
			rest /= shape[a]
		}
		j := uint64(0)
		for a, size := range tensorShape {
			j = j*size + at[a]
		}
		if x != float32(tensor[j]) {
			return false
		}
	}
	return true
}

// A file that is of a known family is one of it, unless a recipe for any model is asked for; one that is of none is taken as it is.
func TestWhichFamily(t *testing.T) {
	t.Parallel()
	g := &made{rng: rand.New(rand.NewPCG(1, 4)), last: "input"}
	g.node("MatMul", nil, "x", g.constant("NK", true, 4, 3))
	other := g.write(t)
	nothing := (&made{}).write(t)
	for _, x := range []struct{ path, recipe, want string }{
		{encoder(t), "", "whisper-encoder"},
		{encoder(t), "whisper-encoder/f32", "whisper-encoder"},
		{encoder(t), "generic/f32", "generic"},
		{other, "", "generic"},
		{other, "generic/f32", "generic"},
		{other, "whisper-encoder/f32", "no model of a family that npuw knows, and recipe whisper-encoder/f32 is for whisper-encoder; a recipe of generic takes any model: --recipe generic/npu1-tiled"},
		{nothing, "", "holds no parameters of a model; `npuw sources` lists"},
		{nothing, "generic/f32", "holds no parameters of a model; `npuw sources` lists"},
	} {
		b, err := Prepare(x.path, x.recipe)
		if err != nil {
			if !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s by %q: %v, expected %s", x.path, x.recipe, err, x.want)
			}
			continue
		}
		if b.Model.Family != x.want || b.Recipe.Family != x.want {
			t.Errorf("%s by %q: a %s by %s, expected %s", x.path, x.recipe, b.Model.Family, b.Recipe.Name, x.want)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Whatever constants are called, their names stand in an artifact.
func TestOddNamesPack(t *testing.T) {
	t.Parallel()
	g := &made{rng: rand.New(rand.NewPCG(1, 5)), last: "input"}
	odd := []string{"a\nb", "a\x00b", "\u202ea", "\u2028", strings.Repeat("é", 2000), "*", "{i}", "\"", "a_b", "名前"}
	for range odd {
		g.node("Add", nil, "x", g.constant("N", false, 3))
	}
	for i, name := range odd {
		g.graph.Initializer[i].Name, g.graph.Node[i].Input[1] = &name, name
	}
	path := g.write(t)
	for _, recipe := range []string{"", "generic/f32"} {
		f := packBy(t, path, recipe, pyreader.TempDir(t))
		for i, e := range g.expects {
			if got := parameter(t, f, f.Index.Parameters[i].Name); !slices.Equal(got, e.values) {
				t.Errorf("%q became %q, with other values", odd[i], f.Index.Parameters[i].Name)
			}
		}
	}
}

// codes adds a constant of bytes.
func (g *made) codes(name string, format onnxpb.TensorProto_DataType, values []byte, shape ...int64) string {
	g.graph.Initializer = append(g.graph.Initializer, &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(int32(format)), Dims: shape, RawData: values})
	return name
}

// Of tables of codes the values are packed, though rows are looked up before values are made of them.
func TestLookedUpCodesPack(t *testing.T) {
	t.Parallel()
	g := &made{rng: rand.New(rand.NewPCG(1, 6)), last: "input"}
	bytes := make([]byte, 3*32)
	for i := range bytes {
		bytes[i] = byte(g.rng.IntN(256))
	}
	float := func(name string, values []float32, shape ...int64) string {
		var raw []byte
		for _, x := range values {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
		g.graph.Initializer = append(g.graph.Initializer, &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(1), Dims: shape, RawData: raw})
		return name
	}
	g.node("Gather", nil, g.codes("tokens.weight_quantized", onnxpb.TensorProto_UINT8, bytes, 3, 32), "x")
	g.node("DequantizeLinear", nil, "x", float("tokens_scale", []float32{0.5}), g.codes("tokens_zero", onnxpb.TensorProto_UINT8, []byte{100}))
	scales := []float32{0.25, 1, 2, 0.5, 4, 8}
	g.node("GatherBlockQuantized", map[string]int64{"bits": 8, "block_size": 16, "quantize_axis": 1},
		g.codes("rows", onnxpb.TensorProto_UINT8, bytes, 3, 32), "x", float("rows_scales", scales, 3, 2))
	g.graph.Node[len(g.graph.Node)-1].Domain = proto.String("com.microsoft")
	f := packBy(t, g.write(t), "generic/f32", pyreader.TempDir(t))
	if len(f.Index.Parameters) != 2 {
		t.Fatalf("%+v", f.Index.Parameters)
	}
	tokens, rows := parameter(t, f, "tokens.weight"), parameter(t, f, "rows")
	for i, code := range bytes {
		if want := (float32(code) - 100) * 0.5; tokens[i] != want {
			t.Fatalf("tokens[%d] is %v, expected %v", i, tokens[i], want)
		}
		if want := (float32(code) - 128) * scales[i/16]; rows[i] != want {
			t.Fatalf("rows[%d] is %v, expected %v", i, rows[i], want)
		}
	}
	for _, p := range f.Index.Parameters {
		if p.Axes != "PN" {
			t.Errorf("%s has axes %s", p.Name, p.Axes)
		}
	}
}
