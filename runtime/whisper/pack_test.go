package whisper

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/artifact/plane/planetest"
	"npuw/schema/pyreader"
)

// operand is an operand to be packed by packNetwork.
type operand struct {
	name   string
	format element.Format
	layout string
	axes   []layout.Axis
	places []placing
	fills  []artifact.Fill

	form   *planetest.Form // how it lies, instead of format and layout
	values []float32       // what it holds, instead of what places and fills say; row-major

	folded  []string              // parameters that a note names
	derived map[string]*parameter // what is placed, instead of the parameters themselves
}

// placing places all of a parameter.
type placing struct {
	name  string
	scale float64
	to    []uint64 // an entry an axis of the operand
	axis  []int    // of the operand, for each of the parameter
	step  []uint64 // nil: ones
}

// plain is the recipe from which others are made: every parameter an operand of its own, matrices [K,N], convolutions [K,N].
func plain(n *network, f element.Format) []operand {
	var list []operand
	for _, name := range n.names {
		p := n.parameters[name]
		o := operand{name: name, format: f}
		switch p.axes {
		case "NCX":
			o.axes, o.layout = axes("KN", p.shape[1]*3, p.shape[0]), "N* K* N4"
			o.places = []placing{{name, 1, []uint64{0, 0}, []int{1, 0, 0}, []uint64{1, 3, 1}}}
		case "NK":
			o.axes, o.layout = axes("KN", p.shape[1], p.shape[0]), "N* K* K8 N8 K8 N4"
			o.places = []placing{{name, 1, []uint64{0, 0}, []int{1, 0}, nil}}
		default:
			o.axes = axes(p.axes, p.shape...)
			o.layout = map[string]string{"N": "N* N32", "PN": "P* N*"}[p.axes]
			o.places = []placing{{name, 1, make([]uint64, len(p.shape)), []int{0, 1}[:len(p.shape)], nil}}
		}
		list = append(list, o)
	}
	return list
}

func axes(names string, sizes ...uint64) []layout.Axis {
	var list []layout.Axis
	for i, s := range sizes {
		list = append(list, layout.Axis{Name: names[i], Extent: s})
	}
	return list
}

// without leaves the operands of some parameters out: those whose names end in one of the endings.
func without(list []operand, endings ...string) []operand {
	return slices.DeleteFunc(slices.Clone(list), func(o operand) bool {
		return slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(o.name, e) })
	})
}

// fold replaces the operands of linear layers by one: their weights side by side along N, and, with row, their biases as the row of
// K under them. name is the new operand's; scales are those of each member.
func fold(n *network, list []operand, name string, row bool, scales []float64, members ...string) []operand {
	k := n.parameters[members[0]+".weight"].shape[1]
	o := operand{name: name, format: list[0].format, layout: "N* K* K8 N8 K8 N4"}
	rows, col := k, uint64(0)
	if row {
		rows++
	}
	for i, m := range members {
		w, bias := n.parameters[m+".weight"], n.parameters[m+".bias"]
		o.places = append(o.places, placing{m + ".weight", scales[i], []uint64{0, col}, []int{1, 0}, nil})
		list = without(list, m+".weight")
		switch {
		case row && bias != nil:
			o.places = append(o.places, placing{m + ".bias", scales[i], []uint64{k, col}, []int{1}, nil})
			list = without(list, m+".bias")
		case row:
			o.fills = append(o.fills, artifact.Fill{Begin: []uint64{k, col}, Size: []uint64{1, w.shape[0]}})
		case bias != nil:
			for j := range list {
				if list[j].name == m+".bias" {
					list[j].places = []placing{{m + ".bias", scales[i], []uint64{0}, []int{0}, nil}}
				}
			}
		}
		col += w.shape[0]
	}
	o.axes = axes("KN", rows, col)
	return append(list, o)
}

// transposed gives [K,N] as [N,K].
func (o operand) transposed(notation string) operand {
	o.layout = notation
	o.axes = []layout.Axis{o.axes[1], o.axes[0]}
	o.places = slices.Clone(o.places)
	for i := range o.places {
		p := &o.places[i]
		p.to = []uint64{p.to[1], p.to[0]}
		p.axis = slices.Clone(p.axis)
		for j := range p.axis {
			p.axis[j] = 1 - p.axis[j]
		}
	}
	return o
}

// packNetwork writes an artifact, after edit has been at its index, and returns its path.
func packNetwork(t testing.TB, n *network, list []operand, edit func(*artifact.Index)) string {
	t.Helper()
	x := &artifact.Index{
		Producer: artifact.Producer{Name: "test", Recipe: "test"},
		Model: artifact.Model{Family: Family, Attributes: []artifact.Attribute{
			{Name: "layers", Integer: int64(n.Layers)},
			{Name: "d_model", Integer: int64(n.DModel)},
			{Name: "heads", Integer: int64(n.Heads)},
			{Name: "ffn", Integer: int64(n.FFN)},
			{Name: "mels", Integer: int64(n.Mels)},
			{Name: "positions", Integer: int64(n.Positions)},
			{Name: "eps", Kind: artifact.Real, Real: n.Eps},
		}},
	}
	numbers := map[string]int{}
	for i, name := range n.names {
		p := n.parameters[name]
		numbers[name] = i
		x.Parameters = append(x.Parameters, artifact.Parameter{Name: name, Axes: p.axes, Shape: p.shape})
	}
	const page = 4096
	at := uint64(0)
	var data [][]byte
	for i, o := range list {
		operand, packed := packOperand(t, n, &o, numbers)
		for _, name := range o.folded {
			x.Notes = append(x.Notes, artifact.Note{Kind: artifact.Folded, Parameter: numbers[name], Operand: i})
		}
		operand.Offset = (at + 255) / 256 * 256
		at = operand.Offset + operand.Bytes
		x.Operands = append(x.Operands, operand)
		data = append(data, packed)
	}
	x.Segments = []artifact.Segment{{Name: "all", MemoryGroup: artifact.NoGroup, Offset: page, Bytes: (at + page - 1) / page * page}}
	if edit != nil {
		edit(x)
	}
	path := filepath.Join(pyreader.TempDir(t), "test.npuw")
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
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return path
}

func packOperand(t testing.TB, n *network, o *operand, numbers map[string]int) (artifact.Operand, []byte) {
	t.Helper()
	s := o.storage(t)
	first := &s.Planes[0]
	out := artifact.Operand{
		Name: o.name, Encoding: s.Encoding, Format: first.Format, Layout: first.Layout, PadBits: first.PadBits, Bytes: s.Bytes, Fills: o.fills,
	}
	if s.Encoding != plane.Plain {
		out.Planes = s.Planes
	}
	out.Statistics.Elements = out.Elements()
	values := o.hold(n, &out, numbers)
	packed, err := planetest.Encode(&s, values)
	if err != nil {
		t.Fatal(err)
	}
	return out, packed
}

func (o *operand) storage(t testing.TB) plane.Storage {
	t.Helper()
	form := planetest.Form{Format: o.format, Layout: o.layout}
	if o.form != nil {
		form = *o.form
	}
	s, err := form.Storage(o.axes)
	if err != nil {
		t.Fatalf("operand %q, %+v: %v", o.name, form, err)
	}
	return s
}

// hold gives what an operand holds, row-major, and adds its placements to out.
func (o *operand) hold(n *network, out *artifact.Operand, numbers map[string]int) []float32 {
	strides, total := make([]int64, len(o.axes)), uint64(1)
	for i := len(strides) - 1; i >= 0; i-- {
		strides[i] = int64(total)
		total *= o.axes[i].Extent
	}
	values := make([]float32, total)
	for _, f := range o.fills {
		fill(values, strides, f.Begin, f.Size, float32(f.Value))
	}
	for _, p := range o.places {
		q := o.derived[p.name]
		if q == nil {
			q = n.parameters[p.name]
		}
		placement := p.place(q, numbers[p.name], strides, values)
		if _, known := numbers[p.name]; known { // what a folded LayerNorm adds may be no parameter
			out.Placements = append(out.Placements, placement)
		}
	}
	if o.values != nil {
		return o.values
	}
	return values
}

// fill writes a value into a box of the values of an operand.
func fill(values []float32, strides []int64, begin, size []uint64, v float32) {
	if len(size) == 0 {
		values[0] = v
		return
	}
	for i := range size[0] {
		fill(values[int64(begin[0]+i)*strides[0]:], strides[1:], begin[1:], size[1:], v)
	}
}

// place writes a parameter into the values of an operand, and gives the placement that says so.
func (p placing) place(q *parameter, number int, strides []int64, values []float32) artifact.Placement {
	out := artifact.Placement{Parameter: number, Scale: p.scale, To: p.to}
	for j, s := range q.shape {
		step := uint64(1)
		if p.step != nil {
			step = p.step[j]
		}
		out.From = append(out.From, artifact.PlacedAxis{Size: s, Step: step, Axis: p.axis[j]})
	}
	base := int64(0)
	for i, s := range strides {
		base += int64(p.to[i]) * s
	}
	for i, v := range q.values {
		at, rest := base, uint64(i)
		for j := len(q.shape) - 1; j >= 0; j-- {
			at += int64(rest%q.shape[j]*out.From[j].Step) * strides[p.axis[j]]
			rest /= q.shape[j]
		}
		values[at] = float32(v * p.scale)
	}
	return out
}
