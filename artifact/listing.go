package artifact

import (
	"fmt"
	"math"
)

// Listing is what an index says, for people and programs. Its JSON is an interface: fields are added, never changed.
type Listing struct {
	Producer   string             `json:"producer,omitempty"`
	Revision   uint32             `json:"revision"`
	Recipe     string             `json:"recipe"`
	Family     string             `json:"family"`
	Attributes map[string]any     `json:"attributes"`
	Segments   []SegmentListing   `json:"segments"`
	Operands   []OperandListing   `json:"operands"`
	Parameters []ParameterListing `json:"parameters"`
}

// SegmentListing is one segment.
type SegmentListing struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"` // "weights", "instructions"
	Offset      uint64 `json:"offset"`
	Bytes       uint64 `json:"bytes"`
	MemoryGroup int32  `json:"memory_group"`
	Digest      string `json:"xxh3_128,omitempty"`
}

// OperandListing is one operand.
type OperandListing struct {
	Name      string        `json:"name"`
	Segment   string        `json:"segment"`
	Offset    uint64        `json:"offset"` // in the segment
	Bytes     uint64        `json:"bytes"`
	Supported bool          `json:"supported"`
	Format    string        `json:"format"`
	Axes      []AxisListing `json:"axes"`
	Layout    string        `json:"layout"`
	Pad       uint64        `json:"pad_bits"`
	Error     *ErrorListing `json:"error,omitempty"`

	Placements []PlacementListing `json:"placements"`
	Fills      []FillListing      `json:"fills"`
}

// PlacementListing says where a box of a parameter is in an operand, as Placement does.
type PlacementListing struct {
	Parameter string              `json:"parameter"`
	Scale     float64             `json:"scale"`
	From      []PlacedAxisListing `json:"from"`
	To        []uint64            `json:"to"`
}

// PlacedAxisListing is where an axis of a parameter is: from Begin, Size indices, Step apart on axis Axis of the operand.
type PlacedAxisListing struct {
	Begin uint64 `json:"begin"`
	Size  uint64 `json:"size"`
	Step  uint64 `json:"step"`
	Axis  string `json:"axis"`
}

// FillListing is a box of an operand that holds a constant.
type FillListing struct {
	Begin []uint64 `json:"begin"`
	Size  []uint64 `json:"size"`
	Value float64  `json:"value"`
}

// AxisListing is one axis of an operand.
type AxisListing struct {
	Name   string `json:"name"`
	Extent uint64 `json:"extent"`
	Padded uint64 `json:"padded"`
}

// ErrorListing is what encoding an operand cost.
type ErrorListing struct {
	MaxAbs      float64 `json:"max_abs"`
	MaxAbsValue float64 `json:"max_abs_value"` // of the source
	RelativeL2  float64 `json:"relative_l2"`
	Cosine      float64 `json:"cosine"`
	Elements    uint64  `json:"elements"`
	Inexact     uint64  `json:"inexact"`
	Underflowed uint64  `json:"underflowed"`
	NonFinite   uint64  `json:"non_finite"`
}

// ParameterListing is one parameter and the operands that hold it.
type ParameterListing struct {
	Name     string   `json:"name"`
	Axes     string   `json:"axes"`
	Shape    []uint64 `json:"shape"`
	Operands []string `json:"operands"`
}

// List lists an index. measured says that digests and statistics have been filled in.
func (x *Index) List(measured bool) Listing {
	l := Listing{
		Producer: x.Producer.Name, Revision: x.Producer.Revision, Recipe: x.Producer.Recipe,
		Family: x.Model.Family, Attributes: map[string]any{},
		Segments: []SegmentListing{}, Operands: []OperandListing{}, Parameters: []ParameterListing{},
	}
	for _, a := range x.Model.Attributes {
		l.Attributes[a.Name] = a.value()
	}
	for _, s := range x.Segments {
		e := SegmentListing{Name: s.Name, Kind: s.Kind.String(), Offset: s.Offset, Bytes: s.Bytes, MemoryGroup: s.MemoryGroup}
		if measured {
			e.Digest = s.Digest.String()
		}
		l.Segments = append(l.Segments, e)
	}
	for _, p := range x.Parameters {
		l.Parameters = append(l.Parameters, ParameterListing{Name: p.Name, Axes: p.Axes, Shape: p.Shape, Operands: []string{}})
	}
	for i := range x.Operands {
		o := &x.Operands[i]
		l.Operands = append(l.Operands, x.listOperand(o, measured))
		for j, p := range o.Placements {
			if q := &l.Parameters[p.Parameter]; j == 0 || o.Placements[j-1].Parameter != p.Parameter {
				q.Operands = append(q.Operands, o.Name)
			}
		}
	}
	return l
}

func (x *Index) listOperand(o *Operand, measured bool) OperandListing {
	e := OperandListing{
		Name: o.Name, Segment: x.Segments[o.Segment].Name, Offset: o.Offset, Bytes: o.Bytes, Supported: o.Supported(),
		Format: o.Format.String(), Layout: o.layoutText(), Pad: o.PadBits, Axes: []AxisListing{},
		Placements: []PlacementListing{}, Fills: []FillListing{},
	}
	for _, a := range o.Layout.Axes {
		e.Axes = append(e.Axes, AxisListing{string(rune(a.Name)), a.Extent, a.Padded})
	}
	for _, p := range o.Placements {
		e.Placements = append(e.Placements, x.listPlacement(o, &p))
	}
	for _, f := range o.Fills {
		e.Fills = append(e.Fills, FillListing{append([]uint64{}, f.Begin...), append([]uint64{}, f.Size...), finite(f.Value)})
	}
	if measured {
		s := o.Statistics
		e.Error = &ErrorListing{finite(s.MaxAbsError), finite(s.MaxAbsValue), finite(s.RelativeL2()), finite(s.Cosine()), s.Elements, s.Inexact, s.Underflowed, s.NonFinite}
	}
	return e
}

func (x *Index) listPlacement(o *Operand, p *Placement) PlacementListing {
	l := PlacementListing{Parameter: x.Parameters[p.Parameter].Name, Scale: p.Scale, From: []PlacedAxisListing{}, To: append([]uint64{}, p.To...)}
	for _, f := range p.From {
		l.From = append(l.From, PlacedAxisListing{f.Begin, f.Size, f.Step, string(rune(o.Layout.Axes[f.Axis].Name))})
	}
	return l
}

// String gives the kind's name in FORMAT.md.
func (k SegmentKind) String() string {
	switch k {
	case Weights:
		return "weights"
	case Instructions:
		return "instructions"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// layoutText is the layout, empty where it is not known.
func (o *Operand) layoutText() string {
	if !o.Supported() {
		return ""
	}
	return o.Layout.String()
}

// finite puts the largest number for an infinity, and -1 for what is not a number: JSON has neither.
func finite(x float64) float64 {
	if math.IsNaN(x) {
		return -1
	}
	return max(min(x, math.MaxFloat64), -math.MaxFloat64)
}

func (a *Attribute) value() any {
	switch a.Kind {
	case Integer:
		return a.Integer
	case Real:
		return finite(a.Real)
	}
	return a.Text
}
