package openvino_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperfiles"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/source"
	"npuw/pipeline/source/openvino"
)

func write(t testing.TB, xml, bin []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{"model.xml": xml, "model.bin": bin} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "model.xml")
}

// read gives the values of the tensor called name, whole, and compares those of pieces with them.
func read(t *testing.T, m *openvino.Model, name string) (*source.Tensor, []float64) {
	t.Helper()
	x := m.Tensor(name)
	if x == nil {
		t.Fatalf("no tensor %q in %d", name, len(m.Tensors))
	}
	n := int(x.Data.Size) / x.Type.Size()
	part := func(first, count int) []float64 {
		raw, values := make([]byte, count*x.Type.Size()), make([]float64, count)
		if err := errors.Join(m.ReadAt(raw, x, int64(first*x.Type.Size())), element.ToFloat64(values, raw, x.Type)); err != nil {
			t.Fatal(err)
		}
		return values
	}
	all := part(0, n)
	for _, p := range [][2]int{{0, 1}, {1, 2}, {7, 9}, {n / 2, n / 3}, {n - 1, 1}} {
		if p[0]+p[1] <= n && !slices.Equal(part(p[0], p[1]), all[p[0]:p[0]+p[1]]) {
			t.Errorf("%s: %d values from %d differ from those of the whole", name, p[1], p[0])
		}
	}
	return x, all
}

// NNCF's forms of a matrix, in odd sizes: every value is rounded as the graph rounds it.
func TestCompressedWeights(t *testing.T) {
	t.Parallel()
	for _, c := range []whisperfiles.Compression{
		{Type: "u8"},
		{Type: "i8"},
		{Type: "u4"},
		{Type: "i4"},
		{Type: "u8", Float: "f32"},
		{Type: "i4", Float: "f32", Group: 3},
		{Type: "u4", Group: 3},
		{Type: "i4", Group: 3},
		{Type: "u8", Group: 9},
		{Type: "u4", Group: 1},
		{Type: "i8", Group: 27},
		{Type: "nf4", Group: 3},
	} {
		for _, rows := range []int{1, 5, 331} {
			ir := &whisperfiles.IR{Bin: make([]byte, 3)}
			w := whisperfiles.Matrix{Compression: c, Rows: rows, Columns: 27, Seed: uint64(rows)}
			x := ir.Layer("Parameter", "x", `shape="?,27" element_type="f32"`)
			ir.Layer("MatMul", "__module.layers.3.fc1/aten::linear/MatMul", `transpose_a="false" transpose_b="true"`, x, w.Add(ir, "self.layers.3.fc1.weight"))
			m, err := openvino.Open(write(t, ir.XML(), ir.Bin))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			tensor, values := read(t, m, "self.layers.3.fc1.weight")
			want := element.F16
			if c.Float == "f32" {
				want = element.F32
			}
			if tensor.Type != want || !slices.Equal(tensor.Shape, []uint64{uint64(rows), 27}) || tensor.Codes != nil || tensor.Stored == "" || len(m.Tensors) != 1 || len(m.Transposed) != 0 {
				t.Errorf("%+v: %+v", c, tensor)
			}
			for i, v := range values {
				if v != w.Value(i) {
					t.Fatalf("%+v, %d rows: value %d is %g, expected %g", c, rows, i, v, w.Value(i))
				}
			}
		}
	}
}

// Constants are located where they are floats, whatever lossless conversions follow, and named by state dict or path.
func TestNames(t *testing.T) {
	t.Parallel()
	half := func(n int) []byte { return make([]byte, 2*n) }
	for _, x := range []struct {
		name       string
		build      func(ir *whisperfiles.IR, x int)
		want       string // name, type, shape
		transposed bool
	}{
		{"a state dict's name", func(ir *whisperfiles.IR, x int) {
			w := ir.Convert("self.fc1.weight", "f32", ir.Const("self.fc1.weight_compressed", "f16", []int{2, 3}, half(6)))
			ir.Layer("MatMul", "__module.fc1/aten::linear/MatMul", `transpose_a="false" transpose_b="true"`, x, w)
		}, "self.fc1.weight f16 [2 3]", false},
		{"the path of PyTorch", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Add", "__module.layers.0.fc1/aten::linear/Add", "", x, ir.Const("", "f16", []int{1, 1, 3}, half(3)))
		}, "layers.0.fc1.bias f16 [3]", false},
		{"the path of a node", func(ir *whisperfiles.IR, x int) {
			ir.Layer("MatMul", "/layers.0/self_attn/q_proj/MatMul", `transpose_b="false"`, x, ir.Const("onnx::MatMul_7", "f16", []int{2, 3}, half(6)))
		}, "layers.0.self_attn.q_proj.weight f16 [2 3]", true},
		{"a matrix turned", func(ir *whisperfiles.IR, x int) {
			order := ir.Const("", "i64", []int{2}, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			w := ir.Layer("Transpose", "Transpose_1", "", ir.Const("self.fc1.weight", "f16", []int{2, 3}, half(6)), order)
			ir.Layer("MatMul", "__module.fc1/aten::linear/MatMul", `transpose_b="false"`, x, w)
		}, "self.fc1.weight f16 [2 3]", false},
		{"a matrix turned twice", func(ir *whisperfiles.IR, x int) {
			order := ir.Const("", "i32", []int{2}, []byte{1, 0, 0, 0, 0, 0, 0, 0})
			w := ir.Layer("Transpose", "", "", ir.Layer("Transpose", "", "", ir.Const("self.fc1.weight", "f16", []int{2, 3}, half(6)), order), order)
			ir.Layer("MatMul", "__module.fc1/aten::linear/MatMul", `transpose_b="false"`, x, w)
		}, "self.fc1.weight f16 [2 3]", true},
		{"a shape in part", func(ir *whisperfiles.IR, x int) {
			w := reshape(ir, "true", ir.Const("self.fc1.weight", "f16", []int{2, 4, 3}, half(24)), 0, -1)
			ir.Layer("MatMul", "__module.fc1/aten::linear/MatMul", `transpose_b="true"`, x, w)
		}, "self.fc1.weight f16 [2 12]", false},
		{"a shape that does not fit", func(ir *whisperfiles.IR, x int) {
			w := reshape(ir, "false", ir.Const("self.fc1.weight", "f16", []int{2, 4, 3}, half(24)), 5, -1)
			ir.Layer("MatMul", "__module.fc1/aten::linear/MatMul", `transpose_b="true"`, x, w)
		}, `"self.fc1.weight" (operand 0 of Reshape layer "reshaped") f16 [2 4 3]`, false},
		{"a shape of two rests", func(ir *whisperfiles.IR, x int) {
			w := reshape(ir, "false", ir.Const("self.fc1.weight", "f16", []int{2, 4, 3}, half(24)), -1, -1)
			ir.Layer("MatMul", "__module.fc1/aten::linear/MatMul", `transpose_b="true"`, x, w)
		}, `"self.fc1.weight" (operand 0 of Reshape layer "reshaped") f16 [2 4 3]`, false},
		{"positions", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Add", "__module/aten::add/Add", "", x, ir.Const("", "f32", []int{1, 2, 3}, make([]byte, 24)))
		}, "embed_positions.weight f32 [2 3]", false},
		{"modules around what was traced", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Add", "/fc1/Add", "", x, ir.Const("model.encoder.fc1.bias", "f16", []int{3}, half(3)))
		}, "model.encoder.fc1.bias f16 [3]", false},
		{"OpenAI's positions", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Add", "/Add", "", x, ir.Const("positional_embedding", "bf16", []int{2, 3}, half(6)))
		}, "positional_embedding bf16 [2 3]", false},
		{"LayerNorm", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Multiply", "__module.layer_norm/aten::layer_norm/Multiply", "", ir.Const("", "f16", []int{1, 1, 3}, half(3)), x)
		}, "layer_norm.weight f16 [3]", false},
		{"float32 rounded to float16", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Add", "__module.fc1/aten::linear/Add", "", x, ir.Convert("", "f32", ir.Convert("", "f16", ir.Const("", "f32", []int{3}, make([]byte, 12)))))
		}, "fc1.bias f16 [3]", false},
		{"an operator that takes no weights", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Reverse", "r", "", ir.Const("self.fc1.weight", "f16", []int{3}, half(3)))
		}, `"self.fc1.weight" (operand 0 of Reverse layer "r") f16 [3]`, false},
		{"a factor for each channel", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Multiply", "x/smooth", "", x, ir.Const("", "f16", []int{3}, half(3)))
		}, `"Constant_1000" (operand 1 of Multiply layer "x/smooth") f16 [3]`, false},
		{"the bias of a Conv", func(ir *whisperfiles.IR, x int) {
			y := ir.Layer("Convolution", "/conv1/Conv/WithoutBiases", "", x, x)
			ir.Layer("Add", "/conv1/Conv", "", y, ir.Const("", "f16", []int{1, 3, 1}, half(3)))
		}, "conv1.bias f16 [3]", false},
		{"an Add that took the place of a Multiply", func(ir *whisperfiles.IR, x int) {
			ir.Layer("Add", "__module.layers.0.self_attn/aten::mul/Multiply", "", x, ir.Const("", "f16", []int{3}, half(3)))
		}, `"Constant_1000" (operand 1 of Add layer "__module.layers.0.self_attn/aten::mul/Multiply") f16 [3]`, false},
		{"a MatMul that took a factor in", func(ir *whisperfiles.IR, x int) {
			ir.Layer("MatMul", "Multiply_71", `transpose_b="true"`, x, ir.Const("", "f16", []int{1, 3}, half(3)))
		}, `"Constant_1000" (operand 1 of MatMul layer "Multiply_71") f16 [1 3]`, false},
		{"a product that is not followed", func(ir *whisperfiles.IR, x int) {
			w := ir.Layer("Multiply", "__module.fc1/aten::mul/Multiply", "", ir.Const("self.fc1.weight", "f16", []int{3}, half(3)), ir.Const("", "f32", []int{3}, make([]byte, 12)))
			ir.Layer("Result", "y", "", w)
		}, `"self.fc1.weight" (operand 0 of Multiply layer "__module.fc1/aten::mul/Multiply") f16 [3]`, false},
	} {
		ir := &whisperfiles.IR{}
		x.build(ir, ir.Layer("Parameter", "x", ""))
		m, err := openvino.Open(write(t, ir.XML(), ir.Bin))
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		defer m.Close()
		first := m.Tensors[0]
		if got := fmt.Sprintf("%s %v %v", first.Name, first.Type, first.Shape); got != x.want || m.Transposed[first.Name] != x.transposed {
			t.Errorf("%s: %s, transposed %v; expected %s, %v", x.name, got, m.Transposed[first.Name], x.want, x.transposed)
		}
	}
}

// reshape adds a Reshape to a shape of two axes.
func reshape(ir *whisperfiles.IR, zeros string, from int, shape ...int64) int {
	var b []byte
	for _, n := range shape {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return ir.Layer("Reshape", "reshaped", `special_zero="`+zeros+`"`, from, ir.Const("", "i64", []int{len(shape)}, b))
}

// A factor that a fusion put before a MatMul, since the weights are compressed, is told of.
func TestFactor(t *testing.T) {
	t.Parallel()
	ir := &whisperfiles.IR{}
	x := ir.Layer("Parameter", "x", "")
	w := ir.Convert("self.q_proj.weight", "f32", ir.Const("self.q_proj.weight_compressed", "f16", []int{2, 3}, make([]byte, 12)))
	ir.Layer("MatMul", "Multiply_71", `transpose_b="true"`, x, ir.Layer("Multiply", "Multiply_70", "", w, ir.Const("", "f32", nil, make([]byte, 4))))
	m, err := openvino.Open(write(t, ir.XML(), ir.Bin))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Tensor("self.q_proj.weight") != nil || !strings.HasPrefix(m.Others["self.q_proj.weight"], "f16 times a factor") {
		t.Errorf("%+v, %v", m.Tensors, m.Others)
	}
}

// One constant of two operators is two tensors of the same bytes, two of one name are told apart; what has no floats is no tensor.
func TestSharedConstants(t *testing.T) {
	t.Parallel()
	ir := &whisperfiles.IR{}
	x := ir.Layer("Parameter", "x", "")
	w := ir.Const("self.model.decoder.embed_tokens.weight", "f16", []int{2, 3}, make([]byte, 12))
	ir.Layer("Gather", "__module.model.decoder.embed_tokens/aten::embedding/Gather", "", w, x, ir.Const("", "i64", nil, make([]byte, 8)))
	ir.Layer("MatMul", "__module.proj_out/aten::linear/MatMul", `transpose_b="true"`, x, w)
	for _, name := range []string{"one.bias", "one.bias", "one.bias (2)", "self.one.bias"} {
		ir.Layer("Add", "/one/Add", "", x, ir.Const(name, "f16", []int{2}, make([]byte, 4)))
	}
	ir.Layer("Add", "a", "", x, ir.Const("eight", "f8e4m3", []int{2}, make([]byte, 2)))
	ir.Layer("Add", "b", "", x, ir.Const("mask", "boolean", []int{2}, make([]byte, 2)))
	ir.Layer("Add", "c", "", x, ir.Const("", "f32", []int{1}, make([]byte, 4)))
	m, err := openvino.Open(write(t, ir.XML(), ir.Bin))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	names := map[string]bool{}
	for _, x := range m.Tensors {
		names[x.Name] = true
	}
	if len(names) != 6 || len(m.Tensors) != 6 || m.Tensor("proj_out.weight") == nil || m.Tensor("proj_out.weight").Data.Offset != m.Tensor("self.model.decoder.embed_tokens.weight").Data.Offset {
		t.Errorf("%+v", m.Tensors)
	}
	if len(m.Others) != 1 || m.Others["eight"] != "f8e4m3" {
		t.Errorf("%v", m.Others)
	}
}

// net is the XML of some layers and edges.
func net(layers, edges string) string {
	return `<?xml version="1.0"?><net name="m" version="11"><layers>` + layers + `</layers><edges>` + edges + `</edges></net>`
}

// constant is the XML of one.
func constant(typ, shape, offset, size string) string {
	return fmt.Sprintf(`<layer id="0" name="w" type="Const"><data element_type="%s" shape="%s" offset="%s" size="%s"/><output><port id="0"/></output></layer>`, typ, shape, offset, size)
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	add := `<layer id="1" name="a" type="Add"><input><port id="0"/><port id="1"/></input></layer>`
	ok := constant("f32", "4", "0", "16")
	deep := strings.Repeat("<a>", 70)
	for _, x := range []struct {
		name  string
		xml   string
		want  error
		parts string
	}{
		{"nothing", "", source.ErrNotRecognised, "no layer"},
		{"another element", "<html></html>", source.ErrNotRecognised, "html"},
		{"no layers", net("", ""), source.ErrNotRecognised, "no layer"},
		{"version 7", `<net version="7"></net>`, source.ErrUnsupported, `"7"`},
		{"a document type", `<!DOCTYPE net [<!ENTITY a "aaaa">]><net version="11"></net>`, source.ErrUnsupported, "document type"},
		{"an entity", `<net version="11"><layers>&a;</layers></net>`, source.ErrCorrupt, "entity"},
		{"another encoding", `<?xml version="1.0" encoding="utf-16"?><net version="11"></net>`, source.ErrUnsupported, "encoding"},
		{"an end too early", net(ok, "")[:150], source.ErrTruncated, "ends early"},
		{"elements that cross", `<net version="11"><layers></net></layers>`, source.ErrCorrupt, "well-formed"},
		{"elements in one another", `<net version="11">` + deep, source.ErrLimit, "64 elements"},
		{"a tag of 2 MiB", `<net version="11"` + strings.Repeat(" a='1'", 2<<20/6) + `></net>`, source.ErrLimit, "1048576 bytes"},
		{"a text of 2 MiB", `<net version="11">` + strings.Repeat("&amp;", 2<<20/5) + `</net>`, source.ErrLimit, "1048576 bytes"},
		{"3000 inputs", net(`<layer id="0" name="c" type="Concat"><input>`+strings.Repeat(`<port id="0"/>`, 3000)+`</input></layer>`, ""), source.ErrLimit, "2048 inputs"},
		{"a name of 2 KB", net(`<layer id="0" name="`+strings.Repeat("n", 2000)+`" type="Const"/>`, ""), source.ErrLimit, "2000 bytes"},
		{"an id that is none", net(`<layer id="-1" name="w" type="Const"/>`, ""), source.ErrCorrupt, `"-1"`},
		{"an id twice", net(ok+ok, ""), source.ErrCorrupt, "id 0"},
		{"a graph in a layer", net(`<layer id="0" name="loop" type="Loop"><body><layers><layer id="0" name="w" type="Const"/></layers></body></layer>`, ""), source.ErrUnsupported, "graph within"},
		{"an edge from nowhere", net(ok, `<edge from-layer="7" from-port="0" to-layer="0" to-port="0"/>`), source.ErrCorrupt, "not there"},
		{"an edge to no port", net(ok+add, `<edge from-layer="0" from-port="0" to-layer="1" to-port="5"/>`), source.ErrCorrupt, "port 5"},
		{"an edge twice", net(ok+add, strings.Repeat(`<edge from-layer="0" from-port="0" to-layer="1" to-port="1"/>`, 2)), source.ErrCorrupt, "port 1"},
		{"a shape of letters", net(constant("f32", "a", "0", "16"), ""), source.ErrCorrupt, `shape "a"`},
		{"a shape without an end", net(constant("f32", "4,", "0", "16"), ""), source.ErrCorrupt, `shape "4,"`},
		{"nine axes", net(constant("f32", "1,1,1,1,1,1,1,1,4", "0", "16"), ""), source.ErrCorrupt, "8 lengths"},
		{"2^64 values", net(constant("f32", "4294967296, 4294967296", "0", "0"), ""), source.ErrCorrupt, "0 bytes"},
		{"a size that does not fit", net(constant("f32", "4", "0", "20"), ""), source.ErrCorrupt, "20 bytes"},
		{"half a byte too few", net(constant("u4", "5", "0", "2"), ""), source.ErrCorrupt, "2 bytes"},
		{"an offset below 0", net(constant("f32", "4", "-4", "16"), ""), source.ErrCorrupt, `"-4"`},
		{"data past the end", net(constant("f32", "4", "1", "16"), ""), source.ErrTruncated, "16 bytes at 1"},
		{"an offset of 2^62", net(constant("f32", "4", "4611686018427387904", "16"), ""), source.ErrTruncated, "which has 16"},
	} {
		m, err := openvino.Open(write(t, []byte(x.xml), make([]byte, 16)))
		if m != nil || !errors.Is(err, x.want) || !strings.Contains(fmt.Sprint(err), x.parts) {
			t.Errorf("%s: %v; expected %v and %q", x.name, err, x.want, x.parts)
		}
	}
}

// A name that contradicts a path is refused, and an attribute that is none.
func TestRefusesWeights(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name  string
		build func(ir *whisperfiles.IR, x int)
		want  error
		parts string
	}{
		{"fc1's in fc2", func(ir *whisperfiles.IR, x int) {
			ir.Layer("MatMul", "__module.fc2/aten::linear/MatMul", "", x, ir.Const("self.fc1.weight", "f32", []int{1, 2}, make([]byte, 8)))
		}, source.ErrMismatch, "fc2"},
		{"transposed perhaps", func(ir *whisperfiles.IR, x int) {
			ir.Layer("MatMul", "__module.fc1/aten::linear/MatMul", `transpose_b="maybe"`, x, ir.Const("self.fc1.weight", "f32", []int{1, 2}, make([]byte, 8)))
		}, source.ErrCorrupt, "maybe"},
	} {
		ir := &whisperfiles.IR{}
		x.build(ir, ir.Layer("Parameter", "x", ""))
		m, err := openvino.Open(write(t, ir.XML(), ir.Bin))
		if m != nil || !errors.Is(err, x.want) || !strings.Contains(fmt.Sprint(err), x.parts) {
			t.Errorf("%s: %v; expected %v and %q", x.name, err, x.want, x.parts)
		}
	}
}

// Without its data file a model is refused, and one whose data file leads elsewhere.
func TestDataFile(t *testing.T) {
	t.Parallel()
	path := write(t, []byte(net(constant("f32", "4", "0", "16"), "")), make([]byte, 16))
	bin := strings.TrimSuffix(path, ".xml") + ".bin"
	if err := os.Remove(bin); err != nil {
		t.Fatal(err)
	}
	if m, err := openvino.Open(path); m != nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "model.bin") {
		t.Errorf("no data: %v", err)
	}
	if err := os.Symlink("/etc/hostname", bin); err != nil {
		t.Skip(err)
	}
	if m, err := openvino.Open(path); m != nil || !errors.Is(err, source.ErrUnsafePath) {
		t.Errorf("data elsewhere: %v", err)
	}
}

// A chain of operators and a ring of them end, and take no memory to speak of.
func TestEndlessChains(t *testing.T) {
	t.Parallel()
	ir := &whisperfiles.IR{}
	w := ir.Const("self.fc1.weight", "f16", []int{3}, make([]byte, 6))
	for range 20000 {
		w = ir.Convert("", "f16", w)
	}
	ir.Layer("Add", "__module.fc1/aten::linear/Add", "", w, w)
	m, err := openvino.Open(write(t, ir.XML(), ir.Bin))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if len(m.Tensors) != 1 || !strings.Contains(m.Tensors[0].Name, "operand 0 of Convert layer") {
		t.Errorf("%+v", m.Tensors)
	}
	ring := net(strings.ReplaceAll(`<layer id="N" name="c" type="Convert"><data destination_type="f32"/><input><port id="0"/></input></layer>`, "N", "0")+
		`<layer id="1" name="d" type="Convert"><data destination_type="f32"/><input><port id="0"/></input></layer>`,
		`<edge from-layer="0" from-port="1" to-layer="1" to-port="0"/><edge from-layer="1" from-port="1" to-layer="0" to-port="0"/>`)
	m, err = openvino.Open(write(t, []byte(ring), nil))
	if err != nil || len(m.Tensors) != 0 {
		t.Fatalf("a ring: %v", err)
	}
	m.Close()
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"<?xml version=\"1.0\"?>\n<net name": true, "\n <net version=": true, "\xef\xbb\xbf<net ": true,
		"<?xml version=\"1.0\"?><html>": false, "<html><net": false, "": false, "net": false,
	} {
		if openvino.Recognise([]byte(text)) != want {
			t.Errorf("%q: expected %v", text, want)
		}
	}
}

// Whatever the files are, the answer is an error about one of them, or tensors that can be read.
func FuzzOpen(f *testing.F) {
	small := whisperonnx.Config{DModel: 4, Layers: 1, Heads: 2, FFN: 6, Mels: 2, Positions: 2, Type: element.F16}
	list := checkpoints.Whisper(small, checkpoints.Decoder{Layers: 1, FFN: 6, Positions: 3, Vocab: 5})
	for _, form := range []whisperfiles.Form{{}, {ONNX: true}, {Compression: whisperfiles.Compression{Type: "u4", Group: 2}}, {Compression: whisperfiles.Compression{Type: "i8"}}} {
		xml, bin, _ := whisperfiles.OpenVINO(list[:12], form)
		f.Add(xml, bin, uint16(1), uint16(9))
	}
	dir := f.TempDir()
	path := filepath.Join(dir, "m.xml")
	f.Fuzz(func(t *testing.T, xml, bin []byte, first, count uint16) {
		if err := errors.Join(os.WriteFile(path, xml, 0o600), os.WriteFile(filepath.Join(dir, "m.bin"), bin, 0o600)); err != nil {
			t.Fatal(err)
		}
		m, err := openvino.Open(path)
		if err != nil {
			whisperfiles.CheckOpened(t, nil, err, path, 0, 0, 0)
			return
		}
		whisperfiles.CheckOpened(t, &m.Catalogue, nil, path, len(bin), first, count)
	})
}
