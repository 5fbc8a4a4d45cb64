package recipe

import (
	"strconv"
	"strings"
	"testing"

	"npuw/pipeline/model"
)

// one is a rule for a parameter, more fields of which begin in line 3.
func one(fields string) string {
	return "name: 'test/a'\noperand { segment: 's' format: BF16 layout: 'K* N*' parameter: 'l.{i}.q.weight'\n" + fields + "\n}\n"
}

// joined is a rule of two parts, of which more fields begin in line 4.
func joined(fields string) string {
	return "name: 'test/a'\noperand { name: 'w' segment: 's' format: BF16 axes: 'KN' layout: 'K* N*' along: 'N'\n" +
		"part { parameter: 'l.{i}.q.weight' }\n" + fields + "\n}\n"
}

// partParseErrors are texts that Parse refuses.
var partParseErrors = []struct{ name, text, want string }{
	{"limits", oneRule("parameter: 'a{i:3}'"), `r.txtpb:3: pattern "a{i:3}": {i:3} should be {i:0-3}: the least number and the greatest`},
	{"limits of nothing", oneRule("parameter: 'a{i:-3}'"), `r.txtpb:3: pattern "a{i:-3}": {i:-3} should be {i:0-3}: the least number and the greatest`},
	{"limits without a number", oneRule("parameter: 'a{i:0-x}'"), `r.txtpb:3: pattern "a{i:0-x}": {i:0-x} should be {i:0-3}: the least number and the greatest`},
	{"a template that does not parse", one("name: 'w{i'"), `r.txtpb:3: name "w{i": a brace may only stand in {i} or {i:0-3}, where i is a word of lower-case letters`},
	{"a bias with a newline", joined("bias_row: 'K' part { parameter: 'x' bias: 'y\\n' }"), `r.txtpb:4: the bias "y\n" has a control character`},
	{"a weight beside a bias", joined("bias_row: 'K' part { parameter: 'x' bias: 'y' fold { beta: 'b' weight: 'w' } }"), "r.txtpb:4: the part has a bias, into which beta goes; `weight` is for a part that is a bias itself"},
	{"limits upside down", oneRule("parameter: 'a{i:3-1}'"), `r.txtpb:3: pattern "a{i:3-1}": {i:3-1} should be {i:0-3}: the least number and the greatest`},
	{"limits where words are repeated", one("name: 'w{i:0-3}'"), `r.txtpb:3: name "w{i:0-3}": limits belong in the pattern; here {i} repeats the number`},

	{"parameter and parts", one("part { parameter: 'a' }"), `r.txtpb:3: the operand has both parameter and part; write the parameter in a part of its own, or a rule for it`},
	{"a first part of nothing", oneRule("part { }"), `r.txtpb:3: the first part takes no parameter; write parameter: "PATTERN"`},
	{"a part of nothing", joined("part { scale: '2' }"), `r.txtpb:4: the part takes no parameter; write parameter: "PATTERN"`},
	{"parts without a name", strings.Replace(joined("part { parameter: 'x' }"), "name: 'w'", "", 1), `r.txtpb:2: the operand is made of 2 parts and has no name; write name: "NAME"`},
	{"a word that the first part has not", joined("part { parameter: 'l.{j}.k.weight' }"), `r.txtpb:4: parameter "l.{j}.k.weight" repeats {j}, which the pattern "l.{i}.q.weight" in line 3 has not`},
	{"a star in another part", joined("part { parameter: 'l.*.k.weight' }"), `r.txtpb:4: parameter "l.*.k.weight": a * has no meaning here; name digits in the pattern, {i}, and repeat them`},
	{"scale beside parts", joined("scale: '2'"), `r.txtpb:4: scale stands beside parts; write it in the part that it is for`},
	{"fold beside parts", joined("fold { gamma: 'g' }"), `r.txtpb:4: fold stands beside parts; write it in the part that it is for`},
	{"parts along nothing", strings.Replace(joined("part { parameter: 'x' }"), "along: 'N'", "", 1), `r.txtpb:2: the operand is made of 2 parts; write along: "N", the axis along which they follow each other`},
	{"parts along two axes", strings.Replace(joined(""), "along: 'N'", "along: 'NK'", 1), `r.txtpb:2: along is "NK", one axis of the operand was expected`},
	{"repeat along nothing", one("repeat: 2"), `r.txtpb:3: repeat needs along: "N", the axis along which the copies follow each other`},
	{"repeat for ever", one("along: 'N' repeat: 5000"), `r.txtpb:3: repeat is 5000, at most 4096 are allowed`},

	{"bias row without parts", one("bias_row: 'K'"), `r.txtpb:3: bias_row needs parts; write part { parameter: "NAME.weight" bias: "NAME.bias" }`},
	{"bias row along the parts", joined("bias_row: 'N'"), `r.txtpb:4: parts are joined along axis N, which bias_row is too; another was expected`},
	{"bias without a row", joined("part { parameter: 'x'\nbias: 'y' }"), `r.txtpb:5: the operand has no bias_row for the bias; write bias_row: "K" or the like in the operand`},

	{"a scale that is no product", one("scale: '2+3'"), `r.txtpb:3: scale "2+3": found "+3" where *, / or the end was expected`},
	{"slice of no axis", one("slice { begin: 2 }"), `r.txtpb:3: the axis of a slice is "", one letter from A to Z was expected`},
	{"slice twice", one("slice { axis: 'N' end: 2 }\nslice { axis: 'N' begin: 2 }"), `r.txtpb:4: axis N is sliced twice; make another part or rule for the second slice`},
	{"slice of nothing", one("slice { axis: 'N' begin: 2 end: 2 }"), `r.txtpb:3: slice of axis N from 2 to 2: nothing is in it; end is the index behind the last`},
	{"order of no axis", one("order { index: 0 }"), `r.txtpb:3: the axis of an order is "", one letter from A to Z was expected`},
	{"order of nothing", one("order { axis: 'N' }"), `r.txtpb:3: order of axis N without indices; write index: [1, 0, ...]`},
	{"order twice", one("order { axis: 'N' index: 0 }\norder { axis: 'N' index: 0 }"), `r.txtpb:4: axis N is ordered twice`},
	{"order with an index twice", one("order { axis: 'N' index: [0, 1, 1] }"), `r.txtpb:3: order of axis N: index 1 stands at 1 and at 2; each from 0 to 2 once was expected`},
	{"order with an index too large", one("order { axis: 'N' index: [0, 3] }"), `r.txtpb:3: order of axis N: index 3, and there are 2 indices; each from 0 to 1 once was expected`},

	{"fold of nothing", one("fold { }"), `r.txtpb:3: the fold has neither gamma nor beta; write gamma: "NAME.weight" or beta: "NAME.bias"`},
	{"fold with a weight for nothing", one("fold { gamma: 'g' weight: 'w' }"), `r.txtpb:3: weight is for the sum over beta, and the fold has no beta`},
	{"gamma into a bias", one("fold { gamma: 'g' beta: 'b' weight: 'w' }"), "r.txtpb:3: gamma is folded into the weight itself; with `weight`, or into zeros, beta alone is folded"},
	{"beta to nowhere", one("fold { beta: 'b' }"), "r.txtpb:3: beta goes into a bias, and the operand has none; write bias_row: \"K\" or the like, or fold beta into the operand of the bias, with `weight`"},
	{"zeros as a first part", oneRule("part { parameter: 'a' zeros: '2' } segment: 's'"), `r.txtpb:3: zeros stand instead of the parameter of a part other than the first`},
	{"zeros in an order", joined("part { zeros: '2' order { axis: 'N' index: 0 } }"), `r.txtpb:4: zeros have no slice, order or bias`},
	{"zeros of nothing", joined("part { zeros: '2*' }"), `r.txtpb:4: zeros "2*": a number or a size of the model should follow at the end`},
	{"zeros with beta and no weight", joined("part { zeros: '2' fold { beta: 'b' } }"), `r.txtpb:4: the sum over beta needs a weight; write weight: "NAME.weight"`},
	{"a word in a fold", one("fold { gamma: 'l.{j}.g' }"), `r.txtpb:3: gamma "l.{j}.g" repeats {j}, which the pattern "l.{i}.q.weight" in line 2 has not`},

	{"pad to two things", one("pad { axis: 'N' multiple: 4 to: 8 }"), `r.txtpb:3: pad of axis N to a multiple of 4 and to 8; write one of them`},
	{"pad to too much", one("pad { axis: 'N' to: 4294967297 }"), `r.txtpb:3: pad of axis N to 4294967297, at most 4294967296 are allowed`},
	{"rounding that there is not", one("rounding: NEAR"), `r.txtpb:3: invalid value for enum type: NEAR; write FLOOR or NEAREST`},
}

// partExpandErrors are rules that Parse takes and Expand refuses for attention(), whose other parameters rest takes.
var partExpandErrors = []struct{ name, text, rest, want string }{
	{"no such parameter", joined("part { parameter: 'l.{i}.kk.weight' }"), "", `r.txtpb:4: no parameter is named "l.0.kk.weight", which "l.{i}.kk.weight" asks for; near: l.0.k.weight, l.0.q.weight, l.0.v.weight`},
	{"no such bias", joined("bias_row: 'K' part { parameter: 'l.{i}.k.weight'\nbias: 'l.{i}.k.bias' }"), "", `r.txtpb:5: no parameter is named "l.0.k.bias", which "l.{i}.k.bias" asks for; near: l.0.q.bias, l.0.v.bias`},
	{"no such gamma", one("fold { gamma: 'l.0.norm.wieght' }"), "", `r.txtpb:3: no parameter is named "l.0.norm.wieght"; near: l.0.norm.weight`},
	{"taken twice", joined("part { parameter: 'l.{i}.k.weight' }\npart { parameter: 'l.{i}.k.weight' }"), "", `r.txtpb:5: l.0.k.weight is matched by "l.{i}.k.weight" here and by "l.{i}.k.weight" in line 4`},
	{"taken twice, once in a slice", joined("part { parameter: 'l.{i}.q.weight' slice { axis: 'N' end: 3 } }"), "", `r.txtpb:4: l.0.q.weight is matched by "l.{i}.q.weight" here and by "l.{i}.q.weight" in line 3`},
	{"a bias twice", joined("bias_row: 'K' part { parameter: 'l.{i}.k.weight' bias: 'l.{i}.v.bias' }\npart { parameter: 'l.{i}.v.weight' bias: 'l.{i}.v.bias' }"), "", `r.txtpb:5: l.0.v.bias is matched by "l.{i}.v.bias" here and by "l.{i}.v.bias" in line 4`},
	{"left over", joined("part { parameter: 'l.{i}.k.weight' }"), "norm.weight q.bias v.bias conv", `r.txtpb:9: no rule takes l.0.norm.bias (nor 1 others); write parameter: "l.{i}.norm.bias" in a rule, or a rule for it`},
	{"the rest of a slice", one("slice { axis: 'N' begin: 1 end: 4 }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:2: of l.0.q.weight, axes "NK", shape [6 4], slices leave N[0:1] K[0:4]; take it in a part or rule of its own`},
	{"slices that overlap", strings.Replace(joined("part { parameter: 'l.{i}.q.weight' slice { axis: 'N' end: 3 } }"), "part {", "part { slice { axis: 'N' begin: 2 }", 1), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:4: of l.0.q.weight, N[0:3] K[0:4] is taken here and N[2:6] K[0:4] in line 3; slices should be equal or have nothing in common`},

	{"parts of different sizes", joined("part { parameter: 'l.{i}.k.weight' slice { axis: 'K' end: 2 } }"), "norm.weight norm.bias q.bias v.weight v.bias conv", `r.txtpb:4: l.0.k.weight makes axis K 2 long, l.0.q.weight made it 4; parts may differ along axis N alone`},
	{"along what there is not", strings.Replace(joined(""), "along: 'N'", "along: 'M'", 1), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:2: along is M, which is not one of axes "KN"`},
	{"bias row that there is not", joined("bias_row: 'M'"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:4: bias_row is M, which is not one of axes "KN"`},
	{"a part with other axes", joined("part { parameter: 'conv.weight' }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias", `r.txtpb:2: conv.weight has no axis K; its axes are "NCX"; write merge { axis: "K" of: "CX" } to make it of these`},
	{"a bias with other axes", strings.Replace(joined("part { parameter: 'l.{i}.k.weight' bias: 'conv.weight' }"), "axes: 'KN'", "axes: 'KN' bias_row: 'K'", 1), "norm.weight norm.bias q.bias v.weight v.bias", `r.txtpb:2: axes "KN" leave out C of conv.weight, which has "NCX"; name it, or make it part of one: merge { axis: "K" of: "CX" }`},
	{"a bias of another size", joined("bias_row: 'K'\npart { parameter: 'l.{i}.k.weight' bias: 'l.{i}.norm.bias' }"), "norm.weight q.bias v.weight v.bias conv", `r.txtpb:5: the bias l.0.norm.bias makes axis N 4 long, its weight 6`},
	{"an unknown size", one("scale: 'head^2'"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:3: scale "head^2": the model has no size "head"; it has d_model, heads, head_dim`},
	{"slice of an axis that is not", one("slice { axis: 'M' end: 2 }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:3: l.0.q.weight has no axis M to slice; its axes are "NK"`},
	{"slice beyond", one("slice { axis: 'N' end: 7 }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:3: slice of axis N from 0 to 7, l.0.q.weight has 6`},
	{"slice from beyond", one("slice { axis: 'N' begin: 6 }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:3: slice of axis N from 6 to 6, l.0.q.weight has 6`},
	{"order of an axis that is not", one("order { axis: 'M' index: 0 }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:3: l.0.q.weight has no axis M to order; its axes are "NK"`},
	{"order of too few", one("order { axis: 'N' index: [1, 0] }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:3: order of axis N has 2 indices, what is taken of l.0.q.weight has 6`},
	{"zeros that are no count", joined("part { zeros: '0.5' }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:4: zeros "0.5": it is 0.5; a whole number of at least 1 was expected`},
	{"zeros of another size", joined("part { zeros: '2' fold { beta: 'l.{i}.norm.bias' weight: 'l.{i}.k.weight' } }"), "norm.weight q.bias k.weight v.weight v.bias conv", `r.txtpb:4: the sum of beta with l.0.k.weight has 6 values, the zeros are 2, in an operand of axes "KN"; as many, in a vector, were expected`},

	{"gamma along K of a bias", strings.Replace(one("fold { gamma: 'l.{i}.norm.weight' }"), "layout: 'K* N*' parameter: 'l.{i}.q.weight'", "layout: 'N*' parameter: 'l.{i}.q.bias'", 1), "norm.bias q.weight k.weight v.weight v.bias conv", `r.txtpb:3: gamma is folded along axis K, which l.0.q.bias has not; its axes are "N"`},
	{"gamma of another size", one("fold { gamma: 'l.{i}.q.bias' }"), "norm.weight norm.bias k.weight v.weight v.bias conv", `r.txtpb:3: l.0.q.bias has shape [6]; 4 values, one for each index of axis K of l.0.q.weight, were expected`},
	{"beta by a vector", strings.Replace(one("fold { beta: 'l.{i}.norm.bias' weight: 'l.{i}.v.bias' }"), "layout: 'K* N*' parameter: 'l.{i}.q.weight'", "layout: 'N*' parameter: 'l.{i}.q.bias'", 1), "norm.weight q.weight k.weight v.weight v.bias conv", `r.txtpb:3: beta is summed with l.0.v.bias, whose axes are "N"; a weight with axis K and one other was expected`},
	{"beta into a weight", one("fold { beta: 'l.{i}.norm.bias' weight: 'l.{i}.k.weight' }"), "norm.weight q.bias k.weight v.weight v.bias conv", `r.txtpb:3: the sum of beta with l.0.k.weight has 6 values, the bias l.0.q.weight has shape [6 4]`},
	{"beta alone for a slice", joined("bias_row: 'K'\npart { parameter: 'l.{i}.k.weight' slice { axis: 'N' end: 3 } fold { beta: 'l.{i}.norm.bias' } }\npart { parameter: 'l.{i}.k.weight' slice { axis: 'N' begin: 3 } }"), "norm.weight q.bias v.weight v.bias conv", `r.txtpb:5: beta is folded into l.0.k.weight, which has no bias: that takes all of its axis N, in order, on the one axis of the operand beside K`},

	{"pad to less", one("pad { axis: 'N' to: 5 }"), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:3: pad of axis N to 5, but l.0.q.weight has 6`},
	{"pad to what the layout does not keep", strings.Replace(one("pad { axis: 'N' to: 7 }"), "'K* N*'", "'K* N* N2'", 1), "norm.weight norm.bias q.bias k.weight v.weight v.bias conv", `r.txtpb:3: layout "K* N* N2" makes axis N of l.0.q.weight 8 long, where 7 was asked for`},
}

func TestPartErrors(t *testing.T) {
	t.Parallel()
	for _, c := range partParseErrors {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("r.txtpb", []byte(c.text))
			checkError(t, err, c.text, c.want)
		})
	}
	for _, c := range partExpandErrors {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := c.text + others(c.rest)
			r, err := Parse("r.txtpb", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Expand(attention())
			checkError(t, err, text, c.want)
		})
	}
}

func checkError(t *testing.T, err error, text, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
		return
	}
	if wrong := wrongError(err, []byte(text)); wrong != "" {
		t.Error(wrong)
	}
}

// TestTooManyPlacements has an order that an artifact cannot hold.
func TestTooManyPlacements(t *testing.T) {
	t.Parallel()
	const n = 5000
	var reversed strings.Builder
	for i := n - 1; i >= 0; i-- {
		reversed.WriteString(" index: " + strconv.Itoa(i))
	}
	m := &model.Model{Family: "test", Parameters: []model.Parameter{{Name: "w", Axes: "N", Shape: []uint64{n}}}}
	for fields, want := range map[string]string{
		"order { axis: 'N'" + reversed.String() + " }": "r.txtpb:3: the order cuts w into more than 4096 placements, which is the most that an artifact holds of an operand",
		"slice { axis: 'N' } along: 'N' repeat: 4096":  "",
	} {
		r, err := Parse("r.txtpb", []byte(oneRule(fields+" parameter: 'w' segment: 's' format: F32 layout: 'N*'")))
		if err != nil {
			t.Fatal(err)
		}
		operands, err := r.Expand(m)
		if want == "" && (err != nil || len(operands[0].Placements) != 4096) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	r, err := Parse("r.txtpb", []byte(`name: "test/a" operand { name: "w" segment: "s" format: F32 layout: "N*" along: "N"
part { parameter: "w" slice { axis: "N" } repeat: 4096 }
part { parameter: "w" slice { axis: "N" } } }`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Expand(m)
	if want := `r.txtpb:3: operand "w" is made of more than 4096 placements up to here, which is the most that an artifact holds`; err == nil || err.Error() != want {
		t.Error(err)
	}
}
