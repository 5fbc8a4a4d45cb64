package whisperonnx

import (
	"os"
	"path/filepath"
)

// BaseModel is the path of whisper-base's encoder for benchmarks: that of the environment variable NPUW_BASE_MODEL, a real export
// beside the checkout where there is one, or else a model of the same size written to dir.
func BaseModel(dir string) (string, error) {
	if path := os.Getenv("NPUW_BASE_MODEL"); path != "" {
		return path, nil
	}
	const beside = "shared/fixtures/whisper-base/whisper-base-encoder.onnx"
	for at, err := filepath.Abs("."); err == nil && at != filepath.Dir(at); at = filepath.Dir(at) {
		if path := filepath.Join(at, beside); exists(path) {
			return path, nil
		}
	}
	path := filepath.Join(dir, "whisper-base-encoder.onnx")
	return path, Write(path, Base)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
