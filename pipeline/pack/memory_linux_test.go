package pack_test

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// BenchmarkPeakMemory runs the command in a process of its own, on base and on a model of 1.6 GB, and reports the resident
// memory of each at its peak.
func BenchmarkPeakMemory(b *testing.B) {
	dir := pyreader.TempDir(b)
	npuw := filepath.Join(dir, "npuw")
	if out, err := exec.Command("go", "build", "-o", npuw, "npuw/artifact/cmd/npuw").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	base, err := whisperonnx.BaseModel(dir)
	if err != nil {
		b.Fatal(err)
	}
	large := filepath.Join(dir, "large.onnx")
	if err := whisperonnx.Write(large, whisperonnx.Large16); err != nil {
		b.Fatal(err)
	}
	for name, source := range map[string]string{"base": base, "1.6GB": large} {
		b.Run(name, func(b *testing.B) {
			peak := 0.0
			for b.Loop() {
				c := exec.Command(npuw, "pack", source, "-o", filepath.Join(dir, "out.npuw"), "--jobs=2", "--sync=false", "--quiet")
				if out, err := c.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				peak = max(peak, float64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
			}
			b.ReportMetric(peak, "peak-MiB")
		})
	}
}
