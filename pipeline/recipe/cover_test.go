package recipe

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/model"
)

// maxMarks is how many elements wrongOperands looks at one by one.
const maxMarks = 1 << 16

// wrongOperands says what is wrong with what a model became, or nothing: every element of an operand holds one thing, and every
// element of a parameter is somewhere, unless it was folded.
func wrongOperands(operands []Operand, m *model.Model) string {
	placed := make([]marks, len(m.Parameters))
	folded := make([]bool, len(m.Parameters))
	for i := range m.Parameters {
		placed[i] = newMarks(m.Parameters[i].Shape)
	}
	for i := range operands {
		o := &operands[i]
		s := o.Storage()
		if err := s.Validate(); err != nil {
			return o.Name + ": " + err.Error()
		}
		if o.Name == "" || o.Segment == "" || o.Line == 0 || len(o.Placements) == 0 || len(o.Placements) > maxPlacements {
			return fmt.Sprintf("name %q, segment %q, line %d, %d placements", o.Name, o.Segment, o.Line, len(o.Placements))
		}
		if wrong := wrongPlaces(o, m, placed); wrong != "" {
			return o.Name + ": " + wrong
		}
		for _, f := range o.Folds {
			for _, p := range []int{f.Gamma, f.Beta} {
				if p >= 0 {
					folded[p] = true
				}
			}
		}
	}
	for i, p := range placed {
		if !folded[i] && !p.unseen && slices.Contains(p.count, 0) {
			return "not all of " + m.Parameters[i].Name + " is placed"
		}
	}
	return ""
}

// marks counts what is at each element of a box, nil for one of too many; unseen: not of everything.
type marks struct {
	shape  []uint64
	count  []uint8
	unseen bool
}

func newMarks(shape []uint64) marks {
	n := uint64(1)
	for _, s := range shape {
		if n *= s; n > maxMarks {
			return marks{shape: shape, unseen: true}
		}
	}
	return marks{shape: shape, count: make([]uint8, n)}
}

// at is the count at an index; nil outside the box.
func (m *marks) at(index []uint64) *uint8 {
	n := uint64(0)
	for a, i := range index {
		if i >= m.shape[a] {
			return nil
		}
		n = n*m.shape[a] + i
	}
	return &m.count[n]
}

// wrongPlaces marks what an operand holds, element by element.
func wrongPlaces(o *Operand, m *model.Model, placed []marks) string {
	var extents []uint64
	for _, a := range o.Layout.Axes {
		extents = append(extents, a.Extent)
	}
	held := newMarks(extents)
	if held.unseen {
		for _, p := range o.Placements {
			placed[p.Parameter].unseen = true
		}
		return ""
	}
	mark := func(index []uint64) string {
		c := held.at(index)
		if c == nil || *c > 0 {
			return fmt.Sprintf("element %d is outside or holds two things", index)
		}
		*c = 1
		return ""
	}
	for i := range o.Placements {
		if wrong := wrongPlacement(&o.Placements[i], m, placed, mark); wrong != "" {
			return wrong
		}
	}
	for _, f := range o.Fills {
		if wrong := each(f.Size, func(index []uint64) string { return mark(sum(f.Begin, index)) }); wrong != "" {
			return wrong
		}
	}
	for _, f := range o.Folds {
		if f.Placement >= 0 {
			continue
		}
		w, along := m.Parameters[f.Weight], slices.Clone(f.At)
		for range w.Shape[1-strings.IndexByte(w.Axes, 'K')] {
			if wrong := mark(along); wrong != "" {
				return wrong
			}
			along[f.Along]++
		}
	}
	if slices.Contains(held.count, 0) {
		return fmt.Sprintf("not all of %d is held", extents)
	}
	return ""
}

// wrongPlacement marks what a placement takes of its parameter, and where that lies.
func wrongPlacement(p *artifact.Placement, m *model.Model, placed []marks, mark func(index []uint64) string) string {
	sizes := make([]uint64, len(p.From))
	for j, f := range p.From {
		sizes[j] = f.Size
	}
	return each(sizes, func(index []uint64) string {
		from, to := make([]uint64, len(index)), slices.Clone(p.To)
		for j, f := range p.From {
			from[j] = f.Begin + index[j]
			to[f.Axis] += index[j] * f.Step
		}
		if of := &placed[p.Parameter]; !of.unseen {
			c := of.at(from)
			if c == nil {
				return fmt.Sprintf("%d is outside %s", from, m.Parameters[p.Parameter].Name)
			}
			*c = 1
		}
		return mark(to)
	})
}

func sum(a, b []uint64) []uint64 {
	c := slices.Clone(a)
	for i := range c {
		c[i] += b[i]
	}
	return c
}

// each calls do for every index of a box until it has something to say.
func each(sizes []uint64, do func(index []uint64) string) string {
	index := make([]uint64, len(sizes))
	for {
		if said := do(index); said != "" {
			return said
		}
		a := len(index) - 1
		for ; a >= 0; a-- {
			if index[a]++; index[a] < sizes[a] {
				break
			}
			index[a] = 0
		}
		if a < 0 {
			return ""
		}
	}
}

// boxesOf reads "N[0:2] K[0:4]; N[2:3] K[0:4]".
func boxesOf(t *testing.T, text string) (list [][]artifact.PlacedAxis) {
	t.Helper()
	for part := range strings.SplitSeq(text, "; ") {
		var b []artifact.PlacedAxis
		for _, axis := range strings.Fields(part) {
			var begin, end uint64
			if _, err := fmt.Sscanf(axis[1:], "[%d:%d]", &begin, &end); err != nil {
				t.Fatal(err)
			}
			b = append(b, artifact.PlacedAxis{Begin: begin, Size: end - begin})
		}
		list = append(list, b)
	}
	return list
}

func TestUncovered(t *testing.T) {
	t.Parallel()
	for boxes, want := range map[string]string{
		"N[0:6] K[0:4]":                               "",
		"N[0:2] K[0:4]; N[2:6] K[0:4]":                "",
		"N[0:2] K[0:4]; N[3:6] K[0:4]":                "N[2:3] K[0:4]",
		"N[1:6] K[0:4]":                               "N[0:1] K[0:4]",
		"N[0:6] K[0:3]":                               "N[0:6] K[3:4]",
		"N[0:6] K[1:2]; N[0:3] K[2:4]; N[3:6] K[0:1]": "N[0:3] K[0:1]",
		"N[0:3] K[0:4]; N[3:6] K[0:2]; N[3:5] K[2:4]": "N[5:6] K[2:4]",
	} {
		got := ""
		if b := uncovered([]uint64{6, 4}, boxesOf(t, boxes)); b != nil {
			got = boxText("NK", b)
		}
		if got != want {
			t.Errorf("%s leaves %q, want %q", boxes, got, want)
		}
	}
	if b := uncovered(nil, [][]artifact.PlacedAxis{{}}); b != nil {
		t.Errorf("of a scalar %v is left", b)
	}
}

func TestDistinct(t *testing.T) {
	t.Parallel()
	p := &model.Parameter{Name: "w", Axes: "NK", Shape: []uint64{6, 4}}
	for text, want := range map[string]string{
		"N[0:6] K[0:4]":                               "N[0:6] K[0:4]",
		"N[0:6] K[0:4]; N[0:6] K[0:4]":                "N[0:6] K[0:4]",
		"N[2:6] K[0:4]; N[0:2] K[0:4]; N[2:6] K[0:4]": "N[0:2] K[0:4]; N[2:6] K[0:4]",
		"N[0:2] K[0:4]; N[1:6] K[0:4]":                "r:2: of w, N[1:6] K[0:4] is taken here and N[0:2] K[0:4] in line 1; slices should be equal or have nothing in common",
		"N[0:6] K[0:2]; N[0:6] K[2:4]":                "N[0:6] K[0:2]; N[0:6] K[2:4]",
		"N[0:6] K[1:4]; N[0:6] K[0:2]":                "r:2: of w, N[0:6] K[0:2] is taken here and N[0:6] K[1:4] in line 1; slices should be equal or have nothing in common",
		"N[0:3] K[0:4]; N[3:6] K[0:2]; N[2:4] K[3:4]": "r:3: of w, N[2:4] K[3:4] is taken here and N[0:3] K[0:4] in line 1; slices should be equal or have nothing in common",
	} {
		var boxes []box
		for i, b := range boxesOf(t, text) {
			boxes = append(boxes, box{b, position{line: i + 1}})
		}
		list, err := newCover(&model.Model{}).distinct(&document{file: "r"}, p, boxes)
		var parts []string
		for _, b := range list {
			parts = append(parts, boxText("NK", b))
		}
		got := strings.Join(parts, "; ")
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
	}
}
