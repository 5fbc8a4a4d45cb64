//go:build unix

package cpu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"npuw/artifact/kernel"
	"npuw/runtime/device"
	"npuw/schema/pyreader"
)

// A file that is truncated under its mapping makes a run fail, whatever reads it; afterwards the device works as before.
func TestTruncatedFile(t *testing.T) {
	t.Parallel()
	const side = 128
	for _, arguments := range [][]string{
		{"a f32 M* K*", "b f32 K* N*", "c f32 M* N*"},
		{"a f32 M* K*", "b bf16 N* K* K8 N8 K8 N4", "c f32 M* N*"},
		{"a f32 M* K*", "b f16 N* K*", "c f32 M* N*"},
		{"a f32 M* K*", "b f32 K* N*", "c f32 M* N*", "bfp16 along N"},
		{"a f32 M* K*", "b f32 K* N*", "c f32 M* N*", "i4 with zeros"},
	} {
		c := contract(t, kernel.GEMM, shape("MKN", side, side, side), arguments[:3]...)
		if len(arguments) > 3 {
			replace(t, c, "b", forms[arguments[3]])
		}
		f := newFixture(t, Options{Workers: 2}, c)
		want := f.run("c")
		good := f.args["b"]
		pages := truncated(t, must(good.Buffer.Host()))
		mapped := must(f.device.Map(pages, kernel.NoGroup))
		f.args["b"] = device.Value{Buffer: mapped}
		if _, err := f.kernel.Run(context.Background(), f.args); !errors.Is(err, device.ErrFault) {
			t.Errorf("%s: error %v, expected %v", arguments[1], err, device.ErrFault)
		}
		check(t, mapped.Close())
		f.args["b"] = good
		sameBits(t, f.run("c"), want)
	}
}

func TestTruncatedVectors(t *testing.T) {
	t.Parallel()
	c := contract(t, kernel.LayerNorm, shape("MN", 2, 4096), "x f32 M* N*", "y f32 M* N*", "gamma f32 N*", "eps")
	f := newFixture(t, Options{}, c)
	mapped := must(f.device.Map(truncated(t, must(f.args["gamma"].Buffer.Host())), kernel.NoGroup))
	defer mapped.Close()
	f.args["gamma"] = device.Value{Buffer: mapped}
	if _, err := f.kernel.Run(context.Background(), f.args); !errors.Is(err, device.ErrFault) {
		t.Errorf("error %v, expected %v", err, device.ErrFault)
	}
}

// truncated maps a file with the given content, which then loses all but its first page.
func truncated(t *testing.T, content []byte) []byte {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "segment")
	check(t, os.WriteFile(path, content, 0o600))
	file := must(os.OpenFile(path, os.O_RDWR, 0))
	defer file.Close()
	pages := must(syscall.Mmap(int(file.Fd()), 0, len(content), syscall.PROT_READ, syscall.MAP_SHARED))
	t.Cleanup(func() { check(t, syscall.Munmap(pages)) })
	check(t, file.Truncate(int64(os.Getpagesize())))
	return pages
}
