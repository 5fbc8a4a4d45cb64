package targets

import (
	"path/filepath"
	"slices"
	"testing"
)

func TestModelArgs(t *testing.T) { // not parallel: it changes the current folder
	p, _ := newProject(t, map[string]string{"sub/x.go": "package sub\n"})
	made := "made.onnx"
	for _, x := range []struct {
		dir  string
		out  *string
		want string
	}{
		{".", nil, "models/whisper-tiny-decoder.onnx"},
		{"sub", nil, "models/whisper-tiny-decoder.onnx"},
		{".", &made, "made.onnx"},
		{"sub", &made, "sub/made.onnx"},
	} {
		t.Chdir(filepath.Join(p.root, x.dir))
		args, err := modelArgs(p, "tiny", "decoder", x.out, "gemm")
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"-size", "tiny", "-part", "decoder", "-out", filepath.Join(p.root, filepath.FromSlash(x.want)), "-form", "gemm"}
		if !slices.Equal(args[2:], want) {
			t.Errorf("in %s: %q, expected %q", x.dir, args[2:], want)
		}
	}
}
