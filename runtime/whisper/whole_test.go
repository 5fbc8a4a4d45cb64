package whisper

import (
	"slices"
	"testing"

	"npuw/pipeline"
	"npuw/pipeline/pack"
	"npuw/runtime/cpu"
	"npuw/schema/pyreader"
)

// The encoder of an artifact that has its decoder too gives the bits of the encoder alone; a decoder alone is refused.
func TestWholeModel(t *testing.T) {
	t.Parallel()
	const encoder, decoder = fixtures + "whisper-tiny-encoder.onnx", fixtures + "whisper-tiny-decoder_merged.onnx"
	mel := readFloats(t, fixtures+"whisper-tiny-encoder.in.f32")
	d := newCPU(t, cpu.Options{})
	for _, r := range []string{"npu1-tiled", "f32"} {
		b, err := pipeline.PrepareFiles([]string{encoder, decoder}, FamilyWhole+"/"+r)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		path := pyreader.TempDir(t) + "/whole.npuw"
		if _, err := b.Pack(t.Context(), path, pack.Options{NoSync: true}); err != nil {
			t.Fatal(err)
		}
		want := encode(t, d, packModel(t, encoder, Family+"/"+r), mel, Options{})
		if got := encode(t, d, path, mel, Options{}); !slices.Equal(bitsOf(got), bitsOf(want)) {
			t.Errorf("%s: other bits than the encoder alone", r)
		}
	}
	refuse(t, "a decoder", packModel(t, decoder, ""), `family "whisper-decoder"; an encoder was expected`)
}
