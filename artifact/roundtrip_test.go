package artifact

import (
	"bytes"
	"encoding/binary"
	"math"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	fb "npuw/schema/npuwfb"
	"npuw/schema/pyreader"
)

var pageSizes = []uint64{4 << 10, 16 << 10, 64 << 10}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, page := range pageSizes {
		s := newSample(page)
		f := s.file(t)
		if f.Header.PageBytes != page {
			t.Errorf("pages of %d bytes, wrote %d", f.Header.PageBytes, page)
		}
		if diff := cmp.Diff(s.index, f.Index); diff != "" {
			t.Errorf("the index that was read (+) is not that which was written (-):\n%s", diff)
		}
		if err := f.Verify(); err != nil {
			t.Error(err)
		}
		for i := range f.Index.Segments {
			if err := f.CheckSegment(t.Context(), i); err != nil {
				t.Error(err)
			}
		}
		for i := range s.operands {
			if o := f.Operand(s.operands[i].name); o != &f.Index.Operands[i] {
				t.Errorf("operand %q is not found", s.operands[i].name)
			}
		}
		for i, p := range s.index.Parameters {
			if got := f.Parameter(p.Name); got != i {
				t.Errorf("parameter %q is found at %d, not %d", p.Name, got, i)
			}
		}
		if f.Operand("no such") != nil || f.Parameter("no such") != -1 || f.Operand("") != nil {
			t.Error("something is found that does not exist")
		}
	}
}

// TestBytes compares a file with one put together from the format's description alone.
func TestBytes(t *testing.T) {
	t.Parallel()
	for _, page := range pageSizes {
		s := newSample(page)
		path := filepath.Join(pyreader.TempDir(t), "a.npuw")
		s.write(t, path)
		b := readFile(t, path)
		le := binary.LittleEndian
		if string(b[:8]) != "\x89NPUW\r\n\x1a" || le.Uint32(b[8:]) != 1 || le.Uint32(b[12:]) != 256 {
			t.Errorf("the header begins with % x", b[:16])
		}
		data := s.data()
		index := page + uint64(len(data))
		want := []uint64{0, 0, uint64(len(b)), page, index, uint64(len(b)) - index}
		for i, w := range want {
			if got := le.Uint64(b[16+8*i:]); got != w {
				t.Errorf("the header's u64 at %d is %d, want %d", 16+8*i, got, w)
			}
		}
		digest := func(what string, at int, b []byte, of []byte) {
			if u := xxh3.Hash128(of); le.Uint64(b[at:]) != u.Lo || le.Uint64(b[at+8:]) != u.Hi {
				t.Errorf("%s is not the XXH3-128, low half first", what)
			}
		}
		digest("the index's digest", 64, b, b[index:])
		blank := append([]byte(nil), b[:256]...)
		clear(blank[240:])
		digest("the header's digest", 240, b, blank)
		if firstNonZero(b[80:240]) >= 0 || firstNonZero(b[256:page]) >= 0 {
			t.Error("reserved bytes or those between header and first page are not zero")
		}
		if !bytes.Equal(b[page:index], data) {
			t.Error("the segments do not hold what was written")
		}
		for _, g := range s.index.Segments {
			if u := xxh3.Hash128(b[g.Offset : g.Offset+g.Bytes]); g.Digest != (Digest{u.Lo, u.Hi}) {
				t.Errorf("segment %q has digest %v", g.Name, g.Digest)
			}
		}
		if got := s.damaged().bytes(); !bytes.Equal(got, b) {
			t.Error("Writer and the tests' own assembly differ")
		}
	}
}

// TestDecodeOracle reads indexes with the accessors that flatc generates and compares.
func TestDecodeOracle(t *testing.T) {
	t.Parallel()
	noted := newSample(4096).index
	noted.Notes = []Note{{3, 1, 2}, {0, 4, 0}}
	for _, x := range []*Index{newSample(4096).index, newSmallSample().index, noted, encoderIndex(), {}} {
		b := encodeIndex(x)
		if len(b) < minIndexBytes || len(b)%8 != 0 {
			t.Errorf("an index of %d bytes", len(b))
		}
		got, err := decodeIndex(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(oracle(b), got); diff != "" {
			t.Errorf("decoded (+) otherwise than by FlatBuffers' own code (-):\n%s", diff)
		}
		if !bytes.Equal(encodeIndex(got), b) || !bytes.Equal(encodeIndex(x), b) {
			t.Error("the same index encodes to other bytes")
		}
	}
}

// oracleReader is decodeIndex by the generated code.
type oracleReader struct {
	*fb.Index
	characters []byte
}

func oracle(b []byte) *Index {
	r := &oracleReader{Index: fb.GetRootAsIndex(b, 0)}
	r.characters = r.TextBytes()
	p := r.Producer(nil)
	return &Index{
		Producer: Producer{r.string(p.Name(nil)), p.Revision(), r.string(p.Recipe(nil))},
		Model: Model{r.string(r.Model(nil).Family(nil)), oracles(r.AttributesLength(), r.Attributes, func(a *fb.Attribute) Attribute {
			return Attribute{r.string(a.Name(nil)), AttributeKind(a.Kind()), a.Integer(), a.Real(), r.string(a.Text(nil))}
		})},
		Segments: oracles(r.SegmentsLength(), r.Segments, func(s *fb.Segment) Segment {
			return Segment{r.string(s.Name(nil)), SegmentKind(s.Kind()), s.MemoryGroup(), s.Offset(), s.Bytes(), oracleDigest(s.Digest(nil))}
		}),
		Operands: oracles(r.OperandsLength(), r.Operands, r.operand),
		Parameters: oracles(r.ParametersLength(), r.Parameters, func(p *fb.Parameter) Parameter {
			return Parameter{r.string(p.Name(nil)), r.string(p.Axes(nil)), r.numbers(p.Shape(nil))}
		}),
		Notes: oracles(r.NotesLength(), r.Notes, func(n *fb.Note) Note {
			return Note{byte(n.Kind()), int(n.Parameter()), int(n.Operand())}
		}),
		Xclbins: oracles(r.XclbinsLength(), r.Xclbins, func(x *fb.Xclbin) Xclbin {
			o := Xclbin{Name: r.string(x.Name(nil)), Bytes: x.Bytes(), Digest: oracleDigest(x.Digest(nil))}
			binary.LittleEndian.PutUint64(o.UUID[:], x.UuidLo())
			binary.LittleEndian.PutUint64(o.UUID[8:], x.UuidHi())
			return o
		}),
		Contracts: oracles(r.ContractsLength(), r.Contracts, r.contract),
		Bindings: oracles(r.BindingsLength(), r.Bindings, func(b *fb.Binding) Binding {
			return Binding{int(b.Operand()), int(b.Contract()), int(b.Argument())}
		}),
	}
}

func oracles[S, T any](n int, get func(*S, int) bool, make func(*S) T) []T {
	var list []T
	for i := range n {
		var s S
		get(&s, i)
		list = append(list, make(&s))
	}
	return list
}

// oracleRange is what a range names of a vector.
func oracleRange[S, T any](r *fb.Range, get func(*S, int) bool, make func(*S) T) []T {
	first := int(r.First())
	return oracles(int(r.Count()), func(s *S, i int) bool { return get(s, first+i) }, make)
}

func (r *oracleReader) string(t *fb.Text) string {
	return string(r.characters[t.At() : t.At()+t.Bytes()])
}

func (r *oracleReader) numbers(t *fb.Range) []uint64 {
	var list []uint64
	for i := range t.Count() {
		list = append(list, r.Numbers(int(t.First()+i)))
	}
	return list
}

func (r *oracleReader) axes(t *fb.Range) []layout.Axis {
	return oracleRange(t, r.Axes, func(a *fb.Axis) layout.Axis {
		return layout.Axis{Name: a.Name(), Extent: a.Extent(), Padded: a.Padded()}
	})
}

func (r *oracleReader) digits(t *fb.Range) []layout.Digit {
	return oracleRange(t, r.Digits, func(d *fb.Digit) layout.Digit {
		return layout.Digit{Axis: int(d.Axis()), Size: d.Size(), Stride: d.Stride()}
	})
}

// planes gives the planes of an operand with the axes given.
func (r *oracleReader) planes(t *fb.Range, axes []layout.Axis) []plane.Plane {
	return oracleRange(t, r.Planes, func(p *fb.Plane) plane.Plane {
		q := plane.Plane{
			Role: plane.Role(p.Role()), Format: element.Format(p.Element()), HighFirst: p.Order() == fb.NibbleOrderHighFirst,
			Offset: p.Offset(), Bytes: p.Bytes(), PadBits: p.PadBits(), RecordElements: p.RecordElements(), RecordBytes: p.RecordBytes(),
			Block: r.numbers(p.Block(nil)), Layout: layout.Layout{Digits: r.digits(p.Digits(nil))},
		}
		for a, axis := range axes {
			if q.Block != nil {
				b := float64(q.Block[a])
				axis.Extent, axis.Padded = uint64(math.Ceil(float64(axis.Extent)/b)), uint64(math.Ceil(float64(axis.Padded)/b))
			}
			q.Layout.Axes = append(q.Layout.Axes, axis)
		}
		return q
	})
}

func oracleDigest(d *fb.Digest) Digest { return Digest{d.Lo(), d.Hi()} }

func (r *oracleReader) operand(o *fb.Operand) Operand {
	s := o.Statistics(nil)
	x := Operand{
		Name: r.string(o.Name(nil)), Segment: int(o.Segment()), Offset: o.Offset(), Bytes: o.Bytes(), Encoding: plane.Encoding(o.Encoding()),
		Statistics: element.Stats{
			Elements: s.Elements(), Inexact: s.Inexact(), Underflowed: s.Underflowed(), NonFinite: s.NonFinite(),
			MaxAbsError: s.MaxAbsError(), MaxAbsValue: s.MaxAbsValue(), SumXX: s.SumXx(), SumXD: s.SumXd(), SumDD: s.SumDd(),
		},
		Fills: oracleRange(o.Fills(nil), r.Fills, func(f *fb.Fill) Fill {
			return Fill{r.numbers(f.Begin(nil)), r.numbers(f.Size(nil)), f.Value()}
		}),
	}
	x.Layout.Axes = r.axes(o.Axes(nil))
	planes := r.planes(o.Planes(nil), x.Layout.Axes)
	x.Format, x.PadBits, x.Layout = planes[0].Format, planes[0].PadBits, planes[0].Layout
	if x.Encoding != plane.Plain {
		x.Planes = planes
	}
	x.Placements = oracleRange(o.Placements(nil), r.Placements, func(p *fb.Placement) Placement {
		q := Placement{Parameter: int(p.Parameter()), Scale: p.Scale(), To: r.numbers(p.To(nil))}
		q.From = oracleRange(p.From(nil), r.PlacedAxes, func(a *fb.PlacedAxis) PlacedAxis {
			return PlacedAxis{a.Begin(), a.Size(), a.Step(), int(a.Axis())}
		})
		if q.To == nil {
			q.To = make([]uint64, len(x.Layout.Axes))
		}
		return q
	})
	return x
}

func (r *oracleReader) contract(c *fb.Contract) Contract {
	none := func(v uint32) int {
		if v == math.MaxUint32 {
			return None
		}
		return int(v)
	}
	return Contract{
		Name: r.string(c.Name(nil)), Operation: kernel.Operation(r.string(c.Operation(nil))), Epilogue: kernel.Epilogue(r.string(c.Epilogue(nil))),
		Kernel: r.string(c.Kernel(nil)), Xclbin: none(c.Xclbin()), Instructions: none(c.Instructions()), Shape: r.axes(c.Shape(nil)),
		Arguments: oracleRange(c.Arguments(nil), r.Arguments, func(a *fb.Argument) Argument {
			x := Argument{
				Name: r.string(a.Name(nil)), Index: a.Index(), Kind: kernel.ArgumentKind(a.Kind()), Role: kernel.ArgumentRole(a.Role()),
				MemoryGroup: a.MemoryGroup(), Bytes: a.Bytes(), Layout: layout.Layout{Axes: r.axes(a.Axes(nil))},
			}
			if planes := r.planes(a.Planes(nil), x.Layout.Axes); planes != nil {
				x.Format, x.Layout = planes[0].Format, planes[0].Layout
				if x.Encoding = plane.Encoding(a.Encoding()); x.Encoding != plane.Plain {
					x.Planes = planes
				}
			}
			return x
		}),
	}
}

// TestContent shows what the header's digest names: the content of the whole file.
func TestContent(t *testing.T) {
	t.Parallel()
	digest := func(change func(d *damaged)) Digest {
		d := newSmallSample().damaged()
		change(d)
		b := d.bytes()
		f, err := openBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		if f.Verify() == nil {
			leave(t, b)
		}
		return f.Header.Digest
	}
	same := digest(func(*damaged) {})
	if again := digest(func(*damaged) {}); again != same {
		t.Error("the same content has another digest")
	}
	for name, change := range map[string]func(d *damaged){
		"a weight":      func(d *damaged) { d.data[0]++ },
		"the last byte": func(d *damaged) { d.data[len(d.data)-1]++ },
		"a name":        func(d *damaged) { d.index.Operands[0].Name += "s" },
		"a statistic":   func(d *damaged) { d.index.Operands[0].Statistics.SumXX++ },
		"a feature bit": func(d *damaged) { d.header.OptionalFeatures = 1 },
	} {
		if digest(change) == same {
			t.Errorf("%s has changed, the header's digest has not", name)
		}
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	f := newSample(4096).file(t)
	l := f.Index.List(true)
	if len(l.Operands) != len(f.Index.Operands) || len(l.Segments) != 5 || l.Attributes["layers"] != int64(-3) || l.Attributes["note"] != "Größe 1 µm" {
		t.Errorf("listed: %+v", l)
	}
	for i, o := range l.Operands {
		spec, err := layout.Parse(o.Layout)
		if err != nil {
			t.Fatal(err)
		}
		got, err := spec.Resolve(f.Index.Operands[i].Layout.Axes)
		if err != nil || !got.Equal(f.Index.Operands[i].Layout) || !o.Supported {
			t.Errorf("operand %q is listed in layout %q: %v", o.Name, o.Layout, err)
		}
	}
	want := map[string][]string{
		"split.weight": {"split.0", "split.1"}, "tied": {"tied.0", "tied.1"}, "q.bias": {"qkv"}, "folded.gamma": {}, "folded.bias": {"folded", "unfolded"},
	}
	for _, p := range l.Parameters {
		if w, ok := want[p.Name]; ok && !reflect.DeepEqual(p.Operands, w) {
			t.Errorf("parameter %q is listed in %q, want %q", p.Name, p.Operands, w)
		}
	}
	if l.Parameters[epsilon].Shape == nil {
		t.Error("the shape of a scalar is null in JSON, not an empty list")
	}
	for i, want := range map[int]string{
		i8: "i8*f32", i4: "i4*f16", u8: "u8*f16+f32", nf4: "nf4*f32", u4: "u4*bf16-zero", mx: "i8*e8m0", bfp16: "bfp16", folded: "bf16",
	} {
		o := &l.Operands[i]
		if o.Format != want || len(o.Planes) != len(f.Index.Operands[i].Planes) {
			t.Errorf("operand %q is listed in %s of %d planes", o.Name, o.Format, len(o.Planes))
		}
	}
	want8 := PlaneListing{
		Role: "scales", Format: "f32", Offset: 200, Bytes: 32, Pad: 0x3f800000, Block: []uint64{24, 1}, Layout: "N2@1 N4@2 K1",
	}
	if diff := cmp.Diff(want8, l.Operands[i8].Planes[1]); diff != "" {
		t.Errorf("scales are listed otherwise:\n%s", diff)
	}
	if a := l.Contracts[2].Arguments[0]; a.Format != "i8*f32" || len(a.Planes) != 2 || a.Planes[1].Pad != 0 {
		t.Errorf("an argument of planes is listed as %+v", a)
	}
	var b bytes.Buffer
	f.Index.PrintModel(&b)
	if err := f.Index.PrintOperands(&b, true); err != nil {
		t.Fatal(err)
	}
	if err := f.Index.PrintParameters(&b); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"sample-model layers=-3 eps=1e-05", "layer.1", "N2 K2 K8 N8 K8 N4", "K=70→128 N=40→64", "split.0, split.1"} {
		if !bytes.Contains(b.Bytes(), []byte(word)) {
			t.Errorf("%q is not in what is printed:\n%s", word, b.Bytes())
		}
	}
}
