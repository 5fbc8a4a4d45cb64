package pack

import (
	"cmp"
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
	"npuw/schema/pyreader"
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
	records uint64 // 1: one for each 256 codes
}

var ways = []way{
	{name: "bf16", layout: "N* K* K8 N8 K8 N4", format: element.BF16, scale: 1},
	{name: "bf16-scaled", layout: "N* K* K8 N8 K8 N4", format: element.BF16, scale: 0.125},
	{name: "f32", layout: "N* K* K8 N8 K8 N4", format: element.F32, scale: 1},
	{name: "bfp16", layout: "N* K* N8 K8", format: element.BFP16, scale: 1},
	{name: "int8-channel", layout: "N* K* K8 N4 K8 N8", format: element.I8, scale: 1, scheme: element.Scheme{Codes: element.I8, Scales: element.F32}, grid: "K* N*"},
	{name: "int4-32", layout: "N* K* K8 N4 K8 N8", format: element.I4, scale: 1, scheme: element.Scheme{Codes: element.I4, Scales: element.BF16}, block: 32, grid: "N* K* N32"},
	{name: "nf4-64", layout: "N* K* K8 N4 K8 N8", format: element.NF4, scale: 1, scheme: element.Scheme{Codes: element.NF4, Scales: element.BF16}, block: 64, grid: "N* K* N32"},
	{name: "w4-records", layout: "N* K* N4 K32 N8", format: element.U4, scale: 1, scheme: element.Scheme{Codes: element.U4, Scales: element.BF16, Zeros: element.U4}, block: 32, grid: "N* K* N4 N8", records: 1},
}

// operand makes one of a parameter: of the weights of linears and convolutions as w says, of others as they are.
func (w *way) operand(b testing.TB, index int, p *model.Parameter) recipe.Operand {
	up := func(n, m uint64) uint64 { return (n + m - 1) / m * m }
	o := recipe.Operand{Name: p.Name}
	whole := artifact.Placement{Parameter: index, Scale: 1}
	if p.Axes[0] != 'N' || len(p.Axes) == 1 {
		for j, n := range p.Shape {
			o.Layout.Axes = append(o.Layout.Axes, axis(p.Axes[j], n, n))
			o.Layout.Digits = append(o.Layout.Digits, layout.Digit{Axis: j, Size: n, Stride: 1})
			whole.From = append(whole.From, from(0, n, 1, j))
		}
		whole.To = make([]uint64, len(p.Shape))
		o.Placements = []artifact.Placement{whole}
		return valued(o, element.BF16)
	}
	n, k := p.Shape[0], volume(p.Shape[1:])
	whole.From = []artifact.PlacedAxis{from(0, n, 1, 1), from(0, p.Shape[1], k/p.Shape[1], 0)}
	if len(p.Shape) == 3 {
		whole.From = append(whole.From, from(0, p.Shape[2], 1, 0))
	}
	whole.Scale, whole.To = w.scale, []uint64{0, 0}
	o.Placements = []artifact.Placement{whole}
	o.Layout = resolved(b, w.layout, axis('K', k, up(k, 64)), axis('N', n, up(n, 32)))
	if w.scheme.Codes == 0 {
		return valued(o, w.format)
	}
	block := []uint64{cmp.Or(w.block, up(k, 64)), 1}
	planes := []plane.Plane{shared(b, plane.Scales, w.scheme.Scales, o.Layout, block, w.grid)}
	if w.scheme.Zeros != 0 {
		planes = append(planes, shared(b, plane.Zeros, w.scheme.Zeros, o.Layout, block, w.grid))
	}
	return scaled(o, w.records*(o.Layout.Elements()/256), 64, w.scheme.Codes, planes...)
}

// BenchmarkFormats packs whisper-base's encoder with its matrices in several formats: with two workers and without fsync, in
// MB/s of its FP32 input.
func BenchmarkFormats(b *testing.B) {
	path, err := whisperonnx.BaseModel(pyreader.TempDir(b))
	if err != nil {
		b.Fatal(err)
	}
	c, m := open(b, path)
	dir := pyreader.TempDir(b)
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
