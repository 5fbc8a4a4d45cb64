package pipeline

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/schema/pyreader"
)

// packedFrom gives the bytes of the artifact that a recipe makes of the model at path.
func packedFrom(t *testing.T, path, recipe string) []byte {
	t.Helper()
	b, err := Prepare(path, recipe)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
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

// An encoder gives the same artifact, byte for byte, from its ONNX export and from checkpoints.
func TestCheckpointsPackTheSame(t *testing.T) {
	t.Parallel()
	list := checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)
	openAI := checkpoints.Renamed(list, checkpoints.OpenAI)
	dims := map[string]map[string]int{"dims": {"n_audio_head": 3, "n_text_head": 3, "n_mels": 7, "n_vocab": 51}}
	var transposed []checkpoints.View
	for _, v := range checkpoints.Views(list) {
		transposed = append(transposed, checkpoints.Transposed(v, 4))
	}
	sharded := func(name string) string {
		dir := filepath.Dir(write(t, threeHeads, "other", nil))
		index, err := checkpoints.WriteShards(dir, list, 3)
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			return index
		}
		return filepath.Join(dir, name)
	}
	paths := map[string]string{
		"safetensors":               write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(list)),
		"safetensors, OpenAI names": write(t, threeHeads, "x", checkpoints.Safetensors(openAI)),
		"an index":                  sharded(""),
		"a shard":                   sharded("model-00002-of-00003.safetensors"),
		"PyTorch":                   write(t, threeHeads, "pytorch_model.bin", checkpoints.TorchZip(checkpoints.Saved{Views: checkpoints.Views(list)})),
		"PyTorch, old":              write(t, threeHeads, "x", checkpoints.TorchLegacy(checkpoints.Saved{Views: checkpoints.Views(list)})),
		"PyTorch, transposed":       write(t, threeHeads, "x", checkpoints.TorchZip(checkpoints.Saved{Views: transposed})),
		"PyTorch, nested":           write(t, threeHeads, "x", checkpoints.TorchLegacy(checkpoints.Saved{Views: checkpoints.Views(list), Nest: "state_dict"})),
		"OpenAI's":                  write(t, "{}", "odd.pt", checkpoints.TorchZip(checkpoints.Saved{Views: checkpoints.Views(openAI), Nest: "model_state_dict", Numbers: dims})),
	}
	for _, recipe := range []string{"", "whisper-encoder/f32", "whisper-encoder/npu1-rowmajor-bias", "whisper-encoder/npu1-int4"} {
		want := packedFrom(t, encoder(t), recipe)
		for name, path := range paths {
			if got := packedFrom(t, path, recipe); !bytes.Equal(got, want) {
				t.Errorf("%s: %s gives another artifact than ONNX", recipe, name)
			}
		}
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
		want := packedFrom(t, copied(first), "whisper-encoder/f32")
		for _, name := range others {
			path := copied(name)
			if path == "" {
				continue
			}
			if got := packedFrom(t, path, "whisper-encoder/f32"); !bytes.Equal(got, want) {
				t.Errorf("%s gives another artifact than %s", name, first)
			}
		}
	}
}
