package pack_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"npuw/artifact/element"
	"npuw/pipeline"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/schema/pyreader"
)

// BenchmarkBase packs whisper-base's encoder with two workers and without fsync, source opened and planned each time. x-floor is its time over that of
// the floor, which is run in turns with it: one thread that reads, converts to BF16 and writes the file's bytes, without
// tiles, digests or statistics.
func BenchmarkBase(b *testing.B) {
	source, err := whisperonnx.BaseModel(pyreader.TempDir(b))
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(source)
	if err != nil {
		b.Fatal(err)
	}
	dir := pyreader.TempDir(b)
	for _, recipe := range []string{"whisper-encoder/npu1-tiled", "whisper-encoder/npu1-rowmajor"} {
		b.Run(filepath.Base(recipe), func(b *testing.B) {
			b.SetBytes(info.Size())
			var floorTime, packTime time.Duration
			for b.Loop() {
				b.StopTimer()
				start := time.Now()
				if err := floor(source, filepath.Join(dir, "floor")); err != nil {
					b.Fatal(err)
				}
				floorTime += time.Since(start)
				os.Remove(filepath.Join(dir, "floor"))
				b.StartTimer()
				start = time.Now()
				if err := packOnce(source, recipe, filepath.Join(dir, "base.npuw")); err != nil {
					b.Fatal(err)
				}
				packTime += time.Since(start)
				b.StopTimer()
				os.Remove(filepath.Join(dir, "base.npuw"))
				b.StartTimer()
			}
			b.ReportMetric(float64(packTime)/float64(floorTime), "x-floor")
			b.ReportMetric(float64(floorTime.Microseconds())/float64(b.N)/1000, "floor-ms")
		})
	}
}

func packOnce(source, recipe, output string) error {
	p, err := pipeline.Prepare(source, recipe)
	if err != nil {
		return err
	}
	defer p.Close()
	return pack.Run(context.Background(), p.Catalogue, p.Plan, output, pack.Options{Jobs: 2, NoSync: true})
}

// floor is the least that packing has to do.
func floor(source, output string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(output)
	if err != nil {
		return err
	}
	values := make([]float32, 64<<10) // 256 KiB
	encoded := make([]byte, 2*len(values))
	for {
		n, err := io.ReadFull(in, element.Memory(values))
		if n >= 4 {
			if err := element.Encode(encoded[:n/4*2], values[:n/4], element.BF16); err != nil {
				return err
			}
			if _, err := out.Write(encoded[:n/4*2]); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return out.Close()
		}
		if err != nil {
			return errors.Join(err, out.Close())
		}
	}
}
