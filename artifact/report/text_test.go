package report

import (
	"math"
	"strings"
	"testing"

	"npuw/artifact/layout"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{count(uint64(0)), "0"},
		{count(999), "999"},
		{count(1000), "1,000"},
		{count(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"},
		{count(-123456), "-123,456"},
		{size(0), "0 B"},
		{size(999), "999 B"},
		{size(1000), "1.00 kB"},
		{size(41231192), "41.2 MB"},
		{size(999499), "999 kB"},
		{size(999500), "1.00 MB"},
		{size(1 << 62), "4.61 EB"},
		{size(12345), "12.3 kB"},
		{size(99950), "100 kB"},
		{size(9995), "9.99 kB"},
		{size(9999), "10.0 kB"},
		{about(999999), "999,999"},
		{about(20590592), "20.6 M"},
		{about(1543490560), "1.54 B"},
		{percent(0, 5), "0 %"},
		{percent(1, 0), "0 %"},
		{percent(1, 1e9), "< 0.01 %"},
		{percent(1, 1000), "0.10 %"},
		{percent(1, 2), "50.0 %"},
		{percent(9999, 10000), "> 99.9 %"},
		{percent(1, 1), "100 %"},
		{percent(3, 2), "150 %"},
		{percent(501, 1000), "50.1 %"},
		{percent(995, 1000), "99.5 %"},
		{small(0), "0"},
		{small(1.655e-3), "1.66e-3"},
		{small(9.999e-4), "1.00e-3"},
		{small(0.05), "5.00e-2"},
		{small(0.112), "0.112"},
		{small(0.9996), "1.00"},
		{small(12.34), "12.3"},
		{small(999.4), "999"},
		{small(999.6), "1.00e3"},
		{small(1e300), "1.00e300"},
		{small(math.Inf(1)), "∞"},
		{small(5e-324), "4.94e-324"},
		{cosine(1), "1"},
		{cosine(0.999998625), "0.99999863"},
		{cosine(math.NaN()), "not a number"},
		{sortKey(math.Inf(1)), "Infinity"},
		{sortKey(0.5), "0.5"},
		{share(1, 3), "33.333%"},
		{share(5, 3), "100.000%"},
		{share(1, 0), "0%"},
		{share(math.NaN(), 1), "0%"},
		{decades(1e-4, -8), "50.000%"},
		{decades(0, -8), "0%"},
		{decades(1e-9, -8), "0.000%"},
		{decades(math.Inf(1), -8), "100.000%"},
		{superscript(-16), "⁻¹⁶"},
		{leftOut(0, "operand"), ""},
		{leftOut(1, "operand"), "1 more operand left out here"},
		{leftOut(1200, "operand"), "1,200 more operands left out here"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if add(math.MaxUint64, 1) != math.MaxUint64 || times(1<<40, 1<<40) != math.MaxUint64 || add(1, 2) != 3 || times(3, 4) != 12 {
		t.Error("sums and products")
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"encoder.layers.0", "encoder.layers.0"},
		{"a\x1b[2Jb", "a\uFFFD[2Jb"},
		{"a\u202eb", "a\uFFFDb"},
		{"a\xffb", "a\uFFFDb"},
		{"", ""},
		{strings.Repeat("é", 160), strings.Repeat("é", 160)},
		{strings.Repeat("é", 161), strings.Repeat("é", 80) + "…" + strings.Repeat("é", 79)},
	} {
		if got := clean(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestPlaceOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]place{
		"encoder.layers.3.fc1.weight":   {"encoder.layers", 3, "fc1.weight"},
		"blocks.10.mlp.2.weight":        {"blocks", 10, "mlp.2.weight"},
		"encoder.conv1.weight":          {"", -1, "encoder.conv1.weight"},
		"encoder.layers.007.fc1":        {"", -1, "encoder.layers.007.fc1"},
		"layers.3":                      {"", -1, "layers.3"},
		"3.weight":                      {"", -1, "3.weight"},
		"a.99999999999.b":               {"", -1, "a.99999999999.b"},
		"a.999999999.b":                 {"a", 999999999, "b"},
		"a.+1.b":                        {"", -1, "a.+1.b"},
		"a..1.b":                        {"a.", 1, "b"},
		"":                              {"", -1, ""},
		".":                             {"", -1, "."},
		"encoder.layers.0.":             {"encoder.layers", 0, ""},
		"decoder.layers.1.self_attn.10": {"decoder.layers", 1, "self_attn.10"},
	} {
		got := placeOf(name)
		if got != want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
		if got.prefix()+got.kind != name {
			t.Errorf("%q: %q and %q", name, got.prefix(), got.kind)
		}
	}
}

func TestFamilies(t *testing.T) {
	t.Parallel()
	var f families
	for _, name := range []string{"e.layers.1.w", "conv.w", "e.layers.0.w", "e.layers.2.w", "e.layers.4.w", "e.layers.7.b", "d.layers.0.w", "d.layers.1.w"} {
		f.add(name)
	}
	if got := strings.Join(f.texts(), "; "); got != "e.layers.{0–2, 4}.w; conv.w; e.layers.7.b; d.layers.{0–1}.w" {
		t.Error(got)
	}
	for range 20 {
		f.add("conv.more")
	}
	if got := f.texts(); len(got) != maxFamilies+1 || got[maxFamilies] != "12 more operands" {
		t.Error(got)
	}
	if got := ranges([]int{0, 2, 4, 6, 8, 10, 12, 14, 16, 17}); got != "0, 2, 4, 6, 8, 10, 12, 14, 2 more" {
		t.Error(got)
	}
}

func TestShortKinds(t *testing.T) {
	t.Parallel()
	kinds := []string{"self_attn.q_proj.weight", "fc1.weight", "self_attn.out.weight", "cross_attn.out.weight", "norm"}
	if got := strings.Join(shortKinds(kinds), " "); got != "q_proj.weight fc1.weight self_attn.out.weight cross_attn.out.weight norm" {
		t.Error(got)
	}
}

func TestSegmentLabel(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"encoder.layers.3": "layers.3", "encoder.stem": "stem", "weights": "weights", "a.b.12": "b.12", "fc1 instructions": "fc1 instructions"} {
		if got := segmentLabel(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestPattern(t *testing.T) {
	t.Parallel()
	k, n := layout.Axis{Name: 'K', Extent: 80}, layout.Axis{Name: 'N', Extent: 30}
	for notation, want := range map[string]string{
		"N* K* K8 N8 K8 N4": "N* K* K8 N8 K8 N4", "K* N*": "K* N*", "N* K4 K* N2": "N* K* K20 N2", "K*@1 K16@* N*": "K5@1 K16@5 N30",
	} {
		if got := pattern(resolve(t, notation, k, n)); got != want {
			t.Errorf("%q: %q, want %q", notation, got, want)
		}
	}
}
