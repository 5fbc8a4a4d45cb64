package whisperonnx

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	pb "npuw/schema/onnxpb"
)

// tensor is weights as the file holds them: rows of cols elements, each made when it is written.
type tensor struct {
	dims       []int64
	rows, cols int
	format     element.Format
	typ        pb.TensorProto_DataType // 0: that of the model's weights
	bits       func(row, col int) uint64
}

// stored is p in the order of its shape.
func (p *Parameter) stored() *tensor {
	t := &tensor{rows: 1, cols: p.Elements(), format: p.format, bits: func(_, i int) uint64 { return p.bits(i) }}
	for _, s := range p.Shape {
		t.dims = append(t.dims, int64(s))
	}
	return t
}

// transposed is the matrix [N,K] p as [K,N].
func (p *Parameter) transposed() *tensor {
	n, k := p.Shape[0], p.Shape[1]
	return &tensor{dims: []int64{int64(k), int64(n)}, rows: k, cols: n, format: p.format, bits: func(row, col int) uint64 { return p.bits(col*k + row) }}
}

// join is the matrices, or vectors, of q, k and v as one: side by side, [K,3N], or with those of each of as many heads side by
// side, [K,heads,3,N/heads]. One that there is not is 0.
func join(list [3]*Parameter, heads int) *tensor {
	first := list[0]
	n, k := first.Shape[0], 1
	t := &tensor{dims: []int64{int64(3 * n)}, cols: 3 * n, format: first.format}
	if len(first.Shape) == 2 {
		k = first.Shape[1]
		t.dims = []int64{int64(k), int64(3 * n)}
	}
	t.rows = k
	size := n / heads
	t.bits = func(row, col int) uint64 {
		head, which, at := col/(3*size), col/size%3, col%size
		if p := list[which]; p != nil {
			return p.bits((head*size+at)*k + row)
		}
		return 0
	}
	return t
}

func (t *tensor) bytes() int { return t.rows * t.cols * t.format.Size() }

// write appends the little-endian values, piece by piece, to what flush empties.
func (t *tensor) write(buffer []byte, flush func([]byte) error) error {
	b := buffer[:0]
	for r := range t.rows {
		for c := range t.cols {
			if len(b)+8 > cap(b) {
				if err := flush(b); err != nil {
					return err
				}
				b = b[:0]
			}
			switch bits := t.bits(r, c); t.format.Size() {
			case 1:
				b = append(b, byte(bits))
			case 2:
				b = binary.LittleEndian.AppendUint16(b, uint16(bits))
			case 4:
				b = binary.LittleEndian.AppendUint32(b, uint32(bits))
			default:
				b = binary.LittleEndian.AppendUint64(b, bits)
			}
		}
	}
	return flush(b)
}

// weight adds the parameter of that name, as in a state dict behind "encoder.", and gives the name of its value.
func (g *graph) weight(name string) string {
	if value, written := g.shared[name]; written {
		return value
	}
	p := g.parameters[name]
	value, t := name, p.stored()
	switch {
	case p.linear && g.Gemm:
		value = linearPath(p.Name) + "/MatMul_output_0_weight"
	case p.linear:
		g.number++
		value = fmt.Sprintf("onnx::MatMul_%d", g.number)
		if !g.FusedMatMul {
			t = p.transposed()
		}
	case g.Tied && strings.Contains(name, "layer_norm"):
		kind := name[strings.LastIndex(name, "."):]
		if first := g.ties[kind]; first != "" {
			g.identities = append(g.identities, [2]string{first, name})
			return name
		}
		g.ties[kind] = name
	}
	value += g.suffix
	if g.shared != nil {
		g.shared[name] = value
	}
	g.store(value, t, p.linear && !g.Gemm)
	return value
}

// joined adds the weights, or biases, of q, k and v as one, and gives the name of their value.
func (g *graph) joined(scope, kind string, byHead bool) string {
	var list [3]*Parameter
	for i, name := range []string{"q_proj", "k_proj", "v_proj"} {
		list[i] = g.parameters[stateName(scope)+"."+name+"."+kind]
	}
	heads := 1
	if byHead {
		heads = g.Heads
	}
	g.number++
	value := fmt.Sprintf("Attention_%d_qkv_%s", g.number, kind)
	g.store(value, join(list, heads), false)
	return value
}

// store adds t as what the value of that name is; last are those initializers that torch.onnx puts after all others.
func (g *graph) store(value string, t *tensor, last bool) {
	if g.hoisted != nil {
		if g.written[value] {
			return // as another branch has it
		}
		g.written[value] = true
	}
	contents := g.tensor(t, value)
	to := &g.body
	if g.hoisted != nil {
		to = g.hoisted
	}
	switch {
	case g.ConstantNodes:
		attribute := append(encoded(&pb.AttributeProto{Name: proto.String("value"), Type: pb.AttributeProto_TENSOR.Enum()}), field(attributeTensor, contents)...)
		n := g.encodedNode("", "Constant_of_"+value, "Constant", []string{value}, nil)
		g.nodes = append(g.nodes, append(n, field(nodeAttribute, attribute)...))
	case last:
		to.last = append(to.last, contents)
	default:
		to.weights = append(to.weights, contents)
	}
}

// tensor is the TensorProto of t.
func (g *graph) tensor(t *tensor, value string) message {
	head := &pb.TensorProto{Dims: slices.Clone(t.dims), DataType: proto.Int32(int32(g.dataType()))}
	if t.typ != 0 {
		head.DataType = proto.Int32(int32(t.typ))
	}
	if !g.ConstantNodes {
		head.Name = proto.String(g.called(value))
	}
	if !g.External {
		return append(encoded(head), field(tensorRaw, message{{weights: t}})...)
	}
	head.DataLocation = pb.TensorProto_EXTERNAL.Enum()
	for _, e := range [][2]string{{"location", g.dataFile}, {"offset", strconv.Itoa(g.dataAt)}, {"length", strconv.Itoa(t.bytes())}} {
		head.ExternalData = append(head.ExternalData, &pb.StringStringEntryProto{Key: &e[0], Value: &e[1]})
	}
	g.dataAt += t.bytes()
	g.data = append(g.data, piece{weights: t})
	return encoded(head)
}
