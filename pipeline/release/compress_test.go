package release

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline/npuwz"
	"npuw/schema/pyreader"
)

// The compressed form of an artifact lies beside it, gives the same bytes, and is made anew only with it.
func TestCompressed(t *testing.T) {
	t.Parallel()
	o := bound(t)
	edit(t, o.Manifest, `"c.npuw"`, `"c.npuw" compress: true`)
	edit(t, o.Manifest, `"models/b.npuw"`, `"models/b.npuw" compress: true`)
	var points []string
	o.at = func(point string) {
		if strings.HasPrefix(point, "compressed ") {
			points = append(points, point)
		}
	}
	run := func(want string) {
		t.Helper()
		points = nil
		must(t, Build(t.Context(), o))
		must(t, Verify(t.Context(), o.Out))
		if got := strings.Join(points, ", "); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
	run("compressed models/b.npuw, compressed c.npuw")
	if got := strings.Join(files(t, o.Out), " "); got != "SHA256SUMS a.npuw c.npuw c.npuwz kernels/gemm.bin kernels/gemm.xclbin models/b.npuw models/b.npuwz release.json" {
		t.Errorf("files %s", got)
	}
	again := filepath.Join(pyreader.TempDir(t), "x.npuw")
	_, err := npuwz.Decompress(t.Context(), filepath.Join(o.Out, "c.npuwz"), again, npuwz.Options{})
	must(t, err)
	got, err := os.ReadFile(again)
	must(t, err)
	want, err := os.ReadFile(filepath.Join(o.Out, "c.npuw"))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Error("it gives other bytes")
	}
	run("")
	setValue(t, filepath.Join(filepath.Dir(o.Manifest), "b.onnx"), "encoder.conv1.bias", 0, 0.25)
	run("compressed models/b.npuw")
	must(t, os.Remove(filepath.Join(o.Out, "c.npuwz")))
	list, err := Changes(t.Context(), o)
	must(t, err)
	if c := list[2]; c.State != Compress || len(c.Why) != 1 || list[1].State != UpToDate {
		t.Errorf("%+v", list)
	}
	run("compressed c.npuw")

	// One that is of another artifact, in a set that says so.
	b, err := os.ReadFile(filepath.Join(o.Out, "models", "b.npuwz"))
	must(t, err)
	write(t, filepath.Join(o.Out, "c.npuwz"), string(b))
	f, err := (*cache)(nil).fileDigest(t.Context(), filepath.Join(o.Out, "c.npuwz"))
	must(t, err)
	forge(t, o.Out, func(l *Listing) {
		l.Artifacts[1].Compressed.Bytes, l.Artifacts[1].Compressed.SHA256 = f.Bytes, f.SHA256
	})
	if err := Verify(t.Context(), o.Out); err == nil || !strings.Contains(err.Error(), "c.npuwz: it holds the artifact") {
		t.Error(err)
	}
}
