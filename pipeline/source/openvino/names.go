package openvino

import (
	"fmt"
	"slices"
	"strings"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// operand is a constant operand of the network, of more than one value: what an operator takes.
type operand struct {
	use
	from *layer
	c    *constant
	uses int // of the Const that it is made of, by all operators
}

// named is what a tensor is told from others by.
type named struct {
	name string
	from *layer
}

// tensors puts the constant operands of the network into the catalogue.
func (g *graph) tensors() error {
	operands, err := g.operands()
	if err != nil {
		return err
	}
	seen, taken, copies := map[named]bool{}, map[string]bool{}, map[string]int{}
	for _, o := range operands {
		if !float(o.c.typ) && o.c.typ != element.F64 {
			g.other(o.c.root)
			continue
		}
		name, err := g.name(o)
		if err != nil {
			return err
		}
		if seen[named{name, o.from}] {
			continue
		}
		seen[named{name, o.from}] = true
		unique := name
		for taken[unique] {
			copies[name]++
			unique = fmt.Sprintf("%s (%d)", name, copies[name]+1)
		}
		taken[unique] = true
		if err := g.add(unique, o); err != nil {
			return err
		}
	}
	return nil
}

func (g *graph) operands() ([]operand, error) {
	var list []operand
	uses := map[*layer]int{}
	for _, l := range g.net.layers {
		c, err := g.constant(l)
		if err != nil {
			return nil, err
		}
		if c == nil || elements(c.shape) < 2 {
			continue
		}
		for _, u := range l.consumers {
			of, err := g.constant(u.layer)
			if err != nil {
				return nil, err
			}
			if of == nil { // else a step on the way
				uses[c.root]++
				list = append(list, operand{use: u, from: l, c: c})
			}
		}
	}
	for i := range list {
		list[i].uses = uses[list[i].c.root]
	}
	return list, nil
}

// other notes a Const in a type that weights are not read from, unless it is one that has no weights.
func (g *graph) other(l *layer) {
	kind := l.data["element_type"]
	if _, integer := integers[kind]; !integer && kind != "string" {
		g.m.Others[ownName(l)] = kind
	}
}

// add adds the tensor of an operand to the catalogue.
func (g *graph) add(name string, o operand) error {
	c, shape, transposed := o.c, o.c.shape, o.c.transposed
	switch o.kind {
	case "MatMul":
		for len(shape) > 2 && shape[0] == 1 {
			shape = shape[1:]
		}
		switch text := o.data["transpose_b"]; text {
		case "true":
		case "false", "":
			transposed = !transposed
		default:
			return g.fail(o.layer, source.ErrCorrupt, fmt.Sprintf("transpose_b is %.50q, expected true or false", text), exportAgain)
		}
	case "Add", "Multiply":
		shape = withoutUnits(shape)
	}
	if transposed && len(shape) == 2 {
		g.m.Transposed[name] = true
	}
	t := source.Tensor{Name: name, Type: c.format, Shape: shape, Data: c.data}
	if steps := c.rounding(); len(steps) > 0 {
		t.Type = steps[len(steps)-1].to
		size, _ := source.Bytes(shape, t.Type) // root has seen that it is less than 2^63
		t.Data = source.Data{File: c.data.File, Offset: c.data.Offset, Size: size, Decoder: &values{name, c, steps, t.Type}}
		t.Stored = fmt.Sprintf("%s, computed in %v", c.root.data["element_type"], t.Type)
	}
	g.m.Tensors = append(g.m.Tensors, t)
	return nil
}

func withoutUnits(shape []uint64) []uint64 {
	out := []uint64{}
	for _, n := range shape {
		if n != 1 {
			out = append(out, n)
		}
	}
	return out
}

// rounding are the steps of c from the first up to the last that may change a value; none where all convert floats to types that have
// them.
func (c *constant) rounding() []step {
	steps := c.steps
	for len(steps) > 0 {
		before := c.format
		if len(steps) > 1 {
			before = steps[len(steps)-2].to
		}
		if last := steps[len(steps)-1]; last.operand != nil || !wider(before, last.to) {
			break
		}
		steps = steps[:len(steps)-1]
	}
	for len(steps) > 1 && steps[0].operand == nil && c.integers() {
		steps = steps[1:]
	}
	return steps
}

// integers reports whether c is made of integers, of at most 8 bits: every float type has them.
func (c *constant) integers() bool {
	return c.format == element.I8 || c.format == element.U8 || c.format == element.I4 || c.format == element.U4
}

// wider reports whether every value of a float type is one of another.
func wider(of, in element.Format) bool {
	return of == in || in == element.F32 && float(of)
}

// ownName is what a constant is called: FP16 compression appends a word.
func ownName(l *layer) string { return strings.TrimSuffix(l.name, "_compressed") }

// ofState reports whether a name is one of a state dict, as frontends keep it.
func ofState(name string) bool {
	return strings.HasPrefix(name, "self.") || !strings.ContainsAny(name, "/:") &&
		(strings.HasSuffix(name, ".weight") || strings.HasSuffix(name, ".bias") || strings.HasSuffix(name, positions[1]))
}

// positions are what the last part of the names of positions is: Hugging Face's, OpenAI's.
var positions = [2]string{"embed_positions.weight", "positional_embedding"}

// name is what an operand is called.
func (g *graph) name(o operand) (string, error) {
	own, path := ownName(o.c.root), o.parameter()
	kept := ofState(own)
	switch {
	case !g.takesWeights(o, path) || path == "" && !kept:
		if o.kind == "Multiply" && kept && g.known[o.other()] != nil {
			g.m.Others[own] = o.c.root.data["element_type"] + " times a factor that is folded in"
		}
		return fmt.Sprintf("%.200q (operand %d of %s)", own, o.input, o.layer), nil
	case !kept:
		return path, nil
	case path == "" || agree(strings.TrimPrefix(own, "self."), path) || strings.HasSuffix(path, positions[0]):
		return own, nil
	case o.uses == 1:
		return "", g.fail(o.layer, source.ErrMismatch, fmt.Sprintf("takes the constant %.200q, and by its path it has %.200q", own, path), exportAgain)
	}
	return path, nil // equal constants are one constant, which has the name of the first
}

// agree reports whether names are the same, but for the modules around what was traced.
func agree(a, b string) bool {
	return strings.HasSuffix("."+a, "."+b) || strings.HasSuffix("."+b, "."+a)
}

// takesWeights reports whether an operator takes weights, as they are, where it takes o.
func (g *graph) takesWeights(o operand, path string) bool {
	switch o.kind {
	case "MatMul", "Convolution":
		return o.input == 1
	case "Gather", "Slice", "StridedSlice":
		return o.input == 0
	case "Add":
		return true
	case "Multiply": // in a LayerNorm, and not by another constant
		other := o.other()
		return other != nil && g.known[other] == nil && (path != "" || other.kind == "MVN" || other.kind == "Divide")
	}
	return false
}

// other is the operand beside o of an operator of two; nil if there is none.
func (o operand) other() *layer {
	if len(o.inputs) != 2 {
		return nil
	}
	return o.inputs[1-o.input]
}

// parameter is the name that an operand has by the path of the operator that takes it; "" if the path tells none.
func (o operand) parameter() string {
	module, ok := module(o.layer)
	switch {
	case !ok:
		return ""
	case o.kind == "Add" && len(withoutUnits(o.c.shape)) == 2: // the one sum with a matrix, in the module of encoder or decoder
		return strings.TrimPrefix(module+"."+positions[0], ".")
	case module == "":
		return ""
	case o.kind == "Add":
		return module + ".bias"
	}
	return module + ".weight"
}

// operators are what else than its kind the last part of an operator's name is, in the path of an ONNX node. The sum with the bias of a
// Conv or Gemm has that node's name, and the product another suffix.
var operators = map[string][]string{"Convolution": {"Conv"}, "Multiply": {"Mul"}, "MatMul": {"Gemm"}, "Add": {"Conv", "Gemm"}}

const withoutBias = "/WithoutBiases"

// module is the path of the module in which an operator is called as it is: that of PyTorch's frontend with the function between, or
// that of an ONNX node. OpenVINO's fusions give an operator that they make the name of the last one they replace: a MatMul or an Add
// into whose constant the factor of a Multiply was folded is called as that, and tells nothing.
func module(l *layer) (string, bool) {
	path, last, _ := cutLast(strings.TrimSuffix(l.name, withoutBias))
	if i := strings.LastIndexByte(last, '_'); i > 0 && strings.Trim(last[i+1:], "0123456789") == "" {
		last = last[:i]
	}
	if rest, traced := strings.CutPrefix(path, "__module"); traced {
		path, function, ok := cutLast(rest)
		return strings.TrimPrefix(path, "."), ok && last == l.kind && strings.Contains(function, "::")
	}
	called := last == l.kind || slices.Contains(operators[l.kind], last)
	return strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "."), called && strings.HasPrefix(l.name, "/")
}

// cutLast cuts a name at its last slash.
func cutLast(name string) (before, after string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}
