package onnx

import (
	"encoding/binary"
	"fmt"

	"npuw/pipeline/source"
)

// rawBits is the number of bits of an element of a type that codes are held in, 0 for other types. Elements of 4 bits share a byte, the
// first in its lower half; an odd one leaves the upper half of the last byte unused (onnx.proto, TensorProto).
func (t DataType) rawBits() int {
	switch t {
	case typeUint8, typeInt8, typeFloat8E4M3FN, typeFloat8E4M3FNUZ, typeFloat8E5M2, typeFloat8E5M2FNUZ:
		return 8
	case typeUint4, typeInt4:
		return 4
	case typeInt32:
		return 32
	}
	return 0
}

// rawSize is the number of bytes of n elements of such a type; false if it is past 2^63-1.
func (t DataType) rawSize(n uint64) (int64, bool) {
	const most = 1<<63 - 1
	switch bits := t.rawBits(); bits {
	case 4:
		return int64(n/2 + n%2), true
	case 8:
		return int64(n), n <= most
	default:
		return int64(n * 4), n <= most/4
	}
}

// raw says where the elements of t, which is of a type with rawBits, are, and collects them where they do not stand in the file as
// such.
func (p *parser) raw(t *tensor) *source.Data {
	p.oneSource(t, 5)
	size, ok := t.typ.rawSize(t.elements)
	if !ok {
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("shape %v has more than 2^63 bytes", t.shape), exportAgain)
	}
	if p.err != nil {
		return nil
	}
	place := span{t.span.start, t.span.start} // of a tensor without elements
	switch {
	case t.raw != nil:
		place = *t.raw
	case t.typed.records > 0:
		return &source.Data{Offset: t.span.start, Size: size, Inline: p.collect(t, size)}
	}
	if place.len() != size {
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%d bytes of data, expected %d for %s %v", place.len(), size, t.typ, t.shape), exportAgain)
	}
	return &source.Data{Offset: place.start, Size: size}
}

// collect gives the size bytes of t whose elements are in int32_data: one a number, or of 4 bits two.
func (p *parser) collect(t *tensor, size int64) []byte {
	if !p.fitsInline(t, size) {
		return nil
	}
	least, most := int64(0), int64(255)
	switch t.typ {
	case typeInt8:
		least, most = -128, 127
	case typeInt32:
		least, most = -1<<31, 1<<31-1
	}
	data := make([]byte, 0, size)
	for v := range p.values(t) {
		x := int64(int32(v)) // protobuf keeps the low 32 bits
		switch {
		case int64(len(data)) == size:
			p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("more than the %d values of shape %v", t.elements, t.shape), exportAgain)
			return nil
		case x < least || x > most:
			p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%s value %d, expected %d to %d", t.typ, x, least, most), exportAgain)
			return nil
		case t.typ == typeInt32:
			data = binary.LittleEndian.AppendUint32(data, uint32(x))
		default:
			data = append(data, byte(x))
		}
	}
	if p.err == nil && int64(len(data)) != size {
		p.fail(t.at, t.String(), source.ErrCorrupt, fmt.Sprintf("%d bytes of values, expected %d for %s %v", len(data), size, t.typ, t.shape), exportAgain)
	}
	return data
}
