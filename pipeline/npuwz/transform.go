package npuwz

import (
	"encoding/binary"
	"math/bits"
)

// field is a part of every record of a transform: bytes of it, in elements of 1, 2 or 4 bytes.
type field struct{ bytes, element int }

// transform says how the bytes of a chunk, records of equal length, are sorted before they are compressed. Field by field, the elements
// of all records come together; of elements of 2 and 4 bytes first all lowest bytes, then all next ones: the planes. These elements
// are little-endian floats, and are rotated left by one bit before, so that the sign is with the mantissa, which is as random, and the
// byte of the exponent has nothing but exponent in it.
type transform []field

// asIs leaves bytes where they are.
var asIs = transform{{1, 1}}

// recordBytes is the length of a record.
func (t transform) recordBytes() int {
	n := 0
	for _, f := range t {
		n += f.bytes
	}
	return n
}

// parts calls do for each field with the number of bytes that it has in all of n bytes, where its first ones are, how many of them are
// together, and how far it is from their beginning to that of the next ones.
func (t transform) parts(n int, do func(f field, all, at, run, apart int)) {
	if len(t) == 1 {
		do(t[0], n, 0, n, n)
		return
	}
	record, at := t.recordBytes(), 0
	for _, f := range t {
		do(f, n/record*f.bytes, at, f.bytes, record)
		at += f.bytes
	}
}

// split sorts src, whole records, into dst, which is as long, and gives where each plane ends, appended to ends.
func (t transform) split(dst, src []byte, ends []int) []int {
	done := 0
	t.parts(len(src), func(f field, all, at, run, apart int) {
		plane := all / f.element
		for from, to := at, done; from < len(src); from, to = from+apart, to+run/f.element {
			switch piece := src[from : from+run]; f.element {
			case 1:
				copy(dst[to:], piece)
			case 2:
				split2(dst[to:], dst[to+plane:], piece)
			case 4:
				split4(dst[to:], dst[to+plane:], dst[to+2*plane:], dst[to+3*plane:], piece)
			}
		}
		for range f.element {
			done += plane
			ends = append(ends, done)
		}
	})
	return ends
}

// join is the inverse of split.
func (t transform) join(dst, src []byte) {
	done := 0
	t.parts(len(src), func(f field, all, at, run, apart int) {
		plane := all / f.element
		for to, from := at, done; to < len(dst); to, from = to+apart, from+run/f.element {
			switch piece := dst[to : to+run]; f.element {
			case 1:
				copy(piece, src[from:])
			case 2:
				join2(piece, src[from:], src[from+plane:])
			case 4:
				join4(piece, src[from:], src[from+plane:], src[from+2*plane:], src[from+3*plane:])
			}
		}
		done += all
	})
}

func split2(p0, p1, src []byte) {
	n := len(src) / 2
	p0, p1 = p0[:n], p1[:n]
	for i := range n {
		v := bits.RotateLeft16(binary.LittleEndian.Uint16(src[2*i:]), 1)
		p0[i], p1[i] = byte(v), byte(v>>8)
	}
}

func join2(dst, p0, p1 []byte) {
	n := len(dst) / 2
	p0, p1 = p0[:n], p1[:n]
	for i := range n {
		v := uint16(p0[i]) | uint16(p1[i])<<8
		binary.LittleEndian.PutUint16(dst[2*i:], bits.RotateLeft16(v, -1))
	}
}

func split4(p0, p1, p2, p3, src []byte) {
	n := len(src) / 4
	p0, p1, p2, p3 = p0[:n], p1[:n], p2[:n], p3[:n]
	for i := range n {
		v := bits.RotateLeft32(binary.LittleEndian.Uint32(src[4*i:]), 1)
		p0[i], p1[i], p2[i], p3[i] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	}
}

func join4(dst, p0, p1, p2, p3 []byte) {
	n := len(dst) / 4
	p0, p1, p2, p3 = p0[:n], p1[:n], p2[:n], p3[:n]
	for i := range n {
		v := uint32(p0[i]) | uint32(p1[i])<<8 | uint32(p2[i])<<16 | uint32(p3[i])<<24
		binary.LittleEndian.PutUint32(dst[4*i:], bits.RotateLeft32(v, -1))
	}
}
