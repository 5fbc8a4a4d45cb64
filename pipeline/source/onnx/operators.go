package onnx

import "fmt"

// use is what an operand means: its axes in PyTorch's order, the order of the operand's axes that gives it, and the
// suffix of the name that a node path gives it ("" where the path is that of another module).
type use struct {
	axes   string
	order  []int
	suffix string
}

// operandReader says what operand input of n, of the given shape, is, or what is wrong with it and what to do.
type operandReader func(n *Node, input int, shape []uint64) (u use, problem, next string)

// Microsoft is the domain of ONNX Runtime's own operators.
const Microsoft = "com.microsoft"

// The operators whose weights are understood. ONNX's own are defined by onnx.ai/onnx/operators; those of com.microsoft, which
// ONNX Runtime and its optimizers write, by docs/ContribOperators.md of github.com/microsoft/onnxruntime.
var readers = map[[2]string]operandReader{
	{"", "MatMul"}:             matmul,
	{"", "Gemm"}:               gemm,
	{"", "Conv"}:               conv,
	{"", "Add"}:                broadcast(".bias"),
	{"", "Mul"}:                broadcast(".weight"),
	{"", "LayerNormalization"}: vectors(map[int]string{1: ".weight", 2: ".bias"}),
	{"", "Gather"}:             gather,
	{"", "Slice"}:              slice,

	{Microsoft, "FusedMatMul"}:     matmul,
	{Microsoft, "TransposeMatMul"}: matmul, // FusedMatMul's older name
	{Microsoft, "FusedGemm"}:       gemm,
	{Microsoft, "FusedConv"}:       conv,
	{Microsoft, "GemmFastGelu"}:    gemmFastGelu,
	{Microsoft, "BiasAdd"}:         vectors(map[int]string{1: ""}),
	{Microsoft, "BiasGelu"}:        vectors(map[int]string{1: ""}),
	{Microsoft, "FastGelu"}:        vectors(map[int]string{1: ""}),

	{Microsoft, "SkipLayerNormalization"}: skipLayerNorm,
	{Microsoft, "Attention"}:              attention,
	{Microsoft, "MultiHeadAttention"}:     vectors(map[int]string{3: ""}), // biases of q, k and v

	// The weights of these are codes (quantized.go).
	{Microsoft, "MatMulNBits"}:           vectors(map[int]string{5: ".bias"}),
	{Microsoft, "DynamicQuantizeMatMul"}: vectors(map[int]string{4: ".bias"}),
	{Microsoft, "MatMulIntegerToFloat"}:  vectors(map[int]string{6: ".bias"}),
}

// meaning says what operand input of n, of the given shape, is, or what is wrong with it and what to do.
func meaning(n *Node, input int, shape []uint64) (u use, problem, next string) {
	if read := readers[[2]string{n.Domain, n.Op}]; read != nil {
		return read(n, input, shape)
	}
	return u, "not understood there", "this operator's weights are not read yet: export the model without it"
}

// matmul is activation times [K,N], or [N,K] with the transB of a FusedMatMul.
func matmul(n *Node, input int, shape []uint64) (u use, problem, next string) {
	transB, ok := n.Int("transB", 0)
	batch, okBatch := n.Int("transBatchB", 0)
	alpha, okAlpha := n.Float("alpha", 1)
	fused := n.Domain == Microsoft
	switch {
	case input != 1 || len(shape) != 2:
		return u, "a constant left operand, or no matrix, which is not read", "export linear layers as activation times [K,N] weight"
	case fused && (!ok || !okBatch || transB < 0 || transB > 1 || batch != 0):
		return u, "under a transB or transBatchB that is not read", exportAgain
	case fused && (!okAlpha || alpha != 1):
		return u, fmt.Sprintf("scaled by alpha %g, expected 1", alpha), "optimize the model without fusing scales into its layers"
	case fused && transB == 1:
		return use{"NK", []int{0, 1}, ".weight"}, "", ""
	}
	return use{"NK", []int{1, 0}, ".weight"}, "", ""
}

func gemm(n *Node, input int, shape []uint64) (u use, problem, next string) {
	transB, ok := n.Int("transB", 0)
	alpha, okAlpha := n.Float("alpha", 1)
	beta, okBeta := n.Float("beta", 1)
	switch {
	case !ok || transB < 0 || transB > 1:
		return u, "under a transB that is neither 0 nor 1", exportAgain
	case input == 0:
		return u, "a constant left operand, which is not read", "export linear layers as activation times weight"
	case !okAlpha || !okBeta || input == 1 && alpha != 1 || input == 2 && beta != 1:
		return u, fmt.Sprintf("scaled by alpha %g or beta %g, expected 1", alpha, beta), "export with alpha and beta left at 1"
	case input == 2:
		if u = rows(shape, ".bias"); u.axes != "N" {
			return u, "no vector", notReadYet
		}
		return u, "", ""
	case len(shape) != 2:
		return u, "no matrix", exportAgain
	case transB == 1:
		return use{"NK", []int{0, 1}, ".weight"}, "", ""
	}
	return use{"NK", []int{1, 0}, ".weight"}, "", ""
}

// gemmFastGelu is FastGelu(activation times [K,N] + bias).
func gemmFastGelu(n *Node, input int, shape []uint64) (u use, problem, next string) {
	if input == 1 && len(shape) == 2 {
		return use{"NK", []int{1, 0}, ""}, "", ""
	}
	return vectors(map[int]string{2: ""})(n, input, shape)
}

// attention's weights are those of q, k and v side by side, [K, Nq+Nk+Nv], and so are its biases.
func attention(n *Node, input int, shape []uint64) (u use, problem, next string) {
	if input == 1 && len(shape) == 2 {
		return use{"NK", []int{1, 0}, ""}, "", ""
	}
	return vectors(map[int]string{2: ""})(n, input, shape)
}

// skipLayerNorm normalizes input + skip + bias; one of the two may be a constant, as positions are.
func skipLayerNorm(n *Node, input int, shape []uint64) (u use, problem, next string) {
	if input <= 1 {
		if u = rows(shape, ""); u.axes == "PN" {
			return u, "", ""
		}
	}
	return vectors(map[int]string{2: ".weight", 3: ".bias", 4: ""})(n, input, shape)
}

func conv(n *Node, input int, shape []uint64) (u use, problem, next string) {
	group, ok := n.Int("group", 1)
	switch {
	case !ok || group != 1:
		return u, fmt.Sprintf("of a convolution in %d groups, which is not read yet", group), notReadYet
	case input == 1 && len(shape) == 3:
		return use{"NCX", []int{0, 1, 2}, ".weight"}, "", ""
	case input == 2 && len(shape) == 1:
		return use{"N", []int{0}, ".bias"}, "", ""
	}
	return u, "no operand of a one-dimensional convolution, the only kind that is read", notReadYet
}

// broadcast reads a vector or matrix that is added to activations, or multiplied with them.
func broadcast(suffix string) operandReader {
	return func(n *Node, input int, shape []uint64) (u use, problem, next string) {
		switch u = rows(shape, suffix); u.axes {
		case "":
			return u, "neither vector nor matrix", notReadYet
		case "PN":
			u.suffix = "" // the path is that of the module around it, not of an embedding
		}
		return u, "", ""
	}
}

// vectors reads the operands that are vectors, each under the suffix of its name.
func vectors(suffixes map[int]string) operandReader {
	return func(n *Node, input int, shape []uint64) (u use, problem, next string) {
		suffix, ok := suffixes[input]
		if !ok {
			return u, "not understood there", "this operator's weights are not read yet: export the model without it"
		}
		if u = rows(shape, suffix); u.axes != "N" {
			return u, "no vector", "normalize over the last axis, and add biases to it, alone"
		}
		return u, "", ""
	}
}

// rows reads a shape that is broadcast against rows: a vector or a matrix, behind axes of length 1.
func rows(shape []uint64, suffix string) use {
	order := make([]int, len(shape))
	for i := range order {
		order[i] = i
	}
	for len(order) > 1 && shape[order[0]] == 1 {
		order = order[1:]
	}
	switch len(order) {
	case 1:
		return use{"N", order, suffix}
	case 2:
		return use{"PN", order, suffix}
	}
	return use{}
}
