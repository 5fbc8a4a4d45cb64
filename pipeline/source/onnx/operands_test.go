package onnx

import (
	"slices"
	"testing"

	"npuw/pipeline/source"
)

// What Weights knows of a model, Operands gives alike.
func TestOperandsAreWeights(t *testing.T) {
	t.Parallel()
	for _, name := range fixtures {
		m, err := Open(testdata + name)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		weights, err := m.Weights()
		if err != nil {
			t.Fatal(err)
		}
		operands, err := m.Operands()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		at := map[Use]*Weight{}
		for i := range operands {
			at[Use{operands[i].Node, operands[i].Input}] = &operands[i]
		}
		for i := range weights {
			w := &weights[i]
			o := at[Use{w.Node, w.Input}]
			switch {
			case o == nil:
				t.Errorf("%s: %s, operand %d, is not there", name, w.Node, w.Input)
			case o.Axes != w.Axes || !slices.Equal(o.Shape, w.Shape) || !slices.Equal(o.Perm, w.Perm) || o.Tensor.Name != w.Tensor.Name || o.ValueName != w.ValueName:
				t.Errorf("%s: %s: %s %v %v, expected %s %v %v", name, w.Node, o.Axes, o.Shape, o.Perm, w.Axes, w.Shape, w.Perm)
			}
		}
	}
}

// Operands refuses nothing that Weights refuses but codes that it does not understand: whatever an operator is, its floats are given.
func TestOperandsOfAnyOperator(t *testing.T) {
	t.Parallel()
	m, err := open(t, smallModel())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Operands(); err != nil {
		t.Fatal(err)
	}
	other := smallModel()
	for i, n := range other.Graph.Node {
		if n.GetOpType() == "MatMul" || n.GetOpType() == "Add" {
			op := "Mystery"
			other.Graph.Node[i].OpType = &op
		}
	}
	if m, err = open(t, other); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Weights(); err == nil {
		t.Error("Weights takes any operator")
	}
	operands, err := m.Operands()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range operands {
		if w.Node.Op != "Mystery" {
			continue
		}
		if elements, _ := source.Elements(w.Shape); w.Axes != "" || elements != w.Constant.Elements || !slices.IsSorted(w.Perm) {
			t.Errorf("%s: %s %v %v", w.Node, w.Axes, w.Shape, w.Perm)
		}
	}
}
