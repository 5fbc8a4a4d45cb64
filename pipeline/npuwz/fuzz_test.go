package npuwz

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"npuw/artifact"

	"npuw/schema/pyreader"
)

// resum makes the digests in a file right where it has a front, so that what a fuzzer does to it is looked at.
func resum(b []byte) []byte {
	if len(b) < frameHeader+frontBytes+digestBytes {
		return b
	}
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	if n < frontBytes+digestBytes || n > int64(len(b)-frameHeader) {
		return b
	}
	front := b[frameHeader:][:n]
	header := front[atHeader:atBase]
	clear(header[240:])
	putDigest(header[240:], artifact.Sum(header))
	putDigest(front[n-digestBytes:], artifact.Sum(front[:n-digestBytes]))
	return b
}

// fuzz feeds files to work, as they are and with their digests made right: each gives an error and nothing else, or a sound artifact.
func fuzz(f *testing.F, work func(t *testing.T, in, out string) error) {
	dir, folder := pyreader.TempDir(f), pyreader.TempDir(f)
	in, out := filepath.Join(folder, "in"), filepath.Join(dir, "out")
	f.Fuzz(func(t *testing.T, b []byte, right bool) {
		if right {
			b = resum(append([]byte(nil), b...))
		}
		put(t, in, b)
		if err := work(t, in, out); err == nil {
			a, err := openVerified(out)
			if err != nil {
				t.Fatal(err)
			}
			a.Close()
			os.Remove(out)
		}
		nothingIn(t, dir)
	})
}

func FuzzDecompress(f *testing.F) {
	b := read(f, compressed(f, small(f, 1), scratchWork))
	f.Add(b, false)
	f.Add(b, true)
	fuzz(f, func(t *testing.T, in, out string) error {
		_, err := Decompress(t.Context(), in, out, Options{NoSync: true, Jobs: 2})
		return err
	})
}

func FuzzPatch(f *testing.F) {
	from, to, d := small(f, 1), small(f, 2), filepath.Join(pyreader.TempDir(f), "d.npuwd")
	for _, next := range []string{from, to} {
		if _, err := Delta(f.Context(), from, next, d, scratchWork); err != nil {
			f.Fatal(err)
		}
		f.Add(read(f, d), true)
	}
	fuzz(f, func(t *testing.T, in, out string) error {
		_, err := Patch(t.Context(), from, in, out, Options{NoSync: true, Jobs: 2})
		return err
	})
}
