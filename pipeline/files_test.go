package pipeline

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/schema/pyreader"
)

// Every model among the test files, and among those beside the checkout if there are any, packs by the recipe that is taken without one.
func TestEveryFilePacks(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	past := filepath.Join(dir, "with_past.onnx")
	err := whisperonnx.WriteDecoder(past, whisperonnx.Odd, whisperonnx.Decoder{Layers: 2, FFN: 70, Positions: 5, Vocab: 51, Cache: whisperonnx.WithPast})
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{past}
	for _, models := range []string{"../testdata", whisperonnx.Beside("shared/fixtures/whisper-tiny")} {
		if models == "" {
			continue
		}
		err := filepath.WalkDir(models, func(path string, _ fs.DirEntry, err error) error {
			weights := filepath.Ext(path) == ".bin" && !strings.HasPrefix(filepath.Base(path), "openvino") // which has them beside its .xml
			if weights || slices.Contains([]string{".onnx", ".safetensors", ".pt", ".gguf", ".xml"}, filepath.Ext(path)) {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	families := map[string]int{}
	for _, path := range paths {
		b, err := Prepare(path, "")
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := b.Pack(t.Context(), filepath.Join(dir, filepath.Base(path)+".npuw"), pack.Options{NoSync: true}); err != nil {
			t.Error(err)
		}
		families[b.Model.Family]++
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if families["whisper-decoder-with-past"] == 0 || families["whisper-decoder"] == 0 || families["whisper-encoder"] < 20 || len(families) != 3 {
		t.Errorf("of %d files: %v", len(paths), families)
	}
}
