package artifact

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// entryAt is the position, in an index that is sound, of byte off of an entry of a slot.
func entryAt(t testing.TB, index []byte, s slot, entry, off int) int {
	t.Helper()
	f := openFlat(index, 0)
	if f.err != nil || entry >= f.count[s] {
		t.Fatalf("no entry %d of %s: %v", entry, slots[s].name, f.err)
	}
	return f.at[s] + entry*slots[s].of.size + off
}

// decode decodes and checks an index as a reader does that opens a file.
func decode(b []byte) error {
	x, err := decodeIndex(b, 4096)
	if err != nil {
		return err
	}
	end := uint64(4096)
	if n := len(x.Segments); n > 0 {
		end = x.Segments[n-1].Offset + x.Segments[n-1].Bytes
	}
	_, _, err = x.check(4096, end, 4096)
	return err
}

// TestFlatRules breaks the rules of FORMAT.md, section 5, one by one.
func TestFlatRules(t *testing.T) {
	t.Parallel()
	d := newSample(4096).damaged()
	d.seal()
	whole := encodeIndex(d.index)
	f := openFlat(whole, 0)
	le := binary.LittleEndian
	at := func(s slot, entry, off int) int { return entryAt(t, whole, s, entry, off) }
	count := func(s slot) int { return f.at[s] - 4 }
	word := func(at int, v uint32) func(b []byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	half := func(at int, v uint16) func(b []byte) { return func(b []byte) { le.PutUint16(b[at:], v) } }
	field := func(s slot, v uint16) func(b []byte) { return half(f.vtable+4+2*int(s), v) }
	moved := func(s slot, by int) func(b []byte) {
		return word(f.field(s), uint32(int(le.Uint32(whole[f.field(s):]))+by))
	}
	rows := []struct {
		name   string
		damage func(b []byte)
		words  string
	}{
		{"identifier", func(b []byte) { b[4] = 'n' }, `the identifier "NPUW" is missing`},
		{"table at 0", word(0, 0), "the table at 0 lies outside"},
		{"table beyond", word(0, uint32(len(whole))), "lies outside or is not aligned"},
		{"table far beyond", word(0, math.MaxUint32), "the table at 4294967295 lies outside"},
		{"table not aligned", word(0, 6), "the table at 6 lies outside or is not aligned"},
		{"vtable before the index", word(f.root, 1<<30), "lies outside or is not aligned"},
		{"vtable behind the index", word(f.root, 1<<31), "lies outside or is not aligned"},
		{"vtable at the end", word(f.root, uint32(f.root+2-len(whole))), "lies outside or is not aligned"},
		{"vtable not aligned", word(f.root, 1), "lies outside or is not aligned"},
		{"vtable of 0 bytes", half(f.vtable, 0), "a vtable of 0 bytes"},
		{"vtable of 2 bytes", half(f.vtable, 2), "a vtable of 2 bytes"},
		{"vtable of 7 bytes", half(f.vtable, 7), "a vtable of 7 bytes"},
		{"vtable too long", half(f.vtable, 0xfffe), "a vtable of 65534 bytes"},
		{"field in the head", field(slotText, 2), "text lies in the table's head"},
		{"field outside", field(slotOperands, 0xfffc), "operands reaches outside the index"},
		{"struct outside", field(slotProducer, 0xfffc), "producer reaches outside the index"},
		{"field not aligned", field(slotOperands, 5), "operands reaches outside the index or is not aligned to 4"},
		{"struct not aligned", field(slotModel, 6), "model reaches outside the index or is not aligned to 4"},
		{"no producer", field(slotProducer, 0), "producer is missing"},
		{"no model", field(slotModel, 0), "model is missing"},
		{"a distance of 0", word(f.field(slotAxes), 0), "axes: distance 0 leads outside"},
		{"a distance of 3", word(f.field(slotAxes), 3), "axes: distance 3 leads outside"},
		{"a distance to the end", word(f.field(slotAxes), uint32(len(whole)-f.field(slotAxes))), "leads outside the index"},
		{"a distance beyond", word(f.field(slotAxes), math.MaxUint32), "axes: distance 4294967295 leads outside"},
		{"a vector before its elements' alignment", moved(slotAxes, -4), "axes: elements are not aligned to 8"},
		{"a vector not aligned", moved(slotOperands, 2), "operands: elements are not aligned"},
		{"more than the index holds", word(count(slotDigits), 1<<20), "digits: 1048576 entries do not fit"},
		{"far more than the index holds", word(count(slotText), math.MaxUint32), "text: 4294967295 entries do not fit"},
		{"vectors over each other", word(count(slotText), uint32(len(whole)-f.at[slotText])), "numbers: vectors lie over each other"},
		{"control characters", func(b []byte) { b[f.at[slotText]] = 7 }, "the text is not UTF-8"},
		{"not UTF-8", func(b []byte) { b[f.at[slotText]] = 0xff }, "the text is not UTF-8"},
		{"a string outside", word(at(slotOperands, 0, 0), 1<<31), "a string of 6 bytes at 2147483648"},
		{"a string too long", word(at(slotOperands, 0, 4), 1025), "a string of 1025 bytes"},
		{"an empty string elsewhere", word(at(slotOperands, 0, 4), 0), "a string of 0 bytes at"},
		{"half a character", word(at(slotAttributes, 2, 12), 3), "begins or ends inside a character"},
		{"the other half", word(at(slotAttributes, 2, 8), le.Uint32(whole[at(slotAttributes, 2, 8):])+3), "begins or ends inside a character"},
		{"a range outside", word(at(slotOperands, 0, 8), 1<<31), "entries from 2147483648"},
		{"a range that wraps", func(b []byte) { le.PutUint64(b[at(slotOperands, 0, 8):], 3<<32|math.MaxUint32) }, "3 entries from 4294967295"},
		{"an empty range elsewhere", word(at(slotOperands, 1, 12), 0), "0 entries from"},
		{"nine axes", word(at(slotOperands, 0, 12), 9), "at most 8 can be named"},
		{"33 digits", word(at(slotPlanes, 0, 52), 33), "at most 32 can be named"},
		{"nine blocks", word(at(slotPlanes, firstPlane(t, i8)+1, 44), 9), "at most 8 can be named"},
		{"blocks outside", word(at(slotPlanes, firstPlane(t, i8)+1, 40), math.MaxUint32), "2 entries from 4294967295"},
		{"digits outside", word(at(slotPlanes, firstPlane(t, i8)+1, 48), 1<<31), "2 entries from 2147483648"},
		{"five planes", word(at(slotOperands, 0, 20), 5), "at most 4 can be named"},
		{"no planes", func(b []byte) { le.PutUint64(b[at(slotOperands, 0, 16):], 0) }, `operand "linear": 0 planes, which encoding 0 has not`},
		{"two planes", word(at(slotOperands, 0, 20), 2), `operand "linear": 2 planes, which encoding 0 has not`},
		{"no placements", func(b []byte) { le.PutUint64(b[at(slotOperands, 0, 24):], 0) }, "they belong to one owner each"},
		{"placements twice", word(at(slotOperands, 1, 24), 0), "they belong to one owner each"},
		{"fills twice", word(at(slotOperands, 9, 32), 0), "they belong to one owner each"},
		{"a placement that nothing owns", func(b []byte) { le.PutUint64(b[at(slotOperands, unfolded, 24):], 0) }, "placements: 26 entries, of which 25 belong"},
		{"a placement that is skipped", func(b []byte) { le.PutUint64(b[at(slotOperands, 10, 24):], 0) }, "entries from 16, expected from 15"},
		{"a fill that nothing owns", func(b []byte) { le.PutUint64(b[at(slotOperands, bfp16, 32):], 0) }, "fills: 8 entries, of which 7 belong"},
		{"an argument that nothing owns", func(b []byte) { le.PutUint64(b[at(slotContracts, 2, 40):], 0) }, "arguments: 6 entries, of which 5 belong"},
		{"role", func(b []byte) { b[at(slotPlanes, 0, 56)] = 1 }, `operand "linear": the plane of encoding 0`},
		{"order", func(b []byte) { b[at(slotPlanes, 0, 58)] = 1 }, `operand "linear": the plane of encoding 0`},
		{"plane's offset", func(b []byte) { b[at(slotPlanes, 0, 1)] = 1 }, `operand "linear": the plane of encoding 0`},
		{"plane's bytes", func(b []byte) { b[at(slotPlanes, 0, 9)]++ }, `operand "linear": the plane of encoding 0`},
		{"record elements", func(b []byte) { b[at(slotPlanes, 0, 24)] = 1 }, `operand "linear": the plane of encoding 0`},
		{"record bytes", func(b []byte) { b[at(slotPlanes, 0, 32)] = 1 }, `operand "linear": the plane of encoding 0`},
		{"a block", func(b []byte) { le.PutUint64(b[at(slotPlanes, 0, 40):], 2<<32) }, `operand "linear": blocks [8 0] of 2 axes`},
		{"an argument of two planes", word(at(slotArguments, 2, 20), 2), `argument "a": 2 planes`},
		{"an argument of other bytes", func(b []byte) { b[at(slotArguments, 2, 24)]++ }, `argument "a": the plane of encoding 0`},
	}
	for _, r := range rows {
		b := bytes.Clone(whole)
		r.damage(b)
		err := decode(b)
		wantFault(t, err, ErrCorrupt, r.name)
		if err != nil && !strings.Contains(err.Error(), r.words) {
			t.Errorf("%s: %q does not say %q", r.name, err, r.words)
		}
	}
}

// TestGapsInStructs sets each byte between the fields of each struct.
func TestGapsInStructs(t *testing.T) {
	t.Parallel()
	x := newSample(4096).index
	x.Notes = []Note{{0, 1, 1}}
	whole := encodeIndex(x)
	f := openFlat(whole, 0)
	tried := map[string]int{}
	for s := range slotCount {
		of := slots[s].of
		for i := range of.size {
			if i < of.gapAt || i >= of.gapAt+8 || byte(of.gap>>(8*(i-of.gapAt))) == 0 {
				continue
			}
			tried[of.name]++
			b := bytes.Clone(whole)
			b[f.at[s]+(f.count[s]-1)*of.size+i] = 0x10
			_, err := decodeIndex(b, 0)
			wantFault(t, err, ErrCorrupt, fmt.Sprintf("byte %d of %s", i, of.name))
			if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%s %d: a byte between fields is not zero", of.name, f.count[s]-1)) {
				t.Errorf("byte %d of %s: %v", i, of.name, err)
			}
		}
	}
	if len(tried) != 10 {
		t.Errorf("structs with gaps: %v", tried)
	}
}

// TestWords sets every word of an index to numbers that no reader expects: none may panic, and what is refused is refused as corrupt.
func TestWords(t *testing.T) {
	t.Parallel()
	whole := encodeIndex(newSample(4096).index)
	le := binary.LittleEndian
	b := bytes.Clone(whole)
	step := 4
	if testing.Short() {
		step *= 7
	}
	for at := 0; at+4 <= len(b); at += step {
		before := le.Uint32(b[at:])
		for _, v := range []uint32{0, 1, 3, 4, before + 1, before - 1, 1 << 20, uint32(len(b)), uint32(len(b) - at), math.MaxInt32, math.MaxUint32, math.MaxUint32 - uint32(at) + 1} {
			le.PutUint32(b[at:], v)
			if err := decode(b); err != nil {
				wantFault(t, err, ErrCorrupt, fmt.Sprintf("%d at %d", v, at))
			}
		}
		le.PutUint32(b[at:], before)
	}
}

// TestUnknown opens files with things of a later version: what names them is unsupported, the rest is as before.
func TestUnknown(t *testing.T) {
	t.Parallel()
	const splitOne = 5
	rows := []struct {
		name   string
		damage func(d *damaged)
	}{
		{"encoding", operand(splitOne, func(o *Operand) { o.Encoding = 200 })},
		{"element format", operand(splitOne, func(o *Operand) { o.Format = 99 })},
		{"element format of other bytes and digits", operand(splitOne, func(o *Operand) {
			o.Format, o.Bytes, o.PadBits, o.Layout.Digits = 99, 7, math.MaxUint64, digits(9, 0, 0)
		})},
		{"element format of scales", operand(splitOne, func(o *Operand) {
			o.Encoding, o.Planes = plane.Scaled, []plane.Plane{{Format: element.F32}, {Role: plane.Scales, Format: 99}}
		})},
		{"plane role of encoding 1", operand(splitOne, func(o *Operand) {
			o.Encoding, o.Planes = plane.Scaled, []plane.Plane{{Format: element.I8}, {Role: plane.Scales, Format: element.F32}, {Role: 4, Format: element.F32}}
		})},
		{"plane role", operand(splitOne, func(o *Operand) {
			o.Planes = []plane.Plane{{Role: 200, Format: o.Format, HighFirst: true, Bytes: 5, Block: []uint64{0}, Layout: layout.Layout{Digits: digits(9, 0, 0)}}}
		})},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			d := newSample(4096).damaged()
			r.damage(d)
			f, err := openBytes(d.bytes())
			if err != nil {
				t.Fatal(err)
			}
			if d.index.Operands[splitOne].Bytes != 7 { // else its last byte is one outside operands
				leave(t, d.bytes())
				if err := f.Verify(); err != nil {
					t.Error(err)
				}
			}
			for i := range f.Index.Operands {
				o := &f.Index.Operands[i]
				v, err := f.OperandValues(o.Name)
				if i == splitOne {
					wantFault(t, err, ErrUnsupported, "the unknown operand")
					continue
				}
				if err == nil {
					err = v.WriteFloat32(io.Discard)
				}
				if err != nil {
					t.Errorf("operand %q: %v", o.Name, err)
				}
			}
			_, err = f.ParameterValues("split.weight")
			wantFault(t, err, ErrUnsupported, "a parameter in the unknown operand")
			if _, err := f.ParameterValues("linear.weight"); err != nil {
				t.Error(err)
			}
			l := f.Index.List(true)
			if o := l.Operands[splitOne]; o.Supported || o.Layout != "" {
				t.Errorf("listed as supported: %+v", o)
			}
			if err := f.Index.PrintOperands(io.Discard, true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnknownSegment(t *testing.T) {
	t.Parallel()
	d := newSample(4096).damaged()
	d.index.Segments[3].Kind = 77
	last := d.index.Segments[4].Offset - 4096 - 1 // of the segment: what lies there is not known
	d.data[last] = 1
	leave(t, d.bytes())
	f, err := openBytes(d.bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(); err != nil {
		t.Error(err)
	}
	if _, err := f.OperandValues("linear"); err != nil {
		t.Error(err)
	}
	_, err = f.OperandValues("qkv")
	wantFault(t, err, ErrUnsupported, "an operand in the segment")
	d.index.Segments[3].Digest = Digest{}
	d.data[last] = 2
	b := d.bytes()
	b[4096+last] = 3
	wantFault(t, check(b), ErrCorrupt, "the segment changed")
}

// TestOptionalFeature opens a file that holds something that may be ignored, and notes with it.
func TestOptionalFeature(t *testing.T) {
	t.Parallel()
	d := newSample(4096).damaged()
	d.header.OptionalFeatures = 1 << 63
	leave(t, d.bytes())
	if err := check(d.bytes()); err != nil {
		t.Error(err)
	}
	const epsilonOperand = 10
	d.index.Notes = append(d.index.Notes, Note{Kind: 9, Parameter: epsilon, Operand: epsilonOperand})
	d.index.Operands[epsilonOperand].Placements = nil
	leave(t, d.bytes())
	f, err := openBytes(d.bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(); err != nil {
		t.Errorf("an operand with a note must not be covered: %v", err)
	}
	_, err = f.ParameterValues("epsilon")
	wantFault(t, err, ErrUnsupported, "a parameter that cannot be recovered")
	d.index.Notes[3].Operand = len(d.index.Operands)
	_, err = openBytes(d.bytes())
	wantFault(t, err, ErrCorrupt, "a note of no operand")
}

// sharedIndex is an index of n operands that all name the same axes, digits, planes and letters, and claim the same placements.
func sharedIndex(n int) []byte {
	x := newSample(4096).index
	big := x.Operands[6]
	big.Name = "o"
	for len(big.Placements) < maxBoxes {
		big.Placements = append(big.Placements, big.Placements...)
	}
	big.Placements = big.Placements[:maxBoxes]
	x.Operands = []Operand{big}
	for range n - 1 {
		big.Placements, big.Fills = nil, nil
		x.Operands = append(x.Operands, big)
	}
	b := encodeIndex(x)
	f := openFlat(b, 0)
	for i := range n {
		copy(b[f.at[slotOperands]+i*operandStruct.size+24:][:16], b[f.at[slotOperands]+24:])
	}
	return b
}

// planesIndex is an index of n operands, each of which names other planes of few, with blocks, and other axes.
func planesIndex(n int) []byte {
	x := newSample(4096).index
	x.Notes, x.Contracts, x.Bindings = nil, nil, nil
	o := x.Operands[u4]
	o.Placements = nil
	for i := range o.Planes {
		o.Planes[i].Block = []uint64{8, 2}
	}
	x.Operands = nil
	const few = 256
	for i := range few { // for their planes and axes
		o.Planes = clonePlanes(o.Planes)
		for j := range o.Planes {
			o.Planes[j].Offset = uint64(3*i + j)
		}
		o.Layout.Axes = axes("K", 20+i, 32+i, "N", 3, 4)
		x.Operands = append(x.Operands, o)
	}
	for len(x.Operands) < n {
		x.Operands = append(x.Operands, o)
	}
	b := encodeIndex(x)
	f := openFlat(b, 0)
	le := binary.LittleEndian
	for i := range n {
		at := f.at[slotOperands] + i*operandStruct.size
		le.PutUint32(b[at+8:], uint32(i/few%few*2))
		le.PutUint32(b[at+16:], uint32(i%few))
	}
	return b
}

// zeros is a file of zeros with some bytes at its beginning.
type zeros struct{ first []byte }

func (z zeros) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < int64(len(z.first)) {
		copy(b, z.first[off:])
	}
	return len(b), nil
}

// TestMemory opens files that ask for more than they are. It runs alone: it measures what the program allocates.
func TestMemory(t *testing.T) {
	allocated := func(do func()) int64 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		do()
		runtime.ReadMemStats(&after)
		return int64(after.TotalAlloc - before.TotalAlloc)
	}
	manyParameters, manyPlacements := newSmallSample().index, newSmallSample().index
	for i := range 20000 {
		manyParameters.Parameters = append(manyParameters.Parameters, Parameter{Name: fmt.Sprint(i)})
	}
	manyPlacements.Parameters = append(manyPlacements.Parameters, Parameter{Name: "scalar"})
	manyPlacements.Operands[0].Layout.Axes = axes("A", 1, 1, "B", 1, 1, "C", 1, 1, "D", 1, 1, "E", 1, 1, "F", 1, 1, "G", 1, 1, "H", 1, 1)
	manyPlacements.Operands[0].Placements = nil
	for range maxBoxes {
		manyPlacements.Operands[0].Placements = append(manyPlacements.Operands[0].Placements, Placement{Parameter: 1, Scale: 1})
	}
	counts := make([]byte, 4<<20) // the count of a vector of operands, which are not there
	copy(counts, sharedIndex(1))
	binary.LittleEndian.PutUint32(counts[entryAt(t, counts, slotOperands, 0, -4):], maxEntries-8)
	for name, index := range map[string][]byte{
		"one operand 100000 times": sharedIndex(100000), "a count of operands": counts,
		"20000 parameters": encodeIndex(manyParameters), "4096 placements": encodeIndex(manyPlacements),
		"real": encodeIndex(encoderIndex()), "planes": planesIndex(40000),
	} {
		limit := int64(16*len(index) + 1<<20)
		if got := allocated(func() {
			if x, err := decodeIndex(index, 0); err == nil {
				_, _, _ = x.check(4096, 8192, 4096)
			}
		}); got > limit {
			t.Errorf("%s: %d bytes for an index of %d", name, got, len(index))
		}
	}

	// A header that states more than there is, or may be.
	h := Header{PageBytes: 4096, IndexOffset: 4096, IndexBytes: MaxIndexBytes + 8, FileBytes: 4096 + MaxIndexBytes + 8}
	if got := allocated(func() {
		_, err := NewFile(zeros{h.encode()}, int64(h.FileBytes))
		wantFault(t, err, ErrCorrupt, "an index of more than 64 MiB")
	}); got > 1<<20 {
		t.Errorf("an index of more than 64 MiB: %d bytes", got)
	}

	// Operands of 2^41 bytes, in a file that has no more than its index on the disk.
	d := newSmallSample().damaged()
	o := &d.index.Operands[0]
	o.Format, o.Bytes, o.Statistics.Elements = element.F32, 1<<41, 1<<39
	o.Layout.Axes = axes("K", 1<<20, 1<<20, "N", 1<<19, 1<<19)
	o.Layout.Digits = digits(0, 1<<20, 1, 1, 1<<19, 1)
	d.index.Parameters[0].Shape = []uint64{2, 2}
	o.Placements = []Placement{placed(0, 1, from(0, 2, 1<<19-1, 1, 0, 2, 1<<20-1, 0))}
	d.index.Segments[0].Bytes, d.index.Segments[0].Digest = 1<<41, Digest{1, 1}
	d.header.IndexOffset = 4096 + 1<<41
	d.header.FileBytes = d.header.IndexOffset + uint64(len(encodeIndex(d.index)))
	if got := allocated(func() { testSparse(t, d) }); got > 128<<20 { // in all; of this less than 64 MiB at once
		t.Errorf("values of an operand of 2^41 bytes: %d bytes", got)
	}
}

// testSparse takes values from a file of 2^41 zeros.
func testSparse(t *testing.T, d *damaged) {
	t.Helper()
	raw := encodeIndex(d.index)
	d.raw, d.data = raw, nil
	whole := d.bytes()
	f, err := NewFile(sparse{whole[:HeaderBytes], raw, int64(d.header.IndexOffset)}, int64(d.header.FileBytes))
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.ParameterValues("fc.weight")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := v.WriteFloat32(&out); err != nil || out.Len() != 16 {
		t.Errorf("%d bytes: %v", out.Len(), err)
	}
	if v, err = f.OperandValues("fc.weight"); err != nil {
		t.Fatal(err)
	}
	enough := &limited{n: 16 << 20}
	if err := v.WriteRaw(enough); !errors.Is(err, errEnough) {
		t.Errorf("all of the operand: %v", err)
	}
	if err := dump(io.Discard, f.r, int64(d.header.FileBytes)); err != nil {
		t.Error(err)
	}
}

// sparse is zeros between a header and an index.
type sparse struct {
	header, index []byte
	at            int64
}

func (s sparse) ReadAt(b []byte, off int64) (int, error) {
	if off >= s.at {
		return bytes.NewReader(s.index).ReadAt(b, off-s.at)
	}
	return zeros{s.header}.ReadAt(b, off)
}

var errEnough = errors.New("enough")

// limited is a writer that has enough after n bytes.
type limited struct{ n int }

func (l *limited) Write(b []byte) (int, error) {
	if l.n -= len(b); l.n < 0 {
		return 0, errEnough
	}
	return len(b), nil
}
