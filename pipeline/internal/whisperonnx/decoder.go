package whisperonnx

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	pb "npuw/schema/onnxpb"
)

// Decoder says what decoder a model has beside a Config's encoder, whose width, heads and seed it shares. The zero value of Head and Cache
// gives what a raw export of decoder_model has.
type Decoder struct {
	Layers, FFN, Positions, Vocab int

	Head  Head
	Cache Cache

	// Tables gives the embeddings of which rows are looked up by Gather as codes too, where Config.Quantized gives those of linear layers
	// so: that of tokens and, in the form Config.Gather, that of positions.
	Tables bool
}

// Head is where the projection to logits has its weights from.
type Head string

// The kinds of it.
const (
	Copied Head = ""     // a copy of the embedding of tokens, the other way round; as codes if that is
	Tied   Head = "tied" // the embedding itself, transposed
	Own    Head = "own"  // weights of its own, as codes if those of linear layers are
)

// Cache is what a decoder is given of earlier tokens.
type Cache string

// The kinds of it.
const (
	NoCache  Cache = ""         // nothing: decoder_model
	WithPast Cache = "past"     // keys and values, and those of the encoder's states: decoder_with_past_model
	Merged   Cache = "merged"   // either, by an If: decoder_model_merged. Both branches read the same initializers
	Unshared Cache = "unshared" // the same, but each branch has initializers of its own, equal in value
)

// Decoders of Tiny and Odd.
var (
	TinyDecoder = Decoder{Layers: 2, FFN: 128, Positions: 32, Vocab: 384} // testdata/whisper-tiny
	OddDecoder  = Decoder{Layers: 1, FFN: 70, Positions: 5, Vocab: 51}
)

// Parameters lists those of the decoder beside c's encoder, in the order of a state dict, but for the projection to logits.
func (d Decoder) Parameters(c Config) []Parameter {
	format := max(c.Type, element.F32)
	var list []Parameter
	seed := c.Seed<<20 + uint64(len(c.Parameters()))
	add := func(linear bool, name string, shape ...int) {
		p := NewParameter("decoder."+name, format, seed+uint64(len(list)), shape...)
		if p.linear = linear; linear {
			p.quantized = c.Quantized
		}
		list = append(list, p)
	}
	affine := func(linear bool, name string, shape ...int) {
		add(linear, name+".weight", shape...)
		add(false, name+".bias", shape[0])
	}
	w := c.DModel
	add(false, "embed_tokens.weight", d.Vocab, w)
	add(false, "embed_positions.weight", d.Positions, w)
	if d.Tables {
		list[0].quantized = c.Quantized
		if c.Gather {
			list[1].quantized = c.Quantized
		}
	}
	for i := range d.Layers {
		layer := fmt.Sprintf("layers.%d.", i)
		for _, attention := range []string{layer + "self_attn", layer + "encoder_attn"} {
			add(true, attention+".k_proj.weight", w, w)
			for _, projection := range []string{"v", "q", "out"} {
				affine(true, attention+"."+projection+"_proj", w, w)
			}
			affine(false, attention+"_layer_norm", w)
		}
		affine(true, layer+"fc1", d.FFN, w)
		affine(true, layer+"fc2", w, d.FFN)
		affine(false, layer+"final_layer_norm", w)
	}
	affine(false, "layer_norm", w)
	return list
}

// ProjOut is the projection to logits, under its name in a state dict.
func (d Decoder) ProjOut(c Config) Parameter {
	p := NewParameter("proj_out.weight", max(c.Type, element.F32), c.Seed<<20-1, d.Vocab, c.DModel)
	if d.Head == Own {
		p.quantized = c.Quantized
	} else {
		table := d.Parameters(c)[0]
		p.seed, p.quantized = table.seed, table.quantized
	}
	p.linear = true
	return p
}

// Bytes is the size of all weights, the projection to logits among them if it is written apart.
func (d Decoder) Bytes(c Config) int64 {
	list := d.Parameters(c)
	if d.Head != Tied {
		list = append(list, d.ProjOut(c))
	}
	return bytesOf(list)
}

// WriteDecoder writes the decoder beside c's encoder to path, in the forms of c that are not of an encoder alone.
func WriteDecoder(path string, c Config, d Decoder) error {
	return WriteDecoderContext(context.Background(), path, c, d)
}

// WriteDecoderContext is WriteDecoder that ends early, with an error, when ctx does.
func WriteDecoderContext(ctx context.Context, path string, c Config, d Decoder) error {
	c.Type = max(c.Type, element.F32)
	if err := d.check(c); err != nil {
		return err
	}
	model, data := d.model(c, filepath.Base(path)+"_data")
	return writeModel(ctx, path, c, model, data)
}

// check refuses what cannot be written.
func (d Decoder) check(c Config) error {
	encoder := c
	encoder.External = true // for it is not written
	if err := encoder.check(); err != nil {
		return err
	}
	if NeedsExternal(d.Bytes(c)) && !c.External {
		return fmt.Errorf("whisperonnx: %d bytes of weights do not fit into one protobuf message: write them as external data", d.Bytes(c))
	}
	blocked := c.Quantized == NBits4 || c.Quantized == NBits4Zero || c.Quantized == NBits8
	if d.Tables && (!c.Quantized.looksUp(c.DModel) || blocked && d.Head == Tied) {
		return fmt.Errorf("whisperonnx: no lookup in %q codes of rows of %d, or none whose table is the projection to logits too", c.Quantized, c.DModel)
	}
	plain := (c.Attention == Eager || c.Attention == SDPA) && !c.Gemm && !c.FusedMatMul && !c.Nested && !c.Tied
	merged := d.Cache == Merged || d.Cache == Unshared
	if min(d.Layers, d.FFN, d.Positions, d.Vocab) < 1 || !plain || merged && c.ConstantNodes {
		return fmt.Errorf("whisperonnx: no such decoder: %+v of %+v", d, c)
	}
	return nil
}

// model gives the bytes of the model and of its data file.
func (d Decoder) model(c Config, dataFile string) (model, data message) {
	g := c.newGraph(dataFile)
	for _, p := range d.Parameters(c) {
		g.parameters["model."+p.Name] = &p
	}
	head := d.ProjOut(c)
	g.parameters[head.Name] = &head
	outer := &pb.GraphProto{Name: proto.String("torch_jit"), Input: d.inputs(g)}
	for _, name := range d.outputs(d.Cache == WithPast) {
		shape := []any{"batch_size", c.Heads, name + " positions", c.DModel / c.Heads}
		if name == "logits" {
			shape = []any{"batch_size", "length", d.Vocab}
		}
		outer.Output = append(outer.Output, g.typed(name, g.dataType(), shape...))
	}
	g.shared = map[string]string{}
	if d.Cache != Merged && d.Cache != Unshared {
		g.decoder(d, d.Cache == WithPast)
		return g.file(outer)
	}
	g.hoisted, g.written = &body{}, map[string]bool{}
	var branches [2]message
	for i := range branches {
		g.suffix = "_merged_0"
		if d.Cache == Unshared && i == 1 {
			clear(g.shared)
			g.suffix = "_merged_1"
		}
		clear(g.names)
		g.body, g.activations = body{}, nil
		g.decoder(d, i == 1)
		ends := &pb.GraphProto{Name: proto.String([]string{"no_past", "with_past"}[i])}
		for _, name := range d.outputs(false) {
			if i == 1 && strings.Contains(name, ".encoder.") { // which Optimum passes on
				g.add("", "", "Identity", []string{name}, nil, strings.Replace(name, "present", "past_key_values", 1))
			}
			ends.Output = append(ends.Output, &pb.ValueInfoProto{Name: proto.String(g.called(name))})
		}
		branches[i] = append(g.contents(), encoded(ends)...)
	}
	g.body = *g.hoisted
	n := g.encodedNode("", "optimum::if", "If", d.outputs(false), nil, "use_cache_branch")
	for i, name := range []string{"else_branch", "then_branch"} {
		n = append(n, field(nodeAttribute, branch(name, branches[i]))...)
	}
	g.nodes = append(g.nodes, n)
	return g.file(outer)
}

// inputs are those of the main graph.
func (d Decoder) inputs(g *graph) []*pb.ValueInfoProto {
	inputs := []*pb.ValueInfoProto{
		g.typed("input_ids", pb.TensorProto_INT64, "batch_size", "length"),
		g.typed("encoder_hidden_states", g.dataType(), "batch_size", "positions", g.DModel),
	}
	if d.Cache != NoCache {
		for _, name := range d.outputs(false)[1:] {
			inputs = append(inputs, g.typed(strings.Replace(name, "present", "past_key_values", 1), g.dataType(), "batch_size", g.Heads, name+" past", g.DModel/g.Heads))
		}
	}
	if d.Cache == Merged || d.Cache == Unshared {
		inputs = append(inputs, g.typed("use_cache_branch", pb.TensorProto_BOOL, 1))
	}
	return inputs
}

// typed declares an input or output of the main graph; a dimension is a number or a name.
func (g *graph) typed(name string, typ pb.TensorProto_DataType, dims ...any) *pb.ValueInfoProto {
	shape := &pb.TensorShapeProto{}
	for _, d := range dims {
		dimension := &pb.TensorShapeProto_Dimension{}
		switch d := d.(type) {
		case int:
			dimension.Value = &pb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}
		case string:
			dimension.Value = &pb.TensorShapeProto_Dimension_DimParam{DimParam: d}
		}
		shape.Dim = append(shape.Dim, dimension)
	}
	g.ends[name] = true
	t := &pb.TypeProto_Tensor{ElemType: proto.Int32(int32(typ)), Shape: shape}
	return &pb.ValueInfoProto{Name: &name, Type: &pb.TypeProto{Value: &pb.TypeProto_TensorType{TensorType: t}}}
}

// outputs are the logits, and keys and values; with a past not those of the encoder's states, which are given.
func (d Decoder) outputs(past bool) []string {
	list := []string{"logits"}
	for i := range d.Layers {
		for _, side := range []string{"decoder", "encoder"} {
			if side == "decoder" || !past {
				list = append(list, present(i, side, "key"), present(i, side, "value"))
			}
		}
	}
	return list
}

func present(layer int, side, what string) string {
	return fmt.Sprintf("present.%d.%s.%s", layer, side, what)
}

// tokenTable is the embedding of tokens, as initializers are called.
const tokenTable = "model.decoder.embed_tokens.weight"

// decoder adds every node, with or without a past.
func (g *graph) decoder(d Decoder, past bool) {
	const scope = "/model/decoder"
	length, before := g.dimension(scope, "input_ids", 1), ""
	if past {
		before = g.dimension(scope, strings.Replace(present(0, "decoder", "key"), "present", "past_key_values", 1), 2)
	}
	tokens := g.rows(scope+"/embed_tokens", tokenTable, "input_ids")
	s := sum{scope: scope, a: tokens, b: g.decoderPositions(scope, length, before)}
	mask := ""
	if !past {
		shape := g.node(scope, "Concat", []*pb.AttributeProto{integerAttribute("axis", 0)},
			g.node(scope, "Unsqueeze", nil, length, g.anonymousZero()), g.node(scope, "Unsqueeze", nil, length, g.anonymousZero()))
		mask = g.node(scope, "Trilu", nil, g.node(scope, "ConstantOfShape", g.float(-6e4, 1), shape), g.node(scope, "Constant", constant(integer(1))))
	}
	for i := range d.Layers {
		layer := fmt.Sprintf("%s/layers.%d", scope, i)
		for _, a := range []struct{ name, side string }{{"self_attn", "decoder"}, {"encoder_attn", "encoder"}} {
			h, x := g.norm(layer+"/"+a.name+"_layer_norm", s, "")
			k, v := g.keysAndValues(layer+"/"+a.name, h, i, a.side, past)
			m := mask
			if a.side == "encoder" {
				m = ""
			}
			h, bias := g.branch(layer+"/"+a.name+"/out_proj", g.masked(layer+"/"+a.name, h, k, v, m))
			s = sum{layer, x, h, bias}
		}
		ffn := g.FFN
		g.FFN = d.FFN
		s = g.mlp(layer, s)
		g.FFN = ffn
	}
	h, _ := g.norm(scope+"/layer_norm", s, "")
	if g.parameters["proj_out.weight"].isCodes(g) && d.Head != Tied {
		g.add("", "", "Identity", []string{"logits"}, nil, g.quantizedProduct("/proj_out", h))
		return
	}
	var table string
	if d.Head == Tied {
		table = g.turned(tokenTable)
	} else {
		table = g.weight("proj_out.weight")
	}
	g.add("", g.name("/proj_out", "MatMul"), "MatMul", []string{"logits"}, nil, h, table)
}

// decoderPositions looks the positions up of as many tokens as length says, behind those before; "" for none.
func (g *graph) decoderPositions(scope, length, before string) string {
	first, end := g.node(scope, "Constant", constant(integer(0))), length
	if before != "" {
		first, end = before, g.node(scope, "Add", nil, before, length)
	}
	const table = "model.decoder.embed_positions.weight"
	if g.Gather {
		return g.rows(scope+"/embed_positions", table, g.node(scope, "Range", nil, first, end, g.node(scope, "Constant", constant(integer(1)))))
	}
	one := func(v string) string { return g.node(scope, "Unsqueeze", nil, v, g.anonymousZero()) }
	return g.node(scope, "Slice", nil, g.weight(table), one(first), one(end), g.integers(scope, 0), g.integers(scope, 1))
}

// keysAndValues adds those of the attention in scope, of x or, in that to the encoder, of its states: split into heads, and behind the
// past, if there is one.
func (g *graph) keysAndValues(scope, x string, layer int, side string, past bool) (k, v string) {
	var both [2]string
	for i, what := range []string{"key", "value"} {
		now := present(layer, side, what)
		then := strings.Replace(now, "present", "past_key_values", 1)
		from := x
		if side == "encoder" {
			from = "encoder_hidden_states"
			if past {
				both[i] = then
				continue
			}
		}
		heads := g.split(scope, g.linear(scope+"/"+what[:1]+"_proj", from, g.DModel))
		if past {
			g.add("", g.name(scope, "Concat"), "Concat", []string{now}, []*pb.AttributeProto{integerAttribute("axis", -2)}, then, g.node(scope, "Transpose", byHeads, heads))
		} else {
			g.add("", g.name(scope, "Transpose"), "Transpose", []string{now}, byHeads, heads)
		}
		both[i] = now
	}
	return both[0], both[1]
}

// masked is attention of x to keys and values, some of which a mask leaves out; "" for none.
func (g *graph) masked(scope, x, k, v, mask string) string {
	batch, positions := g.dimension(scope, x, 0), g.dimension(scope, x, 1)
	q := g.linear(scope+"/q_proj", x, g.DModel)
	k = g.node(scope, "Transpose", []*pb.AttributeProto{ints("perm", 0, 1, 3, 2)}, k)
	if g.Attention == SDPA {
		q = g.node(scope, "Transpose", byHeads, g.split(scope, q))
		scale := g.rootOfScale(scope, q)
		q, k = g.node(scope, "Mul", nil, q, scale), g.node(scope, "Mul", nil, k, scale)
	} else {
		q = g.node(scope, "Transpose", byHeads, g.split(scope, g.node(scope, "Mul", nil, q, g.scale(scope))))
	}
	scores := g.node(scope, "MatMul", nil, q, k)
	if mask != "" {
		scores = g.node(scope, "Add", nil, scores, mask)
	}
	return g.merge(scope, g.node(scope, "MatMul", nil, g.node(scope, "Softmax", lastAxis, scores), v), batch, positions)
}
