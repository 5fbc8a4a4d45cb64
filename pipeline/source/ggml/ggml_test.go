package ggml_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperfiles"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/source"
	"npuw/pipeline/source/ggml"
)

// small is an encoder, and beside a decoder, whose matrices have rows of whole blocks.
var (
	small  = whisperonnx.Config{DModel: 32, Layers: 1, Heads: 4, FFN: 64, Mels: 5, Positions: 3}
	beside = checkpoints.Decoder{Layers: 1, FFN: 64, Positions: 448, Vocab: 51}
)

func write(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ggml-tiny.bin")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every type that whisper.cpp writes is read exactly, under OpenAI's names, in PyTorch's shapes.
func TestOpen(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"f32", "f16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"} {
		config := small
		if typ == "f16" {
			config.Type = element.F16
		}
		list := whisperfiles.Of(checkpoints.Whisper(config, beside), whisperfiles.Matrices(typ, "f32"))
		c, err := ggml.Open(write(t, whisperfiles.Ggml(small, beside, list, 2007)))
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		defer c.Close()
		if c.Kind != "ggml" || c.Sizes["dims.n_vocab"] != 51 || c.Sizes["dims.n_audio_head"] != 4 || c.Sizes["dims.n_text_ctx"] != 448 || c.Sizes["dims.n_mels"] != 5 || len(c.Sizes) != 10 {
			t.Errorf("%s %v", c.Kind, c.Sizes)
		}
		if len(c.Tensors) != len(list) || c.Tensor("encoder.blocks.0.attn.query.weight") == nil {
			t.Errorf("%d tensors, expected %d", len(c.Tensors), len(list))
		}
		for i := range list {
			check(t, c, &list[i])
		}
	}
}

func check(t *testing.T, c *source.Catalogue, want *whisperfiles.Tensor) {
	t.Helper()
	got := c.Tensor(checkpoints.OpenAI(want.Name))
	if got == nil || fmt.Sprint(got.Shape) != fmt.Sprint(want.Shape) {
		t.Fatalf("%s: %+v, expected the shape %v", want.Name, got, want.Shape)
	}
	raw, values := make([]byte, got.Data.Size), make([]float64, want.Elements())
	if err := errors.Join(c.ReadAt(raw, got, 0), element.ToFloat64(values, raw, got.Type)); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if w := want.Value(i); v != w {
			t.Fatalf("%s in %s: value %d is %g, expected %g", want.Name, want.Type, i, v, w)
		}
	}
}

func le(list ...int) []byte {
	var b []byte
	for _, n := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return b
}

// head is a file up to its tensors.
func head(ftype int) []byte {
	return slices.Concat(le(0x67676d6c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, ftype, 1, 2), make([]byte, 8), le(1, 3), []byte("abc"))
}

// tensor is one of a name: what the file says of it, and its data.
func tensor(name string, typ int, data int, axes ...int) []byte {
	return slices.Concat(le(len(axes), len(name), typ), le(axes...), []byte(name), make([]byte, data))
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name  string
		file  []byte
		want  error
		parts string
	}{
		{"nothing", nil, source.ErrTruncated, "magic"},
		{"another file", []byte("GGUF\x03\x00\x00\x00"), source.ErrNotRecognised, "0x67676d6c"},
		{"a size below 0", le(0x67676d6c, -1), source.ErrLimit, "n_vocab"},
		{"a size of 2^31-1", le(0x67676d6c, 1, 1<<31-1), source.ErrLimit, "n_audio_ctx"},
		{"a voice detector", slices.Concat(le(0x67676d6c, 10), []byte("silero-16k")), source.ErrLimit, "n_audio_ctx"},
		{"filters of other mels", le(0x67676d6c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 80, 0, 128, 201), source.ErrMismatch, "mel filters"},
		{"filters past the end", le(0x67676d6c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1<<24, 0, 1<<24, 1<<24), source.ErrTruncated, "mel filters"},
		{"a token past the end", append(head(0)[:len(head(0))-7], le(-1, 0)...), source.ErrTruncated, "token"},
		{"a tensor that ends early", append(head(0), tensor("w", 0, 7, 2)...), source.ErrTruncated, `tensor "w"`},
		{"three bytes too many", slices.Concat(head(0), tensor("w", 0, 8, 2), []byte{0, 0, 0}), source.ErrTruncated, "tensor 1"},
		{"five axes", append(head(0), tensor("w", 0, 4, 1, 1, 1, 1, 1)...), source.ErrLimit, "5 axes"},
		{"no name", append(head(0), tensor("", 0, 4, 1)...), source.ErrLimit, "name of 0 bytes"},
		{"a long name", append(head(0), tensor(strings.Repeat("n", 300), 0, 4, 1)...), source.ErrLimit, "name of 300 bytes"},
		{"an axis below 0", append(head(0), tensor("w", 0, 4, -1)...), source.ErrCorrupt, "length -1"},
		{"2^93 values", append(head(0), tensor("w", 0, 4, 1<<31-1, 1<<31-1, 1<<31-1)...), source.ErrCorrupt, `tensor "w"`},
		{"half a block", append(head(2000), tensor("w", 8, 34, 33)...), source.ErrCorrupt, "multiple"},
		{"two of a name", slices.Concat(head(0), tensor("w", 0, 4, 1), tensor("w", 0, 4, 1)), source.ErrCorrupt, "two tensors"},
		{"a type that nobody knows", append(head(0), tensor("w", 99, 4, 1)...), source.ErrUnsupported, "99"},
		{"blocks of an older version", append(head(1007), tensor("w", 8, 34, 32)...), source.ErrUnsupported, "version 1"},
	} {
		c, err := ggml.Open(write(t, x.file))
		if c != nil || !errors.Is(err, x.want) || !strings.Contains(fmt.Sprint(err), x.parts) {
			t.Errorf("%s: %v; expected %v and %q", x.name, err, x.want, x.parts)
		}
	}
}

// A file may end only where a tensor does.
func TestTruncated(t *testing.T) {
	t.Parallel()
	start := len(head(2002))
	whole := slices.Concat(head(2002), tensor("a", 2, 18, 32), tensor("b", 1, 4, 2))
	ends := map[int]bool{start: true, start + 12 + 4 + 1 + 18: true, len(whole): true}
	for n := range len(whole) + 1 {
		c, err := ggml.Open(write(t, whole[:n]))
		if ends[n] {
			if err != nil {
				t.Errorf("%d of %d bytes: %v", n, len(whole), err)
				continue
			}
			c.Close()
		} else if c != nil || !errors.Is(err, source.ErrTruncated) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

// A tensor of a type that is not read is passed over.
func TestOthers(t *testing.T) {
	t.Parallel()
	c, err := ggml.Open(write(t, slices.Concat(head(2015), tensor("k", 12, 144, 256), tensor("one.bias", 0, 4, 1, 1))))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Others["k"] != "q4_K" || len(c.Tensors) != 1 || len(c.Tensors[0].Shape) != 0 {
		t.Errorf("%v, %+v", c.Others, c.Tensors)
	}
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	if !ggml.Recognise([]byte("lmgg\x01")) || ggml.Recognise([]byte("lmg")) || ggml.Recognise([]byte("ggml")) {
		t.Error("0x67676d6c, little-endian, is what a file begins with")
	}
	if _, err := ggml.Open(t.TempDir()); !errors.Is(err, source.ErrUnsafePath) {
		t.Errorf("a folder: %v", err)
	}
}

// Whatever a file is, the answer is an error about it, or tensors that can be read.
func FuzzOpen(f *testing.F) {
	for _, typ := range []string{"f32", "q5_0", "q8_0"} {
		list := whisperfiles.Of(checkpoints.Whisper(small, beside), whisperfiles.Matrices(typ, "f32"))
		f.Add(whisperfiles.Ggml(small, beside, []whisperfiles.Tensor{list[1], list[5]}, 2007), uint16(3), uint16(70))
	}
	f.Add(slices.Concat(head(2015), tensor("k", 12, 144, 256), tensor("one.bias", 0, 4, 1, 1)), uint16(0), uint16(1))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, file []byte, first, count uint16) {
		path := filepath.Join(dir, "m.bin")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := ggml.Open(path)
		whisperfiles.CheckOpened(t, c, err, path, len(file), first, count)
	})
}
