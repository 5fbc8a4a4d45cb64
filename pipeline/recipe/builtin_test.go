package recipe

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
)

func TestBuiltins(t *testing.T) {
	t.Parallel()
	var names []string
	for _, r := range Builtins() {
		names = append(names, r.Name)
		if family, _, _ := strings.Cut(r.Name, "/"); r.Family != family || r.PageBytes != 4096 || r.Description == "" {
			t.Errorf("%s: family %q, pages of %d, description %q", r.Name, r.Family, r.PageBytes, r.Description)
		}
		same, err := Builtin(r.Name)
		if err != nil || same != r {
			t.Errorf("Builtin(%q) = %v, %v", r.Name, same, err)
		}
		text, err := BuiltinText(r.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("again", text); err != nil {
			t.Errorf("the text of %s: %v", r.Name, err)
		}
	}
	want := []string{
		"whisper-encoder/npu1-tiled", "whisper-encoder/f32", "whisper-encoder/npu1-int4", "whisper-encoder/npu1-int8",
		"whisper-encoder/npu1-rowmajor", "whisper-encoder/npu1-rowmajor-bias", "whisper-encoder/npu1-source", "whisper-encoder/npu2-bfp16",
		"whisper-encoder/npu2-tiled",
		"whisper-decoder/npu1-tiled", "whisper-decoder/f32", "whisper-decoder-with-past/npu1-tiled", "whisper-decoder-with-past/f32",
		"whisper/npu1-tiled", "whisper/f32",
		"generic/npu1-tiled", "generic/f32",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestDefault(t *testing.T) {
	t.Parallel()
	for _, family := range []string{"whisper-encoder", "whisper-decoder", "whisper-decoder-with-past", "whisper"} {
		r, err := Default(family)
		if err != nil || r.Name != family+"/npu1-tiled" {
			t.Errorf("%v, %v", r, err)
		}
		if list := BuiltinsFor(family); list[0] != r || slices.ContainsFunc(list, func(r *Recipe) bool { return r.Family != family }) {
			t.Errorf("%s: %v", family, list)
		}
	}
	_, err := Default("whisper-large")
	want := `no built-in recipe is for models of family "whisper-large"; there are some for whisper-encoder, whisper-decoder, whisper-decoder-with-past, whisper, generic`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestBuiltinUnknown(t *testing.T) {
	t.Parallel()
	want := `no built-in recipe is named "npu1-rowmajor"; ` +
		`there are whisper-encoder/npu1-rowmajor, whisper-encoder/npu1-rowmajor-bias, whisper-encoder/npu1-source, whisper-encoder/npu1-tiled, ` +
		`whisper-encoder/npu1-int4, whisper-encoder/npu1-int8, whisper-decoder/npu1-tiled, whisper-decoder-with-past/npu1-tiled, whisper/npu1-tiled, generic/npu1-tiled, whisper-encoder/npu2-bfp16, ` +
		`whisper-encoder/npu2-tiled, generic/f32, whisper-encoder/f32, whisper-decoder/f32, whisper-decoder-with-past/f32, whisper/f32`
	if _, err := Builtin("npu1-rowmajor"); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if _, err := BuiltinText(strings.Repeat("x", 1<<20)); err == nil || len(err.Error()) > 700 {
		t.Errorf("%v", err)
	}
}

// expectation is what a built-in recipe that takes every parameter by itself makes of it.
type expectation struct {
	segment string
	format  element.Format
	layout  string // resolved
	axes    []layout.Axis
	from    []artifact.PlacedAxis
}

// The sizes are oddSizes: d_model 36, ffn 100, mels 7, positions 11.
var expected = map[string]map[string]expectation{
	"whisper-encoder/npu1-tiled": {
		"encoder.layers.1.self_attn.k_proj.weight": {
			"encoder.layers.1", element.BF16, "N2 K1 K8 N8 K8 N4",
			[]layout.Axis{{Name: 'K', Extent: 36, Padded: 64}, {Name: 'N', Extent: 36, Padded: 64}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 1}, {Size: 36, Step: 1, Axis: 0}},
		},
		"encoder.layers.0.fc1.weight": {
			"encoder.layers.0", element.BF16, "N4 K1 K8 N8 K8 N4",
			[]layout.Axis{{Name: 'K', Extent: 36, Padded: 64}, {Name: 'N', Extent: 100, Padded: 128}},
			[]artifact.PlacedAxis{{Size: 100, Step: 1, Axis: 1}, {Size: 36, Step: 1, Axis: 0}},
		},
		"encoder.layers.0.fc2.weight": {
			"encoder.layers.0", element.BF16, "N2 K2 K8 N8 K8 N4",
			[]layout.Axis{{Name: 'K', Extent: 100, Padded: 128}, {Name: 'N', Extent: 36, Padded: 64}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 1}, {Size: 100, Step: 1, Axis: 0}},
		},
		"encoder.conv1.weight": {
			"encoder.stem", element.BF16, "N2 K1 K8 N8 K8 N4",
			[]layout.Axis{{Name: 'K', Extent: 21, Padded: 64}, {Name: 'N', Extent: 36, Padded: 64}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 1}, {Size: 7, Step: 3, Axis: 0}, {Size: 3, Step: 1, Axis: 0}},
		},
		"encoder.conv2.bias": {
			"encoder.stem", element.BF16, "N64",
			[]layout.Axis{{Name: 'N', Extent: 36, Padded: 64}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 0}},
		},
		"encoder.layers.1.fc1.bias": {
			"encoder.layers.1", element.BF16, "N128",
			[]layout.Axis{{Name: 'N', Extent: 100, Padded: 128}},
			[]artifact.PlacedAxis{{Size: 100, Step: 1, Axis: 0}},
		},
		"encoder.embed_positions.weight": {
			"encoder.stem", element.BF16, "P11 N36",
			[]layout.Axis{{Name: 'P', Extent: 11, Padded: 11}, {Name: 'N', Extent: 36, Padded: 36}},
			[]artifact.PlacedAxis{{Size: 11, Step: 1, Axis: 0}, {Size: 36, Step: 1, Axis: 1}},
		},
		"encoder.layer_norm.weight": {
			"encoder.layer_norm", element.BF16, "N64",
			[]layout.Axis{{Name: 'N', Extent: 36, Padded: 64}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 0}},
		},
	},
	"whisper-encoder/npu1-rowmajor": {
		"encoder.layers.0.fc1.weight": {
			"encoder.layers.0", element.BF16, "K64 N128",
			[]layout.Axis{{Name: 'K', Extent: 36, Padded: 64}, {Name: 'N', Extent: 100, Padded: 128}},
			[]artifact.PlacedAxis{{Size: 100, Step: 1, Axis: 1}, {Size: 36, Step: 1, Axis: 0}},
		},
		"encoder.conv2.weight": {
			"encoder.stem", element.BF16, "K128 N128",
			[]layout.Axis{{Name: 'K', Extent: 108, Padded: 128}, {Name: 'N', Extent: 36, Padded: 128}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 1}, {Size: 36, Step: 3, Axis: 0}, {Size: 3, Step: 1, Axis: 0}},
		},
		"encoder.layers.0.final_layer_norm.bias": {
			"encoder.layers.0", element.BF16, "N64",
			[]layout.Axis{{Name: 'N', Extent: 36, Padded: 64}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 0}},
		},
	},
	"whisper-encoder/f32": {
		"encoder.conv1.weight": {
			"encoder.stem", element.F32, "N36 C7 X3",
			[]layout.Axis{{Name: 'N', Extent: 36, Padded: 36}, {Name: 'C', Extent: 7, Padded: 7}, {Name: 'X', Extent: 3, Padded: 3}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 0}, {Size: 7, Step: 1, Axis: 1}, {Size: 3, Step: 1, Axis: 2}},
		},
		"encoder.layers.1.fc2.weight": {
			"encoder.layers.1", element.F32, "N36 K100",
			[]layout.Axis{{Name: 'N', Extent: 36, Padded: 36}, {Name: 'K', Extent: 100, Padded: 100}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 0}, {Size: 100, Step: 1, Axis: 1}},
		},
		"encoder.layer_norm.bias": {
			"encoder.layer_norm", element.F32, "N36",
			[]layout.Axis{{Name: 'N', Extent: 36, Padded: 36}},
			[]artifact.PlacedAxis{{Size: 36, Step: 1, Axis: 0}},
		},
	},
}

func TestBuiltinsExpand(t *testing.T) {
	t.Parallel()
	for name, wanted := range expected {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Builtin(name)
			if err != nil {
				t.Fatal(err)
			}
			m := encoder(oddSizes)
			operands, err := r.Expand(m)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for i, o := range operands {
				if o.Name != m.Parameters[i].Name {
					t.Errorf("operand %d is %s, not %s", i, o.Name, m.Parameters[i].Name)
				}
				w, ok := wanted[o.Name]
				if !ok {
					continue
				}
				found++
				got := expectation{o.Segment, o.Format, o.Layout.String(), o.Layout.Axes, o.Placements[0].From}
				if diff := cmp.Diff(w, got, cmp.AllowUnexported(expectation{})); diff != "" {
					t.Errorf("%s: %s", o.Name, diff)
				}
				want := []artifact.Placement{{Parameter: i, Scale: 1, From: w.from, To: make([]uint64, len(w.axes))}}
				if diff := cmp.Diff(want, o.Placements); diff != "" {
					t.Errorf("%s: %s", o.Name, diff)
				}
				if o.PadBits != 0 || o.KeepNonFinite || o.Line == 0 {
					t.Errorf("%s: pad bits %d, keeps %v, line %d", o.Name, o.PadBits, o.KeepNonFinite, o.Line)
				}
			}
			if found != len(wanted) {
				t.Errorf("%d of %d operands were there", found, len(wanted))
			}
		})
	}
}

// TestBuiltinsExpandSizes expands to sizes from the smallest to Whisper's largest, and checks what holds for all.
func TestBuiltinsExpandSizes(t *testing.T) {
	t.Parallel()
	for _, s := range []encoderSizes{
		{1, 1, 1, 1, 1},
		{3, 65, 127, 81, 1499},
		{12, 64, 256, 80, 50}, // two digits of layers
		baseSizes,
		{32, 1280, 5120, 128, 1500},
	} {
		for _, r := range BuiltinsFor("whisper-encoder") {
			m := encoder(s)
			operands, err := r.Expand(m)
			if err != nil {
				t.Errorf("%+v: %v", s, err)
				continue
			}
			segments := map[string]bool{}
			for i := range operands {
				segments[operands[i].Segment] = true
			}
			if wrong := wrongOperands(operands, m); wrong != "" {
				t.Errorf("%+v: %s: %s", s, r.Name, wrong)
			}
			if len(segments) != int(s.layers)+2 || !segments[fmt.Sprintf("encoder.layers.%d", s.layers-1)] {
				t.Errorf("%+v: %s: segments %v", s, r.Name, segments)
			}
		}
	}
}

// TestBuiltinsExpandHuge expands to sizes that no machine has. Where there is a tile, no shim reaches from panel to panel.
func TestBuiltinsExpandHuge(t *testing.T) {
	t.Parallel()
	for _, r := range BuiltinsFor("whisper-encoder") {
		operands, err := r.Expand(encoder(encoderSizes{1, 1 << 24, 1 << 25, 80, 1500}))
		if err != nil && strings.Contains(err.Error(), "its shim steps by 4194304 at most") && r.Target != "" {
			continue
		}
		if err != nil {
			t.Error(err)
		}
		for i := range operands {
			s := operands[i].Storage()
			if err := s.Validate(); err != nil {
				t.Errorf("%s: %s: %v", r.Name, operands[i].Name, err)
			}
		}
	}
}

func TestBuiltinTooLarge(t *testing.T) {
	t.Parallel()
	r, err := Builtin("whisper-encoder/npu1-tiled")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Expand(encoder(encoderSizes{1, 1 << 31, 1 << 31, 1, 1}))
	want := "whisper-encoder/npu1-tiled: parameter encoder.conv2.weight has shape [2147483648 2147483648 3]: no elements or more than 1<<62"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
	// Padding alone may take a parameter past the limit.
	_, err = r.Expand(encoder(encoderSizes{1, 1, math.MaxInt64 >> 1, 1, 1}))
	if err == nil || !strings.HasPrefix(err.Error(), `whisper-encoder/npu1-tiled:`) || !strings.Contains(err.Error(), "more than 1<<62") {
		t.Error(err)
	}
}
