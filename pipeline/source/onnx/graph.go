package onnx

import (
	"fmt"
	"strings"
	"unicode"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// Graph is the main graph of a model, or one nested in a node of another. What a nested graph does not define itself it
// reads from the graphs around it.
type Graph struct {
	Name      string
	Nodes     []Node      // in the order of the file
	Inputs    []ValueInfo // initializers that are listed as inputs too (IR version 3) included
	Outputs   []ValueInfo
	Constants []Constant // initializers, then Constant nodes, each in the order of the file

	file     string // for errors
	values   map[string]*Value
	outer    *Graph          // nil for the main graph
	holder   *Node           // the node of outer that it is nested in
	weighty  bool            // it or a graph nested in it holds or uses weights
	tensors  []source.Tensor // of Constants, while the file is walked
	external []external
}

// Node is one operator applied.
type Node struct {
	Name       string   // a module path from torch.onnx, "/layers.0/fc1/MatMul"; may be empty
	Op, Domain string   // Domain is "" for ONNX's own operators
	Inputs     []string // "" is an optional input left out
	Outputs    []string
	Attributes []Attribute
	Bodies     []Body // graphs nested in the node

	In, Out []*Value // those that Inputs and Outputs name; nil where one is left out

	offset int64
	graph  *Graph // that it is a node of
	index  int    // in the order of the file, nested nodes behind the one that holds them
	taken  *Graph // of an If
}

// Body is a graph nested in a node: a branch of an If, the body of a Loop.
type Body struct {
	Attribute string // "then_branch"
	Graph     *Graph
}

// String gives what a person needs to find the node: operator and name, or its first output where it has no name.
func (n *Node) String() string {
	op := "node"
	if n.Op != "" {
		op = plain(n.Op) + " node"
	}
	if n.Domain != "" {
		op = plain(n.Domain) + "." + op
	}
	switch {
	case n.Name != "":
		return fmt.Sprintf("%s %.200q", op, n.Name)
	case len(n.Outputs) > 0:
		return fmt.Sprintf("%s of output %.200q", op, n.Outputs[0])
	}
	return op + " without a name"
}

// plain gives a name of the file as it is where that is short and printable, else quoted and cut.
func plain(name string) string {
	if len(name) <= 100 && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return name
	}
	return fmt.Sprintf("%.100q", name)
}

// standard reports whether n is ONNX's own operator op.
func (n *Node) standard(op string) bool {
	return n.Op == op && (n.Domain == "" || n.Domain == "ai.onnx")
}

// AttributeType tells which of an Attribute's values counts. The numbers are ONNX's.
type AttributeType int32

// The attribute types whose values are kept.
const (
	AttributeFloat   AttributeType = 1
	AttributeInt     AttributeType = 2
	AttributeString  AttributeType = 3
	AttributeTensor  AttributeType = 4
	AttributeGraph   AttributeType = 5
	AttributeFloats  AttributeType = 6
	AttributeInts    AttributeType = 7
	AttributeStrings AttributeType = 8
)

// Attribute is a constant argument of a node. Tensors, graphs and lists of strings are not kept here: a Constant node's
// tensor is in Graph.Constants.
type Attribute struct {
	Name   string
	Type   AttributeType
	Int    int64
	Float  float32
	String string
	Ints   []int64
	Floats []float32

	tensor  *tensor // while the file is walked
	weighty bool    // holds tensors that may be weights
}

// Attribute gives the attribute called name, nil if the node does not have it.
func (n *Node) Attribute(name string) *Attribute {
	for i := range n.Attributes {
		if n.Attributes[i].Name == name {
			return &n.Attributes[i]
		}
	}
	return nil
}

// Int gives the integer attribute called name, or byDefault if the node does not have it; false if it is no integer.
func (n *Node) Int(name string, byDefault int64) (int64, bool) {
	switch a := n.Attribute(name); {
	case a == nil:
		return byDefault, true
	case a.Type == AttributeInt:
		return a.Int, true
	}
	return 0, false
}

// Float gives the float attribute called name, or byDefault if the node does not have it; false if it is no float.
func (n *Node) Float(name string, byDefault float32) (float32, bool) {
	switch a := n.Attribute(name); {
	case a == nil:
		return byDefault, true
	case a.Type == AttributeFloat:
		return a.Float, true
	}
	return 0, false
}

// ValueInfo is the declared type of a value.
type ValueInfo struct {
	Name     string
	Type     DataType    // 0 for what is not a tensor
	HasShape bool        // false if nothing is said about the shape
	Shape    []Dimension // outermost first
}

// Dimension is one axis of a declared shape: a number, a symbol ("batch_size"), or unknown.
type Dimension struct {
	Value  int64 // counts where Symbol is "" and Known
	Known  bool
	Symbol string
}

// Constant is an initializer or the output of a Constant node.
type Constant struct {
	Name     string // of the value
	Type     DataType
	Shape    []uint64 // outermost first; empty for a scalar
	Elements uint64
	Tensor   int     // index in Catalogue.Tensors of a float constant, else -1
	Ints     []int64 // values of an INT32, INT64 or BOOL constant of at most 4096 elements, else nil
	// Raw is where the elements of a UINT8, INT8, UINT4, INT4, INT32 or float8 constant are, else nil. They are no values by themselves
	// but codes, of which an operator makes values.
	Raw  *source.Data
	Node *Node // the Constant node, nil for an initializer

	offset int64
}

// String gives the name for a person: quoted if it holds what cannot be printed, and cut if it is long.
func (c *Constant) String() string { return plain(c.Name) }

// Weighty reports whether c may be trained values rather than structure: more than one element, of a type that shapes
// and masks do not have.
func (c *Constant) Weighty() bool {
	switch c.Type {
	case typeInt32, typeInt64, typeBool, typeString:
		return false
	}
	return c.Elements > 1
}

// DataType is an element type of ONNX (TensorProto.DataType).
type DataType int32

const (
	typeFloat          DataType = 1
	typeUint8          DataType = 2
	typeInt8           DataType = 3
	typeInt32          DataType = 6
	typeInt64          DataType = 7
	typeString         DataType = 8
	typeBool           DataType = 9
	typeFloat16        DataType = 10
	typeDouble         DataType = 11
	typeBfloat16       DataType = 16
	typeFloat8E4M3FN   DataType = 17
	typeFloat8E4M3FNUZ DataType = 18
	typeFloat8E5M2     DataType = 19
	typeFloat8E5M2FNUZ DataType = 20
	typeUint4          DataType = 21
	typeInt4           DataType = 22
)

var dataTypeNames = [...]string{
	"UNDEFINED", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL", "FLOAT16", "DOUBLE",
	"UINT32", "UINT64", "COMPLEX64", "COMPLEX128", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2",
	"FLOAT8E5M2FNUZ", "UINT4", "INT4", "FLOAT4E2M1",
}

// String gives ONNX's name ("FLOAT16").
func (t DataType) String() string {
	if t >= 0 && int(t) < len(dataTypeNames) {
		return dataTypeNames[t]
	}
	return fmt.Sprintf("DataType(%d)", int32(t))
}

// Format gives the element format of a float type, 0 for the others.
func (t DataType) Format() element.Format {
	switch t {
	case typeFloat:
		return element.F32
	case typeFloat16:
		return element.F16
	case typeBfloat16:
		return element.BF16
	case typeDouble:
		return element.F64
	}
	return 0
}
