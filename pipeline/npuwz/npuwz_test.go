package npuwz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"npuw/artifact"
	"npuw/pipeline"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

const tiny = "../../testdata/whisper-tiny/whisper-tiny-encoder.onnx"

// scratchWork leaves fsync out.
var scratchWork = Options{NoSync: true}

// packed packs a model by a recipe, or recipe file, into a folder of its own.
func packed(t testing.TB, model, recipeName string) string {
	t.Helper()
	b, err := pipeline.Prepare(model, recipeName)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(pyreader.TempDir(t), "a.npuw")
	if _, err := b.Pack(t.Context(), path, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	return path
}

// small packs a model of a few hundred weights, which the seed tells apart.
func small(t testing.TB, seed uint64) string {
	t.Helper()
	model := filepath.Join(pyreader.TempDir(t), "model.onnx")
	if err := whisperonnx.Write(model, whisperonnx.Config{DModel: 8, Layers: 1, Heads: 1, FFN: 8, Mels: 2, Positions: 4, Seed: seed}); err != nil {
		t.Fatal(err)
	}
	return packed(t, model, "whisper-encoder/f32")
}

// compressed compresses an artifact into a folder of its own.
func compressed(t testing.TB, path string, opts Options) string {
	t.Helper()
	out := filepath.Join(pyreader.TempDir(t), "a.npuwz")
	if _, err := Compress(t.Context(), path, out, opts); err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// nothingIn wants an empty folder.
func nothingIn(t *testing.T, dir string) {
	t.Helper()
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Fatalf("left behind: %v, %v", list, err)
	}
}

// TestRoundTrip compresses what every built-in recipe makes, with pages of all sizes and any number of workers, and wants the same
// bytes each time, and the artifact back. Any zstd program must be able to test the file, and read the planes in it.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	var recipes []string
	for _, r := range recipe.BuiltinsFor("whisper-encoder") {
		recipes = append(recipes, r.Name)
	}
	text, err := recipe.BuiltinText("whisper-encoder/npu1-int4")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []int{16384, 65536} {
		recipes = append(recipes, put(t, filepath.Join(pyreader.TempDir(t), "r.txtpb"), append(fmt.Appendf(nil, "page_bytes: %d\n", page), text...)))
	}
	for _, name := range recipes {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			path := packed(t, tiny, name)
			want := read(t, path)
			var file []byte
			for _, jobs := range []int{1, 2, 8} {
				opts := Options{NoSync: true, Jobs: jobs}
				z := compressed(t, path, opts)
				if b := read(t, z); file == nil {
					file = b
				} else if !bytes.Equal(b, file) {
					t.Fatalf("%d workers: other bytes", jobs)
				}
				back := filepath.Join(pyreader.TempDir(t), "back.npuw")
				r, err := Decompress(t.Context(), z, back, opts)
				if err != nil || !bytes.Equal(read(t, back), want) {
					t.Fatalf("%d workers: %v, or another artifact", jobs, err)
				}
				if r.Stored != int64(len(file)) || r.Artifact.FileBytes != uint64(len(want)) || r.Carried != r.Segments || r.Segments == 0 {
					t.Errorf("%d workers: %+v", jobs, r)
				}
			}
			if len(file) > len(want)*95/100 {
				t.Errorf("%d bytes of %d", len(file), len(want))
			}
			wantStandard(t, file, want)
		})
	}
}

// wantStandard reads a file by zstd's own rules: the planes of each chunk, as the front says how they are made.
func wantStandard(t *testing.T, file, original []byte) {
	t.Helper()
	r, err := zstd.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	f, err := decodeFront(file[frameHeader:][:frontLength(file)])
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	h, err := artifact.HeaderOf(f.header)
	if err != nil {
		t.Fatal(err)
	}
	at := h.IndexOffset
	for _, c := range f.chunks {
		if at == h.FileBytes {
			at = h.PageBytes
		}
		planes := make([]byte, c.bytes)
		f.transforms[c.transform].split(planes, original[at:at+uint64(c.bytes)], nil)
		want, at = append(want, planes...), at+uint64(c.bytes)
	}
	if !bytes.Equal(got.Bytes(), want) || at != h.IndexOffset {
		t.Fatalf("a zstd reader finds %d bytes; %d of planes were expected", got.Len(), len(want))
	}
}

// frontLength is what the first frame says of its length.
func frontLength(file []byte) int {
	return int(file[4]) | int(file[5])<<8 | int(file[6])<<16 | int(file[7])<<24
}

// TestEveryByteCounts changes each byte of a file, and cuts it at each place: what comes is an error with an offset in the file, or the
// artifact, and nothing is left behind.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	path := small(t, 1)
	want, file := read(t, path), read(t, compressed(t, path, scratchWork))
	dir, in := pyreader.TempDir(t), pyreader.TempDir(t)
	step := 1
	if testing.Short() {
		step = 7
	}
	try := func(what string, at int, b []byte) (whole bool) {
		out := filepath.Join(dir, "out.npuw")
		_, err := Decompress(t.Context(), put(t, filepath.Join(in, "in.npuwz"), b), out, scratchWork)
		if err == nil {
			if !bytes.Equal(read(t, out), want) {
				t.Errorf("%s %d: another artifact", what, at)
			}
			os.Remove(out)
			nothingIn(t, dir)
			return true
		}
		var fault *source.Error
		if !errors.As(err, &fault) || fault.File == "" || fault.Offset < 0 || fault.Offset > int64(len(b)) || fault.Next == "" {
			t.Errorf("%s %d: %v; a *source.Error with an offset was expected", what, at, err)
		}
		nothingIn(t, dir)
		return false
	}
	passed := 0
	for at := 0; at < len(file); at += step {
		b := slices.Clone(file)
		b[at] ^= 1 << (at % 8)
		if try("byte", at, b) {
			passed++
		}
		if try("cut at", at, file[:at]) {
			t.Errorf("cut at %d: accepted", at)
		}
	}
	if try("with one byte more", len(file), append(slices.Clone(file), 0)) {
		t.Error("one byte more: accepted")
	}
	t.Logf("%d bytes; %d changes left the artifact as it was", len(file), passed)
	if passed > len(file)/step/100 {
		t.Errorf("%d changes of %d did not show", passed, len(file)/step)
	}
}

// TestGolden wants the bytes of a file to depend on the artifact alone: the digests are of files made with assembly and without, on
// little machines and large ones.
func TestGolden(t *testing.T) {
	t.Parallel()
	var all []byte
	var s scratch
	var e encoder
	for n, c := range transformExamples() {
		for _, length := range []int{c.recordBytes(), 300 / c.recordBytes() * c.recordBytes(), 70_000 / c.recordBytes() * c.recordBytes(), maxChunk / c.recordBytes() * c.recordBytes()} {
			if length == 0 {
				continue
			}
			s.grow(length)
			example(s.raw, uint64(n))
			s.ends = c.split(s.planes, s.raw, s.ends[:0])
			var err error
			if s.frame, err = e.frame(s.frame, s.planes, s.ends); err != nil {
				t.Fatal(err)
			}
			all = append(all, s.frame...)
		}
	}
	const want = "6633272ba8e4825235a6add587b66ede"
	if got := artifact.Sum(all).String(); got != want {
		t.Errorf("%d bytes of frames have the digest %s, want %s: other bytes for the same artifact", len(all), got, want)
	}
}

// TestCancelled wants nothing to be left when the work is ended.
func TestCancelled(t *testing.T) {
	t.Parallel()
	path, next := small(t, 1), small(t, 2)
	z, d := compressed(t, path, scratchWork), filepath.Join(pyreader.TempDir(t), "d.npuwd")
	if _, err := Delta(t.Context(), path, next, d, scratchWork); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, work := range map[string]func(out string) (Result, error){
		"compress":   func(out string) (Result, error) { return Compress(ctx, path, out, scratchWork) },
		"decompress": func(out string) (Result, error) { return Decompress(ctx, z, out, scratchWork) },
		"delta":      func(out string) (Result, error) { return Delta(ctx, path, next, out, scratchWork) },
		"patch":      func(out string) (Result, error) { return Patch(ctx, path, d, out, scratchWork) },
	} {
		dir := pyreader.TempDir(t)
		if _, err := work(filepath.Join(dir, "out")); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		nothingIn(t, dir)
	}
}

// TestDamagedArtifact wants nothing to be made of an artifact that is not sound.
func TestDamagedArtifact(t *testing.T) {
	t.Parallel()
	path, other := small(t, 1), small(t, 2)
	pyreader.Damage(t, path)
	b := read(t, path)
	b[5000] ^= 1
	put(t, path, b)
	for name, work := range map[string]func(out string) (Result, error){
		"compress": func(out string) (Result, error) { return Compress(t.Context(), path, out, scratchWork) },
		"from":     func(out string) (Result, error) { return Delta(t.Context(), path, other, out, scratchWork) },
		"to":       func(out string) (Result, error) { return Delta(t.Context(), other, path, out, scratchWork) },
	} {
		dir := pyreader.TempDir(t)
		_, err := work(filepath.Join(dir, "out"))
		var fault *artifact.Error
		if !errors.Is(err, artifact.ErrCorrupt) || !errors.As(err, &fault) || fault.File != path || fault.Offset < 4096 {
			t.Errorf("%s: %v", name, err)
		}
		nothingIn(t, dir)
	}
}

// An artifact that is written to after it was verified gives no file, and the error says so.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, path string, b []byte){
		"a byte": func(t *testing.T, path string, b []byte) {
			b[len(b)/2] ^= 1
			put(t, path, b)
		},
		"an end": func(t *testing.T, path string, b []byte) {
			if err := os.Truncate(path, int64(len(b)/2)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		in := small(t, 1)
		pyreader.Damage(t, in)
		a, err := openVerified(in)
		if err != nil {
			t.Fatal(err)
		}
		change(t, in, read(t, in))
		out := filepath.Join(pyreader.TempDir(t), "x.npuwz")
		_, err = write(t.Context(), a, &front{kind: whole}, out, Options{})
		if !errors.Is(err, source.ErrChanged) || !strings.Contains(err.Error(), in) {
			t.Errorf("%s: %v", name, err)
		}
		nothingIn(t, filepath.Dir(out))
		a.Close()
	}
}
