package whisperonnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	pb "npuw/schema/onnxpb"
)

// Field numbers of the messages that hold weights (schema/onnx.proto).
const (
	modelGraph       = 7
	graphNode        = 1
	graphInitializer = 5
	nodeAttribute    = 5
	attributeTensor  = 5
	tensorRaw        = 9
)

const int64Type = pb.TensorProto_INT64

// graph is an encoder under construction.
type graph struct {
	Config
	names   map[string]int // how many nodes have a scope and operator
	number  int            // of anonymous values
	nodes   []message
	weights []message
	last    []message // weights of MatMul, which torch.onnx puts after all others
	dataAt  int       // where the next weights begin in the data file
	data    message
	file    string // name of the data file
}

// model gives the bytes of the model and of its data file.
func (c Config) model(dataFile string) (model, data message) {
	g := &graph{Config: c, names: map[string]int{}, file: dataFile}
	g.encoder()
	contents := message{}
	for _, n := range g.nodes {
		contents = append(contents, field(graphNode, n)...)
	}
	for _, w := range append(g.weights, g.last...) {
		contents = append(contents, field(graphInitializer, w)...)
	}
	contents = append(contents, encoded(&pb.GraphProto{
		Name:   proto.String("torch_jit"),
		Input:  []*pb.ValueInfoProto{g.value("input_features", c.Mels, 2*c.Positions)},
		Output: []*pb.ValueInfoProto{g.value("last_hidden_state", c.Positions, c.DModel)},
	})...)
	model = append(encoded(&pb.ModelProto{
		IrVersion: proto.Int64(7), ProducerName: proto.String("pytorch"), ProducerVersion: proto.String("1.13.0"),
	}), field(modelGraph, contents)...)
	model = append(model, encoded(&pb.ModelProto{OpsetImport: []*pb.OperatorSetIdProto{{Version: proto.Int64(14)}}})...)
	return model, g.data
}

// dataType is the ONNX type of weights and constants.
func (c Config) dataType() pb.TensorProto_DataType {
	return map[element.Format]pb.TensorProto_DataType{
		element.F32: pb.TensorProto_FLOAT, element.F16: pb.TensorProto_FLOAT16,
		element.BF16: pb.TensorProto_BFLOAT16, element.F64: pb.TensorProto_DOUBLE,
	}[c.Type]
}

func (c Config) value(name string, dims ...int) *pb.ValueInfoProto {
	shape := &pb.TensorShapeProto{Dim: []*pb.TensorShapeProto_Dimension{{Value: &pb.TensorShapeProto_Dimension_DimParam{DimParam: "batch_size"}}}}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &pb.TensorShapeProto_Dimension{Value: &pb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}})
	}
	t := &pb.TypeProto_Tensor{ElemType: proto.Int32(int32(c.dataType())), Shape: shape}
	return &pb.ValueInfoProto{Name: &name, Type: &pb.TypeProto{Value: &pb.TypeProto_TensorType{TensorType: t}}}
}

// name gives the n-th node of an operator in a scope the name torch.onnx does: "/layers.0/self_attn/Add_1".
func (g *graph) name(scope, op string) string {
	name := scope + "/" + op
	n := g.names[name]
	g.names[name]++
	if n > 0 {
		name += "_" + strconv.Itoa(n)
	}
	return name
}

// node adds a node in a scope, a module path, and gives the name of its output.
func (g *graph) node(scope, op string, attributes []*pb.AttributeProto, inputs ...string) string {
	name := g.name(scope, op)
	output := name + "_output_0"
	g.add(name, op, output, attributes, inputs...)
	return output
}

func (g *graph) add(name, op, output string, attributes []*pb.AttributeProto, inputs ...string) {
	g.nodes = append(g.nodes, encoded(&pb.NodeProto{
		Name: &name, OpType: &op, Input: inputs, Output: []string{output}, Attribute: attributes,
	}))
}

// scalar adds a Constant node with a float.
func (g *graph) scalar(scope string, x float64) string {
	raw := binary.LittleEndian.AppendUint64(nil, math.Float64bits(x))
	if g.Type != element.F64 {
		raw = raw[:g.Type.Size()]
		if err := element.Encode(raw, []float64{x}, g.Type); err != nil {
			panic(err) // every other format is encoded
		}
	}
	return g.node(scope, "Constant", constant(&pb.TensorProto{DataType: proto.Int32(int32(g.dataType())), RawData: raw}))
}

// constant is the attribute of a Constant node.
func constant(t *pb.TensorProto) []*pb.AttributeProto {
	return []*pb.AttributeProto{{Name: proto.String("value"), T: t, Type: pb.AttributeProto_TENSOR.Enum()}}
}

// integer is the tensor of one INT64; with no dimension it is a scalar.
func integer(v int, dims ...int64) *pb.TensorProto {
	raw := binary.LittleEndian.AppendUint64(nil, uint64(v))
	return &pb.TensorProto{Dims: dims, DataType: proto.Int32(int32(int64Type)), RawData: raw}
}

func ints(name string, values ...int64) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, Ints: values, Type: pb.AttributeProto_INTS.Enum()}
}

func integerAttribute(name string, v int64) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, I: &v, Type: pb.AttributeProto_INT.Enum()}
}

// parameter adds the weights of one parameter, and gives the name of their value.
func (g *graph) parameter(p *Parameter) string {
	t := &tensor{Parameter: *p, transposed: p.linear && !g.Gemm}
	name := strings.TrimPrefix(p.Name, "encoder.")
	if p.linear {
		if g.Gemm {
			name = linearPath(p.Name) + "/MatMul_output_0_weight"
		} else {
			g.number++
			name = fmt.Sprintf("onnx::MatMul_%d", g.number)
		}
	}
	contents := g.tensor(t, name)
	switch {
	case g.ConstantNodes:
		attribute := append(encoded(&pb.AttributeProto{Name: proto.String("value"), Type: pb.AttributeProto_TENSOR.Enum()}), field(attributeTensor, contents)...)
		n := encoded(&pb.NodeProto{Name: proto.String("Constant_of_" + name), OpType: proto.String("Constant"), Output: []string{name}})
		g.nodes = append(g.nodes, append(n, field(nodeAttribute, attribute)...))
	case p.linear:
		g.last = append(g.last, contents)
	default:
		g.weights = append(g.weights, contents)
	}
	return name
}

// tensor is the TensorProto of t.
func (g *graph) tensor(t *tensor, name string) message {
	head := &pb.TensorProto{Dims: t.dims(), DataType: proto.Int32(int32(g.dataType()))}
	if !g.ConstantNodes {
		head.Name = &name
	}
	if !g.External {
		return append(encoded(head), field(tensorRaw, message{{weights: t}})...)
	}
	head.DataLocation = pb.TensorProto_EXTERNAL.Enum()
	for _, e := range [][2]string{{"location", g.file}, {"offset", strconv.Itoa(g.dataAt)}, {"length", strconv.Itoa(t.bytes())}} {
		head.ExternalData = append(head.ExternalData, &pb.StringStringEntryProto{Key: &e[0], Value: &e[1]})
	}
	g.dataAt += t.bytes()
	g.data = append(g.data, piece{weights: t})
	return encoded(head)
}

// linearPath is the module path of a linear weight, as nodes have it: "/layers.0/self_attn/q_proj".
func linearPath(parameter string) string {
	path := strings.TrimSuffix(strings.TrimPrefix(parameter, "encoder."), ".weight")
	layer, rest, _ := strings.Cut(strings.TrimPrefix(path, "layers."), ".")
	return "/layers." + layer + "/" + strings.ReplaceAll(rest, ".", "/")
}

// anonymousZero adds the axis of an Unsqueeze: a Constant without a module path.
func (g *graph) anonymousZero() string {
	g.number++
	output := fmt.Sprintf("onnx::Unsqueeze_%d", g.number)
	g.add(fmt.Sprintf("Constant_%d", g.number), "Constant", output, constant(integer(0, 1)))
	return output
}

// layerOf is the module path of a layer.
func layerOf(i int) string { return "/layers." + strconv.Itoa(i) }

// stateName is the state-dict name of a module path: "layers.0.fc1" for "/layers.0/fc1".
func stateName(scope string) string { return strings.ReplaceAll(scope[1:], "/", ".") }
