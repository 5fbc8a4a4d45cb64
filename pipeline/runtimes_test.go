package pipeline

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperfiles"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// whisperHeads are the keys of a GGUF file that tell the heads of whisperonnx.Tiny.
var whisperHeads = map[string]int64{"dims.n_audio_head": 4, "dims.n_text_head": 4}

// file writes a file into a folder of its own and gives its path.
func file(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), name)
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// An encoder gives the same artifact, byte for byte, from ONNX and from the files of other runtimes, in float32 and in float16.
func TestRuntimesPackTheSame(t *testing.T) {
	t.Parallel()
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	for _, typ := range []element.Format{element.F32, element.F16} {
		config := whisperonnx.Tiny
		config.Type, config.Opset = typ, 17 // epsilon is an attribute, and not in float16
		onnx := filepath.Join(pyreader.TempDir(t), "model.onnx")
		if err := whisperonnx.Write(onnx, config); err != nil {
			t.Fatal(err)
		}
		list := whisperfiles.Of(checkpoints.Whisper(config, checkpoints.Tiny), whisperfiles.All(typ.String()))
		files := map[string]string{
			"GGUF":        file(t, "model.gguf", whisperfiles.GGUF(list, 32, whisperHeads)),
			"whisper.cpp": file(t, "ggml-model.bin", whisperfiles.Ggml(config, checkpoints.Tiny, list, 1)),
		}
		encoder := checkpoints.Renamed(checkpoints.Encoder(config), func(name string) string { return strings.TrimPrefix(name, "encoder.") })
		for name, form := range map[string]whisperfiles.Form{"OpenVINO from PyTorch": {}, "OpenVINO from ONNX": {ONNX: true}, "OpenVINO from ONNX, turned": {ONNX: true, Turned: true}} {
			files[name], _ = openVINO(t, encoder, form)
		}
		for _, recipe := range []string{"whisper-encoder/npu1-tiled", "whisper-encoder/f32"} {
			want := packedFrom(t, out, onnx, recipe)
			for name, path := range files {
				if !bytes.Equal(packedFrom(t, out, path, recipe), want) {
					t.Errorf("%v, %s: %s gives another artifact than ONNX", typ, recipe, name)
				}
			}
		}
	}
}

// Encoder and decoder in blocks: every parameter has the values that its codes stand for.
func TestRuntimesInBlocks(t *testing.T) {
	t.Parallel()
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	for _, typ := range []string{"q4_0", "q4_1", "q5_0", "q5_1", "q8_0"} {
		list := whisperfiles.Of(checkpoints.Whisper(whisperonnx.Tiny, checkpoints.Tiny), whisperfiles.Matrices(typ, "f32"))
		for _, path := range []string{
			file(t, "model.gguf", whisperfiles.GGUF(list, 32, whisperHeads)),
			file(t, "ggml-model.bin", whisperfiles.Ggml(whisperonnx.Tiny, checkpoints.Tiny, list, 2002)),
		} {
			c, models, err := families.Open(path)
			if err != nil {
				t.Fatalf("%s: %v", typ, err)
			}
			defer c.Close()
			if len(models) != 3 || len(models[2].Parameters) != len(list) {
				t.Fatalf("%s: %d models", path, len(models))
			}
			for i := range list {
				checkValues(t, c, models[2], strings.TrimPrefix(list[i].Name, "model."), list[i].Shape, list[i].Value)
			}
			packedFrom(t, out, path, "whisper-encoder/npu1-tiled") // and verifies it
		}
	}
}

// openVINO writes a model with its config and gives the path of its XML, and the values of its tensors.
func openVINO(t *testing.T, list []checkpoints.Tensor, form whisperfiles.Form) (string, map[string]func(i int) float64) {
	t.Helper()
	xml, bin, values := whisperfiles.OpenVINO(list, form)
	path := write(t, `{"encoder_attention_heads": 4, "decoder_attention_heads": 4}`, "openvino_model.xml", xml)
	if err := os.WriteFile(strings.TrimSuffix(path, ".xml")+".bin", bin, 0o666); err != nil {
		t.Fatal(err)
	}
	return path, values
}

// Encoder and decoder as NNCF compresses them, and a decoder whose matrices are turned: every parameter has the values of the graph.
func TestRuntimesCompressed(t *testing.T) {
	t.Parallel()
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	config := whisperonnx.Tiny
	config.Type = element.F16
	list := checkpoints.Whisper(config, checkpoints.Tiny)
	for _, form := range []whisperfiles.Form{
		{},
		{ONNX: true},
		{ONNX: true, Turned: true},
		{Compression: whisperfiles.Compression{Type: "u8"}},
		{Compression: whisperfiles.Compression{Type: "i8"}},
		{Compression: whisperfiles.Compression{Type: "u4", Group: 32}},
		{Compression: whisperfiles.Compression{Type: "i4", Group: 16}},
	} {
		path, values := openVINO(t, list, form)
		c, models, err := families.Open(path)
		if err != nil {
			t.Errorf("%+v: %v", form, err)
			continue
		}
		defer c.Close()
		if len(models) != 3 || len(models[2].Parameters) != len(list) {
			t.Fatalf("%+v: %d models", form, len(models))
		}
		for _, x := range list {
			checkValues(t, c, models[2], strings.TrimPrefix(x.Name, "model."), x.Shape, values[x.Name])
		}
		packedFrom(t, out, path, "whisper-encoder/npu1-tiled") // and verifies it
	}
}

// A parameter in a type that is not read is refused by the names of both.
func TestRuntimesOtherTypes(t *testing.T) {
	t.Parallel()
	list := whisperfiles.Of(checkpoints.Whisper(whisperonnx.Tiny, checkpoints.Tiny), func(name string, _ []int) string {
		if strings.HasSuffix(name, "encoder.layers.1.fc1.weight") {
			return "i32"
		}
		return "f32"
	})
	for _, path := range []string{
		file(t, "model.gguf", whisperfiles.GGUF(list, 32, whisperHeads)),
		file(t, "ggml-model.bin", whisperfiles.Ggml(whisperonnx.Tiny, checkpoints.Tiny, list, 0)),
	} {
		_, _, err := families.Open(path)
		if !errors.Is(err, source.ErrUnsupported) || !strings.Contains(err.Error(), `"encoder.layers.1.fc1.weight"`) || !strings.Contains(err.Error(), "i32") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A model into which OpenVINO has folded a parameter is refused, and the next step told.
func TestRuntimesFolded(t *testing.T) {
	t.Parallel()
	list := slices.DeleteFunc(checkpoints.Whisper(whisperonnx.Tiny, checkpoints.Tiny), func(x checkpoints.Tensor) bool {
		return strings.HasSuffix(x.Name, "encoder.layers.1.self_attn.q_proj.weight")
	})
	path, _ := openVINO(t, list, whisperfiles.Form{})
	_, _, err := families.Open(path)
	if !errors.Is(err, source.ErrParameters) || !strings.Contains(err.Error(), `"encoder.layers.1.self_attn.q_proj.weight"`) || !strings.Contains(err.Error(), "folded") {
		t.Error(err)
	}
}

// checkValues compares the values of a parameter, in PyTorch's order, with those expected.
func checkValues(t *testing.T, c *source.Catalogue, m *model.Model, name string, shape []int, want func(i int) float64) {
	t.Helper()
	for i := range m.Parameters {
		p := &m.Parameters[i]
		if p.Name != name {
			continue
		}
		if fmt.Sprint(p.Shape) != fmt.Sprint(shape) {
			t.Fatalf("%s: shape %v, expected %v", name, p.Shape, shape)
		}
		raw := make([]byte, p.Tensor.Data.Size)
		values := make([]float64, len(raw)/p.Tensor.Type.Size())
		if err := c.ReadAt(raw, &p.Tensor, 0); err != nil {
			t.Fatal(err)
		}
		if err := element.ToFloat64(values, raw, p.Tensor.Type); err != nil {
			t.Fatal(err)
		}
		for i := range values {
			at := i
			if len(p.Perm) == 2 && p.Perm[0] == 1 { // [K,N] in the file
				at = i%shape[1]*shape[0] + i/shape[1]
			}
			if values[at] != want(i) {
				t.Fatalf("%s: value %d is %g, expected %g", name, i, values[at], want(i))
			}
		}
		return
	}
	t.Errorf("no parameter is called %s", name)
}

var update = flag.Bool("update", false, "write testdata/runtimes")

// The small models in testdata/runtimes, all of the same encoder, are those that are written here.
func TestRuntimesTestdata(t *testing.T) {
	t.Parallel()
	config := whisperonnx.Config{DModel: 32, Layers: 1, Heads: 2, FFN: 64, Mels: 4, Positions: 6, Type: element.F16, Opset: 17}
	decoder := checkpoints.Decoder{Layers: 1, FFN: 64, Positions: 7, Vocab: 33}
	list := checkpoints.Whisper(config, decoder)
	encoder := checkpoints.Renamed(checkpoints.Encoder(config), func(name string) string { return strings.TrimPrefix(name, "encoder.") })
	onnx := filepath.Join(pyreader.TempDir(t), "encoder.onnx")
	if err := whisperonnx.Write(onnx, config); err != nil {
		t.Fatal(err)
	}
	graph, err := os.ReadFile(onnx)
	if err != nil {
		t.Fatal(err)
	}
	xml, bin, _ := whisperfiles.OpenVINO(encoder, whisperfiles.Form{})
	xml4, bin4, _ := whisperfiles.OpenVINO(encoder, whisperfiles.Form{Compression: whisperfiles.Compression{Type: "u4", Group: 16}})
	for name, b := range map[string][]byte{
		"encoder.onnx":              graph,
		"whisper-f16.gguf":          whisperfiles.GGUF(whisperfiles.Of(list, whisperfiles.All("f16")), 32, nil),
		"whisper-q8_0.gguf":         whisperfiles.GGUF(whisperfiles.Of(list, whisperfiles.Matrices("q8_0", "f16")), 32, nil),
		"ggml-whisper-f16.bin":      whisperfiles.Ggml(config, decoder, whisperfiles.Of(list, whisperfiles.All("f16")), 1),
		"ggml-whisper-q5_0.bin":     whisperfiles.Ggml(config, decoder, whisperfiles.Of(list, whisperfiles.Matrices("q5_0", "f16")), 2008),
		"openvino_encoder_f16.xml":  xml,
		"openvino_encoder_f16.bin":  bin,
		"openvino_encoder_int4.xml": xml4,
		"openvino_encoder_int4.bin": bin4,
		"config.json":               []byte(`{"encoder_attention_heads": 2, "decoder_attention_heads": 2}` + "\n"),
	} {
		path := filepath.Join("..", "testdata", "runtimes", name)
		if *update {
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, b, 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s is not what is written here (%v): go test ./pipeline -run Testdata -update", path, err)
		}
	}
}
