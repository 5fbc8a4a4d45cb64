package device_test

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"npuw/artifact"
	"npuw/artifact/artifacttest"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/plane/planetest"
	"npuw/pipeline"
	"npuw/pipeline/pack"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/runtime/whisper"
	"npuw/schema/pyreader"
)

const tiny = "../../testdata/whisper-tiny/whisper-tiny-encoder"

// packTiny packs the encoder of whisper-tiny by a built-in recipe.
func packTiny(t *testing.T, recipe string) string {
	t.Helper()
	b := must(pipeline.Prepare(tiny+".onnx", recipe))
	defer b.Close()
	path := filepath.Join(pyreader.TempDir(t), "tiny.npuw")
	must(b.Pack(t.Context(), path, pack.Options{NoSync: true}))
	return path
}

// encode runs an encoder once and gives the bits of its output. placed, if there is one, is called before anything is closed.
func encode(t *testing.T, d device.Device, path string, activations element.Format, placed func()) []uint32 {
	t.Helper()
	raw := must(os.ReadFile(tiny + ".in.f32"))
	mel := make([]float32, len(raw)/4)
	for i := range mel {
		mel[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	m := must(device.Load(t.Context(), d, path, device.LoadOptions{}))
	e := must(whisper.New(t.Context(), d, m, whisper.Options{Activations: activations}))
	y := must(e.Run(t.Context(), mel))
	if placed != nil {
		placed()
	}
	check(t, errors.Join(e.Close(), m.Close()))
	bits := make([]uint32, len(y))
	for i, v := range y {
		bits[i] = math.Float32bits(v)
	}
	return bits
}

// deaf is a buffer without syncs.
type deaf struct{ device.Buffer }

func (deaf) ToDevice() error   { return nil }
func (deaf) FromDevice() error { return nil }

// The encoder on two devices gives the bits that it gives on one, wherever weights and activations lie; a device that leaves syncs
// out does not.
func TestEncoderOnComposite(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		recipe      string
		activations element.Format
		matrices    *planetest.Form // nil: as the recipe has them
	}{
		{"whisper-encoder/f32", element.F32, nil},
		{"whisper-encoder/npu1-tiled", element.BF16, nil},
		{"whisper-encoder/npu1-rowmajor", element.F32, nil},
		{"whisper-encoder/npu1-tiled", element.F32, &planetest.Form{
			Format: element.I8, Layout: "N* K* K8 N8", Scales: element.F32, Group: map[byte]uint64{'N': 1}, Align: 64,
		}},
		{"whisper-encoder/npu1-tiled", element.BF16, &planetest.Form{Format: element.BFP16, Layout: "N* K* N8 K8"}},
	} {
		path := packTiny(t, test.recipe)
		if test.matrices != nil {
			from := path
			path = filepath.Join(pyreader.TempDir(t), "encoded.npuw")
			artifacttest.Recode(t, from, path, func(o *artifact.Operand) *planetest.Form {
				if a := o.Layout.Axes; len(a) != 2 || a[0].Name != 'K' {
					return nil
				}
				return test.matrices
			})
		}
		want := encode(t, newCPU(t, cpu.Options{}), path, test.activations, nil)
		gemmOnly := func(inner *cpu.Device, mapping func() error) device.Part {
			return device.Part{Device: &hooked{Device: inner, name: "npu", opening: only(kernel.GEMM), mapping: mapping}, Operations: []kernel.Operation{kernel.GEMM}}
		}
		shadow := func() *cpu.Device { return cpu.New(cpu.Options{Shadow: true}) }
		rest := device.Part{Device: cpu.New(cpu.Options{})}
		syncless := device.Part{Device: &hooked{Device: cpu.New(cpu.Options{}), running: func(args device.Arguments) (device.Arguments, error) {
			for name, v := range args {
				if v.Buffer != nil {
					args[name] = device.Value{Buffer: deaf{v.Buffer}}
				}
			}
			return args, nil
		}}}
		for name, c := range map[string]*device.Composite{
			"weights mapped":            device.NewComposite(gemmOnly(shadow(), nil), rest),
			"weights copied":            device.NewComposite(gemmOnly(shadow(), refuse(errNoMap)), device.Part{Device: cpu.New(cpu.Options{})}),
			"buffers of the other":      device.NewComposite(device.Part{Device: shadow()}, gemmOnly(shadow(), nil)),
			"without syncs it is wrong": device.NewComposite(gemmOnly(shadow(), nil), syncless),
		} {
			got := encode(t, closing(t, c), path, test.activations, func() {
				for _, p := range c.Placements() {
					if (p.Contract.Operation == kernel.GEMM) != (p.Device == "npu") {
						t.Errorf("%s, %s: %s runs on %s", test.recipe, name, p.Contract.Name, p.Device)
					}
				}
			})
			if slices.Equal(got, want) == (name == "without syncs it is wrong") {
				t.Errorf("%s, %s: the same bits: %v", test.recipe, name, slices.Equal(got, want))
			}
		}
	}
}
