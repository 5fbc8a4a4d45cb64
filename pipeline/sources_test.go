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
	for _, recipe := range []string{"", "whisper-encoder/f32", "whisper-encoder/npu1-rowmajor-bias", "whisper-encoder/npu1-int4"} {
		want := packedFrom(t, encoder(t), recipe)
		list := checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)
		for name, path := range map[string]string{
			"safetensors":               write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(list)),
			"safetensors, OpenAI names": write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(checkpoints.Renamed(list, checkpoints.OpenAI))),
		} {
			if got := packedFrom(t, path, recipe); !bytes.Equal(got, want) {
				t.Errorf("%s: %s gives another artifact than ONNX", recipe, name)
			}
		}
	}
}
