package report

import (
	"fmt"
	"math"
	"slices"

	"npuw/artifact"
)

// heat is the error of operands by layer and kind, a map for each stack of layers, and beside them the operands of no layer. Colours
// are those of one scale, in equal steps of the logarithm.
type heat struct {
	Maps    []heatMap
	Outside []heatCell // with Name
	Unit    string     // of the numbers: "10⁻³"; empty: none
	Steps   []int      // of the scale
	Low     string     // where it begins and ends
	High    string
	More    string
}

type heatMap struct {
	Stack  string
	Layers []int
	Rows   []heatRow
}

type heatRow struct {
	Kind, Name string // short and whole
	Cells      []heatCell
}

// heatCell is an operand, or none.
type heatCell struct {
	Name, Text, Class, Title, Link string
	error                          float64
}

// steps is how many colours there are.
const steps = 9

// stackErrors collects the cells of a stack.
type stackErrors struct {
	name      string
	layers    []int
	kindNames []string
	kindAt    map[string]int
	layerAt   map[int]bool
	cells     map[[2]int]heatCell // by kind, layer
}

func newHeat(x *artifact.Index) heat {
	var h heat
	var stacks []*stackErrors
	missing := 0
	for i := range x.Operands {
		o := &x.Operands[i]
		p := placeOf(o.Name)
		if p.layer < 0 {
			if len(h.Outside) < maxOutside {
				h.Outside = append(h.Outside, newCell(o, i))
			} else {
				missing++
			}
			continue
		}
		at := slices.IndexFunc(stacks, func(s *stackErrors) bool { return s.name == p.stack })
		if at < 0 && len(stacks) < maxStacks {
			at = len(stacks)
			stacks = append(stacks, &stackErrors{name: p.stack, kindAt: map[string]int{}, layerAt: map[int]bool{}, cells: map[[2]int]heatCell{}})
		}
		if at < 0 || !stacks[at].add(p, o, i) {
			missing++
		}
	}
	for _, s := range stacks {
		h.Maps = append(h.Maps, s.heatMap())
	}
	h.More = leftOut(missing, "operand")
	h.scale()
	return h
}

func newCell(o *artifact.Operand, number int) heatCell {
	s := &o.Statistics
	name := clean(o.Name)
	return heatCell{
		Name: name, Link: rowLink(number), error: s.RelativeL2(),
		Title: fmt.Sprintf("%s: relative L2 error %s, cosine %s, largest error %s", name, small(s.RelativeL2()), cosine(s.Cosine()), small(s.MaxAbsError)),
	}
}

// add reports whether there is room for an operand.
func (s *stackErrors) add(p place, o *artifact.Operand, number int) bool {
	kind, known := s.kindAt[p.kind]
	if !known && len(s.kindNames) == maxKinds || !s.layerAt[p.layer] && len(s.layers) == maxLayers {
		return false
	}
	if !known {
		kind = len(s.kindNames)
		s.kindAt[p.kind] = kind
		s.kindNames = append(s.kindNames, p.kind)
	}
	if !s.layerAt[p.layer] {
		s.layerAt[p.layer] = true
		s.layers = append(s.layers, p.layer)
	}
	s.cells[[2]int{kind, p.layer}] = newCell(o, number)
	return true
}

func (s *stackErrors) heatMap() heatMap {
	slices.Sort(s.layers)
	m := heatMap{Stack: clean(s.name), Layers: s.layers}
	for kind, short := range shortKinds(s.kindNames) {
		r := heatRow{Kind: clean(short), Name: clean(s.kindNames[kind])}
		for _, layer := range s.layers {
			r.Cells = append(r.Cells, s.cells[[2]int{kind, layer}])
		}
		m.Rows = append(m.Rows, r)
	}
	return m
}

// each calls do with every cell that is an operand.
func (h *heat) each(do func(c *heatCell)) {
	for i := range h.Outside {
		do(&h.Outside[i])
	}
	for _, m := range h.Maps {
		for _, r := range m.Rows {
			for i := range r.Cells {
				if r.Cells[i].Name != "" {
					do(&r.Cells[i])
				}
			}
		}
	}
}

// scale finds the range of the errors, and gives each cell its colour and its number. A range of less than a decade is widened to
// one: colours are to tell what matters from what does not.
func (h *heat) scale() {
	low, high := math.Inf(1), math.Inf(-1) // logarithms
	h.each(func(c *heatCell) {
		if c.error > 0 && !math.IsInf(c.error, 0) {
			low, high = min(low, math.Log10(c.error)), max(high, math.Log10(c.error))
		}
	})
	power := 0 // of the unit; 0: none
	if low <= high {
		// With a unit, the smallest number still has two places.
		if p := int(math.Floor(high)); p < -1 && low > float64(p-2) {
			power = p
			h.Unit = "10" + superscript(power)
		}
		if lacking := 1 - (high - low); lacking > 0 {
			low, high = low-lacking/2, high+lacking/2
		}
		h.Low, h.High = small(math.Pow(10, low)), small(math.Pow(10, high))
		for i := range steps {
			h.Steps = append(h.Steps, i)
		}
	}
	h.each(func(c *heatCell) {
		switch e := c.error; {
		case e == 0:
			c.Class, c.Text = "exact", "0"
		case math.IsNaN(e) || math.IsInf(e, 0):
			c.Class, c.Text = "infinite", small(e)
		default:
			step := int(steps * (math.Log10(e) - low) / (high - low))
			c.Class, c.Text = fmt.Sprintf("h%d", max(min(step, steps-1), 0)), small(e)
			if power != 0 {
				c.Text = digits(e/math.Pow10(power), 3)
			}
		}
	})
}

// superscript writes an exponent.
func superscript(n int) string {
	var out []rune
	for _, c := range fmt.Sprint(n) {
		if c == '-' {
			out = append(out, '⁻')
		} else {
			out = append(out, []rune("⁰¹²³⁴⁵⁶⁷⁸⁹")[c-'0'])
		}
	}
	return string(out)
}
