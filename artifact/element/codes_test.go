package element

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// refInteger is the number that a code of f stands for, NF4 not among them.
func refInteger(code byte, f Format) int64 {
	n := int64(code)
	if f == I4 || f == U4 {
		n %= 16
	}
	if f == I8 && n >= 128 {
		n -= 256
	} else if f == I4 && n >= 8 {
		n -= 16
	}
	return n
}

// Every byte in every format of one byte an element, to both types.
func TestDecodeEveryCode(t *testing.T) {
	t.Parallel()
	codes := make([]byte, 256)
	for i := range codes {
		codes[i] = byte(i)
	}
	for _, f := range []Format{I8, U8, I4, U4, NF4, E8M0} {
		narrow, wide := make([]float32, 256), make([]float64, 256)
		if err := ToFloat32(narrow, codes, f); err != nil {
			t.Fatal(err)
		}
		if err := ToFloat64(wide, codes, f); err != nil {
			t.Fatal(err)
		}
		for code := range 256 {
			var want float64
			switch f {
			case NF4:
				want = nf4[code%16]
			case E8M0:
				want = math.Ldexp(1, code-127)
				if code == 255 {
					want = math.NaN()
				}
			default:
				want = float64(refInteger(byte(code), f))
			}
			if got := wide[code]; math.Float64bits(got) != math.Float64bits(want) && !(math.IsNaN(got) && math.IsNaN(want)) {
				t.Errorf("%v %#02x is %g, want %g", f, code, got, want)
			}
			if got := float64(narrow[code]); got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
				t.Errorf("%v %#02x is %g in float32, want %g", f, code, got, want)
			}
		}
	}
}

func TestNF4Table(t *testing.T) {
	t.Parallel()
	for code, v := range nf4 {
		if v != float64(float32(v)) {
			t.Errorf("entry %d, %v, is no binary32", code, v)
		}
		if code > 0 && v <= nf4[code-1] {
			t.Errorf("entry %d, %v, is not above the one before it", code, v)
		}
		if got := nf4Code(nf4Codes(), v); int(got) != code {
			t.Errorf("entry %d has code %d", code, got)
		}
	}
	if nf4[0] != -1 || nf4[7] != 0 || nf4[15] != 1 {
		t.Error("the table does not span -1, 0 and 1")
	}
}

// About every threshold and every end of a part of the search table, and at random.
func TestNF4Nearest(t *testing.T) {
	t.Parallel()
	var values []float64
	around := func(v float64) {
		values = append(values, v, math.Nextafter(v, 2), math.Nextafter(v, -2), v+0x1p-40, v-0x1p-40)
	}
	for code := range nf4[:15] {
		around((nf4[code] + nf4[code+1]) / 2)
		around(nf4[code])
	}
	for i := -nf4Cells; i <= nf4Cells; i++ {
		around(float64(i) * 2 / nf4Cells)
	}
	values = append(values, 0, math.Copysign(0, -1), math.SmallestNonzeroFloat64, -5, 5, math.MaxFloat64, -math.MaxFloat64)
	rng := rand.New(rand.NewPCG(11, 3))
	for range 5000 {
		values = append(values, 2.2*rng.Float64()-1.1)
	}
	for _, v := range values {
		if got, want := nf4Code(nf4Codes(), v), refNF4(v); got != want {
			t.Errorf("%b has code %d, want %d", v, got, want)
		}
	}
	for v, want := range map[float64]byte{math.Inf(1): 15, math.Inf(-1): 0} {
		if got := nf4Code(nf4Codes(), v); got != want {
			t.Errorf("%g has code %d, want %d", v, got, want)
		}
	}
	if got := nf4Code(nf4Codes(), math.NaN()); got != 0 {
		t.Errorf("NaN has code %d", got)
	}
}

// A tie of two codes goes to the even one, on either side.
func TestNF4Ties(t *testing.T) {
	t.Parallel()
	for code := range nf4[:15] {
		if got, want := nf4Code(nf4Codes(), (nf4[code]+nf4[code+1])/2), byte(code+code%2); got != want {
			t.Errorf("between %d and %d: %d, want %d", code, code+1, got, want)
		}
	}
}

func TestPack4(t *testing.T) {
	t.Parallel()
	rows := []struct {
		codes     []byte
		highFirst bool
		packed    []byte
	}{
		{nil, false, nil},
		{[]byte{1, 2, 3, 4}, false, []byte{0x21, 0x43}},
		{[]byte{1, 2, 3, 4}, true, []byte{0x12, 0x34}},
		{[]byte{0xf, 0, 9}, false, []byte{0x0f, 0x09}},
		{[]byte{0xf, 0, 9}, true, []byte{0xf0, 0x90}},
		{[]byte{7}, true, []byte{0x70}},
	}
	for _, r := range rows {
		packed, codes := bytes.Repeat([]byte{guard}, len(r.packed)), bytes.Repeat([]byte{guard}, len(r.codes))
		if err := Pack4(packed, r.codes, r.highFirst); err != nil || !bytes.Equal(packed, r.packed) {
			t.Errorf("% x became % x, %v; want % x", r.codes, packed, err, r.packed)
		}
		if err := Unpack4(codes, r.packed, r.highFirst); err != nil || !bytes.Equal(codes, r.codes) {
			t.Errorf("% x became % x, %v; want % x", r.packed, codes, err, r.codes)
		}
	}
}

func TestPack4IgnoresWhatIsNotACode(t *testing.T) {
	t.Parallel()
	packed, codes := make([]byte, 2), make([]byte, 3)
	if err := Pack4(packed, []byte{0xa1, 0xb2, 0xc3}, false); err != nil || !bytes.Equal(packed, []byte{0x21, 0x03}) {
		t.Errorf("% x, %v", packed, err)
	}
	if err := Unpack4(codes, []byte{0x21, 0xf3}, false); err != nil || !bytes.Equal(codes, []byte{1, 2, 3}) {
		t.Errorf("% x, %v", codes, err)
	}
}

func TestPack4EveryByte(t *testing.T) {
	t.Parallel()
	packed := make([]byte, 256)
	for i := range packed {
		packed[i] = byte(i)
	}
	for _, highFirst := range []bool{false, true} {
		codes, again := make([]byte, 512), make([]byte, 256)
		if err := Unpack4(codes, packed, highFirst); err != nil {
			t.Fatal(err)
		}
		if err := Pack4(again, codes, highFirst); err != nil || !bytes.Equal(again, packed) {
			t.Errorf("high first %v: not what it was, %v", highFirst, err)
		}
		for i, code := range codes {
			want := packed[i/2] & 0xf
			if (i%2 == 0) == highFirst {
				want = packed[i/2] >> 4
			}
			if code != want {
				t.Fatalf("high first %v: code %d is %#x, want %#x", highFirst, i, code, want)
			}
		}
	}
}

func TestPack4Errors(t *testing.T) {
	t.Parallel()
	for _, n := range [][2]int{{0, 1}, {1, 0}, {2, 2}, {3, 1}, {4, 3}, {5, 2}} {
		if err := Pack4(make([]byte, n[1]), make([]byte, n[0]), false); err == nil {
			t.Errorf("Pack4 of %d codes into %d bytes: no error", n[0], n[1])
		}
		if err := Unpack4(make([]byte, n[0]), make([]byte, n[1]), true); err == nil {
			t.Errorf("Unpack4 of %d codes from %d bytes: no error", n[0], n[1])
		}
	}
}

func TestFirstInvalid(t *testing.T) {
	t.Parallel()
	bfp16 := func(e byte, mantissa int8) []byte { return []byte{e, 0, 0, 0, 0, 0, 0, 0, byte(mantissa)} }
	rows := []struct {
		f    Format
		src  []byte
		want int
	}{
		{E8M0, nil, -1},
		{E8M0, []byte{0, 127, 254}, -1},
		{E8M0, []byte{0, 255, 255}, 1},
		{BFP16, bfp16(0, -128), -1},
		{BFP16, bfp16(253, -128), -1},
		{BFP16, bfp16(254, -127), -1},
		{BFP16, bfp16(254, 127), -1},
		{BFP16, bfp16(254, -128), 0},
		{BFP16, bfp16(255, 0), 0},
		{BFP16, append(bfp16(127, 1), bfp16(255, 1)...), 1},
		{BFP16, bfp16(255, 0)[:8], -1},
		{I8, []byte{0x80, 0xff}, -1},
		{F32, []byte{0, 0, 0xc0, 0x7f}, -1},
		{99, []byte{1}, -1},
	}
	for _, r := range rows {
		if got := FirstInvalid(r.src, r.f); got != r.want {
			t.Errorf("%v % x: %d, want %d", r.f, r.src, got, r.want)
		}
	}
}
