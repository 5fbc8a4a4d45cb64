package recipe

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kindRecipes are rules that choose by axes, for matrices().
var kindRecipes = []struct {
	name, rules string
	want        []string // operands, or the error
}{
	{
		"one rule for all", `operand { parameter: "**" segment: "s" format: F32 layout: "*" }`,
		[]string{"layers.0.fc1.weight N20 K12", "layers.0.fc1.bias N20", "layers.1.fc1.weight N20 K12", "conv.weight N5 C4 X3"},
	},
	{
		"by axes", `operand { parameter: "**" of_axes: "NK" segment: "s" format: BF16 axes: "KN" layout: "*" pad { axis: "K" multiple: 8 } }
		operand { parameter: "**" of_axes: ["N", "NCX"] segment: "s" format: BF16 layout: "*" }`,
		[]string{"layers.0.fc1.weight K16 N20", "layers.0.fc1.bias N20", "layers.1.fc1.weight K16 N20", "conv.weight N5 C4 X3"},
	},
	{
		"a rule for nothing", `operand { parameter: "**" of_axes: "Q" optional: true segment: "s" format: F32 layout: "*" }
		operand { parameter: "**" segment: "s" format: F32 layout: "*" }`,
		[]string{"layers.0.fc1.weight N20 K12", "layers.0.fc1.bias N20", "layers.1.fc1.weight N20 K12", "conv.weight N5 C4 X3"},
	},
	{
		"axes that nothing has", `operand { parameter: "**" of_axes: ["Q", "QR"] segment: "s" format: F32 layout: "*" }`,
		[]string{`r.txtpb:1: no parameter with axes Q or QR matches "**"; near: conv.weight`},
	},
	{
		"not all of a kind", `operand { parameter: "**" of_axes: "NK" segment: "s" format: F32 layout: "*" }`,
		[]string{`r.txtpb:1: no rule takes layers.0.fc1.bias (nor 1 others); write parameter: "layers.{i}.fc1.bias" in a rule, or a rule for it`},
	},
	{
		"taken twice", `operand { parameter: "**" segment: "s" format: F32 layout: "*" } operand { parameter: "conv.*" segment: "s" format: F32 layout: "*" }`,
		[]string{`r.txtpb:1: conv.weight is matched by "conv.*" here and by "**" in line 1`},
	},
	{
		"of a beginning", `operand { parameter: "layers.**" parameter: "conv**" segment: "s" format: F32 layout: "*" }`,
		[]string{"layers.0.fc1.weight N20 K12", "layers.0.fc1.bias N20", "layers.1.fc1.weight N20 K12", "conv.weight N5 C4 X3"},
	},
	{"no axes", `operand { parameter: "**" of_axes: "" segment: "s" format: F32 layout: "*" }`, []string{`r.txtpb:1: of_axes are empty; write of_axes: "NK" or the like`}},
	{"axes twice", `operand { parameter: "**" of_axes: ["N", "N"] segment: "s" format: F32 layout: "*" }`, []string{`r.txtpb:1: of_axes "N" stand there twice`}},
	{"no letters", `operand { parameter: "**" of_axes: "n" segment: "s" format: F32 layout: "*" }`, []string{`r.txtpb:1: of_axes "n" must be letters from A to Z`}},
	{"three stars", `operand { parameter: "***" segment: "s" format: F32 layout: "*" }`, []string{`r.txtpb:1: pattern "***": two wildcards must have something between them`}},
	{
		"stars in a name", `operand { parameter: "**" name: "a**" segment: "s" format: F32 layout: "*" }`,
		[]string{`r.txtpb:1: name "a**": a * has no meaning here; name digits in the pattern, {i}, and repeat them`},
	},
	{
		"a pad of what is not stated", `operand { parameter: "**" segment: "s" format: F32 layout: "*" pad { axis: "N" multiple: 8 } }`,
		[]string{`r.txtpb:1: pad is for axis "N", which the layout "*" has not`},
	},
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, c := range kindRecipes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := Parse("r.txtpb", []byte(`name: "test/a" `+c.rules))
			var got []string
			if err == nil {
				var operands []Operand
				operands, err = r.Expand(matrices())
				for i := range operands {
					o := &operands[i]
					s := o.Name
					for j, a := range o.Layout.Axes {
						s += fmt.Sprintf(" %c%d", a.Name, a.Padded)
						if j > 0 && o.Layout.Digits[j-1].Axis > o.Layout.Digits[j].Axis {
							t.Errorf("%s is not row-major: %v", o.Name, o.Layout.Digits)
						}
					}
					got = append(got, s)
				}
			}
			if err != nil {
				got = []string{err.Error()}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
