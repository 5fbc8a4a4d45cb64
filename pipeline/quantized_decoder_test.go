package pipeline

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// quantizedDecoders are decoders in every way that whisperonnx writes weights as codes: each with every head, with embeddings that are
// codes and that are not, and with every cache.
func quantizedDecoders(t *testing.T, visit func(name string, c whisperonnx.Config, d whisperonnx.Decoder)) {
	t.Helper()
	caches := []whisperonnx.Cache{whisperonnx.Merged, whisperonnx.NoCache, whisperonnx.Unshared}
	for i, form := range []string{"q4", "q4asym", "q8", "bnb4", "int8dyn", "int8fuse", "qdq", "qdq4"} {
		for j, head := range []whisperonnx.Head{whisperonnx.Copied, whisperonnx.Tied, whisperonnx.Own} {
			for k, tables := range []bool{false, true} {
				blocked := strings.HasPrefix(form, "q4") || form == "q8"
				if tables && (form == "bnb4" || form == "int8fuse" || blocked && head == whisperonnx.Tied) {
					continue // no operator looks such codes up, or none takes those of a product
				}
				names := form + []string{"", ",gather", ",stripped,gather,opset17"}[(i+j+k)%3]
				c, err := whisperonnx.Odd.With(names)
				if err != nil {
					t.Fatal(err)
				}
				d := whisperonnx.Decoder{Layers: 2, FFN: 70, Positions: 5, Vocab: 51, Head: head, Cache: caches[(i+2*j+k)%3], Tables: tables}
				visit(fmt.Sprintf("%s, head %q, cache %q, tables %v", names, head, d.Cache, tables), c, d)
			}
		}
	}
}

// A decoder whose weights are codes packs as the one of the floats that they stand for, byte for byte, by every built-in recipe: whether
// the embeddings are codes, too, whether the projection to logits is the embedding, and whether each branch has codes of its own.
func TestQuantizedDecodersPackAsTheirTwins(t *testing.T) {
	t.Parallel()
	twins := map[string][]byte{}
	quantizedDecoders(t, func(name string, c whisperonnx.Config, d whisperonnx.Decoder) {
		path := filepath.Join(pyreader.TempDir(t), "decoder.onnx")
		if err := whisperonnx.WriteDecoder(path, c, d); err != nil {
			t.Fatal(err)
		}
		twin := c
		twin.Dequantized, twin.Stripped, twin.Opset = true, false, 0
		plain := d
		plain.Cache = whisperonnx.NoCache
		for _, r := range []string{"whisper-decoder/npu1-tiled", "whisper-decoder/f32"} {
			key := fmt.Sprintf("%s %+v %+v", r, twin, plain)
			if twins[key] == nil {
				path := filepath.Join(pyreader.TempDir(t), "twin.onnx")
				if err := whisperonnx.WriteDecoder(path, twin, plain); err != nil {
					t.Fatal(err)
				}
				twins[key] = packedFiles(t, r, path)
			}
			if !bytes.Equal(packedFiles(t, r, path), twins[key]) {
				t.Errorf("%s: another artifact from codes than from floats: %s", r, name)
			}
		}
	})
}

// So does a whole model of two quantized files; its projection to logits is a parameter of its own, since the embedding is not quantized.
func TestQuantizedWholeModel(t *testing.T) {
	t.Parallel()
	d := whisperonnx.Decoder{Layers: 1, FFN: 70, Positions: 5, Vocab: 51, Head: whisperonnx.Own, Cache: whisperonnx.Merged}
	encoder, decoder := onnxFiles(t, whisperonnx.Odd, d, "q4")
	encoderTwin, decoderTwin := onnxFiles(t, whisperonnx.Odd, d, "q4,dequantized")
	_, tied := onnxFiles(t, whisperonnx.Odd, whisperonnx.Decoder{Layers: 1, FFN: 70, Positions: 5, Vocab: 51}, "q4")
	for _, r := range []string{"whisper/npu1-tiled", "whisper/f32"} {
		got := packedFiles(t, r, encoder, decoder)
		if !bytes.Equal(got, packedFiles(t, r, encoderTwin, decoderTwin)) {
			t.Errorf("%s: another artifact from codes than from floats", r)
		}
		if without := packedFiles(t, r, encoder, tied); len(got) <= len(without) {
			t.Errorf("%s: %d bytes with a projection of its own, %d without", r, len(got), len(without))
		}
	}
}

// A recipe that keeps the source's formats keeps the codes of a decoder, those of its embedding among them; what comes back has the values
// of the floats that they stand for, bit for bit.
func TestQuantizedDecodersKept(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("model/whisper/recipes/decoder-f32.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	recipe := filepath.Join(pyreader.TempDir(t), "source.txtpb")
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("format: F32"), []byte("format: SOURCE")), []byte("whisper-decoder/f32"), []byte("whisper-decoder/mine"))
	if err := os.WriteFile(recipe, text, 0o600); err != nil {
		t.Fatal(err)
	}
	quantizedDecoders(t, func(name string, c whisperonnx.Config, d whisperonnx.Decoder) {
		if c.Quantized == whisperonnx.NF4 {
			return // blocks from one row into the next, which no operand holds
		}
		dir := pyreader.TempDir(t)
		path, twinPath := filepath.Join(dir, "decoder.onnx"), filepath.Join(dir, "twin.onnx")
		twin := c
		twin.Dequantized = true
		for path, c := range map[string]whisperonnx.Config{path: c, twinPath: twin} {
			if err := whisperonnx.WriteDecoder(path, c, d); err != nil {
				t.Fatal(err)
			}
		}
		got, want := packBy(t, path, recipe, dir), packBy(t, twinPath, "whisper-decoder/f32", dir)
		kept := map[string]bool{}
		for i := range got.Index.Operands {
			o := &got.Index.Operands[i]
			kept[o.Name] = len(o.Planes) > 0
			if o.Statistics.Inexact != 0 {
				t.Errorf("%s: %s is inexact", name, o.Name)
			}
			if a, b := parameter(t, got, o.Name), parameter(t, want, o.Name); !slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }) {
				t.Errorf("%s: %s has other values than its codes stand for", name, o.Name)
			}
		}
		projOut, isOwn := kept["proj_out.weight"]
		if !kept["decoder.layers.1.encoder_attn.k_proj.weight"] || !kept["decoder.layers.0.fc2.weight"] ||
			kept["decoder.embed_tokens.weight"] != d.Tables || kept["decoder.embed_positions.weight"] != (d.Tables && c.Gather) ||
			isOwn != (d.Head == whisperonnx.Own) || projOut != isOwn {
			t.Errorf("%s: kept are %v", name, kept)
		}
	})
}
