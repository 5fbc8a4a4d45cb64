package recipe

import (
	"fmt"
	"strings"
	"testing"

	"npuw/pipeline/model"
)

// vectors is a model of n vectors w0, w1... of two values.
func vectors(n int) *model.Model {
	m := &model.Model{Family: "test"}
	for i := range n {
		m.Parameters = append(m.Parameters, model.Parameter{Name: fmt.Sprint("w", i), Axes: "N", Shape: []uint64{2}})
	}
	return m
}

// TestLimits has recipes that make more of a model than an artifact holds.
func TestLimits(t *testing.T) {
	t.Parallel()
	rule := func(name string, repeat int) string {
		return fmt.Sprintf("operand { name: '%s{i}' segment: 's' format: F32 layout: 'N*' along: 'N' parameter: 'w{i}' slice { axis: 'N' end: 2 } repeat: %d }\n", name, repeat)
	}
	for _, c := range []struct {
		name, rules string
		model       *model.Model
		want        string
	}{
		{"as many placements of a parameter as there may be", rule("a", 2048) + rule("b", 2048), vectors(1), ""},
		{"one more", rule("a", 2048) + rule("b", 2049), vectors(1), "r.txtpb:3: more than 4096 placements of w0 up to here, which is the most that an artifact holds"},
		{"as many placements as there may be", rule("a", 4096), vectors(128), ""},
		{"more", rule("a", 4096), vectors(129), `r.txtpb:2: operand "a128": more than 524288 placements in all operands up to here`},
		{"more operands than there may be", rule("a", 1), vectors(maxOperands + 1), "r.txtpb:2: more than 65536 operands up to here"},
		{"a model with a name twice", rule("a", 1), &model.Model{Family: "test", Parameters: append(vectors(2).Parameters, vectors(1).Parameters...)}, "r.txtpb: parameters 0 and 2 of the model are both named w0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := "name: 'test/a'\n" + c.rules
			r, err := Parse("r.txtpb", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Expand(c.model)
			switch {
			case c.want != "":
				checkError(t, err, text, c.want)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

// TestQuarters takes a matrix in four slices, of which each has two neighbours and one at a corner; and in three, with one left over.
func TestQuarters(t *testing.T) {
	t.Parallel()
	m := &model.Model{Family: "test", Parameters: []model.Parameter{{Name: "w", Axes: "NK", Shape: []uint64{6, 4}}}}
	rules := "name: 'test/a'\n"
	for i, s := range []string{"end: 2 } slice { axis: 'K' end: 3", "end: 2 } slice { axis: 'K' begin: 3", "begin: 2 } slice { axis: 'K' end: 3", "begin: 2 } slice { axis: 'K' begin: 3"} {
		rules += fmt.Sprintf("operand { name: 'quarter%d' parameter: 'w' segment: 's' format: F32 layout: 'N* K*' slice { axis: 'N' %s } }\n", i, s)
	}
	for text, want := range map[string]string{
		rules: "",
		rules[:strings.LastIndex(rules, "operand")]: `r.txtpb:2: of w, axes "NK", shape [6 4], slices leave N[2:6] K[3:4]; take it in a part or rule of its own`,
	} {
		r, err := Parse("r.txtpb", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		operands, err := r.Expand(m)
		switch {
		case want != "":
			checkError(t, err, text, want)
		case err != nil:
			t.Error(err)
		default:
			if wrong := wrongOperands(operands, m); wrong != "" {
				t.Error(wrong)
			}
		}
	}
}
