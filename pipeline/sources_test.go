package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// packedFrom gives the bytes of the artifact that a recipe makes of the model at path. It is written to out, in place of the one before.
func packedFrom(t *testing.T, out, path, recipe string) []byte {
	t.Helper()
	b, err := Prepare(path, recipe)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Pack(context.Background(), out, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	artifact, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}

// write writes files into a folder of their own, with a config.json that tells heads, and gives the path of the first.
func write(t *testing.T, config, name string, file []byte) string {
	t.Helper()
	dir := pyreader.TempDir(t)
	for name, file := range map[string][]byte{name: file, "config.json": []byte(config)} {
		if err := os.WriteFile(filepath.Join(dir, name), file, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, name)
}

const threeHeads = `{"encoder_attention_heads": 3, "decoder_attention_heads": 3}`

// oddCheckpoints writes whisperonnx.Odd with a decoder in every form of a checkpoint.
func oddCheckpoints(t *testing.T) map[string]string {
	t.Helper()
	list := checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)
	openAI := checkpoints.Renamed(list, checkpoints.OpenAI)
	dims := map[string]map[string]int{"dims": {"n_audio_head": 3, "n_text_head": 3, "n_mels": 7, "n_vocab": 51}}
	views := checkpoints.Views(list)
	tied := append([]checkpoints.View{{Name: "proj_out.weight", Of: views[37].Of, Shape: views[37].Shape, Stride: views[37].Stride}}, views...)
	var transposed []checkpoints.View
	for _, v := range views {
		transposed = append(transposed, checkpoints.Transposed(v, 4))
	}
	sharded := filepath.Dir(write(t, threeHeads, "other", nil))
	index, err := checkpoints.WriteShards(sharded, list, 3)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"safetensors":               write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(list)),
		"safetensors, OpenAI names": write(t, threeHeads, "x", checkpoints.Safetensors(openAI)),
		"an index":                  index,
		"a shard":                   filepath.Join(sharded, "model-00002-of-00003.safetensors"),
		"a folder":                  filepath.Dir(write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(list))),
		"PyTorch":                   write(t, threeHeads, "pytorch_model.bin", checkpoints.TorchZip(checkpoints.Saved{Views: tied})),
		"PyTorch, old":              write(t, threeHeads, "x", checkpoints.TorchLegacy(checkpoints.Saved{Views: tied})),
		"PyTorch, transposed":       write(t, threeHeads, "x", checkpoints.TorchZip(checkpoints.Saved{Views: transposed})),
		"PyTorch, nested":           write(t, threeHeads, "x", checkpoints.TorchLegacy(checkpoints.Saved{Views: views, Nest: "state_dict"})),
		"OpenAI's":                  write(t, "{}", "odd.pt", checkpoints.TorchZip(checkpoints.Saved{Views: checkpoints.Views(openAI), Nest: "model_state_dict", Numbers: dims})),
	}
}

// An encoder gives the same artifact, byte for byte, from its ONNX export and from checkpoints.
func TestCheckpointsPackTheSame(t *testing.T) {
	t.Parallel()
	paths := oddCheckpoints(t)
	for _, recipe := range []string{"", "whisper-encoder/npu1-rowmajor-bias", "whisper-encoder/npu1-int4"} {
		out := filepath.Join(pyreader.TempDir(t), "x.npuw")
		want := packedFrom(t, out, encoder(t), recipe)
		for name, path := range paths {
			if got := packedFrom(t, out, path, recipe); !bytes.Equal(got, want) {
				t.Errorf("%s: %s gives another artifact than ONNX", recipe, name)
			}
		}
	}
}

// A decoder, and both halves together, are packed by recipes of a person's own; every checkpoint gives the same artifact.
func TestDecodersPackTheSame(t *testing.T) {
	t.Parallel()
	paths := oddCheckpoints(t)
	const rules = `
operand { parameter: "SIDE.layers.{i}.*.*_proj.weight"  parameter: "SIDE.layers.{i}.fc*.weight"  segment: "SIDE.{i}"  format: BF16  layout: "N* K*" }
operand { parameter: "SIDE.layers.{i}.*.*_proj.bias"  parameter: "SIDE.layers.{i}.fc*.bias"  parameter: "SIDE.layers.{i}.*_layer_norm.*"
          segment: "SIDE.{i}"  format: BF16  layout: "N*" }
operand { parameter: "SIDE.layer_norm.*"  segment: "SIDE"  format: BF16  layout: "N*" }
operand { parameter: "SIDE.embed_positions.weight"  segment: "SIDE"  format: BF16  layout: "P* N*" }
`
	side := func(name string) string { return strings.ReplaceAll(rules, "SIDE", name) }
	decoder := side("decoder") + `operand { parameter: "decoder.embed_tokens.weight"  segment: "tokens"  format: BF16  layout: "N* K*" }`
	whole := decoder + side("encoder") + `operand { parameter: "encoder.conv*.weight"  segment: "encoder"  format: BF16  layout: "N* C* X*" }
operand { parameter: "encoder.conv*.bias"  segment: "encoder"  format: BF16  layout: "N*" }`
	for family, text := range map[string]string{"whisper-decoder": decoder, "whisper": whole} {
		recipe := filepath.Join(pyreader.TempDir(t), "mine.txtpb")
		if err := os.WriteFile(recipe, []byte(fmt.Sprintf("name: %q\n%s", family+"/mine", text)), 0o600); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(pyreader.TempDir(t), "x.npuw")
		want := packedFrom(t, out, paths["safetensors"], recipe)
		for name, path := range paths {
			if got := packedFrom(t, out, path, recipe); !bytes.Equal(got, want) {
				t.Errorf("%s: %s gives another artifact than safetensors", family, name)
			}
		}
	}
}

// Of a folder the file that the recipe needs is taken.
func TestPrepareOfFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Dir(write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(checkpoints.Encoder(whisperonnx.Odd))))
	b, err := Prepare(dir, "whisper-encoder/f32")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Folder == nil || b.Folder.Taken != b.Catalogue.Path || b.Recipe.Name != "whisper-encoder/f32" {
		t.Errorf("%+v", b)
	}
	recipe := filepath.Join(pyreader.TempDir(t), "mine.txtpb")
	if err := os.WriteFile(recipe, []byte(`name: "whisper-decoder/mine" operand { parameter: "*" segment: "s" format: F32 layout: "N*" }`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(dir, recipe); !errors.Is(err, source.ErrNotRecognised) || !strings.Contains(err.Error(), "model.safetensors: holds no whisper-decoder") {
		t.Errorf("%v, expected that there is no decoder", err)
	}
}

// So do the files that the real tools wrote of one model: in float32, and in float16.
func TestRealFilesPackTheSame(t *testing.T) {
	t.Parallel()
	const heads = `{"encoder_attention_heads": 4, "decoder_attention_heads": 4}`
	copied := func(name string) string {
		path := filepath.Join("../testdata/whisper-tiny", name)
		if _, err := os.Stat(path); err != nil {
			if path = whisperonnx.Beside("shared/fixtures/whisper-tiny/" + name); path == "" {
				return "" // too large to be part of this repository
			}
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return write(t, heads, name, file)
	}
	for first, others := range map[string][]string{
		"whisper-tiny-encoder.onnx": {"whisper-tiny.pytorch_model.bin", "whisper-tiny.legacy.bin", "whisper-tiny.model.safetensors"},
		// The ONNX file in float16 rounds the epsilon of LayerNorms too, and so is another model.
		"whisper-tiny.openai.pt": {"whisper-tiny.model.fp16.safetensors"},
	} {
		out := filepath.Join(pyreader.TempDir(t), "x.npuw")
		want := packedFrom(t, out, copied(first), "whisper-encoder/f32")
		for _, name := range others {
			path := copied(name)
			if path == "" {
				continue
			}
			if got := packedFrom(t, out, path, "whisper-encoder/f32"); !bytes.Equal(got, want) {
				t.Errorf("%s gives another artifact than %s", name, first)
			}
		}
	}
}
