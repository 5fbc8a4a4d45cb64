package onnx

import (
	"fmt"
	"slices"
	"strings"

	"npuw/artifact/element"
)

// The operators whose weights are understood in a model of any family, beside those of readers. Where an operator is in both, this is
// asked first. Factors of a Gemm (alpha, beta) are no part of its weights. Axes, in the order of PyTorch's state dict, are
//
//	NK       a linear weight: N out, K in; BNK several of them, of one layer in B directions or of a batched product
//	NC, X    of a convolution: N out, C in, then Z, Y and X of the kernel, as many as it has
//	NI, X    of one in groups: I are the inputs of a group
//	CN, X    of a transposed one
//	N, BN    vectors
//	PN       rows that are looked up or added
var generalReaders = map[[2]string]operandReader{
	{"", "MatMul"}: product,
	{"", "Gemm"}:   gemmOperand,
	{"", "Conv"}:   convolution,

	{"", "ConvTranspose"}: transposedConvolution,
	{"", "Add"}:           elementwise,
	{"", "Sub"}:           elementwise,
	{"", "Mul"}:           elementwise,
	{"", "Div"}:           elementwise,
	{"", "PRelu"}:         slopes,
	{"", "Gather"}:        table,
	{"", "Slice"}:         slicedTable,

	{"", "BatchNormalization"}:    vectors(map[int]string{1: ".weight", 2: ".bias", 3: ".running_mean", 4: ".running_var"}),
	{"", "InstanceNormalization"}: vectors(map[int]string{1: ".weight", 2: ".bias"}),
	{"", "GroupNormalization"}:    vectors(map[int]string{1: ".weight", 2: ".bias"}),
	{"", "RMSNormalization"}:      vectors(map[int]string{1: ".weight"}),

	{"", "LSTM"}: recurrent,
	{"", "GRU"}:  recurrent,
	{"", "RNN"}:  recurrent,

	{"", "SimplifiedLayerNormalization"}:            vectors(map[int]string{1: ".weight"}), // ONNX Runtime's, in ONNX's domain
	{Microsoft, "SkipSimplifiedLayerNormalization"}: vectors(map[int]string{2: ".weight", 3: ".bias"}),
	{Microsoft, "FusedMatMul"}:                      product,
	{Microsoft, "TransposeMatMul"}:                  product,
	{Microsoft, "FusedGemm"}:                        gemmOperand,
	{Microsoft, "FusedConv"}:                        convolution,
	{Microsoft, "EmbedLayerNormalization"}:          embedding,
}

// unknown is what a reader of generalReaders says of an operand that it does not read.
const unknown = "no weights that are understood"

// product is a matrix product, of which either operand may be weights: those on the left are [N,K]. ONNX Runtime's has transA and transB.
func product(n *Node, input int, shape []uint64) (u use, problem, next string) {
	transposed, batch := int64(0), int64(0)
	if n.Domain == Microsoft {
		name := []string{"A", "B"}[min(max(input, 0), 1)]
		var ok, okBatch bool
		transposed, ok = n.Int("trans"+name, 0)
		batch, okBatch = n.Int("transBatch"+name, 0)
		if !ok || !okBatch || transposed < 0 || transposed > 1 || batch != 0 {
			return u, unknown, ""
		}
	}
	outFirst := (input == 0) == (transposed == 0)
	switch len(shape) {
	case 1:
		return use{"N", []int{0}, ".weight"}, "", ""
	case 2:
		if outFirst {
			return use{"NK", []int{0, 1}, ".weight"}, "", ""
		}
		return use{"NK", []int{1, 0}, ".weight"}, "", ""
	case 3:
		if outFirst {
			return use{"BNK", []int{0, 1, 2}, ".weight"}, "", ""
		}
		return use{"BNK", []int{0, 2, 1}, ".weight"}, "", ""
	}
	return u, unknown, ""
}

// gemmOperand is a Gemm's matrix on either side, or what it adds.
func gemmOperand(n *Node, input int, shape []uint64) (u use, problem, next string) {
	transA, okA := n.Int("transA", 0)
	transB, okB := n.Int("transB", 0)
	switch {
	case input == 2:
		return broadcastRows(shape, ".bias")
	case !okA || !okB || transA < 0 || transA > 1 || transB < 0 || transB > 1 || len(shape) != 2:
		return u, unknown, ""
	case input == 0 && transA == 0, input == 1 && transB == 1:
		return use{"NK", []int{0, 1}, ".weight"}, "", ""
	}
	return use{"NK", []int{1, 0}, ".weight"}, "", ""
}

// kernelAxes are the axes of a convolution's kernel, by their number.
var kernelAxes = []string{"", "X", "YX", "ZYX"}

// convolution is one of one to three dimensions, in groups or not.
func convolution(n *Node, input int, shape []uint64) (u use, problem, next string) {
	group, ok := n.Int("group", 1)
	switch {
	case input == 2 && len(shape) == 1:
		return use{"N", []int{0}, ".bias"}, "", ""
	case input != 1 || !ok || len(shape) < 3 || len(shape) > 5:
		return u, unknown, ""
	case group == 1:
		return use{"NC" + kernelAxes[len(shape)-2], ascending(len(shape)), ".weight"}, "", ""
	}
	return use{"NI" + kernelAxes[len(shape)-2], ascending(len(shape)), ".weight"}, "", ""
}

// transposedConvolution has weights [C,N,X]; those of groups are not read as such.
func transposedConvolution(n *Node, input int, shape []uint64) (u use, problem, next string) {
	group, ok := n.Int("group", 1)
	switch {
	case input == 2 && len(shape) == 1:
		return use{"N", []int{0}, ".bias"}, "", ""
	case input != 1 || !ok || group != 1 || len(shape) < 3 || len(shape) > 5:
		return u, unknown, ""
	}
	return use{"CN" + kernelAxes[len(shape)-2], ascending(len(shape)), ".weight"}, "", ""
}

// elementwise is a vector or matrix that is broadcast; its own node's path is no name for it.
func elementwise(_ *Node, _ int, shape []uint64) (u use, problem, next string) {
	return broadcastRows(shape, "")
}

func slopes(_ *Node, input int, shape []uint64) (u use, problem, next string) {
	if input != 1 {
		return u, unknown, ""
	}
	return broadcastRows(shape, ".weight")
}

// broadcastRows reads a vector or a matrix among axes of length 1.
func broadcastRows(shape []uint64, suffix string) (u use, problem, next string) {
	var order []int
	for axis, size := range shape {
		if size != 1 {
			order = append(order, axis)
		}
	}
	switch {
	case len(shape) == 0:
		return u, unknown, ""
	case len(order) == 0:
		return use{"N", []int{len(shape) - 1}, suffix}, "", ""
	case len(order) == 1:
		return use{"N", order, suffix}, "", ""
	case len(order) == 2:
		return use{"PN", order, suffix}, "", ""
	}
	return u, unknown, ""
}

// table is a matrix of which rows are looked up.
func table(n *Node, input int, shape []uint64) (u use, problem, next string) {
	if axis, ok := n.Int("axis", 0); input != 0 || len(shape) != 2 || !ok || axis != 0 && axis != -2 {
		return u, unknown, ""
	}
	return use{"PN", []int{0, 1}, ".weight"}, "", ""
}

// embedding adds rows of tables of words, positions and segments, and normalizes the sum.
func embedding(n *Node, input int, shape []uint64) (u use, problem, next string) {
	if input >= 2 && input <= 4 && len(shape) == 2 {
		return use{"PN", []int{0, 1}, []string{".words", ".positions", ".segments"}[input-2]}, "", ""
	}
	return vectors(map[int]string{5: ".weight", 6: ".bias"})(n, input, shape)
}

// slicedTable is a matrix of which a computed number of rows is taken, one behind the other, as positions are.
func slicedTable(n *Node, input int, shape []uint64) (u use, problem, next string) {
	if len(n.In) > 3 && input == 0 && len(shape) == 2 && !(isKnown(n.In[1]) && isKnown(n.In[2])) {
		if axes := n.In[3].Ints(); len(axes) == 1 && (axes[0] == 0 || axes[0] == -2) {
			return use{"PN", []int{0, 1}, ".weight"}, "", ""
		}
	}
	return u, unknown, ""
}

// isKnown reports whether all elements of a small integer value are constant.
func isKnown(v *Value) bool {
	list := v.Ints()
	return list != nil && !slices.Contains(list, Unknown)
}

// recurrent is an LSTM, GRU or RNN of B directions: weights of inputs and of hidden states [B,N,K], N being the gates one behind the
// other in ONNX's order, biases and peepholes [B,N].
func recurrent(_ *Node, input int, shape []uint64) (u use, problem, next string) {
	switch {
	case input == 1 && len(shape) == 3:
		return use{"BNK", []int{0, 1, 2}, ".weight_ih"}, "", ""
	case input == 2 && len(shape) == 3:
		return use{"BNK", []int{0, 1, 2}, ".weight_hh"}, "", ""
	case input == 3 && len(shape) == 2:
		return use{"BN", []int{0, 1}, ".bias"}, "", ""
	case input == 7 && len(shape) == 2:
		return use{"BN", []int{0, 1}, ".peepholes"}, "", ""
	}
	return u, unknown, ""
}

func ascending(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

// generalPath is pathName for any operator: the last part of a node's path goes only if it is its operator. A node that has a name and no
// path gives that.
func generalPath(n *Node, suffix string) string {
	if name := pathName(n, suffix); name != "" || n.Name == "" {
		return name
	}
	name := strings.Trim(n.Name, "/")
	if path, op, ok := cutLast(name, "/"); ok {
		if head, digits, cut := cutLast(op, "_"); cut && strings.Trim(digits, "0123456789") == "" {
			op = head
		}
		if op == n.Op {
			name = path
		}
	}
	return strings.ReplaceAll(name, "/", ".") + suffix
}

// findLookup finds the codes of a table of which n takes computed rows: those of a GatherBlockQuantized, or of a Gather or Slice behind
// which a DequantizeLinear with one scale makes values.
func (f *finder) findLookup(n *Node) error {
	o := n.origin(0)
	if o == nil || o.Decoded != nil || o.Constant.Raw == nil || n.carries() {
		return nil
	}
	var q *coded
	var err error
	switch u := n.onlyUse(); {
	case n.Domain == Microsoft && n.Op == "GatherBlockQuantized" && len(n.In) >= 3:
		q, err = f.gatherBlocks(n)
	case (n.standard("Gather") || n.standard("Slice")) && u.Node != nil && u.Input == 0 && u.Node.isDequantizeLinear() && len(u.Node.In) >= 2:
		q, err = f.gatheredCodes(n, o, u.Node)
	}
	if q == nil || err != nil {
		return err
	}
	if !o.straight() {
		return notCodes(n, 0, fmt.Sprintf("%.200q, is transposed before rows of it are looked up", o.Constant.Name))
	}
	values := Origin{Constant: o.Constant, Perm: o.Perm, shape: q.shape}
	as, problem, next := f.lookup(n)(n, 0, values.Shape())
	if axis, ok := n.Int("gather_axis", 0); !ok || axis != 0 && axis != -2 {
		problem, next = notRows, notReadYet
	}
	switch {
	case problem == "":
		q.as = as
		for i, axis := range as.order {
			q.as.order[i] = o.Perm[axis]
		}
	case f.general:
		q.as = use{suffix: ".weight", order: ascending(len(q.shape))}
	default:
		return refuse(n, 0, o, fmt.Sprintf("codes in %s, and %s", o.Constant.Type, problem), next)
	}
	f.operands[Use{n, 0}] = q
	for _, u := range q.parts {
		f.operands[u] = nil
	}
	return nil
}

// lookup says what the table is of which n takes rows.
func (f *finder) lookup(n *Node) operandReader {
	switch {
	case n.Op == "Slice" && f.general:
		return slicedTable
	case n.Op == "Slice":
		return slice
	case f.general:
		return table
	}
	return gather
}

// gatheredCodes are the codes o of the Gather or Slice n, of which dq makes values with one scale.
func (f *finder) gatheredCodes(n *Node, o *Origin, dq *Node) (*coded, error) {
	scale := dq.origin(1)
	if scale == nil || scale.Constant.Elements != 1 {
		return nil, notCodes(dq, 1, "the scale of rows that are looked up, is not one constant for all")
	}
	if len(o.Perm) == 0 {
		return nil, refuse(n, 0, o, notRows, notReadYet)
	}
	codes, _, err := f.codesAt(n, 0, typeUint8, typeInt8)
	if err != nil {
		return nil, err
	}
	q := &coded{coding: &coding{typ: element.F32, codes: codes}}
	typ := dq.In[1].floatType()
	if to, ok := dq.Int("output_dtype", 0); !ok || to != 0 && to != int64(typ) {
		return nil, notCodes(dq, 1, fmt.Sprintf("the scale, is in %s where output_dtype %d is asked for", typ, to))
	}
	if typ := typ.Format(); typ != 0 && typ != element.F64 {
		q.typ = typ
	}
	if err := f.linear(dq, q, o, Use{dq, 1}, 2, spread{}); err != nil {
		return nil, err
	}
	return q.complete(n, o.Constant.Type)
}
