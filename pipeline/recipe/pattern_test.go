package recipe

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          map[string]string // nil: no match
	}{
		{"a.b", "a.b", map[string]string{}},
		{"a.b", "a.bc", nil},
		{"a.b", "xa.b", nil},
		{"a.b", "aXb", nil},
		{"*", "weight", map[string]string{}},
		{"*", "a.weight", nil},
		{"*", "", nil},
		{"a*", "a", nil},
		{"fc*.weight", "fc1.weight", map[string]string{}},
		{"fc*.weight", "fc.weight", nil},
		{"*_proj.*", "q_proj.bias", map[string]string{}},
		{"*a*b", "aaab", map[string]string{}},
		{"*a*b", "ab", nil},
		{"**", "a.weight", map[string]string{}},
		{"**", "", nil},
		{"a.**", "a.b.c", map[string]string{}},
		{"a.**", "a.", nil},
		{"**.{i}.fc*", "model.layers.0.fc1", map[string]string{"i": "0"}},
		{"**.{i}.fc*", "model.layers.fc1", nil},
		{"layers.{i}.fc1", "layers.0.fc1", map[string]string{"i": "0"}},
		{"layers.{i}.fc1", "layers.31.fc1", map[string]string{"i": "31"}},
		{"layers.{i}.fc1", "layers..fc1", nil},
		{"layers.{i}.fc1", "layers.1a.fc1", nil},
		{"layers.{i}.fc1", "layers.-1.fc1", nil},
		{"{layer}.{k}", "12.034", map[string]string{"layer": "12", "k": "034"}},
		{"x{i}1.*", "x121.y", map[string]string{"i": "12"}},
		{"x{i}1.*1", "x111.1", nil},
		{"ä*", "äö", map[string]string{}},
		{"layers.{i:0-3}.fc1", "layers.3.fc1", map[string]string{"i": "3"}},
		{"layers.{i:0-3}.fc1", "layers.4.fc1", nil},
		{"layers.{i:0-3}.fc1", "layers.31.fc1", nil},
		{"layers.{i:7-12}.fc1", "layers.12.fc1", map[string]string{"i": "12"}},
		{"layers.{i:0-3}.fc1", "layers.99999999999999999999.fc1", nil},
		{"x{i:0-3}1.*", "x121.y", nil},
		{"x{i:0-3}1.*", "x111.y", nil},
		{"x{i:0-3}1.*", "x31.y", map[string]string{"i": "3"}},
	} {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		got, ok := p.match(c.name)
		if ok != (c.want != nil) || ok && !cmp.Equal(got, c.want) {
			t.Errorf("%q and %q: %v, %v", c.pattern, c.name, got, ok)
		}
	}
}

// TestMatchIsBounded matches what would take backtracking without memory years.
func TestMatchIsBounded(t *testing.T) {
	t.Parallel()
	p, err := parsePattern(strings.Repeat("*a", maxWildcards) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.match(strings.Repeat("a", maxName)); ok {
		t.Error("it matched")
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	tmpl, err := parseTemplate("l{i}.{head}.{i}")
	if err != nil {
		t.Fatal(err)
	}
	if got := tmpl.expand(map[string]string{"i": "7", "head": "08"}); got != "l7.08.7" {
		t.Error(got)
	}
}

func TestNear(t *testing.T) {
	t.Parallel()
	m := encoder(encoderSizes{layers: 12, dModel: 4, ffn: 8, mels: 2, positions: 3})
	for pattern, want := range map[string]string{
		"encoder.layers.{i}.fc1.wieght":            "; near: encoder.layers.0.fc1.weight, encoder.layers.0.fc2.weight",
		"layers.{i}.fc1.weight":                    "; near: encoder.layers.0.fc1.weight, encoder.layers.0.fc2.weight",
		"encoder.layers.{i}.self_attn.k_proj.bias": "; near: encoder.layers.0.self_attn.v_proj.bias, encoder.layers.0.self_attn.q_proj.bias",
		"encoder.layers.12.fc1.weight":             "; near: encoder.layers.0.fc1.weight, encoder.layers.0.fc2.weight",
		"encoder.layers.{i:12-15}.fc1.weight":      "; near: encoder.layers.0.fc1.weight, encoder.layers.0.fc2.weight",
		"encoder.conv3.weight":                     "; near: encoder.conv1.weight, encoder.conv2.weight",
		"encoder.embed_position.*":                 "; near: encoder.embed_positions.weight",
		"decoder.layers.{i}.encoder_attn.k_proj":   "",
		"x":                                        "",
	} {
		p, err := parsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := near(p.symbols(), names(m)); got != want {
			t.Errorf("%s:\n got %q\nwant %q", pattern, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wanted, name string
		want         int
	}{
		{"", "", 0},
		{"abc", "", 3},
		{"", "abc", 3},
		{"kitten", "sitting", 3},
		{"a\x01c", "abbbc", 0},
		{"a\x01c", "a.c", 1},
		{"a\x02c", "a12c", 0},
		{"a\x02c", "a1xc", 1},
	} {
		if got := distance([]byte(c.wanted), c.name); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.wanted, c.name, got, c.want)
		}
	}
}
