package pack

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/model"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
)

// assembled plans operands made by hand: all in one segment, one behind the other.
func assembled(m *model.Model, operands ...recipe.Operand) *plan.Plan {
	p := &plan.Plan{Model: m, PageBytes: 4096, Operands: operands, Index: &artifact.Index{
		Producer: artifact.Producer{Name: "npuw"}, Model: artifact.Model{Family: m.Family},
		Segments: []artifact.Segment{{Name: "s", MemoryGroup: artifact.NoGroup, Offset: 4096}},
	}}
	x := p.Index
	for _, q := range m.Parameters {
		x.Parameters = append(x.Parameters, artifact.Parameter{Name: q.Name, Axes: q.Axes, Shape: q.Shape})
	}
	end := uint64(0)
	for i := range operands {
		o := &operands[i]
		x.Operands = append(x.Operands, artifact.Operand{
			Name: o.Name, Offset: (end + 255) &^ 255, Bytes: o.Bytes, Encoding: o.Encoding, Format: o.Format, Layout: o.Layout,
			PadBits: o.PadBits, Planes: o.Planes, Placements: o.Placements, Fills: o.Fills,
		})
		end = x.Operands[i].Offset + o.Bytes
		for _, f := range o.Folds {
			folded := []int{f.Gamma}
			if f.Placement >= 0 {
				folded = append(folded, o.Placements[f.Placement].Parameter)
			}
			if f.Beta >= 0 {
				folded = append(folded, f.Beta, f.Weight)
			}
			for _, q := range folded {
				n := artifact.Note{Kind: artifact.Folded, Parameter: q, Operand: i}
				if q >= 0 && !slices.Contains(x.Notes, n) {
					x.Notes = append(x.Notes, n)
				}
			}
		}
	}
	x.Segments[0].Bytes = (end + 4095) &^ 4095
	return p
}

// compare compares values read from an artifact with what they must be, rounded to float32.
func compare(t *testing.T, v *artifact.Values, want []float64) {
	t.Helper()
	var out bytes.Buffer
	if err := v.WriteFloat32(&out); err != nil {
		t.Error(err)
		return
	}
	if out.Len() != 4*len(want) {
		t.Errorf("%s: %d values, expected %d", v.Name, out.Len()/4, len(want))
		return
	}
	for i, y := range want {
		got := math.Float32frombits(binary.LittleEndian.Uint32(out.Bytes()[4*i:]))
		if got != float32(y) && (got == got || y == y) {
			t.Errorf("%s: value %d is %v, expected %v", v.Name, i, got, float32(y))
			return
		}
	}
}

// checkParameters compares the parameters extracted from an artifact with what its operands hold.
func checkParameters(t *testing.T, f *artifact.File, references []*reference, list []*stored) {
	t.Helper()
	for i, s := range list {
		folded := slices.ContainsFunc(f.Index.Notes, func(n artifact.Note) bool { return n.Parameter == i })
		v, err := f.ParameterValues(f.Index.Parameters[i].Name)
		if folded {
			if err == nil {
				t.Errorf("parameter %d is extracted, and was folded", i)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		want := make([]float64, s.elements())
		for k := range want {
			want[k] = math.NaN()
		}
		for _, r := range references {
			for _, p := range r.operand.Placements {
				if p.Parameter == i {
					r.extract(want, s, &p)
				}
			}
		}
		compare(t, v, want)
	}
}

// extract reads from an operand's values those of a parameter that are not known yet.
func (r *reference) extract(want []float64, s *stored, p *artifact.Placement) {
	box := make([]int, len(p.From))
	for j, f := range p.From {
		box[j] = int(f.Size)
	}
	eachOf(box, func(inside []int) {
		q := ints(p.To)
		for j, f := range p.From {
			q[f.Axis] += inside[j] * int(f.Step)
			inside[j] += int(f.Begin)
		}
		if at := flat(inside, s.shape); math.IsNaN(want[at]) {
			want[at] = r.y[flat(q, r.shape)] / p.Scale
		}
	})
}

// checkAssembled packs operands with windows of several sizes and several numbers of workers, and compares all.
func checkAssembled(t *testing.T, list []*stored, operands []recipe.Operand, windows ...uint64) {
	t.Helper()
	c, m := store(t, list...)
	p := assembled(m, operands...)
	var references []*reference
	for i := range operands {
		references = append(references, newReference(&operands[i], list))
	}
	var first []byte
	for i, window := range windows {
		path := packed(t, c, p, 1+i%3, window)
		got := read(t, path)
		if first != nil {
			if !bytes.Equal(got, first) {
				t.Errorf("windows of %d give other bytes", window)
			}
			continue
		}
		first = got
		f := verified(t, path)
		for _, r := range references {
			r.check(t, f)
		}
		checkParameters(t, f, references, list)
	}
}

// shared is a plane of a number for each block, whose layout a notation gives over the grid.
func shared(t testing.TB, role plane.Role, f element.Format, l layout.Layout, block []uint64, notation string) plane.Plane {
	t.Helper()
	return plane.Plane{Role: role, Format: f, Block: block, Layout: resolved(t, notation, plane.Grid(l.Axes, block)...)}
}

// scaled makes an operand of codes: planes one behind the other, or with records in as many parts, each a multiple of align bytes.
func scaled(o recipe.Operand, records, align uint64, codes element.Format, rest ...plane.Plane) recipe.Operand {
	o.Encoding, o.Format = plane.Scaled, codes
	o.Planes = append([]plane.Plane{{Role: plane.Values, Format: codes, PadBits: o.PadBits, Layout: o.Layout}}, rest...)
	at, parts := uint64(0), max(records, 1)
	for i := range o.Planes {
		p := &o.Planes[i]
		n := plane.Elements(p.Format, p.Layout)
		p.Offset = at
		p.Bytes, _ = plane.BytesOf(p.Format, n/parts)
		if records > 0 {
			p.RecordElements = n / records
		}
		at += p.Bytes
	}
	at = (at + align - 1) / align * align
	for i := range o.Planes {
		if p := &o.Planes[i]; records > 0 {
			p.RecordBytes = at
			p.Bytes += (records - 1) * at
		}
	}
	o.Bytes = at * parts
	return o
}

// valued makes an operand of values in a format.
func valued(o recipe.Operand, f element.Format) recipe.Operand {
	o.Format = f
	o.Bytes, _ = plane.BytesOf(f, plane.Elements(f, o.Layout))
	return o
}

// resolved is a layout in the notation of recipes, over axes of the given names and extents, which it may pad.
func resolved(t testing.TB, notation string, axes ...layout.Axis) layout.Layout {
	t.Helper()
	spec, err := layout.Parse(notation)
	if err != nil {
		t.Fatal(err)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// axis is one with an extent and, where the layout asks for more than it needs, a padded size.
func axis(name byte, extent, padded uint64) layout.Axis {
	return layout.Axis{Name: name, Extent: extent, Padded: padded}
}

// place is a placement of a whole or a part of a parameter: begin, size, step, axis for each of its axes.
func place(parameter int, scale float64, to []uint64, from ...artifact.PlacedAxis) artifact.Placement {
	return artifact.Placement{Parameter: parameter, Scale: scale, From: from, To: to}
}

func from(begin, size, step uint64, axis int) artifact.PlacedAxis {
	return artifact.PlacedAxis{Begin: begin, Size: size, Step: step, Axis: axis}
}
