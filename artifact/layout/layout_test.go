package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"
)

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	k, n := Axis{Name: 'K', Extent: 8, Padded: 8}, Axis{Name: 'N', Extent: 3, Padded: 4}
	k8, n4 := Digit{0, 8, 1}, Digit{1, 4, 1}
	for _, c := range []struct {
		name    string
		l       Layout
		message string
	}{
		{"nothing", Layout{}, "0 axes, allowed are 1 to 8"},
		{"nine axes", Layout{Axes: make([]Axis, 9)}, "9 axes"},
		{"nameless axis", Layout{Axes: []Axis{{Extent: 1, Padded: 1}}}, `axis 0 is named "\x00"`},
		{"small letter", Layout{[]Axis{{'k', 8, 8}}, []Digit{k8}}, `axis 0 is named "k"`},
		{"same name", Layout{[]Axis{k, k}, []Digit{k8, n4}}, "two axes are named K"},
		{"padded to nothing", Layout{[]Axis{{'K', 0, 0}}, nil}, "axis K has 0 elements but is padded to 0"},
		{"padded to less", Layout{[]Axis{{'K', 9, 8}}, []Digit{k8}}, "axis K has 9 elements but is padded to 8"},
		{"too many elements", Layout{[]Axis{{'K', 0, 1 << 62}, {'N', 0, 4}}, nil}, "more than 1<<62 elements"},
		{"elements that overflow", Layout{[]Axis{{'K', 0, 1 << 32}, {'N', 0, 1 << 32}}, nil}, "more than 1<<62 elements"},
		{"33 digits", Layout{[]Axis{k}, make([]Digit, 33)}, "33 digits, at most 32 allowed"},
		{"axis below 0", Layout{[]Axis{k}, []Digit{k8, {-1, 2, 1}}}, "digit 2 is of axis -1, but there are 1 axes"},
		{"axis beyond", Layout{[]Axis{k}, []Digit{k8, {1, 2, 1}}}, "digit 2 is of axis 1, but there are 1 axes"},
		{"size 0", Layout{[]Axis{k}, []Digit{{0, 0, 1}}}, "digit 1 of axis K has size 0"},
		{"size 1<<63", Layout{[]Axis{k}, []Digit{{0, 1 << 63, 1}}}, "digit 1 of axis K has size 9223372036854775808"},
		{"stride 0", Layout{[]Axis{k}, []Digit{{0, 8, 0}}}, "digit 1 of axis K has stride 0"},
		{"stride 1<<63, size 1", Layout{[]Axis{k}, []Digit{k8, {0, 1, 1 << 63}}}, "digit 2 of axis K has stride 9223372036854775808"},
		{"gap", Layout{[]Axis{k, n}, []Digit{{0, 4, 2}, n4}}, "digit 1 (K4) has stride 2, but the digits below it on axis K cover 1"},
		{"overlap", Layout{[]Axis{k, n}, []Digit{{0, 2, 2}, n4, {0, 4, 1}}}, "digit 1 (K2) has stride 2, but the digits below it on axis K cover 4"},
		{"same stride twice", Layout{[]Axis{k}, []Digit{{0, 2, 1}, {0, 4, 1}}}, "digit 2 (K4) has stride 1, but the digits below it on axis K cover 2"},
		{"too few", Layout{[]Axis{k, n}, []Digit{n4, {0, 4, 1}}}, "the digits of axis K cover 4, its padded extent is 8"},
		{"too many", Layout{[]Axis{k, n}, []Digit{n4, {0, 8, 2}, {0, 2, 1}}}, "digit 2 (K8) takes axis K beyond its padded extent of 8"},
		{"digits that overflow", Layout{[]Axis{k}, []Digit{{0, 1 << 62, 4}, {0, 4, 1}}}, "digit 1 (K4611686018427387904) takes axis K beyond"},
		{"axis without digits", Layout{[]Axis{k, n}, []Digit{k8}}, "the digits of axis N cover 1, its padded extent is 4"},
	} {
		err := c.l.Validate()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.message)
		}
		mustNotPanic(t, c.name, c.l)
	}
	if err := (Layout{[]Axis{k, n, {'A', 0, 1}}, []Digit{k8, {1, 1, 99}, n4}}).Validate(); err != nil {
		t.Errorf("digits of size 1 and axes of extent 1 are free, but: %v", err)
	}
}

// mustNotPanic calls everything on a layout that is none. Only calls that have an error to return must return one.
func mustNotPanic(t *testing.T, name string, l Layout) {
	t.Helper()
	ones := slices.Repeat([]uint64{1}, len(l.Axes))
	_ = l.String()
	_ = l.Elements()
	_ = l.Hash()
	_ = l.Equal(l.Canonical())
	_ = l.Offset([]uint64{math.MaxUint64, 3})
	l.Index(math.MaxUint64, make([]uint64, 1))
	_ = l.AxisOffsets(0, 0, 1)
	_ = l.Granules(0)
	if _, err := l.Window(ones, ones); err == nil {
		t.Errorf("%s: Window accepts it", name)
	}
	s := NewScatter(l, 2)
	if s.Place(make([]byte, 64), make([]byte, 64), 1, ones, -1, 0, 1, 1) == nil || s.Gather(make([]byte, 64), make([]byte, 64), 1, ones, -1, 0, 1, 1) == nil {
		t.Errorf("%s: Scatter accepts it", name)
	}
	strides := make([]int64, len(l.Axes))
	if l.Pack(make([]byte, 64), make([]byte, 64), strides, 2, nil) == nil || l.Unpack(make([]byte, 64), make([]byte, 64), strides, 2) == nil {
		t.Errorf("%s: Pack or Unpack accepts it", name)
	}
}

func TestStringMarksOnlyWhatMustBe(t *testing.T) {
	t.Parallel()
	axes := []Axis{{'K', 16, 16}, {'N', 128, 128}, {'B', 1, 1}}
	for _, c := range []struct {
		digits []Digit
		want   string
	}{
		{[]Digit{{1, 32, 4}, {0, 16, 1}, {1, 4, 1}}, "N32 K16 N4 B1"},
		{[]Digit{{1, 32, 1}, {0, 16, 1}, {1, 4, 32}}, "N32@1 K16 N4@32 B1"},
		{[]Digit{{2, 1, 1}, {0, 2, 1}, {0, 8, 2}, {1, 128, 1}}, "B1 K2@1 K8@2 N128"},
		{[]Digit{{0, 16, 1}, {1, 128, 1}, {1, 1, 5}}, "K16 N128@1 N1@5 B1"},
	} {
		l := Layout{axes, c.digits}
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		if got := l.String(); got != c.want {
			t.Errorf("%v prints as %q, want %q", c.digits, got, c.want)
		}
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ notation, want string }{
		{"K* K8 N*", "K80 N53"},
		{"N1 K* N1 K8 N*", "K80 N53"},
		{"N* K* K8 N8 K8 N4", "N2 K16 N8 K8 N4"},
		{"K8@1 K*@8 N*", "K8@1 K10@8 N53"},
		{"K*@16 K8@1 K2@8 N* N1", "K5@16 K8@1 K2@8 N53"},
		{"N4@*16 N*@16 N2@8 N8@1 K*", "N64 K75"},
		{"N53 K1 K* K1", "N53 K75"},
	} {
		l := resolve(t, c.notation, kn(75, 53)...)
		if got := l.Canonical().String(); got != c.want {
			t.Errorf("%s (%s): canonical form %s, want %s", c.notation, l, got, c.want)
		}
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	base := resolve(t, "N* K* K8 N4", kn(75, 53)...)
	for _, c := range []struct {
		name string
		o    Layout
		want bool
	}{
		{"itself", base, true},
		{"other extents, same padding", resolve(t, "N* K* K8 N4", kn(80, 54)...), true},
		{"axes in another order", resolve(t, "N* K* K8 N4", Axis{Name: 'N', Extent: 53}, Axis{Name: 'K', Extent: 75}), true},
		{"other padding", resolve(t, "N* K* K8 N4", kn(81, 53)...), false},
		{"other digits", resolve(t, "K* N* K8 N4", kn(75, 53)...), false},
		{"other names", resolve(t, "M* K* K8 M4", Axis{Name: 'K', Extent: 75}, Axis{Name: 'M', Extent: 53}), false},
		{"one more axis", resolve(t, "B1 N* K* K8 N4", append(kn(75, 53), Axis{Name: 'B', Extent: 1})...), false},
		{"none", Layout{}, false},
	} {
		if got := base.Equal(c.o); got != c.want {
			t.Errorf("%s: Equal is %t", c.name, got)
		}
		if got := base.Hash() == c.o.Hash(); got != c.want {
			t.Errorf("%s: equal hashes is %t", c.name, got)
		}
	}
}

func TestAxisOffsets(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N4", kn(75, 53)...)
	if got, want := l.AxisOffsets(1, 2, 4), []uint64{2, 3, 320, 321}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := l.AxisOffsets(1, 56, 0); got == nil || len(got) != 0 {
		t.Errorf("no values at the end: %v, want an empty list", got)
	}
	for _, c := range []struct {
		axis         int
		begin, count uint64
	}{{-1, 0, 1}, {2, 0, 1}, {1, 0, 57}, {1, 56, 1}, {1, 1<<64 - 1, 2}, {1, 2, 1<<64 - 1}} {
		if got := l.AxisOffsets(c.axis, c.begin, c.count); got != nil {
			t.Errorf("%+v: %v, want nil", c, got)
		}
	}
	if got := resolve(t, "N*", Axis{Name: 'N', Extent: 1 << 40}).AxisOffsets(0, 0, 1<<40); got != nil {
		t.Error("a table of 1<<40 values was made")
	}
}

func TestHashIsAsDocumented(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N8 K8 N4", kn(128, 64)...)
	word := func(v byte) string { return string([]byte{v}) + strings.Repeat("\x00", 7) }
	encoded := "\x02" + "K" + word(128) + "N" + word(64) +
		"\x05" + "N" + word(2) + word(32) + "K" + word(16) + word(8) + "N" + word(8) + word(4) + "K" + word(8) + word(1) + "N" + word(4) + word(1)
	if got, want := l.Hash(), xxh3.HashString128(encoded).Bytes(); got != want {
		t.Errorf("hash %x, want %x", got, want)
	}
	if got, want := fmt.Sprintf("%x", xxh3.HashString128("").Bytes()), "99aa06d3014798d86001c324468d497f"; got != want {
		t.Errorf("XXH3-128 of nothing is %s, want %s", got, want)
	}
}

// FuzzValidate holds that digits from anywhere are refused or are a bijection, and that nothing panics on them either way.
func FuzzValidate(f *testing.F) {
	for _, o := range orders {
		l := o.layout(f)
		b := []byte{byte(len(l.Axes))}
		for _, a := range l.Axes {
			b = binary.AppendUvarint(binary.AppendUvarint(append(b, a.Name), a.Extent), a.Padded)
		}
		for _, d := range l.Digits {
			b = binary.AppendUvarint(binary.AppendUvarint(append(b, byte(d.Axis)), d.Size), d.Stride)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := layoutOf(b)
		if l.Validate() != nil {
			mustNotPanic(t, "invalid", l)
			return
		}
		checkResolved(t, Layout{l.Axes, addMissing(l)}, l.Axes)
		if l.Elements() > 1<<16 {
			return
		}
		seen := make([]bool, l.Elements())
		eachIndex(padded(l), func(index []uint64) {
			at := l.Offset(index)
			if at >= l.Elements() || seen[at] {
				t.Fatalf("%s: %v lies at %d, which is taken or beyond %d", l, index, at, l.Elements())
			}
			seen[at] = true
		})
	})
}

// layoutOf reads a layout from arbitrary bytes.
func layoutOf(b []byte) Layout {
	r := bytes.NewReader(b)
	value := func() uint64 { v, _ := binary.ReadUvarint(r); return v }
	letter := func() byte { v, _ := r.ReadByte(); return v }
	var l Layout
	for range letter() % 16 {
		l.Axes = append(l.Axes, Axis{letter(), value(), value()})
	}
	for r.Len() > 0 {
		l.Digits = append(l.Digits, Digit{int(int8(letter())), value(), value()})
	}
	return l
}

// addMissing returns the digits with one of size 1 for each axis that has none, as String writes them.
func addMissing(l Layout) []Digit {
	digits := slices.Clone(l.Digits)
	for i := range l.Axes {
		if !slices.ContainsFunc(l.Digits, func(d Digit) bool { return d.Axis == i }) {
			digits = append(digits, Digit{i, 1, 1})
		}
	}
	return digits
}

func TestShape(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N4", kn(75, 56)...)
	if got, want := l.Shape(), "K=75→80 N=56"; got != want {
		t.Errorf("shape %q, want %q", got, want)
	}
}
