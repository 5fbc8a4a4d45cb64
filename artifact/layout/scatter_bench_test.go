package layout

import "testing"

// benchmarkPatch places, or gathers, 64x64 patches all over a layout of 512x512 elements, with rows and columns along the
// axes given.
func benchmarkPatch(b *testing.B, notation string, elem int, rowAxis, colAxis int, gather bool) {
	const k, n, side = 512, 512, 64
	spec, err := Parse(notation)
	if err != nil {
		b.Fatal(err)
	}
	l, err := spec.Resolve([]Axis{{Name: 'K', Extent: k}, {Name: 'N', Extent: n}})
	if err != nil {
		b.Fatal(err)
	}
	s := NewScatter(l, elem)
	packed := make([]byte, l.Elements()*uint64(elem))
	patch := make([]byte, side*side*elem)
	b.SetBytes(int64(len(packed)))
	for b.Loop() {
		for i := uint64(0); i < k; i += side {
			for j := uint64(0); j < n; j += side {
				if gather {
					err = s.Gather(patch, packed, side, []uint64{i, j}, rowAxis, colAxis, side, side)
				} else {
					err = s.Place(packed, patch, side, []uint64{i, j}, rowAxis, colAxis, side, side)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

func BenchmarkPatch(b *testing.B) {
	for _, c := range []struct {
		name, notation string
		elem           int
	}{
		{"bf16/panels", "N* K* K8 N8 K8 N4", 2},
		{"bf16/panels8", "N* K* K8 N8 K8 N8", 2},
		{"bf16/rowmajor", "K* N*", 2},
		{"f32/panels", "N* K* K8 N8 K8 N4", 4},
		{"int8/panels8", "N* K* K8 N8 K8 N8", 1},
	} {
		b.Run(c.name+"/place/KN", func(b *testing.B) { benchmarkPatch(b, c.notation, c.elem, 0, 1, false) })
		b.Run(c.name+"/place/NK", func(b *testing.B) { benchmarkPatch(b, c.notation, c.elem, 1, 0, false) })
		b.Run(c.name+"/gather/KN", func(b *testing.B) { benchmarkPatch(b, c.notation, c.elem, 0, 1, true) })
		b.Run(c.name+"/gather/NK", func(b *testing.B) { benchmarkPatch(b, c.notation, c.elem, 1, 0, true) })
	}
}

// BenchmarkPack packs a whole 2048 x 512 BF16 matrix from both orientations; copy is the floor.
func BenchmarkPack(b *testing.B) {
	const k, n, elem = 2048, 512, 2
	src, dst := make([]byte, k*n*elem), make([]byte, k*n*elem)
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(k * n * elem)
		for b.Loop() {
			copy(dst, src)
		}
	})
	for _, notation := range []string{"N* K* K8 N8 K8 N4", "K* N*", "N* K*"} {
		spec, err := Parse(notation)
		if err != nil {
			b.Fatal(err)
		}
		l, err := spec.Resolve([]Axis{{Name: 'K', Extent: k}, {Name: 'N', Extent: n}})
		if err != nil {
			b.Fatal(err)
		}
		for _, source := range []struct {
			name    string
			strides []int64
		}{{"KN", []int64{n, 1}}, {"NK", []int64{1, k}}} {
			b.Run(notation+"/"+source.name, func(b *testing.B) {
				b.SetBytes(k * n * elem)
				for b.Loop() {
					if err := l.Pack(dst, src, source.strides, elem, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
