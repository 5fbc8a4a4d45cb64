package families_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/fifo"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/families"
	"npuw/pipeline/source"
)

// Heads of both halves of the models below.
const config = `{"encoder_attention_heads": 3, "decoder_attention_heads": 3}`

// state is a checkpoint of whisperonnx.Odd with a decoder, in a format.
func state(format element.Format) []checkpoints.Tensor {
	c := whisperonnx.Odd
	c.Type = format
	return checkpoints.Whisper(c, checkpoints.Odd)
}

// folder makes a folder of files; a content that begins with "onnx" is the form of an encoder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		form, isONNX := strings.CutPrefix(content, "onnx")
		c, err := whisperonnx.Odd.With(form)
		switch {
		case !isONNX:
			err = os.WriteFile(path, []byte(content), 0o600)
		case err == nil:
			err = whisperonnx.Write(path, c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenFolder(t *testing.T) {
	t.Parallel()
	f32, f16 := string(checkpoints.Safetensors(state(element.F32))), string(checkpoints.Safetensors(state(element.F16)))
	torch := string(checkpoints.TorchZip(checkpoints.Saved{Views: checkpoints.Views(state(element.F32))}))
	encoder := string(checkpoints.Safetensors(checkpoints.Encoder(whisperonnx.Odd)))
	vad := string(checkpoints.Safetensors(state(element.F32)[:1]))
	for name, x := range map[string]struct {
		files         map[string]string
		family, taken string
		because       []string // of those that are not taken
	}{
		"safetensors before PyTorch before ONNX": {
			map[string]string{"model.safetensors": f32, "pytorch_model.bin": torch, "onnx/encoder_model.onnx": "onnx", "config.json": config},
			"", "model.safetensors",
			[]string{"pytorch_model.bin: a whisper-encoder in float32 (torch): as exact, but safetensors comes before torch", "encoder_model.onnx: a whisper-encoder in float32 (onnx): as exact, but safetensors"},
		},
		"by content, not by name": {map[string]string{"model.bin": f32, "config.json": config, "vocab.json": "{}", "merges.txt": "#version"}, "", "model.bin", nil},
		"the more exact": {
			map[string]string{"model.safetensors": f16, "onnx/encoder_model.onnx": "onnx", "config.json": config},
			"", "onnx/encoder_model.onnx",
			[]string{"model.safetensors: a whisper-encoder in 16-bit floats (safetensors): less exact"},
		},
		"float16, if a decoder is asked for": {
			map[string]string{"model.safetensors": f16, "onnx/encoder_model.onnx": "onnx", "config.json": config},
			"whisper-decoder", "model.safetensors",
			[]string{"encoder_model.onnx: holds no whisper-decoder but whisper-encoder"},
		},
		"both halves": {map[string]string{"a.safetensors": encoder, "b.safetensors": f32, "config.json": config}, "whisper", "b.safetensors", []string{"a.safetensors: holds no whisper but whisper-encoder"}},
		"a file that fails": {
			map[string]string{"model.safetensors": f32[:99], "pytorch_model.bin": torch, "config.json": config}, "", "pytorch_model.bin", []string{"model.safetensors: at byte 0: a header of"},
		},
		"a file of nothing that is known": {
			map[string]string{"model.safetensors": f32, "vad.safetensors": string(checkpoints.Safetensors(nil)), "config.json": config}, "", "model.safetensors", []string{"vad.safetensors: no family"},
		},
		"a model of no known family beside one that is known": {
			map[string]string{"model.safetensors": f32, "vad.safetensors": vad, "config.json": config}, "", "model.safetensors", []string{"vad.safetensors: no family"},
		},
		"a model of no known family alone": {map[string]string{"vad.safetensors": vad}, "", "vad.safetensors", nil},
		"any model, asked for": {
			map[string]string{"vad.safetensors": vad, "x.safetensors": f32[:99]}, "generic", "vad.safetensors", []string{"x.safetensors: at byte 0"},
		},
		"PyTorch in a folder of ONNX": {map[string]string{"onnx/model.bin": f32, "onnx/config.json": config}, "", "onnx/model.bin", nil},
		"other folders do not count":  {map[string]string{"model.safetensors": f32, "config.json": config, "checkpoint-1/model.safetensors": f32}, "", "model.safetensors", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, x.files)
			c, models, f, err := families.OpenAny(dir, families.Want{Family: x.family})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Path != f.Taken || f.Taken != filepath.Join(dir, x.taken) || len(models) == 0 || f.Why == "" || len(f.NotTaken) != len(x.because) {
				t.Fatalf("%s, %+v", c.Path, f)
			}
			for i, because := range x.because {
				if got := filepath.Base(f.NotTaken[i].File) + ": " + f.NotTaken[i].Why; !strings.HasPrefix(got, because) {
					t.Errorf("%q, expected %q", got, because)
				}
			}
		})
	}
}

// An index stands for its files, whole or in several variants.
func TestOpenFolderOfShards(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"config.json": config, "model.safetensors": string(checkpoints.Safetensors(state(element.F16)))})
	index, err := checkpoints.WriteShards(dir, state(element.F32), 3)
	if err != nil {
		t.Fatal(err)
	}
	c, _, f, err := families.OpenFolder(dir, families.Want{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if f.Taken != index || len(f.NotTaken) != 1 || !strings.HasSuffix(f.NotTaken[0].Why, "less exact") {
		t.Errorf("%+v", f)
	}
	whole := filepath.Join(dir, "one.safetensors")
	if err := os.WriteFile(whole, checkpoints.Safetensors(state(element.F32)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, f, err = families.OpenFolder(dir, families.Want{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if f.Taken != whole || !strings.HasSuffix(f.NotTaken[0].Why, "as exact, but in more files") {
		t.Errorf("%+v", f)
	}
}

// What tells the number of heads is better than what leaves it to be guessed.
func TestOpenFolderWithoutConfig(t *testing.T) {
	t.Parallel()
	c := whisperonnx.Config{DModel: 64, Layers: 1, Heads: 4, FFN: 3, Mels: 2, Positions: 2}
	dir := folder(t, map[string]string{"model.safetensors": string(checkpoints.Safetensors(checkpoints.Encoder(c)))})
	path := filepath.Join(dir, "model.onnx")
	if err := whisperonnx.Write(path, c); err != nil {
		t.Fatal(err)
	}
	opened, models, f, err := families.OpenFolder(dir, families.Want{})
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
	if f.Taken != path || models[0].Guessed || !strings.HasSuffix(f.NotTaken[0].Why, "nothing tells all of its sizes") {
		t.Errorf("%+v", f)
	}
}

func TestOpenFolderRefuses(t *testing.T) {
	t.Parallel()
	f32 := string(checkpoints.Safetensors(state(element.F32)))
	many := map[string]string{}
	for i := range 129 {
		many[fmt.Sprintf("%d.safetensors", i)] = string(checkpoints.Safetensors(nil))
	}
	crowd := map[string]string{}
	for i := range 4097 {
		crowd[fmt.Sprint(i)] = ""
	}
	for name, x := range map[string]struct {
		files  map[string]string
		family string
		want   error
		says   []string
	}{
		"two that are equally good": {map[string]string{"a.safetensors": f32, "b.safetensors": f32, "config.json": config}, "", source.ErrMismatch, []string{"a.safetensors and b.safetensors are equally good", "give the one"}},
		"nothing":                   {map[string]string{"README.md": "nothing", "config.json": config}, "", source.ErrNotRecognised, []string{"holds no model file", "safetensors", "ONNX"}},
		"empty":                     {nil, "", source.ErrNotRecognised, []string{"holds no model file"}},
		"none of the family": {
			map[string]string{"encoder_model.onnx": "onnx", "x.safetensors": f32[:99], "config.json": config},
			"whisper-decoder", source.ErrNotRecognised,
			[]string{"no file for a whisper-decoder", "encoder_model.onnx: holds no whisper-decoder but whisper-encoder", "x.safetensors: at byte 0"},
		},
		"none of both": {
			map[string]string{"encoder_model.onnx": "onnx"},
			"whisper", source.ErrNotRecognised,
			[]string{"holds no whisper but whisper-encoder", "give the files of an encoder and of its decoder"},
		},
		"none of any": {map[string]string{"x.safetensors": f32[:99]}, "", source.ErrNotRecognised, []string{"no file for a whisper-encoder"}},
		"one that is unknown, beside one that fails": {
			map[string]string{"vad.safetensors": string(checkpoints.Safetensors(state(element.F32)[:1])), "x.safetensors": f32[:99]},
			"", source.ErrNotRecognised,
			[]string{"no file for a whisper-encoder", "vad.safetensors: no family", "x.safetensors: at byte 0"},
		},
		"too many models": {many, "", source.ErrLimit, []string{"more than 128 model files"}},
		"too many of all": {crowd, "", source.ErrLimit, []string{"more than 4096 files"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, x.files)
			c, models, f, err := families.OpenFolder(dir, families.Want{Family: x.family})
			if c != nil || models != nil || f != nil || !errors.Is(err, x.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v, expected %v", err, x.want)
			}
			for _, part := range x.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v, expected %q in it", err, part)
				}
			}
		})
	}
	t.Run("a FIFO in it", func(t *testing.T) {
		t.Parallel()
		dir := folder(t, map[string]string{"model.safetensors": f32, "config.json": config})
		if err := fifo.Make(filepath.Join(dir, "pipe.safetensors")); err != nil {
			t.Fatal(err)
		}
		c, _, f, err := families.OpenFolder(dir, families.Want{})
		if err != nil || len(f.NotTaken) != 0 {
			t.Fatalf("%+v, %v", f, err)
		}
		c.Close()
	})
}
