package kernel

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/plane"
	"npuw/artifact/plane/planetest"
)

func storage(t *testing.T, f planetest.Form) plane.Storage {
	t.Helper()
	s, err := f.Storage(planetest.Axes("KN", 64, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What reads an operand is stored as the operand, and fits it and no other.
func TestStoredFits(t *testing.T) {
	t.Parallel()
	columns, groups := map[byte]uint64{'N': 1}, map[byte]uint64{'K': 32, 'N': 1}
	forms := []planetest.Form{
		{Format: element.BF16, Layout: "K* N*"},
		{Format: element.BF16, Layout: "N* K*"},
		{Format: element.F16, Layout: "K* N*"},
		{Format: element.BFP16, Layout: "K* N*"},
		{Format: element.I8, Layout: "K* N*", Scales: element.F32, Group: columns},
		{Format: element.I8, Layout: "K* N*", Scales: element.BF16, Group: columns},
		{Format: element.I8, Layout: "K* N*", Scales: element.F32, Group: groups},
		{Format: element.I8, Layout: "K* N*", Scales: element.F32, Group: groups, Shared: "N* K*"},
		{Format: element.I8, Layout: "K* N*", Scales: element.F32, Zeros: true, Group: columns},
		{Format: element.I4, Layout: "K* N*", Scales: element.F32, Group: columns},
		{Format: element.I4, Layout: "K* N*", Scales: element.F32, Group: columns, HighFirst: true},
		{Format: element.U4, Layout: "N* K*", Scales: element.F32, Minimums: element.F32, Group: groups},
		{Format: element.U4, Layout: "N* K*", Scales: element.F32, Minimums: element.F32, Group: groups, Record: 64},
		{Format: element.U4, Layout: "N* K*", Scales: element.F32, Minimums: element.F32, Group: groups, Record: 64, Align: 64},
	}
	for i := range forms {
		s := storage(t, forms[i])
		a := Stored("b", 3, Weight, s)
		if back := a.Storage(); !back.Equal(&s) || a.Index != 3 || a.MemoryGroup != NoGroup {
			t.Errorf("%s as an argument is %s", s.String(), back.String())
		}
		c := Contract{Operation: GEMM, Arguments: []Argument{a}}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		for j := range forms {
			err := a.Fits(storage(t, forms[j]), NoGroup)
			if (err == nil) != (i == j) {
				t.Errorf("argument of form %d, operand of form %d: %v", i, j, err)
			}
		}
	}
}

// What does not fit is an error that shows both sides.
func TestFitsShowsBothSides(t *testing.T) {
	t.Parallel()
	i8 := planetest.Form{Format: element.I8, Layout: "K* N*", Scales: element.F32, Group: map[byte]uint64{'N': 1}}
	argument := Stored("b", 0, Weight, storage(t, i8))
	for _, c := range []struct {
		form  planetest.Form
		group int32
		want  string
	}{
		{planetest.Form{Format: element.BF16, Layout: "K* N*"}, NoGroup, `argument "b" reads i8, the operand is bf16`},
		{planetest.Form{Format: element.I8, Layout: "N* K*", Scales: element.F32}, NoGroup, `argument "b" reads layout K64 N32, the operand is in N32 K64`},
		{planetest.Form{Format: element.I8, Layout: "K* K128 N*", Scales: element.F32}, NoGroup, `argument "b" has shape K=64 N=32, the operand K=64→128 N=32`},
		{
			planetest.Form{Format: element.I8, Layout: "K* N*", Scales: element.BF16, Group: i8.Group},
			NoGroup,
			`argument "b" reads values i8 in K64 N32 at 0, scales f32 by [64 1] in K1 N32 at 2048 of 2176 bytes, ` +
				`the operand is values i8 in K64 N32 at 0, scales bf16 by [64 1] in K1 N32 at 2048 of 2112`,
		},
		{i8, 3, `argument "b" lies in memory group -1, the operand in 3`},
	} {
		err := argument.Fits(storage(t, c.form), c.group)
		if err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

func TestValidatePlanes(t *testing.T) {
	t.Parallel()
	s := storage(t, planetest.Form{Format: element.I8, Layout: "K* N*", Scales: element.F32})
	for name, c := range map[string]struct {
		want string
		edit func(*Argument)
	}{
		"no planes":     {"2052 bytes for 2048 elements of i8", func(a *Argument) { a.Encoding, a.Planes = plane.Plain, []plane.Plane{} }},
		"first plane":   {"but its first plane is i8", func(a *Argument) { a.Format = element.U8 }},
		"a plane fewer": {"encoding 1 has ", func(a *Argument) { a.Planes = a.Planes[:1] }},
		"bytes":         {"bytes at", func(a *Argument) { a.Bytes -= 4 }},
		"blocks":        {"blocks of", func(a *Argument) { a.Planes[1].Block[0] = 0 }},
	} {
		planes := slices.Clone(s.Planes)
		planes[1].Block = slices.Clone(planes[1].Block)
		a := Stored("b", 0, Weight, plane.Storage{Encoding: s.Encoding, Axes: s.Axes, Planes: planes, Bytes: s.Bytes})
		c.edit(&a)
		contract := Contract{Operation: GEMM, Arguments: []Argument{a}}
		if err := contract.Validate(); !errors.Is(err, ErrContract) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
