package artifact

import (
	"encoding/hex"
	"fmt"
	"math"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
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
	Xclbins    []XclbinListing    `json:"xclbins"`
	Contracts  []ContractListing  `json:"contracts"`
}

// FileListing is what a file says of itself. Its JSON is an interface, as Listing's is.
type FileListing struct {
	Header HeaderListing `json:"header"`
	Listing
}

// HeaderListing is the header.
type HeaderListing struct {
	Version          int    `json:"version"`
	RequiredFeatures uint64 `json:"required_features"`
	OptionalFeatures uint64 `json:"optional_features"`
	FileBytes        uint64 `json:"file_bytes"`
	PageBytes        uint64 `json:"page_bytes"`
	IndexOffset      uint64 `json:"index_offset"`
	IndexBytes       uint64 `json:"index_bytes"`
	Digest           string `json:"xxh3_128"` // of the header: it names the content of the whole file
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
	// Planes are there when the operand has others than one of values: codes, then scales, zeros or minimums.
	Planes []PlaneListing `json:"planes,omitempty"`

	Placements []PlacementListing `json:"placements"`
	Fills      []FillListing      `json:"fills"`
}

// PlaneListing is a plane of an operand.
type PlaneListing struct {
	Role           string   `json:"role"`
	Format         string   `json:"format"`
	HighFirst      bool     `json:"high_half_first"`
	Offset         uint64   `json:"offset"` // in the operand
	Bytes          uint64   `json:"bytes"`
	Pad            uint64   `json:"pad_bits"`
	RecordElements uint64   `json:"record_elements"` // 0: contiguous
	RecordBytes    uint64   `json:"record_bytes"`
	Block          []uint64 `json:"block"` // indices of each axis that an element spans; none: 1 each
	Layout         string   `json:"layout"`
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

// XclbinListing is an xclbin that the artifact is bound to.
type XclbinListing struct {
	Name   string `json:"name"`
	UUID   string `json:"uuid"`
	Bytes  uint64 `json:"bytes"`
	Digest string `json:"xxh3_128"`
}

// ContractListing is a kernel contract with the operands bound to its arguments.
type ContractListing struct {
	Name         string            `json:"name"`
	Operation    string            `json:"operation"`
	Epilogue     string            `json:"epilogue"`
	Kernel       string            `json:"kernel"`
	Xclbin       string            `json:"xclbin"`       // its name; empty: none
	Instructions string            `json:"instructions"` // the name of their segment; empty: none
	Shape        []AxisListing     `json:"shape"`
	Arguments    []ArgumentListing `json:"arguments"`
}

// ArgumentListing is an argument of a contract.
type ArgumentListing struct {
	Name        string        `json:"name"`
	Index       uint32        `json:"index"`
	Role        string        `json:"role"` // "activation", "weight", "output", "instructions", "constant"
	Scalar      bool          `json:"scalar"`
	MemoryGroup int32         `json:"memory_group"`
	Bytes       uint64        `json:"bytes"`
	Format      string        `json:"format"` // empty: none
	Axes        []AxisListing `json:"axes"`
	Layout      string        `json:"layout"`
	Operands    []string      `json:"operands"` // bound to it
	// Planes are there when the argument has others than one of values.
	Planes []PlaneListing `json:"planes,omitempty"`
}

// List lists a file.
func (f *File) List() FileListing {
	h := &f.Header
	return FileListing{HeaderListing{
		Version, h.RequiredFeatures, h.OptionalFeatures, h.FileBytes, h.PageBytes, h.IndexOffset, h.IndexBytes, h.Digest.String(),
	}, f.Index.List(true)}
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
		l.Parameters = append(l.Parameters, ParameterListing{Name: p.Name, Axes: p.Axes, Shape: append([]uint64{}, p.Shape...), Operands: []string{}})
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
	x.listContracts(&l)
	return l
}

func (x *Index) listContracts(l *Listing) {
	l.Xclbins, l.Contracts = []XclbinListing{}, []ContractListing{}
	for _, b := range x.Xclbins {
		l.Xclbins = append(l.Xclbins, XclbinListing{b.Name, hex.EncodeToString(b.UUID[:]), b.Bytes, b.Digest.String()})
	}
	for i := range x.Contracts {
		c := &x.Contracts[i]
		e := ContractListing{
			Name: c.Name, Operation: string(c.Operation), Epilogue: string(c.Epilogue), Kernel: c.Kernel,
			Shape: listAxes(c.Shape), Arguments: []ArgumentListing{},
		}
		if c.Xclbin != None {
			e.Xclbin = x.Xclbins[c.Xclbin].Name
		}
		if c.Instructions != None {
			e.Instructions = x.Segments[c.Instructions].Name
		}
		for j := range c.Arguments {
			a := &c.Arguments[j]
			g := ArgumentListing{
				Name: a.Name, Index: a.Index, Role: a.Role.String(), Scalar: a.Kind == kernel.ScalarArgument, MemoryGroup: a.MemoryGroup, Bytes: a.Bytes,
				Axes: listAxes(a.Layout.Axes), Layout: a.Layout.String(), Operands: []string{},
			}
			if a.Format != 0 {
				g.Format = formatText(a.Format, a.Planes)
			}
			if supported(a.Encoding, a.Format, a.Planes) {
				g.Planes = listPlanes(a.Planes)
			}
			for _, b := range x.Bindings {
				if b.Contract == i && b.Argument == j {
					g.Operands = append(g.Operands, x.Operands[b.Operand].Name)
				}
			}
			e.Arguments = append(e.Arguments, g)
		}
		l.Contracts = append(l.Contracts, e)
	}
}

func listAxes(axes []layout.Axis) []AxisListing {
	l := []AxisListing{}
	for _, a := range axes {
		l = append(l, AxisListing{string(rune(a.Name)), a.Extent, a.Padded})
	}
	return l
}

func (x *Index) listOperand(o *Operand, measured bool) OperandListing {
	e := OperandListing{
		Name: o.Name, Segment: x.Segments[o.Segment].Name, Offset: o.Offset, Bytes: o.Bytes, Supported: o.Supported(),
		Format: o.FormatText(), Layout: o.LayoutText(), Pad: o.PadBits, Axes: listAxes(o.Layout.Axes),
		Placements: []PlacementListing{}, Fills: []FillListing{},
	}
	for _, p := range o.Placements {
		e.Placements = append(e.Placements, x.listPlacement(o, &p))
	}
	for _, f := range o.Fills {
		e.Fills = append(e.Fills, FillListing{append([]uint64{}, f.Begin...), append([]uint64{}, f.Size...), finite(f.Value)})
	}
	if e.Supported {
		e.Planes = listPlanes(o.Planes)
	}
	if measured {
		s := o.Statistics
		e.Error = &ErrorListing{finite(s.MaxAbsError), finite(s.MaxAbsValue), finite(s.RelativeL2()), finite(s.Cosine()), s.Elements, s.Inexact, s.Underflowed, s.NonFinite}
	}
	return e
}

func listPlanes(planes []plane.Plane) []PlaneListing {
	var l []PlaneListing
	for i := range planes {
		p := &planes[i]
		l = append(l, PlaneListing{
			p.Role.String(), p.Format.String(), p.HighFirst, p.Offset, p.Bytes, p.PadBits, p.RecordElements, p.RecordBytes,
			append([]uint64{}, p.Block...), p.Layout.String(),
		})
	}
	return l
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

// FormatText is the element format, of scaled codes with that of the scales and of what is added: "i8*f32", "u4*bf16-zero".
func (o *Operand) FormatText() string { return formatText(o.Format, o.Planes) }

// formatText is the element format, of scaled codes with that of the scales and of what is added: "i8*f32", "u4*bf16-zero".
func formatText(f element.Format, planes []plane.Plane) string {
	text := f.String()
	for i := range planes {
		switch p := &planes[i]; p.Role {
		case plane.Scales:
			text += "*" + p.Format.String()
		case plane.Zeros:
			text += "-zero"
		case plane.Minimums:
			text += "+" + p.Format.String()
		}
	}
	return text
}

// LayoutText is the layout, empty where it is not known.
func (o *Operand) LayoutText() string {
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
