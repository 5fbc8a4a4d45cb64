package npuwz

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// release packs the model that c says: tiny, of several segments.
func release(t testing.TB, c whisperonnx.Config) string {
	t.Helper()
	model := filepath.Join(pyreader.TempDir(t), "model.onnx")
	if err := whisperonnx.Write(model, c); err != nil {
		t.Fatal(err)
	}
	return packed(t, model, "whisper-encoder/npu1-tiled")
}

// changedArtifact writes an artifact anew, its segments in the opposite order, and one byte of the content of one of them changed.
func changedArtifact(t testing.TB, from string) string {
	t.Helper()
	f, err := artifact.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x := *f.Index
	x.Segments = append([]artifact.Segment(nil), x.Segments...)
	x.Operands = nil
	at, last := f.Header.PageBytes, len(x.Segments)-1
	for i := range x.Segments {
		old := f.Index.Segments[last-i]
		x.Segments[i] = old
		x.Segments[i].Offset = at
		at += old.Bytes
		for _, o := range f.Index.Operands {
			if o.Segment == last-i {
				o.Segment = i
				x.Operands = append(x.Operands, o)
			}
		}
	}
	to := filepath.Join(pyreader.TempDir(t), "b.npuw")
	w, err := artifact.Create(to, &x, f.Header.PageBytes, false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for i, s := range x.Segments {
		b := make([]byte, s.Bytes)
		if _, err := f.ReadAt(b, int64(f.Index.Segments[last-i].Offset)); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			b[0] ^= 1 // of the first element's mantissa
		}
		if _, err := w.WriteAt(b, int64(s.Offset)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestDelta makes deltas and patches with them: all that changed is carried, wherever the rest went, and the result is the next artifact.
func TestDelta(t *testing.T) {
	t.Parallel()
	c := whisperonnx.Tiny
	before := release(t, c)
	moved := changedArtifact(t, before)
	c.Seed = 1
	other := release(t, c)
	segments := func(path string) int {
		f, err := artifact.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return len(f.Index.Segments)
	}(before)
	for name, step := range map[string]struct {
		from, to string
		carried  int
	}{
		"nothing changed": {before, before, 0},
		"one of them":     {before, moved, 1},
		"and back":        {moved, before, 1},
		"all":             {before, other, segments},
	} {
		d := filepath.Join(pyreader.TempDir(t), "d.npuwd")
		r, err := Delta(t.Context(), step.from, step.to, d, scratchWork)
		if err != nil || r.Carried != step.carried || r.Segments != segments {
			t.Fatalf("%s: %+v, %v; want %d segments carried", name, r, err, step.carried)
		}
		for _, jobs := range []int{1, 8} {
			again := filepath.Join(pyreader.TempDir(t), "d.npuwd")
			if _, err := Delta(t.Context(), step.from, step.to, again, Options{NoSync: true, Jobs: jobs}); err != nil || !bytes.Equal(read(t, again), read(t, d)) {
				t.Errorf("%s, %d workers: %v, or another delta", name, jobs, err)
			}
			out := filepath.Join(pyreader.TempDir(t), "out.npuw")
			got, err := Patch(t.Context(), step.from, d, out, Options{NoSync: true, Jobs: jobs})
			if err != nil || !bytes.Equal(read(t, out), read(t, step.to)) {
				t.Errorf("%s, %d workers: %v, or another artifact", name, jobs, err)
			}
			if got != r {
				t.Errorf("%s: the patch says %+v, the delta %+v", name, got, r)
			}
		}
	}
}

// TestPatchInPlace replaces the artifact that the delta leads from; a program that has it open goes on reading what it opened.
func TestPatchInPlace(t *testing.T) {
	t.Parallel()
	path, next := small(t, 1), small(t, 2)
	d := filepath.Join(pyreader.TempDir(t), "d.npuwd")
	if _, err := Delta(t.Context(), path, next, d, scratchWork); err != nil {
		t.Fatal(err)
	}
	inUse, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.Close()
	if _, err := Patch(t.Context(), path, d, path, scratchWork); err != nil || !bytes.Equal(read(t, path), read(t, next)) {
		t.Fatalf("%v, or another artifact", err)
	}
	if err := inUse.Verify(); err != nil {
		t.Errorf("what was open: %v", err)
	}
	before := read(t, path)
	_, err = Patch(t.Context(), path, d, path, scratchWork)
	if !errors.Is(err, source.ErrMismatch) || !bytes.Equal(read(t, path), before) {
		t.Errorf("a second time: %v, or the artifact was changed", err)
	}
	if want := inUse.Header.Digest.String(); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing is to be done") {
		t.Errorf("%v; want the digest %s, and that all is well", err, want)
	}
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 1 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

// TestHostileDelta has deltas whose digests are right, and which ask for what is not, and a base that is not sound.
func TestHostileDelta(t *testing.T) {
	t.Parallel()
	before := release(t, whisperonnx.Config{DModel: 8, Layers: 3, Heads: 1, FFN: 8, Mels: 2, Positions: 4})
	next := changedArtifact(t, before)
	d := filepath.Join(pyreader.TempDir(t), "d.npuwd")
	if _, err := Delta(t.Context(), before, next, d, scratchWork); err != nil {
		t.Fatal(err)
	}
	patch := func(in, out string) (Result, error) { return Patch(t.Context(), before, in, out, scratchWork) }
	for _, c := range []struct {
		name    string
		change  func(f *forged)
		problem string
		err     error
	}{
		{"as it was", func(*forged) {}, "", nil},
		{"another base", func(f *forged) { f.base.Lo++ }, "leads from the artifact", source.ErrMismatch},
		{"a whole artifact", func(f *forged) { f.kind, f.base, f.reused = whole, artifact.Digest{}, nil }, "holds a whole artifact", source.ErrMisuse},
		{"a segment that the base has not", func(f *forged) { f.reused[0] = 99 }, "number 99 of the base", source.ErrCorrupt},
		{"another segment", func(f *forged) { f.reused[0]-- }, "is not segment", source.ErrCorrupt},
		{"too few segments", func(f *forged) { f.reused = f.reused[1:] }, "entries for", source.ErrCorrupt},
		{"a segment that is missing", func(f *forged) { f.reused[0] = notReused }, "do not make", source.ErrCorrupt},
		{"other bytes", func(f *forged) { f.frames[1] = f.frames[1][:len(f.frames[1])-1] }, "cannot be decompressed", source.ErrCorrupt},
		{"a chunk too many", func(f *forged) {
			f.chunks, f.frames, f.contents = append(f.chunks, f.chunks[0]), append(f.frames, f.frames[0]), append(f.contents, f.contents[0])
		}, "chunks, ", source.ErrCorrupt},
	} {
		f := takeApart(t, d, delta)
		c.change(f)
		wantRefused(t, c.name, f.file(), c.problem, c.err, patch)
	}
	b := read(t, before)
	pyreader.Damage(t, before)
	b[4096] ^= 1 // in a segment that is reused
	put(t, before, b)
	dir := pyreader.TempDir(t)
	_, err := patch(d, filepath.Join(dir, "out"))
	var fault *artifact.Error
	if !errors.Is(err, artifact.ErrCorrupt) || !errors.As(err, &fault) || fault.File != before || fault.Offset != 4096 {
		t.Errorf("a damaged base: %v", err)
	}
	nothingIn(t, dir)
}
