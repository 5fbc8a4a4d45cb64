package whisperonnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/model/families"
	pb "npuw/schema/onnxpb"
)

// testConfigs are all forms, and some that occur together.
func testConfigs(t *testing.T) map[string]Config {
	t.Helper()
	configs := map[string]Config{"plain": Odd, "fixture": Tiny}
	for _, names := range append(Forms(), combinations...) {
		c, err := Odd.With(names)
		if err != nil {
			t.Fatal(err)
		}
		c.Seed = uint64(len(configs))
		configs[names] = c
	}
	return configs
}

var combinations = []string{
	"constants,external,gemm", "gemm,stripped", "gemm,nested,external", "opset17,stripped", "opset17,nested,stripped,constants", "nested,attention", "tied,stripped",
	"f16,attention", "f16,optimized,external", "bf16,mha-packed,stripped", "f64,mha-sliced,external", "attention,constants,external,stripped",
	"gelu,opset17,fusedmatmul", "gemm,sdpa,opset17", "gemm,mha,stripped", "fusedmatmul,mha", "skipnorm,gemm", "skipnorm,nested", "optimized,stripped", "operator,stripped,opset17",
	"skipnorm,fastgelu,mha-packed,stripped",
	"q4,stripped", "q4asym,external,opset17", "bnb4,constants,stripped", "int8dyn,stripped", "int8fuse,skipnorm,stripped", "qdq,sdpa,stripped", "qdq4,nested,stripped", "q8,operator",
	"int8dyn,nested", "q4,attention", "int8dyn,sdpa,gelu,stripped", "q4asym,mha,skipnorm", "q4,dequantized", "int8dyn,3d,external,stripped", "bnb4,split", "int8dyn,optimized",
}

// What is written is recognised as an encoder of its sizes, and every parameter has its values.
func TestWrite(t *testing.T) {
	t.Parallel()
	for name, c := range testConfigs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "m.onnx")
			if err := Write(path, c); err != nil {
				t.Fatal(err)
			}
			catalogue, models, err := families.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer catalogue.Close()
			if len(models) != 1 {
				t.Fatal("not recognised")
			}
			if err := c.Check(catalogue, models[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

// The graph is, node for node, the one that torch.onnx exports.
func TestGraphIsThatOfARealExport(t *testing.T) {
	t.Parallel()
	for fixture, names := range map[string]string{"encoder": "", "op17-encoder": "opset17", "dflt-encoder": "tied"} {
		c, err := Tiny.With(names)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := Write(path, c); err != nil {
			t.Fatal(err)
		}
		sameGraph(t, fixture, read(t, path), read(t, "../../../testdata/whisper-tiny/whisper-tiny-"+fixture+".onnx"))
	}
}

// sameGraph compares all of two models but the values of weights.
func sameGraph(t *testing.T, fixture string, got, want *pb.ModelProto) {
	t.Helper()
	if len(got.Graph.Node) != len(want.Graph.Node) || len(got.Graph.Initializer) != len(want.Graph.Initializer) {
		t.Fatalf("%s: %d nodes, %d initializers; expected %d, %d", fixture, len(got.Graph.Node), len(got.Graph.Initializer), len(want.Graph.Node), len(want.Graph.Initializer))
	}
	for i, n := range got.Graph.Node {
		if w := want.Graph.Node[i]; !proto.Equal(n, w) {
			t.Fatalf("%s: node %d is\n%v\nexpected\n%v", fixture, i, n, w)
		}
		got.Graph.Node[i] = nil
	}
	shapes := func(m *pb.ModelProto) map[string]string {
		all := map[string]string{}
		for _, w := range m.Graph.Initializer {
			all[w.GetName()] = fmt.Sprint(w.GetDims(), w.GetDataType(), len(w.GetRawData()))
		}
		return all
	}
	if g, w := shapes(got), shapes(want); !mapsEqual(g, w) {
		t.Errorf("%s: initializers %v, expected %v", fixture, g, w)
	}
	for _, m := range []*pb.ModelProto{got, want} {
		m.Graph.Node, m.Graph.Initializer = nil, nil
	}
	if !proto.Equal(got, want) {
		t.Errorf("%s: %v, expected %v", fixture, got, want)
	}
}

func mapsEqual(a, b map[string]string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// read unmarshals a model with its anonymous values numbered by their first appearance.
func read(t *testing.T, path string) *pb.ModelProto {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := &pb.ModelProto{}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	anonymous := regexp.MustCompile(`^(onnx::\w+_|Constant_)\d+$`)
	number := map[string]string{}
	rename := func(s *string) {
		if parts := anonymous.FindStringSubmatch(*s); parts != nil {
			if number[*s] == "" {
				number[*s] = fmt.Sprint(parts[1], len(number))
			}
			*s = number[*s]
		}
	}
	for _, n := range m.Graph.Node {
		rename(n.Name)
		for i := range n.Input {
			rename(&n.Input[i])
		}
		rename(&n.Output[0])
	}
	for _, w := range m.Graph.Initializer {
		rename(w.Name)
	}
	return m
}

// Half precision is decoded here by its own formula, so it is compared with the library's.
func TestValues(t *testing.T) {
	t.Parallel()
	for _, format := range []element.Format{element.F32, element.F16, element.BF16, element.F64} {
		c := Config{DModel: 1, Layers: 1, Heads: 1, FFN: 4096, Mels: 1, Positions: 1, Type: format}
		list := c.Parameters()
		p := &list[slices.IndexFunc(list, func(p Parameter) bool { return p.Name == "encoder.layers.0.fc1.weight" })]
		negative, seen := 0, map[float64]bool{}
		for i := range p.Elements() {
			raw := binary.LittleEndian.AppendUint64(nil, p.bits(i))
			decoded := []float64{0}
			if err := element.ToFloat64(decoded, raw[:format.Size()], format); err != nil {
				t.Fatal(err)
			}
			x := p.At(i)
			if x != decoded[0] || math.Abs(x) < 1.0/64 || math.Abs(x) >= 0.25 {
				t.Fatalf("%v: value %d is %v, its bits say %v", format, i, x, decoded[0])
			}
			if x < 0 {
				negative++
			}
			seen[x] = true
		}
		if negative < 1900 || negative > 2200 || len(seen) < 800 {
			t.Errorf("%v: %d of 4096 values are negative, %d differ", format, negative, len(seen))
		}
	}
}

func TestWriteRefusesImpossibleSizes(t *testing.T) {
	t.Parallel()
	for _, change := range []func(c *Config){
		func(c *Config) { c.DModel = 0 }, func(c *Config) { c.Heads = 5 }, func(c *Config) { c.Layers = -1 }, func(c *Config) { c.Type = 99 },
	} {
		c := Odd
		change(&c)
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := Write(path, c); err == nil {
			t.Errorf("%+v was written", c)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%+v: a file was left", c)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "m.onnx")
	for b.Loop() {
		if err := Write(path, Base); err != nil {
			b.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
}

// What is not the model is told apart from it.
func TestCheckFails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := Write(path, Odd); err != nil {
		t.Fatal(err)
	}
	catalogue, models, err := families.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer catalogue.Close()
	for name, change := range map[string]func(c *Config){
		"values": func(c *Config) { c.Seed++ }, "heads": func(c *Config) { c.Heads = 2 }, "layers": func(c *Config) { c.Layers++ },
		"a shape": func(c *Config) { c.FFN++ }, "the type": func(c *Config) { c.Type = element.F16 },
	} {
		c := Odd
		change(&c)
		if c.Check(catalogue, models[0]) == nil {
			t.Errorf("other %s: no difference found", name)
		}
	}
}

// The sizes of published models, by how many parameters their encoders are known to have.
func TestSizes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int64{
		"tiny": 8208384, "base": 20590592, "small": 88154112, "medium": 307216384, "medium.en": 307216384,
		"large-v2": 636784640, "large-v3": 636968960, "large-v3-turbo": 636968960, "distil-small.en": 88154112,
	} {
		c, err := Size(name)
		if err != nil {
			t.Fatal(err)
		}
		c.Type = element.F16
		if got := c.Bytes() / 2; got != want {
			t.Errorf("%s: %d parameters, expected %d", name, got, want)
		}
	}
	for _, name := range Sizes() {
		if _, err := Size(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := Size("huge"); err == nil {
		t.Error("a size that there is not")
	}
	if _, err := Odd.With("gemm,upside-down"); err == nil {
		t.Error("a form that there is not")
	}
}
