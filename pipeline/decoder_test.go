package pipeline

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
	"npuw/schema/pyreader"
)

// packedFiles gives the bytes of the artifact that a recipe makes of the model in some files.
func packedFiles(t *testing.T, recipe string, paths ...string) []byte {
	t.Helper()
	b, err := PrepareFiles(paths, recipe)
	if err != nil {
		t.Fatalf("%s of %q: %v", recipe, paths, err)
	}
	defer b.Close()
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	if _, err := b.Pack(context.Background(), out, pack.Options{NoSync: true}); err != nil {
		t.Fatalf("%s of %q: %v", recipe, paths, err)
	}
	artifact, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}

// onnxFiles writes the encoder of c and the decoder d beside it, in files of their own, in some forms.
func onnxFiles(t *testing.T, c whisperonnx.Config, d whisperonnx.Decoder, forms string) (encoder, decoder string) {
	t.Helper()
	c, err := c.With(forms)
	if err != nil {
		t.Fatal(err)
	}
	dir := pyreader.TempDir(t)
	encoder, decoder = filepath.Join(dir, "encoder.onnx"), filepath.Join(dir, "decoder.onnx")
	if err := whisperonnx.Write(encoder, c); err != nil {
		t.Fatal(err)
	}
	if err := whisperonnx.WriteDecoder(decoder, c, d); err != nil {
		t.Fatal(err)
	}
	return encoder, decoder
}

// A decoder gives the same artifact, byte for byte, from exports in every form and from checkpoints, and so do encoder and decoder together
// from a file each and from one.
func TestDecoderExportsPackTheSame(t *testing.T) {
	t.Parallel()
	d := whisperonnx.Decoder{Layers: 2, FFN: 70, Positions: 5, Vocab: 51}
	forms := map[string]whisperonnx.Decoder{}
	for _, head := range []whisperonnx.Head{whisperonnx.Copied, whisperonnx.Tied} {
		for _, cache := range []whisperonnx.Cache{whisperonnx.NoCache, whisperonnx.Merged, whisperonnx.Unshared} {
			forms["head "+string(head)+", cache "+string(cache)] = whisperonnx.Decoder{Layers: d.Layers, FFN: d.FFN, Positions: d.Positions, Vocab: d.Vocab, Head: head, Cache: cache}
		}
	}
	list := checkpoints.Whisper(whisperonnx.Odd, d)
	state := write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(list))
	tied := write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(append(list, checkpoints.ProjOut(whisperonnx.Odd, d))))
	openAI := write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(checkpoints.Renamed(list, checkpoints.OpenAI)))
	for _, r := range []string{"npu1-tiled", "f32"} {
		one, both := packedFiles(t, "whisper-decoder/"+r, state), packedFiles(t, "whisper/"+r, state)
		same := func(what, recipe string, want []byte, paths ...string) {
			t.Helper()
			if !bytes.Equal(packedFiles(t, recipe, paths...), want) {
				t.Errorf("%s: another artifact from %s than from safetensors", recipe, what)
			}
		}
		same("safetensors with a copied head", "whisper/"+r, both, tied)
		same("safetensors under OpenAI's names", "whisper-decoder/"+r, one, openAI)
		for form, d := range forms {
			names := ""
			if d.Cache == whisperonnx.Merged {
				names = "stripped,gather,opset17"
			}
			encoder, decoder := onnxFiles(t, whisperonnx.Odd, d, names)
			same("ONNX, "+form, "whisper-decoder/"+r, one, decoder)
			same("ONNX, "+form, "whisper/"+r, both, encoder, decoder)
		}
	}
	encoder, decoder := onnxFiles(t, whisperonnx.Odd, d, "")
	if !bytes.Equal(packedFiles(t, "", decoder), packedFiles(t, "whisper-decoder/npu1-tiled", decoder)) ||
		!bytes.Equal(packedFiles(t, "", decoder, encoder), packedFiles(t, "whisper/npu1-tiled", state)) {
		t.Error("the default recipes are others than npu1-tiled, or the order of files counts")
	}
}

// A projection to logits that is not the embedding is a parameter of its own, from ONNX and from checkpoints alike.
func TestOwnLogits(t *testing.T) {
	t.Parallel()
	d := whisperonnx.Decoder{Layers: 1, FFN: 70, Positions: 5, Vocab: 51, Head: whisperonnx.Own, Cache: whisperonnx.Merged}
	list := append(checkpoints.Whisper(whisperonnx.Odd, d), checkpoints.ProjOut(whisperonnx.Odd, d))
	path := write(t, threeHeads, "model.safetensors", checkpoints.Safetensors(list))
	encoder, decoder := onnxFiles(t, whisperonnx.Odd, d, "")
	for _, r := range []string{"npu1-tiled", "f32"} {
		want := packedFiles(t, "whisper/"+r, path)
		if !bytes.Equal(packedFiles(t, "whisper/"+r, encoder, decoder), want) {
			t.Errorf("%s: another artifact from ONNX than from safetensors", r)
		}
		own := packedFiles(t, "whisper-decoder/"+r, decoder)
		d := d
		d.Head = whisperonnx.Tied
		_, without := onnxFiles(t, whisperonnx.Odd, d, "")
		if tied := packedFiles(t, "whisper-decoder/"+r, without); len(own) <= len(tied) {
			t.Errorf("%s: %d bytes with a projection of its own, %d without", r, len(own), len(tied))
		}
	}
}

// The real exports of one model: every form gives the artifact of the others, and of the checkpoint where that is there.
func TestRealDecoders(t *testing.T) {
	t.Parallel()
	const here = "../testdata/whisper-tiny/whisper-tiny-"
	merged, encoder := here+"decoder_merged.onnx", here+"encoder.onnx"
	others := []string{here + "decoder-tied.onnx"}
	whole := map[string][]byte{"whisper/npu1-tiled": packedFiles(t, "whisper/npu1-tiled", encoder, merged)}
	if dir := whisperonnx.Beside("shared/fixtures/whisper-tiny"); dir != "" {
		file, err := os.ReadFile(filepath.Join(dir, "whisper-tiny.model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		state := write(t, `{"encoder_attention_heads": 4, "decoder_attention_heads": 4}`, "model.safetensors", file)
		others = append(others, state, filepath.Join(dir, "whisper-tiny-decoder.onnx"))
		for r, want := range whole {
			if !bytes.Equal(packedFiles(t, r, state), want) {
				t.Errorf("%s: another artifact from the checkpoint than from encoder and decoder", r)
			}
		}
	}
	for _, r := range []string{"whisper-decoder/npu1-tiled", "whisper-decoder/f32"} {
		want := packedFiles(t, r, merged)
		for _, other := range others {
			if !bytes.Equal(packedFiles(t, r, other), want) {
				t.Errorf("%s: %s gives another artifact than %s", r, other, merged)
			}
		}
	}
	for r, want := range whole {
		if !bytes.Equal(packedFiles(t, r, encoder, others[0]), want) {
			t.Errorf("%s: another artifact with the tied decoder", r)
		}
	}
}

// From what each built-in recipe makes of a decoder, and of a whole model, every parameter can be extracted again.
func TestDecodersComeBack(t *testing.T) {
	t.Parallel()
	d := whisperonnx.Decoder{Layers: 2, FFN: 70, Positions: 5, Vocab: 51, Head: whisperonnx.Own}
	encoder, decoder := onnxFiles(t, whisperonnx.Odd, d, "")
	for family, paths := range map[string][]string{"whisper-decoder": {decoder}, "whisper": {encoder, decoder}} {
		dir := pyreader.TempDir(t)
		open := func(r string) *artifact.File {
			path := filepath.Join(dir, strings.ReplaceAll(r, "/", "-")+".npuw")
			if err := os.WriteFile(path, packedFiles(t, r, paths...), 0o666); err != nil {
				t.Fatal(err)
			}
			f, err := artifact.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f
		}
		exact := open(family + "/f32")
		for _, r := range recipe.BuiltinsFor(family) {
			comeBack(t, r.Name, open(r.Name), exact)
		}
	}
}

// A recipe for one family refuses the models of the others, and says which there are for them.
func TestRecipeOfAnotherFamily(t *testing.T) {
	t.Parallel()
	encoder, decoder := onnxFiles(t, whisperonnx.Odd, whisperonnx.OddDecoder, "")
	for _, x := range []struct {
		recipe string
		paths  []string
		want   string
	}{
		{"whisper-encoder/f32", []string{decoder}, "recipe whisper-encoder/f32 is for whisper-encoder, the model is a whisper-decoder; for those there are whisper-decoder/npu1-tiled, whisper-decoder/f32"},
		{"whisper-decoder/f32", []string{encoder}, "recipe whisper-decoder/f32 is for whisper-decoder, the model is a whisper-encoder; for those there are whisper-encoder/npu1-tiled"},
		{"whisper/f32", []string{encoder}, "recipe whisper/f32 is for whisper, the model is a whisper-encoder;"},
		{"whisper-encoder/f32", []string{encoder, decoder}, "recipe whisper-encoder/f32 is for whisper-encoder, the model is a whisper; for those there are whisper/npu1-tiled, whisper/f32"},
	} {
		b, err := PrepareFiles(x.paths, x.recipe)
		if err == nil {
			b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, expected %q", x.recipe, err, x.want)
		}
	}
}

// Neither file of a model is overwritten by its artifact.
func TestOutputIsEitherSource(t *testing.T) {
	t.Parallel()
	encoder, decoder := onnxFiles(t, whisperonnx.Odd, whisperonnx.OddDecoder, "")
	b, err := PrepareFiles([]string{encoder, decoder}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, path := range []string{encoder, decoder} {
		if _, err := b.Pack(t.Context(), path, pack.Options{NoSync: true}); err == nil || !strings.Contains(err.Error(), "would be overwritten") {
			t.Errorf("pack to %s: %v", path, err)
		}
	}
}

// Sizes of the largest vocabulary, at a small width: the embedding is padded, and stored once.
func TestLargestVocabulary(t *testing.T) {
	t.Parallel()
	c := whisperonnx.Config{DModel: 8, Layers: 1, Heads: 2, FFN: 9, Mels: 3, Positions: 4}
	_, decoder := onnxFiles(t, c, whisperonnx.Decoder{Layers: 1, FFN: 9, Positions: 448, Vocab: 51866, Cache: whisperonnx.Merged}, "")
	b, err := Prepare(decoder, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	found := false
	for i := range b.Plan.Operands {
		o := &b.Plan.Operands[i]
		if o.Name == "decoder.embed_tokens.weight" {
			found = true
			if k, n := o.Layout.Axes[0], o.Layout.Axes[1]; k.Padded != 64 || n.Extent != 51866 || n.Padded != 51872 || o.Bytes != 64*51872*2 {
				t.Errorf("%+v, %d bytes", o.Layout.Axes, o.Bytes)
			}
		}
	}
	if !found || len(b.Model.Notes) != 1 || !strings.Contains(b.Model.Notes[0], "proj_out.weight is a copy of decoder.embed_tokens.weight") {
		t.Errorf("found %v, notes %q", found, b.Model.Notes)
	}
	if _, err := b.Pack(t.Context(), filepath.Join(pyreader.TempDir(t), "x.npuw"), pack.Options{NoSync: true}); err != nil {
		t.Error(err)
	}
}
