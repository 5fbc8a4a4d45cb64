package whisper_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/onnx"
	"npuw/pipeline/source/safetensors"
	pb "npuw/schema/onnxpb"
)

// decoderForms are the forms of a decoder's file; sizes are to be filled in.
var decoderForms = []whisperonnx.Decoder{
	{}, {Head: whisperonnx.Tied}, {Head: whisperonnx.Own}, {Cache: whisperonnx.WithPast}, {Cache: whisperonnx.Merged, Head: whisperonnx.Tied}, {Cache: whisperonnx.Unshared},
}

// two is a decoder of two layers in a form.
func two(d whisperonnx.Decoder) whisperonnx.Decoder {
	d.Layers, d.FFN, d.Positions, d.Vocab = 2, 33, 7, 65
	return d
}

// writtenDecoder writes a decoder in some forms, changed, into a folder of its own.
func writtenDecoder(t *testing.T, forms string, d whisperonnx.Decoder, change func(g *pb.GraphProto)) (string, whisperonnx.Config) {
	t.Helper()
	c, err := whisperonnx.Odd.With(forms)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := whisperonnx.WriteDecoder(path, c, d); err != nil {
		t.Fatal(err)
	}
	rewrite(t, path, change)
	return path, c
}

// branch is a branch of the If of a merged decoder.
func branch(g *pb.GraphProto, name string) *pb.GraphProto {
	for _, a := range nodes(g, "If")[0].Attribute {
		if a.GetName() == name {
			return a.G
		}
	}
	return nil
}

// Real exports: every parameter has the values of the checkpoint, where that is there; the forms agree with one another.
func TestRealDecoders(t *testing.T) {
	t.Parallel()
	paths := map[string]string{"decoder_merged": testdata + "decoder_merged.onnx", "decoder-tied": testdata + "decoder-tied.onnx"}
	want := map[string][]float32{}
	if dir := whisperonnx.Beside("shared/fixtures/whisper-tiny"); dir != "" {
		paths["decoder"] = dir + "/whisper-tiny-decoder.onnx"
		c, err := safetensors.Open(dir + "/whisper-tiny.model.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		models, err := whisper.FromState(c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range models[1].Parameters {
			p := &models[1].Parameters[i]
			want[p.Name] = values(t, c, p)
		}
	}
	for form, path := range paths {
		m, got, err := recognise(t, path)
		if err != nil {
			t.Fatal(err)
		}
		if got.Family != whisper.FamilyDecoder || len(got.Parameters) != 52 || len(got.Notes) != 1 || !strings.HasPrefix(got.Notes[0], "proj_out.weight is ") {
			t.Errorf("%s: %s, %d parameters, %q", form, got.Family, len(got.Parameters), got.Notes)
		}
		if s := attributes(got); s != "layers=2 d_model=64 heads=4 ffn=128 vocab=384 positions=32 eps=9.999999747378752e-06" {
			t.Errorf("%s: %s", form, s)
		}
		for i := range got.Parameters {
			p := &got.Parameters[i]
			v := values(t, &m.Catalogue, p)
			if want[p.Name] == nil {
				want[p.Name] = v
			}
			if !slices.Equal(v, want[p.Name]) || len(p.Ways) < 2 {
				t.Errorf("%s: %s has other values, or was named by %v alone", form, p.Name, p.Ways)
			}
		}
	}
}

// A decoder with a past has the parameters of the whole decoder but those that make keys and values of the encoder's states.
func TestDecoderWithPast(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"", "stripped", "gather,opset17", "q4"} {
		read := func(cache whisperonnx.Cache) (*model.Model, map[string][]float32) {
			path, _ := writtenDecoder(t, form, two(whisperonnx.Decoder{Cache: cache, Tables: form == "q4"}), func(*pb.GraphProto) {})
			m, got, err := recognise(t, path)
			if err != nil {
				t.Fatalf("%q: %v", form, err)
			}
			all := map[string][]float32{}
			for i := range got.Parameters {
				all[got.Parameters[i].Name] = values(t, &m.Catalogue, &got.Parameters[i])
			}
			return got, all
		}
		whole, want := read(whisperonnx.NoCache)
		past, got := read(whisperonnx.WithPast)
		for name := range want {
			if strings.Contains(name, "encoder_attn.k_proj") || strings.Contains(name, "encoder_attn.v_proj") {
				delete(want, name)
			}
		}
		if whole.Family != whisper.FamilyDecoder || past.Family != whisper.FamilyPast || attributes(past) != attributes(whole) || len(want) != len(whole.Parameters)-6 {
			t.Errorf("%q: %s, %s, %s", form, past.Family, attributes(past), attributes(whole))
		}
		if !maps.EqualFunc(got, want, slices.Equal) || !slices.ContainsFunc(past.Notes, func(n string) bool { return strings.HasPrefix(n, "a decoder with a past") }) {
			t.Errorf("%q: %d parameters, expected %d with the same values; %q", form, len(got), len(want), past.Notes)
		}
	}
}

// Other forms of the same decoder, which give the same parameters.
func TestOtherDecoders(t *testing.T) {
	t.Parallel()
	everywhere := func(change func(g *pb.GraphProto)) func(g *pb.GraphProto) {
		return func(g *pb.GraphProto) {
			change(branch(g, "then_branch"))
			change(branch(g, "else_branch"))
		}
	}
	merged := two(whisperonnx.Decoder{Cache: whisperonnx.Merged, Head: whisperonnx.Tied})
	for name, x := range map[string]struct {
		forms  string
		d      whisperonnx.Decoder
		change func(g *pb.GraphProto)
		note   string
	}{
		"the mask first": {"stripped", two(whisperonnx.Decoder{}), func(g *pb.GraphProto) {
			mask := nodes(g, "Trilu")[0].Output[0]
			for _, n := range nodes(g, "Add") {
				if n.Input[1] == mask {
					n.Input[0], n.Input[1] = n.Input[1], n.Input[0]
				}
			}
		}, ""},
		"tokens reshaped": {"stripped", merged, everywhere(func(g *pb.GraphProto) {
			for _, n := range nodes(g, "Gather") {
				if len(n.Attribute) == 0 {
					before(g, n, 1, "Squeeze")
				}
			}
		}), ""},
		"scores scaled": {"stripped", two(whisperonnx.Decoder{}), func(g *pb.GraphProto) {
			for _, n := range nodes(g, "Mul") { // of queries
				for _, use := range nodes(g, "Reshape") {
					if use.Input[0] == n.Output[0] {
						use.Input[0] = n.Input[0]
					}
				}
			}
			constant(g, "a third of 12", 1/3.4641016)
			for _, n := range nodes(g, "Softmax") {
				before(g, n, 0, "Mul", "a third of 12")
			}
		}, ""},
		"not followed": {"", merged, everywhere(func(g *pb.GraphProto) {
			nodes(g, "Softmax")[1].OpType = proto.String("LogSoftmax")
		}), "named by paths and values alone"},
		"k_proj with a bias of 0": {"", two(whisperonnx.Decoder{}), func(g *pb.GraphProto) {
			for _, n := range nodes(g, "MatMul") {
				if strings.HasSuffix(n.GetName(), "encoder_attn/k_proj/MatMul") {
					add := strings.TrimSuffix(n.GetName(), "MatMul") + "Add"
					constant(g, add+" zero", make([]float32, 36)...)
					g.Node = append(g.Node, &pb.NodeProto{Name: &add, OpType: proto.String("Add"), Input: []string{n.Output[0] + " raw", add + " zero"}, Output: []string{n.Output[0]}})
					n.Output[0] += " raw"
				}
			}
		}, "the biases of k_proj in 2 layers are 0"},
		"float16, cast at the edges":           {"f16", two(whisperonnx.Decoder{Head: whisperonnx.Own}), castEdges, ""},
		"float16, merged, cast at the edges":   {"f16,gather", merged, castEdges, ""},
		"float16, stripped, cast at the edges": {"f16,opset17,stripped", two(whisperonnx.Decoder{Cache: whisperonnx.Unshared}), castEdges, ""},
		"4 bits, cast at the edges":            {"q4,gather,stripped", two(whisperonnx.Decoder{Cache: whisperonnx.Merged, Head: whisperonnx.Own, Tables: true}), castEdges, ""},
		"codes within the branches":            {"int8dyn,gather", two(whisperonnx.Decoder{Cache: whisperonnx.Unshared, Head: whisperonnx.Tied, Tables: true}), intoBranches, ""},
		"4 bits within the branches":           {"q4asym,stripped", two(whisperonnx.Decoder{Cache: whisperonnx.Unshared, Head: whisperonnx.Own, Tables: true}), intoBranches, ""},
		"no projection": {"", two(whisperonnx.Decoder{Head: whisperonnx.Tied}), func(g *pb.GraphProto) {
			rename(g, node(g, "/proj_out/MatMul").Input[0], "last_hidden_state")
			remove(g, "/proj_out/MatMul")
			g.Output[0].Name = proto.String("last_hidden_state")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, c := writtenDecoder(t, x.forms, x.d, x.change)
			m, got, err := recognise(t, path)
			if err != nil {
				t.Fatal(err)
			}
			if err := x.d.Check(c, &m.Catalogue, got); err != nil {
				t.Error(err)
			}
			if notes := strings.Join(got.Notes, "; "); !strings.Contains(notes, x.note) || x.note == "" && strings.Contains(notes, "could not be followed") {
				t.Errorf("notes %q, expected %q", notes, x.note)
			}
		})
	}
}

// intoBranches moves every initializer into the branch that uses it.
func intoBranches(g *pb.GraphProto) {
	all := g.Initializer
	g.Initializer = nil
	for _, name := range []string{"then_branch", "else_branch"} {
		b := branch(g, name)
		for _, w := range all {
			if slices.ContainsFunc(b.Node, func(n *pb.NodeProto) bool { return slices.Contains(n.Input, w.GetName()) }) {
				b.Initializer = append(b.Initializer, w)
			}
		}
	}
}

// castEdges puts a Cast behind every input of floats and before every output, as a converter to float16 does that keeps their types.
func castEdges(g *pb.GraphProto) {
	cast := func(from, to string) {
		g.Node = append(g.Node, &pb.NodeProto{OpType: proto.String("Cast"), Input: []string{from}, Output: []string{to}, Attribute: []*pb.AttributeProto{intAttribute("to", 10)}})
	}
	everywhere := []*pb.GraphProto{g}
	for _, n := range nodes(g, "If") {
		for _, a := range n.Attribute {
			everywhere = append(everywhere, a.G)
		}
	}
	for _, in := range g.Input {
		if name := in.GetName(); name == "encoder_hidden_states" || strings.HasPrefix(name, "past_key_values") {
			for _, g := range everywhere {
				rename(g, name, name+" half")
			}
			cast(name, name+" half")
		}
	}
	for _, out := range g.Output {
		name := out.GetName()
		rename(g, name, name+" half")
		cast(name+" half", name)
	}
}

// config.json beside a decoder must agree with it.
func TestDecoderConfig(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"decoder_layers": 2, "d_model": 36, "decoder_attention_heads": 3, "decoder_ffn_dim": 33, "max_target_positions": 7, "vocab_size": 65, "encoder_layers": 99}`: "",
		`{"decoder_layers": 3}`:          "decoder_layers: says 3, model.onnx has 2",
		`{"decoder_attention_heads": 4}`: "decoder_attention_heads: says 4, model.onnx has 3",
		`{"vocab_size": 51865}`:          "vocab_size: says 51865, model.onnx has 65",
		`{"max_target_positions": 448}`:  "max_target_positions: says 448, model.onnx has 7",
	} {
		path, _ := writtenDecoder(t, "", two(whisperonnx.Decoder{Cache: whisperonnx.Merged}), func(*pb.GraphProto) {})
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := recognise(t, path)
		if want == "" && err != nil || want != "" && (!errors.Is(err, source.ErrMismatch) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, expected %q", config, err, want)
		}
	}
}

// Matrices stored either way round are compared value by value, in blocks.
func TestCopiedLogits(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		vocab, width int
		at           int // of the value that differs; -1: none
	}{{65, 36, -1}, {65, 36, 0}, {65, 36, 65*36 - 1}, {40000, 36, -1}, {40000, 36, 39999}, {40000, 36, 36*40000 - 1}, {3, 2, 3}} {
		d := whisperonnx.Decoder{Layers: 1, FFN: 2, Positions: 2, Vocab: x.vocab}
		path := filepath.Join(t.TempDir(), "model.onnx")
		if err := whisperonnx.WriteDecoder(path, whisperonnx.Config{DModel: x.width, Layers: 1, Heads: 1, FFN: 1, Mels: 1, Positions: 1}, d); err != nil {
			t.Fatal(err)
		}
		m, err := onnx.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(m.Tensors, func(t source.Tensor) bool {
			return slices.Equal(t.Shape, []uint64{uint64(x.width), uint64(x.vocab)}) && strings.HasPrefix(t.Name, "onnx::")
		})
		offset := m.Tensors[i].Data.Offset
		m.Close()
		if x.at >= 0 {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{0, 0, 0, 0}, offset+4*int64(x.at)); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		_, got, err := recognise(t, path)
		if err != nil {
			t.Fatalf("%+v: %v", x, err)
		}
		if last := got.Parameters[len(got.Parameters)-1].Name; (last == "proj_out.weight") != (x.at >= 0) {
			t.Errorf("%+v: the last parameter is %s; %s", x, last, fmt.Sprint(got.Notes))
		}
	}
}
