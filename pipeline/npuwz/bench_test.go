package npuwz

import (
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// BenchmarkShip compresses and decompresses whisper-base in each element format. The floor is copying it in memory; the measure is zstd of
// the artifact as it lies, on one processor, also in memory. Bytes are those of the artifact, and ratio what is left of them.
func BenchmarkShip(b *testing.B) {
	model, err := whisperonnx.BaseModel(pyreader.TempDir(b))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"f32", "npu1-tiled", "npu1-int8", "npu1-int4", "npu2-bfp16"} {
		path := packed(b, model, "whisper-encoder/"+name)
		z, back, content := filepath.Join(pyreader.TempDir(b), "a.npuwz"), filepath.Join(pyreader.TempDir(b), "back.npuw"), read(b, path)
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			b.Fatal(err)
		}
		run := func(what string, work func() int) {
			b.Run(name+"/"+what, func(b *testing.B) {
				b.SetBytes(int64(len(content)))
				left := 0
				for b.Loop() {
					left = work()
				}
				b.ReportMetric(float64(left)/float64(len(content)), "ratio")
			})
		}
		room := make([]byte, len(content))
		run("copy", func() int { return copy(room, content) })
		run("zstd", func() int { return len(e.EncodeAll(content, room[:0])) })
		ship := func(work func() (Result, error)) func() int {
			return func() int {
				r, err := work()
				if err != nil {
					b.Fatal(err)
				}
				return int(r.Stored)
			}
		}
		compress := ship(func() (Result, error) { return Compress(b.Context(), path, z, scratchWork) })
		compress() // also where only decompress is asked for
		run("compress", compress)
		run("decompress", ship(func() (Result, error) { return Decompress(b.Context(), z, back, scratchWork) }))
	}
}
