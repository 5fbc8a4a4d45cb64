package gguf

import (
	"fmt"
	"math"

	"npuw/pipeline/source"
)

// Types of values, enum gguf_metadata_value_type.
const (
	valueU8 = iota
	valueI8
	valueU16
	valueI16
	valueU32
	valueI32
	valueF32
	valueBool
	valueString
	valueArray
	valueU64
	valueI64
	valueF64
)

// valueBytes are the sizes of values of one size.
var valueBytes = map[uint32]int64{
	valueU8: 1, valueI8: 1, valueU16: 2, valueI16: 2, valueU32: 4, valueI32: 4, valueF32: 4, valueBool: 1, valueU64: 8, valueI64: 8, valueF64: 8,
}

// key reads one key and its value, and keeps an integer.
func (r *reader) key() {
	at := r.At()
	key := r.text("a key", math.MaxUint16)
	thing := fmt.Sprintf("key %.200q", key)
	if r.keyBytes += int64(len(key)); r.keyBytes > maxKeyBytes {
		r.Fail(at, thing, source.ErrLimit, fmt.Sprintf("keys of more than %d bytes", maxKeyBytes), convertAgain)
	}
	if r.keys[key] {
		r.Fail(at, thing, source.ErrCorrupt, "is there twice", convertAgain)
	}
	if !r.OK() {
		return
	}
	r.keys[key] = true
	typ := r.U32(thing)
	size, fixed := valueBytes[typ]
	if !fixed {
		r.pass(typ, 0, thing)
		return
	}
	if n, ok := integer(typ, r.Bytes(size, thing)); ok {
		r.c.Sizes[key] = n
	}
}

// integer is the value of the bytes of a number; false if it is none, or past 2^63-1.
func integer(typ uint32, b []byte) (int64, bool) {
	var n uint64
	for i, x := range b {
		n |= uint64(x) << (8 * i)
	}
	switch typ {
	case valueU8, valueU16, valueU32, valueU64:
		return int64(n), len(b) > 0 && n <= math.MaxInt64
	case valueI8, valueI16, valueI32, valueI64:
		unused := 64 - 8*len(b)
		return int64(n<<unused) >> unused, len(b) > 0
	}
	return 0, false
}

// pass passes over a value of thing, in so many arrays.
func (r *reader) pass(typ uint32, depth int, thing string) {
	at := r.At()
	size, fixed := valueBytes[typ]
	switch {
	case fixed:
		r.Skip(size, thing)
	case typ == valueString:
		r.skip(r.U64(thing), 1, thing)
	case typ == valueArray && depth == maxDepth:
		r.Fail(at, thing, source.ErrLimit, fmt.Sprintf("more than %d arrays in one another", maxDepth), convertAgain)
	case typ == valueArray:
		r.array(depth, thing)
	default:
		r.Fail(at, thing, source.ErrUnsupported, fmt.Sprintf("a value of type %d, which this version does not know", typ), "convert the model with an older tool")
	}
}

// array passes over an array.
func (r *reader) array(depth int, thing string) {
	typ, n := r.U32(thing), r.U64(thing)
	if size, fixed := valueBytes[typ]; fixed {
		r.skip(n, size, thing)
		return
	}
	for ; n > 0 && r.OK(); n-- {
		if r.elements++; r.elements > maxElements {
			r.Fail(r.At(), thing, source.ErrLimit, fmt.Sprintf("arrays of more than %d strings", maxElements), convertAgain)
			return
		}
		r.pass(typ, depth+1, thing)
	}
}

// skip passes over n values of some size.
func (r *reader) skip(n uint64, size int64, thing string) {
	r.Skip(int64(min(n, uint64(math.MaxInt64/size)))*size, thing)
}
