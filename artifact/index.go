package artifact

import (
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// Index is everything that an artifact says about its data, as Go values that live on when the file is closed. The fields
// follow schema/FORMAT.md, which defines them. In one that was read from a file, equal layouts and boxes share their slices:
// what they hold is not to be written to.
type Index struct {
	Producer   Producer
	Model      Model
	Segments   []Segment
	Operands   []Operand
	Parameters []Parameter
	Notes      []Note
	Xclbins    []Xclbin
	Contracts  []Contract
	Bindings   []Binding
}

// Producer is the program that wrote an artifact. Revision rises when the same input would give other bytes.
type Producer struct {
	Name     string
	Revision uint32
	Recipe   string
}

// Model is what the weights belong to.
type Model struct {
	Family     string
	Attributes []Attribute
}

// AttributeKind tells which field of an Attribute counts.
type AttributeKind uint8

// The kinds of attributes.
const (
	Integer AttributeKind = 0
	Real    AttributeKind = 1
	Text    AttributeKind = 2
)

// Attribute is a size or constant of a model ("layers", "d_model", "eps").
type Attribute struct {
	Name    string
	Kind    AttributeKind
	Integer int64
	Real    float64
	Text    string
}

// SegmentKind says what a segment holds.
type SegmentKind uint8

// The kinds of segments.
const (
	Weights      SegmentKind = 0
	Instructions SegmentKind = 1
)

// NoGroup is the memory group of what has not been bound to a kernel argument.
const NoGroup = kernel.NoGroup

// Segment is what becomes one buffer object: whole pages at Offset of the file.
type Segment struct {
	Name          string
	Kind          SegmentKind
	MemoryGroup   int32
	Offset, Bytes uint64
	Digest        Digest
}

// Operand is what one kernel argument reads. Its axes, extents and padded sizes stand in Layout.Axes.
type Operand struct {
	Name          string
	Segment       int    // position in Index.Segments
	Offset, Bytes uint64 // in the segment
	Encoding      plane.Encoding
	// Format, Layout and PadBits are those of the plane of values, or of codes: what Planes[0] says too.
	Format  element.Format
	Layout  layout.Layout
	PadBits uint64 // the bits of every padding element
	// Planes are all planes; nil in encoding Plain, where values fill the operand.
	Planes     []plane.Plane
	Placements []Placement
	Fills      []Fill
	Statistics element.Stats
}

// Supported reports whether this version can read the operand's values: it knows the encoding, roles and element formats.
func (o *Operand) Supported() bool { return supported(o.Encoding, o.Format, o.Planes) }

// supported reports whether this version knows how numbers lie that are stored so.
func supported(e plane.Encoding, f element.Format, planes []plane.Plane) bool {
	if !e.Known() || !f.Known() || f == element.F64 {
		return false
	}
	for i := range planes {
		if !planes[i].Format.Known() || planes[i].Role > plane.Minimums {
			return false
		}
	}
	return true
}

// Storage is how the operand's numbers lie in its bytes.
func (o *Operand) Storage() plane.Storage {
	return plane.Of(o.Encoding, o.Format, o.Layout, o.PadBits, o.Bytes, o.Planes)
}

// single reports whether each of the operand's elements is one value, and the operand nothing but them.
func (o *Operand) single() bool {
	return o.Encoding == plane.Plain && o.Format.Plain() && o.Planes == nil // else of a role that is not known
}

// Elements is the number of logical elements, padding left out.
func (o *Operand) Elements() uint64 {
	n := uint64(1)
	for _, a := range o.Layout.Axes {
		n *= a.Extent
	}
	return n
}

// Placement says where a box of a parameter is in an operand: for every index p of the parameter with
// Begin <= p < Begin+Size on each of its axes, the element at To[a] + sum of (p-Begin)*Step over the axes placed on a.
type Placement struct {
	Parameter int     // position in Index.Parameters
	Scale     float64 // the operand holds Scale times the parameter
	From      []PlacedAxis
	To        []uint64 // one an axis of the operand
}

// PlacedAxis places one axis of a parameter on axis Axis of an operand.
type PlacedAxis struct {
	Begin, Size, Step uint64
	Axis              int
}

// Fill is a box of an operand that holds Value and comes from no parameter.
type Fill struct {
	Begin, Size []uint64
	Value       float64
}

// Parameter is a trained tensor by its canonical name; Axes has a letter for each entry of Shape, in PyTorch's order.
type Parameter struct {
	Name  string
	Axes  string
	Shape []uint64
}

// Elements is the number of the parameter's elements.
func (p *Parameter) Elements() uint64 {
	n := uint64(1)
	for _, s := range p.Shape {
		n *= s
	}
	return n
}

// Folded is the kind of the notes that version 1 of the format defines: the operand's values were computed from the parameter and
// others, and where a placement names it, what lies there is not Scale times its value.
const Folded = 1

// Note says that a parameter was absorbed by an operand and cannot be recovered from it.
type Note struct {
	Kind               uint8
	Parameter, Operand int
}

// Xclbin names an xclbin file that the artifact is bound to, by content.
type Xclbin struct {
	Name   string
	UUID   [16]byte
	Bytes  uint64
	Digest Digest
}

// None stands for no xclbin, or no instructions, in a Contract.
const None = kernel.None

// Contract says what one compiled kernel reads and writes. Xclbin and Instructions are positions in Index.Xclbins and
// Index.Segments.
type Contract = kernel.Contract

// Argument is one argument of a kernel.
type Argument = kernel.Argument

// Binding says that Operand is for argument Argument of contract Contract.
type Binding struct{ Operand, Contract, Argument int }
