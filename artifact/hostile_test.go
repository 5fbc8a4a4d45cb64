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

	flatbuffers "github.com/google/flatbuffers/go"

	"npuw/artifact/element"
	fb "npuw/schema/npuwfb"
)

// partsOf gives everything that a decoder reaches in an index.
func partsOf(t testing.TB, b []byte) []part {
	t.Helper()
	var parts []part
	if _, err := decodeIndex(b, 0, func(p part) { parts = append(parts, p) }); err != nil {
		t.Fatal(err)
	}
	return parts
}

// findPart is the first part that prints as name in a form.
func findPart(t testing.TB, parts []part, name string, f form) part {
	t.Helper()
	for _, p := range parts {
		if p.String() == name && p.form == f {
			return p
		}
	}
	t.Fatalf("no %s in the index", name)
	return part{}
}

// decode decodes and checks an index as a reader does that opens a file.
func decode(b []byte) error {
	x, err := decodeIndex(b, 4096, nil)
	if err != nil {
		return err
	}
	last := x.Segments[len(x.Segments)-1]
	_, _, err = x.check(4096, last.Offset+last.Bytes, 4096)
	return err
}

// TestFlatRules breaks the rules of FORMAT.md, section 5, one by one.
func TestFlatRules(t *testing.T) {
	t.Parallel()
	d := newSample(4096).damaged()
	d.seal()
	whole := encodeIndex(d.index)
	parts := partsOf(t, whole)
	le := binary.LittleEndian
	at := func(name string, f form, off int) int { return findPart(t, parts, name, f).at + off }
	word := func(at int, v uint32) func(b []byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	half := func(at int, v uint16) func(b []byte) { return func(b []byte) { le.PutUint16(b[at:], v) } }
	rows := []struct {
		name   string
		damage func(b []byte)
		words  string
	}{
		{"identifier", func(b []byte) { b[4] = 'n' }, `the identifier "NPUW" is missing`},
		{"root at 0", word(0, 0), "Index: distance 0"},
		{"root at 3", word(0, 3), "Index: distance 3"},
		{"root beyond", word(0, uint32(len(whole))), "Index: distance"},
		{"root far beyond", word(0, math.MaxUint32), "Index: distance 4294967295"},
		{"root not aligned", word(0, 6), "Index reaches outside the index or is not aligned"},
		{"vtable before the index", word(at("Operand", formHead, 0), 1<<30), "Operand: its vtable lies outside"},
		{"vtable behind the index", word(at("Operand", formHead, 0), 1<<31), "Operand: its vtable lies outside"},
		{"vtable at the end", word(at("Operand", formHead, 0), uint32(at("Operand", formHead, 2)-len(whole))), "Operand: its vtable lies outside"},
		{"vtable not aligned", word(at("Operand", formHead, 0), 1), "Operand: its vtable lies outside"},
		{"vtable of 0 bytes", half(at("Operand", formVtable, 0), 0), "Operand: a vtable of 0 bytes"},
		{"vtable of 2 bytes", half(at("Operand", formVtable, 0), 2), "Operand: a vtable of 2 bytes"},
		{"vtable of 7 bytes", half(at("Operand", formVtable, 0), 7), "Operand: a vtable of 7 bytes"},
		{"vtable too long", half(at("Operand", formVtable, 0), 0xfffe), "Operand: a vtable of 65534 bytes"},
		{"field in the head", half(at("Operand", formVtable, 4), 2), "Operand.name lies in the table's head"},
		{"field outside", half(at("Index", formVtable, 4), 0xfffc), "Index.producer reaches outside"},
		{"struct outside", half(at("Plane", formVtable, 4), 0xfff0), "Plane.facts reaches outside"},
		{"field not aligned", half(at("Operand", formVtable, 4), 5), "Operand.name is not aligned to 4"},
		{"struct not aligned", half(at("Operand", formVtable, 6), le.Uint16(whole[at("Operand", formVtable, 6):])+4), "Operand.facts is not aligned to 8"},
		{"no facts", half(at("Operand", formVtable, 6), 0), "Operand.facts is missing"},
		{"no statistics", half(at("Operand", formVtable, 16), 0), "Operand.statistics is missing"},
		{"no facts of a segment", half(at("Segment", formVtable, 6), 0), ".facts is missing"},
		{"no facts of a plane", half(at("Plane", formVtable, 4), 0), ".facts is missing"},
		{"no facts of a placement", half(at("Placement", formVtable, 4), 0), ".facts is missing"},
		{"no facts of a fill", half(at("Fill", formVtable, 4), 0), ".facts is missing"},
		{"no facts of an attribute", half(at("Attribute", formVtable, 6), 0), ".facts is missing"},
		{"no facts of an xclbin", half(at("Xclbin", formVtable, 6), 0), ".facts is missing"},
		{"no facts of a contract", half(at("Contract", formVtable, 10), 0), ".facts is missing"},
		{"no facts of an argument", half(at("Argument", formVtable, 6), 0), ".facts is missing"},
		{"no producer", half(at("Index", formVtable, 4), 0), "Index.producer is missing"},
		{"no model", half(at("Index", formVtable, 6), 0), "Index.model is missing"},
		{"no planes", half(at("Operand", formVtable, 10), 0), `operand "linear": 0 planes, encoding 0 has one`},
		{"planes of none", word(at("Operand.planes", formReferences, 0), 0), `operand "linear": 0 planes`},
		{"five planes", word(at("Operand.planes", formReferences, 0), 5), "Operand.planes: 5 entries, the limit is 4"},
		{"a vector before its elements' alignment", word(at("Operand.axes", formReference, 0), le.Uint32(whole[at("Operand.axes", formReference, 0):])-4), "Operand.axes: elements are not aligned to 8"},
		{"a vector not aligned", word(at("Operand.axes", formReference, 0), le.Uint32(whole[at("Operand.axes", formReference, 0):])+2), "Operand.axes: elements are not aligned"},
		{"a string without its zero", func(b []byte) { b[at("Operand.name", formText, 4+len("linear"))] = 'x' }, "Operand.name: no zero byte"},
		{"role", func(b []byte) { b[at("Plane.facts", formStruct, 40)] = 1 }, `operand "linear": the plane of encoding 0`},
		{"plane's offset", func(b []byte) { b[at("Plane.facts", formStruct, 1)] = 1 }, `operand "linear": the plane of encoding 0`},
		{"plane's bytes", func(b []byte) { b[at("Plane.facts", formStruct, 9)]++ }, `operand "linear": the plane of encoding 0`},
		{"record elements", func(b []byte) { b[at("Plane.facts", formStruct, 24)] = 1 }, `operand "linear": the plane of encoding 0`},
		{"record bytes", func(b []byte) { b[at("Plane.facts", formStruct, 32)] = 1 }, `operand "linear": the plane of encoding 0`},
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
	tried := map[string]int{}
	for _, p := range partsOf(t, whole) {
		if p.form != formStruct && p.form != formStructs {
			continue
		}
		used := make([]bool, p.of.size)
		for text := range strings.SplitSeq(p.of.fields, "; ") {
			var at int
			var name, kind string
			fmt.Sscan(text, &at, &name, &kind)
			for i := range map[string]int{"u8": 1, "u32": 4, "i32": 4, "u64": 8, "i64": 8, "f64": 8, "Digest": 16}[kind] {
				used[at+i] = true
			}
		}
		begin := p.at + p.n - p.of.size // the last one's
		for i, field := range used {
			if field {
				continue
			}
			tried[p.of.name]++
			b := bytes.Clone(whole)
			b[begin+i] = 0x10
			_, err := decodeIndex(b, 0, nil)
			wantFault(t, err, ErrCorrupt, fmt.Sprintf("byte %d of %s", i, p.of.name))
			if err != nil && !strings.Contains(err.Error(), p.of.name+": a byte between fields is not zero") {
				t.Errorf("byte %d of %s: %v", i, p.of.name, err)
			}
		}
	}
	if len(tried) != 10 {
		t.Errorf("structs with gaps: %v", tried)
	}
}

// TestReferences sets every distance of an index to where it cannot lead, and to some of its other parts.
func TestReferences(t *testing.T) {
	t.Parallel()
	whole := encodeIndex(newSample(4096).index)
	parts := partsOf(t, whole)
	var references []int
	for _, p := range parts {
		switch p.form {
		case formReference:
			references = append(references, p.at)
		case formReferences:
			for at := p.at + 4; at < p.at+p.n; at += 4 {
				references = append(references, at)
			}
		}
	}
	le := binary.LittleEndian
	b := bytes.Clone(whole)
	step := 11
	if testing.Short() {
		step = 47
	}
	for i, at := range references {
		before := le.Uint32(b[at:])
		for _, v := range []uint32{0, 1, 2, 3, uint32(len(b) - at), math.MaxInt32, math.MaxUint32, math.MaxUint32 - uint32(at) + 1} {
			le.PutUint32(b[at:], v)
			_, err := decodeIndex(b, 0, nil)
			wantFault(t, err, ErrCorrupt, fmt.Sprintf("distance %d at %d", v, at))
		}
		for j := i % step; j < len(parts); j += step { // none may panic or go on for long
			if to := parts[j].at; to > at {
				le.PutUint32(b[at:], uint32(to-at))
				if _, err := decodeIndex(b, 0, nil); err != nil {
					wantFault(t, err, ErrCorrupt, "a reference to something else")
				}
			}
		}
		le.PutUint32(b[at:], before)
	}
}

// TestCounts makes every vector longer than the index.
func TestCounts(t *testing.T) {
	t.Parallel()
	whole := encodeIndex(newSample(4096).index)
	b := bytes.Clone(whole)
	for _, p := range partsOf(t, whole) {
		if p.form < formStructs {
			continue
		}
		for _, n := range []uint32{1 << 31, math.MaxUint32, 1 << 29, 1 << 20, uint32(len(b))} {
			binary.LittleEndian.PutUint32(b[p.at:], n)
			_, err := decodeIndex(b, 0, nil)
			wantFault(t, err, ErrCorrupt, fmt.Sprintf("%d of %v", n, p))
		}
		copy(b[p.at:p.at+4], whole[p.at:])
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
	d.data[len(d.data)-1] = 1 // what lies there is not known
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
	d.data[len(d.data)-1] = 2
	b := d.bytes()
	b[len(b)-int(f.Header.IndexBytes)-1] = 3
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
	d.index.Notes = []Note{{Kind: 9, Parameter: epsilon, Operand: len(d.index.Operands) - 1}}
	d.index.Operands[len(d.index.Operands)-1].Placements = nil
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
	d.index.Notes[0].Operand = len(d.index.Operands)
	_, err = openBytes(d.bytes())
	wantFault(t, err, ErrCorrupt, "a note of no operand")
}

// sharedIndex is an index of n operands that are all the same table.
func sharedIndex(n int) []byte {
	x := newSample(4096).index
	e := encoder{flatbuffers.NewBuilder(1 << 20)}
	b := e.Builder
	producer, model := e.producer(&x.Producer), e.model(&x.Model)
	big := x.Operands[6]
	for len(big.Placements) < maxBoxes {
		big.Placements = append(big.Placements, big.Placements...)
	}
	big.Placements = big.Placements[:maxBoxes]
	o := e.operand(&big)
	b.StartVector(4, n, 4)
	for range n {
		b.PrependUOffsetT(o)
	}
	operands := b.EndVector(n)
	fb.IndexStart(b)
	fb.IndexAddProducer(b, producer)
	fb.IndexAddModel(b, model)
	fb.IndexAddOperands(b, operands)
	b.FinishWithFileIdentifier(fb.IndexEnd(b), []byte(flatIdentifier))
	index := b.FinishedBytes()
	return append(index, make([]byte, (8-len(index)%8)%8)...)
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
	binary.LittleEndian.PutUint32(counts[findPart(t, partsOf(t, counts), "Index.operands", formReferences).at:], maxEntries-8)
	for name, index := range map[string][]byte{
		"one operand 100000 times": sharedIndex(100000), "a count of operands": counts,
		"20000 parameters": encodeIndex(manyParameters), "4096 placements": encodeIndex(manyPlacements),
		"real": encodeIndex(encoderIndex()),
	} {
		limit := int64(16*len(index) + 1<<20)
		if got := allocated(func() {
			if x, err := decodeIndex(index, 0, nil); err == nil {
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
