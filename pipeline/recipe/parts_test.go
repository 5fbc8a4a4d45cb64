package recipe

import (
	"strings"
	"testing"

	"npuw/pipeline/model"
)

// others takes what of attention() the rules before do not, by the last parts of names: "norm.weight q.bias conv".
func others(names string) string {
	var b strings.Builder
	for name := range strings.FieldsSeq(names) {
		switch {
		case name == "conv":
			b.WriteString("operand { parameter: 'conv.weight' segment: 's' format: F32 layout: 'N* C* X*' }\n")
		case strings.HasSuffix(name, "weight") && !strings.HasPrefix(name, "norm"):
			b.WriteString("operand { parameter: 'l.{i}." + name + "' segment: 's' format: F32 layout: 'N* K*' }\n")
		default:
			b.WriteString("operand { parameter: 'l.{i}." + name + "' segment: 's' format: F32 layout: 'N*' }\n")
		}
	}
	return b.String()
}

// partExamples are rules for attention(): q, k and v are [N=6, K=4], k without a bias, norm is [N=4], conv [N=6, C=2, X=3]. Each is
// named w, or has parts of which the first makes it so.
var partExamples = []struct{ name, rule, rest, want string }{
	{
		"joined along N, with biases as one more row of K, q scaled",
		`name: "w" along: "N" bias_row: "K" axes: "KN" layout: "K* N*"
		part { parameter: "l.{i}.q.weight" bias: "l.{i}.q.bias" scale: "head_dim^-0.5" }
		part { parameter: "l.{i}.k.weight" }
		part { parameter: "l.{i}.v.weight" bias: "l.{i}.v.bias" }`,
		"norm.weight norm.bias conv",
		`w in s: K=5 N=18, values bf16 in K5 N18
  l.0.q.weight N[0:6]>N K[0:4]>K at 0,0 times 0.5
  l.0.q.bias N[0:6]>N at 4,0 times 0.5
  l.0.k.weight N[0:6]>N K[0:4]>K at 0,6
  l.0.v.weight N[0:6]>N K[0:4]>K at 0,12
  l.0.v.bias N[0:6]>N at 4,12
  0 at 4,6 of 1,6`,
	},
	{
		"joined as they lie in PyTorch, and a vector with zeros for the bias that k has not",
		`name: "w" along: "N" layout: "N*"
		part { parameter: "l.{i}.q.bias" }
		part { zeros: "6*heads" }
		part { parameter: "l.{i}.v.bias" }`,
		"norm.weight norm.bias q.weight k.weight v.weight conv",
		`w in s: N=18, values bf16 in N18
  l.0.q.bias N[0:6]>N at 0
  l.0.v.bias N[0:6]>N at 12
  0 at 6 of 6`,
	},
	{
		"heads padded with zeros, under which there is no bias",
		`name: "w" along: "N" bias_row: "K" axes: "KN" layout: "K* N*"
		part { parameter: "l.{i}.q.weight" bias: "l.{i}.q.bias" } part { zeros: "2" repeat: 2 }`,
		"norm.weight norm.bias k.weight v.weight v.bias conv",
		`w in s: K=5 N=10, values bf16 in K5 N10
  l.0.q.weight N[0:6]>N K[0:4]>K at 0,0
  l.0.q.bias N[0:6]>N at 4,0
  0 at 0,6 of 5,2
  0 at 0,8 of 5,2`,
	},
	{
		"gamma and beta as rows of one operand",
		`name: "w" axes: "RN" along: "R" layout: "R* N*" part { parameter: "l.{i}.norm.weight" } part { parameter: "l.{i}.norm.bias" }`,
		"q.weight q.bias k.weight v.weight v.bias conv",
		`w in s: R=2 N=4, values bf16 in R2 N4
  l.0.norm.weight N[0:4]>N at 0,0
  l.0.norm.bias N[0:4]>N at 1,0`,
	},
	{
		"slices and orders are those of the bias too, as far as it has their axes",
		`name: "w" along: "N" bias_row: "K" axes: "KN" layout: "K* N*"
		part { parameter: "l.{i}.q.weight" bias: "l.{i}.q.bias" slice { axis: "N" begin: 2 } slice { axis: "K" begin: 1 end: 3 } order { axis: "K" index: [1, 0] } }`,
		"norm.weight norm.bias k.weight v.weight v.bias conv" + `
		} operand { name: "first" parameter: "l.{i}.q.weight" segment: "s" format: F32 layout: "N* K*" slice { axis: "N" end: 2 } }
		operand { name: "left" parameter: "l.{i}.q.weight" segment: "s" format: F32 layout: "N* K*" slice { axis: "N" begin: 2 } slice { axis: "K" end: 1 } }
		operand { name: "right" parameter: "l.{i}.q.weight" segment: "s" format: F32 layout: "N* K*" slice { axis: "N" begin: 2 } slice { axis: "K" begin: 3 } }
		operand { name: "biases" parameter: "l.{i}.q.bias" segment: "s" format: F32 layout: "N*" slice { axis: "N" end: 2 }`,
		`w in s: K=3 N=4, values bf16 in K3 N4
  l.0.q.weight N[2:6]>N K[1:2]>K at 1,0
  l.0.q.weight N[2:6]>N K[2:3]>K at 0,0
  l.0.q.bias N[2:6]>N at 2,0`,
	},
	{
		"split in two, of which this is the second half",
		`name: "w" parameter: "l.{i}.q.weight" axes: "KN" layout: "K* N*" slice { axis: "N" begin: 2 }`,
		"norm.weight norm.bias q.bias k.weight v.weight v.bias conv" + `
		} operand { name: "first" parameter: "l.{i}.q.weight" segment: "s" format: F32 layout: "N* K*" slice { axis: "N" end: 2 }`,
		`w in s: K=4 N=4, values bf16 in K4 N4
  l.0.q.weight N[2:6]>N K[0:4]>K at 0,0`,
	},
	{
		"two heads of q and k take turns",
		`name: "w" along: "N" axes: "KN" layout: "K* N*"
		part { parameter: "l.{i}.q.weight" slice { axis: "N" end: 3 } }
		part { parameter: "l.{i}.k.weight" slice { axis: "N" end: 3 } }
		part { parameter: "l.{i}.q.weight" slice { axis: "N" begin: 3 } }
		part { parameter: "l.{i}.k.weight" slice { axis: "N" begin: 3 end: 6 } }`,
		"norm.weight norm.bias q.bias v.weight v.bias conv",
		`w in s: K=4 N=12, values bf16 in K4 N12
  l.0.q.weight N[0:3]>N K[0:4]>K at 0,0
  l.0.k.weight N[0:3]>N K[0:4]>K at 0,3
  l.0.q.weight N[3:6]>N K[0:4]>K at 0,6
  l.0.k.weight N[3:6]>N K[0:4]>K at 0,9`,
	},
	{
		"bias slices go with those of the weight",
		`name: "w" along: "N" bias_row: "K" axes: "KN" layout: "K* N*"
		part { parameter: "l.{i}.q.weight" bias: "l.{i}.q.bias" slice { axis: "N" begin: 3 } }
		part { parameter: "l.{i}.q.weight" bias: "l.{i}.q.bias" slice { axis: "N" end: 3 } }`,
		"norm.weight norm.bias k.weight v.weight v.bias conv",
		`w in s: K=5 N=6, values bf16 in K5 N6
  l.0.q.weight N[3:6]>N K[0:4]>K at 0,0
  l.0.q.bias N[3:6]>N at 4,0
  l.0.q.weight N[0:3]>N K[0:4]>K at 0,3
  l.0.q.bias N[0:3]>N at 4,3`,
	},
	{
		"even outputs before odd ones: runs at a distance",
		`name: "w" parameter: "l.{i}.q.weight" layout: "N* K*" order { axis: "N" index: [0, 2, 4, 1, 3, 5] }`,
		"norm.weight norm.bias q.bias k.weight v.weight v.bias conv",
		`w in s: N=6 K=4, values bf16 in N6 K4
  l.0.q.weight N[0:2]>N*3 K[0:4]>K at 0,0
  l.0.q.weight N[2:4]>N*3 K[0:4]>K at 1,0
  l.0.q.weight N[4:6]>N*3 K[0:4]>K at 2,0`,
	},
	{
		"an order within a slice, of a bias too",
		`name: "w" bias_row: "K" axes: "KN" layout: "K* N*" along: "N"
		part { parameter: "l.{i}.q.weight" bias: "l.{i}.q.bias" slice { axis: "N" begin: 2 } order { axis: "N" index: [2, 3, 0, 1] } }
		part { parameter: "l.{i}.q.weight" bias: "l.{i}.q.bias" slice { axis: "N" end: 2 } }`,
		"norm.weight norm.bias k.weight v.weight v.bias conv",
		`w in s: K=5 N=6, values bf16 in K5 N6
  l.0.q.weight N[2:4]>N K[0:4]>K at 0,2
  l.0.q.weight N[4:6]>N K[0:4]>K at 0,0
  l.0.q.bias N[2:4]>N at 4,2
  l.0.q.bias N[4:6]>N at 4,0
  l.0.q.weight N[0:2]>N K[0:4]>K at 0,4
  l.0.q.bias N[0:2]>N at 4,4`,
	},
	{
		"conv as a matrix, C inside X, taps in reverse",
		`name: "w" parameter: "conv.weight" axes: "KN" merge { axis: "K" of: "XC" } layout: "K* N*" order { axis: "X" index: [2, 1, 0] }`,
		"norm.weight norm.bias q.weight q.bias k.weight v.weight v.bias",
		`w in s: K=6 N=6, values bf16 in K6 N6
  conv.weight N[0:6]>N C[0:2]>K X[0:1]>K*2 at 4,0
  conv.weight N[0:6]>N C[0:2]>K X[1:2]>K*2 at 2,0
  conv.weight N[0:6]>N C[0:2]>K X[2:3]>K*2 at 0,0`,
	},
	{
		"conv as a matrix, C outside X, and its transpose",
		`name: "w" parameter: "conv.weight" axes: "NK" merge { axis: "K" of: "CX" } layout: "K* N*"`,
		"norm.weight norm.bias q.weight q.bias k.weight v.weight v.bias",
		`w in s: N=6 K=6, values bf16 in K6 N6
  conv.weight N[0:6]>N C[0:2]>K*3 X[0:3]>K at 0,0`,
	},
	{
		"repeated, for two columns that read the same",
		`name: "w" parameter: "l.{i}.q.bias" along: "N" layout: "N*" repeat: 3 scale: "-2"`,
		"norm.weight norm.bias q.weight k.weight v.weight v.bias conv",
		`w in s: N=18, values bf16 in N18
  l.0.q.bias N[0:6]>N at 0 times -2
  l.0.q.bias N[0:6]>N at 6 times -2
  l.0.q.bias N[0:6]>N at 12 times -2`,
	},
	{
		"padded to a shape, with a value",
		`name: "w" parameter: "l.{i}.q.weight" axes: "KN" layout: "K* N* K4" pad { axis: "K" to: 8 } pad { axis: "N" multiple: 4 } pad_value: 1`,
		"norm.weight norm.bias q.bias k.weight v.weight v.bias conv",
		`w in s: K=4→8 N=6→8, values bf16 in K2 N8 K4
  l.0.q.weight N[0:6]>N K[0:4]>K at 0,0`,
	},
	{
		"a LayerNorm in q, k and v: beta in the biases, alone where there is none",
		`name: "w" along: "N" bias_row: "K" axes: "KN" layout: "K* N*"
		part { parameter: "l.{i}.q.weight" bias: "l.{i}.q.bias" scale: "0.5" fold { gamma: "l.{i}.norm.weight" beta: "l.{i}.norm.bias" } }
		part { parameter: "l.{i}.k.weight" fold { gamma: "l.{i}.norm.weight" beta: "l.{i}.norm.bias" } }
		part { parameter: "l.{i}.v.weight" bias: "l.{i}.v.bias" fold { gamma: "l.{i}.norm.weight" beta: "l.{i}.norm.bias" } }`,
		"conv",
		`w in s: K=5 N=18, values bf16 in K5 N18
  l.0.q.weight N[0:6]>N K[0:4]>K at 0,0 times 0.5
  l.0.q.bias N[0:6]>N at 4,0 times 0.5
  l.0.k.weight N[0:6]>N K[0:4]>K at 0,6
  l.0.v.weight N[0:6]>N K[0:4]>K at 0,12
  l.0.v.bias N[0:6]>N at 4,12
  fold l.0.norm.weight into 0, along axis 1, times 0.5
  fold l.0.norm.bias by l.0.q.weight into 1, times 0.5
  fold l.0.norm.weight into 2, along axis 1
  fold l.0.norm.bias by l.0.k.weight at 4,6 along N
  fold l.0.norm.weight into 3, along axis 1
  fold l.0.norm.bias by l.0.v.weight into 4`,
	},
	{
		"gamma in a weight, beta in the bias vector beside it",
		`name: "w" along: "N" layout: "N*"
		part { parameter: "l.{i}.q.bias" fold { beta: "l.{i}.norm.bias" weight: "l.{i}.q.weight" } }
		part { zeros: "6" fold { beta: "l.{i}.norm.bias" weight: "l.{i}.k.weight" } }`,
		"v.weight v.bias conv" + `
		} operand { parameter: "l.{i}.q.weight" parameter: "l.{i}.k.weight" segment: "s" format: F32 layout: "N* K*"
		  fold { gamma: "l.{i}.norm.weight" }`,
		`w in s: N=12, values bf16 in N12
  l.0.q.bias N[0:6]>N at 0
  fold l.0.norm.bias by l.0.q.weight into 0
  fold l.0.norm.bias by l.0.k.weight at 6 along N`,
	},
	{
		"two operands of one weight, for two kernels: sliced in both, as a sign that it is meant",
		`name: "w" parameter: "l.{i}.q.weight" layout: "K* N*" slice { axis: "N" }`,
		"norm.weight norm.bias q.bias k.weight v.weight v.bias conv" + `
		} operand { name: "again" parameter: "l.{i}.q.weight" segment: "s" format: F32 layout: "N* K*" slice { axis: "K" }`,
		`w in s: N=6 K=4, values bf16 in K4 N6
  l.0.q.weight N[0:6]>N K[0:4]>K at 0,0`,
	},
}

// partRecipe is a recipe of a rule and what takes the rest of attention(). In rest, fields may follow a brace that is closed here.
func partRecipe(rule, rest string) string {
	names, more, _ := strings.Cut(rest, "\n")
	return "name: 'test/parts'\noperand { segment: 's' format: BF16\n" + rule + "\n" + more + " }\n" + others(names)
}

func TestParts(t *testing.T) {
	t.Parallel()
	for _, c := range partExamples {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := Parse("r.txtpb", []byte(partRecipe(c.rule, c.rest)))
			if err != nil {
				t.Fatal(err)
			}
			m := attention()
			operands, err := r.Expand(m)
			if err != nil {
				t.Fatal(err)
			}
			if got := described(operands, "w", m); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if wrong := wrongOperands(operands, m); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// TestRange gives layers of one model to rules by their numbers.
func TestRange(t *testing.T) {
	t.Parallel()
	m := &model.Model{Family: "test"}
	for _, i := range []string{"0", "1", "2", "10"} {
		m.Parameters = append(m.Parameters, model.Parameter{Name: "l." + i + ".w", Axes: "N", Shape: []uint64{2}})
	}
	r, err := Parse("r.txtpb", []byte(`name: "test/range"
operand { parameter: "l.{i:0-1}.w" segment: "s{i}" format: F32 layout: "N*" }
operand { parameter: "l.{i:2-99}.w" segment: "s{i}" format: BF16 layout: "N*" }`))
	if err != nil {
		t.Fatal(err)
	}
	operands, err := r.Expand(m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range operands {
		got = append(got, operands[i].Segment+" "+operands[i].Format.String())
	}
	if want := "s0 f32, s1 f32, s2 bf16, s10 bf16"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestOrderOfOperands: operands stand in the order of their first parameter, then of rules.
func TestOrderOfOperands(t *testing.T) {
	t.Parallel()
	r, err := Parse("r.txtpb", []byte(`name: "test/order"
operand { name: "late" parameter: "l.{i}.v.weight" segment: "s" format: F32 layout: "N* K*" slice { axis: "K" begin: 1 } }
operand { name: "joined" segment: "s" format: F32 layout: "N* K*" along: "N" part { parameter: "l.{i}.k.weight" } part { parameter: "l.{i}.q.weight" } }
operand { name: "later" parameter: "l.{i}.v.weight" segment: "s" format: F32 layout: "N* K*" slice { axis: "K" end: 1 } }
`+others("norm.weight norm.bias q.bias v.bias conv")))
	if err != nil {
		t.Fatal(err)
	}
	operands, err := r.Expand(attention())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range operands {
		got = append(got, operands[i].Name)
	}
	if want := "l.0.norm.weight l.0.norm.bias l.0.q.bias joined late later l.0.v.bias conv.weight"; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		index []uint64
		want  []run
	}{
		{[]uint64{0}, []run{{0, 1, 0, 1}}},
		{[]uint64{0, 1, 2}, []run{{0, 3, 0, 1}}},
		{[]uint64{2, 1, 0}, []run{{0, 1, 2, 1}, {1, 1, 1, 1}, {2, 1, 0, 1}}},
		{[]uint64{2, 3, 0, 1}, []run{{0, 2, 2, 1}, {2, 2, 0, 1}}},
		{[]uint64{0, 3, 1, 4, 2, 5}, []run{{0, 3, 0, 2}, {3, 3, 1, 2}}},
		{[]uint64{0, 2, 3, 1}, []run{{0, 2, 0, 3}, {2, 2, 1, 1}}},
	} {
		got, err := runsOf(c.index)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%d: %v, %v, want %v", c.index, got, err, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%d: %v, want %v", c.index, got, c.want)
			}
		}
	}
}
