package whisperonnx

import (
	"slices"

	pb "npuw/schema/onnxpb"
)

// looksUp reports whether rows of so many codes can be looked up: by GatherBlockQuantized, which has no half bytes at the end of a row, or
// by Gather before or behind a DequantizeLinear.
func (q Quantized) looksUp(width int) bool {
	switch q {
	case NBits4, NBits4Zero:
		return width%2 == 0
	case NBits8, Dynamic, QDQ, QDQBlocks:
		return true
	}
	return false
}

// isCodes reports whether g has p as codes.
func (p *Parameter) isCodes(g *graph) bool { return p.quantized != "" && !g.Dequantized }

// rows looks up the rows of a table that indices name.
func (g *graph) rows(scope, table, indices string) string {
	p, w := g.parameters[table], table+g.suffix
	if !p.isCodes(g) {
		return g.node(scope, "Gather", nil, g.weight(table), indices)
	}
	switch p.quantized {
	case QDQ, QDQBlocks:
		return g.node(scope, "Gather", nil, g.tableValues(w, p), indices)
	case Dynamic:
		g.storeBytes(w, p)
		name := g.name(scope, "Gather")
		out := name + "_output_0"
		g.add("", name, "Gather", []string{out + "_quantized"}, nil, w+"_quantized", indices)
		g.add("", out+"_DequantizeLinear", "DequantizeLinear", []string{out}, nil, out+"_quantized", w+"_scale", w+"_zero_point")
		return out
	}
	return g.blockedRows(scope, w, p, indices)
}

// blockedRows looks them up by GatherBlockQuantized: codes [rows, bytes of a row], scales [rows, blocks].
func (g *graph) blockedRows(scope, w string, p *Parameter, indices string) string {
	rows, width := p.Shape[0], p.Shape[1]
	bits, _ := p.quantized.codes()
	codes := bytes8(pb.TensorProto_UINT8, p.code, rows, width)
	if bits == 4 {
		codes = nibbles(pb.TensorProto_UINT8, false, p.code, rows*width, rows, width/2)
	}
	g.store(w+"_quantized", codes, true)
	g.store(w+"_scales", floats(p.blockScale, rows, p.blocks()), true)
	inputs := append([]string{w + "_quantized", indices, w + "_scales"}, g.blockZeros(w, p)...)
	name := g.name(scope, "Gather")
	g.add(microsoft, name+"_quant", "GatherBlockQuantized", []string{name + "_output_0"}, []*pb.AttributeProto{
		integerAttribute("bits", int64(bits)), integerAttribute("block_size", int64(p.quantized.block())),
		integerAttribute("gather_axis", 0), integerAttribute("quantize_axis", 1),
	}, inputs...)
	return name + "_output_0"
}

// storeBytes stores the codes of p, one scale and one zero point.
func (g *graph) storeBytes(w string, p *Parameter) {
	g.store(w+"_quantized", bytes8(pb.TensorProto_UINT8, p.code, p.Shape...), true)
	g.store(w+"_scale", floats(p.blockScale), true)
	g.store(w+"_zero_point", bytes8(pb.TensorProto_UINT8, p.blockZero), true)
}

// tableValues adds the DequantizeLinear of a whole table: a scale and a zero point for each row, or for each block of it. There is one in a
// graph, however often its values are used.
func (g *graph) tableValues(w string, p *Parameter) string {
	v := w + "_DequantizeLinear_Output"
	if slices.Contains(g.activations, v) {
		return v
	}
	g.activations = append(g.activations, v)
	rows, width := p.Shape[0], p.Shape[1]
	attributes := []*pb.AttributeProto{integerAttribute("axis", 0)}
	if p.quantized == QDQ {
		g.store(w+"_quantized", bytes8(pb.TensorProto_INT8, p.code, rows, width), true)
		g.store(w+"_scale", floats(p.blockScale, rows), true)
		g.store(w+"_zero_point", bytes8(pb.TensorProto_INT8, p.blockZero, rows), true)
	} else {
		blocks := p.blocks()
		g.store(w+"_quantized", nibbles(pb.TensorProto_INT4, false, p.code, rows*width, rows, width), true)
		g.store(w+"_scale", floats(p.blockScale, rows, blocks), true)
		g.store(w+"_zero_point", nibbles(pb.TensorProto_INT4, false, p.blockZero, rows*blocks, rows, blocks), true)
		attributes = []*pb.AttributeProto{integerAttribute("axis", 1), integerAttribute("block_size", int64(p.quantized.block()))}
	}
	g.add("", w+"_DequantizeLinear", "DequantizeLinear", []string{v}, attributes, w+"_quantized", w+"_scale", w+"_zero_point")
	return v
}

// turned is a table the other way round, as the operand of a product. ONNX Runtime's dynamic quantizer transposes the codes.
func (g *graph) turned(table string) string {
	p, w := g.parameters[table], table+g.suffix
	transpose, perm := table+"_transposed", []*pb.AttributeProto{ints("perm", 1, 0)}
	switch {
	case !p.isCodes(g):
		g.add("", "Transpose_418", "Transpose", []string{transpose}, perm, g.weight(table))
	case p.quantized == Dynamic:
		g.add("", "Transpose_418", "Transpose", []string{transpose + "_quantized"}, perm, w+"_quantized")
		g.add("", transpose+"_DequantizeLinear", "DequantizeLinear", []string{transpose}, nil, transpose+"_quantized", w+"_scale", w+"_zero_point")
	default:
		g.add("", "Transpose_418", "Transpose", []string{transpose}, perm, g.tableValues(w, p))
	}
	return transpose
}
