//go:build xrt

package npu

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/pipeline"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/pack"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/runtime/whisper"
	"npuw/runtime/xrt"
	"npuw/schema/pyreader"
)

// Encoders with all their linear layers on the software NPU, the rest on the reference device, give the bits that they give on the
// reference device alone: in both layouts that B may lie in, with weights in the file's own pages and in copies, which driver and report
// both say.
func TestXRTEncoders(t *testing.T) {
	tiny := func(*testing.T) string { return "../../../testdata/whisper-tiny/whisper-tiny-encoder.onnx" }
	base := func(t *testing.T) string {
		path, err := whisperonnx.BaseModel(pyreader.TempDir(t))
		check(t, err)
		return path
	}
	wide := rowMajor.wideBiases(t)
	for _, c := range []struct {
		name   string
		model  func(*testing.T) string
		tiling tiling
		mode   string // of the software NPU
		copied string // why; empty: they are not
	}{
		{"tiny tiled, mapped", tiny, tiled, "shadow", ""},
		{"tiny tiled, copied", tiny, tiled, "shadow,no-userptr", "older than June 2025"},
		{"tiny row-major, mapped", tiny, wide, "shadow", ""},
		{"tiny row-major, copied", tiny, wide, "shadow,no-readonly-pin", "older than March 2026"},
		{"base tiled, mapped", base, tiled, "", ""},
		{"base row-major, copied", base, rowMajor, "no-readonly-pin", "older than March 2026"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := build(t, c.model(t), c.tiling)
			d := cpu.New(cpu.Options{})
			want := e.encode(t, d, func(*device.Model) {})
			check(t, d.Close())
			if got := e.onNPU(t, c.mode, c.copied); !slices.Equal(got, want) {
				t.Errorf("other bits than on the reference device; the first at %d of %d", differ(got, want), len(want))
			}
		})
	}
}

// encoder is an artifact whose linear layers are bound to kernels.
type encoder struct {
	folder, path string // of its xclbin and contracts; of itself
	runs         int    // of kernels on the NPU
	contracts    int
	mel          []float32
}

// build packs a model for kernels, and an input.
func build(t *testing.T, model string, l tiling) *encoder {
	t.Helper()
	b, err := pipeline.Prepare(model, l.recipe)
	check(t, err)
	positions, layers := size(t, b, "positions"), size(t, b, "layers")
	list, runs := l.linears(positions, size(t, b, "d_model"), size(t, b, "ffn"))
	e := &encoder{folder: pyreader.TempDir(t), contracts: len(list), runs: runs * int(layers)}
	e.path = filepath.Join(e.folder, "model.npuw")
	check(t, b.BindKernels(writeKernels(t, e.folder, list)))
	x, err := b.Pack(t.Context(), e.path, pack.Options{NoSync: true})
	check(t, err)
	bound := 0
	for _, binding := range x.Bindings {
		if x.Contracts[binding.Contract].Arguments[binding.Argument].Name == "b" {
			bound++
		}
	}
	if bound != e.runs {
		t.Errorf("%d matrices are bound to kernels; q, k, v, out, fc1 and fc2 of %d layers were expected", bound, layers)
	}
	r := rand.New(rand.NewPCG(1, 2))
	e.mel = make([]float32, size(t, b, "mels")*2*positions)
	for i := range e.mel {
		e.mel[i] = float32(r.NormFloat64())
	}
	check(t, b.Close())
	return e
}

// encode runs the encoder once and gives the bits of its output. loaded is called when all kernels are open.
func (e *encoder) encode(t *testing.T, d device.Device, loaded func(*device.Model)) []uint32 {
	t.Helper()
	m, err := device.Load(t.Context(), d, e.path, device.LoadOptions{})
	check(t, err)
	w, err := whisper.New(t.Context(), d, m, whisper.Options{Activations: element.BF16})
	check(t, err)
	loaded(m)
	y, err := w.Run(t.Context(), e.mel)
	check(t, err)
	check(t, errors.Join(w.Close(), m.Close()))
	bits := make([]uint32, len(y))
	for i, v := range y {
		bits[i] = math.Float32bits(v)
	}
	return bits
}

// onNPU is encode on the software NPU in a mode, where segments are copied for a reason, or mapped if that is empty.
func (e *encoder) onNPU(t *testing.T, mode, copied string) []uint32 {
	t.Helper()
	log := filepath.Join(pyreader.TempDir(t), "npu.log")
	t.Setenv("SWNPU_MODE", mode)
	t.Setenv("SWNPU_LOG", log)
	info, err := os.Stat(e.path)
	check(t, err)
	npu, err := xrt.Open(xrt.Options{Xclbins: xrt.Folder(e.folder), NeedBytes: info.Size()})
	check(t, err)
	gemms := []kernel.Operation{kernel.GEMM} // those without an xclbin, as attention has, run on the reference device
	d := device.NewComposite(device.Part{Device: npu, Operations: gemms}, device.Part{Device: cpu.New(cpu.Options{}), Operations: gemms})
	bytes := uint64(0) // of user-pointer buffers
	bits := e.encode(t, d, func(m *device.Model) {
		for _, s := range m.Report.Segments {
			if s.Mapped != (copied == "") || !strings.Contains(s.Why, copied) {
				t.Errorf("segment %s: mapped %v, %s", s.Name, s.Mapped, s.Why)
			}
			if s.Mapped {
				bytes += s.Bytes
			}
		}
		placed := map[string]int{}
		for _, p := range d.Placements() {
			placed[p.Device]++
		}
		if placed["xrt"] != e.contracts {
			t.Errorf("%d kernels on the NPU, want %d: %+v", placed["xrt"], e.contracts, d.Placements())
		}
	})
	check(t, d.Close())
	said, err := os.ReadFile(log)
	check(t, err)
	for _, line := range []string{
		fmt.Sprintf("\nclosed: commands=%d errors=0 ", e.runs), fmt.Sprintf(" userptr_bytes=%d ", bytes), "\nleaks: bos=0 contexts=0 syncobjs=0\n",
	} {
		if !strings.Contains(string(said), line) {
			t.Errorf("the software NPU does not say %q:\n%s", line, said)
		}
	}
	if strings.Contains(string(said), "read_only=0") {
		t.Errorf("pages of the file were not pinned read-only:\n%s", said)
	}
	return bits
}

// differ is the first position at which two lists differ.
func differ(a, b []uint32) int {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return i
}
