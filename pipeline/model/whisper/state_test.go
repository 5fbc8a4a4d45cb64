package whisper_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
)

// catalogue gives the catalogue of a state dict, as if it were a file in dir.
func catalogue(dir string, list []checkpoints.Tensor) *source.Catalogue {
	c := &source.Catalogue{Kind: "test", Path: filepath.Join(dir, "model"), Files: []*source.File{{}}}
	for _, x := range list {
		t := source.Tensor{Name: x.Name, Type: x.Type, Data: source.Data{Inline: x.Bytes}}
		for _, n := range x.Shape {
			t.Shape = append(t.Shape, uint64(n))
		}
		c.Tensors = append(c.Tensors, t)
	}
	return c
}

func names(list []model.Parameter) []string {
	var all []string
	for _, p := range list {
		all = append(all, p.Name)
	}
	return all
}

func attributes(m *model.Model) string {
	var b strings.Builder
	for _, a := range m.Attributes {
		if a.IsReal {
			fmt.Fprintf(&b, " %s=%v", a.Name, a.Real)
			continue
		}
		fmt.Fprintf(&b, " %s=%d", a.Name, a.Int)
	}
	return b.String()[1:]
}

var oddSizes = map[string]int64{"dims.n_audio_head": 3, "dims.n_text_head": 6}

// Every convention of names gives the same parameters, with the same values.
func TestStateNames(t *testing.T) {
	t.Parallel()
	hf := checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)
	only := func(side string, list []checkpoints.Tensor) []checkpoints.Tensor {
		var part []checkpoints.Tensor
		for _, x := range list {
			if _, rest, ok := strings.Cut(x.Name, side); ok && strings.HasPrefix(strings.TrimPrefix(x.Name, "model."), side) {
				x.Name = rest
				part = append(part, x)
			}
		}
		return part
	}
	all := []string{"whisper-encoder", "whisper-decoder", "whisper"}
	for name, x := range map[string]struct {
		list     []checkpoints.Tensor
		families []string
	}{
		"Hugging Face":         {hf, all},
		"without model.":       {checkpoints.Renamed(hf, func(n string) string { return strings.TrimPrefix(n, "model.") }), all},
		"OpenAI":               {checkpoints.Renamed(hf, checkpoints.OpenAI), all},
		"wrapped":              {checkpoints.Renamed(hf, func(n string) string { return "_orig_mod.module." + n }), all},
		"traced":               {checkpoints.Renamed(hf, func(n string) string { return "self." + n }), all},
		"an encoder alone":     {only("encoder.", hf), all[:1]},
		"a decoder alone":      {only("decoder.", hf), all[1:2]},
		"OpenAI's, an encoder": {only("encoder.", checkpoints.Renamed(hf, checkpoints.OpenAI)), all[:1]},
		"OpenAI's, a decoder":  {only("decoder.", checkpoints.Renamed(hf, checkpoints.OpenAI)), all[1:2]},
	} {
		c := catalogue(t.TempDir(), x.list)
		c.Sizes = oddSizes
		models, err := whisper.FromState(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var families []string
		for _, m := range models {
			families = append(families, m.Family)
			for _, p := range m.Parameters {
				i := slices.IndexFunc(hf, func(x checkpoints.Tensor) bool { return x.Name == "model."+p.Name })
				if i < 0 || string(hf[i].Bytes) != string(p.Tensor.Data.Inline) || len(p.Axes) != len(p.Shape) {
					t.Errorf("%s: %s: %+v", name, m.Family, p)
				}
			}
		}
		if !slices.Equal(families, x.families) {
			t.Errorf("%s: %v, expected %v", name, families, x.families)
		}
	}
}

// The parameters, attributes and order of an encoder are those that its ONNX export gives.
func TestStateAsONNX(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := whisperonnx.Write(path, whisperonnx.Odd); err != nil {
		t.Fatal(err)
	}
	_, want, err := recognise(t, path)
	if err != nil {
		t.Fatal(err)
	}
	c := catalogue(t.TempDir(), checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd))
	c.Sizes = oddSizes
	models, err := whisper.FromState(c)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names(models[0].Parameters), names(want.Parameters)) || attributes(models[0]) != attributes(want) {
		t.Errorf("%s: %v\nexpected %s: %v", attributes(models[0]), names(models[0].Parameters), attributes(want), names(want.Parameters))
	}
	const decoder, whole = "layers=1 d_model=36 heads=6 ffn=70 vocab=51 positions=5 eps=9.999999747378752e-06",
		"layers=2 d_model=36 heads=3 ffn=100 mels=7 positions=11 eps=9.999999747378752e-06 decoder_layers=1 decoder_heads=6 decoder_ffn=70 decoder_positions=5 vocab=51"
	if got := attributes(models[1]); got != decoder {
		t.Errorf("%s, expected %s", got, decoder)
	}
	if got := attributes(models[2]); got != whole {
		t.Errorf("%s, expected %s", got, whole)
	}
	if got := len(models[2].Parameters); got != len(models[0].Parameters)+len(models[1].Parameters) {
		t.Errorf("%d parameters of both", got)
	}
}

// Every published Whisper is recognised by its layers, heads and configuration; widths are a 64th of the real ones.
func TestPublishedSizes(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct{ encoder, decoder, heads, mels, vocab int }{
		"tiny": {4, 4, 6, 80, 51865}, "tiny.en": {4, 4, 6, 80, 51864},
		"base": {6, 6, 8, 80, 51865}, "base.en": {6, 6, 8, 80, 51864},
		"small": {12, 12, 12, 80, 51865}, "small.en": {12, 12, 12, 80, 51864},
		"medium": {24, 24, 16, 80, 51865}, "medium.en": {24, 24, 16, 80, 51864},
		"large": {32, 32, 20, 80, 51865}, "large-v2": {32, 32, 20, 80, 51865}, "large-v3": {32, 32, 20, 128, 51866},
		"large-v3-turbo":  {32, 4, 20, 128, 51866},
		"distil-small.en": {12, 4, 12, 80, 51864}, "distil-medium.en": {24, 2, 16, 80, 51864},
		"distil-large-v2": {32, 2, 20, 80, 51865}, "distil-large-v3": {32, 2, 20, 128, 51866},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := x.heads // d_model/64
			c := whisperonnx.Config{DModel: d, Layers: x.encoder, Heads: x.heads, FFN: 4 * d, Mels: x.mels, Positions: 15}
			dir := t.TempDir()
			config := fmt.Sprintf(`{"model_type": "whisper", "d_model": %d, "encoder_layers": %d, "decoder_layers": %d, "encoder_attention_heads": %d, "decoder_attention_heads": %d,
				"encoder_ffn_dim": %d, "decoder_ffn_dim": %d, "num_mel_bins": %d, "max_source_positions": 15, "max_target_positions": 7, "vocab_size": %d}`,
				d, x.encoder, x.decoder, x.heads, x.heads, 4*d, 4*d, x.mels, x.vocab)
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			list := checkpoints.Whisper(c, checkpoints.Decoder{Layers: x.decoder, FFN: 4 * d, Positions: 7, Vocab: x.vocab})
			models, err := whisper.FromState(catalogue(dir, list))
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("layers=%d d_model=%d heads=%d ffn=%d mels=%d positions=15 eps=9.999999747378752e-06 decoder_layers=%d decoder_heads=%d decoder_ffn=%d decoder_positions=7 vocab=%d",
				x.encoder, d, x.heads, 4*d, x.mels, x.decoder, x.heads, 4*d, x.vocab)
			if got := attributes(models[2]); got != want || len(models[2].Notes) != 0 {
				t.Errorf("%s, expected %s; %v", got, want, models[2].Notes)
			}
			// The decoder's export is the same model.
			d2 := whisperonnx.Decoder{Layers: x.decoder, FFN: 4 * d, Positions: 7, Vocab: x.vocab, Head: whisperonnx.Tied, Cache: whisperonnx.Merged}
			path := filepath.Join(dir, "decoder_model_merged.onnx")
			if err := whisperonnx.WriteDecoder(path, c, d2); err != nil {
				t.Fatal(err)
			}
			_, exported, err := recognise(t, path)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := attributes(exported), attributes(models[1]); got != want || !slices.Equal(names(exported.Parameters), names(models[1].Parameters)) {
				t.Errorf("exported: %s, expected %s", got, want)
			}
			for i, n := range []int{7 + 15*x.encoder, 4 + 24*x.decoder, 11 + 15*x.encoder + 24*x.decoder} {
				if len(models[i].Parameters) != n {
					t.Errorf("%s: %d parameters, expected %d", models[i].Family, len(models[i].Parameters), n)
				}
			}
		})
	}
}

func TestStateHeads(t *testing.T) {
	t.Parallel()
	wide := whisperonnx.Config{DModel: 384, Layers: 1, Heads: 6, FFN: 3, Mels: 2, Positions: 2}
	for name, x := range map[string]struct {
		c      whisperonnx.Config
		config string
		sizes  map[string]int64
		heads  int64
		note   bool
		wants  error
		says   string
	}{
		"as published":           {wide, "", nil, 6, true, nil, ""},
		"config.json":            {whisperonnx.Odd, `{"encoder_attention_heads": 4}`, nil, 4, false, nil, ""},
		"dims":                   {whisperonnx.Odd, "", map[string]int64{"dims.n_audio_head": 9, "dims.n_text_head": 1}, 9, false, nil, ""},
		"bare":                   {whisperonnx.Odd, "", map[string]int64{"n_audio_head": 9}, 9, false, nil, ""},
		"both":                   {whisperonnx.Odd, `{"encoder_attention_heads": 9}`, map[string]int64{"hparams.n_audio_head": 9}, 9, false, nil, ""},
		"neither":                {whisperonnx.Odd, `{}`, nil, 0, true, nil, ""},
		"they differ":            {whisperonnx.Odd, `{"encoder_attention_heads": 9}`, map[string]int64{"hparams.n_audio_head": 6}, 0, false, source.ErrMismatch, "encoder_attention_heads: says 9, model has 6"},
		"no divisor":             {whisperonnx.Odd, `{"encoder_attention_heads": 5}`, nil, 0, false, source.ErrMismatch, "5 heads"},
		"none":                   {wide, `{"encoder_attention_heads": 0}`, nil, 0, false, source.ErrMismatch, "0 heads"},
		"negative":               {wide, `{"encoder_attention_heads": -2}`, nil, 0, false, source.ErrMismatch, "-2 heads"},
		"layers differ":          {wide, `{"encoder_layers": 2}`, nil, 0, false, source.ErrMismatch, "encoder_layers: says 2, model has 1"},
		"dims differ":            {wide, "", map[string]int64{"dims.n_mels": 80}, 0, false, source.ErrMismatch, "dims.n_mels: says 80, model has 2"},
		"a config that is none":  {wide, "[]", nil, 0, false, source.ErrCorrupt, "config.json"},
		"dims of another matter": {wide, "", map[string]int64{"epoch": 80}, 6, true, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if x.config != "" {
				if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(x.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := catalogue(dir, checkpoints.Encoder(x.c))
			c.Sizes = x.sizes
			models, err := whisper.FromState(c)
			if !errors.Is(err, x.wants) || err != nil && !strings.Contains(err.Error(), x.says) {
				t.Fatalf("%v, expected %v with %q", err, x.wants, x.says)
			}
			if err != nil {
				return
			}
			heads := int64(0) // where nothing is said of them
			for _, a := range models[0].Attributes {
				if a.Name == "heads" {
					heads = a.Int
				}
			}
			if heads != x.heads || x.note != (len(models[0].Notes) == 1) || x.note != models[0].Guessed {
				t.Errorf("%s, %v", attributes(models[0]), models[0].Notes)
			}
		})
	}
}

// The projection to logits is the embedding again, or a parameter of its own.
func TestStateLogits(t *testing.T) {
	t.Parallel()
	list := checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)
	embedding := list[slices.IndexFunc(list, func(x checkpoints.Tensor) bool { return x.Name == "model.decoder.embed_tokens.weight" })]
	copied, other, f64 := embedding, embedding, embedding
	copied.Name, other.Name, f64.Name = "proj_out.weight", "proj_out.weight", "proj_out.weight"
	other.Bytes = slices.Clone(other.Bytes)
	other.Bytes[len(other.Bytes)-1] ^= 1
	p := whisperonnx.NewParameter("", element.F32, 0<<20+uint64(len(checkpoints.Encoder(whisperonnx.Odd))), embedding.Shape...)
	f64.Type, f64.Bytes = element.F64, p.AppendBytes(nil, element.F64)
	for name, x := range map[string]struct {
		logits checkpoints.Tensor
		note   string // "": it is a parameter
	}{
		"a copy":            {copied, "equal in every value"},
		"a copy in float64": {f64, "equal in every value"},
		"other in one bit":  {other, ""},
	} {
		c := catalogue(t.TempDir(), append(slices.Clone(list), x.logits))
		c.Sizes = oddSizes
		models, err := whisper.FromState(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, m := range models[1:] {
			noted := strings.Contains(strings.Join(m.Notes, "\n"), "proj_out.weight")
			last := m.Parameters[len(m.Parameters)-1].Name
			if noted != (x.note != "") || (last == "proj_out.weight") == noted || noted && !strings.Contains(m.Notes[0], x.note) {
				t.Errorf("%s: %s: last parameter %s, notes %q", name, m.Family, last, m.Notes)
			}
		}
		if len(models[0].Notes) != 0 {
			t.Errorf("%s: %v for the encoder", name, models[0].Notes)
		}
	}
	tied := catalogue(t.TempDir(), append(slices.Clone(list), copied))
	tied.Sizes = oddSizes
	for _, name := range []string{"model.decoder.embed_tokens.weight", "proj_out.weight"} {
		tied.Tensor(name).Data = source.Data{Offset: 64, Size: int64(len(copied.Bytes))} // in no file: nothing may read it
	}
	models, err := whisper.FromState(tied)
	if err != nil || !strings.Contains(strings.Join(models[1].Notes, "\n"), "the same bytes of the file") {
		t.Errorf("%+v, %v", models, err)
	}
}

// Keys have no bias: one that is 0 does not count.
func TestStateKeyBias(t *testing.T) {
	t.Parallel()
	list := checkpoints.Encoder(whisperonnx.Odd)
	bias := checkpoints.Tensor{Name: "encoder.layers.1.self_attn.k_proj.bias", Type: element.F32, Shape: []int{36}, Bytes: make([]byte, 4*36)}
	c := catalogue(t.TempDir(), append(slices.Clone(list), bias))
	c.Sizes = oddSizes
	models, err := whisper.FromState(c)
	if err != nil || len(models[0].Notes) != 1 || !strings.Contains(models[0].Notes[0], "k_proj in 1 layers") {
		t.Errorf("%v, %v", models, err)
	}
	bias.Bytes[3] = 1
	if _, err := whisper.FromState(c); !errors.Is(err, source.ErrParameters) || !strings.Contains(err.Error(), bias.Name) {
		t.Errorf("%v, expected that a bias of keys is left over", err)
	}
}

func TestStateRefuses(t *testing.T) {
	t.Parallel()
	at := func(list []checkpoints.Tensor, name string) *checkpoints.Tensor {
		return &list[slices.IndexFunc(list, func(x checkpoints.Tensor) bool { return x.Name == "model."+name })]
	}
	for name, x := range map[string]struct {
		edit func(list []checkpoints.Tensor) []checkpoints.Tensor
		want error
		says []string
	}{
		"names of another model": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			return checkpoints.Renamed(list, func(n string) string { return "bert." + n })
		}, source.ErrNotRecognised, []string{"npuw sources"}},
		"a decoder of another encoder": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			return checkpoints.Renamed(list, func(n string) string { return strings.Replace(n, "encoder.conv", "encoder.embed", 1) })
		}, source.ErrNotRecognised, []string{"no Whisper"}},
		"a parameter is missing": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			at(list, "encoder.layers.1.fc2.bias").Name = "unused"
			return list
		}, source.ErrParameters, []string{`"encoder.layers.1.fc2.bias": missing`}},
		"the first layer's is missing": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			at(list, "encoder.layers.0.fc1.weight").Name = "unused"
			return list
		}, source.ErrParameters, []string{`"encoder.layers.0.fc1.weight": missing`}},
		"a layer is missing": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			return checkpoints.Renamed(list, func(n string) string { return strings.Replace(n, "encoder.layers.1.", "encoder.layers.2.", 1) })
		}, source.ErrParameters, []string{"encoder.layers.1.self_attn.q_proj.weight", "missing"}},
		"a number of a layer that is none": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			return checkpoints.Renamed(list, func(n string) string { return strings.Replace(n, "encoder.layers.1.", "encoder.layers.01.", 1) })
		}, source.ErrParameters, []string{"encoder.layers.01.", "no parameter"}},
		"one is left over": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			return append(list, checkpoints.Tensor{Name: "classifier.weight", Type: element.F32, Shape: []int{1}, Bytes: make([]byte, 4)})
		}, source.ErrParameters, []string{`"classifier.weight"`, "no parameter"}},
		"one is there twice": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			twin := *at(list, "encoder.conv1.bias")
			twin.Name = "encoder.conv1.bias"
			return append(list, twin)
		}, source.ErrParameters, []string{`"encoder.conv1.bias"`, `"model.encoder.conv1.bias"`}},
		"a shape differs": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			at(list, "decoder.layers.0.fc2.weight").Shape = []int{70, 36}
			return list
		}, source.ErrParameters, []string{"decoder.layers.0.fc2.weight", "[70 36]", "[36 70]"}},
		"a rank differs": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			at(list, "encoder.conv1.weight").Shape = []int{36, 21}
			return list
		}, source.ErrParameters, []string{"encoder.conv1.weight", "expected 3 axes"}},
		"an axis of nothing": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			at(list, "encoder.conv1.weight").Shape = []int{36, 0, 3}
			return list
		}, source.ErrParameters, []string{"encoder.conv1.weight", "holds nothing"}},
		"the halves differ in width": {func(list []checkpoints.Tensor) []checkpoints.Tensor {
			other := checkpoints.Whisper(whisperonnx.Config{DModel: 72, Layers: 1, Heads: 6, FFN: 3, Mels: 2, Positions: 2}, checkpoints.Odd)
			half := slices.DeleteFunc(list, func(x checkpoints.Tensor) bool { return strings.HasPrefix(x.Name, "model.decoder.") })
			return append(half, slices.DeleteFunc(other, func(x checkpoints.Tensor) bool { return strings.HasPrefix(x.Name, "model.encoder.") })...)
		}, source.ErrMismatch, []string{"d_model is 36 in the encoder, 72 in the decoder"}},
	} {
		c := catalogue(t.TempDir(), x.edit(checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)))
		c.Sizes = oddSizes
		_, err := whisper.FromState(c)
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v, expected %v", name, err, x.want)
			continue
		}
		for _, part := range x.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, expected %q in it", name, err, part)
			}
		}
	}
}

// A parameter that holds no floats is named with its type.
func TestStateOtherTypes(t *testing.T) {
	t.Parallel()
	list := checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)
	c := catalogue(t.TempDir(), slices.DeleteFunc(list, func(x checkpoints.Tensor) bool { return x.Name == "model.encoder.conv2.weight" }))
	c.Sizes, c.Others = oddSizes, map[string]string{"model.encoder.conv2.weight": "I8", "step": "I64"}
	if _, err := whisper.FromState(c); !errors.Is(err, source.ErrUnsupported) || !strings.Contains(err.Error(), "its type is I8") {
		t.Errorf("%v, expected that I8 is not read", err)
	}
}
