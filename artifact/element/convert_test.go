package element

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// encodeBoth encodes by the fast and by the plain path, fails if they differ, and returns the elements as integers.
func encodeBoth[T float32 | float64](t *testing.T, src []T, f Format) []uint32 {
	t.Helper()
	fast, plain := make([]byte, len(src)*f.Size()), make([]byte, len(src)*f.Size())
	if err := Encode(fast, src, f); err != nil {
		t.Fatal(err)
	}
	encode(plain, src, f)
	if !bytes.Equal(fast, plain) {
		t.Fatalf("%v: fast and plain path differ", f)
	}
	codes := make([]uint32, len(src))
	for i := range codes {
		if f == F32 {
			codes[i] = binary.LittleEndian.Uint32(plain[4*i:])
		} else {
			codes[i] = uint32(binary.LittleEndian.Uint16(plain[2*i:]))
		}
	}
	return codes
}

func littleEndian16(codes []uint16) []byte {
	b := make([]byte, 0, 2*len(codes))
	for _, c := range codes {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return b
}

func allCodes16() []uint16 {
	codes := make([]uint16, 1<<16)
	for i := range codes {
		codes[i] = uint16(i)
	}
	return codes
}

func TestEncodeBF16Examples(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		bits uint32
		want uint32
	}{
		{"one", 0x3f800000, 0x3f80},
		{"minus zero", 0x80000000, 0x8000},
		{"below a tie", 0x3f807fff, 0x3f80},
		{"tie, down to even", 0x3f808000, 0x3f80},
		{"above a tie", 0x3f808001, 0x3f81},
		{"tie, up to even", 0x3f818000, 0x3f82},
		{"up into the next binade", 0x3fffffff, 0x4000},
		{"smallest subnormal vanishes", 0x00000001, 0x0000},
		{"largest that vanishes", 0x80008000, 0x8000},
		{"smallest that does not", 0x00008001, 0x0001},
		{"subnormal kept", 0x00400000, 0x0040},
		{"subnormal up to normal", 0x007fffff, 0x0080},
		{"largest that stays finite", 0x7f7f7fff, 0x7f7f},
		{"smallest that overflows", 0x7f7f8000, 0x7f80},
		{"largest finite", 0xff7fffff, 0xff80},
		{"infinity", 0x7f800000, 0x7f80},
		{"quiet NaN", 0x7fc00000, 0x7fc0},
		{"signalling NaN, payload lost", 0x7f800001, 0x7fc0},
		{"signalling NaN, payload kept", 0xff810000, 0xffc1},
		{"NaN of all ones", 0x7fffffff, 0x7fff},
		{"negative NaN of all ones", 0xffffffff, 0xffff},
	}
	src := make([]float32, len(rows))
	for i, r := range rows {
		src[i] = math.Float32frombits(r.bits)
	}
	for i, got := range encodeBoth(t, src, BF16) {
		if got != rows[i].want {
			t.Errorf("%s: %#08x became %#04x, want %#04x", rows[i].name, rows[i].bits, got, rows[i].want)
		}
	}
}

// Every sign, exponent and kept significand of a binary32, each with every kind of part to be rounded away.
func TestEncodeBF16EveryRoundingCase(t *testing.T) {
	t.Parallel()
	lost := []uint32{0, 1, 0x4000, 0x7fff, 0x8000, 0x8001, 0xc000, 0xffff}
	src := make([]float32, 0, 1<<16*len(lost))
	for kept := range uint32(1 << 16) {
		for _, l := range lost {
			src = append(src, math.Float32frombits(kept<<16|l))
		}
	}
	for i, got := range encodeBoth(t, src, BF16) {
		if bits := math.Float32bits(src[i]); got != wantBF16(bits) {
			t.Fatalf("%#08x became %#04x, want %#04x", bits, got, wantBF16(bits))
		}
	}
}

// wantBF16 is the expected encoding of any binary32.
func wantBF16(bits uint32) uint32 {
	x := float64(math.Float32frombits(bits))
	if math.IsNaN(x) {
		return bits>>16 | 0x0040
	}
	return uint32(refBF16.round(x))
}

func TestWidenEveryF16(t *testing.T) {
	t.Parallel()
	codes := allCodes16()
	src := littleEndian16(codes)
	fast, plain, wide := make([]float32, len(codes)), make([]float32, len(codes)), make([]float64, len(codes))
	if err := ToFloat32(fast, src, F16); err != nil {
		t.Fatal(err)
	}
	decode32(plain, src, F16)
	if err := ToFloat64(wide, src, F16); err != nil {
		t.Fatal(err)
	}
	for i, code := range codes {
		v, ok := refF16.value(int(code))
		want, wantWide := math.Float32bits(float32(v)), math.Float64bits(v)
		if !ok { // sign and payload move up, the quiet bit is set
			want = uint32(code&0x8000)<<16 | 0x7fc00000 | uint32(code&0x3ff)<<13
			wantWide = uint64(code&0x8000)<<48 | 0x7ff8<<48 | uint64(code&0x3ff)<<42
		}
		if got := math.Float32bits(fast[i]); got != want {
			t.Fatalf("fast: %#04x widened to %#08x, want %#08x", code, got, want)
		}
		if got := math.Float32bits(plain[i]); got != want {
			t.Fatalf("plain: %#04x widened to %#08x, want %#08x", code, got, want)
		}
		if got := math.Float64bits(wide[i]); got != wantWide {
			t.Fatalf("%#04x widened to %#016x, want %#016x", code, got, wantWide)
		}
	}
}

func TestEveryF16ToBF16(t *testing.T) {
	t.Parallel()
	codes := allCodes16()
	x := make([]float32, len(codes))
	if err := ToFloat32(x, littleEndian16(codes), F16); err != nil {
		t.Fatal(err)
	}
	for i, got := range encodeBoth(t, x, BF16) {
		v, ok := refF16.value(i)
		want := uint32(refBF16.round(v))
		if !ok {
			want = uint32(i&0x8000 | 0x7fc0 | i&0x3ff>>3)
		}
		if got != want {
			t.Fatalf("%#04x became %#04x, want %#04x", i, got, want)
		}
	}
}

func TestWidenEveryBF16(t *testing.T) {
	t.Parallel()
	codes := allCodes16()
	src := littleEndian16(codes)
	x, wide := make([]float32, len(codes)), make([]float64, len(codes))
	if err := ToFloat32(x, src, BF16); err != nil {
		t.Fatal(err)
	}
	if err := ToFloat64(wide, src, BF16); err != nil {
		t.Fatal(err)
	}
	for i := range codes {
		if got, want := math.Float32bits(x[i]), uint32(i)<<16; got != want {
			t.Fatalf("%#04x widened to %#08x, want %#08x", i, got, want)
		}
		v, ok := refBF16.value(i)
		want := math.Float64bits(v)
		if !ok {
			want = uint64(i&0x8000)<<48 | 0x7ff8<<48 | uint64(i&0x7f)<<45
		}
		if got := math.Float64bits(wide[i]); got != want {
			t.Fatalf("%#04x widened to %#016x, want %#016x", i, got, want)
		}
	}
}

// Around every F16 value and every midpoint of two, the neighbours in binary32 included.
func TestEncodeF16(t *testing.T) {
	t.Parallel()
	var src []float32
	for _, v := range append(refF16.nonNegative, refF16.midpoints...) {
		x := float32(v)
		for _, x := range []float32{x, math.Nextafter32(x, -1), math.Nextafter32(x, math.MaxFloat32)} {
			src = append(src, x, -x)
		}
	}
	src = append(src, math.MaxFloat32, math.SmallestNonzeroFloat32, float32(math.Inf(1)), float32(math.Inf(-1)))
	for i, got := range encodeBoth(t, src, F16) {
		if want := uint32(refF16.round(float64(src[i]))); got != want {
			t.Fatalf("%g became %#04x, want %#04x", src[i], got, want)
		}
	}
	nan := []float32{math.Float32frombits(0x7f800001), math.Float32frombits(0xffc02000), math.Float32frombits(0x7fffffff)}
	for i, got := range encodeBoth(t, nan, F16) {
		if want := []uint32{0x7e00, 0xfe01, 0x7fff}[i]; got != want {
			t.Errorf("NaN %#08x became %#04x, want %#04x", math.Float32bits(nan[i]), got, want)
		}
	}
}

// adversaries are float64 values around a midpoint that rounding twice gets wrong: it, its neighbours, and values that a
// rounding to binary32 would move onto it.
func adversaries(midpoint float64) []float64 {
	var xs []float64
	for _, offset := range []float64{0, 0x1p-53, 0x1p-45, 0x1p-30, 0x1p-25, 0x1p-24, 0x1p-23} {
		xs = append(xs, midpoint*(1+offset), midpoint*(1-offset))
	}
	xs = append(xs, math.Nextafter(midpoint, 0), math.Nextafter(midpoint, math.Inf(1)))
	for _, x := range xs {
		xs = append(xs, -x)
	}
	return xs
}

func TestEncodeFloat64RoundsOnce(t *testing.T) {
	t.Parallel()
	extremes := []float64{
		0, math.Copysign(0, -1), math.SmallestNonzeroFloat64, 0x1p-1022, 0x1p-150, 0x1.8p-150, 0x1p-149, 0x1p-134, 0x1p-25,
		math.MaxFloat64, -math.MaxFloat64, math.MaxFloat32, 0x1.ffffffp127, 0x1.fffffefffffffp127, 0x1.ffp127, 65504, 65520,
		math.Nextafter(65520, 0), math.Inf(1), math.Inf(-1),
	}
	for _, b := range []binaryFormat{refF16, refBF16} {
		var src []float64
		for _, m := range b.midpoints {
			src = append(src, adversaries(m)...)
		}
		src = append(src, extremes...)
		for i, got := range encodeBoth(t, src, b.format) {
			if want := b.round(src[i]); got != uint32(want) {
				t.Fatalf("%v: %b became %#04x, want %#04x", b.format, src[i], got, want)
			}
		}
	}
}

func TestEncodeFloat64AgainstBigArithmetic(t *testing.T) {
	t.Parallel()
	extremes := []float64{0, math.SmallestNonzeroFloat64, math.MaxFloat64, math.Inf(-1), math.MaxFloat32, 0x1.ffffffp127}
	for _, b := range []binaryFormat{refF16, refBF16, refF32} {
		src := extremes
		step := b.infinity()/400 | 1
		for code := 0; code < b.infinity(); code += step {
			src = append(src, adversaries((b.magnitude(code)+b.magnitude(code+1))/2)...)
		}
		for i, got := range encodeBoth(t, src, b.format) {
			if want := b.roundBig(src[i]); got != uint32(want) {
				t.Fatalf("%v: %b became %#x, want %#x", b.format, src[i], got, want)
			}
		}
	}
}

func TestEncodeFloat64NaN(t *testing.T) {
	t.Parallel()
	rows := []struct {
		bits           uint64
		f32, f16, bf16 uint32
	}{
		{0x7ff0000000000001, 0x7fc00000, 0x7e00, 0x7fc0},
		{0xfff8000000000000, 0xffc00000, 0xfe00, 0xffc0},
		{0x7ff2345678901234, 0x7fd1a2b3, 0x7e8d, 0x7fd1},
		{0xffffffffffffffff, 0xffffffff, 0xffff, 0xffff},
	}
	for _, r := range rows {
		src := []float64{math.Float64frombits(r.bits)}
		for f, want := range map[Format]uint32{F32: r.f32, F16: r.f16, BF16: r.bf16} {
			if got := encodeBoth(t, src, f)[0]; got != want {
				t.Errorf("NaN %#016x as %v became %#x, want %#x", r.bits, f, got, want)
			}
		}
	}
}

func TestF32CopiesBits(t *testing.T) {
	t.Parallel()
	for _, want := range []uint32{0, 0x80000000, 1, 0x7f7fffff, 0xff800000, 0x7f800001, 0xffc12345} {
		src := []float32{math.Float32frombits(want)}
		if got := encodeBoth(t, src, F32)[0]; got != want {
			t.Errorf("%#08x encoded as %#08x", want, got)
		}
		var back [1]float32
		if err := ToFloat32(back[:], binary.LittleEndian.AppendUint32(nil, want), F32); err != nil {
			t.Fatal(err)
		}
		if got := math.Float32bits(back[0]); got != want {
			t.Errorf("%#08x decoded as %#08x", want, got)
		}
	}
}

func TestToFloat64FromF32AndF64(t *testing.T) {
	t.Parallel()
	rows := []struct {
		f    Format
		bits uint64
		want uint64
	}{
		{F32, 0x00000001, math.Float64bits(0x1p-149)},
		{F32, 0xbfc00000, math.Float64bits(-1.5)},
		{F32, 0xff800000, math.Float64bits(math.Inf(-1))},
		{F32, 0xff800001, 0xfff8000020000000},
		{F32, 0x7fffffff, 0x7fffffffe0000000},
		{F64, 0x7ff0000000000001, 0x7ff0000000000001},
		{F64, math.Float64bits(-0.1), math.Float64bits(-0.1)},
	}
	for _, r := range rows {
		src := binary.LittleEndian.AppendUint64(nil, r.bits)[:r.f.Size()]
		var got [1]float64
		if err := ToFloat64(got[:], src, r.f); err != nil {
			t.Fatal(err)
		}
		if math.Float64bits(got[0]) != r.want {
			t.Errorf("%v %#x decoded as %#016x, want %#016x", r.f, r.bits, math.Float64bits(got[0]), r.want)
		}
	}
}

// Every length up to a few blocks of the fast paths, with guards behind the end.
func TestEveryShortLength(t *testing.T) {
	t.Parallel()
	const most, guard = 70, 0xa5
	src := make([]float32, most)
	for i := range src {
		src[i] = float32(i)*1.37 - 40
	}
	halves := littleEndian16(allCodes16()[0x3bf0:][:most])
	for n := range most + 1 {
		dst := bytes.Repeat([]byte{guard}, 2*n+8)
		plain := make([]byte, 2*n)
		encode(plain, src[:n], BF16)
		if err := Encode(dst[:2*n], src[:n], BF16); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(dst[:2*n], plain) || !bytes.Equal(dst[2*n:], bytes.Repeat([]byte{guard}, 8)) {
			t.Fatalf("%d values encoded differently, or beyond the end", n)
		}
		values := make([]float32, n+1)
		values[n] = guard
		if err := ToFloat32(values[:n], halves[:2*n], F16); err != nil {
			t.Fatal(err)
		}
		for i, got := range values[:n] {
			if want, _ := refF16.value(0x3bf0 + i); float64(got) != want {
				t.Fatalf("element %d of %d is %g, want %g", i, n, got, want)
			}
		}
		if values[n] != guard {
			t.Fatalf("%d values decoded beyond the end", n)
		}
	}
}

func TestConversionErrors(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		err  error
	}{
		{"ToFloat32 from f64", ToFloat32(make([]float32, 1), make([]byte, 8), F64)},
		{"ToFloat32, odd length", ToFloat32(make([]float32, 1), make([]byte, 3), BF16)},
		{"ToFloat32, short", ToFloat32(make([]float32, 2), make([]byte, 4), F32)},
		{"ToFloat32, unknown", ToFloat32(nil, nil, 99)},
		{"ToFloat64, long", ToFloat64(make([]float64, 1), make([]byte, 16), F64)},
		{"ToFloat64, unknown", ToFloat64(nil, nil, 0)},
		{"ToFloat64, packed codes", ToFloat64(make([]float64, 2), make([]byte, 1), U4)},
		{"ToFloat64, part of an element", ToFloat64(make([]float64, 8), make([]byte, 8), BFP16)},
		{"ToFloat32, part of an element's values", ToFloat32(make([]float32, 15), make([]byte, 9), BFP16)},
		{"Encode to codes", Encode(make([]byte, 1), make([]float32, 1), I8)},
		{"Encode to bfp16", Encode(make([]byte, 9), make([]float32, 8), BFP16)},
		{"Encode to f64", Encode(make([]byte, 8), make([]float64, 1), F64)},
		{"Encode, short", Encode(make([]byte, 2), make([]float32, 2), BF16)},
		{"Encode, unknown", Encode(nil, []float32{}, 200)},
	}
	for _, r := range rows {
		if r.err == nil {
			t.Errorf("%s: no error", r.name)
		}
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	rows := []struct {
		f                  Format
		number             uint8
		name               string
		bits, size, values int
		plain              bool
	}{
		{F32, 1, "f32", 32, 4, 1, true},
		{F16, 2, "f16", 16, 2, 1, true},
		{BF16, 3, "bf16", 16, 2, 1, true},
		{F64, 4, "f64", 64, 8, 1, false},
		{I8, 5, "i8", 8, 1, 1, false},
		{U8, 6, "u8", 8, 1, 1, false},
		{I4, 7, "i4", 4, 0, 1, false},
		{U4, 8, "u4", 4, 0, 1, false},
		{NF4, 9, "nf4", 4, 0, 1, false},
		{BFP16, 10, "bfp16", 72, 9, 8, false},
		{E8M0, 11, "e8m0", 8, 1, 1, false},
		{0, 0, "format(0)", 0, 0, 0, false},
		{12, 12, "format(12)", 0, 0, 0, false},
		{255, 255, "format(255)", 0, 0, 0, false},
	}
	for _, r := range rows {
		f, known := r.f, r.bits > 0
		if uint8(f) != r.number || f.String() != r.name || f.Known() != known || f.Plain() != r.plain {
			t.Errorf("format %d is %v, known: %v, plain: %v; want %+v", uint8(f), f, f.Known(), f.Plain(), r)
		}
		if f.Bits() != r.bits || f.Size() != r.size || f.Values() != r.values {
			t.Errorf("%v has %d bits, %d bytes, %d values; want %+v", f, f.Bits(), f.Size(), f.Values(), r)
		}
		if got, err := ParseFormat(r.name); (err == nil) != known || known && got != f {
			t.Errorf("ParseFormat(%q) = %v, %v", r.name, got, err)
		}
	}
	for _, name := range []string{"", "BF16", "int8", "bf16 "} {
		if f, err := ParseFormat(name); err == nil || f != 0 {
			t.Errorf("ParseFormat(%q) = %v, %v; want an error", name, f, err)
		}
	}
}
