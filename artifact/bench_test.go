package artifact

import (
	"fmt"
	"path/filepath"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/schema/pyreader"
)

// encoderIndex is the index of an encoder with 500 linear layers, each a tiled operand of one parameter, in segments of ten.
func encoderIndex() *Index {
	const operands, tile = 500, 64 * 64 * 2
	x := &Index{Producer: Producer{"npuw", 1, "whisper-encoder/npu1-tiled"}, Model: Model{Family: "whisper-encoder"}}
	for i := range operands {
		name := fmt.Sprintf("encoder.layers.%d.self_attn.q_proj%d.weight", i/10, i%10)
		if i%10 == 0 {
			x.Segments = append(x.Segments, Segment{Name: fmt.Sprintf("encoder.layers.%d", i/10), Offset: 4096 + uint64(i*tile), Bytes: 10 * tile})
		}
		x.Parameters = append(x.Parameters, Parameter{name, "NK", []uint64{61, 50}})
		x.Operands = append(x.Operands, Operand{
			Name: name, Segment: i / 10, Offset: uint64(i % 10 * tile), Bytes: tile, Format: element.BF16,
			Layout: layout.Layout{
				Axes:   axes("K", 50, 64, "N", 61, 64),
				Digits: digits(1, 2, 32, 0, 1, 64, 0, 8, 8, 1, 8, 4, 0, 8, 1, 1, 4, 1),
			},
			Placements: []Placement{placed(i, 1, from(0, 61, 1, 1, 0, 50, 1, 0), 0, 0)},
			Statistics: element.Stats{Elements: 61 * 50},
		})
	}
	return x
}

func writeEncoder(tb testing.TB) string {
	path := filepath.Join(pyreader.TempDir(tb), "encoder.npuw")
	w, err := Create(path, encoderIndex(), 4096, false)
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		tb.Fatal(err)
	}
	return path
}

// BenchmarkOpen opens and closes an artifact of 500 operands whose pages are in memory.
func BenchmarkOpen(b *testing.B) {
	path := writeEncoder(b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkReadIndex is the floor of BenchmarkOpen: the same bytes read and digested, and nothing made of them.
func BenchmarkReadIndex(b *testing.B) {
	path := writeEncoder(b)
	buffer := make([]byte, 1<<20)
	for b.Loop() {
		f, size, err := openRegular(path)
		if err != nil {
			b.Fatal(err)
		}
		first := buffer[:HeaderBytes]
		if _, err := f.ReadAt(first, 0); err != nil {
			b.Fatal(err)
		}
		h, err := decodeHeader(first, uint64(size))
		if err != nil {
			b.Fatal(err)
		}
		index := buffer[:h.IndexBytes]
		if _, err := f.ReadAt(index, int64(h.IndexOffset)); err != nil {
			b.Fatal(err)
		}
		if Sum(index) != h.IndexDigest {
			b.Fatal("digest")
		}
		f.Close()
	}
}

func BenchmarkVerify(b *testing.B) {
	f, err := Open(writeEncoder(b))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(int64(f.Header.FileBytes))
	for b.Loop() {
		if err := f.Verify(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteFloat32(b *testing.B) {
	s := newSample(4096)
	f := s.file(b)
	v, err := f.ParameterValues("linear.weight")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4 * 40 * 70)
	for b.Loop() {
		if err := v.WriteFloat32(discard{}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
