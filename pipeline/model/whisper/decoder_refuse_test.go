package whisper_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
	pb "npuw/schema/onnxpb"
)

func TestDecoderRefused(t *testing.T) {
	t.Parallel()
	plain, merged, unshared := two(whisperonnx.Decoder{}), two(whisperonnx.Decoder{Cache: whisperonnx.Merged}), two(whisperonnx.Decoder{Cache: whisperonnx.Unshared})
	coded := two(whisperonnx.Decoder{Cache: whisperonnx.Unshared, Tables: true})
	const norm = "/model/decoder/layer_norm/"
	for name, x := range map[string]struct {
		forms  string
		d      whisperonnx.Decoder
		change func(g *pb.GraphProto)
		want   error
		parts  []string
	}{
		"some of the encoder's keys": {"", two(whisperonnx.Decoder{}), func(g *pb.GraphProto) {
			path := "/model/decoder/layers.1/encoder_attn/k_proj/MatMul"
			g.Input = append(g.Input, &pb.ValueInfoProto{Name: proto.String("keys")})
			for _, n := range g.Node {
				for i, name := range n.Input {
					if name == node(g, path).Output[0] {
						n.Input[i] = "keys"
					}
				}
			}
			remove(g, path)
		}, source.ErrParameters, []string{`"decoder.layers.1.encoder_attn.k_proj.weight": missing`}},
		"a value differs between branches": {"", unshared, func(g *pb.GraphProto) {
			initializer(g, "model.decoder.layers.1.fc2.bias_merged_1").RawData[5] ^= 1
		}, source.ErrMismatch, []string{
			`gives parameter "decoder.layers.1.fc2.bias" as model.decoder.layers.1.fc2.bias_merged_1 [36] in "then_branch" of If node "optimum::if"`,
			`differs from model.decoder.layers.1.fc2.bias_merged_0 [36] in "else_branch"`,
		}},
		"a matrix differs between branches": {"", unshared, func(g *pb.GraphProto) {
			w := g.Initializer[len(g.Initializer)-1] // of a MatMul of the branch that was written last: proj_out
			w.RawData[len(w.RawData)-1] ^= 1
		}, source.ErrMismatch, []string{`"proj_out.weight"`}},
		"a code differs between branches": {"int8dyn", coded, func(g *pb.GraphProto) {
			initializer(g, "model.decoder.embed_tokens.weight_merged_1_quantized").RawData[7] ^= 1
		}, source.ErrMismatch, []string{`"decoder.embed_tokens.weight"`, "model.decoder.embed_tokens.weight_merged_1_quantized", `"then_branch"`, `"else_branch"`}},
		"a scale differs between branches": {"q4,gather", coded, func(g *pb.GraphProto) {
			initializer(g, "model.decoder.embed_positions.weight_merged_0_scales").RawData[2] ^= 1
		}, source.ErrMismatch, []string{`"decoder.embed_positions.weight"`, "model.decoder.embed_positions.weight_merged_0_quantized"}},
		"codes in one branch alone": {"int8dyn", two(whisperonnx.Decoder{Cache: whisperonnx.Merged, Tables: true}), func(g *pb.GraphProto) {
			b := branch(g, "then_branch")
			look := node(b, "/model/decoder/embed_tokens/Gather")
			constant(g, "floats", make([]float32, 65*36)...)
			g.Initializer[len(g.Initializer)-1].Dims = []int64{65, 36}
			look.Input[0] = "floats"
			rename(b, "/model/decoder/embed_tokens/Gather_output_0", "elsewhere")
			look.Output[0] = "elsewhere"
			remove(b, "/model/decoder/embed_tokens/Gather_output_0_DequantizeLinear")
		}, source.ErrMismatch, []string{`"decoder.embed_tokens.weight"`, "floats [65 36]", "differs from model.decoder.embed_tokens.weight_merged_0_quantized [65 36]"}},
		"rows of codes with a scale each": {"int8dyn", two(whisperonnx.Decoder{Tables: true}), func(g *pb.GraphProto) {
			w := initializer(g, "model.decoder.embed_tokens.weight_scale")
			w.Dims, w.RawData = []int64{36}, slices.Repeat(w.RawData, 36)
		}, source.ErrUnsupported, []string{"DequantizeLinear", "operand 1, the scale of rows that are looked up, is not one constant for all"}},
		"sizes differ between branches": {"", unshared, func(g *pb.GraphProto) {
			w := initializer(g, "model.decoder.embed_positions.weight_merged_1")
			w.Dims[0], w.RawData = 6, w.RawData[:6*36*4]
		}, source.ErrMismatch, []string{`"decoder.embed_positions.weight"`, "[6 36]", "[7 36]"}},
		"a layer of one branch alone": {"", merged, func(g *pb.GraphProto) {
			b := branch(g, "then_branch")
			rename(b, "/model/decoder/layers.1/Add_2_output_0", "elsewhere")
			remove(b, "/model/decoder/layers.1/fc2/MatMul")
		}, source.ErrMismatch, []string{`"then_branch" of If node "optimum::if"`, `no parameter "decoder.layers.1.fc2.weight"`}},
		"heads differ between branches": {"", merged, func(g *pb.GraphProto) {
			for _, n := range nodes(branch(g, "then_branch"), "Constant") {
				if t := n.Attribute[0].T; strings.Contains(n.GetName(), "_attn") && len(t.GetRawData()) == 8 && len(t.Dims) == 1 {
					switch t.RawData[0] { // 3 heads of 12
					case 3:
						t.RawData[0] = 4
					case 12:
						t.RawData[0] = 9
					}
				}
			}
		}, source.ErrMismatch, []string{"4 heads", "3"}},
		"epsilons differ between branches": {"", merged, func(g *pb.GraphProto) {
			for _, n := range nodes(branch(g, "then_branch"), "Constant") {
				if t := n.Attribute[0].T; strings.HasSuffix(n.GetName(), "layer_norm/Constant_1") {
					t.RawData[3]++
				}
			}
		}, source.ErrMismatch, []string{`"then_branch"`, "epsilon"}},
		"an epsilon differs": {"", plain, func(g *pb.GraphProto) { node(g, norm+"Constant_1").Attribute[0].T.RawData[3]++ }, source.ErrMismatch, []string{"decoder.layer_norm.weight", "epsilon"}},
		"no tokens": {"", plain, func(g *pb.GraphProto) {
			node(g, "/model/decoder/embed_tokens/Gather").Input[0] = "elsewhere"
			g.Initializer = slices.DeleteFunc(g.Initializer, func(t *pb.TensorProto) bool { return t.GetName() == "model.decoder.embed_tokens.weight" })
		}, source.ErrParameters, []string{`"decoder.embed_tokens.weight"`, "missing", "export the whole decoder again"}},
		"no positions": {"", plain, func(g *pb.GraphProto) {
			node(g, "/model/decoder/Slice").Input[0] = "elsewhere"
		}, source.ErrParameters, []string{`"decoder.embed_positions.weight"`, "missing"}},
		"another vocabulary": {"", two(whisperonnx.Decoder{Head: whisperonnx.Own}), func(g *pb.GraphProto) {
			w := initializer(g, node(g, "/proj_out/MatMul").Input[1])
			w.Dims[1], w.RawData = 64, w.RawData[:64*36*4]
		}, source.ErrParameters, []string{`"proj_out.weight"`, "[64 36]", "[65 36]"}},
		"left over": {"", merged, func(g *pb.GraphProto) { constant(g, "spare", 1, 2) }, source.ErrParameters, []string{`"spare"`, "no node uses"}},
		"an encoder's parameter": {"", plain, func(g *pb.GraphProto) {
			for _, n := range g.Node {
				n.Name = proto.String(strings.Replace(n.GetName(), "layers.1/final_layer_norm", "layers.1/middle_layer_norm", 1))
			}
			for _, w := range g.Initializer {
				rename(g, w.GetName(), strings.Replace(w.GetName(), "layers.1.final_layer_norm", "layers.1.middle_layer_norm", 1))
			}
			nodes(g, "Softmax")[0].OpType = proto.String("LogSoftmax")
		}, source.ErrParameters, []string{`"decoder.layers.1.middle_layer_norm.bias"`, "a Whisper decoder of 2 layers does not have", "export the decoder alone"}},
		"a name that is not its place": {"", plain, func(g *pb.GraphProto) {
			for _, n := range nodes(g, "MatMul") {
				n.Name = proto.String(strings.Replace(n.GetName(), "layers.0/encoder_attn/q_proj", "layers.0/self_attn/q_proj", 1))
			}
		}, source.ErrMismatch, []string{`"decoder.layers.0.self_attn.q_proj.weight" by the path of its node`, `"decoder.layers.0.encoder_attn.q_proj.weight" by their place`}},
		"another scale": {"", plain, func(g *pb.GraphProto) {
			constant(g, "half", 0.5)
			before(g, nodes(g, "Softmax")[1], 0, "Mul", "half")
		}, source.ErrUnsupported, []string{"attends with a scale of 0.144338", "1/sqrt(36/3)"}},
		"two Ifs": {"", merged, func(g *pb.GraphProto) {
			n := proto.Clone(nodes(g, "If")[0]).(*pb.NodeProto)
			for i := range n.Output {
				n.Output[i] += " again"
			}
			g.Node = append(g.Node, n)
		}, source.ErrUnsupported, []string{"If node", "both"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, _ := writtenDecoder(t, x.forms, x.d, x.change)
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

// Without names, what is not built as a decoder is none.
func TestNotADecoder(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(g *pb.GraphProto){
		"no softmax":    func(g *pb.GraphProto) { nodes(g, "Softmax")[3].OpType = proto.String("LogSoftmax") },
		"a third layer": func(g *pb.GraphProto) { nodes(g, "Erf")[1].OpType = proto.String("Relu") },
		"no positions":  func(g *pb.GraphProto) { nodes(g, "Slice")[0].Input[0] = "elsewhere" },
		"states of its own": func(g *pb.GraphProto) {
			for _, n := range nodes(g, "MatMul") {
				if n.Input[0] == "encoder_hidden_states" {
					n.Input[0] = before(g, n, 0, "Relu").Output[0] + " of " + n.Output[0]
					g.Node[len(g.Node)-1].Output[0] = n.Input[0]
				}
			}
		},
		"no outputs": func(g *pb.GraphProto) { g.Output = nil },
		"with another encoder": func(g *pb.GraphProto) {
			for i, n := range nodes(g, "MatMul") {
				n.Name = proto.String([]string{"/model/decoder/layers.0/self_attn/q", "/model/decoder/layers.0/encoder_attn/q", "/model/decoder/embed_tokens/x", "/model/encoder/layers.0/fc1/x"}[i%4])
			}
			nodes(g, "Softmax")[0].OpType = proto.String("LogSoftmax")
		},
	} {
		path, _ := writtenDecoder(t, "stripped", two(whisperonnx.Decoder{}), change)
		_, got, err := recognise(t, path)
		if got != nil || !errors.Is(err, source.ErrNotRecognised) {
			t.Errorf("%s: %v, %v; expected ErrNotRecognised", name, got, err)
		}
	}
}

// A decoder whose own keys are given, too, is none.
func TestNoKeysOfItsOwn(t *testing.T) {
	t.Parallel()
	path, _ := writtenDecoder(t, "stripped", two(whisperonnx.Decoder{Cache: whisperonnx.WithPast}), func(g *pb.GraphProto) {
		for _, n := range nodes(g, "Concat") {
			if strings.HasPrefix(n.Input[0], "past_key_values") {
				n.OpType, n.Input, n.Attribute = proto.String("Identity"), n.Input[:1], nil
			}
		}
	})
	if _, got, err := recognise(t, path); got != nil || !errors.Is(err, source.ErrNotRecognised) {
		t.Errorf("%v, %v; expected ErrNotRecognised", got, err)
	}
}

// Whatever is wrong with a decoder, the answer is a decoder or an error about its file.
func TestMutatedDecoders(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for i, d := range decoderForms {
		for _, forms := range []string{"", "stripped,gather,opset17", "skipnorm,gelu,stripped", "sdpa,stripped", "int8dyn,stripped"} {
			for range 12 {
				path, _ := writtenDecoder(t, forms, two(d), func(g *pb.GraphProto) {
					graphs := []*pb.GraphProto{g}
					for _, n := range nodes(g, "If") {
						graphs = append(graphs, n.Attribute[0].G, n.Attribute[1].G)
					}
					for range 1 + r.IntN(3) {
						mutate(r, graphs[r.IntN(len(graphs))])
					}
				})
				m, err := onnx.Open(path)
				if err == nil {
					_, err = whisper.Recognise(m)
					m.Close()
				}
				if e := (*source.Error)(nil); err != nil && (!errors.As(err, &e) || e.Problem == "" || e.Err == nil) {
					t.Errorf("form %d, %q: %T: %v", i, forms, err, err)
				}
			}
		}
	}
}

// mutate changes a node of g, or an output.
func mutate(r *rand.Rand, g *pb.GraphProto) {
	if len(g.Node) == 0 {
		return
	}
	i := r.IntN(len(g.Node))
	n, other := g.Node[i], g.Node[r.IntN(len(g.Node))]
	if len(n.Input) == 0 {
		n.OpType = other.OpType
		return
	}
	input := r.IntN(len(n.Input))
	switch r.IntN(7) {
	case 0:
		g.Node = slices.Delete(g.Node, i, i+1)
	case 1:
		n.Input[input] = other.Output[0]
	case 2:
		n.Input = n.Input[:len(n.Input)-1]
	case 3:
		n.OpType = other.OpType
	case 4:
		n.Input[input] = ""
	case 5:
		n.Input[0], n.Input[input] = n.Input[input], n.Input[0]
	case 6:
		g.Output[r.IntN(len(g.Output))].Name = &n.Output[0]
	}
}
