package pack

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
)

// way is how the weights of a model are packed in a benchmark.
type way struct {
	name    string
	layout  string // over K, padded to 64, and N, padded to 32
	format  element.Format
	scale   float64
	scheme  element.Scheme
	block   uint64 // of K; 0: all
	grid    string // layout of scales
	records bool   // one for each K64 N32
}

var ways = []way{
	{name: "bf16", layout: "N* K* K8 N8 K8 N4", format: element.BF16, scale: 1},
	{name: "bf16-scaled", layout: "N* K* K8 N8 K8 N4", format: element.BF16, scale: 0.125},
	{name: "f32", layout: "N* K* K8 N8 K8 N4", format: element.F32, scale: 1},
	{name: "bfp16", layout: "N* K* N8 K8", format: element.BFP16, scale: 1},
	{name: "int8-channel", layout: "N* K* K8 N4 K8 N8", format: element.I8, scale: 1, scheme: element.Scheme{Codes: element.I8, Scales: element.F32}, grid: "K* N*"},
	{name: "int4-32", layout: "N* K* K8 N4 K8 N8", format: element.I4, scale: 1, scheme: element.Scheme{Codes: element.I4, Scales: element.BF16}, block: 32, grid: "N* K* N32"},
	{name: "nf4-64", layout: "N* K* K8 N4 K8 N8", format: element.NF4, scale: 1, scheme: element.Scheme{Codes: element.NF4, Scales: element.BF16}, block: 64, grid: "N* K* N32"},
	{name: "w4-records", layout: "N* K* N4 K32 N8", format: element.U4, scale: 1, scheme: element.Scheme{Codes: element.U4, Scales: element.BF16, Zeros: element.U4}, block: 32, grid: "N* K* N4 N8", records: true},
}

// weight makes an operand of a linear weight, other parameters as they are.
func (w *way) operand(b testing.TB, index int, p *model.Parameter) recipe.Operand {
	resolve := func(notation string, axes []layout.Axis) layout.Layout {
		spec, err := layout.Parse(notation)
		if err != nil {
			b.Fatal(err)
		}
		l, err := spec.Resolve(axes)
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	o := recipe.Operand{Name: p.Name, Format: element.BF16}
	place := artifact.Placement{Parameter: index, Scale: 1, From: make([]artifact.PlacedAxis, len(p.Shape))}
	if p.Axes != "NK" {
		notation := ""
		for j, n := range p.Shape {
			o.Layout.Axes = append(o.Layout.Axes, layout.Axis{Name: p.Axes[j], Extent: n, Padded: n})
			place.From[j] = artifact.PlacedAxis{Size: n, Step: 1, Axis: j}
			notation += p.Axes[j:j+1] + "* "
		}
		o.Layout = resolve(notation, o.Layout.Axes)
	} else {
		up := func(n, m uint64) uint64 { return (n + m - 1) / m * m }
		n, k := p.Shape[0], p.Shape[1]
		axes := []layout.Axis{{Name: 'K', Extent: k, Padded: up(k, 64)}, {Name: 'N', Extent: n, Padded: up(n, 32)}}
		place.From = []artifact.PlacedAxis{{Size: n, Step: 1, Axis: 1}, {Size: k, Step: 1, Axis: 0}}
		place.Scale = w.scale
		o.Format, o.Layout = w.format, resolve(w.layout, axes)
		if w.scheme.Codes != 0 {
			w.planes(&o, resolve)
		}
	}
	place.To = make([]uint64, len(o.Layout.Axes))
	o.Placements = []artifact.Placement{place}
	if o.Encoding == plane.Plain {
		o.Bytes, _ = plane.BytesOf(o.Format, plane.Elements(o.Format, o.Layout))
	}
	return o
}

func (w *way) planes(o *recipe.Operand, resolve func(string, []layout.Axis) layout.Layout) {
	o.Encoding = plane.Scaled
	block := []uint64{w.block, 1}
	if w.block == 0 {
		block[0] = o.Layout.Axes[0].Padded
	}
	grid := resolve(w.grid, plane.Grid(o.Layout.Axes, block))
	o.Planes = []plane.Plane{{Role: plane.Values, Format: w.scheme.Codes, Layout: o.Layout}, {Role: plane.Scales, Format: w.scheme.Scales, Block: block, Layout: grid}}
	if w.scheme.Zeros != 0 {
		o.Planes = append(o.Planes, plane.Plane{Role: plane.Zeros, Format: w.scheme.Zeros, Block: block, Layout: grid})
	}
	at, records := uint64(0), uint64(1)
	if w.records {
		records = grid.Elements() / 8
	}
	for i := range o.Planes {
		p := &o.Planes[i]
		p.Offset = at
		n := plane.Elements(p.Format, p.Layout)
		if w.records {
			p.RecordElements = n / records
		}
		p.Bytes, _ = plane.BytesOf(p.Format, n/records)
		at += p.Bytes
	}
	if w.records {
		at = (at + 63) / 64 * 64
		for i := range o.Planes {
			o.Planes[i].RecordBytes = at
			o.Planes[i].Bytes += (records - 1) * at
		}
	}
	o.Bytes = at * records
}

// BenchmarkFormats packs whisper-base's encoder with its linear weights in several formats: with two workers and without fsync, in
// MB/s of its FP32 input.
func BenchmarkFormats(b *testing.B) {
	path, err := whisperonnx.BaseModel(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	c, m := open(b, path)
	dir := b.TempDir()
	for _, jobs := range []int{1, 2} {
		for _, w := range ways {
			b.Run(fmt.Sprintf("%s/jobs=%d", w.name, jobs), func(b *testing.B) {
				var operands []recipe.Operand
				for i := range m.Parameters {
					operands = append(operands, w.operand(b, i, &m.Parameters[i]))
				}
				p := assembled(m, operands...)
				b.SetBytes(c.Files[0].Size)
				for b.Loop() {
					if err := run(context.Background(), c, p, filepath.Join(dir, "x.npuw"), Options{Jobs: jobs, NoSync: true}, windowElements); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
