package pipeline

import (
	"errors"
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

func written(t *testing.T) string {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "model.onnx")
	if err := whisperonnx.Write(path, whisperonnx.Odd); err != nil {
		t.Fatal(err)
	}
	return path
}

// A model that is rewritten while it is packed must not become an artifact, even where every byte can be read.
func TestSourceChanged(t *testing.T) {
	t.Parallel()
	model := written(t)
	b, err := Prepare(model, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	f, err := os.OpenFile(model, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	changed := false
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	_, err = b.Pack(t.Context(), out, pack.Options{Jobs: 1, NoSync: true, Progress: func(int64) {
		if !changed {
			changed = true
			if _, err := f.WriteAt(make([]byte, 4), info.Size()-4); err != nil {
				t.Error(err)
			}
			if err := os.Chtimes(model, info.ModTime().Add(1), info.ModTime().Add(1)); err != nil {
				t.Error(err)
			}
		}
	}})
	if !errors.Is(err, source.ErrChanged) || !strings.Contains(err.Error(), model) {
		t.Errorf("%v, expected that %s was changed", err, model)
	}
	if left, _ := os.ReadDir(filepath.Dir(out)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOutputIsSource(t *testing.T) {
	t.Parallel()
	model := written(t)
	before, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(filepath.Dir(model), "link.npuw")
	if err := os.Link(model, link); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{model, link} {
		b, err := Prepare(model, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Pack(t.Context(), out, pack.Options{NoSync: true}); err == nil || !strings.Contains(err.Error(), "would be overwritten") {
			t.Errorf("pack to %s: %v", out, err)
		}
		b.Close()
	}
	if after, err := os.ReadFile(model); err != nil || string(after) != string(before) {
		t.Errorf("the model was changed (%v)", err)
	}
}

// An artifact that does not verify is not put in place: what was there stays.
func TestDoesNotVerify(t *testing.T) {
	t.Parallel()
	b, err := Prepare(written(t), "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	dir := pyreader.TempDir(t)
	out := filepath.Join(dir, "x.npuw")
	if err := os.WriteFile(out, []byte("before"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = b.Pack(t.Context(), out, pack.Options{Jobs: 1, NoSync: true, Progress: func(int64) {
		being, err := filepath.Glob(filepath.Join(dir, ".x.npuw.npuw-tmp-*"))
		if err != nil || len(being) != 1 {
			t.Errorf("being written: %q, %v", being, err)
			return
		}
		f, err := os.OpenFile(being[0], os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{1}, 1000) // between the header and the first segment
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}})
	if !errors.Is(err, artifact.ErrCorrupt) || !strings.Contains(err.Error(), "does not verify") || !strings.Contains(err.Error(), out) {
		t.Errorf("%v, expected that %s does not verify", err, out)
	}
	left, readErr := os.ReadDir(dir)
	if text, err := os.ReadFile(out); err != nil || string(text) != "before" || readErr != nil || len(left) != 1 {
		t.Errorf("%v: %q; left: %v", err, text, left)
	}
}
