package npuwz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"npuw/artifact"
	"npuw/pipeline/source"

	"npuw/schema/pyreader"
)

// forged is a file taken apart, to be put together with everything that is computed right, but for what a test changes.
type forged struct {
	*front
	frames   [][]byte
	contents []uint32 // what the seek table says of them
	tail     []byte   // behind the seek table
}

func takeApart(t testing.TB, path string, k kind) *forged {
	t.Helper()
	r, err := openReader(path, k, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	f := &forged{front: r.front}
	file := read(t, path)
	for i, c := range r.chunks {
		f.frames = append(f.frames, file[r.frames[i]:r.frames[i+1]])
		f.contents = append(f.contents, c.bytes)
	}
	return f
}

func (f *forged) file() []byte {
	b := f.encode()
	file := binary.LittleEndian.AppendUint32(nil, skippableMagic)
	file = append(binary.LittleEndian.AppendUint32(file, uint32(len(b))), b...)
	var table seekTable
	table.add(len(file), 0)
	for i, frame := range f.frames {
		file = append(file, frame...)
		table.add(len(frame), int(f.contents[i]))
	}
	return slices.Concat(file, table.encode(), f.tail)
}

// setHeader changes the artifact's header, and makes its digest right.
func (f *forged) setHeader(at int, v uint64) {
	binary.LittleEndian.PutUint64(f.header[at:], v)
	clear(f.header[240:])
	putDigest(f.header[240:], artifact.Sum(f.header))
}

// bomb is a zstd frame that says it is of so many bytes, and gives blocks of 128 KiB of zeros.
func bomb(says uint64, blocks int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 3<<6 | 1<<5 | 1<<2}
	b = binary.LittleEndian.AppendUint64(b, says)
	for i := range blocks {
		h := 128<<10<<3 | rleBlock<<1
		if i == blocks-1 {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16), 0)
	}
	return binary.LittleEndian.AppendUint32(b, uint32(xxh64(make([]byte, blocks*128<<10))))
}

// TestHostile has files whose digests and sizes are right, and which ask for what is not.
func TestHostile(t *testing.T) {
	t.Parallel()
	path := small(t, 1)
	z := compressed(t, path, scratchWork)
	packed := func(b []byte) []byte {
		e, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll(b, nil)
	}
	for _, c := range []struct {
		name    string
		change  func(f *forged)
		problem string
		err     error
	}{
		{"as it was", func(*forged) {}, "", nil},
		{"a bomb that says so", func(f *forged) { f.frames[1] = bomb(1<<40, 100) }, "not a frame of", source.ErrCorrupt},
		{"a bomb that does not", func(f *forged) { f.frames[1] = bomb(uint64(f.chunks[1].bytes), 100) }, "cannot be decompressed", source.ErrCorrupt},
		{"frames in a frame", func(f *forged) { f.frames[1] = slices.Concat(f.frames[1], bomb(128<<10, 1)) }, "cannot be decompressed", source.ErrCorrupt},
		{"a frame of other bytes", func(f *forged) { f.frames[1] = packed(make([]byte, f.chunks[1].bytes)) }, "the artifact in it", artifact.ErrCorrupt},
		{"a frame too short", func(f *forged) { f.frames[1] = packed(make([]byte, f.chunks[1].bytes-1)) }, "not a frame of", source.ErrCorrupt},
		{"a frame that is none", func(f *forged) { f.frames[1] = []byte("not a frame at all") }, "not a zstd frame", source.ErrCorrupt},
		{"a frame that is skipped", func(f *forged) { f.frames[1] = []byte("\x50\x2a\x4d\x18\x00\x00\x00\x00") }, "not a frame of", source.ErrCorrupt},
		{"no frame", func(f *forged) { f.frames[1] = nil }, "not a zstd frame", source.ErrCorrupt},
		{"a frame longer than it may be", func(f *forged) { f.frames[1] = make([]byte, 3<<20) }, "frame 2 of 3145728 bytes", source.ErrCorrupt},
		{"another index", func(f *forged) { f.frames[0] = packed(make([]byte, f.chunks[0].bytes)) }, "index: digest", artifact.ErrCorrupt},
		{"an artifact of terabytes", func(f *forged) {
			f.setHeader(32, 1<<45)
			f.setHeader(48, 1<<45-binary.LittleEndian.Uint64(f.header[56:]))
		}, "index_offset", artifact.ErrCorrupt},
		{"an index of more than there is", func(f *forged) {
			f.setHeader(56, 1<<20)
			f.setHeader(32, binary.LittleEndian.Uint64(f.header[48:])+1<<20)
		}, "chunks up to number", source.ErrCorrupt},
		{"a header of nothing", func(f *forged) { clear(f.header) }, "at byte 0: header", artifact.ErrNotArtifact},
		{"a chunk of nothing", func(f *forged) { f.chunks[1].bytes = 0 }, "chunk 1: 0 bytes", source.ErrCorrupt},
		{"a chunk too large", func(f *forged) { f.chunks[1].bytes = maxChunk + 1 }, "chunk 1: 1048577 bytes", source.ErrCorrupt},
		{"a chunk that is longer", func(f *forged) { f.chunks[1].bytes += 4; f.contents[1] += 4 }, "do not make", source.ErrCorrupt},
		{"a transform that is not there", func(f *forged) { f.chunks[1].transform = 7 }, "of transform 7", source.ErrCorrupt},
		{"half a record", func(f *forged) { f.chunks[1].bytes++ }, "chunk 1: ", source.ErrCorrupt},
		{"too few chunks", func(f *forged) { f.chunks, f.frames = f.chunks[:2], f.frames[:2] }, "do not make", source.ErrCorrupt},
		{"a chunk too many", func(f *forged) {
			f.chunks, f.frames, f.contents = append(f.chunks, f.chunks[0]), append(f.frames, f.frames[0]), append(f.contents, f.contents[0])
		}, "chunks, ", source.ErrCorrupt},
		{"a transform of nothing", func(f *forged) { f.transforms[0] = nil }, "transform 0: 0 fields", source.ErrCorrupt},
		{"a transform of too much", func(f *forged) { f.transforms[0] = make(transform, maxFields+1) }, "transform 0: 17 fields", source.ErrCorrupt},
		{"too many transforms", func(f *forged) { f.transforms = make([]transform, maxTransforms+1) }, "257 transforms", source.ErrCorrupt},
		{"elements of 3", func(f *forged) { f.transforms[0] = transform{{3, 3}} }, "3 bytes in elements of 3", source.ErrCorrupt},
		{"a field too long", func(f *forged) { f.transforms[0] = transform{{maxChunk + 4, 1}} }, "a field of 1048580 bytes", source.ErrCorrupt},
		{"half an element", func(f *forged) { f.transforms[0] = transform{{5, 2}} }, "5 bytes in elements of 2", source.ErrCorrupt},
		{"another kind", func(f *forged) { f.kind = 2 }, "kind 2 is not known", source.ErrUnsupported},
		{"a delta", func(f *forged) { f.kind = delta }, "holds a delta", source.ErrMisuse},
		{"segments of another", func(f *forged) { f.reused = []uint32{0} }, "reserved bytes", source.ErrCorrupt},
		{"a base", func(f *forged) { f.base.Lo = 1 }, "reserved bytes", source.ErrCorrupt},
		{"a wrong size", func(f *forged) { f.contents[1]++ }, "frame 2", source.ErrCorrupt},
		{"bytes behind the end", func(f *forged) { f.tail = make([]byte, 100) }, "does not end with", source.ErrTruncated},
	} {
		f := takeApart(t, z, whole)
		if len(f.chunks) < 3 {
			t.Fatalf("%d chunks; the test wants more", len(f.chunks))
		}
		c.change(f)
		wantRefused(t, c.name, f.file(), c.problem, c.err, func(in, out string) (Result, error) {
			return Decompress(t.Context(), in, out, scratchWork)
		})
	}
}

// wantRefused wants a file to be refused with an offset in it, and nothing to be left; or, where err is nil, to be taken.
func wantRefused(t *testing.T, name string, file []byte, problem string, err error, work func(in, out string) (Result, error)) {
	t.Helper()
	dir := pyreader.TempDir(t)
	in := put(t, filepath.Join(pyreader.TempDir(t), "in"), file)
	_, got := work(in, filepath.Join(dir, "out"))
	if err == nil {
		if got != nil {
			t.Errorf("%s: %v", name, got)
		}
		return
	}
	nothingIn(t, dir)
	var fault *source.Error
	if !errors.Is(got, err) || !errors.As(got, &fault) || !strings.Contains(got.Error(), problem) {
		t.Errorf("%s: %v; want %q, %v", name, got, problem, err)
	} else if fault.File != in || fault.Offset < 0 || fault.Offset > int64(len(file)) {
		t.Errorf("%s: at %d of %d of %s: %v", name, fault.Offset, len(file), fault.File, got)
	}
}

// TestWrongOutput wants no file to be lost.
func TestWrongOutput(t *testing.T) {
	t.Parallel()
	path := small(t, 1)
	z, d := compressed(t, path, scratchWork), filepath.Join(pyreader.TempDir(t), "d.npuwd")
	if _, err := Delta(t.Context(), path, path, d, scratchWork); err != nil {
		t.Fatal(err)
	}
	before := [][]byte{read(t, path), read(t, z), read(t, d)}
	for name, work := range map[string]func() (Result, error){
		"compress onto itself":    func() (Result, error) { return Compress(t.Context(), path, path, scratchWork) },
		"decompress onto itself":  func() (Result, error) { return Decompress(t.Context(), z, z, scratchWork) },
		"delta onto from":         func() (Result, error) { return Delta(t.Context(), path, z, path, scratchWork) },
		"delta onto to":           func() (Result, error) { return Delta(t.Context(), z, path, path, scratchWork) },
		"patch onto the delta":    func() (Result, error) { return Patch(t.Context(), path, d, d, scratchWork) },
		"onto a folder":           func() (Result, error) { return Compress(t.Context(), path, pyreader.TempDir(t), scratchWork) },
		"into no folder":          func() (Result, error) { return Decompress(t.Context(), z, "no/such/folder", scratchWork) },
		"of nothing":              func() (Result, error) { return Decompress(t.Context(), "nothing", "out", scratchWork) },
		"of an artifact":          func() (Result, error) { return Decompress(t.Context(), path, "out", scratchWork) },
		"of a delta":              func() (Result, error) { return Decompress(t.Context(), d, "out", scratchWork) },
		"compress what is not":    func() (Result, error) { return Compress(t.Context(), z, "out", scratchWork) },
		"patch with an archive":   func() (Result, error) { return Patch(t.Context(), path, z, "out", scratchWork) },
		"patch what is not there": func() (Result, error) { return Patch(t.Context(), "nothing", d, "out", scratchWork) },
	} {
		if _, err := work(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for i, p := range []string{path, z, d} {
		if !bytes.Equal(read(t, p), before[i]) {
			t.Errorf("%s was changed", p)
		}
	}
	if _, err := os.Stat("out"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("out: %v", err)
	}
}
