package report

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/schema/pyreader"
)

// builder puts operands into segments, one behind the other.
type builder struct {
	t     testing.TB
	index *artifact.Index
	used  uint64 // of the last segment
}

func (b *builder) segment(name string, group int32) {
	b.close()
	b.index.Segments = append(b.index.Segments, artifact.Segment{Name: name, MemoryGroup: group})
	b.used = 0
}

// close gives the last segment its size.
func (b *builder) close() {
	offset := uint64(4096)
	for i := range b.index.Segments {
		s := &b.index.Segments[i]
		if s.Bytes == 0 {
			s.Bytes = max(b.used+4095, 4096) &^ 4095
		}
		s.Offset = offset
		offset += s.Bytes
	}
}

func resolve(t testing.TB, notation string, axes ...layout.Axis) layout.Layout {
	t.Helper()
	spec, err := layout.Parse(notation)
	if err != nil {
		t.Fatal(err)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// operand adds an operand that holds a parameter of the same name and axes. relative is its relative L2 error.
func (b *builder) operand(name string, l layout.Layout, relative float64, planes ...plane.Plane) *artifact.Operand {
	p := artifact.Parameter{Name: name}
	var from []artifact.PlacedAxis
	for i, a := range l.Axes {
		p.Axes += string(rune(a.Name))
		p.Shape = append(p.Shape, a.Extent)
		from = append(from, artifact.PlacedAxis{Size: a.Extent, Step: 1, Axis: i})
	}
	b.index.Parameters = append(b.index.Parameters, p)
	o := artifact.Operand{
		Name: name, Segment: len(b.index.Segments) - 1, Offset: b.used, Format: planes[0].Format, Layout: l,
		Placements: []artifact.Placement{{Parameter: len(b.index.Parameters) - 1, Scale: 1, From: from, To: make([]uint64, len(l.Axes))}},
	}
	for i := range planes {
		q := &planes[i]
		if q.Layout.Axes == nil {
			q.Layout = l
		}
		q.Offset = o.Bytes
		q.Bytes, _ = plane.BytesOf(q.Format, plane.Elements(q.Format, q.Layout))
		o.Bytes += q.Bytes
	}
	if len(planes) > 1 {
		o.Encoding, o.Planes = plane.Scaled, planes
	}
	n := o.Elements()
	o.Statistics = element.Stats{Elements: n, Inexact: n - n/512, MaxAbsError: relative / 2, MaxAbsValue: 1, SumXX: float64(n), SumDD: relative * relative * float64(n)}
	o.Statistics.SumXD = o.Statistics.SumDD / 2
	if relative == 0 {
		o.Statistics.Inexact = 0
	}
	b.used = (b.used + o.Bytes + 255) &^ 255
	b.index.Operands = append(b.index.Operands, o)
	return &b.index.Operands[len(b.index.Operands)-1]
}

// hostile is a name that would do harm in a page that takes it as it is.
const hostile = `evil"'><script>document.documentElement.dataset.errors='xss'</script><img src=x onerror=alert(1)>{{.}}`

// sampleIndex has an operand of every sort that a page shows in its own way.
func sampleIndex(t testing.TB) *artifact.Index {
	b := &builder{t: t, index: &artifact.Index{
		Producer: artifact.Producer{Name: "npuw", Revision: 3, Recipe: "whisper-encoder/mixed"},
		Model: artifact.Model{Family: "whisper-encoder", Attributes: []artifact.Attribute{
			{Name: "layers", Integer: 3}, {Name: "eps", Kind: artifact.Real, Real: 1e-5}, {Name: "note", Kind: artifact.Text, Text: hostile},
		}},
	}}
	k, n := layout.Axis{Name: 'K', Extent: 240}, layout.Axis{Name: 'N', Extent: 128}
	vector := func(name string, size uint64, f element.Format, relative float64) *artifact.Operand {
		return b.operand(name, resolve(t, "N*", layout.Axis{Name: 'N', Extent: size}), relative, plane.Plane{Format: f})
	}
	const tiled = "N* K* K8 N8 K8 N4"
	b.segment("encoder.stem", artifact.NoGroup)
	b.operand("encoder.conv1.weight", resolve(t, tiled, k, n), 1.66e-3, plane.Plane{Format: element.BF16})
	vector("encoder.conv1.bias", 128, element.F32, 0)
	b.operand("encoder.embed_positions.weight", resolve(t, "P* N*", layout.Axis{Name: 'P', Extent: 50}, n), 1.31e-3, plane.Plane{Format: element.BF16})
	for i := range 3 {
		layer := fmt.Sprintf("encoder.layers.%d", i)
		b.segment(layer, 1)
		worse := 1 + float64(i)/5
		k := layout.Axis{Name: 'K', Extent: 128}
		eight := resolve(t, tiled, k, n)
		perColumn := []uint64{eight.Axes[0].Padded, 1}
		b.operand(layer+".self_attn.q_proj.weight", eight, 7e-3*worse, plane.Plane{Format: element.I8},
			plane.Plane{Role: plane.Scales, Format: element.F32, Block: perColumn, Layout: resolve(t, "K* N*", plane.Grid(eight.Axes, perColumn)...)})
		groups := []uint64{32, 1}
		b.operand(layer+".self_attn.out_proj.weight", eight, 8e-2*worse, plane.Plane{Format: element.U4},
			plane.Plane{Role: plane.Scales, Format: element.BF16, Block: groups, Layout: resolve(t, "K* N*", plane.Grid(eight.Axes, groups)...)},
			plane.Plane{Role: plane.Zeros, Format: element.U4, Block: groups, Layout: resolve(t, "K* N*", plane.Grid(eight.Axes, groups)...)})
		b.operand(layer+".fc1.weight", resolve(t, "N* K* N8 K8", k, n), 4.5e-3*worse, plane.Plane{Format: element.BFP16})
		vector(layer+".fc1.bias", 128, element.F16, 2e-4*worse)
	}
	b.segment("encoder.layer_norm", artifact.NoGroup)
	bad := vector("encoder.layer_norm.weight", 128, element.BF16, 1.7e-3)
	bad.Statistics.NonFinite = 2
	vector(hostile, 40, element.BF16, math.Inf(1)).Statistics.SumXX = 0
	bindSample(b)
	return b.index
}

// bindSample adds what kernels have to do with the sample: a contract, an xclbin, instructions, bindings, a folded parameter.
func bindSample(b *builder) {
	x := b.index
	b.segment("fc1 instructions", artifact.NoGroup)
	b.close()
	x.Segments[len(x.Segments)-1].Kind = artifact.Instructions
	x.Xclbins = []artifact.Xclbin{{Name: "fc1.xclbin", UUID: [16]byte{0x67, 0x69}, Bytes: 6685, Digest: artifact.Digest{Lo: 1, Hi: 2}}}
	var fc1 []int
	for i := range x.Operands {
		if placeOf(x.Operands[i].Name).kind == "fc1.weight" {
			fc1 = append(fc1, i)
		}
	}
	weight := kernel.Buffer("b", 4, kernel.Weight, element.BFP16, x.Operands[fc1[0]].Layout)
	weight.MemoryGroup = 1
	instructions := kernel.Argument{Name: "instr", Index: 1, Role: kernel.Instructions, MemoryGroup: artifact.NoGroup, Bytes: 700}
	x.Contracts = []artifact.Contract{{
		Name: "fc1", Operation: kernel.GEMM, Epilogue: kernel.GELUEpilogue, Kernel: "MLIR_AIE", Xclbin: 0, Instructions: len(x.Segments) - 1,
		Shape:     []layout.Axis{{Name: 'M', Extent: 50, Padded: 64}, {Name: 'K', Extent: 128, Padded: 128}, {Name: 'N', Extent: 128, Padded: 128}},
		Arguments: []artifact.Argument{instructions, weight, kernel.Scalar("opcode", 0)},
	}}
	for _, o := range fc1 {
		x.Bindings = append(x.Bindings, artifact.Binding{Operand: o, Contract: 0, Argument: 1})
	}
	x.Parameters = append(x.Parameters, artifact.Parameter{Name: "encoder.final.gamma", Axes: "N", Shape: []uint64{128}})
	x.Notes = []artifact.Note{{Kind: artifact.Folded, Parameter: len(x.Parameters) - 1, Operand: fc1[0]}}
}

// open writes an index as an artifact, with zeros for data, and opens it again: what the page is given in earnest.
func open(t testing.TB, x *artifact.Index) *artifact.File {
	t.Helper()
	path := filepath.Join(pyreader.TempDir(t), "sample.npuw")
	w, err := artifact.Create(path, x, 4096, false)
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	a, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if err := os.Remove(path); err != nil { // with zeros for scales it is not sound, and no artifact to compare npuw.py on
		t.Fatal(err)
	}
	return a
}

// write gives the page of an index that need not be one of a file.
func write(t testing.TB, name string, h artifact.Header, x *artifact.Index) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, name, h, x); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func samplePage(t testing.TB) string {
	a := open(t, sampleIndex(t))
	return write(t, "sample.npuw", a.Header, a.Index)
}
