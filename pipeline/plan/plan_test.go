package plan

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
)

// matrices is a model of n linear weights w0, w1... of the given shape and a bias for each, in layers.
func matrices(n int, shape ...uint64) *model.Model {
	m := &model.Model{Family: "test", Attributes: []model.Attribute{{Name: "layers", Int: int64(n)}, {Name: "eps", Real: 1e-5, IsReal: true}}}
	for i := range n {
		m.Parameters = append(m.Parameters,
			model.Parameter{Name: fmt.Sprintf("layers.%d.w", i), Axes: "NK", Shape: shape},
			model.Parameter{Name: fmt.Sprintf("layers.%d.b", i), Axes: "N", Shape: shape[:1]})
	}
	return m
}

// parse makes a recipe: weights in segments of their own layer, biases in the given one.
func parse(t *testing.T, pageBytes int, biasSegment string) *recipe.Recipe {
	t.Helper()
	text := fmt.Sprintf(`
name: "test/x"
page_bytes: %d
operand { parameter: "layers.{i}.w" segment: "layer {i}" format: BF16 layout: "N* K* K8 N8 K8 N4" pad_value: 1 }
operand { parameter: "layers.{i}.b" segment: "%s" format: F32 layout: "N*" }
`, pageBytes, biasSegment)
	r, err := recipe.Parse("x.txtpb", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The plan of a small model, written out.
func TestNew(t *testing.T) {
	t.Parallel()
	m := matrices(2, 20, 70) // padded to N 32, K 128
	p, err := New(m, parse(t, 16384, "layer {i}"))
	if err != nil {
		t.Fatal(err)
	}
	if p.PageBytes != 16384 || p.Model != m {
		t.Errorf("pages of %d, model %p", p.PageBytes, p.Model)
	}
	want := &artifact.Index{
		Producer: artifact.Producer{Name: "npuw", Revision: Revision, Recipe: "test/x"},
		Model: artifact.Model{Family: "test", Attributes: []artifact.Attribute{
			{Name: "layers", Integer: 2}, {Name: "eps", Kind: artifact.Real, Real: 1e-5},
		}},
		Segments: []artifact.Segment{
			{Name: "layer 0", MemoryGroup: artifact.NoGroup, Offset: 16384, Bytes: 16384},
			{Name: "layer 1", MemoryGroup: artifact.NoGroup, Offset: 32768, Bytes: 16384},
		},
		Parameters: []artifact.Parameter{
			{Name: "layers.0.w", Axes: "NK", Shape: []uint64{20, 70}},
			{Name: "layers.0.b", Axes: "N", Shape: []uint64{20}},
			{Name: "layers.1.w", Axes: "NK", Shape: []uint64{20, 70}},
			{Name: "layers.1.b", Axes: "N", Shape: []uint64{20}},
		},
	}
	for i := range p.Operands {
		o := &p.Operands[i]
		e := artifact.Operand{
			Name: m.Parameters[i].Name, Segment: i / 2, Bytes: 32 * 128 * 2,
			Format: o.Format, Layout: o.Layout, PadBits: o.PadBits, Placements: o.Placements,
		}
		if i%2 == 1 {
			e.Offset, e.Bytes = 8192, 80
		}
		want.Operands = append(want.Operands, e)
	}
	if diff := cmp.Diff(want, p.Index); diff != "" {
		t.Error(diff)
	}
	if o := p.Operands[2]; o.Name != "layers.1.w" || o.Format != element.BF16 || o.PadBits != 0x3f80 {
		t.Errorf("operand 2 is %+v", o)
	}
	if p.DataBytes() != 32768 || p.OperandBytes() != 2*(8192+80) {
		t.Errorf("%d bytes of data, %d of operands", p.DataBytes(), p.OperandBytes())
	}
}

// A segment's operands need not follow each other in the model: they are gathered, in order.
func TestSegmentsAreGathered(t *testing.T) {
	t.Parallel()
	p, err := New(matrices(3, 20, 70), parse(t, 4096, "biases"))
	if err != nil {
		t.Fatal(err)
	}
	var segments, operands []string
	for _, s := range p.Index.Segments {
		segments = append(segments, s.Name)
	}
	for i, o := range p.Index.Operands {
		operands = append(operands, fmt.Sprintf("%d+%d %s", o.Segment, o.Offset, o.Name))
		if p.Operands[i].Name != o.Name {
			t.Errorf("operand %d is %s in the plan and %s in the index", i, p.Operands[i].Name, o.Name)
		}
	}
	if diff := cmp.Diff([]string{"layer 0", "biases", "layer 1", "layer 2"}, segments); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"0+0 layers.0.w", "1+0 layers.0.b", "1+256 layers.1.b", "1+512 layers.2.b", "2+0 layers.1.w", "3+0 layers.2.w",
	}
	if diff := cmp.Diff(want, operands); diff != "" {
		t.Error(diff)
	}
}

// TestNotes: what is folded into an operand is noted, each parameter once.
func TestNotes(t *testing.T) {
	t.Parallel()
	r, err := recipe.Parse("x.txtpb", []byte(`name: "test/folded"
operand {
  name: "layers.{i}" segment: "s" format: BF16 axes: "KN" layout: "K* N*" bias_row: "K" along: "N"
  part { parameter: "layers.{i}.w" bias: "layers.{i}.b" fold { gamma: "norm.weight" beta: "norm.bias" } }
  part { parameter: "layers.{i}.v" fold { beta: "norm.bias" } }
}`))
	if err != nil {
		t.Fatal(err)
	}
	m := matrices(2, 3, 4)
	m.Parameters = append(m.Parameters,
		model.Parameter{Name: "layers.0.v", Axes: "NK", Shape: []uint64{3, 4}},
		model.Parameter{Name: "layers.1.v", Axes: "NK", Shape: []uint64{3, 4}},
		model.Parameter{Name: "norm.weight", Axes: "N", Shape: []uint64{4}},
		model.Parameter{Name: "norm.bias", Axes: "N", Shape: []uint64{4}})
	p, err := New(m, r)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range p.Index.Notes {
		got = append(got, fmt.Sprintf("%s into %s", m.Parameters[n.Parameter].Name, p.Index.Operands[n.Operand].Name))
	}
	want := []string{
		"layers.0.w into layers.0", "norm.weight into layers.0", "layers.0.b into layers.0", "norm.bias into layers.0", "layers.0.v into layers.0",
		"layers.1.w into layers.1", "norm.weight into layers.1", "layers.1.b into layers.1", "norm.bias into layers.1", "layers.1.v into layers.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The same model and recipe give the same plan, and neither is changed.
func TestPure(t *testing.T) {
	t.Parallel()
	for _, r := range append(recipe.BuiltinsFor("whisper-encoder"), parse(t, 65536, "biases")) {
		m, again := encoder(), encoder()
		if r.Family == "test" {
			m, again = matrices(3, 33, 129), matrices(3, 33, 129)
		}
		var plans []*Plan
		for range 2 {
			p, err := New(m, r)
			if err != nil {
				t.Fatal(err)
			}
			plans = append(plans, p)
		}
		if diff := cmp.Diff(plans[0], plans[1]); diff != "" {
			t.Errorf("%s: %s", r.Name, diff)
		}
		if diff := cmp.Diff(again, m); diff != "" {
			t.Errorf("%s changed the model: %s", r.Name, diff)
		}
	}
}

// encoder is a small Whisper encoder of odd sizes, in F32.
func encoder() *model.Model {
	m := &model.Model{Family: "whisper-encoder", Attributes: []model.Attribute{{Name: "d_model", Int: 36}, {Name: "heads", Int: 3}}}
	add := func(name, axes string, shape ...uint64) {
		m.Parameters = append(m.Parameters, model.Parameter{Name: "encoder." + name, Axes: axes, Shape: shape, Tensor: source.Tensor{Type: element.F32}})
	}
	norm := func(name string) {
		add(name+".weight", "N", 36)
		add(name+".bias", "N", 36)
	}
	for i, c := range []uint64{7, 36} {
		add(fmt.Sprintf("conv%d.weight", i+1), "NCX", 36, c, 3)
		add(fmt.Sprintf("conv%d.bias", i+1), "N", 36)
	}
	add("embed_positions.weight", "PN", 11, 36)
	for i := range 2 {
		layer := fmt.Sprintf("layers.%d.", i)
		for _, p := range []string{"q", "k", "v", "out"} {
			add(layer+"self_attn."+p+"_proj.weight", "NK", 36, 36)
			if p != "k" {
				add(layer+"self_attn."+p+"_proj.bias", "N", 36)
			}
		}
		norm(layer + "self_attn_layer_norm")
		add(layer+"fc1.weight", "NK", 100, 36)
		add(layer+"fc1.bias", "N", 100)
		add(layer+"fc2.weight", "NK", 36, 100)
		add(layer+"fc2.bias", "N", 36)
		norm(layer + "final_layer_norm")
	}
	norm("layer_norm")
	return m
}

// Whatever the recipe and the page size: segments are whole pages, one behind the other; operands lie inside, in order,
// aligned, and do not overlap.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, b := range recipe.BuiltinsFor("whisper-encoder") {
		text, err := recipe.BuiltinText(b.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range []uint64{4096, 16384, 65536} {
			r, err := recipe.Parse("x.txtpb", fmt.Appendf(nil, "page_bytes: %d\n%s", page, text))
			if err != nil {
				t.Fatal(err)
			}
			p, err := New(encoder(), r)
			if err != nil {
				t.Fatal(err)
			}
			checkPlaces(t, p, page)
		}
	}
}

func checkPlaces(t *testing.T, p *Plan, page uint64) {
	t.Helper()
	at := page
	for _, s := range p.Index.Segments {
		if s.Offset != at || s.Bytes == 0 || s.Bytes%page != 0 {
			t.Errorf("segment %s: %d bytes at %d, expected whole pages of %d at %d", s.Name, s.Bytes, s.Offset, page, at)
		}
		at += s.Bytes
	}
	if p.DataBytes() != at-page {
		t.Errorf("%d bytes of data, expected %d", p.DataBytes(), at-page)
	}
	segment, end := 0, uint64(0)
	for i, o := range p.Index.Operands {
		if o.Segment != segment {
			if o.Segment != segment+1 || p.Index.Segments[segment].Bytes-end >= page {
				t.Errorf("operand %s in segment %d; segment %d ended at %d of %d", o.Name, o.Segment, segment, end, p.Index.Segments[segment].Bytes)
			}
			segment, end = o.Segment, 0
		}
		if s := o.Storage(); s.Validate() != nil || o.Offset%256 != 0 || o.Offset < end || o.Offset >= end+256 {
			t.Errorf("operand %s: %d bytes at %d, behind one that ends at %d; %v", o.Name, o.Bytes, o.Offset, end, s.Validate())
		}
		end = o.Offset + o.Bytes
		if end > p.Index.Segments[segment].Bytes {
			t.Errorf("operand %s ends at %d of a segment of %d", o.Name, end, p.Index.Segments[segment].Bytes)
		}
		if o.Name != p.Operands[i].Name {
			t.Errorf("operand %s is %s in the plan", o.Name, p.Operands[i].Name)
		}
	}
	if segment != len(p.Index.Segments)-1 {
		t.Errorf("the last %d segments hold nothing", len(p.Index.Segments)-1-segment)
	}
}

// Sizes that would overflow are refused by name.
func TestRefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name    string
		model   *model.Model
		biases  string
		want    []string
		allowed bool
	}{
		{"the largest operand", matrices(1, 1<<22, 1<<23), "biases", nil, true},
		{"an operand", matrices(1, 1<<22, 1<<24), "biases", []string{`operand "layers.0.w"`, `segment "layer 0"`}, false},
		{"an operand of more than 2^64 bytes", matrices(1, 1<<31, 1<<31), "biases", []string{`operand "layers.0.w"`, `segment "layer 0"`}, false},
		{"a segment", matrices(1, 1<<22, 1<<23), "layer {i}", []string{`operand "layers.0.b"`, `segment "layer 0"`}, false},
		{"an artifact", matrices(17, 1<<22, 1<<23), "biases", []string{`segment "layer 15"`, "artifact"}, false},
	} {
		p, err := New(x.model, parse(t, 4096, x.biases))
		if x.allowed {
			if err != nil || p.DataBytes() < 1<<46 {
				t.Errorf("%s: %v", x.name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s is planned: %d bytes", x.name, p.DataBytes())
			continue
		}
		for _, part := range x.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, expected %q in it", x.name, err, part)
			}
		}
	}
}

func TestRefusesAnotherFamily(t *testing.T) {
	t.Parallel()
	if _, err := New(encoder(), parse(t, 4096, "biases")); err == nil || !strings.Contains(err.Error(), "whisper-encoder") {
		t.Errorf("%v, expected that the recipe is not for the model", err)
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	p, err := New(matrices(1, 20, 70), parse(t, 4096, "layer {i}"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Print(&b); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"model test layers=1 eps=1e-05",
		fmt.Sprintf("recipe test/x (written by npuw, revision %d)", Revision),
		"operand offset bytes format layout shape",
		"layer 0 (segment 1 of 1) 4096 12288",
		"layers.0.w +0 8192 bf16 N1 K2 K8 N8 K8 N4 N=20→32 K=70→128",
		"layers.0.b +8192 80 f32 N20 N=20",
		"2 operands in 1 segment, 12288 bytes of data",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// A plan tells which operands keep the source's codes.
func TestKept(t *testing.T) {
	t.Parallel()
	m := matrices(2, 20, 64)
	for i := range m.Parameters {
		m.Parameters[i].Tensor.Type = element.F32
	}
	w := &m.Parameters[2]
	w.Perm, w.Tensor.Shape = []int{1, 0}, []uint64{64, 20}
	w.Tensor.Codes = &source.Codes{
		Scheme: element.Scheme{Codes: element.I4, Scales: element.F16}, Block: []uint64{32, 1},
		Blocks: struct{ source.BlockReader }{},
	}
	r, err := recipe.Parse("x.txtpb", []byte(`name: "test/x"
operand { parameter: "layers.{i}.w" segment: "all" format: SOURCE layout: "K* N* N2" axes: "KN" }
operand { parameter: "layers.{i}.b" segment: "all" format: SOURCE layout: "N*" }`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(m, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"layers.1.w"}, p.Kept()); diff != "" {
		t.Error(diff)
	}
	var b bytes.Buffer
	if err := p.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"i4*f16", "\nkept as the source has them: codes and scales of 1 operands\n"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q is not in\n%s", part, b.String())
		}
	}
}

// Streams of instructions come behind the weights, whole pages each, and the same one once.
func TestAddStream(t *testing.T) {
	t.Parallel()
	p, err := New(matrices(2, 20, 70), parse(t, 4096, "layer {i}"))
	if err != nil {
		t.Fatal(err)
	}
	weights := len(p.Index.Segments)
	end := p.PageBytes + p.DataBytes()
	long, short := bytes.Repeat([]byte{1, 2, 3, 4}, 1025), []byte{5, 6, 7, 8}
	for i, want := range []int{weights, weights + 1, weights, weights + 1} {
		if got := p.AddStream(fmt.Sprint("stream ", i), [][]byte{long, short}[i%2]); got != want {
			t.Errorf("stream %d is segment %d, want %d", i, got, want)
		}
	}
	want := []artifact.Segment{
		{Name: "stream 0", Kind: artifact.Instructions, MemoryGroup: artifact.NoGroup, Offset: end, Bytes: 8192},
		{Name: "stream 1", Kind: artifact.Instructions, MemoryGroup: artifact.NoGroup, Offset: end + 8192, Bytes: 4096},
	}
	if diff := cmp.Diff(want, p.Index.Segments[weights:]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[int][]byte{weights: long, weights + 1: short}, p.Streams); diff != "" {
		t.Error(diff)
	}
}
