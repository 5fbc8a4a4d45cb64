//go:build unix && !nommap

package whisper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/schema/pyreader"
)

// A file that is truncated under a model, at any page, before its encoder is made or after: what needs the pages that are gone is an
// error, and nothing else is different.
func TestTruncated(t *testing.T) {
	t.Parallel()
	n := tiny(t)
	paths := map[string]string{
		"tiled":  packModel(t, fixtures+"whisper-tiny-encoder.onnx", "whisper-encoder/npu1-tiled"),
		"folded": packNetwork(t, n, stack(n, foldAll(n, plain(n, element.F32))), nil),
	}
	for name, path := range paths {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d := newCPU(t, cpu.Options{})
		mel := n.input(1)
		want := bitsOf(encode(t, d, path, mel, Options{}))
		faults := map[bool]int{}
		step := int64(os.Getpagesize())
		if testing.Short() {
			step *= 5
		}
		for _, early := range []bool{false, true} { // truncated before the encoder is made
			for size := step; size < int64(len(whole)); size += step {
				got, err := encodeTruncated(t, d, whole, mel, size, early)
				switch {
				case errors.Is(err, device.ErrFault):
					faults[early]++
				case err != nil:
					t.Errorf("%s, cut to %d: %v", name, size, err)
				case !slices.Equal(bitsOf(got), want):
					t.Errorf("%s, cut to %d: other values", name, size)
				}
			}
		}
		t.Logf("%s: %d runs, and %d encoders and runs, met pages that were gone", name, faults[false], faults[true])
		if faults[false] == 0 || faults[true] == 0 {
			t.Errorf("%s: no page was missed", name)
		}
	}
}

// encodeTruncated loads an artifact and encodes with it; in between its file loses what is beyond size.
func encodeTruncated(t *testing.T, d device.Device, whole []byte, mel []float32, size int64, early bool) ([]float32, error) {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "cut.npuw")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := device.Load(t.Context(), d, path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	pyreader.Damage(t, path)
	cut := func() {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	if early {
		cut()
	}
	e, err := New(t.Context(), d, m, Options{})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	if !early {
		cut()
	}
	return e.Run(t.Context(), mel)
}
