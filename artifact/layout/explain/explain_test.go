package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"npuw/artifact/layout"
	"npuw/artifact/target"
)

// request is a request for npu1, from texts as on the command line.
func request(t testing.TB, notation, shape, pad, element, format string) Request {
	t.Helper()
	r := Request{Notation: notation}
	for _, sizes := range []struct {
		text string
		into *[]Size
	}{{shape, &r.Shape}, {pad, &r.Pad}, {element, &r.Element}} {
		if sizes.text == "" {
			continue
		}
		var err error
		if *sizes.into, err = ParseSizes(sizes.text); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if r.Format, err = target.ParseFormat(format); err != nil {
		t.Fatal(err)
	}
	if r.Target, err = target.Lookup("npu1"); err != nil {
		t.Fatal(err)
	}
	return r
}

func explained(t testing.TB, r Request) *Explanation {
	t.Helper()
	x, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestFormulaAndElement(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		notation, shape, pad, element, format string
		formula, sum                          string
		position, at, bit                     uint64
		padding                               bool
	}{
		{ // the example of FORMAT.md, section 6
			"N* K* K8 N8 K8 N4", "K=512,N=2048", "", "K=100,N=70", "bf16",
			"n/32*16384 + k/64*2048 + k/8%8*256 + n/4%8*32 + k%8*4 + n%4", "2*16384 + 1*2048 + 4*256 + 1*32 + 4*4 + 2",
			35890, 71780, 0, false,
		},
		{"K* N*", "K=75,N=53", "K=64,N=128", "N=53,K=75", "f32", "k*128 + n", "75*128 + 53", 9653, 38612, 0, true},
		{"K* N*", "N=53,K=75", "N=4", "N=52,K=74", "int8", "k*56 + n", "74*56 + 52", 4196, 4196, 0, false},
		{"K* N* K2", "K=8,N=10", "", "K=3,N=2", "int4", "k/2*20 + n*2 + k%2", "1*20 + 2*2 + 1", 25, 12, 4, false},
		{"N* K* N8 K8", "K=75,N=53", "", "K=9,N=3", "bfp16", "n/8*640 + k/8*64 + n%8*8 + k%8", "0*640 + 1*64 + 3*8 + 1", 89, 99, 0, false},
		{"N4@*32 N*@32 N32@1 K*", "K=2,N=300", "", "K=1,N=299", "bf16", "n/96*192 + n/32%3*64 + n%32*2 + k", "3*192 + 0*64 + 11*2 + 1", 599, 1198, 0, false},
		{"K1", "K=1", "", "K=0", "f64", "0", "0", 0, 0, 0, false},
	} {
		x := explained(t, request(t, c.notation, c.shape, c.pad, c.element, c.format))
		e := x.Element
		if x.Formula != c.formula || e.Sum != c.sum || e.Position != c.position || e.Byte != c.at || e.Bit != c.bit || e.Padding != c.padding {
			t.Errorf("%s: %s, %+v", c.notation, x.Formula, *e)
		}
	}
}

// TestSumsAreRight adds up what is written for every element, where digits are out of order as well.
func TestSumsAreRight(t *testing.T) {
	t.Parallel()
	for _, notation := range []string{"N* K* K4 N2 K2 N2", "K2@4 N4@1 K4@1 N*@4 K*@8", "N4@2 N*@8 K* N2@1", "K* N*", "N* K1 K* N1"} {
		for k := range uint64(12) {
			for n := range uint64(12) {
				x := explained(t, request(t, notation, "K=12,N=12", "", fmt.Sprintf("K=%d,N=%d", k, n), "int8"))
				sum := uint64(0)
				for term := range strings.SplitSeq(x.Element.Sum, " + ") {
					value := uint64(1)
					for factor := range strings.SplitSeq(term, "*") {
						f, err := strconv.ParseUint(factor, 10, 64)
						if err != nil {
							t.Fatalf("%s: %q", notation, x.Element.Sum)
						}
						value *= f
					}
					sum += value
				}
				if sum != x.Element.Position {
					t.Fatalf("%s: K=%d N=%d: %s is %d, want %d", notation, k, n, x.Element.Sum, sum, x.Element.Position)
				}
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ notation, shape, pad, element, format, want string }{
		{"", "K=1", "", "", "bf16", "found the end, expected a digit"},
		{"K*,N*", "K=1,N=1", "", "", "bf16", `column 3: found ",", expected a space or the end; digits are separated by spaces: "K* N*"`},
		{"k*", "K=1", "", "", "bf16", "expected an axis letter from A to Z; axes are named by capital letters"},
		{"K* (K+N)8", "K=1,N=1", "", "", "bf16", "the value of a digit comes from one axis alone: orders that rotate or mix axes, such as XNNPACK's with sr > 1"},
		{"K*", "K=1,N=2", "", "", "bf16", "shape: N is no axis of the layout, which has K"},
		{"K* N*", "K=1", "", "", "bf16", "shape: axis N is missing, as in K=1,N=64"},
		{"K* N*", "K=1,N=0", "", "", "bf16", "shape: N=0: a size of 1 or more was expected"},
		{"K* N4", "K=1,N=9", "", "", "bf16", "the digits of \"K* N4\" cover 4, wanted 9; a digit N* takes what remains"},
		{"K4@8 K*@1", "K=100", "", "", "bf16", "digit 1 (K4) has stride 8, but the digits below it on axis K cover 25"},
		{"K* N4", "K=4611686018427387904,N=3", "", "", "bf16", "more than 1<<62 elements"},
		{"K*", "K=4611686018427387904", "", "", "bf16", "4611686018427387904 elements are too many"},
		{"K*", "K=5", "N=8", "", "bf16", `pad: N is no axis of "K*"`},
		{"K*", "K=5", "K=0", "", "bf16", "pad: K=0: a multiple of 1 or more was expected"},
		{"K*", "K=4611686018427387904", "K=3", "", "bf16", "pad: axis K would have more than 1<<62 elements"},
		{"K*", "K=5", "", "K=5", "bf16", "element: K=5 is beyond the axis, which goes to 4"},
		{"K* N*", "K=5,N=5", "", "K=4", "bf16", "element: axis N is missing, as in K=4,N=64"},
		{"K*", "K=5", "", "K=4,N=1", "bf16", "element: N is no axis of the layout, which has K"},
		{"K* N*", "K=16,N=9", "", "", "bfp16", "bfp16 keeps 8 neighbours of an axis together, so the innermost digit must be a multiple of 8"},
		{"K* N4@1 N*@4", "K=16,N=32", "", "", "bfp16", "bfp16 keeps 8 neighbours of an axis together"},
	} {
		_, err := New(request(t, c.notation, c.shape, c.pad, c.element, c.format))
		if !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %s: error %v, want %q", c.notation, c.shape, err, c.want)
		}
	}
	twice := request(t, "K*", "K=5", "", "", "bf16")
	twice.Shape = append(twice.Shape, twice.Shape...)
	if _, err := New(twice); err == nil || !strings.Contains(err.Error(), "shape: axis K is given twice") {
		t.Error(err)
	}
	if _, err := New(Request{Notation: "K*", Shape: []Size{{'K', 4}}}); !errors.Is(err, ErrRequest) {
		t.Errorf("no format: %v", err)
	}
}

func TestParseSizes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"K=512,N=2048", "[{75 512} {78 2048}]"},
		{" K = 512 , N=0", "[{75 512} {78 0}]"},
		{"K=4611686018427387904", "[{75 4611686018427387904}]"},
		{"", `"": an axis, a capital letter, and its number was expected, as in K=512,N=2048`},
		{"K=1,", `"": an axis, a capital letter, and its number was expected`},
		{"K512", `"K512": an axis, a capital letter, and its number was expected`},
		{"k=512", `"k=512": an axis, a capital letter,`},
		{"KN=512", `"KN=512": an axis, a capital letter,`},
		{"K=", `"K=": a number from 0 to 1<<62 was expected after K=`},
		{"K=+1", `"K=+1": a number from 0 to 1<<62`},
		{"K=-1", `"K=-1": a number from 0 to 1<<62`},
		{"K=1e3", `"K=1e3": a number from 0 to 1<<62`},
		{"K=4611686018427387905", `"K=4611686018427387905": a number from 0 to 1<<62`},
		{"K=1,K=1", `"K=1": axis K has a number already`},
		{"K=\x1b[31m" + strings.Repeat("x", 99), `"K=\x1b[31mxxxxxxxxx`},
	} {
		sizes, err := ParseSizes(c.text)
		got := fmt.Sprint(sizes)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) || err == nil && got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}

// TestGrids compares the numbers drawn with the layout's.
func TestGrids(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		notation, shape string
		want            []string // of each grid: cell, axes, tile, rows and columns
	}{
		{"N* K* K8 N8 K8 N4", "K=512,N=2048", []string{`element K\N  8x4 16x16 +`, `tile of K8 N4 K\N  0x8 16x16 +`}},
		{"N* K* K8 N8 K8 N4", "N=2048,K=512", []string{`element N\K  4x8 16x16 +`, `tile of K8 N4 N\K  8x0 16x16 +`}},
		{"K* N*", "K=3,N=5", []string{`element K\N  0x0 3x5`}},
		{"K* N* K6 N5", "K=50,N=53", []string{`element K\N  6x5 12x15 +`, `tile of K6 N5 K\N  0x0 9x11`}},
		{"N* N32", "N=77", []string{`element \N  0x0 6x16`}},
		{"N4@3 N*@12 N3@1", "N=20", []string{`element \N  0x3 2x15`, `tile of N3 \N  0x4 1x8`}},
		{"O* I* Y* X* I8 O8", "O=21,I=13,Y=3,X=5", []string{`element O\I Y X 8x8 16x16 +`, `tile of Y3 X5 I8 O8 O\I Y X 0x0 3x2`}},
		{"A* B* C1", "A=2,B=2,C=1", []string{`element A\B C 0x0 2x2`}},
		{"A1 B1 C1", "A=1,B=1,C=1", []string{`element A\B C 0x0 1x1`}},
	} {
		r := request(t, c.notation, c.shape, "", "", "int8")
		x := explained(t, r)
		var got []string
		for _, g := range x.Grids {
			more := ""
			if g.More {
				more = " +"
			}
			got = append(got, fmt.Sprintf(`%s %s\%s %s %dx%d %dx%d%s`, g.Cell, g.Down, g.Across, g.Others, g.TileDown, g.TileAcross,
				len(g.Values), len(g.Values[0]), more))
		}
		if strings.Join(got, "; ") != strings.Join(c.want, "; ") {
			t.Errorf("%s: %q, want %q", c.notation, got, c.want)
		}
		l, err := r.resolve()
		if err != nil {
			t.Fatal(err)
		}
		checkElements(t, l, x.Grids[0])
	}
}

func checkElements(t *testing.T, l layout.Layout, g Grid) {
	t.Helper()
	index := make([]uint64, len(l.Axes))
	for row, values := range g.Values {
		for column, v := range values {
			padding := false
			for i, a := range l.Axes {
				index[i] = 0
				switch string(rune(a.Name)) {
				case g.Down:
					index[i] = uint64(row)
				case g.Across:
					index[i] = uint64(column)
					if g.Down == "" {
						index[i] += uint64(row * len(g.Values[0]))
					}
				}
				padding = padding || index[i] >= a.Extent
			}
			if want := l.Offset(index); v != want || g.Padding[row][column] != padding {
				t.Fatalf("%s: %v is drawn as %d (padding %t), it lies at %d", l, index, v, g.Padding[row][column], want)
			}
		}
	}
}

// TestTransfers: what the facts of the field say of orders, a level at a time.
func TestTransfers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		notation, shape, format string
		want                    []string // level, source, columns: descriptors, or the beginning of the reason
	}{
		{"N* K* K8 N8 K8 N4", "K=512,N=2048", "bf16", []string{
			"shim in this order 1: 1", "shim in this order 4: 1", "shim row-major 1: 64", "memtile row-major 1: 1", "core row-major 1: 1",
		}},
		{"N* K*", "K=512,N=2048", "bf16", []string{ // transposing 2 bytes at a time is beyond a DMA
			"shim in this order 1: 1", "shim in this order 4: 1", "shim row-major 1: each element lies by itself, 2 bytes",
			"memtile row-major 1: 1", "core row-major 1: 1", // of one column
		}},
		{"N* K*", "K=512,N=128", "bf16", []string{
			"shim in this order 1: 1", "shim in this order 4: 1", "shim row-major 1: each element", "memtile row-major 1: each element", "core row-major 1: 1",
		}},
		{"N* K*", "K=512,N=2048", "f32", []string{ // 4 bytes at a time is not
			"shim in this order 1: 1", "shim in this order 4: 1", "shim row-major 1: 1", "memtile row-major 1: 1", "core row-major 1: 1",
		}},
		{"N* K* N8 K8", "N=512,K=512", "bfp16", []string{ // blocks of 9 bytes are no words: pre-tiling is required
			"shim in this order 1: 1", "shim in this order 4: 1", "shim row-major 1: 8 elements lie together, 9 bytes",
			"memtile row-major 1: 8 elements", "core row-major 1: 8 elements",
		}},
		{"K* N*", "K=64,N=65536", "f32", []string{
			"shim in this order 1: 1", "shim in this order 4: 1", "shim row-major 1: 1", "memtile row-major 1: 1", "core row-major 1: not even the innermost",
		}},
	} {
		x := explained(t, request(t, c.notation, c.shape, "", "", c.format))
		if len(x.Transfers) != len(c.want) {
			t.Errorf("%s: %d transfers, want %d", c.notation, len(x.Transfers), len(c.want))
			continue
		}
		for i, tr := range x.Transfers {
			what := tr.Reason
			if tr.Plan != nil {
				what = fmt.Sprint(tr.Plan.Descriptors)
			}
			if got := fmt.Sprintf("%s %s %d: %s", tr.Level, tr.Source, tr.Columns, what); !strings.HasPrefix(got, c.want[i]) || tr.Plan != nil && got != c.want[i] {
				t.Errorf("%s, %s: %s, want %s", c.notation, c.format, got, c.want[i])
			}
		}
	}
}

// FuzzNew: whatever is asked, there is an error that says what is wrong, or text, picture and JSON that are sound.
func FuzzNew(f *testing.F) {
	f.Add("N* K* K8 N8 K8 N4", "K=512,N=2048", "K=64", "K=100,N=70", uint8(target.BF16))
	f.Add("N4@*32 N*@32 K* K8 N8@4 K8 N4@1", "K=75,N=300", "", "", uint8(target.F32))
	f.Add("O* I* Y* X* I8 O8", "O=21,I=13,Y=3,X=5", "O=16", "O=20,I=12,Y=2,X=4", uint8(target.Int8))
	f.Add("K* N* K2", "K=8,N=10", "", "K=3,N=2", uint8(target.Int4))
	f.Add("N* K* N8 K8", "N=9,K=9", "", "", uint8(target.BFP16))
	f.Add("K*", "K=144115188075855872", "", "K=9", uint8(target.F64))
	f.Fuzz(func(t *testing.T, notation, shape, pad, element string, format uint8) {
		r := Request{Notation: notation, Format: target.Format(format)}
		for _, sizes := range []struct {
			text string
			into *[]Size
		}{{shape, &r.Shape}, {pad, &r.Pad}, {element, &r.Element}} {
			s, err := ParseSizes(sizes.text)
			if err != nil && (!utf8.ValidString(err.Error()) || len(err.Error()) > 1000) {
				t.Fatalf("%q", err)
			}
			for i := range s {
				if s[i].Axis < 'A' || s[i].Axis > 'Z' || s[i].Value > layout.MaxElements {
					t.Fatalf("%q: %v", sizes.text, s)
				}
			}
			*sizes.into = s
		}
		r.Target = target.All()[len(notation)%2]
		x, err := New(r)
		if err != nil {
			if !errors.Is(err, ErrRequest) || len(err.Error()) > 8*layout.MaxText {
				t.Fatalf("%v", err)
			}
			return
		}
		var text, picture bytes.Buffer
		if err := errors.Join(x.WriteText(&text), x.WriteSVG(&picture)); err != nil {
			t.Fatal(err)
		}
		checkSVG(t, picture.Bytes())
		if _, err := json.Marshal(x); err != nil {
			t.Fatal(err)
		}
	})
}
