package whisper_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/x448/float16"
	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
	pb "npuw/schema/onnxpb"
)

const testdata = "../../../testdata/whisper-tiny/whisper-tiny-"

func recognise(t *testing.T, path string) (*onnx.Model, *model.Model, error) {
	t.Helper()
	m, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	got, err := whisper.Recognise(m)
	return m, got, err
}

// exported reads what the exporter's PyTorch had: values by canonical name, in PyTorch's order.
func exported(t *testing.T, base string) map[string][]float32 {
	t.Helper()
	list, err := os.ReadFile(base + ".params.tsv")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(base + ".params.f32")
	if err != nil {
		t.Fatal(err)
	}
	params := map[string][]float32{}
	for lines := bufio.NewScanner(strings.NewReader(string(list))); lines.Scan(); {
		columns := strings.Split(lines.Text(), "\t")
		var n int
		if _, err := fmt.Sscan(columns[2], &n); err != nil {
			t.Fatal(err)
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		params["encoder."+columns[0]] = values
		data = data[4*n:]
	}
	if len(data) != 0 {
		t.Fatalf("%d bytes left over", len(data))
	}
	return params
}

// values reads a parameter in its own order of axes.
func values(t *testing.T, c *source.Catalogue, p *model.Parameter) []float32 {
	t.Helper()
	raw := make([]byte, p.Tensor.Data.Size)
	if err := c.ReadAt(raw, &p.Tensor, 0); err != nil {
		t.Fatal(err)
	}
	strides := make([]uint64, len(p.Shape)) // of the parameter's axes, in elements of the tensor
	for i, axis := range p.Perm {
		strides[i] = 1
		for _, d := range p.Tensor.Shape[axis+1:] {
			strides[i] *= d
		}
	}
	out := make([]float32, 0, len(raw)/p.Tensor.Type.Size())
	index := make([]uint64, len(p.Shape))
	for range cap(out) {
		var at uint64
		for i, x := range index {
			at += x * strides[i]
		}
		if p.Tensor.Type == element.F16 {
			out = append(out, float16.Frombits(binary.LittleEndian.Uint16(raw[2*at:])).Float32())
		} else {
			out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(raw[4*at:])))
		}
		for i := len(index) - 1; i >= 0; i-- {
			if index[i]++; index[i] < p.Shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return out
}

// check compares a recognised encoder with what was exported, rounded as given.
func check(t *testing.T, c *source.Catalogue, got *model.Model, want map[string][]float32, round func(float32) float32) {
	t.Helper()
	if got.Family != whisper.Family || len(got.Parameters) != len(want) {
		t.Errorf("%s with %d parameters, expected %s with %d", got.Family, len(got.Parameters), whisper.Family, len(want))
	}
	for i := range got.Parameters {
		p := &got.Parameters[i]
		have := values(t, c, p)
		same := slices.EqualFunc(have, want[p.Name], func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(round(b)) })
		if !same {
			t.Errorf("%s: the values differ from those exported", p.Name)
		}
	}
}

func exactly(v float32) float32 { return v }

func throughF16(v float32) float32 { return float16.Fromfloat32(v).Float32() }

var tinySizes = map[string]int64{"layers": 2, "d_model": 64, "heads": 4, "ffn": 128, "mels": 16, "positions": 50}

func TestRealExports(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		file, params string
		round        func(float32) float32
		eps          float32
	}{
		{"encoder.onnx", "encoder", exactly, 1e-5},
		{"encoder-ext.onnx", "encoder", exactly, 1e-5},
		{"encoder-fp16.onnx", "encoder", throughF16, throughF16(1e-5)},
		{"op17-encoder.onnx", "encoder", exactly, 1e-5},
		{"dflt-encoder.onnx", "dflt-encoder", exactly, 1e-5},
		{"encoder-stripped.onnx", "encoder", exactly, 1e-5},
		{"encoder-ort-extended.onnx", "encoder", exactly, 1e-5},
	} {
		t.Run(x.file, func(t *testing.T) {
			t.Parallel()
			m, got, err := recognise(t, testdata+x.file)
			if err != nil {
				t.Fatal(err)
			}
			check(t, &m.Catalogue, got, exported(t, testdata+x.params), x.round)
			for _, a := range got.Attributes {
				if a.IsReal && (a.Name != "eps" || a.Real != float64(x.eps)) || !a.IsReal && a.Int != tinySizes[a.Name] {
					t.Errorf("%+v", a)
				}
			}
			if len(got.Attributes) != len(tinySizes)+1 {
				t.Errorf("%d attributes", len(got.Attributes))
			}
		})
	}
}

func TestCanonicalOrder(t *testing.T) {
	t.Parallel()
	_, got, err := recognise(t, testdata+"encoder.onnx")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(`conv1.weight conv1.bias conv2.weight conv2.bias embed_positions.weight`)
	for i := range 2 {
		for _, name := range strings.Fields(`self_attn.q_proj.weight self_attn.q_proj.bias self_attn.k_proj.weight
			self_attn.v_proj.weight self_attn.v_proj.bias self_attn.out_proj.weight self_attn.out_proj.bias
			self_attn_layer_norm.weight self_attn_layer_norm.bias fc1.weight fc1.bias fc2.weight fc2.bias
			final_layer_norm.weight final_layer_norm.bias`) {
			want = append(want, fmt.Sprintf("layers.%d.%s", i, name))
		}
	}
	want = append(want, "layer_norm.weight", "layer_norm.bias")
	for i, p := range got.Parameters {
		if p.Name != "encoder."+want[i] {
			t.Errorf("parameter %d is %s, expected encoder.%s", i, p.Name, want[i])
		}
		if p.Origin == "" || len(p.Axes) != len(p.Shape) || len(p.Perm) != len(p.Shape) {
			t.Errorf("%+v", p)
		}
	}
	if p := got.Parameters[5]; p.Axes != "NK" || !slices.Equal(p.Perm, []int{1, 0}) || p.Origin != `onnx::MatMul_312 in MatMul node "/layers.0/self_attn/q_proj/MatMul"` {
		t.Errorf("q_proj: %+v", p)
	}
}

// edited writes the plain export, changed, into a folder of its own.
func edited(t *testing.T, change func(g *pb.GraphProto)) string {
	t.Helper()
	b, err := os.ReadFile(testdata + "encoder.onnx")
	if err != nil {
		t.Fatal(err)
	}
	var m pb.ModelProto
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	change(m.Graph)
	if b, err = proto.Marshal(&m); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func initializer(g *pb.GraphProto, name string) *pb.TensorProto {
	return g.Initializer[slices.IndexFunc(g.Initializer, func(t *pb.TensorProto) bool { return t.GetName() == name })]
}

func node(g *pb.GraphProto, name string) *pb.NodeProto {
	return g.Node[slices.IndexFunc(g.Node, func(n *pb.NodeProto) bool { return n.GetName() == name })]
}

func remove(g *pb.GraphProto, name string) {
	g.Node = slices.DeleteFunc(g.Node, func(n *pb.NodeProto) bool { return n.GetName() == name })
}

// rename renames a value everywhere.
func rename(g *pb.GraphProto, from, to string) {
	for _, t := range g.Initializer {
		if t.GetName() == from {
			t.Name = &to
		}
	}
	for _, n := range g.Node {
		for _, list := range [][]string{n.Input, n.Output} {
			for i := range list {
				if list[i] == from {
					list[i] = to
				}
			}
		}
	}
}

// toGemm turns MatMul and Add under path into a Gemm whose weight is stored as [N,K], as onnxslim does.
func toGemm(g *pb.GraphProto, path string) {
	mul, add := node(g, path+"/MatMul"), node(g, path+"/Add")
	w := initializer(g, mul.Input[1])
	k, n := int(w.Dims[0]), int(w.Dims[1])
	turned := make([]byte, len(w.RawData))
	for i := range k {
		for j := range n {
			copy(turned[4*(j*k+i):][:4], w.RawData[4*(i*n+j):])
		}
	}
	w.Dims, w.RawData = []int64{int64(n), int64(k)}, turned
	mul.OpType, mul.Output = proto.String("Gemm"), add.Output
	mul.Input = append(mul.Input, add.Input[0])
	mul.Attribute = []*pb.AttributeProto{{Name: proto.String("transB"), I: proto.Int64(1), Type: pb.AttributeProto_INT.Enum()}}
	remove(g, path+"/Add")
}

// Other forms of the same encoder, which give the same parameters.
func TestOtherForms(t *testing.T) {
	t.Parallel()
	want := exported(t, testdata+"encoder")
	for name, change := range map[string]func(g *pb.GraphProto){
		"model.encoder. before every name": func(g *pb.GraphProto) {
			for _, n := range g.Node {
				n.Name = proto.String("/model/encoder" + n.GetName())
			}
			for _, w := range g.Initializer {
				if !strings.Contains(w.GetName(), ":") {
					rename(g, w.GetName(), "model.encoder."+w.GetName())
				}
			}
		},
		"encoder. before nodes alone": func(g *pb.GraphProto) {
			for _, n := range g.Node {
				n.Name = proto.String("/encoder" + n.GetName())
			}
		},
		"Gemm": func(g *pb.GraphProto) {
			for i := range 2 {
				for _, path := range []string{"self_attn/q_proj", "self_attn/v_proj", "self_attn/out_proj", "fc1", "fc2"} {
					toGemm(g, fmt.Sprintf("/layers.%d/%s", i, path))
				}
			}
		},
		"every weight in a Constant node": func(g *pb.GraphProto) {
			for i, w := range g.Initializer {
				value := fmt.Sprintf("/Constant_%d00_output_0", i)
				rename(g, w.GetName(), value)
				g.Node = append([]*pb.NodeProto{{
					OpType: proto.String("Constant"), Name: proto.String(fmt.Sprintf("/Constant_%d00", i)), Output: []string{value},
					Attribute: []*pb.AttributeProto{{Name: proto.String("value"), T: w, Type: pb.AttributeProto_TENSOR.Enum()}},
				}}, g.Node...)
			}
			g.Initializer = nil
		},
		"float_data": func(g *pb.GraphProto) {
			for _, w := range g.Initializer {
				for b := w.RawData; len(b) > 0; b = b[4:] {
					w.FloatData = append(w.FloatData, math.Float32frombits(binary.LittleEndian.Uint32(b)))
				}
				w.RawData = nil
			}
		},
		"static split": func(g *pb.GraphProto) {
			n := node(g, "/layers.0/self_attn/Reshape")
			n.Input[1] = "split"
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("split"), Dims: []int64{4}, DataType: proto.Int32(7), Int64Data: []int64{0, 0, 4, -1}})
		},
		"split by size": func(g *pb.GraphProto) {
			n := node(g, "/layers.1/self_attn/Reshape_2")
			n.Input[1] = "split"
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("split"), Dims: []int64{4}, DataType: proto.Int32(7), Int64Data: []int64{1, 50, -1, 16}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, got, err := recognise(t, edited(t, change))
			if err != nil {
				t.Fatal(err)
			}
			check(t, &m.Catalogue, got, want, exactly)
			if a := got.Attributes[2]; a.Name != "heads" || a.Int != 4 {
				t.Errorf("%+v, expected 4 heads", a)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		change func(g *pb.GraphProto)
		want   error
		parts  []string
	}{
		"a bias missing": {func(g *pb.GraphProto) {
			add := node(g, "/layers.1/fc2/Add")
			rename(g, add.Output[0], add.Input[1])
			remove(g, "/layers.1/fc2/Add")
			g.Initializer = slices.DeleteFunc(g.Initializer, func(t *pb.TensorProto) bool { return t.GetName() == "layers.1.fc2.bias" })
		}, source.ErrParameters, []string{"encoder.layers.1.fc2.bias", "missing"}},
		"positions missing": {func(g *pb.GraphProto) {
			node(g, "/Add_2").Input[1] = "elsewhere"
		}, source.ErrParameters, []string{"encoder.embed_positions.weight", "missing"}},
		"a layer missing": {func(g *pb.GraphProto) {
			for _, n := range g.Node {
				n.Name = proto.String(strings.Replace(n.GetName(), "/layers.1/", "/layers.7/", 1))
			}
			for _, w := range g.Initializer {
				rename(g, w.GetName(), strings.Replace(w.GetName(), "layers.1.", "layers.7.", 1))
			}
		}, source.ErrMismatch, []string{`"encoder.layers.7.self_attn_layer_norm.weight" by the path`, `"encoder.layers.1.self_attn_layer_norm.weight" by their place`}},
		"left over": {func(g *pb.GraphProto) {
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("spare"), Dims: []int64{2}, DataType: proto.Int32(1), RawData: make([]byte, 8)})
		}, source.ErrParameters, []string{`"spare"`, "no node uses"}},
		"left over in int8": {func(g *pb.GraphProto) {
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("spare"), Dims: []int64{2}, DataType: proto.Int32(3), RawData: make([]byte, 2)})
		}, source.ErrParameters, []string{`"spare"`, "no node uses"}},
		"wrong length": {func(g *pb.GraphProto) {
			b := initializer(g, "layers.1.fc2.bias")
			b.Dims, b.RawData = []int64{32}, b.RawData[:128]
		}, source.ErrParameters, []string{"encoder.layers.1.fc2.bias", "[32]", "[64]"}},
		"wrong rank": {func(g *pb.GraphProto) {
			initializer(g, "layers.1.fc1.bias").Dims = []int64{2, 64}
		}, source.ErrParameters, []string{"encoder.layers.1.fc1.bias", "[2 64]", "[128]"}},
		"transposed linear": {func(g *pb.GraphProto) {
			initializer(g, node(g, "/layers.0/fc2/MatMul").Input[1]).Dims = []int64{64, 128}
		}, source.ErrParameters, []string{"encoder.layers.0.fc2.weight", "[128 64]", "[64 128]"}},
		"a bias on keys": {func(g *pb.GraphProto) {
			n := node(g, "/layers.0/self_attn/k_proj/MatMul")
			g.Node = append(g.Node, &pb.NodeProto{OpType: proto.String("Add"), Name: proto.String("/layers.0/self_attn/k_proj/Add"), Input: []string{n.Output[0], "key bias"}, Output: []string{"unused"}})
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("key bias"), Dims: []int64{64}, DataType: proto.Int32(1), RawData: append(make([]byte, 255), 64)})
		}, source.ErrParameters, []string{"encoder.layers.0.self_attn.k_proj.bias", "does not have"}},
		"names disagree": {func(g *pb.GraphProto) {
			rename(g, "layers.0.fc1.bias", "layers.0.fc9.bias")
		}, source.ErrMismatch, []string{`"encoder.layers.0.fc1.bias" by the path`, `"encoder.layers.0.fc1.bias" by their place`, `"encoder.layers.0.fc9.bias" by the name`}},
		"one parameter twice": {func(g *pb.GraphProto) {
			node(g, "/layers.0/self_attn/k_proj/MatMul").Name = proto.String("/layers.0/self_attn/v_proj/MatMul")
		}, source.ErrMismatch, []string{`"encoder.layers.0.self_attn.v_proj.weight" by the path`, `"encoder.layers.0.self_attn.k_proj.weight" by their place`}},
		"queries and keys exchanged": {func(g *pb.GraphProto) {
			n := node(g, "/layers.1/self_attn/MatMul")
			n.Input[0], n.Input[1] = n.Input[1], n.Input[0]
		}, source.ErrMismatch, []string{`q_proj.weight" by the path`, `k_proj.weight" by their place`}},
		"no name, and no structure": {func(g *pb.GraphProto) {
			node(g, "/layers.0/self_attn/k_proj/MatMul").Name = proto.String("")
			node(g, "/layers.1/activation_fn/Erf").OpType = proto.String("Relu")
		}, source.ErrUnsupported, []string{"no name", "onnx::MatMul_315", `Mul node "/layers.1/activation_fn/Mul_1"`, "the GELU of fc1"}},
		"no name, and no place": {func(g *pb.GraphProto) {
			g.Node = append(g.Node, &pb.NodeProto{OpType: proto.String("Add"), Input: []string{"last_hidden_state", "spare"}, Output: []string{"unused"}})
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("spare"), Dims: []int64{64}, DataType: proto.Int32(1), RawData: make([]byte, 256)})
		}, source.ErrParameters, []string{"Add node", `"spare"`, "no name", "none at this place"}},
		"weights of another operator": {func(g *pb.GraphProto) {
			node(g, "/layers.0/fc1/MatMul").OpType = proto.String("MatMulSparse")
		}, source.ErrUnsupported, []string{"MatMulSparse node", "/layers.0/fc1/MatMul"}},
		"heads disagree": {func(g *pb.GraphProto) {
			node(g, "/layers.1/self_attn/Constant_5").Attribute[0].T.RawData[0] = 8
			node(g, "/layers.1/self_attn/Constant_6").Attribute[0].T.RawData[0] = 8
		}, source.ErrMismatch, []string{"/layers.1/self_attn/Reshape", "8 heads"}},
		"no split": {func(g *pb.GraphProto) {
			for _, i := range []string{"", "_1", "_2"} {
				node(g, "/layers.1/self_attn/Reshape"+i).Input[1] = "input_features"
			}
		}, source.ErrUnsupported, []string{"encoder.layers.1.self_attn"}},
		"epsilons disagree": {func(g *pb.GraphProto) {
			node(g, "/layer_norm/Constant_1").Attribute[0].T.RawData[3]++
		}, source.ErrMismatch, []string{"encoder.layer_norm.weight", "epsilon"}},
		"no epsilon": {func(g *pb.GraphProto) {
			node(g, "/layers.0/final_layer_norm/Sqrt").OpType = proto.String("Abs")
		}, source.ErrUnsupported, []string{"/layers.0/final_layer_norm/Mul", "epsilon"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := edited(t, x.change)
			_, _, err := recognise(t, path)
			if !errors.Is(err, x.want) || errors.Is(err, source.ErrNotRecognised) {
				t.Fatalf("%v, expected %v", err, x.want)
			}
			for _, part := range append(x.parts, path) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v, expected %q in it", err, part)
				}
			}
		})
	}
}

func TestNotAnEncoder(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(g *pb.GraphProto){
		"nothing": func(g *pb.GraphProto) { g.Reset() },
		"no names, and a third convolution": func(g *pb.GraphProto) {
			for _, n := range g.Node {
				n.Name = nil
			}
			g.Node = append(g.Node, &pb.NodeProto{OpType: proto.String("Conv"), Input: []string{"last_hidden_state", "conv1.weight"}, Output: []string{"unused"}})
			for i, w := range g.Initializer {
				rename(g, w.GetName(), fmt.Sprint("w", i))
			}
		},
	} {
		_, got, err := recognise(t, edited(t, change))
		if got != nil || !errors.Is(err, source.ErrNotRecognised) {
			t.Errorf("%s: %v, %v; expected ErrNotRecognised", name, got, err)
		}
	}
}
