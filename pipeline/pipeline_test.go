package pipeline

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

func encoder(t *testing.T) string {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "model.onnx")
	if err := whisperonnx.Write(path, whisperonnx.Odd); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrepareAndPack(t *testing.T) {
	t.Parallel()
	path := encoder(t)
	b, err := Prepare(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Recipe.Name != "whisper-encoder/npu1-tiled" || b.Catalogue.Path != path || len(b.Plan.Operands) != len(b.Model.Parameters) {
		t.Errorf("recipe %s, source %s, %d operands of %d parameters", b.Recipe.Name, b.Catalogue.Path, len(b.Plan.Operands), len(b.Model.Parameters))
	}
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	if _, err := b.Pack(context.Background(), out, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	if err := Verify(out); err != nil {
		t.Error(err)
	}
	if err := Verify(path); !errors.Is(err, artifact.ErrNotArtifact) {
		t.Errorf("%v, expected that a model is no artifact", err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	path := encoder(t)
	dir := pyreader.TempDir(t)
	other, huge := filepath.Join(dir, "other.onnx"), filepath.Join(dir, "huge.txtpb")
	m := []byte("\x08\x08\x3a\x03\x12\x01g") // IR version 8, a graph called g
	for _, err := range []error{os.WriteFile(other, m, 0o666), os.WriteFile(huge, nil, 0o666), os.Truncate(huge, 1<<40)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name, source, recipe string
		wraps                error
		says                 []string
	}{
		{"a missing source", filepath.Join(dir, "absent.onnx"), "", fs.ErrNotExist, []string{"absent.onnx"}},
		{"an unknown family", other, "", source.ErrNotRecognised, []string{other, "npuw sources"}},
		{"an unknown recipe", path, "whisper-encoder/npu2", nil, []string{"npu2", "whisper-encoder/npu1-tiled"}},
		{"a missing recipe file", path, filepath.Join(dir, "absent.txtpb"), fs.ErrNotExist, []string{"absent.txtpb"}},
		{"a recipe file of 1 TiB", path, huge, nil, []string{huge, "bytes"}},
	} {
		b, err := Prepare(x.source, x.recipe)
		if err == nil {
			b.Close()
			t.Errorf("%s: no error", x.name)
			continue
		}
		if x.wraps != nil && !errors.Is(err, x.wraps) {
			t.Errorf("%s: %v, expected %v", x.name, err, x.wraps)
		}
		for _, part := range x.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, expected %q in it", x.name, err, part)
			}
		}
	}
}
