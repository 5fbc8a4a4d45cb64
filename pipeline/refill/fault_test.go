package refill

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// faulty is a File of which one call fails, or does nothing.
type faulty struct {
	File
	calls *int // until it fails
	lose  bool // the call does nothing, and says that all is well
}

var errFull = errors.New("no space left")

func (f *faulty) fails() bool {
	*f.calls--
	return *f.calls == 0
}

func (f *faulty) Reserve(n int64) error {
	if !f.lose && f.fails() {
		return errFull
	}
	return f.File.Reserve(n)
}

func (f *faulty) WriteAt(b []byte, at int64) (int, error) {
	switch {
	case !f.fails():
		return f.File.WriteAt(b, at)
	case f.lose:
		return len(b), nil
	}
	return 0, &os.PathError{Op: "write", Path: "temporary", Err: errFull}
}

// TestFaults: whatever write fails or is lost, nothing is left, and the error names the output.
func TestFaults(t *testing.T) {
	t.Parallel()
	from := modelOf(t, whisperonnx.Odd, "external")
	set := packed(t, from, "whisper-encoder/npu1-tiled")
	for _, lose := range []bool{false, true} {
		failed := 0
		for call := 1; ; call++ {
			dir := pyreader.TempDir(t)
			calls := call
			open := func(path string) (File, error) {
				f, err := create(path)
				return &faulty{f, &calls, lose}, err
			}
			_, err := refill(t.Context(), from, set, filepath.Join(dir, "m.onnx"), Options{Create: open})
			if calls > 0 { // there are not so many
				if err != nil {
					t.Error(err)
				}
				break
			}
			if lose && err == nil {
				continue // the model's own file had that in it anyway
			}
			failed++
			if !lose && !errors.Is(err, errFull) || lose && !errors.Is(err, source.ErrCorrupt) && !errors.Is(err, source.ErrMismatch) ||
				!strings.HasPrefix(err.Error(), filepath.Join(dir, "m.onnx")) && !lose || strings.Contains(err.Error(), "temporary") {
				t.Errorf("call %d: %v", call, err)
			}
			empty(t, dir)
		}
		if failed < 20 {
			t.Errorf("%d faults found", failed)
		}
	}
}

// TestOutputs: paths that would lose something, and a folder in which the data file cannot be made.
func TestOutputs(t *testing.T) {
	t.Parallel()
	from := modelOf(t, whisperonnx.Odd, "external")
	set := packed(t, from, "whisper-encoder/npu1-tiled")
	dir, elsewhere := filepath.Dir(from), pyreader.TempDir(t)
	if err := os.Mkdir(filepath.Join(elsewhere, "m.onnx_data"), 0o777); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		from:                                    "m.onnx: would be overwritten while it is read",
		filepath.Join(dir, "other.onnx"):        "m.onnx_data: would be overwritten while it is read",
		filepath.Join(dir, "m.onnx_data"):       "has the name under which the model looks for its data; give the output another name",
		set.File.Path:                           "m.npuw: would be overwritten while it is read",
		filepath.Join(elsewhere, "m.onnx"):      "m.onnx_data: is a folder",
		elsewhere:                               "is a folder",
		filepath.Join(dir, "nowhere", "m.onnx"): "there is no folder",
	} {
		_, err := refill(t.Context(), from, set, path, Options{Create: create})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if r := written(t, from, packed(t, from, "whisper-encoder/f32")); string(read(t, r.Paths[1])) != string(read(t, from+"_data")) {
		t.Error("the source has changed")
	}
	_, err := refill(t.Context(), from, set, filepath.Join(pyreader.TempDir(t), "m.onnx"), Options{Create: func(string) (File, error) { return nil, errFull }})
	if !errors.Is(err, errFull) {
		t.Error(err)
	}
}

// TestProgress adds up, and a context that ends leaves nothing, however far the work is.
func TestProgress(t *testing.T) {
	t.Parallel()
	from := modelOf(t, whisperonnx.Odd, "external")
	set := packed(t, from, "whisper-encoder/npu1-tiled")
	m, err := Open(from, set)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var sum int64
	if _, err := m.Write(t.Context(), filepath.Join(pyreader.TempDir(t), "m.onnx"), Options{Create: create, Progress: func(n int64) { sum += n }}); err != nil {
		t.Fatal(err)
	}
	if sum != m.Bytes() {
		t.Errorf("%d bytes, announced were %d", sum, m.Bytes())
	}
	for _, part := range []int64{0, sum / 4, sum / 2, sum - 1000} {
		dir := pyreader.TempDir(t)
		ctx, cancel := context.WithCancel(t.Context())
		at := int64(0)
		_, err := m.Write(ctx, filepath.Join(dir, "m.onnx"), Options{Create: create, Progress: func(n int64) {
			if at += n; at >= part {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %d of %d: %v", part, sum, err)
		}
		empty(t, dir)
	}
}
