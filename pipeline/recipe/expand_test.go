package recipe

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/model"
)

// rest takes what a rule about weights leaves of matrices().
const rest = `operand { parameter: "layers.{i}.fc1.bias" segment: "s" format: F32 layout: "N*" }`

// convRecipe names operands by number and makes one axis of two.
const convRecipe = `name: "test/conv"
operand {
  parameter: "layers.{n}.*.weight"
  name: "w{n}"
  segment: "layer {n}"
  format: F16
  axes: "KN"
  layout: "N* K* K4 N8"
  pad { axis: "K" multiple: 16 } pad < axis: "N", multiple: 3 >
  pad_value: -1.5
  keep_non_finite: true
}
operand {
  parameter: "conv.weight"
  segment: "s"
  format: BF16
  axes: "KM"
  merge { axis: "K" of: "XC" }
  merge { axis: "M" of: "N" }
  layout: "K* M*"
}
` + rest

func TestExpand(t *testing.T) {
	t.Parallel()
	r, err := Parse("r.txtpb", []byte(convRecipe))
	if err != nil {
		t.Fatal(err)
	}
	operands, err := r.Expand(matrices())
	if err != nil {
		t.Fatal(err)
	}
	linear := func(parameter int, name, segment string) Operand {
		return Operand{
			Name: name, Segment: segment, Format: element.F16, PadBits: 0xbe00, KeepNonFinite: true, Bytes: 16 * 24 * 2, Line: 2,
			Layout: layout.Layout{
				Axes:   []layout.Axis{{Name: 'K', Extent: 12, Padded: 16}, {Name: 'N', Extent: 20, Padded: 24}},
				Digits: []layout.Digit{{Axis: 1, Size: 3, Stride: 8}, {Axis: 0, Size: 4, Stride: 4}, {Axis: 0, Size: 4, Stride: 1}, {Axis: 1, Size: 8, Stride: 1}},
			},
			Placements: []artifact.Placement{{
				Parameter: parameter, Scale: 1, To: []uint64{0, 0},
				From: []artifact.PlacedAxis{{Size: 20, Step: 1, Axis: 1}, {Size: 12, Step: 1, Axis: 0}},
			}},
		}
	}
	want := []Operand{
		linear(0, "w0", "layer 0"),
		{
			Name: "layers.0.fc1.bias", Segment: "s", Format: element.F32, Bytes: 20 * 4, Line: 22,
			Layout: layout.Layout{
				Axes:   []layout.Axis{{Name: 'N', Extent: 20, Padded: 20}},
				Digits: []layout.Digit{{Axis: 0, Size: 20, Stride: 1}},
			},
			Placements: []artifact.Placement{{
				Parameter: 1, Scale: 1, To: []uint64{0}, From: []artifact.PlacedAxis{{Size: 20, Step: 1, Axis: 0}},
			}},
		},
		linear(2, "w1", "layer 1"),
		{
			Name: "conv.weight", Segment: "s", Format: element.BF16, Bytes: 12 * 5 * 2, Line: 13,
			Layout: layout.Layout{
				Axes:   []layout.Axis{{Name: 'K', Extent: 12, Padded: 12}, {Name: 'M', Extent: 5, Padded: 5}},
				Digits: []layout.Digit{{Axis: 0, Size: 12, Stride: 1}, {Axis: 1, Size: 5, Stride: 1}},
			},
			Placements: []artifact.Placement{{
				Parameter: 3, Scale: 1, To: []uint64{0, 0},
				From: []artifact.PlacedAxis{{Size: 5, Step: 1, Axis: 1}, {Size: 4, Step: 1, Axis: 0}, {Size: 3, Step: 4, Axis: 0}},
			}},
		},
	}
	if diff := cmp.Diff(want, operands); diff != "" {
		t.Error(diff)
	}
}

// linears is a recipe for matrices() whose first rule, about the linear weights, has the given fields from line 6 on.
func linears(fields string) string {
	return oneRule("parameter: 'layers.{i}.*.weight'\nsegment: 's'\nformat: BF16\n"+fields) + rest +
		`operand { parameter: "conv.weight" segment: "s" format: F32 layout: "N* C* X*" }`
}

// expandErrors are recipes that Parse takes and Expand refuses for matrices().
var expandErrors = []struct{ name, text, want string }{
	{
		"another family", strings.Replace(weights("layout: 'N*'"), "test/", "other/", 1),
		`r.txtpb:1: recipe other/a is for other, the model is a test`,
	},
	{
		"unmatched pattern", weights("layout: 'N*'\nparameter:\n\n['layers.{i}.*.weight', 'layers.{i}.fc2.weight']"),
		`r.txtpb:9: no parameter matches "layers.{i}.fc2.weight"; near: layers.0.fc1.weight`,
	},
	{
		"unmatched pattern, unlike any", linears("parameter: 'encoder' layout: 'N* K*'"),
		`r.txtpb:6: no parameter matches "encoder"`,
	},
	{
		"matched twice", oneRule("segment: 's' format: F32 layout: 'N*'\nparameter: ['layers.*.fc1.weight',\n'layers.{i}.*.weight']"),
		`r.txtpb:5: layers.0.fc1.weight is matched by "layers.{i}.*.weight" here and by "layers.*.fc1.weight" in line 4`,
	},
	{
		"unused parameter", rule3 + rest + "\n" + `operand { parameter: "layers.{i}.*.weight" segment: "s" format: F32 layout: "N* K*"` + "\n\n}\n",
		`r.txtpb:4: no rule takes conv.weight; write parameter: "conv.weight" in a rule, or a rule for it`,
	},
	{
		"unused parameters", rule3 + rest,
		`r.txtpb:1: no rule takes layers.0.fc1.weight (nor 2 others); write parameter: "layers.{i}.fc1.weight" in a rule, or a rule for it`,
	},
	{
		"one name twice", linears("layout: 'N* K*'\nname: 'w'"),
		`r.txtpb:7: operand "w" is made of layers.1.fc1.weight and, by the rule in line 2, of layers.0.fc1.weight; give each a name of its own`,
	},
	{
		"axis that the parameter has not", linears("layout: 'K* M*'\naxes: 'KM'"),
		`r.txtpb:7: layers.0.fc1.weight has no axis M; its axes are "NK"`,
	},
	{
		"merge of an axis that the parameter has not", linears("layout: 'K* N*' axes: 'KN'\nmerge { axis: 'K' of: 'CX' }"),
		`r.txtpb:7: layers.0.fc1.weight has no axis X; its axes are "NK"`,
	},
	{
		"axis used twice", linears("layout: 'K* N*' axes: 'KN'\nmerge { axis: 'K' of: 'NK' }"),
		`r.txtpb:6: axis N of layers.0.fc1.weight is used twice`,
	},
	{
		"axis left out", linears("layout: 'K*'\naxes: 'K'"),
		`r.txtpb:7: axes "K" leave out N of layers.0.fc1.weight, which has "NK"; name it, or make it part of one: merge { axis: "K" of: "CX" }`,
	},
	{
		"layout without an axis of the parameter", linears("\nlayout: 'N*'"),
		`r.txtpb:7: layout "N*" for layers.0.fc1.weight, axes "NK", shape [20 12]: invalid layout: axis "K" has no digit in "N*"`,
	},
	{
		"layout that is too small", linears("axes: 'KN'\nlayout: 'K8 N*'"),
		`r.txtpb:7: layout "K8 N*" for layers.0.fc1.weight, axes "NK", shape [20 12]: ` +
			`invalid layout: axis K: the digits of "K8 N*" cover 8, wanted 12; a digit K* takes what remains`,
	},
	{
		"layout that is no bijection", linears("layout: 'N* K*@2 K2@2'"),
		`r.txtpb:6: layout "N* K*@2 K2@2" for layers.0.fc1.weight, axes "NK", shape [20 12]: ` +
			`invalid layout: digit 2 (K6) has stride 2, but the digits below it on axis K cover 1`,
	},
	{
		"padding that the layout does not keep", linears("layout: 'N* K* N8'\npad { axis: 'K' multiple: 8 }\npad { axis: 'N' multiple: 7 }"),
		`r.txtpb:8: layout "N* K* N8" makes axis N of layers.0.fc1.weight 24 long, which is no multiple of 7`,
	},
}

// rule3 begins a recipe whose rules follow.
const rule3 = `name: "test/a" `

func TestExpandErrors(t *testing.T) {
	t.Parallel()
	for _, c := range expandErrors {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := Parse("r.txtpb", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			operands, err := r.Expand(matrices())
			if err == nil {
				t.Fatalf("it was taken: %+v", operands)
			}
			if err.Error() != c.want {
				t.Errorf("\n got %s\nwant %s", err, c.want)
			}
			if wrong := wrongError(err, []byte(c.text)); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// TestExpandLongName has a template that is short enough and becomes too long.
func TestExpandLongName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("{i}", 300)
	for field, text := range map[string]string{
		"name":    "name: '" + long + "'\nsegment: 's'",
		"segment": "segment: '" + long + "'\nname: 'n'",
	} {
		r, err := Parse("r.txtpb", []byte(oneRule("parameter: '{i}' format: F32 layout: 'N*'\n"+text)))
		if err != nil {
			t.Fatal(err)
		}
		m := &model.Model{Family: "test", Parameters: []model.Parameter{{Name: "1234", Axes: "N", Shape: []uint64{1}}}}
		_, err = r.Expand(m)
		if err == nil || !strings.HasPrefix(err.Error(), "r.txtpb:4: the "+field+" for 1234 has 1200 bytes") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestExpandParameters has models that do not hold together.
func TestExpandParameters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, axes string
		shape      []uint64
		want       string
	}{
		{"", "N", []uint64{1}, `r.txtpb: a parameter's name is empty`},
		{"a\x1b", "N", []uint64{1}, `r.txtpb: a parameter's name "a\x1b" has a control character`},
		{"a\xff", "N", []uint64{1}, `r.txtpb: a parameter's name is not UTF-8`},
		{"a", "NN", []uint64{1, 1}, `r.txtpb: parameter a: axes "NN" have N twice`},
		{"a", "NK", []uint64{1}, `r.txtpb: parameter a has axes "NK" and shape [1]`},
		{"a", "NK", []uint64{1, 0}, `r.txtpb: parameter a has shape [1 0]: no elements or more than 1<<62`},
		{"a", "NK", []uint64{1 << 62, 2}, `r.txtpb: parameter a has shape [4611686018427387904 2]: no elements or more than 1<<62`},
		{"a", "", nil, `r.txtpb:2: layout "N*" for a, axes "", shape []: invalid layout: "N*" has digits of axis "N", which the operand has not`},
		{"a", "N", []uint64{1<<62 - 1}, `r.txtpb:2: layout "N*" for a, axes "N", shape [4611686018427387903]: invalid layout: axis N: ` +
			`4611686018428000000 elements padded to a multiple of 1 are more than 1<<62`},
	} {
		r, err := Parse("r.txtpb", []byte("name: 'test/a' operand { parameter: '*'\nsegment: 's' format: F32 "+
			"layout: 'N*' pad { axis: 'N' multiple: 1000000 } }"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Expand(&model.Model{Family: "test", Parameters: []model.Parameter{{Name: c.name, Axes: c.axes, Shape: c.shape}}})
		if err == nil || err.Error() != c.want {
			t.Errorf("%q %q %d:\n got %v\nwant %s", c.name, c.axes, c.shape, err, c.want)
		}
	}
}

// A rule that is optional takes what it matches, and may match nothing; it hides no parameter that is left.
func TestOptional(t *testing.T) {
	t.Parallel()
	r, err := Parse("r.txtpb", []byte(convRecipe+"\n"+`operand { optional: true parameter: "head.weight" parameter: "heads.{i}.weight" segment: "h" format: F32 layout: "N* K*" }`))
	if err != nil {
		t.Fatal(err)
	}
	without, err := r.Expand(matrices())
	if err != nil {
		t.Fatal(err)
	}
	with := matrices()
	with.Parameters = append(with.Parameters, model.Parameter{Name: "head.weight", Axes: "NK", Shape: []uint64{3, 2}})
	operands, err := r.Expand(with)
	if err != nil || len(operands) != len(without)+1 || operands[len(without)].Name != "head.weight" || operands[len(without)].Bytes != 24 {
		t.Errorf("%+v, %v", operands, err)
	}
	with.Parameters[len(with.Parameters)-1].Name = "heat.weight"
	if _, err := r.Expand(with); err == nil || !strings.Contains(err.Error(), "no rule takes heat.weight") {
		t.Errorf("%v, expected that no rule takes heat.weight", err)
	}
}
