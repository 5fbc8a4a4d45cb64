package main

import (
	"errors"
	"maps"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"npuw/artifact"
	"npuw/artifact/artifacttest"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane/planetest"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// forms are ways for matrices to lie that recode knows by name.
var forms = map[string]planetest.Form{
	"i8":    {Format: element.I8, Layout: "N* K* K8 N8 K8 N4", Scales: element.F32, Group: map[byte]uint64{'N': 1}},
	"bfp16": {Format: element.BFP16, Layout: "N* K* N8 K8"},
	"u4":    {Format: element.U4, Layout: "N* K* K32 N8", Scales: element.BF16, Minimums: element.BF16, Group: map[byte]uint64{'K': 32, 'N': 1}, Shared: "N* K* N8", Record: 256, Align: 64},
}

// formOf lays matrices [K,N] as a form says, and leaves all else as it is.
func formOf(form planetest.Form) func(o *artifact.Operand) *planetest.Form {
	return func(o *artifact.Operand) *planetest.Form {
		if a := o.Layout.Axes; len(a) != 2 || a[0].Name != 'K' || a[1].Name != 'N' {
			return nil
		}
		own := form
		own.Group = maps.Clone(form.Group)
		return &own
	}
}

// commandTest is a script as a test, for helpers that want one.
type commandTest struct {
	testing.TB
	ts *testscript.TestScript
}

func (c commandTest) Helper()                           {}
func (c commandTest) Fatal(args ...any)                 { c.ts.Fatalf("%v", args) }
func (c commandTest) Fatalf(format string, args ...any) { c.ts.Fatalf(format, args...) }

// recode FILE OUT FORM writes an artifact anew, with its matrices in a form.
func recode(ts *testscript.TestScript, neg bool, args []string) {
	form, ok := planetest.Form{}, false
	if len(args) == 3 {
		form, ok = forms[args[2]]
	}
	if neg || !ok {
		ts.Fatalf("usage: recode FILE OUT FORM")
	}
	artifacttest.Recode(commandTest{ts: ts}, ts.MkAbs(args[0]), ts.MkAbs(args[1]), formOf(form))
}

// A GEMM is stated for the largest matrix whatever its encoding, and reads it as it lies.
func TestStatedGEMMOfPlanes(t *testing.T) {
	t.Parallel()
	for name, form := range forms {
		s, err := form.Storage([]layout.Axis{{Name: 'K', Extent: 40}, {Name: 'N', Extent: 24}})
		if err != nil {
			t.Fatal(err)
		}
		o := artifact.Operand{Name: name, Encoding: s.Encoding, Format: s.Planes[0].Format, Layout: s.Planes[0].Layout, Bytes: s.Bytes}
		if s.Encoding != 0 {
			o.Planes = s.Planes
		}
		x := &artifact.Index{Segments: make([]artifact.Segment, 1), Operands: []artifact.Operand{o}}
		x.Model.Attributes = []artifact.Attribute{{Name: "positions", Integer: 3}}
		list := statedGEMM(x)
		if len(list) != 1 {
			t.Fatalf("%s: %+v", name, list)
		}
		if err := list[0].contract.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		b := list[0].contract.Argument("b")
		if err := b.Fits(s, kernel.NoGroup); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		d := cpu.New(cpu.Options{})
		r := bench{device: d}
		buffer, err := r.allocate(b)
		if !errors.Is(err, device.ErrUnsupported) {
			t.Errorf("%s is filled with numbers: %v", name, err)
		}
		if err := errors.Join(buffer.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}
