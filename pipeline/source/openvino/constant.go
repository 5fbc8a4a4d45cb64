package openvino

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// formats are the element types of values that may be weights. Those of 4 bits have the first of two in the lower bits of a byte.
var formats = map[string]element.Format{
	"f64": element.F64, "f32": element.F32, "f16": element.F16, "bf16": element.BF16,
	"i8": element.I8, "u8": element.U8, "i4": element.I4, "u4": element.U4, "nf4": element.NF4,
}

// integers are the sizes of those that are no weights, in bytes.
var integers = map[string]uint64{"i16": 2, "i32": 4, "i64": 8, "u16": 2, "u32": 4, "u64": 8, "boolean": 1}

// constant is a value that depends on no input of the model: the elements of a Const in their order, each put through some steps.
type constant struct {
	root       *layer
	format     element.Format // of the elements of root; 0 if they are of no format that weights have
	data       source.Data    // of root
	shape      []uint64
	typ        element.Format // that values are rounded to
	steps      []step
	transposed bool // the value is the transpose of a matrix of that shape
}

// step changes values: it rounds them to a type or, with an operand, subtracts or multiplies first.
type step struct {
	operator byte // '-', '*', or 0
	to       element.Format
	operand  *constant
	shape    []uint64 // of the values then
	strides  []uint64 // by which indices of shape move in the operand; 0 where it is repeated
}

// graph is a network whose constants are being looked for.
type graph struct {
	net   *net
	m     *Model
	bin   *source.File
	known map[*layer]*constant // nil: none, or being worked out
}

func (g *graph) fail(l *layer, sentinel error, problem, next string) error {
	return &source.Error{File: g.m.Path, Offset: l.at, Thing: l.String(), Problem: problem, Next: next, Err: sentinel}
}

// constant gives the constant that l is; nil if it is none, or one that is not understood.
func (g *graph) constant(l *layer) (*constant, error) {
	if l == nil {
		return nil, nil
	}
	if c, ok := g.known[l]; ok {
		return c, nil
	}
	g.known[l] = nil
	var c *constant
	var err error
	switch l.kind {
	case "Const":
		c, err = g.root(l)
	case "Convert", "Subtract", "Multiply", "Reshape", "Transpose":
		var operands []*constant
		for _, in := range l.inputs {
			operand, err := g.constant(in)
			if err != nil {
				return nil, err
			}
			if operand == nil || len(operand.steps) >= maxSteps {
				return nil, nil
			}
			operands = append(operands, operand)
		}
		c, err = g.apply(l, operands)
	}
	g.known[l] = c
	return c, err
}

// root is a Const.
func (g *graph) root(l *layer) (*constant, error) {
	c := &constant{root: l, format: formats[l.data["element_type"]], shape: []uint64{}}
	c.typ = c.format
	for text := range strings.SplitSeq(l.data["shape"], ",") {
		if text = strings.TrimSpace(text); text == "" && l.data["shape"] == "" {
			break // a scalar
		}
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil || len(c.shape) == maxRank {
			return nil, g.fail(l, source.ErrCorrupt, fmt.Sprintf("shape %.100q, expected at most %d lengths", l.data["shape"], maxRank), exportAgain)
		}
		c.shape = append(c.shape, n)
	}
	offset, err1 := strconv.ParseUint(l.data["offset"], 10, 63)
	size, err2 := strconv.ParseUint(l.data["size"], 10, 63)
	if err1 != nil || err2 != nil {
		return nil, g.fail(l, source.ErrCorrupt, fmt.Sprintf("offset %.50q and size %.50q, expected numbers", l.data["offset"], l.data["size"]), exportAgain)
	}
	if want, ok := c.bytes(); !ok || want != size {
		return nil, g.fail(l, source.ErrCorrupt, fmt.Sprintf("%d bytes for shape %v of %.50s", size, c.shape, l.data["element_type"]), exportAgain)
	}
	if offset > uint64(g.bin.Size) || size > uint64(g.bin.Size)-offset {
		return nil, g.fail(l, source.ErrTruncated, fmt.Sprintf("%d bytes at %d of %s, which has %d", size, offset, g.bin.Path, g.bin.Size), exportAgain)
	}
	c.data = source.Data{File: 1, Offset: int64(offset), Size: int64(size)}
	return c, nil
}

// bytes is the size of a Const; of a type that is not known that which it says.
func (c *constant) bytes() (uint64, bool) {
	n, ok := source.Elements(c.shape)
	if ok && n > math.MaxInt64/64 {
		return 0, false
	}
	if c.format != 0 {
		return (n*uint64(c.format.Bits()) + 7) / 8, ok
	}
	if size, known := integers[c.root.data["element_type"]]; known {
		return n * size, ok
	}
	size, err := strconv.ParseUint(c.root.data["size"], 10, 63)
	return size, ok && err == nil
}

// float reports whether a type is one that values can be computed in.
func float(f element.Format) bool {
	return f == element.F32 || f == element.F16 || f == element.BF16
}

// apply gives what the operator l makes of constants, nil if it is not understood.
func (g *graph) apply(l *layer, in []*constant) (*constant, error) {
	if len(in) == 0 || len(in) != 1 && len(in) != 2 || (len(in) == 1) != (l.kind == "Convert") {
		return nil, nil
	}
	c := *in[0]
	c.steps = slices.Clone(c.steps)
	switch l.kind {
	case "Convert":
		c.typ = formats[l.data["destination_type"]]
		if c.format == 0 || c.format == element.F64 || !float(c.typ) {
			return nil, nil
		}
		c.steps = append(c.steps, step{to: c.typ})
		return &c, nil
	case "Subtract":
		return combine('-', in[0], in[1]), nil
	case "Multiply":
		if product := combine('*', in[0], in[1]); product != nil {
			return product, nil
		}
		return combine('*', in[1], in[0]), nil
	case "Reshape":
		return g.reshape(l, &c, in[1])
	default: // Transpose
		order, err := g.ints(in[1])
		if err != nil || len(c.shape) != 2 || !slices.Equal(order, []int64{1, 0}) {
			return nil, err
		}
		c.transposed = !c.transposed
		return &c, nil
	}
}

// combine subtracts b from a or multiplies a by b, whose values are repeated to a's shape; nil if that cannot be. a is of codes, from
// which zero points are subtracted once, before they are multiplied by scales once: any other factor is one that was folded in.
func combine(operator byte, a, b *constant) *constant {
	if a.typ != b.typ || !float(a.typ) || a.transposed || b.transposed || len(b.shape) > len(a.shape) {
		return nil
	}
	computed := func(s step) bool { return s.operator == operator || s.operator == '*' }
	if a.format < element.I8 || slices.ContainsFunc(a.steps, computed) || slices.ContainsFunc(b.steps, func(s step) bool { return s.operand != nil }) {
		return nil
	}
	strides := make([]uint64, len(a.shape))
	stride := uint64(1)
	for i := range slices.Backward(b.shape) {
		axis := len(a.shape) - len(b.shape) + i
		if b.shape[i] == a.shape[axis] {
			strides[axis] = stride
		} else if b.shape[i] != 1 {
			return nil
		}
		stride *= b.shape[i]
	}
	c := *a
	c.steps = append(slices.Clone(a.steps), step{operator, a.typ, b, a.shape, strides})
	return &c
}

// reshape gives c the shape that a constant states: -1 once for what remains, and 0 for an axis as it was.
func (g *graph) reshape(l *layer, c, pattern *constant) (*constant, error) {
	wanted, err := g.ints(pattern)
	if err != nil || wanted == nil || c.transposed {
		return nil, err
	}
	shape := make([]uint64, len(wanted))
	rest, known := -1, uint64(1)
	for i, n := range wanted {
		switch {
		case n == -1 && rest < 0:
			rest = i
			continue
		case n == 0 && l.data["special_zero"] == "true" && i < len(c.shape):
			n = int64(c.shape[i])
		case n < 0:
			return nil, nil
		}
		shape[i] = uint64(n)
		if n > 0 && known > math.MaxInt64/uint64(n) {
			return nil, nil
		}
		known *= uint64(n)
	}
	all := elements(c.shape)
	if rest >= 0 && known > 0 && all%known == 0 {
		shape[rest] = all / known
		known = all
	}
	if known != all {
		return nil, nil
	}
	c.shape = shape
	return c, nil
}

// elements is the number of values of the shape of a constant, which root has checked.
func elements(shape []uint64) uint64 {
	n, _ := source.Elements(shape)
	return n
}

// ints reads a constant of at most maxRank integers, nil if it is none.
func (g *graph) ints(c *constant) ([]int64, error) {
	size := int64(integers[c.root.data["element_type"]])
	if kind := c.root.data["element_type"]; kind != "i64" && kind != "i32" || len(c.steps) > 0 || elements(c.shape) > maxRank {
		return nil, nil
	}
	b := make([]byte, c.data.Size)
	if n, err := g.bin.ReadAt(b, c.data.Offset); n < len(b) {
		if errors.Is(err, io.EOF) {
			err = source.ErrTruncated
		}
		return nil, g.fail(c.root, err, fmt.Sprintf("its data in %s cannot be read: %v", g.bin.Path, err), "check the disk, or copy the files elsewhere")
	}
	list := make([]int64, 0, maxRank)
	for ; len(b) > 0; b = b[size:] {
		if size == 4 {
			list = append(list, int64(int32(binary.LittleEndian.Uint32(b))))
		} else {
			list = append(list, int64(binary.LittleEndian.Uint64(b)))
		}
	}
	return list, nil
}
