package whisperfiles

import (
	"encoding/binary"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
)

// IR is a model in OpenVINO's intermediate representation while it is put together: layers that each give one output.
type IR struct {
	layers, edges strings.Builder
	Bin           []byte
	count         int
	constants     int // without a name of their own
}

// XML is the graph.
func (ir *IR) XML() []byte {
	return fmt.Appendf(nil, "<?xml version=\"1.0\"?>\n<net name=\"Model0\" version=\"11\">\n\t<layers>\n%s\t</layers>\n\t<edges>\n%s\t</edges>\n\t<rt_info />\n</net>\n", ir.layers.String(), ir.edges.String())
}

// Layer adds a layer with attributes and inputs, and gives its id.
func (ir *IR) Layer(kind, name, attributes string, inputs ...int) int {
	id := ir.count
	ir.count++
	fmt.Fprintf(&ir.layers, "\t\t<layer id=\"%d\" name=\"%s\" type=\"%s\" version=\"opset1\">\n\t\t\t<data %s />\n", id, html.EscapeString(name), kind, attributes)
	if len(inputs) > 0 {
		ir.layers.WriteString("\t\t\t<input>\n")
		for port, from := range inputs {
			fmt.Fprintf(&ir.layers, "\t\t\t\t<port id=\"%d\" precision=\"FP32\"><dim>1</dim></port>\n", port)
			fmt.Fprintf(&ir.edges, "\t\t<edge from-layer=\"%d\" from-port=\"%d\" to-layer=\"%d\" to-port=\"%d\" />\n", from, 9, id, port)
		}
		ir.layers.WriteString("\t\t\t</input>\n")
	}
	ir.layers.WriteString("\t\t\t<output>\n\t\t\t\t<port id=\"9\" precision=\"FP32\" />\n\t\t\t</output>\n\t\t</layer>\n")
	return id
}

// Const adds a constant. Without a name it gets a number for one.
func (ir *IR) Const(name, typ string, shape []int, data []byte) int {
	if name == "" {
		name = fmt.Sprintf("Constant_%d", 1000+ir.constants)
		ir.constants++
	}
	ir.Bin = append(ir.Bin, data...)
	return ir.Layer("Const", name, fmt.Sprintf(`element_type="%s" shape="%s" offset="%d" size="%d"`, typ, dims(shape), len(ir.Bin)-len(data), len(data)))
}

func dims(shape []int) string {
	var list []string
	for _, n := range shape {
		list = append(list, strconv.Itoa(n))
	}
	return strings.Join(list, ", ")
}

// Convert adds a conversion.
func (ir *IR) Convert(name, typ string, from int) int {
	return ir.Layer("Convert", name, fmt.Sprintf(`destination_type="%s"`, typ), from)
}

// Reshape adds a reshape to a shape.
func (ir *IR) Reshape(name string, from int, shape ...int) int {
	var b []byte
	for _, n := range shape {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return ir.Layer("Reshape", name, `special_zero="false"`, from, ir.Const("", "i64", []int{len(shape)}, b))
}

// Compression is how NNCF holds a matrix.
type Compression struct {
	Type  string // "u8" and "u4" have zero points, "i8", "i4" and "nf4" have none
	Group int    // values of a row that share a scale; 0: all
	Float string // that the arithmetic is in: "f16", also where it is empty; or "f32"
}

// Matrix is one in codes. Codes and scales are by a seed.
type Matrix struct {
	Compression
	Rows, Columns int
	Seed          uint64
}

// bits is the number of bits of a code.
func (m *Matrix) bits() int {
	if strings.HasSuffix(m.Type, "4") {
		return 4
	}
	return 8
}

// group is the number of values that share a scale.
func (m *Matrix) group() int {
	if m.Group > 0 {
		return m.Group
	}
	return m.Columns
}

// random gives the bits of code i, or of zero point i.
func (m *Matrix) random(i int, salt uint64) int {
	return int(mix(m.Seed+salt+uint64(i)) >> 13 & (1<<m.bits() - 1))
}

func (m *Matrix) scale(group int) uint16 { return halfBits(mix(m.Seed ^ uint64(group)<<24)) }

// normal are the values of nf4, quantiles of a normal distribution (Dettmers et al. 2023, "QLoRA", appendix E).
var normal = [16]float64{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// Value is value i, row-major: codes and zero points are exact, the difference is too, the product is rounded.
func (m *Matrix) Value(i int) float64 {
	group := i / m.Columns * (m.Columns / m.group())
	group += i % m.Columns / m.group()
	code := m.random(i, 0)
	x := float64(code)
	switch m.Type[0] {
	case 'u':
		x -= float64(m.random(group, 1<<40))
	case 'i':
		if code >= 1<<(m.bits()-1) {
			x -= float64(int(1) << m.bits())
		}
	case 'n':
		x = RoundHalf(float64(float32(normal[code])))
	}
	product := x * Half(m.scale(group))
	if m.Float == "f32" {
		return product
	}
	return RoundHalf(product)
}

// RoundHalf is the f16 next to v, ties to even.
func RoundHalf(v float64) float64 {
	_, exponent := math.Frexp(v)
	quantum := math.Ldexp(1, max(exponent-11, -24))
	return math.RoundToEven(v/quantum) * quantum
}

// packed packs numbers of 4 bits, the first in the lower half of a byte, or of 8.
func packed(n, bits int, at func(i int) int) []byte {
	out := make([]byte, (n*bits+7)/8)
	for i := range n {
		out[i*bits/8] |= byte(at(i) << (i * bits % 8))
	}
	return out
}

// Add adds the matrix called name as NNCF has it: codes, converted, less zero points, times scales, in groups and back in its shape.
func (m *Matrix) Add(ir *IR, name string) int {
	float := m.Float
	if float == "" {
		float = "f16"
	}
	groups := m.Rows * m.Columns / m.group()
	shape, one := []int{m.Rows, m.Columns}, []int{m.Rows, 1}
	if m.Group > 0 {
		shape, one = []int{m.Rows, m.Columns / m.Group, m.Group}, []int{m.Rows, m.Columns / m.Group, 1}
	}
	x := ir.Convert("", float, ir.Const(name, m.Type, shape, packed(m.Rows*m.Columns, m.bits(), func(i int) int { return m.random(i, 0) })))
	if m.Type[0] == 'u' {
		zeros := ir.Const(name+"/zero_point", m.Type, one, packed(groups, m.bits(), func(i int) int { return m.random(i, 1<<40) }))
		x = ir.Layer("Subtract", name+"/zero_point/subtract", `auto_broadcast="numpy"`, x, ir.Convert("", float, zeros))
	}
	var scales []byte
	for i := range groups {
		scales = binary.LittleEndian.AppendUint16(scales, m.scale(i))
	}
	scale := ir.Const(name+"/scale", "f16", one, scales)
	if float != "f16" {
		scale = ir.Convert(name+"/scale/convert", float, scale)
	}
	x = ir.Layer("Multiply", name+"/fq_weights_1", `auto_broadcast="numpy"`, x, scale)
	if m.Group > 0 {
		x = ir.Reshape(name+"/fq_weights_1/reshape", x, m.Rows, m.Columns)
	}
	return ir.Convert(name+"/fq_weights_1/convert", "f32", x)
}

// Form is a form of the models that are written.
type Form struct {
	ONNX        bool // names of the ONNX frontend, and weights of MatMul [K,N]; else those of PyTorch's
	Turned      bool // the weights of MatMul, by a fusion that takes their names away: [N,K]
	Compression      // of the weights of linear layers, if it has a type
}

// OpenVINO gives the XML and the data of a state dict, which is in F32 or F16: every tensor is an operand of the operator that its module
// is made of. values are those that its tensors have.
func OpenVINO(list []checkpoints.Tensor, form Form) (xml, bin []byte, values map[string]func(i int) float64) {
	w := &writer{form: form, values: map[string]func(i int) float64{}}
	w.x = w.Layer("Parameter", "input_features", `shape="?,?,?" element_type="f32"`)
	for i, t := range list {
		w.seed = mix(uint64(i) << 32)
		w.values[t.Name] = valueOf(t)
		w.tensor(t)
	}
	w.Layer("Result", "Result_1", "", w.x)
	return w.XML(), w.Bin, w.values
}

type writer struct {
	IR
	form   Form
	x      int // the last layer that computes
	seed   uint64
	tokens int // the embedding of tokens
	values map[string]func(i int) float64
}

// operator gives the name of an operator in a module.
func (w *writer) operator(module, function, kind string) string {
	if w.form.ONNX {
		last := kind
		switch {
		case kind == "Convolution":
			last = "Conv/WithoutBiases"
		case kind == "Add" && function == "_convolution":
			last = "Conv"
		case kind == "Multiply":
			last = "Mul_1"
		}
		return strings.TrimSuffix("/"+strings.ReplaceAll(module, ".", "/"), "/") + "/" + last
	}
	if module != "" {
		module = "." + module
	}
	return "__module" + module + "/aten::" + function + "/" + kind
}

// tensor adds the tensor t and its operator.
func (w *writer) tensor(t checkpoints.Tensor) {
	module, kind := t.Name[:strings.LastIndexByte(t.Name, '.')], t.Name[strings.LastIndexByte(t.Name, '.')+1:]
	add := func(operator, function, attributes string, c int) {
		w.x = w.Layer(operator, w.operator(module, function, operator), attributes, w.x, c)
	}
	switch {
	case strings.HasSuffix(module, "embed_tokens"):
		w.tokens = w.float("self."+t.Name, t, t.Shape)
		w.x = w.Layer("Gather", w.operator(module, "embedding", "Gather"), "", w.tokens, w.x)
		w.x = w.Layer("MatMul", w.operator("proj_out", "linear", "MatMul"), `transpose_a="false" transpose_b="true"`, w.x, w.tokens)
	case strings.HasSuffix(module, "embed_positions"):
		module = strings.TrimSuffix(strings.TrimSuffix(module, "embed_positions"), ".")
		add("Add", "add", "", w.float("", t, append([]int{1}, t.Shape...)))
	case strings.Contains(module, "conv") && kind == "weight":
		add("Convolution", "_convolution", `strides="1" dilations="1" pads_begin="1" pads_end="1" auto_pad="explicit"`, w.float("self."+t.Name, t, t.Shape))
	case strings.Contains(module, "conv"):
		add("Add", "_convolution", "", w.float("", t, []int{1, t.Shape[0], 1}))
	case strings.HasSuffix(module, "layer_norm") && kind == "weight":
		w.x = w.Layer("MVN", w.operator(module, "layer_norm", "MVN"), `eps="1e-05"`, w.x)
		add("Multiply", "layer_norm", "", w.float("", t, []int{1, 1, t.Shape[0]}))
	case strings.HasSuffix(module, "layer_norm"):
		add("Add", "layer_norm", "", w.float("", t, []int{1, 1, t.Shape[0]}))
	case kind == "weight":
		w.linear(module, t)
	default:
		add("Add", "linear", "", w.float("", t, []int{1, 1, t.Shape[0]}))
	}
}

// linear adds the product with a matrix.
func (w *writer) linear(module string, t checkpoints.Tensor) {
	attributes, weights := `transpose_a="false" transpose_b="true"`, 0
	switch {
	case w.form.Type != "":
		m := &Matrix{w.form.Compression, t.Shape[0], t.Shape[1], w.seed}
		w.values[t.Name] = m.Value
		weights = m.Add(&w.IR, "self."+t.Name)
	case w.form.Turned:
		weights = w.Const("", t.Type.String(), t.Shape, t.Bytes)
	case w.form.ONNX:
		attributes = `transpose_a="false" transpose_b="false"`
		size := len(t.Bytes) / t.Shape[0] / t.Shape[1]
		turned := t
		turned.Bytes = nil
		for k := range t.Shape[1] {
			for n := range t.Shape[0] {
				turned.Bytes = append(turned.Bytes, t.Bytes[(n*t.Shape[1]+k)*size:][:size]...)
			}
		}
		weights = w.float(fmt.Sprintf("onnx::MatMul_%d", w.count), turned, []int{t.Shape[1], t.Shape[0]})
	default:
		weights = w.float("self."+t.Name, t, t.Shape)
	}
	w.x = w.Layer("MatMul", w.operator(module, "linear", "MatMul"), attributes, w.x, weights)
}

// float adds a tensor of floats: one in F16 with the conversion that FP16 compression has. ONNX's frontend keeps the names of all.
func (w *writer) float(name string, t checkpoints.Tensor, shape []int) int {
	if w.form.ONNX && !strings.HasPrefix(name, "onnx") {
		name = t.Name
	}
	if t.Type != element.F16 {
		return w.Const(name, t.Type.String(), shape, t.Bytes)
	}
	if name == "" {
		name = fmt.Sprintf("Constant_%d", w.count)
	}
	return w.Convert(name, "f32", w.Const(name+"_compressed", "f16", shape, t.Bytes))
}
