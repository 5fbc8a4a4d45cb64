package npuwz

import (
	"slices"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/plane"
)

// TestTransformsOfRecipes wants each recipe's operands to be sorted as their element format asks for, and chunks to be all of the segments.
func TestTransformsOfRecipes(t *testing.T) {
	t.Parallel()
	for recipe, want := range map[string][]transform{
		"f32":        {asIs, {{4, 4}}},
		"npu1-tiled": {asIs, {{2, 2}}},
		"npu1-int8":  {asIs, {{4, 4}}, {{2, 2}}},
		"npu1-int4":  {asIs, {{2, 2}}, {{512, 1}, {16, 1}, {64, 2}, {48, 1}}},
		"npu2-bfp16": {asIs, {{2, 2}}, {{1, 1}, {8, 1}}},
	} {
		a, err := artifact.Open(packed(t, tiny, "whisper-encoder/"+recipe))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		f := &front{kind: whole}
		areas, err := plan(a, f)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(f.transforms, want, func(a, b transform) bool { return slices.Equal(a, b) }) {
			t.Errorf("%s: %v, want %v", recipe, f.transforms, want)
		}
		bytes, sum := uint64(0), a.Header.IndexBytes
		for _, c := range f.chunks {
			bytes += uint64(c.bytes)
		}
		for _, s := range a.Index.Segments {
			sum += s.Bytes
		}
		if bytes != sum || len(areas) != len(a.Index.Segments)+1 {
			t.Errorf("%s: chunks of %d bytes in %d areas, want %d in %d", recipe, bytes, len(areas), sum, len(a.Index.Segments)+1)
		}
	}
}

// TestSpans cuts segments of operands in all ways that there are.
func TestSpans(t *testing.T) {
	t.Parallel()
	values := func(offset, bytes uint64, f element.Format) artifact.Operand {
		return artifact.Operand{Offset: offset, Bytes: bytes, Format: f}
	}
	planes := func(offset, bytes uint64, list ...plane.Plane) artifact.Operand {
		return artifact.Operand{Offset: offset, Bytes: bytes, Encoding: plane.Scaled, Format: list[0].Format, Planes: list}
	}
	bf16, f32 := transform{{2, 2}}, transform{{4, 4}}
	for name, c := range map[string]struct {
		operands []artifact.Operand
		want     []span
	}{
		"nothing":          {nil, []span{{4096, asIs}}},
		"one":              {[]artifact.Operand{values(0, 4096, element.BF16)}, []span{{4096, bf16}}},
		"two, with zeros":  {[]artifact.Operand{values(0, 100, element.BF16), values(256, 4, element.F16)}, []span{{4096, bf16}}},
		"two formats":      {[]artifact.Operand{values(0, 100, element.F32), values(256, 4, element.F16)}, []span{{256, f32}, {3840, bf16}}},
		"begins later":     {[]artifact.Operand{values(512, 512, element.F32)}, []span{{512, asIs}, {3584, f32}}},
		"bfp16":            {[]artifact.Operand{values(0, 90, element.BFP16), values(256, 9, element.BFP16)}, []span{{90, transform{{1, 1}, {8, 1}}}, {166, asIs}, {9, transform{{1, 1}, {8, 1}}}, {3831, asIs}}},
		"not known":        {[]artifact.Operand{values(0, 100, 99)}, []span{{4096, asIs}}},
		"scales behind":    {[]artifact.Operand{planes(0, 96, plane.Plane{Format: element.I8, Bytes: 64}, plane.Plane{Role: plane.Scales, Format: element.F32, Offset: 64, Bytes: 32})}, []span{{64, asIs}, {4032, f32}}},
		"scales before":    {[]artifact.Operand{planes(0, 100, plane.Plane{Format: element.I8, Offset: 36, Bytes: 64}, plane.Plane{Role: plane.Scales, Format: element.BF16, Bytes: 32})}, []span{{32, bf16}, {4064, asIs}}},
		"records":          {[]artifact.Operand{planes(0, 2048, plane.Plane{Format: element.I8, RecordElements: 64, RecordBytes: 128}, plane.Plane{Role: plane.Scales, Format: element.F32, Offset: 72, RecordElements: 4, RecordBytes: 128})}, []span{{4096, transform{{64, 1}, {8, 1}, {16, 4}, {40, 1}}}}},
		"records too long": {[]artifact.Operand{planes(0, 2048, plane.Plane{Format: element.I8, RecordElements: 64, RecordBytes: 2 << 20})}, []span{{4096, asIs}}},
	} {
		got := spansOf(&artifact.Segment{Bytes: 4096}, c.operands)
		if !slices.EqualFunc(got, c.want, func(a, b span) bool { return a.bytes == b.bytes && slices.Equal(a.transform, b.transform) }) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestManyTransforms has more than a file can name: bytes of the others stay as they are.
func TestManyTransforms(t *testing.T) {
	t.Parallel()
	var c cutter
	for n := range 2 * maxTransforms {
		c.cut(area{at: 4096}, []span{{uint64(n + 2), transform{{n + 1, 1}, {1, 1}}}})
	}
	if len(c.transforms) != maxTransforms || c.chunks[10].transform != 11 || c.chunks[len(c.chunks)-1].transform != 0 {
		t.Errorf("%d transforms; the last chunk has %d", len(c.transforms), c.chunks[len(c.chunks)-1].transform)
	}
}
