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
	if path := Beside("shared/fixtures/whisper-base/whisper-base-encoder.onnx"); path != "" {
		return path, nil
	}
	path := filepath.Join(dir, "whisper-base-encoder.onnx")
	return path, Write(path, Base)
}

// Beside gives the path of a file or folder that lies beside the checkout, or above that, and not in it: "" if there is none.
func Beside(name string) string {
	for at, err := filepath.Abs("."); err == nil && at != filepath.Dir(at); at = filepath.Dir(at) {
		path := filepath.Join(at, filepath.FromSlash(name))
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}
