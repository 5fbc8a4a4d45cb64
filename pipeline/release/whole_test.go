package release

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// A release has encoder and decoder as two artifacts, or as one, made of two files.
func TestEncoderAndDecoder(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	manifest := filepath.Join(dir, "release.txtpb")
	d := whisperonnx.OddDecoder
	d.Cache = whisperonnx.Merged
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "onnx"), 0o777),
		whisperonnx.Write(filepath.Join(dir, "onnx", "encoder_model.onnx"), whisperonnx.Odd),
		whisperonnx.WriteDecoder(filepath.Join(dir, "onnx", "decoder_model_merged.onnx"), whisperonnx.Odd, d),
		os.WriteFile(manifest, []byte(`
artifact { source: "onnx/encoder_model.onnx" output: "encoder.npuw" }
artifact { source: "onnx/decoder_model_merged.onnx" output: "decoder.npuw" }
artifact {
  source: "onnx/encoder_model.onnx"
  source: "onnx/decoder_model_merged.onnx"
  output: "whisper.npuw"
}`), 0o666),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var progress bytes.Buffer
	out := filepath.Join(pyreader.TempDir(t), "out")
	if err := Build(t.Context(), Options{Manifest: manifest, Out: out, Progress: &progress}); err != nil {
		t.Fatal(err)
	}
	parameters := map[string]int{}
	for name, family := range map[string]string{"encoder.npuw": "whisper-encoder", "decoder.npuw": "whisper-decoder", "whisper.npuw": "whisper"} {
		f, err := artifact.Open(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Verify(); err != nil {
			t.Error(err)
		}
		if f.Index.Model.Family != family || f.Index.Producer.Recipe != family+"/npu1-tiled" {
			t.Errorf("%s: %s by %s", name, f.Index.Model.Family, f.Index.Producer.Recipe)
		}
		parameters[name] = len(f.Index.Parameters)
	}
	if parameters["whisper.npuw"] != parameters["encoder.npuw"]+parameters["decoder.npuw"] {
		t.Errorf("parameters: %v", parameters)
	}
	if !strings.Contains(progress.String(), "decoder_model_merged.onnx") {
		t.Errorf("progress: %s", progress.String())
	}
	var plan bytes.Buffer
	if err := Plan(t.Context(), Options{Manifest: manifest, Out: out}, &plan); err != nil || !strings.Contains(plan.String(), "decoder.embed_tokens") {
		t.Errorf("plan: %v, %s", err, plan.String())
	}
}

// Two files that are no encoder and decoder of one model are refused, with the line of the artifact.
func TestNoPair(t *testing.T) {
	t.Parallel()
	for sources, want := range map[string]string{
		`source: "a.onnx" source: "models/b.onnx"`: `models/b.onnx: holds a model of family "whisper-encoder", and `,
		`source: "a.onnx" source: "d.onnx"`:        `d.onnx: d_model: is 24, and 36 in the encoder's file `,
		`source: "a.onnx" source: "absent.onnx"`:   `absent.onnx: cannot be opened: `,
	} {
		opts := folder(t, "\nartifact { "+sources+" output: \"x.npuw\" }")
		c := whisperonnx.Odd
		c.DModel = 24
		if err := whisperonnx.WriteDecoder(filepath.Join(filepath.Dir(opts.Manifest), "d.onnx"), c, whisperonnx.OddDecoder); err != nil {
			t.Fatal(err)
		}
		err := Build(t.Context(), opts)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), opts.Manifest+":2: ") {
			t.Errorf("%s: %v, expected %q", sources, err, want)
		}
	}
}
