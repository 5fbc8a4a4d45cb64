package artifact

import (
	"math"
	"strings"
	"testing"
)

func TestPrintContracts(t *testing.T) {
	t.Parallel()
	s := newSample(4096)
	x := s.index
	x.Contracts = x.Contracts[:1]
	x.Bindings = nil
	for i := range 3 {
		x.Bindings = append(x.Bindings, Binding{Operand: i, Argument: 3})
	}
	var b strings.Builder
	if err := x.PrintContracts(&b); err != nil {
		t.Fatal(err)
	}
	first := x.Operands[0].Name
	for _, want := range []string{
		"\ncontract ", "\ngemm GEMM GELU MLIR_AIE a.xclbin\n",
		"  a ", " activation ", "  b ", " weight ", first + " and 2 more\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	b.Reset()
	x.Contracts = nil
	if err := x.PrintContracts(&b); err != nil || b.Len() > 0 {
		t.Errorf("without contracts: %q, %v", &b, err)
	}
}

// The tables of operands and of a file's listing name every segment, also those behind the last operand.
func TestPrintSegments(t *testing.T) {
	t.Parallel()
	s := newSample(4096)
	s.stream("behind", []byte{1})
	var b strings.Builder
	if err := s.index.PrintOperands(&b, false); err != nil {
		t.Fatal(err)
	}
	for _, g := range s.index.Segments {
		if !strings.Contains(b.String(), "\n"+g.Name+" (segment ") {
			t.Errorf("segment %q is missing in\n%s", g.Name, &b)
		}
	}
}

// What JSON cannot say is said otherwise.
func TestListingNumbers(t *testing.T) {
	t.Parallel()
	for x, want := range map[float64]float64{0.5: 0.5, math.Inf(1): math.MaxFloat64, math.Inf(-1): -math.MaxFloat64} {
		if got := finite(x); got != want {
			t.Errorf("%v is %v, want %v", x, got, want)
		}
	}
	if got := finite(math.NaN()); got != -1 {
		t.Errorf("NaN is %v, want -1", got)
	}
	for kind, want := range map[SegmentKind]string{Weights: "weights", Instructions: "instructions", 7: "kind 7"} {
		if got := kind.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
