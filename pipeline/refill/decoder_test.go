package refill

import (
	"bytes"
	"path/filepath"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// A decoder gets an artifact's values wherever it holds a parameter: in both branches, and in a projection to logits that is a copy. Then
// it packs as that artifact.
func TestDecoders(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]whisperonnx.Decoder{
		"copied":   {},
		"tied":     {Head: whisperonnx.Tied},
		"own":      {Head: whisperonnx.Own},
		"merged":   {Head: whisperonnx.Tied, Cache: whisperonnx.Merged},
		"unshared": {Cache: whisperonnx.Unshared},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d.Layers, d.FFN, d.Positions, d.Vocab = 2, 33, 7, 65
			source := filepath.Join(pyreader.TempDir(t), "m.onnx")
			if err := whisperonnx.WriteDecoder(source, whisperonnx.Odd, d); err != nil {
				t.Fatal(err)
			}
			if r := written(t, source, packed(t, source, "whisper-decoder/f32")); !bytes.Equal(read(t, r.Paths[0]), read(t, source)) {
				t.Error("unrounded: other bytes than the source's")
			}
			rounded := packed(t, source, "whisper-decoder/npu1-tiled")
			r := written(t, source, rounded)
			exact := packed(t, r.Paths[0], "whisper-decoder/f32")
			if len(exact.Parameters) != len(rounded.Parameters) {
				t.Errorf("%d parameters, the artifact has %d", len(exact.Parameters), len(rounded.Parameters))
			}
			again := packed(t, r.Paths[0], "whisper-decoder/npu1-tiled")
			for i := range again.File.Index.Operands {
				if loss := again.File.Index.Operands[i].Statistics.RelativeL2(); loss != 0 {
					t.Errorf("%s is rounded again: %g", again.File.Index.Operands[i].Name, loss)
				}
			}
		})
	}
}
