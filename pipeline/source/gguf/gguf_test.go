package gguf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/whisperfiles"
	"npuw/pipeline/source"
	"npuw/pipeline/source/gguf"
)

func write(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// some are tensors of every type that is written.
func some() []whisperfiles.Tensor {
	var list []whisperfiles.Tensor
	for i, typ := range []string{"f32", "f16", "bf16", "f64", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"} {
		list = append(list, whisperfiles.Tensor{
			Name: "w." + typ, Shape: []int{3, 2, 64}, Type: typ, Seed: uint64(i), At: func(i int) float64 { return float64(i%251)/256 - 0.5 },
		})
	}
	return append(list, whisperfiles.Tensor{Name: "ids", Shape: []int{5}, Type: "i32", At: func(i int) float64 { return float64(i) }},
		whisperfiles.Tensor{Name: "long", Shape: []int{96 * 1024}, Type: "q5_1", Seed: 77},
		whisperfiles.Tensor{Name: "none", Shape: []int{0, 4}, Type: "f32"})
}

// Every type is read exactly, from wherever a read begins.
func TestOpen(t *testing.T) {
	t.Parallel()
	for _, alignment := range []int{8, 32, 4096} {
		list := some()
		c, err := gguf.Open(write(t, whisperfiles.GGUF(list, alignment, map[string]int64{"whisper.heads": 6, "big": -7})))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.Kind != "gguf" || c.Sizes["whisper.heads"] != 6 || c.Sizes["big"] != -7 || c.Sizes["test.minus"] != -2 || c.Sizes["general.alignment"] != int64(alignment) || len(c.Sizes) != 5 {
			t.Errorf("%s %v", c.Kind, c.Sizes)
		}
		if len(c.Others) != 1 || c.Others["ids"] != "i32" || len(c.Tensors) != len(list)-1 {
			t.Errorf("%d tensors and %v", len(c.Tensors), c.Others)
		}
		for i := range list {
			if list[i].Type != "i32" {
				check(t, c, &list[i])
			}
		}
	}
}

// check compares a tensor with what was written, whole and in pieces.
func check(t *testing.T, c *source.Catalogue, want *whisperfiles.Tensor) {
	t.Helper()
	got := c.Tensor(want.Name)
	if got == nil || len(got.Shape) != len(want.Shape) {
		t.Fatalf("%s: %+v", want.Name, got)
	}
	for i, n := range want.Shape {
		if got.Shape[i] != uint64(n) {
			t.Errorf("%s: shape %v, expected %v", want.Name, got.Shape, want.Shape)
		}
	}
	n, size := want.Elements(), got.Type.Size()
	raw := make([]byte, n*size)
	if got.Data.Size != int64(len(raw)) {
		t.Fatalf("%s: %d bytes, expected %d", want.Name, got.Data.Size, len(raw))
	}
	if err := c.ReadAt(raw, got, 0); err != nil {
		t.Fatal(err)
	}
	values := make([]float64, n)
	if err := element.ToFloat64(values, raw, got.Type); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if w := want.Value(i); v != w {
			t.Fatalf("%s: value %d is %g, expected %g", want.Name, i, v, w)
		}
	}
	for _, piece := range [][2]int{{0, 1}, {1, 1}, {31, 2}, {33, 70}, {n - 1, 1}, {5, max(n-5, 0)}} {
		if piece[0] < 0 || piece[0]+piece[1] > n {
			continue
		}
		b := make([]byte, piece[1]*size)
		if err := c.ReadAt(b, got, int64(piece[0]*size)); err != nil || !bytes.Equal(b, raw[piece[0]*size:][:len(b)]) {
			t.Errorf("%s: %d values from %d differ from those of the whole, %v", want.Name, piece[1], piece[0], err)
		}
	}
	checkCodes(t, c, got, values)
}

// checkCodes makes the values again of codes and blocks.
func checkCodes(t *testing.T, c *source.Catalogue, got *source.Tensor, values []float64) {
	t.Helper()
	if strings.HasPrefix(got.Stored, "q8_0") != (got.Codes != nil && got.Codes.Scheme.Codes == element.I8) ||
		strings.HasPrefix(got.Stored, "q4_0") != (got.Codes != nil && got.Codes.Scheme.Codes == element.U4) {
		t.Errorf("%s: %q and %+v", got.Name, got.Stored, got.Codes)
	}
	if got.Codes == nil {
		return
	}
	if err := got.Codes.Scheme.Validate(); err != nil || !slices.Equal(got.Codes.Block, []uint64{1, 1, 32}) {
		t.Fatalf("%v, blocks of %v", err, got.Codes.Block)
	}
	list := make([]element.Block, 2*2*1)
	if err := got.Codes.Blocks.ReadBlocks(c, list, []uint64{1, 0, 1}, []uint64{2, 2, 1}); err != nil {
		t.Fatal(err)
	}
	most := map[element.Format]float64{element.I8: 128, element.U4: 8}[got.Codes.Scheme.Codes]
	for i, b := range list { // row 2+i of 64, its second half
		for _, v := range values[(2+i)*64+32:][:32] {
			code := v / b.Scale
			if b.Scale == 0 {
				code = 0
			}
			if code != math.Trunc(code) || math.Abs(code) > most || code*b.Scale != v || b.Zero != map[element.Format]float64{element.U4: 8}[got.Codes.Scheme.Codes] {
				t.Errorf("%s: %g is no code times the scale of %+v", got.Name, v, b)
			}
		}
	}
}

// A scale that is not finite makes values that are not, and no blocks.
func TestScaleNotFinite(t *testing.T) {
	t.Parallel()
	b := whisperfiles.GGUF([]whisperfiles.Tensor{{Name: "w", Shape: []int{32}, Type: "q8_0"}}, 32, nil)
	at := len(b) - 64
	binary.LittleEndian.PutUint16(b[at:], 0x7c00)
	c, err := gguf.Open(write(t, b))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Tensors[0].Codes.Blocks.ReadBlocks(c, make([]element.Block, 1), []uint64{0}, []uint64{1})
	if e := (*source.Error)(nil); !errors.As(err, &e) || e.Err != source.ErrNotFinite || e.Offset != int64(at) {
		t.Errorf("%v", err)
	}
}

func le32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
func le64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// file is a GGUF file of so many keys and infos, and the rest after them.
func file(keys [][]byte, infos [][]byte, rest ...[]byte) []byte {
	return slices.Concat([]byte("GGUF"), le32(3), le64(uint64(len(infos))), le64(uint64(len(keys))), slices.Concat(keys...), slices.Concat(infos...), slices.Concat(rest...))
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	info, key, text, array := whisperfiles.Info, whisperfiles.Key, whisperfiles.Text, whisperfiles.Array
	deep := []byte{7}
	for range 6 {
		deep = array(9, 1, deep)
	}
	zeros := make([]byte, 256)
	for _, x := range []struct {
		name  string
		file  []byte
		want  error
		parts string
	}{
		{"nothing", nil, source.ErrTruncated, "magic"},
		{"another file", []byte("GGML0000"), source.ErrNotRecognised, "GGUF"},
		{"big-endian", []byte("GGUF\x00\x00\x00\x03"), source.ErrUnsupported, "big-endian"},
		{"version 1", append([]byte("GGUF"), le32(1)...), source.ErrUnsupported, "version 1"},
		{"no counts", append([]byte("GGUF"), le32(3)...), source.ErrTruncated, "number of tensors"},
		{"2^60 tensors", slices.Concat([]byte("GGUF"), le32(3), le64(1<<60), le64(0)), source.ErrLimit, "number of tensors"},
		{"2^60 keys", slices.Concat([]byte("GGUF"), le32(3), le64(0), le64(1<<60)), source.ErrLimit, "number of keys"},
		{"a key of 2^63 bytes", file([][]byte{le64(1 << 63)}, nil), source.ErrLimit, "length of a key"},
		{"a key twice", file([][]byte{key("k", 0, []byte{1}), key("k", 0, []byte{1})}, nil), source.ErrCorrupt, `key "k"`},
		{"a value of type 13", file([][]byte{key("k", 13, nil)}, nil), source.ErrUnsupported, "type 13"},
		{"a string of 2^64-1 bytes", file([][]byte{key("k", 8, le64(1<<64-1))}, nil), source.ErrTruncated, `key "k"`},
		{"an array of 2^62 numbers", file([][]byte{key("k", 9, array(10, 1<<62, nil))}, nil), source.ErrTruncated, `key "k"`},
		{"an array of 2^62 strings", file([][]byte{key("k", 9, array(8, 1<<62, text("x")))}, nil), source.ErrTruncated, `key "k"`},
		{"arrays in arrays", file([][]byte{key("k", 9, deep)}, nil), source.ErrLimit, "in one another"},
		{"alignment 0", file([][]byte{key("general.alignment", 4, le32(0))}, nil), source.ErrCorrupt, "general.alignment"},
		{"alignment 24", file([][]byte{key("general.alignment", 4, le32(24))}, nil), source.ErrCorrupt, "general.alignment"},
		{"alignment of text", file([][]byte{key("general.alignment", 8, text("32"))}, nil), source.ErrCorrupt, "general.alignment: is no integer"},
		{"parts in float", file([][]byte{key("split.count", 6, le32(0x40000000))}, nil), source.ErrCorrupt, "split.count: is no integer"},
		{"alignment -8", file([][]byte{key("general.alignment", 5, le32(0xfffffff8))}, nil), source.ErrCorrupt, "general.alignment"},
		{"a part of three", file([][]byte{key("split.count", 2, []byte{3, 0})}, nil), source.ErrUnsupported, "3 parts"},
		{"no tensor where one is announced", file(nil, [][]byte{nil}), source.ErrTruncated, "name"},
		{"no name", file(nil, [][]byte{info("", []uint64{1}, 0, 0)}, zeros), source.ErrCorrupt, "without a name"},
		{"a long name", file(nil, [][]byte{info(strings.Repeat("n", 257), []uint64{1}, 0, 0)}, zeros), source.ErrLimit, "257"},
		{"five axes", file(nil, [][]byte{info("w", []uint64{1, 1, 1, 1, 1}, 0, 0)}, zeros), source.ErrLimit, "5 axes"},
		{"2^64 values", file(nil, [][]byte{info("w", []uint64{1 << 32, 1 << 32}, 0, 0)}, zeros), source.ErrCorrupt, `tensor "w"`},
		{"2^62 values", file(nil, [][]byte{info("w", []uint64{1 << 62}, 0, 0)}, zeros), source.ErrCorrupt, `tensor "w"`},
		{"half a block", file(nil, [][]byte{info("w", []uint64{48, 2}, 8, 0)}, zeros), source.ErrCorrupt, "multiple"},
		{"blocks of a scalar", file(nil, [][]byte{info("w", nil, 8, 0)}, zeros), source.ErrCorrupt, "multiple"},
		{"two of a name", file(nil, [][]byte{info("w", []uint64{1}, 0, 0), info("w", []uint64{1}, 0, 32)}, zeros), source.ErrCorrupt, "two tensors"},
		{"an offset between", file(nil, [][]byte{info("w", []uint64{1}, 0, 4)}, zeros), source.ErrCorrupt, "alignment"},
		{"data past the end", file(nil, [][]byte{info("w", []uint64{64}, 0, 32)}, zeros), source.ErrTruncated, "256 bytes at 32"},
		{"an offset past 2^63", file(nil, [][]byte{info("w", []uint64{1}, 0, 1<<63)}, zeros), source.ErrTruncated, `tensor "w"`},
		{"a type that nobody knows, past the end", file(nil, [][]byte{info("w", []uint64{1}, 99, 1<<20)}, zeros), source.ErrTruncated, `tensor "w"`},
		{"tensors that overlap", file(nil, [][]byte{info("a", []uint64{9}, 0, 0), info("b", []uint64{1}, 0, 32)}, zeros), source.ErrCorrupt, `tensor "a" ends`},
		{"an older quantization", file([][]byte{key("general.quantization_version", 4, le32(1))}, [][]byte{info("w", []uint64{32}, 2, 0)}, zeros), source.ErrUnsupported, "version 1"},
	} {
		c, err := gguf.Open(write(t, x.file))
		if c != nil || !errors.Is(err, x.want) || !strings.Contains(fmt.Sprint(err), x.parts) {
			t.Errorf("%s: %v; expected %v and %q", x.name, err, x.want, x.parts)
		}
	}
}

// Strings are counted: a file without blocks on the disk may announce any number of empty ones.
func TestStringsWithoutEnd(t *testing.T) {
	t.Parallel()
	path := write(t, file([][]byte{whisperfiles.Key("k", 9, whisperfiles.Array(8, 1<<40, nil))}, nil))
	if err := os.Truncate(path, 1<<33); err != nil {
		t.Skipf("no file of 8 GiB: %v", err)
	}
	if c, err := gguf.Open(path); c != nil || !errors.Is(err, source.ErrLimit) || !strings.Contains(fmt.Sprint(err), "strings") {
		t.Errorf("%v", err)
	}
}

// What a file says may be longer than what is read at a time.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	sizes := map[string]int64{}
	for i := range int64(5000) {
		sizes[fmt.Sprintf("key.%d", i)] = i*i - 7
	}
	list := some()
	c, err := gguf.Open(write(t, whisperfiles.GGUF(list, 32, sizes)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, n := range sizes {
		if got, ok := c.Sizes[name]; !ok || got != n {
			t.Fatalf("%s is %d, expected %d", name, got, n)
		}
	}
	check(t, c, &list[len(list)-2])
}

// A tensor of 2^40 values is found and read in part, without being loaded.
func TestLocatedNotLoaded(t *testing.T) {
	t.Parallel()
	path := write(t, file(nil, [][]byte{whisperfiles.Info("w", []uint64{1 << 20, 1 << 20}, 8, 0)}))
	if err := os.Truncate(path, 34<<35+4096); err != nil {
		t.Skipf("no file of 1 TiB: %v", err)
	}
	c, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 4*1000)
	if err := c.ReadAt(b, &c.Tensors[0], c.Tensors[0].Data.Size-int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if err := c.Tensors[0].Codes.Blocks.ReadBlocks(c, make([]element.Block, 3), []uint64{1<<20 - 3, 1<<15 - 1}, []uint64{3, 1}); err != nil {
		t.Fatal(err)
	}
}

// Every truncation is refused, or leaves the data of no tensor out.
func TestTruncated(t *testing.T) {
	t.Parallel()
	whole := whisperfiles.GGUF([]whisperfiles.Tensor{{Name: "w", Shape: []int{2, 32}, Type: "q4_1"}}, 32, nil)
	for n := range len(whole) - 24 { // 40 bytes of data, padded to 64
		if c, err := gguf.Open(write(t, whole[:n])); c != nil || !errors.Is(err, source.ErrTruncated) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

// A tensor of a type that is not read is known by its type.
func TestOthers(t *testing.T) {
	t.Parallel()
	c, err := gguf.Open(write(t, file(nil, [][]byte{
		whisperfiles.Info("k", []uint64{256}, 14, 0), whisperfiles.Info("x", []uint64{7}, 99, 224), whisperfiles.Info("s", nil, 0, 224),
	}, make([]byte, 300))))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Others["k"] != "q6_K" || !strings.Contains(c.Others["x"], "99") || len(c.Tensors) != 1 || len(c.Tensors[0].Shape) != 0 {
		t.Errorf("%v, %+v", c.Others, c.Tensors)
	}
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	if !gguf.Recognise([]byte("GGUF\x03")) || gguf.Recognise([]byte("GGU")) || gguf.Recognise([]byte("lmgg")) {
		t.Error("GGUF is recognised by its first four bytes")
	}
	if _, err := gguf.Open(t.TempDir()); !errors.Is(err, source.ErrUnsafePath) {
		t.Errorf("a folder: %v", err)
	}
}

// Whatever a file is, the answer is an error about it, or tensors that can be read.
func FuzzOpen(f *testing.F) {
	f.Add(whisperfiles.GGUF(some()[:9], 32, map[string]int64{"n": 1}), uint16(3), uint16(70))
	f.Add(file(nil, [][]byte{whisperfiles.Info("k", []uint64{256}, 14, 0)}, make([]byte, 300)), uint16(0), uint16(1))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, file []byte, first, count uint16) {
		path := filepath.Join(dir, "m.gguf")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := gguf.Open(path)
		whisperfiles.CheckOpened(t, c, err, path, len(file), first, count)
	})
}
