package artifact

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/schema/pyreader"
)

// rule is a fault made on purpose, with all digests right, so that nothing but the rule that it breaks can find it.
type rule struct {
	name   string
	damage func(d *damaged)
	words  string // in the message, which names the thing
}

// testRules damages the sample and expects that it opens and does not verify (verify), or that it does not open; and that npuw.py
// refuses it.
func testRules(t *testing.T, want error, verify bool, rules []rule) {
	t.Helper()
	files := make([][]byte, len(rules))
	for i, r := range rules {
		d := newSample(4096).damaged()
		r.damage(d)
		files[i] = d.bytes()
	}
	t.Run("npuw.py", func(t *testing.T) {
		t.Parallel()
		if testing.Short() {
			t.Skip("it takes seconds")
		}
		for i, fault := range pythonFaults(t, files...) {
			if fault == "" {
				t.Errorf("%s: npuw.py finds nothing wrong", rules[i].name)
			}
		}
	})
	for i, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			f, err := openBytes(files[i])
			if verify {
				if err != nil {
					t.Fatalf("does not open: %v", err)
				}
				err = f.Verify()
			}
			wantFault(t, err, want, "damaged")
			if err != nil && !strings.Contains(err.Error(), r.words) {
				t.Errorf("%q does not say %q", err, r.words)
			}
		})
	}
}

// pythonFaults is what npuw.py finds wrong with each of several artifacts, "" for a sound one.
func pythonFaults(t *testing.T, files ...[]byte) []string {
	t.Helper()
	dir, paths := pyreader.TempDir(t), make([]string, len(files))
	for i, b := range files {
		paths[i] = filepath.Join(dir, fmt.Sprintf("%d.npuw", i))
		pyreader.Damage(t, paths[i])
		if err := os.WriteFile(paths[i], b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return pyreader.Verify(t, paths...)
}

func u64(at int, v uint64) func(d *damaged) {
	return func(d *damaged) { d.edit = func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v) } }
}

func TestHeaderRules(t *testing.T) {
	t.Parallel()
	testRules(t, ErrCorrupt, false, []rule{
		{"header_bytes", func(d *damaged) { d.edit = func(b []byte) { b[atHeaderBytes] = 1 } }, "header: header_bytes is 257"},
		{"page_bytes 0", u64(atPageBytes, 0), "page_bytes is 0"},
		{"page_bytes 8192", u64(atPageBytes, 8192), "page_bytes is 8192"},
		{"page_bytes huge", u64(atPageBytes, 1<<63), "page_bytes is 9223372036854775808"},
		{"reserved first", func(d *damaged) { d.edit = func(b []byte) { b[atReserved] = 1 } }, "header: reserved bytes"},
		{"reserved last", func(d *damaged) { d.edit = func(b []byte) { b[atHeaderDigest-1] = 0x80 } }, "header: reserved bytes"},
		{"file_bytes huge", u64(atFileBytes, 1<<63), "file_bytes is 9223372036854775808"},
		{"a byte more", func(d *damaged) { d.header.FileBytes = 40960; d.tail = make([]byte, 1<<20) }, "more than recorded"},
		{"index_bytes 0", u64(atIndexBytes, 0), "index_bytes is 0"},
		{"index_bytes 248", u64(atIndexBytes, 248), "index_bytes is 248"},
		{"index_bytes odd", u64(atIndexBytes, 1001), "index_bytes is 1001"},
		{"index_bytes too many", u64(atIndexBytes, MaxIndexBytes+8), "index_bytes is 67108872"},
		{"index_bytes huge", u64(atIndexBytes, math.MaxUint64-7), "index_bytes is 18446744073709551608"},
		{"index_offset 0", u64(atIndexOffset, 0), "index_offset is 0"},
		{"index_offset odd", u64(atIndexOffset, 4100), "index_offset is 4100"},
		{"index_offset at another page", u64(atIndexOffset, 4096), "index_offset is 4096"},
		{"index_offset beyond", u64(atIndexOffset, 1<<40), "index_offset is 1099511627776"},
		{"index_offset wraps", u64(atIndexOffset, math.MaxUint64-4095), "index_offset is 18446744073709547520"},
		{"index digest", func(d *damaged) { d.header.IndexDigest = Digest{1, 2} }, "index: digest"},
		{"bytes behind the index", func(d *damaged) { d.tail = make([]byte, 8) }, "bytes of index in a file of"},
	})
	testRules(t, ErrVersion, false, []rule{
		{"version", func(d *damaged) { d.edit = func(b []byte) { b[atVersion] = 2 } }, "header: format version 2"},
		{"required feature", u64(atRequiredFeatures, 1<<40), "header: the file needs feature bits 0x10000000000"},
	})
	testRules(t, ErrTruncated, false, []rule{
		{"file_bytes", u64(atFileBytes, 1<<40), "of 1099511627776; copy or build it again"},
	})
}

func TestSegmentRules(t *testing.T) {
	t.Parallel()
	segment := func(i int, change func(s *Segment)) func(d *damaged) {
		return func(d *damaged) { change(&d.index.Segments[i]) }
	}
	testRules(t, ErrCorrupt, false, []rule{
		{"begins late", segment(0, func(s *Segment) { s.Offset += 4096; s.Bytes -= 4096 }), `segment "layer.0": 16384 bytes at 8192`},
		{"begins early", segment(1, func(s *Segment) { s.Offset -= 4096; s.Bytes += 4096 }), `segment "empty"`},
		{"out of order", func(d *damaged) { s := d.index.Segments; s[1], s[3] = s[3], s[1] }, `segment "layer.1"`},
		{"no bytes", segment(1, func(s *Segment) { s.Bytes = 0 }), `segment "empty": 0 bytes`},
		{"half a page", segment(1, func(s *Segment) { s.Bytes = 2048 }), `segment "empty": 2048 bytes`},
		{"beyond the index", segment(4, func(s *Segment) { s.Bytes += 4096 }), `segment "layer.2"`},
		{"before the index", func(d *damaged) { d.data = append(d.data, make([]byte, 4096)...) }, "segments: they end at 40960"},
		{"2^63 bytes", segment(1, func(s *Segment) { s.Bytes = 1 << 63 }), `segment "empty": 9223372036854775808 bytes`},
		{"wraps", segment(1, func(s *Segment) { s.Bytes = math.MaxUint64 - 4095 }), `segment "empty"`},
		{"at 2^63", segment(1, func(s *Segment) { s.Offset = 1 << 63 }), `segment "empty"`},
		{"none", func(d *damaged) { d.index.Segments = nil }, "segments: they end at 4096"},
		{"name missing", segment(1, func(s *Segment) { s.Name = "" }), "segment: number 1 has no name"},
		{"name twice", segment(1, func(s *Segment) { s.Name = "layer.0" }), `segment "layer.0": two have this name`},
		{"name with a tab", segment(1, func(s *Segment) { s.Name = "a\tb" }), `index: the text is not UTF-8 without control characters: after`},
		{"name with DEL", segment(1, func(s *Segment) { s.Name = "\x7f" }), `index: the text is not UTF-8`},
		{"name not UTF-8", segment(1, func(s *Segment) { s.Name = "longer than a word \xff" }), `index: the text is not UTF-8`},
		{"name too long", segment(1, func(s *Segment) { s.Name = strings.Repeat("x", 1025) }), `index: Segment 1: a string of 1025 bytes`},
		{"operands in instructions", segment(3, func(s *Segment) { s.Kind = Instructions }), `operand "split.0"`},
	})
	testRules(t, ErrCorrupt, true, []rule{
		{"first byte of the gap", func(d *damaged) { d.gap[0] = 1 }, "at byte 256: gap after the header: byte 0x01"},
		{"last byte of the gap", func(d *damaged) { d.gap[len(d.gap)-1] = 0x80 }, "at byte 4095: gap after the header: byte 0x80"},
		{"digest", segment(2, func(s *Segment) { s.Digest = Digest{1, 2} }), `segment "code": digest`},
		{"between operands", func(d *damaged) {
			o := &d.index.Operands[4]
			d.data[d.index.Segments[3].Offset-4096+o.Offset+o.Bytes+3] = 7
		}, `segment "layer.1" outside operands: byte 0x07`},
		{"behind operands", func(d *damaged) { d.data[d.index.Segments[0].Bytes-1] = 7 }, `segment "layer.0" outside operands`},
		{"without operands", func(d *damaged) { d.data[d.index.Segments[1].Offset-4096+9] = 7 }, `segment "empty" outside operands`},
	})
}

func operand(i int, change func(o *Operand)) func(d *damaged) {
	return func(d *damaged) { change(&d.index.Operands[i]) }
}

func TestOperandRules(t *testing.T) {
	t.Parallel()
	axis := func(change func(o *Operand)) func(d *damaged) { return operand(0, change) }
	testRules(t, ErrCorrupt, false, []rule{
		{"name missing", operand(1, func(o *Operand) { o.Name = "" }), "operand: number 1 has no name"},
		{"name twice", operand(1, func(o *Operand) { o.Name = "linear" }), `operand "linear": two have this name`},
		{"name with a newline", operand(1, func(o *Operand) { o.Name = "a\nb" }), `index: the text is not UTF-8`},
		{"segment missing", operand(1, func(o *Operand) { o.Segment = 5 }), `operand "bias": segment 5, there are 5`},
		{"segment 2^31-1", operand(1, func(o *Operand) { o.Segment = math.MaxInt32 }), `operand "bias": segment 2147483647`},
		{"segments out of order", operand(5, func(o *Operand) { o.Segment = 1 }), `operand "split.1": segment 1`},
		{"offset not aligned", operand(1, func(o *Operand) { o.Offset += 128 }), `operand "bias": 256 bytes at`},
		{"overlap", operand(1, func(o *Operand) { o.Offset -= 256 }), `operand "bias": 256 bytes at`},
		{"beyond its segment", operand(3, func(o *Operand) { o.Offset = 20480 - 256 }), `operand "conv.outer"`},
		{"offset 2^63", operand(3, func(o *Operand) { o.Offset = 1 << 63 }), `operand "conv.outer"`},
		{"bytes 2^64-1", operand(3, func(o *Operand) { o.Bytes = math.MaxUint64 }), `operand "conv.outer"`},
		{"bytes too few", operand(1, func(o *Operand) { o.Bytes -= 4 }), `operand "bias": 252 bytes for 64 elements of f32`},
		{"format of another size", operand(1, func(o *Operand) { o.Format = element.BF16 }), `operand "bias": 256 bytes for 64 elements of bf16`},
		{"pad too wide", operand(0, func(o *Operand) { o.PadBits = 1 << 16 }), `operand "linear": pad_bits 0x10000`},
		{"elements measured", operand(0, func(o *Operand) { o.Statistics.Elements-- }), `operand "linear": statistics of 2799 elements, it has 2800`},
		{"f64", operand(0, func(o *Operand) { o.Format = element.F64 }), `operand "linear": f64`},
		{"no format", operand(0, func(o *Operand) { o.Format = 0 }), `operand "linear": a plane without an element format`},

		{"no axes", axis(func(o *Operand) { o.Layout.Axes = nil }), `operand "linear"`},
		{"nine axes", axis(func(o *Operand) {
			o.Layout.Axes = axes("A", 1, 1, "B", 1, 1, "C", 1, 1, "D", 1, 1, "E", 1, 1, "F", 1, 1, "G", 1, 1, "H", 1, 1, "I", 1, 1)
		}), `index: Operand 0: 9 entries`},
		{"axis in lower case", axis(func(o *Operand) { o.Layout.Axes = axes("k", 70, 128, "N", 40, 64) }), `operand "linear"`},
		{"axis twice", axis(func(o *Operand) { o.Layout.Axes = axes("K", 70, 128, "K", 40, 64) }), `operand "linear"`},
		{"axis of nothing", axis(func(o *Operand) { o.Layout.Axes = axes("K", 0, 128, "N", 40, 64) }), `operand "linear": axis K has no elements`},
		{"axis longer than padded", axis(func(o *Operand) { o.Layout.Axes = axes("K", 129, 128, "N", 40, 64) }), `operand "linear"`},
		{"too many elements", axis(func(o *Operand) { o.Layout.Axes = axes("K", 70, 1<<40, "N", 40, 1<<40) }), `operand "linear"`},
		{"no digits", axis(func(o *Operand) { o.Layout.Digits = nil }), `operand "linear"`},
		{"digit of no axis", axis(func(o *Operand) { o.Layout.Digits[0].Axis = 2 }), `operand "linear"`},
		{"digit of size 0", axis(func(o *Operand) { o.Layout.Digits[0].Size = 0 }), `operand "linear"`},
		{"digit of stride 0", axis(func(o *Operand) { o.Layout.Digits[0].Stride = 0 }), `operand "linear"`},
		{"digit of size 2^63", axis(func(o *Operand) { o.Layout.Digits[0].Size = 1 << 63 }), `operand "linear"`},
		{"digit too small", axis(func(o *Operand) { o.Layout.Digits[0].Size = 1 }), `operand "linear"`},
		{"digit twice", axis(func(o *Operand) { o.Layout.Digits[1] = o.Layout.Digits[0] }), `operand "linear"`},
		{"digits not one to one", axis(func(o *Operand) { o.Layout.Digits[2].Stride = 4 }), `operand "linear"`},
		{"33 digits", axis(func(o *Operand) {
			for range 27 {
				o.Layout.Digits = append(o.Layout.Digits, digits(0, 1, 1)...)
			}
		}), `index: Plane 0: 33 entries`},
	})
	flip := func(operand, element int) func(d *damaged) {
		return func(d *damaged) {
			o := &d.index.Operands[operand]
			at := d.index.Segments[o.Segment].Offset - 4096 + o.Offset + uint64(element*o.Format.Size())
			d.data[at] ^= 1
		}
	}
	testRules(t, ErrCorrupt, true, []rule{
		{"padding not zero", flip(0, 8191), `operand "linear": padding other than the recorded 0x0`},
		{"padding inside", flip(0, 2048+6*4), `operand "linear": padding`},
		{"padding not one", flip(1, 40), `operand "bias": padding other than the recorded 0x3f800000`},
		{"last padding", flip(1, 63), `operand "bias": padding`},
		{"padding of a row", flip(2, 7), `operand "conv": padding other than the recorded 0xc000`},
		{"padding recorded otherwise", operand(2, func(o *Operand) { o.PadBits = 0xc001 }), `operand "conv": padding other than the recorded 0xc001`},
		{"fill", flip(6, 64+8*4+2), `operand "qkv": an element of a fill is not 0.25`},
		{"fill recorded otherwise", operand(8, func(o *Operand) { o.Fills[0].Value = -7.5 }), `operand "tied.1": an element of a fill is not -7.5`},
	})
}

// TestPaddingPosition checks that the offset of a fault is that of the byte.
func TestPaddingPosition(t *testing.T) {
	t.Parallel()
	whole, each, n := newSample(4096), uint64(37), uint64(0)
	if testing.Short() {
		each = 131
	}
	for i := range whole.operands {
		so := &whole.operands[i]
		so.padding(func(bit, width uint64) {
			if n++; n%each != 0 && (so.position != nil || testing.Short()) {
				return
			}
			d := whole.damaged()
			o := &d.index.Operands[i]
			bit += n % width
			at := d.index.Segments[o.Segment].Offset + o.Offset + bit/8
			d.data[at-4096] ^= 1 << (bit % 8)
			var e *Error
			if err := check(d.bytes()); !errors.As(err, &e) || e.Offset != int64(at) || !strings.Contains(err.Error(), "padding") {
				t.Errorf("padding of %q, byte %d: %v", so.name, at, err)
			}
		})
	}
}

// TestNotPadding changes each code that is not padding, by one bit: no reader can tell.
func TestNotPadding(t *testing.T) {
	t.Parallel()
	whole := newSample(4096)
	for i := range whole.operands {
		so := &whole.operands[i]
		if so.planes == nil {
			continue
		}
		n := uint64(0)
		eachIndex(extents(so.axes), func(index []uint64) {
			if n++; testing.Short() && n%31 > 0 {
				return
			}
			p := &so.planes[0]
			d := whole.damaged()
			o := &d.index.Operands[i]
			bit := p.at(index) + (n-1)%uint64(p.Format.Bits())
			d.data[d.index.Segments[o.Segment].Offset-4096+o.Offset+bit/8] ^= 1 << (bit % 8)
			if err := check(d.bytes()); err != nil {
				t.Errorf("code of %q at %d: %v", so.name, index, err)
			}
		})
	}
}

func TestPlacementRules(t *testing.T) {
	t.Parallel()
	linear := func(change func(p *Placement)) func(d *damaged) {
		return operand(0, func(o *Operand) { change(&o.Placements[0]) })
	}
	fill := func(change func(f *Fill)) func(d *damaged) {
		return operand(6, func(o *Operand) { change(&o.Fills[0]) })
	}
	testRules(t, ErrCorrupt, false, []rule{
		{"of no parameter", linear(func(p *Placement) { p.Parameter = 23 }), `operand "linear": a placement of parameter 23, there are 23`},
		{"of parameter 2^31-1", linear(func(p *Placement) { p.Parameter = math.MaxInt32 }), `operand "linear": a placement of parameter 2147483647`},
		{"of one axis", linear(func(p *Placement) { p.From = p.From[:1] }), `operand "linear": a placement of "linear.weight" with 1 and 2 axes`},
		{"to three axes", linear(func(p *Placement) { p.To = []uint64{0, 0, 1} }), `operand "linear": a placement of "linear.weight" with 2 and 3 axes`},
		{"scale 0", linear(func(p *Placement) { p.Scale = 0 }), "scale 0"},
		{"scale NaN", linear(func(p *Placement) { p.Scale = math.NaN() }), "scale NaN"},
		{"scale infinite", linear(func(p *Placement) { p.Scale = math.Inf(-1) }), "scale -Inf"},
		{"of nothing", linear(func(p *Placement) { p.From[0].Size = 0 }), "outside its axis N"},
		{"outside the parameter", linear(func(p *Placement) { p.From[1].Begin = 1 }), "outside its axis K"},
		{"far outside the parameter", linear(func(p *Placement) { p.From[1].Begin = math.MaxUint64 }), "outside its axis K"},
		{"step 0", linear(func(p *Placement) { p.From[1].Step = 0 }), "outside its axis K"},
		{"on no axis", linear(func(p *Placement) { p.From[1].Axis = 2 }), "outside its axis K"},
		{"outside the operand", linear(func(p *Placement) { p.To = []uint64{1, 0} }), "reaches 70 on axis K, which has 70"},
		{"at 2^64-1", linear(func(p *Placement) { p.To = []uint64{math.MaxUint64, 0} }), "outside the operand"},
		{"step 2^63", linear(func(p *Placement) { p.From[0].Step = 1 << 63 }), "outside the operand"},
		{"step wraps to 1", linear(func(p *Placement) { p.From[0].Step = 1<<63 + 1 }), "outside the operand"},
		{"4097 placements", operand(0, func(o *Operand) {
			for range 4096 {
				o.Placements = append(o.Placements, o.Placements[0])
			}
		}), `index: Operand 0: 4097 entries`},

		{"fill of one axis", fill(func(f *Fill) { f.Begin = f.Begin[:1] }), `operand "qkv": a fill of 1 and 2 axes`},
		{"fill without a size", fill(func(f *Fill) { f.Size = nil }), `operand "qkv": a fill of 2 and 0 axes`},
		{"fill of nothing", fill(func(f *Fill) { f.Size[0] = 0 }), `operand "qkv": a fill reaches outside axis K`},
		{"fill outside", fill(func(f *Fill) { f.Begin[1] = 9 }), `operand "qkv": a fill reaches outside axis N`},
		{"fill far outside", fill(func(f *Fill) { f.Begin[1] = math.MaxUint64 }), `operand "qkv": a fill reaches outside axis N`},
		{"fill NaN", fill(func(f *Fill) { f.Value = math.NaN() }), `operand "qkv": a fill with NaN`},
	})
}

func TestCoverageRules(t *testing.T) {
	t.Parallel()
	testRules(t, ErrCorrupt, true, []rule{
		{"nothing placed", operand(0, func(o *Operand) { o.Placements = nil }), `operand "linear": placements and fills name 0 elements of 2800`},
		{"a row missing", operand(0, func(o *Operand) { o.Placements[0].From[1].Size-- }), `operand "linear": placements and fills name 2760 elements`},
		{"a fill missing", operand(6, func(o *Operand) { o.Fills = nil }), `operand "qkv"`},
		{"a fill twice", operand(6, func(o *Operand) { o.Fills = append(o.Fills, o.Fills[0]) }), `operand "qkv"`},
		{"a fill on a placement", operand(6, func(o *Operand) { o.Fills[0].Begin[1] = 2 }), `operand "qkv": two placements or fills name the same element`},
		{"placements overlap", operand(6, func(o *Operand) { o.Placements[2].To = []uint64{0, 3} }), `operand "qkv": two placements or fills name the same element`},
		{"same residue", operand(9, func(o *Operand) { o.Fills[2].Begin[0] = 5 }), `operand "thirds": two placements or fills name the same element`},
		{"same place", operand(9, func(o *Operand) { o.Fills[2].Begin[0] = 2 }), `operand "thirds": two placements or fills name the same element`},
		{"an element named twice", operand(2, func(o *Operand) { o.Placements[0].From[1].Step = 2 }), `operand "conv": a placement names an element twice`},

		{"parameter not placed", func(d *damaged) {
			d.index.Parameters = append(d.index.Parameters, Parameter{"extra", "N", []uint64{3}})
		}, `parameter "extra": placements name 0 elements of 3`},
		{"part not placed", func(d *damaged) { d.index.Parameters[linearBias].Shape[0] = 41 }, `parameter "linear.bias": placements name 40 elements of 41`},
		{"boxes overlap", operand(5, func(o *Operand) { o.Placements[0].From[0].Begin = 6 }), `parameter "split.weight": two placements overlap`},
	})
}

func TestParameterRules(t *testing.T) {
	t.Parallel()
	parameter := func(change func(p *Parameter)) func(d *damaged) {
		return func(d *damaged) { change(&d.index.Parameters[0]) }
	}
	testRules(t, ErrCorrupt, false, []rule{
		{"name missing", parameter(func(p *Parameter) { p.Name = "" }), "parameter: number 0 has no name"},
		{"name twice", parameter(func(p *Parameter) { p.Name = "tied" }), `parameter "tied": two have this name`},
		{"axes too few", parameter(func(p *Parameter) { p.Axes = "N" }), `parameter "linear.weight": axes "N" for 2 sizes`},
		{"axes in lower case", parameter(func(p *Parameter) { p.Axes = "nK" }), `parameter "linear.weight": axes "nK"`},
		{"axes twice", parameter(func(p *Parameter) { p.Axes = "NN" }), `parameter "linear.weight": axes "NN"`},
		{"no elements", parameter(func(p *Parameter) { p.Shape[1] = 0 }), `parameter "linear.weight": shape [40 0]`},
		{"too many elements", parameter(func(p *Parameter) { p.Shape = []uint64{1 << 32, 1 << 32} }), `parameter "linear.weight": shape`},
		{"nine axes", parameter(func(p *Parameter) { p.Axes, p.Shape = "ABCDEFGHI", []uint64{1, 1, 1, 1, 1, 1, 1, 1, 1} }), `index: Parameter 0: 9 entries`},
		{"attribute missing", func(d *damaged) { d.index.Model.Attributes[1].Name = "" }, "attribute: number 1 has no name"},
		{"attribute twice", func(d *damaged) { d.index.Model.Attributes[1].Name = "layers" }, `attribute "layers": two have this name`},
		{"attribute with ESC", func(d *damaged) { d.index.Model.Attributes[2].Text = "\x1b[2J" }, `index: the text is not UTF-8`},
		{"family too long", func(d *damaged) { d.index.Model.Family = strings.Repeat("é", 600) }, `index: Model 0: a string of 1200 bytes`},
		{"producer with NUL", func(d *damaged) { d.index.Producer.Name = "a\x00b" }, `index: the text is not UTF-8`},
		{"notes", func(d *damaged) { d.index.Notes = []Note{{2, 0, 0}} }, "notes: number 0 is of kind 2"},
	})
}

func TestContractRules(t *testing.T) {
	t.Parallel()
	contract := func(change func(c *Contract)) func(d *damaged) {
		return func(d *damaged) { change(&d.index.Contracts[0]) }
	}
	weight := func(change func(a *Argument)) func(d *damaged) {
		return contract(func(c *Contract) { change(&c.Arguments[3]) })
	}
	binding := func(change func(b *Binding)) func(d *damaged) {
		return func(d *damaged) { change(&d.index.Bindings[0]) }
	}
	const unfit = `binding: operand "linear" does not fit argument "b" of contract "gemm"`
	testRules(t, ErrCorrupt, false, []rule{
		{"xclbin in a folder", func(d *damaged) { d.index.Xclbins[0].Name = "../a.xclbin" }, `xclbin "../a.xclbin"`},
		{"xclbin without a name", func(d *damaged) { d.index.Xclbins[0].Name = "" }, "xclbin"},
		{"name missing", contract(func(c *Contract) { c.Name = "" }), "contract: number 0 has no name"},
		{"name twice", contract(func(c *Contract) { c.Name = "other" }), `contract "other": two have this name`},
		{"xclbin missing", contract(func(c *Contract) { c.Xclbin = 1 }), `contract "gemm": xclbin 1, there are 1`},
		{"segment of weights", contract(func(c *Contract) { c.Instructions = 0 }), `contract "gemm": segment 0`},
		{"segment missing", contract(func(c *Contract) { c.Instructions = 5 }), `contract "gemm": segment 5`},
		{"shape", contract(func(c *Contract) { c.Shape = axes("M", 3, 2) }), `contract "gemm": shape`},
		{"shape without elements", contract(func(c *Contract) { c.Shape = axes("M", 0, 2) }), `contract "gemm": shape: axis M has no elements`},
		{"shape of nine axes", contract(func(c *Contract) {
			c.Shape = axes("A", 1, 1, "B", 1, 1, "C", 1, 1, "D", 1, 1, "E", 1, 1, "F", 1, 1, "G", 1, 1, "H", 1, 1, "I", 1, 1)
		}), `index: Contract 0: 9 entries`},
		{"argument without a name", weight(func(a *Argument) { a.Name = "" }), `contract "gemm": argument: number 3 has no name`},
		{"argument twice", weight(func(a *Argument) { a.Name = "a" }), `contract "gemm": argument "a": two have this name`},
		{"argument without digits", contract(func(c *Contract) { c.Arguments[2].Layout.Digits = nil }), `contract "gemm": argument "a"`},
		{"argument of bad axes", contract(func(c *Contract) { c.Arguments[1].Layout.Axes = axes("m", 1, 1) }), `contract "gemm": argument "code"`},

		{"binding of no operand", binding(func(b *Binding) { b.Operand = 20 }), "binding: operand 20"},
		{"binding to no contract", binding(func(b *Binding) { b.Contract = 3 }), "contract 3"},
		{"binding to no argument", binding(func(b *Binding) { b.Argument = 5 }), "argument 5"},
		{"binding to 2^32-1", binding(func(b *Binding) { *b = Binding{-1, -1, -1} }), "binding"},
		{"other operand", binding(func(b *Binding) { b.Operand = 1 }), `binding: operand "bias" does not fit`},
		{"other kind", weight(func(a *Argument) { a.Kind = kernel.ScalarArgument }), unfit},
		{"other role", weight(func(a *Argument) { a.Role = kernel.Output }), unfit},
		{"other format", weight(func(a *Argument) { a.Format = element.F16 }), unfit},
		{"other bytes", weight(func(a *Argument) { a.Bytes++ }), `contract "gemm": argument "b": values: 16385 bytes for 8192 elements of bf16`},
		{"other group", weight(func(a *Argument) { a.MemoryGroup = 4 }), unfit},
		{"group not stated", func(d *damaged) { d.index.Segments[0].MemoryGroup = NoGroup }, unfit},
		{"other extent", weight(func(a *Argument) { a.Layout.Axes = axes("K", 71, 128, "N", 40, 64) }), unfit},
		{"other names", weight(func(a *Argument) { a.Layout.Axes = axes("L", 70, 128, "N", 40, 64) }), unfit},
		{"other layout", weight(func(a *Argument) { a.Layout.Digits = digits(0, 128, 1, 1, 64, 1) }), unfit},
	})
}
