package diff

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/schema/pyreader"
)

func TestMain(m *testing.M) { os.Exit(pyreader.Compared(m, artifact.Open).Run()) }

// spec is an artifact of matrices [rows, 8], each an operand and a parameter of its own.
type spec struct {
	recipe string
	page   uint64
	stream []byte // of a segment of instructions
	folded string // the name of a parameter that the first operand absorbed; empty: none
	list   []matrix
}

type matrix struct {
	name, layout string
	format       element.Format
	values       []float32
}

func (s *spec) write(t *testing.T) *artifact.File {
	t.Helper()
	page := max(s.page, 4096)
	x := &artifact.Index{
		Producer: artifact.Producer{Name: "test", Recipe: s.recipe},
		Model:    artifact.Model{Family: "none", Attributes: []artifact.Attribute{{Name: "sizes", Integer: int64(len(s.list))}}},
	}
	var data [][]byte
	at := uint64(0)
	for i, m := range s.list {
		o, b := m.pack(t, i)
		o.Offset = (at + 255) / 256 * 256
		at = o.Offset + o.Bytes
		x.Operands = append(x.Operands, o)
		x.Parameters = append(x.Parameters, artifact.Parameter{Name: m.name, Axes: "NK", Shape: []uint64{o.Layout.Axes[0].Extent, 8}})
		data = append(data, b)
	}
	if s.folded != "" {
		x.Notes = []artifact.Note{{Kind: artifact.Folded, Parameter: len(x.Parameters)}}
		x.Parameters = append(x.Parameters, artifact.Parameter{Name: s.folded, Axes: "K", Shape: []uint64{8}})
	}
	whole := func(n uint64) uint64 { return (n + page - 1) / page * page }
	x.Segments = []artifact.Segment{{Name: "all", MemoryGroup: artifact.NoGroup, Offset: page, Bytes: whole(at)}}
	if s.stream != nil {
		x.Segments = append(x.Segments, artifact.Segment{
			Name: "code", Kind: artifact.Instructions, MemoryGroup: artifact.NoGroup, Offset: page + whole(at), Bytes: page,
		})
	}
	path := filepath.Join(pyreader.TempDir(t), "x.npuw")
	w, err := artifact.Create(path, x, page, false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for i, b := range data {
		if _, err := w.WriteAt(b, int64(page+x.Operands[i].Offset)); err != nil {
			t.Fatal(err)
		}
	}
	if s.stream != nil {
		if _, err := w.WriteAt(s.stream, int64(x.Segments[1].Offset)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	f, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// pack packs the matrix as parameter i.
func (m *matrix) pack(t *testing.T, i int) (artifact.Operand, []byte) {
	t.Helper()
	rows := uint64(len(m.values) / 8)
	l, err := layout.Parse(m.layout)
	if err != nil {
		t.Fatal(err)
	}
	resolved, err := l.Resolve([]layout.Axis{{Name: 'N', Extent: rows}, {Name: 'K', Extent: 8}})
	if err != nil {
		t.Fatal(err)
	}
	size := m.format.Size()
	o := artifact.Operand{Name: m.name, Format: m.format, Layout: resolved, Bytes: resolved.Elements() * uint64(size)}
	o.Statistics.Elements = rows * 8
	o.Placements = []artifact.Placement{{
		Parameter: i, Scale: 1, To: []uint64{0, 0},
		From: []artifact.PlacedAxis{{Size: rows, Step: 1, Axis: 0}, {Size: 8, Step: 1, Axis: 1}},
	}}
	encoded, packed := make([]byte, len(m.values)*size), make([]byte, o.Bytes)
	if err := element.Encode(encoded, m.values, m.format); err != nil {
		t.Fatal(err)
	}
	if err := resolved.Pack(packed, encoded, []int64{8, 1}, size, nil); err != nil {
		t.Fatal(err)
	}
	return o, packed
}

// numbers are n values that every element format holds.
func numbers(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i%13 - 6)
	}
	return v
}

func changed(v []float32, at int, to float32) []float32 {
	v = slices.Clone(v)
	v[at] = to
	return v
}

func compare(t *testing.T, a, b *artifact.File) *Report {
	t.Helper()
	r, err := Compare(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	return r
}

// fields are the names of what differs.
func fields(list []Field) string {
	var names []string
	for _, f := range list {
		names = append(names, f.Name)
	}
	return strings.Join(names, " ")
}

var plain = spec{recipe: "r", stream: []byte{1, 2, 3}, list: []matrix{
	{"a", "N* K*", element.F32, numbers(64)},
	{"b", "N* K*", element.BF16, numbers(40)},
}}

func TestSame(t *testing.T) {
	t.Parallel()
	r := compare(t, plain.write(t), plain.write(t))
	if !r.Same || !r.SameValues || r.Operands.Both != 2 || r.Parameters.Both != 2 || r.Segments.Both != 2 {
		t.Errorf("%+v", r)
	}
}

// The same values in other layouts, element formats and pages.
func TestStoredInAnotherWay(t *testing.T) {
	t.Parallel()
	other := spec{recipe: "other", page: 16384, stream: plain.stream, list: []matrix{
		{"a", "K* N* N4", element.F32, numbers(64)},
		{"b", "N* K*", element.F16, numbers(40)},
	}}
	r := compare(t, plain.write(t), other.write(t))
	if r.Same || !r.SameValues || len(r.Parameters.Differs) != 0 || len(r.Operands.Differs) != 2 {
		t.Fatalf("%+v", r)
	}
	for i, want := range []string{"layout", "format"} {
		e := &r.Operands.Differs[i]
		if fields(e.Fields) != want || e.Values == nil || !e.Values.Same || e.In != Both {
			t.Errorf("%+v, want that %s differs alone", e, want)
		}
	}
	if got := fields(r.File); !strings.Contains(got, "page_bytes") || !strings.Contains(got, "recipe") || strings.Contains(got, "family") {
		t.Errorf("of the file: %s", got)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	base := numbers(64)
	norm := 0.0
	for _, x := range base {
		norm += float64(x * x)
	}
	for _, x := range []struct {
		name   string
		a, b   []float32
		want   Values
		within float64
	}{
		{name: "one by a half", a: base, b: changed(base, 9, base[9]+0.5), want: Values{Different: 1, MaxAbs: 0.5, RelativeL2: 0.5 / math.Sqrt(norm)}},
		{name: "of the other sign", a: base, b: scaled(base, -1), want: Values{Different: 59, MaxAbs: 12, RelativeL2: 2, Cosine: -1}},
		{name: "twice as large", a: base, b: scaled(base, 2), want: Values{Different: 59, MaxAbs: 6, RelativeL2: 1, Cosine: 1}},
		{name: "from zeros", a: make([]float32, 64), b: base, want: Values{Different: 59, MaxAbs: 6, RelativeL2: -1}},
		{name: "to zeros", a: base, b: make([]float32, 64), want: Values{Different: 59, MaxAbs: 6, RelativeL2: 1}},
		{name: "-0", a: make([]float32, 64), b: scaled(make([]float32, 64), float32(math.Copysign(0, -1))), want: Values{Same: true, Cosine: 1}},
		{name: "NaN in both", a: changed(base, 3, nan), b: changed(base, 3, nan), want: Values{Same: true, Cosine: 1}},
		{name: "NaN in one", a: base, b: changed(base, 3, nan), want: Values{Different: 1, NotFinite: 1, Cosine: 1}},
		{name: "infinities", a: changed(base, 3, inf), b: changed(base, 3, -inf), want: Values{Different: 1, NotFinite: 1, Cosine: 1}},
		{name: "infinity in both", a: changed(base, 3, inf), b: changed(base, 3, inf), want: Values{Same: true, Cosine: 1}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			a := spec{list: []matrix{{"a", "N* K*", element.F32, x.a}}}
			b := spec{list: []matrix{{"a", "K* N*", element.F32, x.b}}}
			r := compare(t, a.write(t), b.write(t))
			e := r.Operands.Differs[0]
			got := *e.Values
			x.want.Elements = 64
			if x.name == "one by a half" {
				x.want.Cosine = got.Cosine
			}
			near := func(a, b float64) bool { return math.Abs(a-b) < 1e-12 }
			if !near(got.RelativeL2, x.want.RelativeL2) || !near(got.Cosine, x.want.Cosine) {
				t.Errorf("relative L2 %v, cosine %v, want %v and %v", got.RelativeL2, got.Cosine, x.want.RelativeL2, x.want.Cosine)
			}
			got.RelativeL2, got.Cosine = x.want.RelativeL2, x.want.Cosine
			if got != x.want || r.SameValues != x.want.Same {
				t.Errorf("%+v, want %+v; same values: %t", got, x.want, r.SameValues)
			}
			if !x.want.Same && (len(r.Parameters.Differs) != 1 || *r.Parameters.Differs[0].Values != *e.Values) {
				t.Errorf("of the parameter: %+v", r.Parameters.Differs)
			}
		})
	}
}

func scaled(v []float32, by float32) []float32 {
	v = slices.Clone(v)
	for i := range v {
		v[i] *= by
	}
	return v
}

// What only one has, another shape, and other instructions.
func TestEntries(t *testing.T) {
	t.Parallel()
	b := spec{recipe: "r", stream: []byte{1, 2, 4}, list: []matrix{
		{"b", "N* K*", element.BF16, numbers(48)},
		{"c", "N* K*", element.F32, numbers(64)},
	}}
	r := compare(t, plain.write(t), b.write(t))
	var got []string
	for _, l := range []Entries{r.Operands, r.Parameters} {
		for _, e := range l.Differs {
			got = append(got, e.Name+" "+e.In.String())
		}
	}
	want := []string{"a only in A", "b in both", "c only in B"}
	if !slices.Equal(got, append(want, want...)) {
		t.Errorf("%q, want %q twice", got, want)
	}
	if v := r.Parameters.Differs[1].Values; v.Same || !strings.Contains(v.Why, "shapes") {
		t.Errorf("of another shape: %+v", v)
	}
	code := r.Segments.Differs[slices.IndexFunc(r.Segments.Differs, func(e Entry) bool { return e.Name == "code" })]
	if !strings.Contains(fields(code.Fields), "data") {
		t.Errorf("other instructions: %+v", code)
	}
}

// A parameter that was folded into others cannot be recovered: it is the same where what absorbed it is, and else nobody knows.
func TestFolded(t *testing.T) {
	t.Parallel()
	a, b := plain, plain
	a.folded, b.folded = "gamma", "gamma"
	if r := compare(t, a.write(t), b.write(t)); !r.Same || r.Parameters.Both != 3 {
		t.Errorf("in the same bytes: %+v", r)
	}
	b.list = []matrix{{"a", "K* N*", element.F32, numbers(64)}, plain.list[1]}
	r := compare(t, a.write(t), b.write(t))
	if r.SameValues || len(r.Parameters.Differs) != 1 || r.Parameters.Differs[0].Name != "gamma" || !strings.Contains(r.Parameters.Differs[0].Values.Why, "folded") {
		t.Errorf("in other bytes: %+v", r.Parameters)
	}
	var out bytes.Buffer
	if err := r.Print(&out, true); err != nil || !strings.Contains(out.String(), "gamma       ?") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Bytes that are not what the digest says are seen: both files have the same header and index.
func TestDamagedData(t *testing.T) {
	t.Parallel()
	a, b := plain.write(t), plain.write(t)
	pyreader.Damage(t, b.Path)
	f, err := os.OpenFile(b.Path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{0xff, 0x7f}, 4096+256) // of b, a NaN
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	r := compare(t, a, b)
	if r.Same || r.SameValues || len(r.File) != 0 || len(r.Operands.Differs) != 1 || r.Operands.Differs[0].Values.Different != 1 {
		t.Errorf("%+v", r)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	a, b := plain.write(t), plain.write(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, a, b); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	pyreader.Damage(t, b.Path)
	if err := os.Truncate(b.Path, 4100); err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]*artifact.File{{a, b}, {b, a}} {
		_, err := Compare(t.Context(), pair[0], pair[1])
		var fault *artifact.Error
		if !errors.Is(err, artifact.ErrTruncated) || !errors.As(err, &fault) || fault.File != b.Path {
			t.Errorf("truncated: %v", err)
		}
	}
	other := spec{list: []matrix{{"a", "K* N*", element.F32, numbers(64)}, plain.list[1]}} // read as values
	if _, err := Compare(t.Context(), other.write(t), b); !errors.Is(err, artifact.ErrTruncated) {
		t.Errorf("truncated under its values: %v", err)
	}
}

// A print begins with the verdict, and has the worst first, and no more of them than are asked for.
func TestPrint(t *testing.T) {
	t.Parallel()
	var a, b spec
	for i := range 25 {
		name := string(rune('a' + i))
		a.list = append(a.list, matrix{name, "N* K*", element.F32, numbers(8)})
		b.list = append(b.list, matrix{name, "N* K*", element.F32, changed(numbers(8), 0, -6+float32(i)/64)})
	}
	r := compare(t, a.write(t), b.write(t))
	var short, all bytes.Buffer
	if err := errors.Join(r.Print(&short, false), r.Print(&all, true)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(short.String(), "\n")
	if lines[2] != "different: of 25 parameters in both, 24 have other values" {
		t.Errorf("the verdict: %s", lines[2])
	}
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "parameters  ") })
	if at < 0 || !strings.HasPrefix(lines[at+1], "y  ") || !strings.HasPrefix(lines[at+Worst], "p  ") || lines[at+Worst+1] != "and 14 more; --all shows them" {
		t.Errorf("the worst:\n%s", &short)
	}
	if n := strings.Count(all.String(), "1 of 8"); n != 2*24 {
		t.Errorf("with all, %d lines:\n%s", n, &all)
	}
	for l := range strings.Lines(all.String()) {
		if strings.HasSuffix(l, " \n") {
			t.Errorf("space at the end of %q", l)
		}
	}
}
