package whisperonnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
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
	attributeGraph   = 6
	tensorRaw        = 9
)

const (
	int64Type = pb.TensorProto_INT64
	microsoft = "com.microsoft" // domain of ONNX Runtime's operators
)

// graph is an encoder or decoder under construction.
type graph struct {
	Config
	parameters  map[string]*Parameter // by name, without "encoder."
	names       map[string]int        // how many nodes have a scope and operator
	number      int                   // of anonymous values
	ends        map[string]bool       // inputs and outputs, which keep their names
	stripped    map[string]string     // names of values to what they are called instead
	ties        map[string]string     // ".weight" and ".bias" to the LayerNorm's that is written, where all are equal
	activations []string              // that are quantized, and tables of codes that are made values of
	identities  [][2]string           // of tied weights: the value that is written, and one that is equal
	body                              // that nodes and weights are added to: the main graph, or a branch
	dataAt      int                   // where the next weights begin in the data file
	data        message
	dataFile    string // its name

	shared  map[string]string // what the value of each parameter is called that is written once, however often it is used
	hoisted *body             // what holds the weights in place of body: the graph around branches
	written map[string]bool   // values that it holds
	suffix  string            // what the names of weights end in
}

// body is what a graph is made of.
type body struct {
	nodes   []message
	weights []message
	last    []message // weights of MatMul, which torch.onnx puts after all others
}

// contents is the encoding of the graph b, but for its name, inputs and outputs.
func (b body) contents() message {
	contents := message{}
	for _, n := range b.nodes {
		contents = append(contents, field(graphNode, n)...)
	}
	for _, w := range append(b.weights, b.last...) {
		contents = append(contents, field(graphInitializer, w)...)
	}
	return contents
}

// model gives the bytes of the model and of its data file.
func (c Config) model(dataFile string) (model, data message) {
	g := c.newGraph(dataFile)
	g.encoder()
	return g.file(&pb.GraphProto{
		Name:   proto.String("torch_jit"),
		Input:  []*pb.ValueInfoProto{g.value("input_features", c.Mels, 2*c.Positions)},
		Output: []*pb.ValueInfoProto{g.value("last_hidden_state", c.Positions, c.DModel)},
	})
}

// newGraph begins a graph with the parameters of c's encoder.
func (c Config) newGraph(dataFile string) *graph {
	g := &graph{
		Config: c, dataFile: dataFile, ends: map[string]bool{"input_features": true, "last_hidden_state": true}, parameters: map[string]*Parameter{}, names: map[string]int{}, stripped: map[string]string{}, ties: map[string]string{},
	}
	list := c.Parameters()
	for i := range list {
		g.parameters[strings.TrimPrefix(list[i].Name, "encoder.")] = &list[i]
	}
	return g
}

// file gives the bytes of the model and of its data file; ends has its name, inputs and outputs.
func (g *graph) file(ends *pb.GraphProto) (model, data message) {
	var identities []message // torch.onnx has the last first
	for i, tie := range slices.Backward(g.identities) {
		identities = append(identities, g.encodedNode("", fmt.Sprintf("Identity_%d", len(g.identities)-1-i), "Identity", tie[1:], nil, tie[0]))
	}
	g.nodes = append(identities, g.nodes...)
	contents := append(g.contents(), encoded(ends)...)
	irVersion := map[int]int64{14: 7, 17: 8, 21: 10, 23: 11}[g.opset()]
	opsets := []*pb.OperatorSetIdProto{{Version: proto.Int64(int64(g.opset()))}}
	if g.names[microsoft] > 0 {
		opsets = append(opsets, &pb.OperatorSetIdProto{Domain: proto.String(microsoft), Version: proto.Int64(1)})
	}
	model = append(encoded(&pb.ModelProto{
		IrVersion: &irVersion, ProducerName: proto.String("pytorch"), ProducerVersion: proto.String("1.13.0"),
	}), field(modelGraph, contents)...)
	return append(model, encoded(&pb.ModelProto{OpsetImport: opsets})...), g.data
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
	return g.outputs(scope, op, attributes, 1, inputs...)[0]
}

// outputs adds a node of several outputs.
func (g *graph) outputs(scope, op string, attributes []*pb.AttributeProto, n int, inputs ...string) []string {
	name := g.name(scope, op)
	var outputs []string
	for i := range n {
		outputs = append(outputs, fmt.Sprintf("%s_output_%d", name, i))
	}
	g.add("", name, op, outputs, attributes, inputs...)
	return outputs
}

// fused adds a node of ONNX Runtime's.
func (g *graph) fused(scope, op string, attributes []*pb.AttributeProto, inputs ...string) string {
	name := g.name(scope, op)
	g.add(microsoft, name, op, []string{name + "_output_0"}, attributes, inputs...)
	return name + "_output_0"
}

func (g *graph) add(domain, name, op string, outputs []string, attributes []*pb.AttributeProto, inputs ...string) {
	g.nodes = append(g.nodes, g.encodedNode(domain, name, op, outputs, attributes, inputs...))
}

func (g *graph) encodedNode(domain, name, op string, outputs []string, attributes []*pb.AttributeProto, inputs ...string) message {
	n := &pb.NodeProto{OpType: &op, Attribute: attributes}
	if domain != "" {
		n.Domain = &domain
		g.names[domain]++
	}
	if !g.Stripped {
		n.Name = &name
	}
	for _, in := range inputs {
		n.Input = append(n.Input, g.called(in))
	}
	for _, out := range outputs {
		n.Output = append(n.Output, g.called(out))
	}
	return encoded(n)
}

// called is what a value is called in the file.
func (g *graph) called(value string) string {
	if !g.Stripped || value == "" || g.ends[value] {
		return value
	}
	if g.stripped[value] == "" {
		g.stripped[value] = "t" + strconv.Itoa(len(g.stripped))
	}
	return g.stripped[value]
}

// inBranch adds an If whose one branch is what add makes of x, and gives the name of its value. The other branch gives x back.
// Whether it is taken hangs on whether the batch is empty, which no reader of the file can know.
func (g *graph) inBranch(scope, x string, add func() string) string {
	condition := g.node(scope, "Greater", nil, g.dimension(scope, x, 0), g.node(scope, "Constant", constant(integer(0))))
	around := g.body
	g.body = body{}
	y := add()
	then := append(g.contents(), encoded(&pb.GraphProto{Name: proto.String("then"), Output: []*pb.ValueInfoProto{{Name: proto.String(g.called(y))}}})...)
	g.body = body{}
	y = g.node(scope, "Identity", nil, x)
	otherwise := append(g.contents(), encoded(&pb.GraphProto{Name: proto.String("else"), Output: []*pb.ValueInfoProto{{Name: proto.String(g.called(y))}}})...)
	g.body = around
	name := g.name(scope, "If")
	n := g.encodedNode("", name, "If", []string{name + "_output_0"}, nil, condition)
	for _, b := range []struct {
		name  string
		graph message
	}{{"then_branch", then}, {"else_branch", otherwise}} {
		n = append(n, field(nodeAttribute, branch(b.name, b.graph))...)
	}
	g.nodes = append(g.nodes, n)
	return name + "_output_0"
}

// branch is the attribute of an If that holds a graph.
func branch(name string, graph message) message {
	return append(encoded(&pb.AttributeProto{Name: &name, Type: pb.AttributeProto_GRAPH.Enum()}), field(attributeGraph, graph)...)
}

// scalar adds a Constant node with a float.
func (g *graph) scalar(scope string, x float64) string {
	return g.node(scope, "Constant", g.float(x))
}

// float is the attribute of a node that holds a float, a scalar if there are no dimensions.
func (g *graph) float(x float64, dims ...int64) []*pb.AttributeProto {
	raw := binary.LittleEndian.AppendUint64(nil, math.Float64bits(x))
	if g.Type != element.F64 {
		raw = raw[:g.Type.Size()]
		if err := element.Encode(raw, []float64{x}, g.Type); err != nil {
			panic(err) // every other format is encoded
		}
	}
	return constant(&pb.TensorProto{Dims: dims, DataType: proto.Int32(int32(g.dataType())), RawData: raw})
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

func floatAttribute(name string, v float32) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, F: &v, Type: pb.AttributeProto_FLOAT.Enum()}
}

func integerAttribute(name string, v int64) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, I: &v, Type: pb.AttributeProto_INT.Enum()}
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
	g.add("", fmt.Sprintf("Constant_%d", g.number), "Constant", []string{output}, constant(integer(0, 1)))
	return output
}

// layerOf is the module path of a layer.
func layerOf(i int) string { return "/layers." + strconv.Itoa(i) }

// stateName is the state-dict name of a module path: "layers.0.fc1" for "/layers.0/fc1".
func stateName(scope string) string { return strings.ReplaceAll(scope[1:], "/", ".") }
