package layout

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParsePrintsBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, printed, axes string }{
		{"K* N*", "K* N*", "KN"},
		{"N* K* K8 N8 K8 N4", "N* K* K8 N8 K8 N4", "NK"},
		{"N4@*32 N*@32 K* K8 N8@4 K8 N4@1", "N4@*32 N*@32 K* K8 N8@4 K8 N4@1", "NK"},
		{"A1", "A1", "A"},
		{"  K*   N* ", "K* N*", "KN"},
		{"N4@* N*@1", "N4@* N*@1", "N"},
		{"N4@*1 N*@1", "N4@* N*@1", "N"},
		{"N4611686018427387904", "N4611686018427387904", "N"},
		{"A* B* C* D* E* F* G* H*", "A* B* C* D* E* F* G* H*", "ABCDEFGH"},
	} {
		s, err := Parse(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if s.String() != c.printed || s.AxisNames() != c.axes {
			t.Errorf("%q: prints %q with axes %s, want %q with axes %s", c.text, s, s.AxisNames(), c.printed, c.axes)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		column  int
		message string // part of it
	}{
		{"", 1, "found the end, expected a digit such as K8 or K*"},
		{"   ", 4, "found the end, expected a digit"},
		{"k8", 1, `found "k", expected an axis letter from A to Z`},
		{"K* é", 4, `found "\xc3", expected an axis letter`},
		{"K8 8", 4, `found "8", expected an axis letter`},
		{"K", 2, "found the end, expected a size from 1 to 1<<62, or *"},
		{"K* N", 5, "expected a size"},
		{"K0", 2, `found "0", expected a size`},
		{"K08", 2, "expected a size"},
		{"K-8", 2, `found "-", expected a size`},
		{"K4611686018427387905", 2, "expected a size"},
		{"K99999999999999999999999", 2, "expected a size"},
		{"K8,N8", 3, `found ",", expected a space or the end`},
		{"K8\tN8", 3, "expected a space or the end"},
		{"K8N8", 3, "expected a space or the end"},
		{"K**", 3, "expected a space or the end"},
		{"K8@", 4, "found the end, expected a stride from 1 to 1<<62, or *"},
		{"K8@0", 4, "expected a stride"},
		{"K*@*x", 5, "expected a factor"},
		{"K*@*0", 5, "expected a factor"},
		{"K8@*", 4, "expected an integer: axis K has no * digit"},
		{"K8@1 N*@1 K2@*8", 14, "expected an integer: axis K has no * digit"},
		{"K* N* K*", 8, "expected a size: axis K has its * at column 2"},
		{"N4@32 N8", 9, "found the end, expected @ and a stride, as the digits of N before"},
		{"N4@32 N8 K*", 9, "expected @ and a stride"},
		{"N4 K* N8@1", 9, `found "@", expected no stride, as the digits of N before`},
		{"N2147483648 N2147483649", 14, "the digits of N cover more than 1<<62"},
		{"A* B* C* D* E* F* G* H* I*", 25, "expected one of the axes before: a layout has at most 8"},
		{strings.Repeat("K1 ", 33), 97, "expected the end: a layout has at most 32 digits"},
		{strings.Repeat(" ", 1025), 1025, "nothing more: a notation has at most 1024 bytes"},
	} {
		_, err := Parse(c.text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%q: error %v, want a SyntaxError", c.text, err)
			continue
		}
		if syntax.Column != c.column || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%q: %v\n\twant column %d and %q", c.text, err, c.column, c.message)
		}
	}
}

func TestResolvePads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		notation       string
		extent, wanted uint64
		padded         uint64
		digits         string
	}{
		{"K* K8", 0, 0, 8, "K1 K8"},
		{"K* K8", 1, 0, 8, "K1 K8"},
		{"K* K8", 8, 0, 8, "K1 K8"},
		{"K* K8", 9, 0, 16, "K2 K8"},
		{"K* K8", 9, 64, 64, "K8 K8"},
		{"K* K8", 9, 65, 72, "K9 K8"},
		{"K* K8", 65, 64, 72, "K9 K8"},
		{"K*", 0, 0, 1, "K1"},
		{"K*", 1 << 62, 0, 1 << 62, "K4611686018427387904"},
		{"K8 K8", 60, 0, 64, "K8 K8"},
		{"K8 K8", 3, 64, 64, "K8 K8"},
		{"K4@*8 K*@8 K8@1", 100, 0, 128, "K4 K4 K8"},
		{"K*@32 K4@8 K8@1", 100, 0, 128, "K4 K4 K8"},
		{"K4@8 K*@32 K8@1", 100, 0, 128, "K4@8 K4@32 K8@1"},
		{"K4@* K*@1", 4, 0, 4, "K4 K1"},
		{"K4@*8 K*@8 K8@1", 1, 0, 32, "K4 K1 K8"},
	} {
		l := resolve(t, c.notation, Axis{Name: 'K', Extent: c.extent, Padded: c.wanted})
		if l.Axes[0].Padded != c.padded || l.Axes[0].Extent != c.extent || l.String() != c.digits {
			t.Errorf("%s for %d, at least %d: %s with %+v, want %s padded to %d",
				c.notation, c.extent, c.wanted, l, l.Axes[0], c.digits, c.padded)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	k, n := Axis{Name: 'K', Extent: 100}, Axis{Name: 'N', Extent: 100}
	for _, c := range []struct {
		notation string
		axes     []Axis
		message  string
	}{
		{"K* N*", []Axis{k}, `"K* N*" has digits of axis "N", which the operand has not`},
		{"K*", []Axis{k, n}, `axis "N" has no digit in "K*"`},
		{"K* N*", []Axis{k, n, k}, `axis "K" is given twice`},
		{"K*", nil, `has digits of axis "K"`},
		{"K*", []Axis{{Name: 'k', Extent: 1}}, `axis "k" has no digit`},
		{"K*", []Axis{{Extent: 1}}, `axis "\x00" has no digit`},
		{"K8 K8 N*", []Axis{k, n}, `axis K: the digits of "K8 K8 N*" cover 64, wanted 100; a digit K* takes what remains`},
		{"K* N*", []Axis{{Name: 'K', Extent: 1 << 32}, {Name: 'N', Extent: 1 << 31}}, "more than 1<<62 elements"},
		{"K* K3", []Axis{{Name: 'K', Extent: 1 << 62}}, "padded to a multiple of 3 are more than 1<<62"},
		{"K* K8", []Axis{{Name: 'K', Extent: 1<<64 - 1}}, "padded to a multiple of 8 are more than 1<<62"},
		{"K* K8", []Axis{{Name: 'K', Padded: 1<<64 - 1}}, "more than 1<<62"},
		{"K2@*4611686018427387904 K*@1", []Axis{k}, "the stride 50*4611686018427387904 is more than 1<<62"},
		{"K4@8 K*@1", []Axis{k}, "digit 1 (K4) has stride 8, but the digits below it on axis K cover 25"},
		{"K4@1 K*@8", []Axis{k}, "digit 2 (K25) has stride 8, but the digits below it on axis K cover 4"},
		{"K4@1 K*@1", []Axis{k}, "digit 2 (K25) has stride 1, but the digits below it on axis K cover 4"},
		{"K4@8 K*@4", []Axis{k}, "digit 2 (K25) has stride 4, but the digits below it on axis K cover 1"},
	} {
		spec, err := Parse(c.notation)
		if err != nil {
			t.Fatal(err)
		}
		l, err := spec.Resolve(c.axes)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s for %v: layout %s, error %v, want %q", c.notation, c.axes, l, err, c.message)
		}
	}
	if _, err := (Spec{}).Resolve([]Axis{k}); !errors.Is(err, ErrInvalid) {
		t.Errorf("the zero Spec: error %v, want ErrInvalid", err)
	}
	if _, err := (Spec{}).Resolve(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("the zero Spec for no axes: error %v, want ErrInvalid", err)
	}
}

// FuzzParse holds that whatever is accepted is a layout, prints as text that gives the same layout, and keeps the logical
// extents.
func FuzzParse(f *testing.F) {
	for _, o := range allOrders() {
		f.Add(o.notation, uint64(139), uint64(75), uint64(0))
	}
	f.Add("K8@1 N*@1 K2@*8", uint64(1), uint64(0), uint64(1<<63))
	f.Add("N4@* N*@1", uint64(1<<62), uint64(1), uint64(7))
	f.Fuzz(func(t *testing.T, text string, first, other, padded uint64) {
		spec, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Column < 1 || syntax.Column > len(text)+1 || len(err.Error()) > 8*MaxText {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := Parse(spec.String())
		if err != nil || !reflect.DeepEqual(again, spec) {
			t.Fatalf("%q prints as %q, which parses to %v, error %v", text, spec, again, err)
		}
		var axes []Axis
		for i, name := range spec.AxisNames() {
			a := Axis{Name: byte(name), Extent: other}
			if i == 0 {
				a.Extent, a.Padded = first, padded
			}
			axes = append(axes, a)
		}
		l, err := spec.Resolve(axes)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		checkResolved(t, l, axes)
	})
}

func checkResolved(t *testing.T, l Layout, axes []Axis) {
	t.Helper()
	if err := l.Validate(); err != nil {
		t.Fatalf("%s: %v", l, err)
	}
	for i, a := range l.Axes {
		if a.Name != axes[i].Name || a.Extent != axes[i].Extent || a.Padded < max(a.Extent, axes[i].Padded, 1) {
			t.Fatalf("%s: axis %+v for %+v", l, a, axes[i])
		}
	}
	spec, err := Parse(l.String())
	if err != nil {
		t.Fatalf("%s: %v", l, err)
	}
	if again, err := spec.Resolve(l.Axes); err != nil || !reflect.DeepEqual(again, l) {
		t.Fatalf("%s with %v resolves to %v, error %v", l, l.Axes, again, err)
	}
	if c := l.Canonical(); !c.Equal(l) || c.Validate() != nil || c.Hash() != l.Hash() {
		t.Fatalf("%s is not equal to its canonical form %s", l, c)
	}
	index := make([]uint64, len(l.Axes))
	last := l.Elements() - 1
	if l.Index(last, index); l.Offset(index) != last {
		t.Fatalf("%s: position %d holds %v, which lies at %d", l, last, index, l.Offset(index))
	}
	for i, a := range l.Axes {
		if index[i] != a.Padded-1 {
			t.Fatalf("%s: the last position holds %v", l, index)
		}
	}
}
