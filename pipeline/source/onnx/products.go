package onnx

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// product is a matrix product or convolution with codes of 8 bits, of which the operator itself has the scales: one for all, or one
// for each output.
func (f *finder) product(n *Node, at operands) (*coded, error) {
	return f.scaledProduct(n, at, Use{n, at.scales})
}

// scaledProduct is product with scales that may be another node's operand.
func (f *finder) scaledProduct(n *Node, at operands, scales Use) (*coded, error) {
	codes, o, err := f.codesAt(n, at.codes, typeUint8, typeInt8)
	if err != nil {
		return nil, err
	}
	q := &coded{coding: &coding{typ: element.F32, codes: codes}}
	outputs := 1 // the axis of the codes
	switch shape := o.Shape(); n.Op {
	case "ConvInteger", "QLinearConv":
		var problem, next string
		read := conv
		if f.general {
			read = convolution
		}
		if q.as, problem, next = read(n, 1, shape); problem != "" {
			return nil, refuse(n, at.codes, o, problem, next)
		}
		outputs = 0
	case "QGemm":
		var problem, next string
		if q.as, problem, next = gemm(n, 1, shape); problem != "" {
			return nil, refuse(n, at.codes, o, problem, next)
		}
		outputs = q.as.order[0] // 1, or 0 with transB
	default:
		if len(shape) != 2 {
			return nil, refuse(n, at.codes, o, "no matrix", exportAgain)
		}
		q.as = use{"NK", []int{1, 0}, ".weight"}
	}
	if err := f.linear(n, q, o, scales, at.zeros, spread{axis: outputs}); err != nil {
		return nil, err
	}
	for i, axis := range q.as.order {
		q.as.order[i] = o.Perm[axis]
	}
	return q.complete(n, o.Constant.Type)
}

// integerProduct is a MatMulInteger or ConvInteger. The scales come after it:
//
//	x -> DynamicQuantizeLinear -> codes, zero point -> n -> Cast -> Mul (scale of x * scales of the weights)
func (f *finder) integerProduct(n *Node, at operands) (*coded, error) {
	scales, result, problem := n.rescaled()
	if problem != "" {
		return nil, n.graph.Fail(n, source.ErrUnsupported, problem, quantizeAgain)
	}
	if o := scales.Node.origin(scales.Input); o.Constant.Elements > 1 {
		// It is multiplied with [.., N], or with [.., N, X] and as many more axes as the convolution has.
		behind := 1
		if codes := n.origin(at.codes); n.Op == "ConvInteger" {
			behind = max(len(codes.Perm)-1, 1)
		}
		if shape := o.Shape(); len(shape) < behind || shape[len(shape)-behind] != o.Constant.Elements {
			return nil, notCodes(scales.Node, scales.Input, fmt.Sprintf("the scales %.200q %v, has not one for each output", o.Constant.Name, shape))
		}
	}
	q, err := f.scaledProduct(n, at, scales)
	if err == nil {
		q.result = result
	}
	return q, err
}

// rescaled follows what n, a product of integers, gives to the multiplication with scales: those of the weights are an operand of a
// Mul, and result is what all of it gives.
func (n *Node) rescaled() (scales Use, result *Value, problem string) {
	const want = "its product is not cast to float and multiplied with the scales of both operands, as ONNX Runtime's quantizer writes it"
	x := n.In[0]
	if x == nil || x.Producer == nil || !x.Producer.standard("DynamicQuantizeLinear") || x.Output != 0 {
		return scales, nil, "its first operand is not what a DynamicQuantizeLinear gives"
	}
	if len(n.In) > 2 && n.In[2] != nil && (n.In[2].Producer != x.Producer || n.In[2].Output != 2) {
		return scales, nil, "its third operand is not the zero point of the first"
	}
	cast := n.onlyUse()
	if cast.Node == nil || !cast.Node.standard("Cast") {
		return scales, nil, want
	}
	if to, ok := cast.Node.Int("to", 0); !ok || DataType(to) != typeFloat {
		return scales, nil, want
	}
	activations := false
	at := cast.Node
	for range 2 {
		u := at.onlyUse()
		if u.Node == nil || !u.Node.standard("Mul") || len(u.Node.In) != 2 || len(u.Node.Out) != 1 {
			return scales, nil, want
		}
		at = u.Node
		factors := []Use{{at, 1 - u.Input}}
		if v := at.In[1-u.Input]; v != nil && v.Origin == nil && v.Producer != nil && v.Producer.standard("Mul") && len(v.Producer.In) == 2 {
			factors = []Use{{v.Producer, 0}, {v.Producer, 1}}
		}
		for _, u := range factors {
			switch v := u.Node.In[u.Input]; {
			case v == nil:
				return scales, nil, want
			case v.Producer == x.Producer && v.Output == 1 && !activations:
				activations = true
			case v.Origin != nil && scales.Node == nil:
				scales = u
			default:
				return scales, nil, want
			}
		}
		if activations && scales.Node != nil {
			return scales, at.Out[0], ""
		}
	}
	return scales, nil, want
}

// onlyUse is the one use of n's first output, none if there are several.
func (n *Node) onlyUse() Use {
	if len(n.Out) == 0 || n.Out[0] == nil || len(n.Out[0].Uses) != 1 || n.Out[0].Uses[0].Input < 0 {
		return Use{}
	}
	return n.Out[0].Uses[0]
}

// blockedSizes are the attributes of an operator whose weights are matrices [N,K] in blocks.
func blockedSizes(n *Node) (outputs, inputs, block uint64, err error) {
	fail := func(what string, v int64) error {
		return n.graph.Fail(n, source.ErrCorrupt, fmt.Sprintf("%s %d, which is not in its definition", what, v), quantizeAgain)
	}
	var v [3]int64
	for i, name := range []string{"N", "K", "block_size"} {
		var ok bool
		if v[i], ok = n.Int(name, 0); !ok || v[i] < 1 {
			return 0, 0, 0, fail(name, v[i])
		}
	}
	if v[2] < 16 || v[2] > 1<<30 || bits.OnesCount64(uint64(v[2])) != 1 {
		return 0, 0, 0, fail("block_size", v[2])
	}
	if _, ok := source.Bytes([]uint64{uint64(v[0]), uint64(v[1]) + uint64(v[2])}, element.F32); !ok {
		return 0, 0, 0, fail("N*K with N", v[0])
	}
	return uint64(v[0]), uint64(v[1]), uint64(v[2]), nil
}

// counted fails if operand i of n, called what, has not the number of elements that there should be.
func counted(n *Node, i int, what string, o *Origin, want uint64) error {
	if c := o.Constant; c.Elements != want || !o.straight() {
		return n.graph.Fail(n, source.ErrCorrupt, fmt.Sprintf("its operand %d, the %s %.200q %v, has %d elements, expected %d", i, what, c.Name, o.Shape(), c.Elements, want), quantizeAgain)
	}
	return nil
}

// nBits is MatMulNBits: weights [N,K] in codes of 2, 4 or 8 bits, each row padded to whole blocks; a scale for each block, and a zero
// point in codes packed as the weights are, or in floats, or 2^(bits-1). With floats, or groups listed, ONNX Runtime computes
// code * scale + (-zero * scale) (contrib_ops/cpu/quantization/matmul_nbits_impl.cc).
func (f *finder) nBits(n *Node, at operands) (*coded, error) {
	size, okBits := n.Int("bits", 4)
	typ := map[int64]DataType{2: codeUint2, 4: typeUint4, 8: typeUint8}[size]
	switch prepacked, ok := n.Int("weight_prepacked", 0); {
	case !okBits || typ == 0:
		return nil, n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("has codes of %d bits, expected 2, 4 or 8", size), quantizeAgain)
	case !ok || prepacked != 0:
		return nil, n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("its weights are packed for one device (weight_prepacked %d)", prepacked), "give the model from before that")
	}
	outputs, inputs, block, err := blockedSizes(n)
	if err != nil {
		return nil, err
	}
	perByte := 8 / uint64(size)
	blocks := (inputs + block - 1) / block
	q := &coded{coding: &coding{typ: element.F32, fixed: float32(int(1) << (size - 1))}, as: use{"NK", []int{0, 1}, ".weight"}, shape: []uint64{outputs, inputs}}
	if q.codes, q.origin, err = f.codesAt(n, at.codes, typeUint8); err != nil {
		return nil, err
	}
	if err := counted(n, at.codes, "codes", q.origin, outputs*blocks*block/perByte); err != nil {
		return nil, err
	}
	var scales *Origin
	if q.scales, scales, err = f.floatsAt(n, at.scales); err != nil {
		return nil, err
	}
	if err := counted(n, at.scales, "scales", scales, outputs*blocks); err != nil {
		return nil, err
	}
	q.axes = []codedAxis{{size: outputs, block: 1, code: blocks * block, scale: blocks}, {size: inputs, block: block, code: 1, scale: 1}}
	q.codes.packed(typ, int(size))
	if err := f.nBitsZeros(n, at.zeros, q, blocks, typ, int(size)); err != nil {
		return nil, err
	}
	if err := f.nBitsGroups(n, q, inputs, block); err != nil {
		return nil, err
	}
	q.parted(n, at.scales, at.zeros)
	q.stored = fmt.Sprintf("%d-bit codes, scales of %d", size, block)
	return q.complete(n, typ)
}

// packed makes a, which are bytes, codes of that type, of which several share a byte.
func (a *numbers) packed(typ DataType, bits int) {
	a.bits, a.codes, a.count = bits, codeTable(typ), a.count*(8/uint64(bits))
}

// nBitsZeros reads the zero points of a MatMulNBits, its operand i.
func (f *finder) nBitsZeros(n *Node, i int, q *coded, blocks uint64, typ DataType, size int) error {
	if i >= len(n.In) || n.In[i] == nil {
		return nil
	}
	rows := q.axes[0].size
	if o := n.origin(i); o != nil && o.Constant.Type.Format() != 0 {
		var err error
		if q.zeros, o, err = f.floatsAt(n, i); err != nil {
			return err
		}
		q.axes[0].zero, q.axes[1].zero, q.split = blocks, 1, true
		return counted(n, i, "zero points", o, rows*blocks)
	}
	zeros, o, err := f.codesAt(n, i, typeUint8)
	if err != nil {
		return err
	}
	perByte := 8 / uint64(size)
	row := (blocks + perByte - 1) / perByte // bytes
	if err := counted(n, i, "zero points", o, rows*row); err != nil {
		return err
	}
	zeros.packed(typ, size)
	q.zeros, q.axes[0].zero, q.axes[1].zero = zeros, row*perByte, 1
	return nil
}

// nBitsGroups reads the list of groups of a MatMulNBits, which is deprecated: each index of K must be in the group it has anyway. Packed
// zero points beside it are refused, since ONNX Runtime 1.30 computes with 8 in their place.
func (f *finder) nBitsGroups(n *Node, q *coded, inputs, block uint64) error {
	const i = 4
	if i >= len(n.In) || n.In[i] == nil {
		return nil
	}
	list, o, err := f.codesAt(n, i, typeInt32)
	if err != nil {
		return err
	}
	if q.zeros.codes != nil {
		return notCodes(n, i, "a list of groups, stands beside packed zero points, which runtimes do not read alike")
	}
	if err := counted(n, i, "groups", o, inputs); err != nil {
		return err
	}
	if err := f.examine(n, inputs); err != nil {
		return err
	}
	var raw [4 * chunk]byte
	for at := uint64(0); at < inputs; at += chunk {
		part := raw[:4*min(chunk, inputs-at)]
		if err := f.ReadAt(part, &list.tensor, int64(4*at)); err != nil {
			return err
		}
		for j := range uint64(len(part) / 4) {
			if g := binary.LittleEndian.Uint32(part[4*j:]); uint64(g) != (at+j)/block {
				return notCodes(n, i, fmt.Sprintf("the groups %.200q, has input %d in group %d, which is not its block", o.Constant.Name, at+j, g))
			}
		}
	}
	q.split = true
	q.parted(n, i)
	return nil
}

// bnb4 is MatMulBnb4: weights [N,K] as NF4 or FP4, of the two codes in a byte the first in its upper half. The blocks that have a scale
// run over the rows, one after the other.
func (f *finder) bnb4(n *Node, at operands) (*coded, error) {
	kind, okKind := n.Int("quant_type", -1)
	transB, okTrans := n.Int("transB", 1)
	switch {
	case !okKind || kind < 0 || kind > 1:
		return nil, n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("quant_type %d, expected 0 (FP4) or 1 (NF4)", kind), quantizeAgain)
	case !okTrans || transB != 1:
		return nil, n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("transB %d, which training has; expected 1", transB), quantizeAgain)
	}
	outputs, inputs, block, err := blockedSizes(n)
	if err != nil {
		return nil, err
	}
	typ := [2]DataType{codeFP4, codeNF4}[kind]
	q := &coded{coding: &coding{typ: element.F32}, as: use{"NK", []int{0, 1}, ".weight"}, shape: []uint64{outputs, inputs}}
	if q.codes, q.origin, err = f.codesAt(n, at.codes, typeUint8); err != nil {
		return nil, err
	}
	values := outputs * inputs
	if err := counted(n, at.codes, "codes", q.origin, (values+1)/2); err != nil {
		return nil, err
	}
	var scales *Origin
	if q.scales, scales, err = f.floatsAt(n, at.scales); err != nil {
		return nil, err
	}
	if err := counted(n, at.scales, "scales", scales, (values+block-1)/block); err != nil {
		return nil, err
	}
	q.codes.packed(typ, 4)
	q.codes.high = true
	switch {
	case inputs%block == 0:
		q.axes = []codedAxis{{size: outputs, block: 1, code: inputs, scale: inputs / block}, {size: inputs, block: block, code: 1, scale: 1}}
	case block%inputs == 0:
		q.axes = []codedAxis{{size: outputs, block: block / inputs, code: inputs, scale: 1}, {size: inputs, code: 1}}
	default:
		q.axes = []codedAxis{{size: values, block: block, code: 1, scale: 1}}
	}
	q.parted(n, at.scales)
	q.stored = fmt.Sprintf("%s codes, scales of %d", [2]string{"FP4", "NF4"}[kind], block)
	return q.complete(n, typ)
}
