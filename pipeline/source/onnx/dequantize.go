package onnx

import (
	"fmt"
	"math/bits"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// dequantizes reports whether n makes values of constant codes: a DequantizeLinear, or a GatherBlockQuantized that takes all of them
// in order.
func (n *Node) dequantizes() bool {
	o := n.origin(0)
	if o == nil || o.Decoded != nil || o.Constant.Raw == nil || len(n.Out) == 0 || n.Out[0] == nil {
		return false
	}
	if n.isDequantizeLinear() {
		return len(n.In) == 2 || len(n.In) == 3
	}
	if n.Domain != Microsoft || n.Op != "GatherBlockQuantized" || len(n.In) < 3 || len(n.In) > 4 || !o.straight() {
		return false
	}
	axis, ok := n.Int("gather_axis", 0)
	return ok && axis == 0 && n.takesAll(o)
}

func (n *Node) isDequantizeLinear() bool {
	return n.Op == "DequantizeLinear" && (n.Domain == "" || n.Domain == Microsoft)
}

// dequantized is the origin of what n, which dequantizes, makes of codes that are o. A GatherBlockQuantized of bytes has several codes
// in each.
func (n *Node) dequantized(o *Origin) *Origin {
	values := &Origin{Constant: o.Constant, Perm: o.Perm, StateName: o.StateName, shape: o.shape, Decoded: n}
	if size := n.gatheredBits(o); !n.isDequantizeLinear() && size > 0 && size < 8 && o.Constant.Type == typeUint8 {
		values.shape = append([]uint64(nil), o.tensorShape()...)
		if last := len(values.shape) - 1; last >= 0 && values.shape[last] < 1<<60 {
			values.shape[last] *= 8 / uint64(size)
		}
	}
	return values
}

// gatheredBits is the number of bits of a code of the GatherBlockQuantized n of o, 0 if its definition has no such codes.
func (n *Node) gatheredBits(o *Origin) int {
	size, ok := n.Int("bits", 4)
	switch t := o.Constant.Type; {
	case ok && t == typeUint8 && (size == 2 || size == 4 || size == 8), ok && (t == typeUint4 || t == typeInt4) && size == 4:
		return int(size)
	}
	return 0
}

// decode tells how n, a DequantizeLinear or GatherBlockQuantized, makes values of codes.
func (f *finder) decode(n *Node) (*coded, error) {
	if n.isDequantizeLinear() {
		return f.dequantizeLinear(n)
	}
	return f.gatherBlocks(n)
}

// axisOf reads an attribute that is one of rank axes, counted from the end where it is negative.
func axisOf(n *Node, name string, byDefault int64, rank int) (int, error) {
	axis, ok := n.Int(name, byDefault)
	if axis < 0 {
		axis += int64(rank)
	}
	if !ok || axis < 0 || axis >= int64(rank) {
		return 0, n.graph.Fail(n, source.ErrCorrupt, fmt.Sprintf("%s is none of the %d axes of its codes", name, rank), quantizeAgain)
	}
	return int(axis), nil
}

// dequantizeLinear is ONNX's operator of that name, up to operator set 23: a scale for all, for each index of axis, or for each block of
// it. Its values have the type of the scales, or output_dtype.
func (f *finder) dequantizeLinear(n *Node) (*coded, error) {
	codes, o, err := f.codesAt(n, 0, typeUint8, typeInt8, typeUint4, typeInt4, typeInt32, typeFloat8E4M3FN, typeFloat8E4M3FNUZ, typeFloat8E5M2, typeFloat8E5M2FNUZ)
	if err != nil {
		return nil, err
	}
	block, okBlock := n.Int("block_size", 0)
	to, okType := n.Int("output_dtype", 0)
	if n.origin(1) == nil {
		return nil, notCodes(n, 1, "the scales, is not constant")
	}
	typ := DataType(int32(to))
	if to == 0 {
		typ = n.In[1].floatType()
	}
	if !okBlock || !okType || block < 0 || typ.Format() == 0 || typ == typeDouble {
		return nil, n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("block_size %d and values in %s, expected blocks and a float type", block, typ), quantizeAgain)
	}
	s := spread{block: uint64(block)}
	if x := n.origin(1); block > 0 || x.Constant.Elements > 1 {
		if s.axis, err = axisOf(n, "axis", 1, len(o.Perm)); err != nil {
			return nil, err
		}
	} else if len(o.Perm) == 0 {
		return f.dequantizeOne(n, o, codes, typ)
	}
	q := &coded{coding: &coding{typ: typ.Format(), codes: codes}}
	if err := f.linear(n, q, o, Use{n, 1}, 2, s); err != nil {
		return nil, err
	}
	return q.complete(n, o.Constant.Type)
}

// dequantizeOne is a DequantizeLinear of a scalar, which is as one of a vector of one element.
func (f *finder) dequantizeOne(n *Node, o *Origin, codes numbers, typ DataType) (*coded, error) {
	vector := &Origin{Constant: o.Constant, Perm: []int{0}, shape: []uint64{1}}
	q := &coded{coding: &coding{typ: typ.Format(), codes: codes}}
	if err := f.linear(n, q, vector, Use{n, 1}, 2, spread{}); err != nil {
		return nil, err
	}
	return q.complete(n, o.Constant.Type)
}

// gatherBlocks is com.microsoft.GatherBlockQuantized: a matrix of codes with a scale for each block of its last axis or, in UINT4 and
// INT4, of another. Zero points of bytes are packed as the codes are, each row in whole bytes; left out they are 2^(bits-1) for bytes, 0
// for others (contrib_ops/cpu/quantization/gather_block_quantized.cc).
func (f *finder) gatherBlocks(n *Node) (*coded, error) {
	codes, o, err := f.codesAt(n, 0, typeUint8, typeUint4, typeInt4)
	if err != nil {
		return nil, err
	}
	size := n.gatheredBits(o)
	block, okBlock := n.Int("block_size", 128)
	if size == 0 || !okBlock || block < 16 || block > 1<<30 || bits.OnesCount64(uint64(block)) != 1 {
		return nil, n.graph.Fail(n, source.ErrUnsupported, fmt.Sprintf("codes in %s and blocks of %d, which are not in its definition", o.Constant.Type, block), quantizeAgain)
	}
	axis, err := axisOf(n, "quantize_axis", 1, len(o.Perm))
	if err != nil {
		return nil, err
	}
	typ := o.Constant.Type
	bytes := typ == typeUint8
	values := &Origin{Constant: o.Constant, Perm: o.Perm, shape: n.dequantized(o).tensorShape()}
	q := &coded{coding: &coding{typ: element.F32, codes: codes}}
	if bytes {
		if axis != len(o.Perm)-1 {
			return nil, notCodes(n, 0, "codes in bytes, is not in blocks along its last axis")
		}
		typ = map[int]DataType{2: codeUint2, 4: typeUint4, 8: typeUint8}[size]
		q.codes.packed(typ, size)
		q.fixed = float32(int(1) << (size - 1))
	}
	if n.origin(2) == nil {
		return nil, notCodes(n, 2, "the scales, is not constant")
	}
	if q.typ = n.In[2].floatType().Format(); q.typ == element.F64 || q.typ == 0 {
		return nil, notCodes(n, 2, "the scales, is of no type that is read")
	}
	s := spread{axis, uint64(block)}
	zeros := 3
	if bytes && size < 8 {
		zeros = 0
	}
	if err := f.linear(n, q, values, Use{n, 2}, zeros, s); err != nil {
		return nil, err
	}
	if n.origin(3) != nil {
		q.fixed = 0
	}
	if zeros == 0 {
		if err := f.packedZeros(n, 3, q, typ, size); err != nil {
			return nil, err
		}
	}
	q.stored = fmt.Sprintf("%d-bit codes, scales of %d", size, block)
	return q.complete(n, typ)
}

// packedZeros reads zero points that share bytes, operand i of n, each row of the last axis in whole bytes.
func (f *finder) packedZeros(n *Node, i int, q *coded, typ DataType, size int) error {
	if i >= len(n.In) || n.In[i] == nil {
		return nil
	}
	zeros, o, err := f.codesAt(n, i, typeUint8)
	if err != nil {
		return err
	}
	last := &q.axes[len(q.axes)-1]
	perByte := 8 / uint64(size)
	blocks := (last.size + last.block - 1) / last.block
	row := (blocks + perByte - 1) / perByte
	step := row * perByte
	for a := len(q.axes) - 2; a >= 0; a-- {
		q.axes[a].zero = step
		step *= max(q.axes[a].size, 1)
	}
	last.zero = 1
	if err := counted(n, i, "zero points", o, step/perByte); err != nil {
		return err
	}
	zeros.packed(typ, size)
	q.zeros = zeros
	q.parted(n, i)
	return nil
}
