package families_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model/families"
	"npuw/pipeline/source"
)

// An encoder and its decoder in files of their own are one model, in either order, whatever the kinds of the files are.
func TestOpenParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	wide := whisperonnx.Odd
	wide.DModel = 39
	half := checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)[len(checkpoints.Encoder(whisperonnx.Odd)):]
	for _, err := range []error{
		os.Mkdir(at("state"), 0o777),
		whisperonnx.Write(at("encoder.onnx"), whisperonnx.Odd),
		whisperonnx.WriteDecoder(at("decoder.onnx"), whisperonnx.Odd, whisperonnx.OddDecoder),
		whisperonnx.WriteDecoder(at("past.onnx"), whisperonnx.Odd, whisperonnx.Decoder{Layers: 1, FFN: 2, Positions: 2, Vocab: 3, Cache: whisperonnx.WithPast}),
		whisperonnx.WriteDecoder(at("wide.onnx"), wide, whisperonnx.OddDecoder),
		os.WriteFile(at("state/config.json"), []byte(config), 0o666),
		os.WriteFile(at("state/decoder.safetensors"), checkpoints.Safetensors(half), 0o666),
		os.WriteFile(at("state/whole.safetensors"), checkpoints.Safetensors(checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd)), 0o666),
		os.WriteFile(at("none.safetensors"), checkpoints.Safetensors([]checkpoints.Tensor{}), 0o666),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		paths string
		want  error
		says  []string
	}{
		{"encoder.onnx decoder.onnx", nil, nil},
		{"decoder.onnx encoder.onnx", nil, nil},
		{"encoder.onnx state/decoder.safetensors", nil, nil},
		{"encoder.onnx encoder.onnx", source.ErrMismatch, []string{`family "whisper-encoder"`}},
		{"decoder.onnx state/decoder.safetensors", source.ErrMismatch, []string{"decoder.safetensors", `family "whisper-decoder"`, "give the file of an encoder and that of its decoder"}},
		{"encoder.onnx past.onnx", source.ErrMismatch, []string{"past.onnx", `family "whisper-decoder-with-past"`}},
		{"decoder.onnx past.onnx", source.ErrMismatch, []string{"past.onnx", `family "whisper-decoder-with-past"`}},
		{"encoder.onnx wide.onnx", source.ErrMismatch, []string{"wide.onnx", "d_model", "is 39, and 36 in the encoder's file"}},
		{"encoder.onnx state/whole.safetensors", source.ErrMismatch, []string{"whole.safetensors", "holds encoder and decoder; give it alone"}},
		{"none.safetensors encoder.onnx", source.ErrNotRecognised, []string{"none.safetensors", "no family"}},
		{"encoder.onnx absent.onnx", fs.ErrNotExist, []string{"absent.onnx"}},
		{"encoder.onnx decoder.onnx decoder.onnx", source.ErrMisuse, []string{"3 files"}},
		{"encoder.onnx state", source.ErrUnsafePath, []string{"state"}},
	} {
		var paths []string
		for name := range strings.FieldsSeq(x.paths) {
			paths = append(paths, at(name))
		}
		c, models, folder, err := families.OpenAll(paths, families.Want{})
		if x.want != nil {
			if c != nil || !errors.Is(err, x.want) {
				t.Errorf("%s: %v, expected %v", x.paths, err, x.want)
				continue
			}
			for _, part := range x.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s: %v, expected %q in it", x.paths, err, part)
				}
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", x.paths, err)
			continue
		}
		if len(models) != 1 || models[0].Family != "whisper" || folder != nil || len(c.Files) != 2 || models[0].Parameters[0].Name != "encoder.conv1.weight" {
			t.Errorf("%s: %d models of %d files", x.paths, len(models), len(c.Files))
		}
		for i := range models[0].Parameters { // read from their own files
			p := &models[0].Parameters[i]
			if err := c.ReadAt(make([]byte, p.Tensor.Data.Size), &p.Tensor, 0); err != nil {
				t.Error(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
