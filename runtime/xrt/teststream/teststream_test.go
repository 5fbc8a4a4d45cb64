package teststream_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/runtime/xrt/gemmtest"
	"npuw/runtime/xrt/teststream"
)

func gemmContract(t *testing.T) *kernel.Contract {
	t.Helper()
	m, k, n := gemmtest.GEMM{M: 5, K: 16, N: 8}.Axes()
	return &kernel.Contract{Name: "test", Operation: kernel.GEMM, Arguments: []kernel.Argument{
		kernel.Scalar("opcode", 0),
		{Name: "instructions", Index: 1, Role: kernel.Instructions, Bytes: 300},
		kernel.Buffer("a", 3, kernel.Activation, element.BF16, gemmtest.Layout(t, "M* K* M4", m, k)),
		kernel.Buffer("b", 4, kernel.Weight, element.F16, gemmtest.Layout(t, "N* K* K8 N4", k, n)),
		kernel.Buffer("c", 5, kernel.Output, element.F32, gemmtest.Layout(t, "M* N*", m, n)),
	}}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	got, err := teststream.Encode(gemmContract(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []uint32{
		0x5755504e, 1, 1, 0, 3,
		0, 3, 3, 2, 3, 'M', 5, 8, 'K', 16, 16, 0, 2, 4, 1, 16, 1, 0, 4, 1,
		1, 4, 2, 2, 4, 'K', 16, 16, 'N', 8, 8, 1, 2, 4, 0, 2, 8, 0, 8, 1, 1, 4, 1,
		3, 5, 1, 2, 2, 'M', 5, 5, 'N', 8, 8, 0, 5, 1, 1, 8, 1,
	}
	if !slices.Equal(decode(got), want) {
		t.Errorf("got  %v\nwant %v", decode(got), want)
	}
	if string(got[:4]) != "NPUW" {
		t.Errorf("begins with %q", got[:4])
	}
}

func decode(b []byte) []uint32 {
	var list []uint32
	for ; len(b) >= 4; b = b[4:] {
		list = append(list, binary.LittleEndian.Uint32(b))
	}
	return list
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*kernel.Contract){
		"epilogue":      func(c *kernel.Contract) { c.Epilogue = kernel.GELUEpilogue },
		"operation":     func(c *kernel.Contract) { c.Operation = kernel.Add },
		"argument":      func(c *kernel.Contract) { c.Arguments[2].Name = "x" },
		"scalar":        func(c *kernel.Contract) { c.Arguments[2] = kernel.Scalar("a", 3) },
		"format":        func(c *kernel.Contract) { c.Arguments[2].Format = 99 },
		"invalid":       func(c *kernel.Contract) { c.Arguments[2].Name = "b" },
		"above 32 bits": func(c *kernel.Contract) { large(c) },
	} {
		c := gemmContract(t)
		edit(c)
		if _, err := teststream.Encode(c); err == nil {
			t.Errorf("%s: no error", name)
		} else if name == "invalid" && !errors.Is(err, kernel.ErrContract) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func large(c *kernel.Contract) {
	l := layout.Layout{
		Axes:   []layout.Axis{{Name: 'M', Extent: 1 << 33, Padded: 1 << 33}, {Name: 'K', Extent: 1, Padded: 1}},
		Digits: []layout.Digit{{Axis: 0, Size: 1 << 33, Stride: 1}},
	}
	c.Arguments[2] = kernel.Buffer("a", 3, kernel.Activation, element.F32, l)
}
