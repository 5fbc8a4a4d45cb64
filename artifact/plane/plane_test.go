package plane

import (
	"math"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

func digits(v ...uint64) []layout.Digit {
	var list []layout.Digit
	for ; len(v) > 0; v = v[3:] {
		list = append(list, layout.Digit{Axis: int(v[0]), Size: v[1], Stride: v[2]})
	}
	return list
}

// on gives a plane the layout of its grid.
func on(axes []layout.Axis, p Plane, digits []layout.Digit) Plane {
	p.Layout = layout.Layout{Axes: Grid(axes, p.Block), Digits: digits}
	return p
}

// contiguous is a sound storage of three planes one behind the other: 32 codes, a gap of 3 bytes, 8 scales, 8 zeros, a gap of 5.
func contiguous() Storage {
	axes := []layout.Axis{{Name: 'K', Extent: 6, Padded: 8}, {Name: 'N', Extent: 3, Padded: 4}}
	return Storage{Encoding: Scaled, Axes: axes, Bytes: 80, Planes: []Plane{
		on(axes, Plane{Format: element.U8, Bytes: 32, PadBits: 7}, digits(1, 4, 1, 0, 8, 1)),
		on(axes, Plane{Role: Scales, Format: element.F32, Offset: 35, Bytes: 32, Block: []uint64{4, 1}}, digits(0, 2, 1, 1, 4, 1)),
		on(axes, Plane{Role: Zeros, Format: element.U8, Offset: 67, Bytes: 8, Block: []uint64{4, 1}}, digits(0, 2, 1, 1, 4, 1)),
	}}
}

// records is a sound storage of 4 records of 12 bytes: 8 codes in 4, a gap of 1, 2 scales in 4, 2 minimums in 2, a gap of 1.
func records() Storage {
	axes := []layout.Axis{{Name: 'K', Extent: 6, Padded: 8}, {Name: 'N', Extent: 3, Padded: 4}}
	order, blocks := digits(1, 4, 1, 0, 8, 1), digits(1, 4, 1, 0, 2, 1)
	return Storage{Encoding: Scaled, Axes: axes, Bytes: 48, Planes: []Plane{
		on(axes, Plane{Format: element.U4, HighFirst: true, Bytes: 40, RecordElements: 8, RecordBytes: 12}, order),
		on(axes, Plane{Role: Scales, Format: element.F16, Offset: 5, Bytes: 40, RecordElements: 2, RecordBytes: 12, Block: []uint64{4, 1}}, blocks),
		on(axes, Plane{Role: Minimums, Format: element.BF16, Offset: 9, Bytes: 38, RecordElements: 1, RecordBytes: 12, Block: []uint64{8, 1}}, digits(1, 4, 1)),
	}}
}

func plainStorage(f element.Format) Storage {
	axes := []layout.Axis{{Name: 'K', Extent: 10, Padded: 16}, {Name: 'N', Extent: 3, Padded: 4}}
	l := layout.Layout{Axes: axes, Digits: digits(0, 2, 8, 1, 4, 1, 0, 8, 1)}
	n, _ := BytesOf(f, Elements(f, l))
	return Of(Plain, f, l, 0, n, nil)
}

func TestSound(t *testing.T) {
	t.Parallel()
	for _, s := range []Storage{
		contiguous(), records(), plainStorage(element.F32), plainStorage(element.F16), plainStorage(element.BF16), plainStorage(element.BFP16),
	} {
		if err := s.Validate(); err != nil {
			t.Errorf("%v: %v", s.String(), err)
		}
	}
}

// rule is a rule of FORMAT.md, "Planes, layouts, digits", that is broken once.
type rule struct {
	name   string
	of     func() Storage
	damage func(s *Storage)
	words  string
}

func testRules(t *testing.T, rules []rule) {
	t.Helper()
	for _, r := range rules {
		s := r.of()
		r.damage(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), r.words) {
			t.Errorf("%s: %v, want %q", r.name, err, r.words)
		}
	}
}

// changed changes a plane.
func changed(i int, change func(p *Plane)) func(s *Storage) {
	return func(s *Storage) { change(&s.Planes[i]) }
}

func TestPlainRules(t *testing.T) {
	t.Parallel()
	plain := func() Storage { return plainStorage(element.F16) }
	bfp16 := func() Storage { return plainStorage(element.BFP16) }
	redigit := func(i int, v ...uint64) func(s *Storage) {
		return changed(i, func(p *Plane) { p.Layout.Digits = digits(v...) })
	}
	testRules(t, []rule{
		{"unknown encoding", plain, func(s *Storage) { s.Encoding = 2 }, "encoding 2 is not known"},
		{"no planes", plain, func(s *Storage) { s.Planes = nil }, "planes []"},
		{"two planes of values", plain, func(s *Storage) { s.Planes = append(s.Planes, s.Planes[0]) }, "planes [values values]"},
		{"a plane of scales alone", plain, changed(0, func(p *Plane) { p.Role = Scales }), "planes [scales]; encoding 0"},
		{"values of i8", plain, changed(0, func(p *Plane) { p.Format = element.I8 }), "values in i8"},
		{"values of e8m0", plain, changed(0, func(p *Plane) { p.Format = element.E8M0 }), "values in e8m0"},
		{"values of f64", plain, changed(0, func(p *Plane) { p.Format = element.F64 }), "values in f64"},
		{"no format", plain, changed(0, func(p *Plane) { p.Format = 0 }), "values in format(0), which is no element format"},
		{"unknown format", plain, changed(0, func(p *Plane) { p.Format = 99 }), "values in format(99), which is no element format"},
		{"values that begin late", plain, changed(0, func(p *Plane) { p.Offset = 2 }), "128 bytes at 2 of 128"},
		{"values that end early", plain, func(s *Storage) { s.Bytes = 130 }, "128 bytes at 0 of 130"},
		{"fewer bytes than elements", plain, func(s *Storage) { s.Bytes, s.Planes[0].Bytes = 126, 126 }, "126 bytes for 64 elements of f16"},
		{"values in records", plain, changed(0, func(p *Plane) { p.RecordElements, p.RecordBytes = 64, 128 }), "64 elements in records of 128 bytes"},
		{"record bytes without elements", plain, changed(0, func(p *Plane) { p.RecordBytes = 128 }), "0 elements in records of 128 bytes"},
		{"blocks of values", plain, changed(0, func(p *Plane) { p.Block = []uint64{1, 2} }), "blocks of [1 2]"},
		{"other axes", plain, changed(0, func(p *Plane) { p.Layout.Axes = p.Layout.Axes[:1] }), "its axes are not the grid"},
		{"digits that are no layout", plain, redigit(0, 0, 16, 1, 1, 2, 1), "the digits of axis N cover 2"},
		{"half order of f16", plain, changed(0, func(p *Plane) { p.HighFirst = true }), "an order of halves for f16"},
		{"pad_bits too wide", plain, changed(0, func(p *Plane) { p.PadBits = 1 << 16 }), "pad_bits 0x10000 for f16"},

		{"bfp16 along no run of 8", bfp16, redigit(0, 0, 16, 1, 1, 4, 1), "the innermost digit"},
		{"bfp16 with strides", bfp16, redigit(0, 1, 4, 1, 0, 2, 1, 0, 8, 2), "the innermost digit"},
		{"bfp16 with pad_bits", bfp16, changed(0, func(p *Plane) { p.PadBits = 1 }), "pad_bits 0x1 for bfp16"},
		{"bfp16 of one value each", bfp16, func(s *Storage) { s.Bytes, s.Planes[0].Bytes = 576, 576 }, "576 bytes for 8 elements of bfp16"},
	})
}

func TestScaledRules(t *testing.T) {
	t.Parallel()
	testRules(t, []rule{
		{"codes alone", contiguous, func(s *Storage) { s.Planes = s.Planes[:1] }, "planes [values]; encoding 1"},
		{"no codes", contiguous, func(s *Storage) { s.Planes = s.Planes[1:] }, "planes [scales zeros]"},
		{"no scales", contiguous, func(s *Storage) { s.Planes = slices.Delete(s.Planes, 1, 2) }, "planes [values zeros]"},
		{"zeros before scales", contiguous, func(s *Storage) { s.Planes[1], s.Planes[2] = s.Planes[2], s.Planes[1] }, "planes [values zeros scales]"},
		{"zeros and minimums", contiguous, func(s *Storage) {
			s.Planes = append(s.Planes, on(s.Axes, Plane{Role: Minimums, Format: element.F32}, nil))
		}, "planes [values scales zeros minimums]"},
		{"scales twice", contiguous, changed(2, func(p *Plane) { p.Role = Scales }), "planes [values scales scales]"},
		{"unknown role", contiguous, changed(2, func(p *Plane) { p.Role = 4 }), "planes [values scales role(4)]"},
		{"zeros without a format", contiguous, changed(2, func(p *Plane) { p.Format = 0 }), "zeros in format(0)"},
		{"codes of f32", contiguous, changed(0, func(p *Plane) { p.Format = element.F32 }), "codes in f32"},
		{"codes of bfp16", contiguous, changed(0, func(p *Plane) { p.Format = element.BFP16 }), "codes in bfp16"},
		{"scales of u8", contiguous, changed(1, func(p *Plane) { p.Format = element.U8 }), "scales in u8"},
		{"scales of e8m0 with zeros", contiguous, changed(1, func(p *Plane) { p.Format = element.E8M0 }), "scales in e8m0 with zeros"},
		{"zeros of another format", contiguous, changed(2, func(p *Plane) { p.Format = element.I8 }), "zeros in i8 of codes in u8"},
		{"zeros of nf4", contiguous, func(s *Storage) { s.Planes[0].Format, s.Planes[2].Format = element.NF4, element.NF4 }, "zeros in nf4"},
		{"minimums of e8m0", records, changed(2, func(p *Plane) { p.Format = element.E8M0 }), "minimums in e8m0"},
		{"minimums of signed codes", records, changed(0, func(p *Plane) { p.Format = element.I4 }), "minimums of codes in i4"},
		{"unsigned codes alone", contiguous, func(s *Storage) { s.Planes = s.Planes[:2] }, "codes in u8 without zeros or minimums"},
	})
}

func TestPlaceRules(t *testing.T) {
	t.Parallel()
	testRules(t, []rule{
		{"blocks of one axis", contiguous, changed(1, func(p *Plane) { p.Block = []uint64{4} }), "scales: blocks of 1 axes, there are 2"},
		{"a block of 0", contiguous, changed(1, func(p *Plane) { p.Block = []uint64{4, 0} }), "scales: blocks of [4 0]"},
		{"a block of 2^63", contiguous, changed(1, func(p *Plane) { p.Block = []uint64{4, 1 << 63} }), "scales: blocks of [4 9223372036854775808]"},
		{"other blocks", contiguous, changed(1, func(p *Plane) { p.Block = []uint64{2, 1} }), "scales: its axes are not the grid"},
		{"codes too short", contiguous, changed(0, func(p *Plane) { p.Bytes-- }), "values: 31 bytes for 32 elements of u8"},
		{"scales in codes", contiguous, changed(1, func(p *Plane) { p.Offset = 31 }), "scales: 32 bytes at 31 of 80, where planes before end at 32"},
		{"zeros in scales", contiguous, changed(2, func(p *Plane) { p.Offset = 66 }), "zeros: 8 bytes at 66"},
		{"zeros past the end", contiguous, changed(2, func(p *Plane) { p.Offset = 73 }), "zeros: 8 bytes at 73"},
		{"zeros far past the end", contiguous, changed(2, func(p *Plane) { p.Offset = math.MaxUint64 }), "zeros: 8 elements of u8 at 18446744073709551615"},
		{"scales in records, codes not", contiguous, changed(1, func(p *Plane) { p.RecordElements, p.RecordBytes = 8, 32 }), "scales: 8 elements in records of 32 bytes"},

		{"codes in records, scales not", records, changed(1, func(p *Plane) { p.RecordElements, p.RecordBytes = 0, 0 }), "scales: 8 elements, 0 in each record of 0 bytes"},
		{"records that cut codes", records, changed(0, func(p *Plane) { p.RecordElements = 6 }), "32 codes in records of 6"},
		{"odd codes in a record", records, changed(0, func(p *Plane) { p.RecordElements = 1 }), "values: 32 elements of u4, in records of 1"},
		{"records of other sizes", records, changed(1, func(p *Plane) { p.RecordBytes = 13 }), "scales: 8 elements, 2 in each record of 13 bytes"},
		{"records of 0 bytes", records, func(s *Storage) {
			s.Bytes = 0
			for i := range s.Planes {
				s.Planes[i].RecordBytes = 0
			}
		}, "values: 40 bytes at 0 of records of 0"},
		{"records of 2^62 bytes", records, changed(0, func(p *Plane) { p.RecordBytes = 1 << 62 }), "48 bytes for 4 records of 4611686018427387904"},
		{"too few scales in a record", records, changed(1, func(p *Plane) { p.RecordElements = 1 }), "scales: 8 elements, 1 in each record"},
		{"scales in codes of a record", records, changed(1, func(p *Plane) { p.Offset = 3 }), "scales: 40 bytes at 3 of records of 12, of which 4 are taken"},
		{"past the end of a record", records, changed(2, func(p *Plane) { p.Offset = 11 }), "minimums: 38 bytes at 11 of records of 12"},
		{"bytes of one record", records, changed(2, func(p *Plane) { p.Bytes = 2 }), "minimums: 2 bytes at 9"},
		{"a record more", records, func(s *Storage) { s.Bytes += 12 }, "60 bytes for 4 records of 12"},
		{"half order of scales", records, changed(1, func(p *Plane) { p.HighFirst = true }), "scales: an order of halves for f16"},
		{"pad_bits of 5 bits", records, changed(0, func(p *Plane) { p.PadBits = 16 }), "values: pad_bits 0x10 for u4"},
		{"odd number of 4-bit elements", contiguous, func(s *Storage) {
			s.Planes[0].Format, s.Planes[0].Bytes, s.Planes[2].Format = element.U4, 16, element.U4
			p := &s.Planes[2]
			p.Bytes, p.Block = 1, []uint64{8, 4}
			*p = on(s.Axes, *p, nil)
		}, "zeros: 1 elements of u4"},
	})
}

func TestEqual(t *testing.T) {
	t.Parallel()
	plane := func(i int, change func(p *Plane)) func(s *Storage) { return func(s *Storage) { change(&s.Planes[i]) } }
	for _, r := range []struct {
		name   string
		change func(s *Storage)
		want   bool
	}{
		{"nothing", func(*Storage) {}, true},
		{"padding", plane(0, func(p *Plane) { p.PadBits = 9 }), true},
		{"blocks of 1", plane(0, func(p *Plane) { p.Block = []uint64{1, 1} }), true},
		{"digits split in two", plane(0, func(p *Plane) { p.Layout.Digits = digits(1, 4, 1, 0, 2, 4, 0, 4, 1) }), true},
		{"encoding", func(s *Storage) { s.Encoding = 7 }, false},
		{"bytes", func(s *Storage) { s.Bytes++ }, false},
		{"extents", func(s *Storage) { s.Axes[0].Extent++ }, false},
		{"a plane less", func(s *Storage) { s.Planes = s.Planes[:2] }, false},
		{"role", plane(2, func(p *Plane) { p.Role = Minimums }), false},
		{"format", plane(1, func(p *Plane) { p.Format = element.I8 }), false},
		{"order", plane(0, func(p *Plane) { p.HighFirst = true }), false},
		{"offset", plane(1, func(p *Plane) { p.Offset++ }), false},
		{"plane's bytes", plane(1, func(p *Plane) { p.Bytes++ }), false},
		{"elements of a record", plane(1, func(p *Plane) { p.RecordElements++ }), false},
		{"bytes of a record", plane(1, func(p *Plane) { p.RecordBytes++ }), false},
		{"blocks", plane(1, func(p *Plane) { p.Block = []uint64{1, 4} }), false},
		{"layout", plane(0, func(p *Plane) { p.Layout.Digits = digits(0, 8, 1, 1, 4, 1) }), false},
	} {
		s, other := contiguous(), contiguous()
		r.change(&other)
		if got := s.Equal(&other); got != r.want || other.Equal(&s) != r.want {
			t.Errorf("%s: equal is %v, want %v", r.name, got, r.want)
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	s, r, p := contiguous(), records(), plainStorage(element.BF16)
	for _, c := range []struct{ got, want string }{
		{s.String(), "values u8 in N4 K8 at 0, scales f32 by [4 1] in K2 N4 at 35, zeros u8 by [4 1] in K2 N4 at 67"},
		{
			r.String(), "values u4 high half first in N4 K8 at 0 of records of 12 bytes, 8 in each, " +
				"scales f16 by [4 1] in N4 K2 at 5 of records of 12 bytes, 2 in each, minimums bf16 by [8 1] in N4 K1 at 9 of records of 12 bytes, 1 in each",
		},
		{p.String(), "values bf16 in K2 N4 K8"},
		{Role(9).String(), "role(9)"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		f    element.Format
		n    uint64
		want uint64
		ok   bool
	}{
		{element.F32, 3, 12, true},
		{element.U4, 4, 2, true},
		{element.U4, 5, 3, true},
		{element.BFP16, 2, 18, true},
		{element.I8, 0, 0, true},
		{element.U4, 1 << 62, 1 << 61, true},
		{element.F32, 1 << 60, 1 << 62, true},
		{element.BFP16, 1 << 58, 9 << 58, true},
		{element.F32, 1<<60 + 1, 0, false},
		{element.F32, 1 << 62, 0, false},
		{element.F32, math.MaxUint64, 0, false},
		{element.BFP16, 1 << 61, 0, false},
	} {
		if n, ok := BytesOf(r.f, r.n); ok && n != r.want || ok != r.ok {
			t.Errorf("%d of %v take %d bytes, %v; want %d, %v", r.n, r.f, n, ok, r.want, r.ok)
		}
	}
	axes := []layout.Axis{{Name: 'A', Extent: 0, Padded: 9}, {Name: 'B', Extent: 1 << 62, Padded: 1 << 62}}
	want := []layout.Axis{{Name: 'A', Extent: 0, Padded: 3}, {Name: 'B', Extent: 1 << 61, Padded: 1 << 61}}
	if got := Grid(axes, []uint64{4, 2}); !slices.Equal(got, want) {
		t.Errorf("a grid of %v, want %v", got, want)
	}
	if got := Grid(axes, []uint64{1, 1}); &got[0] != &axes[0] {
		t.Error("blocks of 1 make another grid")
	}
}
