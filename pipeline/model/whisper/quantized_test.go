package whisper_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/x448/float16"
	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// quantized are the fixtures whose weights are codes: the SHA-256 of all values, in float32, of the twin that has the weights as floats,
// dequantized by the tool that quantized them.
var quantized = map[string]string{
	"q4":         "a9122d2e353cc77aa438051f7e4a820faaef707d040758d68f550da14c88c69e",
	"q4asym":     "7864378bbd7fb82223be505655768c17a2788363fad09d723fe0c28d1325a51f",
	"bnb4":       "0605f34804038be41c7dfd92870154ceff1a4586e1fc109ed3bb4b3cf009ac09",
	"bnb4-fp4":   "168e0b0c7d489d9a57e3db11e34774861324c55d8b85c12f4fd76a4c0d22e7d8",
	"uint8":      "b62bba1c15170501081847c209f6ce58e7b8d32e7271afec8402e3d82ba3aa12",
	"int8pc":     "2b301fa67abee0efd41d5ef64b446d4cf2dcc2d6e4bd33d1e82d119f4dd6cb0b",
	"qdq-int8pc": "2b301fa67abee0efd41d5ef64b446d4cf2dcc2d6e4bd33d1e82d119f4dd6cb0b",
}

// sumOf is the SHA-256 of all values of m.
func sumOf(t *testing.T, c *source.Catalogue, m *model.Model) string {
	t.Helper()
	h := sha256.New()
	for i := range m.Parameters {
		for _, x := range values(t, c, &m.Parameters[i]) {
			_ = binary.Write(h, binary.LittleEndian, x)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestQuantizedTwins: what is read of codes is, bit for bit, what the exporter's tool dequantizes, under the same names.
func TestQuantizedTwins(t *testing.T) {
	t.Parallel()
	for form, want := range quantized {
		m, got, err := recognise(t, testdata+"encoder-"+form+".onnx")
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		if sum := sumOf(t, &m.Catalogue, got); sum != want {
			t.Errorf("%s: the values are not those of its twin: %s", form, sum)
		}
		computed := 0
		for i := range got.Parameters {
			p := &got.Parameters[i]
			if p.Tensor.Data.Decoder != nil && p.Tensor.Stored != "" {
				computed++
			}
			if !slices.Contains(p.Ways, model.ByStructure) {
				t.Errorf("%s: %s is named by %v", form, p.Name, p.Ways)
			}
		}
		if want := map[bool]int{false: 12, true: 14}[form == "uint8"]; computed != want {
			t.Errorf("%s: %d parameters are computed of codes, expected %d", form, computed, want)
		}
	}
}

// TestQuantizedTwinsBeside compares every quantized fixture that there is beside the checkout with its twin, parameter by parameter.
func TestQuantizedTwinsBeside(t *testing.T) {
	t.Parallel()
	folder := whisperonnx.Beside("shared/fixtures/whisper-tiny")
	if folder == "" {
		t.Skip("no folder shared/fixtures beside the checkout")
	}
	twins, err := filepath.Glob(filepath.Join(folder, "*-dq.onnx"))
	if err != nil || len(twins) == 0 {
		t.Fatal(twins, err)
	}
	for _, path := range twins {
		twin, want, err := recognise(t, path)
		if err != nil {
			t.Fatal(err)
		}
		path = strings.TrimSuffix(path, "-dq.onnx")
		m, got, err := recognise(t, path+".onnx")
		if err != nil {
			t.Error(err)
			continue
		}
		if len(got.Parameters) != len(want.Parameters) {
			t.Fatalf("%s: %d parameters, expected %d", path, len(got.Parameters), len(want.Parameters))
		}
		for i := range got.Parameters {
			p, q := &got.Parameters[i], &want.Parameters[i]
			same := slices.EqualFunc(values(t, &m.Catalogue, p), values(t, &twin.Catalogue, q), func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
			if p.Name != q.Name || !slices.Equal(p.Shape, q.Shape) || !same {
				t.Errorf("%s: %s %v is not as %s %v of its twin", path, p.Name, p.Shape, q.Name, q.Shape)
			}
		}
		form := path[strings.LastIndex(path, "encoder-")+len("encoder-"):]
		if sum := sumOf(t, &twin.Catalogue, want); quantized[form] != sum && form != "int8" {
			t.Errorf("%s: the twin's sum is %s", form, sum)
		}
	}
}

// TestQuantizedHalves reads the export with float16 activations and 4-bit codes, which has no twin: the scales are float16 and the
// values float32, each scale times a whole number.
func TestQuantizedHalves(t *testing.T) {
	t.Parallel()
	path := testdata + "encoder-q4f16.onnx"
	m, got, err := recognise(t, path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file pb.ModelProto
	if err := proto.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{}
	for _, x := range file.Graph.Initializer {
		data[x.GetName()] = x.RawData
	}
	compared := 0
	for _, n := range file.Graph.Node {
		if n.GetOpType() != "MatMulNBits" {
			continue
		}
		name := "encoder." + strings.ReplaceAll(strings.TrimSuffix(n.GetName()[1:], "/MatMul_Q4"), "/", ".") + ".weight"
		i := slices.IndexFunc(got.Parameters, func(p model.Parameter) bool { return p.Name == name })
		p := &got.Parameters[i]
		codes, scales := data[n.Input[1]], data[n.Input[2]]
		for j, x := range values(t, &m.Catalogue, p) {
			code := int(codes[j/2]>>(j%2*4)) & 15
			scale := float16.Frombits(binary.LittleEndian.Uint16(scales[j/32*2:])).Float32()
			if want := float32(code-8) * scale; math.Float32bits(x) != math.Float32bits(want) {
				t.Fatalf("%s, value %d: %v, expected %v", name, j, x, want)
			}
		}
		if p.Tensor.Type != element.F32 || p.Tensor.Codes == nil {
			t.Errorf("%s: %+v", name, p.Tensor)
		}
		compared++
	}
	if compared != 12 {
		t.Errorf("%d weights compared, expected 12", compared)
	}
}

// TestQuantizedStripped: with every name taken away, structure alone finds the same parameters, those around a ConvInteger too.
func TestQuantizedStripped(t *testing.T) {
	t.Parallel()
	for form := range quantized {
		m, want, err := recognise(t, testdata+"encoder-"+form+".onnx")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(m.Path)
		if err != nil {
			t.Fatal(err)
		}
		var file pb.ModelProto
		if err := proto.Unmarshal(b, &file); err != nil {
			t.Fatal(err)
		}
		called := map[string]string{"": "", "input_features": "input_features", "last_hidden_state": "last_hidden_state"}
		strip := func(name string) string {
			if _, ok := called[name]; !ok {
				called[name] = "v" + strconv.Itoa(len(called))
			}
			return called[name]
		}
		for _, x := range file.Graph.Initializer {
			x.Name = proto.String(strip(x.GetName()))
		}
		for _, n := range file.Graph.Node {
			n.Name = nil
			for _, list := range [][]string{n.Input, n.Output} {
				for i := range list {
					list[i] = strip(list[i])
				}
			}
		}
		if b, err = proto.Marshal(&file); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		stripped, got, err := recognise(t, path)
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		if sumOf(t, &stripped.Catalogue, got) != sumOf(t, &m.Catalogue, want) {
			t.Errorf("%s: other values without names", form)
		}
		for i := range got.Parameters {
			if p := &got.Parameters[i]; p.Name != want.Parameters[i].Name || !slices.Equal(p.Ways, []model.Way{model.ByStructure}) {
				t.Errorf("%s: %s by %v, expected %s", form, p.Name, p.Ways, want.Parameters[i].Name)
			}
		}
	}
}

// TestCodesThatAreNoWeights: an operator that is not known to compute with codes is named, and with a graph that is not followed so are
// the weights without a name.
func TestCodesThatAreNoWeights(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		forms  string
		change func(g *pb.GraphProto)
		want   error
		parts  []string
	}{
		"QAttention": {"q4,stripped", func(g *pb.GraphProto) {
			n := nodes(g, "MatMulNBits")[0]
			n.OpType = proto.String("QAttention")
		}, source.ErrUnsupported, []string{"com.microsoft.QAttention node", "UINT8"}},
		"codes that nothing uses": {"q4", func(g *pb.GraphProto) {
			g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("more"), DataType: proto.Int32(2), Dims: []int64{2}, RawData: []byte{1, 2}})
		}, source.ErrParameters, []string{`"more"`, "no node uses"}},
		"a column for a linear layer": {"int8dyn,stripped", func(g *pb.GraphProto) {
			for _, n := range nodes(g, "Add") {
				for i, in := range n.Input {
					if at := slices.IndexFunc(g.Initializer, func(x *pb.TensorProto) bool { return x.GetName() == in && len(x.Dims) == 1 && x.Dims[0] == 100 }); at >= 0 {
						g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("column"), DataType: proto.Int32(7), Dims: []int64{3}, Int64Data: []int64{1, -1, 1}})
						before(g, n, i, "Reshape", "column")
						return
					}
				}
			}
		}, source.ErrUnsupported, []string{"the GELU of fc1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, _ := written(t, x.forms, x.change)
			_, _, err := recognise(t, path)
			if !errors.Is(err, x.want) {
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

// TestQuantizedConvolutions: the convolutions of a dynamically quantized export in the other forms that have codes, with the same values.
func TestQuantizedConvolutions(t *testing.T) {
	t.Parallel()
	node := func(op, inputs string, output string) *pb.NodeProto {
		return &pb.NodeProto{OpType: &op, Input: strings.Split(inputs, " "), Output: []string{output}}
	}
	for name, rewrite := range map[string]func(x, w, y string) []*pb.NodeProto{
		"QLinearConv": func(x, w, y string) []*pb.NodeProto {
			return []*pb.NodeProto{
				node("QuantizeLinear", x+" step middle", x+"_static"),
				node("QLinearConv", x+"_static step middle "+w+"_quantized "+w+"_scale "+w+"_zero_point step middle", y+"_static"),
				node("DequantizeLinear", y+"_static step middle", y),
			}
		},
		"Conv of a DequantizeLinear": func(x, w, y string) []*pb.NodeProto {
			return []*pb.NodeProto{
				node("DequantizeLinear", w+"_quantized "+w+"_scale "+w+"_zero_point", w+"_DequantizeLinear_Output"),
				node("Conv", x+" "+w+"_DequantizeLinear_Output", y),
			}
		},
	} {
		b, err := os.ReadFile(testdata + "encoder-uint8.onnx")
		if err != nil {
			t.Fatal(err)
		}
		var file pb.ModelProto
		if err := proto.Unmarshal(b, &file); err != nil {
			t.Fatal(err)
		}
		g := file.Graph
		constant(g, "step", 0.05)
		g.Initializer = append(g.Initializer, &pb.TensorProto{Name: proto.String("middle"), DataType: proto.Int32(2), RawData: []byte{128}})
		for _, conv := range nodes(g, "ConvInteger") {
			y := strings.TrimSuffix(conv.Output[0], "_output_quantized") + "_nobias"
			g.Node = slices.DeleteFunc(g.Node, func(n *pb.NodeProto) bool {
				return n == conv || slices.Contains(n.Output, y) || n.Input != nil && n.Input[0] == conv.Output[0]
			})
			g.Node = append(g.Node, rewrite(strings.TrimSuffix(conv.Input[0], "_quantized"), strings.TrimSuffix(conv.Input[1], "_quantized"), y)...)
		}
		if b, err = proto.Marshal(&file); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, got, err := recognise(t, path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if sumOf(t, &m.Catalogue, got) != quantized["uint8"] {
			t.Errorf("%s: other values", name)
		}
	}
}
