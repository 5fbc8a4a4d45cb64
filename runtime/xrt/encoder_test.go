//go:build xrt

package xrt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/pipeline"
	"npuw/pipeline/pack"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/runtime/whisper"
	"npuw/runtime/xrt/teststream"
	"npuw/schema/pyreader"
)

// encoders are models, without the endings of their files: .onnx, and .in.f32 for an input. NPUW_WHISPER may name another, such as
// a larger one.
func encoders() []string {
	list := []string{"../../testdata/whisper-tiny/whisper-tiny-encoder"}
	if more := os.Getenv("NPUW_WHISPER"); more != "" {
		list = append(list, more)
	}
	return list
}

// packBound packs an encoder by a built-in recipe, and binds the weights of its linear layers to GEMMs of an xclbin,
// whose activations lie as a and c say, with rows padded to a multiple of pad.
func packBound(t *testing.T, model, recipe, a, c string, pad uint64) fixture {
	t.Helper()
	build, err := pipeline.Prepare(model+".onnx", recipe)
	check(t, err)
	plain := filepath.Join(pyreader.TempDir(t), "plain.npuw")
	_, err = build.Pack(t.Context(), plain, pack.Options{NoSync: true})
	check(t, errors.Join(err, build.Close()))
	f := fixture{filepath.Join(pyreader.TempDir(t), "bound.npuw"), pyreader.TempDir(t)}
	source, err := artifact.Open(plain)
	check(t, err)
	b := builder{t: t, index: source.Index}
	for i := range b.index.Segments {
		s := &b.index.Segments[i]
		s.MemoryGroup = xclbintest.Host
		data := make([]byte, s.Bytes)
		_, err := source.ReadAt(data, int64(s.Offset))
		check(t, err)
		b.segments = append(b.segments, data)
	}
	check(t, source.Close())
	b.addXclbin(f.folder, 0)
	rows := attribute(b.index, "positions")
	m := layout.Axis{Name: 'M', Extent: rows, Padded: (rows + pad - 1) / pad * pad}
	contracts := map[string]int{}
	for i := range b.index.Operands {
		o := &b.index.Operands[i]
		if !strings.HasPrefix(o.Name, "encoder.layers.") || len(o.Layout.Axes) != 2 {
			continue
		}
		name := strings.TrimSuffix(o.Name, ".weight") + ".bias"
		bias := slices.IndexFunc(b.index.Operands, func(o artifact.Operand) bool { return o.Name == name })
		key := fmt.Sprint(o.Layout.Axes, o.Layout.Digits, bias >= 0)
		if _, ok := contracts[key]; !ok {
			contracts[key] = b.addContract(m, o, bias, a, c)
		}
		b.index.Bindings = append(b.index.Bindings, artifact.Binding{Operand: i, Contract: contracts[key], Argument: 2})
		if bias >= 0 {
			b.index.Bindings = append(b.index.Bindings, artifact.Binding{Operand: bias, Contract: contracts[key], Argument: 3})
		}
	}
	b.write(f.path)
	return f
}

func attribute(x *artifact.Index, name string) uint64 {
	i := slices.IndexFunc(x.Model.Attributes, func(a artifact.Attribute) bool { return a.Name == name })
	return uint64(x.Model.Attributes[i].Integer)
}

// addContract adds the contract of a GEMM for an operand, with its instructions, and gives its number.
func (b *builder) addContract(m layout.Axis, o *artifact.Operand, bias int, a, c string) int {
	k, n := o.Layout.Axes[0], o.Layout.Axes[1]
	if k.Name != 'K' {
		k, n = n, k
	}
	argument := func(name string, index int, role kernel.ArgumentRole, f element.Format, l layout.Layout) kernel.Argument {
		a := kernel.Buffer(name, uint32(index), role, f, l)
		a.MemoryGroup = xclbintest.Host
		return a
	}
	contract := &kernel.Contract{
		Name: fmt.Sprintf("gemm%d", len(b.index.Contracts)), Operation: kernel.GEMM, Kernel: "MLIR_AIE", Shape: []layout.Axis{m, k, n},
		Arguments: []kernel.Argument{
			{Name: "instructions", Index: 1, Role: kernel.Instructions, MemoryGroup: xclbintest.SRAM},
			argument("a", 3, kernel.Activation, element.BF16, resolved(b.t, a, []layout.Axis{m, k})),
			argument("b", 4, kernel.Weight, o.Format, o.Layout),
		},
	}
	if bias >= 0 {
		o := &b.index.Operands[bias]
		contract.Arguments = append(contract.Arguments, argument("bias", 5, kernel.Weight, o.Format, o.Layout))
	}
	contract.Arguments = append(contract.Arguments, argument("c", 2+len(contract.Arguments), kernel.Output, element.F32, resolved(b.t, c, []layout.Axis{m, n})))
	stream, err := teststream.Encode(contract)
	check(b.t, err)
	contract.Arguments[0].Bytes = uint64(len(stream))
	contract.Instructions = len(b.segments)
	b.segment(contract.Name+".instructions", artifact.Instructions, xclbintest.SRAM, stream)
	b.index.Contracts = append(b.index.Contracts, *contract)
	return len(b.index.Contracts) - 1
}

// encode runs the encoder once and gives the bits of its output. placed is called before anything is closed.
func encode(t *testing.T, d device.Device, model, path string, placed func(m *device.Model)) []uint32 {
	t.Helper()
	raw, err := os.ReadFile(model + ".in.f32")
	check(t, err)
	mel := make([]float32, len(raw)/4)
	for i := range mel {
		mel[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	m, err := device.Load(t.Context(), d, path, device.LoadOptions{})
	check(t, err)
	e, err := whisper.New(t.Context(), d, m, whisper.Options{Activations: element.BF16})
	check(t, err)
	y, err := e.Run(t.Context(), mel)
	check(t, err)
	placed(m)
	check(t, errors.Join(e.Close(), m.Close()))
	bits := make([]uint32, len(y))
	for i, v := range y {
		bits[i] = math.Float32bits(v)
	}
	return bits
}

// An encoder with its linear layers on the software NPU and the rest on the reference device gives the bits that it gives on the
// reference device alone, whether its weights lie in the file's own pages or in a copy.
func TestSoftwareEncoder(t *testing.T) {
	for _, model := range encoders() {
		for _, c := range []encoderCase{
			{"whisper-encoder/npu1-tiled", "M* K* M4 K8", "M* N* M4 N4", 64, ""},
			{"whisper-encoder/npu1-rowmajor", "M* K*", "M* N*", 256, "no-userptr"},
		} {
			t.Run(filepath.Base(model)+"/"+filepath.Base(c.recipe), func(t *testing.T) { c.run(t, model) })
		}
	}
}

// encoderCase is a recipe, with how the activations of its kernels lie, and how the software NPU behaves.
type encoderCase struct {
	recipe, a, c string
	pad          uint64 // rows are padded to a multiple
	mode         string
}

func (c encoderCase) run(t *testing.T, model string) {
	f := packBound(t, model, c.recipe, c.a, c.c, c.pad)
	reference := cpu.New(cpu.Options{})
	want := encode(t, reference, model, f.path, func(*device.Model) {})
	check(t, reference.Close())
	npu := software(t, c.mode, Options{Xclbins: Folder(f.folder)})
	gemms := []kernel.Operation{kernel.GEMM}
	d := device.NewComposite(device.Part{Device: npu.Device, Operations: gemms}, device.Part{Device: cpu.New(cpu.Options{}), Operations: gemms})
	commands := uint64(0)
	got := encode(t, d, model, f.path, func(m *device.Model) {
		commands = attribute(m.Index, "layers") * 6 // q, k, v, out, fc1, fc2
		for _, s := range m.Report.Segments {
			if s.Mapped != (c.mode == "") {
				t.Errorf("segment %s: mapped %v, %s", s.Name, s.Mapped, s.Why)
			}
		}
		onNPU := 0
		for _, p := range d.Placements() {
			if p.Device == "xrt" {
				onNPU++
			}
		}
		if onNPU != 4 {
			t.Errorf("%d kernels on the NPU, want 4: %+v", onNPU, d.Placements())
		}
	})
	check(t, d.Close())
	if log := npu.done(t); !strings.Contains(log, fmt.Sprintf("closed: commands=%d errors=0", commands)) {
		t.Errorf("the software NPU says:\n%s", log)
	}
	if !slices.Equal(got, want) {
		t.Error("other bits than on the reference device")
	}
}
