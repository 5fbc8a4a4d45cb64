package artifact

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"npuw/artifact/element"
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
		e := SegmentListing{Name: s.Name, Offset: s.Offset, Bytes: s.Bytes, MemoryGroup: s.MemoryGroup}
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
		Format: o.Format.String(), Layout: o.Layout.String(), Pad: o.PadBits, Axes: []AxisListing{},
	}
	for _, a := range o.Layout.Axes {
		e.Axes = append(e.Axes, AxisListing{string(rune(a.Name)), a.Extent, a.Padded})
	}
	if measured {
		s := o.Statistics
		e.Error = &ErrorListing{finite(s.MaxAbsError), finite(s.RelativeL2()), finite(s.Cosine()), s.Elements, s.Inexact, s.Underflowed, s.NonFinite}
	}
	return e
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

// PrintModel writes what the index says of the model.
func (x *Index) PrintModel(w io.Writer) {
	fmt.Fprintf(w, "model     %s", x.Model.Family)
	for _, a := range x.Model.Attributes {
		fmt.Fprintf(w, " %s=%v", a.Name, a.value())
	}
	fmt.Fprintf(w, "\nrecipe    %s (written by %s, revision %d)\n", x.Producer.Recipe, x.Producer.Name, x.Producer.Revision)
}

// PrintOperands writes segments and operands as a table; with measured, each operand's error too.
func (x *Index) PrintOperands(w io.Writer, measured bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "operand\toffset\tbytes\tformat\tlayout\tshape")
	if measured {
		fmt.Fprint(t, "\tmax error\trelative L2\tcosine")
	}
	fmt.Fprintln(t)
	segment := -1
	for i := range x.Operands {
		o := &x.Operands[i]
		for segment < o.Segment {
			segment++
			printSegment(t, &x.Segments[segment], measured)
		}
		fmt.Fprintf(t, "  %s\t+%d\t%d\t%v\t%v\t%s", o.Name, o.Offset, o.Bytes, o.Format, o.Layout, o.Layout.Shape())
		if measured {
			printError(t, &o.Statistics)
		}
		fmt.Fprintln(t)
	}
	for segment++; segment < len(x.Segments); segment++ {
		printSegment(t, &x.Segments[segment], measured)
	}
	return t.Flush()
}

// printSegment writes a row with as many cells as an operand's, which tabwriter needs to keep the columns aligned.
func printSegment(w io.Writer, s *Segment, measured bool) {
	fmt.Fprintf(w, "%s\t%d\t%d\t\t\t", s.Name, s.Offset, s.Bytes)
	if measured {
		fmt.Fprintf(w, "\t\t\t")
	}
	fmt.Fprintln(w)
}

func printError(w io.Writer, s *element.Stats) {
	if s.Inexact == 0 && s.NonFinite == 0 {
		fmt.Fprint(w, "\texact")
		return
	}
	fmt.Fprintf(w, "\t%.3g\t%.3g\t%.8f", s.MaxAbsError, s.RelativeL2(), s.Cosine())
	if s.NonFinite > 0 {
		fmt.Fprintf(w, "\t%d not finite", s.NonFinite)
	}
}

// PrintParameters writes the parameters and the operands that hold them as a table.
func (x *Index) PrintParameters(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "parameter\tshape\toperands")
	for _, p := range x.List(false).Parameters {
		fmt.Fprintf(t, "%s\t%s %v\t%s\n", p.Name, p.Axes, p.Shape, strings.Join(p.Operands, ", "))
	}
	return t.Flush()
}
