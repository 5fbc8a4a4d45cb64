package cpu

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
)

func benchmark(b *testing.B, opts Options, c *kernel.Contract, operations float64, unit string) {
	b.Helper()
	f := newFixture(b, opts, c)
	for b.Loop() {
		if _, err := f.kernel.Run(context.Background(), f.args); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(operations*float64(b.N)/b.Elapsed().Seconds()/1e9, unit)
}

// BenchmarkGEMM measures the products of a Whisper-base encoder, in GFLOP/s.
func BenchmarkGEMM(b *testing.B) {
	for _, x := range []struct {
		name, a, b, c string
		f             element.Format
		m, k, n       uint64
		gelu          bool
	}{
		{"project/rows", "M* K*", "K* N*", "N* M* N64", element.BF16, 1500, 512, 512, false},
		{"project/tiled", "M* K*", "N* K* K8 N8 K8 N4", "N* M* N64", element.BF16, 1500, 512, 512, false},
		{"fc1/tiled", "M* K*", "N* K* K8 N8 K8 N4", "M* N*", element.BF16, 1500, 512, 2048, false},
		{"fc1+gelu/tiled", "M* K*", "N* K* K8 N8 K8 N4", "M* N*", element.BF16, 1500, 512, 2048, true},
		{"fc2/tiled", "M* K*", "N* K* K8 N8 K8 N4", "M* N*", element.BF16, 1500, 2048, 512, false},
		{"fc2/f32 turned", "M* K*", "N* K*", "M* N*", element.F32, 1500, 2048, 512, false},
		{"scores", "M* K*", "N* K*", "M* N*", element.F32, 1500, 64, 1500, false},
		{"mixed", "M* K*", "K* N*", "M* N*", element.F32, 1500, 1500, 64, false},
	} {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/workers=%d", x.name, workers), func(b *testing.B) {
				c := contract(b, kernel.GEMM, shape("MKN", x.m, x.k, x.n),
					"a f32 "+x.a, fmt.Sprintf("b %v %s", x.f, x.b), "c f32 "+x.c)
				if x.gelu {
					c.Epilogue = kernel.GELUEpilogue
				}
				benchmark(b, Options{Workers: workers}, c, 2*float64(x.m*x.k*x.n), "GFLOP/s")
			})
		}
	}
}

// BenchmarkEncodings measures what decoding weights costs a product of a Whisper-base encoder: compare with bf16.
func BenchmarkEncodings(b *testing.B) {
	const m, k, n = 1500, 512, 2048
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		if strings.HasPrefix(name, "records") { // of 8 columns
			continue
		}
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			c := contract(b, kernel.GEMM, shape("MKN", m, k, n), "a f32 M* K*", "b f32 K* N*", "c f32 M* N*")
			replace(b, c, "b", forms[name])
			benchmark(b, Options{Workers: 1}, c, 2*float64(m*k*n), "GFLOP/s")
		})
	}
}

// BenchmarkRows measures what is computed row by row or one by one, in values.
func BenchmarkRows(b *testing.B) {
	const m, n = 1500, 1500
	for op, more := range map[kernel.Operation][]string{
		kernel.LayerNorm: {"eps"},
		kernel.Softmax:   nil,
		kernel.GELU:      nil,
		kernel.Add:       {"z f32 M* N*"},
		kernel.Scale:     {"scale"},
	} {
		b.Run(string(op), func(b *testing.B) {
			c := contract(b, op, shape("MN", m, n), append([]string{"x f32 M* N*", "y f32 M* N*"}, more...)...)
			benchmark(b, Options{Workers: 1}, c, m*n, "Gvalue/s")
		})
	}
}
