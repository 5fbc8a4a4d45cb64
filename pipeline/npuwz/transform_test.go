package npuwz

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"npuw/schema/pyreader"
)

// transformExamples are those of every element format, and of records.
func transformExamples() []transform {
	return []transform{
		asIs,
		{{2, 2}},
		{{4, 4}},
		{{1, 1}, {8, 1}},                      // bfp16
		{{512, 1}, {16, 1}, {64, 2}, {48, 1}}, // npu1-int4
		{{12, 4}, {3, 1}, {6, 2}},
		{{4, 2}, {4, 2}},
	}
}

// example fills b with what weights are like: floats about 0, with zeros between, the second half of them again and again the same.
func example(b []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i+4 <= len(b); i += 4 {
		switch {
		case i/4096%5 == 4:
			clear(b[i : i+4])
		case i > len(b)/2 && i > 8192 && seed%2 == 0:
			copy(b[i:i+4], b[i-4096:])
		default:
			u := r.Uint64()
			v := (float32(u&0xffff) + float32(u>>16&0xffff) - float32(u>>32&0xffff) - float32(u>>48)) / 1e6
			binary.LittleEndian.PutUint32(b[i:], math.Float32bits(v))
		}
	}
}

// TestPlanes wants elements where the definition says they are.
func TestPlanes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		t         transform
		in, want  []byte
		wantPlane []int
	}{
		{asIs, []byte{1, 2, 3}, []byte{1, 2, 3}, []int{3}},
		{transform{{2, 2}}, []byte{0x01, 0x80, 0x80, 0x3f}, []byte{0x03, 0x00, 0x00, 0x7f}, []int{2, 4}},
		{transform{{4, 4}}, []byte{1, 2, 3, 0x84, 5, 6, 7, 8}, []byte{3, 10, 4, 12, 6, 14, 8, 16}, []int{2, 4, 6, 8}},
		{transform{{1, 1}, {2, 2}}, []byte{9, 1, 2, 8, 3, 4}, []byte{9, 8, 2, 6, 4, 8}, []int{2, 4, 6}},
	} {
		got := make([]byte, len(c.in))
		ends := c.t.split(got, c.in, nil)
		if !bytes.Equal(got, c.want) || len(ends) != len(c.wantPlane) || ends[len(ends)-1] != len(c.in) {
			t.Errorf("%v: %v in planes to %v, want %v, %v", c.t, got, ends, c.want, c.wantPlane)
		}
		back := make([]byte, len(c.in))
		if c.t.join(back, got); !bytes.Equal(back, c.in) {
			t.Errorf("%v: %v comes back as %v", c.t, c.in, back)
		}
	}
}

// TestFrames wants frames that zstd decoders read, of any length.
func TestFrames(t *testing.T) {
	t.Parallel()
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var s scratch
	var e encoder
	var all, want []byte
	counts := []int{1, 2, 3, 7, 100, 255, 256, 257, 1000, 2048, 65536, 65537, 200_000, maxChunk}
	if testing.Short() {
		counts = counts[:10]
	}
	for n, c := range transformExamples() {
		for _, records := range counts {
			length := min(records, maxChunk/c.recordBytes()) * c.recordBytes()
			s.grow(length)
			example(s.raw, uint64(n+records))
			s.ends = c.split(s.planes, s.raw, s.ends[:0])
			if s.frame, err = e.frame(s.frame, s.planes, s.ends); err != nil {
				t.Fatal(err)
			}
			got, err := d.DecodeAll(s.frame, nil)
			if err != nil || !bytes.Equal(got, s.planes) {
				t.Fatalf("%v, %d bytes: %v, or other bytes", c, length, err)
			}
			back := make([]byte, length)
			if c.join(back, got); !bytes.Equal(back, s.raw) {
				t.Fatalf("%v, %d bytes: planes do not join", c, length)
			}
			if len(s.frame) > maxFrame(length) {
				t.Errorf("%v, %d bytes: a frame of %d", c, length, len(s.frame))
			}
			all, want = append(all, s.frame...), append(want, s.planes...)
		}
	}
	program, err := exec.LookPath("zstd")
	switch {
	case err != nil && os.Getenv("CI") != "":
		t.Fatal("no zstd program to compare with: apt-get install zstd")
	case err != nil:
		t.Skip("no zstd program to compare with: apt-get install zstd")
	}
	path := filepath.Join(pyreader.TempDir(t), "all.zst")
	if err := os.WriteFile(path, all, 0o666); err != nil {
		t.Fatal(err)
	}
	if got, err := exec.CommandContext(t.Context(), program, "-dcq", path).Output(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v, or other bytes", program, err)
	}
}

// TestRuns wants runs of one byte to be blocks by themselves, and hardly more than nothing.
func TestRuns(t *testing.T) {
	t.Parallel()
	content := make([]byte, maxChunk)
	example(content[300_000:310_000], 1)
	var e encoder
	out := e.literals(nil, content, []int{len(content)})
	if len(out) > 12_000 {
		t.Errorf("%d bytes for 10000 that are not zero", len(out))
	}
	if frame := e.literals(nil, content[:5000], []int{100, 5000}); len(frame) > 30 {
		t.Errorf("%d bytes for zeros", len(frame))
	}
}

// TestXXH64 compares with values of the xxHash project's own program (xxhsum -H1), seed 0.
func TestXXH64(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{
		"":    0xef46db3751d8e999,
		"a":   0xd24ec4f1a98c6e5b,
		"abc": 0x44bc2cf5ad770999,
	} {
		if got := xxh64([]byte(text)); got != want {
			t.Errorf("%q: %x, want %x", text, got, want)
		}
	}
}
