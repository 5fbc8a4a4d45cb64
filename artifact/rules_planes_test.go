package artifact

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// planeOf changes a plane of an operand.
func planeOf(i, j int, change func(p *plane.Plane)) func(d *damaged) {
	return operand(i, func(o *Operand) { change(&o.Planes[j]) })
}

// inIndex changes the bytes of the encoded index from those of the entry of a slot on.
func inIndex(t *testing.T, s slot, entry int, change func(b []byte)) func(d *damaged) {
	return func(d *damaged) {
		d.seal()
		d.raw = encodeIndex(d.index)
		change(d.raw[entryAt(t, d.raw, s, entry, 0):])
	}
}

// firstPlane is where the planes of an operand of the sample begin in the index.
func firstPlane(t *testing.T, i int) int {
	t.Helper()
	b := encodeIndex(newSample(4096).index)
	return int(binary.LittleEndian.Uint32(b[entryAt(t, b, slotOperands, i, 16):]))
}

func TestPlaneRoleRules(t *testing.T) {
	t.Parallel()
	format := func(i, j int, f element.Format) func(d *damaged) {
		return planeOf(i, j, func(p *plane.Plane) { p.Format = f })
	}
	testRules(t, ErrCorrupt, false, []rule{
		{"no planes", inIndex(t, slotOperands, i8, func(b []byte) { clear(b[16:24]) }), `operand "i8": 0 planes, which encoding 1 has not`},
		{"codes alone", operand(i8, func(o *Operand) { o.Planes = o.Planes[:1] }), `operand "i8": planes [values]; encoding 1`},
		{"four planes", operand(u4, func(o *Operand) { o.Planes = append(o.Planes, o.Planes[2]) }), `operand "u4": 4 planes, which encoding 1 has not`},
		{"no scales", operand(u4, func(o *Operand) { o.Planes = slices.Delete(o.Planes, 1, 2) }), `operand "u4": planes [values zeros]`},
		{"no codes", operand(u4, func(o *Operand) { o.Planes = o.Planes[1:] }), `operand "u4": invalid layout: the digits of axis K cover 4`},
		{"zeros before scales", operand(u4, func(o *Operand) { slices.Reverse(o.Planes[1:]) }), `operand "u4": planes [values zeros scales]`},
		{"codes twice", planeOf(u4, 2, func(p *plane.Plane) { p.Role = plane.Values }), `operand "u4": planes [values scales values]`},
		{"one plane of encoding 1", operand(i8, func(o *Operand) { o.Planes = o.Planes[1:] }), `operand "i8": invalid layout: the digits of axis K cover 1`},
		{"encoding 0 of codes", operand(i8, func(o *Operand) { o.Encoding = plane.Plain }), `operand "i8": 2 planes, which encoding 0 has not`},
		{"encoding 1 of values", operand(bfp16, func(o *Operand) { o.Encoding = plane.Scaled }), `operand "bfp16": planes [values]`},

		{"codes of f32", format(i8, 0, element.F32), "codes in f32"},
		{"codes of u8 alone", format(i8, 0, element.U8), "codes in u8 without zeros or minimums"},
		{"codes of i8 with minimums", format(u8, 0, element.I8), "minimums of codes in i8"},
		{"codes of bfp16", format(i8, 0, element.BFP16), "codes in bfp16"},
		{"scales of i8", format(i8, 1, element.I8), "scales in i8"},
		{"scales of f64", format(i8, 1, element.F64), "scales in f64"},
		{"scales without a format", format(i8, 1, 0), `operand "i8": a plane without an element format`},
		{"scales of e8m0 with zeros", format(u4, 1, element.E8M0), "scales in e8m0 with zeros"},
		{"scales of e8m0 with minimums", format(u8, 1, element.E8M0), "scales in e8m0 with zeros or minimums"},
		{"zeros of i4", format(u4, 2, element.I4), "zeros in i4 of codes in u4"},
		{"zeros of nf4", func(d *damaged) { format(u4, 0, element.NF4)(d); format(u4, 2, element.NF4)(d) }, "zeros in nf4"},
		{"zeros of nf4 codes", planeOf(nf4, 1, func(p *plane.Plane) { p.Role = plane.Zeros }), "planes [values zeros]"},
		{"minimums of e8m0", format(u8, 2, element.E8M0), "minimums in e8m0"},
		{"values of i8", operand(linearBias, func(o *Operand) { o.Format = element.I8 }), "values in i8"},
		{"values of e8m0", operand(linearBias, func(o *Operand) { o.Format = element.E8M0 }), "values in e8m0"},
	})
}

func TestPlaneLayoutRules(t *testing.T) {
	t.Parallel()
	redigit := func(i, j int, v ...uint64) func(d *damaged) {
		return planeOf(i, j, func(p *plane.Plane) { p.Layout.Digits = digits(v...) })
	}
	testRules(t, ErrCorrupt, false, []rule{
		{"a block of codes", planeOf(i8, 0, func(p *plane.Plane) { p.Block = []uint64{1, 2} }), "blocks of [1 2]"},
		{"blocks of one axis", planeOf(i8, 1, func(p *plane.Plane) { p.Block = []uint64{24} }), "blocks [24] of 2 axes"},
		{"blocks of three axes", planeOf(i8, 1, func(p *plane.Plane) { p.Block = []uint64{24, 1, 1} }), "blocks [24 1 1] of 2 axes"},
		{"a block of 0", planeOf(i8, 1, func(p *plane.Plane) { p.Block = []uint64{24, 0} }), "blocks [24 0] of 2 axes"},
		{"a block of 2^63", planeOf(i8, 1, func(p *plane.Plane) { p.Block = []uint64{1 << 63, 1} }), "blocks of [9223372036854775808 1]"},
		{"other blocks", planeOf(i8, 1, func(p *plane.Plane) { p.Block = []uint64{12, 1} }), "the digits of axis K cover 1, its padded extent is 2"},
		{"no blocks", planeOf(i8, 1, func(p *plane.Plane) { p.Block = nil }), "the digits of axis K cover 1, its padded extent is 24"},
		{"digits of scales", redigit(i8, 1, 1, 2, 1, 1, 4, 1), "scales: invalid layout"},
		{"digits of codes", redigit(i8, 0, 1, 2, 4, 0, 23, 1, 1, 4, 1), "invalid layout"},
		{"digits of a grid of 1", redigit(u8, 2, 1, 2, 1), "minimums: invalid layout"},
		{"digit of no axis", redigit(i8, 1, 1, 2, 1, 1, 4, 2, 2, 1, 1), "scales: invalid layout"},

		{"order of i8", planeOf(i8, 0, func(p *plane.Plane) { p.HighFirst = true }), "an order of halves for i8"},
		{"order of scales", planeOf(u4, 1, func(p *plane.Plane) { p.HighFirst = true }), "an order of halves for bf16"},
		{"order of bfp16", inIndex(t, slotPlanes, firstPlane(t, bfp16), func(b []byte) { b[58] = 1 }), `operand "bfp16": the plane of encoding 0`},
		{"order 2", inIndex(t, slotPlanes, firstPlane(t, i4), func(b []byte) { b[58] = 2 }), `operand "i4": order 2`},
		{"pad_bits of 9 bits", planeOf(i8, 0, func(p *plane.Plane) { p.PadBits = 256 }), "pad_bits 0x100 for i8"},
		{"pad_bits of 5 bits", planeOf(u4, 2, func(p *plane.Plane) { p.PadBits = 16 }), "zeros: pad_bits 0x10 for u4"},
		{"pad_bits of 33 bits", planeOf(i8, 1, func(p *plane.Plane) { p.PadBits = 1 << 32 }), "scales: pad_bits 0x100000000 for f32"},
		{"pad_bits of bfp16", operand(bfp16, func(o *Operand) { o.PadBits = 1 }), "pad_bits 0x1 for bfp16"},

		{"bfp16 across columns", operand(bfp16, func(o *Operand) { o.Layout.Digits = digits(0, 24, 1, 1, 4, 2, 1, 2, 1) }), "the innermost digit"},
		{"bfp16 with a stride", operand(bfp16, func(o *Operand) { o.Layout.Digits = digits(1, 8, 1, 0, 3, 1, 0, 8, 3) }), "the innermost digit"},
		{"bfp16 of 12 neighbours", operand(bfp16, func(o *Operand) { o.Layout.Digits = digits(1, 8, 1, 0, 2, 12, 0, 12, 1) }), "the innermost digit"},
		{"bytes of bfp16", operand(bfp16, func(o *Operand) { o.Bytes = 192 }), "192 bytes for 24 elements of bfp16"},
		{"odd number of codes", operand(i4, func(o *Operand) {
			o.Layout.Axes = axes("K", 7, 7, "N", 5, 5)
			o.Planes[0].Layout = layout.Layout{Axes: o.Layout.Axes, Digits: digits(0, 7, 1, 1, 5, 1)}
			o.Planes[0].Bytes = 18
		}), "35 elements of i4"},
	})
}

func TestPlanePlaceRules(t *testing.T) {
	t.Parallel()
	i8Planes := firstPlane(t, i8)
	testRules(t, ErrCorrupt, false, []rule{
		{"scales in codes", planeOf(i8, 1, func(p *plane.Plane) { p.Offset = 191 }), "scales: 32 bytes at 191 of 240, where planes before end at 192"},
		{"scales past the end", planeOf(i8, 1, func(p *plane.Plane) { p.Offset = 209 }), "scales: 32 bytes at 209 of 240"},
		{"scales at 2^64-8", planeOf(i8, 1, func(p *plane.Plane) { p.Offset = math.MaxUint64 - 7 }), "at 18446744073709551608"},
		{"scales in minimums", planeOf(u8, 1, func(p *plane.Plane) { p.Offset = 3 }), "scales: 16 bytes at 3 of 60, where planes before end at 4"},
		{"codes in scales", planeOf(u8, 0, func(p *plane.Plane) { p.Offset = 19 }), "values: 40 bytes at 19 of 60, where planes before end at 20"},
		{"scales where codes are", planeOf(u8, 1, func(p *plane.Plane) { p.Offset = 20 }), "at 20 of 60, where planes before end at"},
		{"bytes of codes", planeOf(i8, 0, func(p *plane.Plane) { p.Bytes = 191 }), "values: 191 bytes for 192 elements of i8"},
		{"bytes of scales", planeOf(i8, 1, func(p *plane.Plane) { p.Bytes = 40 }), "scales: 40 bytes for 8 elements of f32"},
		{"codes in records alone", planeOf(i8, 0, func(p *plane.Plane) { p.RecordElements, p.RecordBytes = 192, 240 }), "scales: 8 elements, 0 in each record"},
		{"scales in records alone", planeOf(i8, 1, func(p *plane.Plane) { p.RecordElements, p.RecordBytes = 8, 240 }), "scales: 8 elements in records of 240 bytes"},
		{"record bytes alone", inIndex(t, slotPlanes, i8Planes+1, func(b []byte) { b[32] = 240 }), "scales: 0 elements in records of 240 bytes"},

		{"records of other bytes", planeOf(u4, 1, func(p *plane.Plane) { p.RecordBytes = 33 }), "4 in each record of 33 bytes"},
		{"scales of a record", planeOf(u4, 1, func(p *plane.Plane) { p.RecordElements = 8 }), "scales: 16 elements, 8 in each record"},
		{"odd zeros of a record", planeOf(u4, 2, func(p *plane.Plane) { p.RecordElements = 1 }), "zeros: 16 elements of u4, in records of 1"},
		{"records that do not go up", planeOf(u4, 0, func(p *plane.Plane) { p.RecordElements = 30 }), "128 codes in records of 30"},
		{"bytes of records", operand(u4, func(o *Operand) { o.Bytes = 127 }), "127 bytes for 4 records of 32"},
		{"a record too many", operand(mx, func(o *Operand) { o.Bytes += 33 }), "330 bytes for 9 records of 33"},
		{"scales in the codes of a record", planeOf(u4, 1, func(p *plane.Plane) { p.Offset = 15 }), "scales: 104 bytes at 15 of records of 32, of which 16 are taken"},
		{"a power in its codes", planeOf(mx, 1, func(p *plane.Plane) { p.Offset = 1 }), "of which 33 are taken"},
		{"zeros past the record", planeOf(u4, 2, func(p *plane.Plane) { p.Offset = 31 }), "zeros: 98 bytes at 31 of records of 32"},
		{"bytes of a plane in records", planeOf(u4, 2, func(p *plane.Plane) { p.Bytes = 2 }), "zeros: 2 bytes at 26"},
	})
}

func TestScaledArgumentRules(t *testing.T) {
	t.Parallel()
	argument := func(change func(a *Argument)) func(d *damaged) {
		return func(d *damaged) { change(&d.index.Contracts[2].Arguments[0]) }
	}
	argumentPlane := func(j int, change func(p *plane.Plane)) func(d *damaged) {
		return argument(func(a *Argument) { change(&a.Planes[j]) })
	}
	raw := func(change func(b []byte)) func(d *damaged) { return inIndex(t, slotArguments, 5, change) }
	const unfit = `binding: operand "i8" does not fit argument "b" of contract "scaled"`
	codes := func(a *Argument) {
		a.Format, a.Layout, a.Planes, a.Encoding = a.Planes[0].Format, a.Planes[0].Layout, nil, plane.Plain
	}
	testRules(t, ErrCorrupt, false, []rule{
		{"encoding without planes", raw(func(b []byte) { clear(b[16:24]) }), `argument "b": encoding 1 without planes`},
		{"unknown encoding without planes", raw(func(b []byte) { clear(b[16:24]); b[42] = 77 }), `argument "b": encoding 77 without planes`},
		{"planes without axes", raw(func(b []byte) { clear(b[8:16]) }), `argument "b": planes without axes`},
		{"planes of an unknown encoding without axes", raw(func(b []byte) { clear(b[8:16]); b[42] = 77 }), `argument "b": planes without axes`},
		{"plain codes", argument(func(a *Argument) { codes(a); a.Bytes = 192 }), `argument "b": values in i8`},
		{"f64", argument(func(a *Argument) { codes(a); a.Format, a.Bytes = element.F64, 8*192 }), `argument "b": f64 is no element format`},
		{"no format", argument(func(a *Argument) { a.Planes[0].Format = 0 }), `argument "b": a plane without an element format`},
		{"bytes", argument(func(a *Argument) { codes(a); a.Format, a.Bytes = element.F32, 4*191 }), `argument "b": values: 764 bytes for 192 elements of f32`},
		{"scalar of bad digits", argument(func(a *Argument) {
			a.Kind, a.Planes[1].Layout.Digits = kernel.ScalarArgument, nil
		}), `argument "b": scales: invalid layout`},
		{"order 2", inIndex(t, slotPlanes, firstPlane(t, i8), func(b []byte) { b[58] = 2 }), `order 2 of the halves of a byte`},
		{"padding of codes", raw(func(b []byte) { clear(b[16:24]); b[16], b[20] = byte(firstPlane(t, i8)), 2 }), `argument "b": planes with padding`},
		{"bytes of instructions", func(d *damaged) { d.index.Contracts[0].Arguments[1].Bytes = 4097 }, `contract "gemm": argument "code": 4097 bytes of instructions, segment "code" has 4096`},
		{"2^64-1 bytes of instructions", func(d *damaged) { d.index.Contracts[0].Arguments[1].Bytes = math.MaxUint64 }, `segment "code" has 4096`},

		{"other encoding", argument(func(a *Argument) { codes(a); a.Format, a.Bytes = element.F32, 4*192 }), unfit},
		{"unknown encoding", raw(func(b []byte) { b[42] = 77 }), unfit},
		{"other codes", argumentPlane(0, func(p *plane.Plane) { p.Layout.Digits = digits(0, 24, 1, 1, 8, 1) }), unfit},
		{"other blocks", argumentPlane(1, func(p *plane.Plane) { p.Block = []uint64{25, 1} }), unfit},
		{"other scales", argumentPlane(1, func(p *plane.Plane) { p.Layout.Digits = digits(1, 8, 1) }), unfit},
		{"scales elsewhere", argumentPlane(1, func(p *plane.Plane) { p.Offset = 208 }), unfit},
		{"other format of scales", argumentPlane(1, func(p *plane.Plane) { p.Format, p.Bytes = element.BF16, 16 }), unfit},
		{"unknown format of scales", argumentPlane(1, func(p *plane.Plane) { p.Format = 99 }), unfit},
		{"unknown role", argumentPlane(1, func(p *plane.Plane) { p.Role = 99 }), unfit},
		{"nf4", argument(func(a *Argument) { a.Planes[0].Format, a.Planes[0].Bytes = element.NF4, 96 }), unfit},
		{"plain where codes are read", func(d *damaged) { d.index.Bindings[1].Operand = folded }, `binding: operand "folded" does not fit`},
	})
}

// put writes bytes into an operand.
func put(i, at int, b ...byte) func(d *damaged) {
	return func(d *damaged) {
		o := &d.index.Operands[i]
		copy(d.data[int(d.index.Segments[o.Segment].Offset-4096+o.Offset)+at:], b)
	}
}

// f32 are the bytes of a binary32.
func f32(v float64) []byte {
	return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v)))
}

var negativeZero = math.Copysign(0, -1)

func TestPlaneBytesRules(t *testing.T) {
	t.Parallel()
	testRules(t, ErrCorrupt, true, []rule{
		{"between codes and scales", put(i8, 192, 1), `operand "i8": byte 0x01 between elements, must be zero`},
		{"the last before scales", put(i8, 199, 0x80), `operand "i8": byte 0x80 between elements`},
		{"behind scales", put(i8, 232, 2), `operand "i8": byte 0x02 between elements`},
		{"the last byte", put(i8, 239, 3), `operand "i8": byte 0x03 between elements`},
		{"in the first record", put(u4, 16, 4), `operand "u4": byte 0x04 between elements`},
		{"in a record", put(u4, 32+17, 5), `operand "u4": byte 0x05 between elements`},
		{"at the end of a record", put(u4, 2*32+28, 6), `operand "u4": byte 0x06 between elements`},
		{"at the end of the last record", put(u4, 127, 7), `operand "u4": byte 0x07 between elements`},

		{"padding of codes", put(i8, 80, 0x81), `operand "i8": padding other than the recorded 0x80`},
		{"padding recorded otherwise", planeOf(i8, 0, func(p *plane.Plane) { p.PadBits = 0x81 }), `operand "i8": padding other than the recorded 0x81`},
		{"padding of scales recorded otherwise", planeOf(i8, 1, func(p *plane.Plane) { p.PadBits++ }), `operand "i8": padding other than the recorded 0x3f800001`},
		{"padding in the low half", put(i4, 2, 0x0f), `operand "i4": padding 0xf other than the recorded 0xe`},
		{"padding in the high half", put(u4, 10, 0x65), `operand "u4": padding 0x6 other than the recorded 0x5`},
		{"padding of 4 bits recorded otherwise", planeOf(u4, 2, func(p *plane.Plane) { p.PadBits = 8 }), `operand "u4": padding 0x9 other than the recorded 0x8`},
		{"padding of a power", put(mx, 2*33, 126), `operand "mx": padding other than the recorded 0x7f`},
		{"a mantissa of padding", put(bfp16, 9*8+1+5, 1), `operand "bfp16": padding of bfp16 that is not zero`},
		{"a mantissa of a column of padding", put(bfp16, 9*5+1, 1), `operand "bfp16": padding of bfp16`},
		{"an exponent of a column of padding", put(bfp16, 9*5, 1), `operand "bfp16": padding of bfp16`},
		{"an exponent of padding", put(bfp16, 9*16, 1), `operand "bfp16": padding of bfp16`},
		{"the last exponent", put(bfp16, 9*23, 1), `operand "bfp16": padding of bfp16`},
		{"the last mantissa", put(bfp16, 215, 1), `operand "bfp16": padding of bfp16`},

		{"an infinite scale", put(i8, 204, f32(math.Inf(1))...), `operand "i8": scales: +Inf`},
		{"a scale that is none", put(i8, 204, f32(math.NaN())...), `operand "i8": scales: NaN`},
		{"an infinite scale of f16", put(i4, 26, 0, 0x7c), `operand "i4": scales: +Inf`},
		{"a scale of f16 that is none", put(i4, 26, 1, 0xfc), `operand "i4": scales: NaN`},
		{"an infinite scale in a record", put(u4, 64+20, 0x80, 0x7f), `operand "u4": scales: +Inf`},
		{"a negative infinite scale of bf16", put(u4, 18, 0x80, 0xff), `operand "u4": scales: -Inf`},
		{"a power that is none", put(mx, 33, 255), `operand "mx": scales: NaN`},
		{"an infinite minimum", put(u8, 0, f32(math.Inf(-1))...), `operand "u8": minimums: -Inf`},
		{"a minimum that is none", put(u8, 0, f32(math.NaN())...), `operand "u8": minimums: NaN`},
		{"bfp16 beyond binary32", put(bfp16, 0, 255), `operand "bfp16": an element of bfp16 with values beyond binary32`},
		{"bfp16 of -2^128", put(bfp16, 0, 254, 0x80), `operand "bfp16": an element of bfp16 with values beyond binary32`},
	})
}

// TestSoundPlanes has what a reader does not look at, and what it may find.
func TestSoundPlanes(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(d *damaged){
		"nothing":               func(*damaged) {},
		"-128":                  put(i8, 0, 0x80),
		"the smallest scale":    put(i8, 200, 1, 0, 0, 0),
		"a scale of 0":          put(i8, 200, f32(0)...),
		"a scale of -0":         put(i8, 200, f32(negativeZero)...),
		"a scale below 0":       put(i8, 200+16, f32(-1)...),
		"a minimum of -0":       put(u8, 0, f32(negativeZero)...),
		"bfp16 of -2^127":       put(bfp16, 0, 253, 0x80),
		"bfp16 of 2^127":        put(bfp16, 0, 254, 0x7f, 0x81),
		"the fill of bfp16":     put(bfp16, 9*4, 100, 1, 2, 3),
		"bytes of instructions": func(d *damaged) { d.index.Contracts[0].Arguments[1].Bytes = 4096 },
		"instructions of no segment": func(d *damaged) {
			d.index.Contracts[0].Instructions, d.index.Contracts[0].Arguments[1].Bytes = None, 1<<40
		},
		"a folded operand in part":    operand(folded, func(o *Operand) { o.Placements = o.Placements[:1] }),
		"a folded parameter in parts": operand(folded, func(o *Operand) { o.Placements[0].From[0].Begin, o.Placements[0].From[0].Size = 1, 3 }),
	} {
		d := newSample(4096).damaged()
		damage(d)
		if err := check(d.bytes()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		leave(t, d.bytes())
	}
}

func TestFoldedRules(t *testing.T) {
	t.Parallel()
	note := func(n Note) func(d *damaged) { return func(d *damaged) { d.index.Notes[1] = n } }
	testRules(t, ErrCorrupt, false, []rule{
		{"kind 0", note(Note{0, foldedWeight, folded}), "notes: number 1 is of kind 0"},
		{"kind 2", note(Note{2, foldedWeight, folded}), "notes: number 1 is of kind 2"},
		{"of no parameter", note(Note{Folded, 23, folded}), "note: parameter 23"},
		{"of no operand", note(Note{Folded, foldedWeight, 20}), "operand 20 is not in the index"},
	})
	testRules(t, ErrCorrupt, true, []rule{
		{"no note of a parameter", func(d *damaged) { d.index.Notes = d.index.Notes[1:] }, `parameter "folded.gamma": placements name 0 elements of 6`},
		{"placements that overlap", operand(folded, func(o *Operand) { o.Placements[1].To = []uint64{5, 0} }), `operand "folded": two placements or fills name the same element`},
		{"placements that overlap, some missing", operand(folded, func(o *Operand) {
			o.Placements[0].From[1].Size, o.Placements[1].To = 3, []uint64{1, 0}
		}), `operand "folded": two placements or fills name the same element`},
		{"no note of the operand", func(d *damaged) {
			for i := range d.index.Notes {
				d.index.Notes[i].Operand = unfolded
			}
			d.index.Operands[folded].Placements = d.index.Operands[folded].Placements[:1]
		}, `operand "folded": placements and fills name 24 elements of 28`},
	})
}

// TestManyFolded gives a folded parameter more placements than there may be.
func TestManyFolded(t *testing.T) {
	t.Parallel()
	d := newSmallSample().damaged()
	x := d.index
	x.Parameters = append(x.Parameters, Parameter{"folded", "", nil})
	o := x.Operands[0]
	o.Layout, o.Format, o.Fills, o.Statistics = layout.Layout{Axes: axes("N", 4096, 4096), Digits: digits(0, 4096, 1)}, element.F32, nil, element.Stats{Elements: 4096}
	o.Bytes, o.Placements = 4*4096, nil
	for i := range uint64(2049) {
		o.Placements = append(o.Placements, placed(1, 1, nil, i))
	}
	for i, name := range []string{"a", "b"} {
		o.Name, o.Offset = name, 256+uint64(i)*o.Bytes
		x.Operands = append(x.Operands, o)
		x.Notes = append(x.Notes, Note{Folded, 1, i + 1})
	}
	x.Segments[0].Bytes = 4096 + 2*o.Bytes
	d.data = append(d.data, make([]byte, 2*o.Bytes)...)
	want := func(limit bool) {
		t.Helper()
		b := d.bytes()
		err := check(b)
		if limit {
			wantFault(t, err, ErrCorrupt, "4098 placements of a folded parameter")
		} else if err != nil {
			t.Error(err)
		}
		if fault := pythonFaults(t, b)[0]; (fault != "") != limit {
			t.Errorf("npuw.py says %q", fault)
		}
	}
	want(true)
	for i := range 2 {
		x.Operands[1+i].Placements = x.Operands[1+i].Placements[:2048]
	}
	want(false)
}

// TestLongGap looks through a gap between planes that is read in several pieces.
func TestLongGap(t *testing.T) {
	t.Parallel()
	b := make([]byte, 3*pieceBytes)
	v := planeWalk{file: &File{r: bytes.NewReader(b)}, operand: &Operand{Name: "o", Bytes: uint64(len(b))}}
	const first, n = 40, 2*pieceBytes + 100
	for _, at := range []int{first - 1, first, pieceBytes, pieceBytes + first - 1, pieceBytes + first, 2*pieceBytes + first, first + n - 1, first + n} {
		b[at] = 1
		v.buffer = nil // what was read before
		err := v.zeros(first, n)
		if inside := first <= at && at < first+n; inside {
			wantFault(t, err, ErrCorrupt, "a byte that is not zero")
			if e := new(Error); errors.As(err, &e) && e.Offset != int64(at) {
				t.Errorf("the byte at %d is found at %d", at, e.Offset)
			}
		} else if err != nil {
			t.Errorf("byte %d is outside: %v", at, err)
		}
		b[at] = 0
	}
}
