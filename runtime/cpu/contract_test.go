package cpu

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/runtime/device"
)

// refused checks that a contract cannot be opened.
func refused(t *testing.T, name string, c *kernel.Contract) {
	t.Helper()
	d := New(Options{})
	k, err := d.Open(c)
	if !errors.Is(err, device.ErrUnsupported) {
		t.Errorf("%s: error %v, expected %v", name, err, device.ErrUnsupported)
	}
	if k != nil && err != nil {
		t.Errorf("%s: a kernel and an error", name)
	}
	if err := d.Close(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

func gemmContract(tb testing.TB) *kernel.Contract {
	tb.Helper()
	return contract(tb, kernel.GEMM, shape("MKN", 4, 5, 6), "a f32 M* K*", "b bf16 K* N*", "c f32 M* N*", "bias f32 N*")
}

func addContract(tb testing.TB) *kernel.Contract {
	tb.Helper()
	return contract(tb, kernel.Add, shape("MN", 4, 6), "x f32 M* N*", "z f32 M* N*", "y f32 M* N*")
}

func TestContractRefusals(t *testing.T) {
	t.Parallel()
	gemm := func(change func(c *kernel.Contract)) func(testing.TB) *kernel.Contract {
		return func(tb testing.TB) *kernel.Contract {
			tb.Helper()
			c := gemmContract(tb)
			change(c)
			return c
		}
	}
	for name, build := range map[string]func(testing.TB) *kernel.Contract{
		"no operation":      gemm(func(c *kernel.Contract) { c.Operation = "" }),
		"unknown operation": gemm(func(c *kernel.Contract) { c.Operation = "FFT" }),
		"unknown epilogue":  gemm(func(c *kernel.Contract) { c.Epilogue = "TANH" }),
		"invalid layout":    gemm(func(c *kernel.Contract) { c.Arguments[0].Layout.Digits = nil }),
		"no arguments":      gemm(func(c *kernel.Contract) { c.Arguments = nil }),
		"no a":              gemm(func(c *kernel.Contract) { c.Arguments = c.Arguments[1:] }),
		"no c":              gemm(func(c *kernel.Contract) { c.Arguments = c.Arguments[:2] }),
		"unknown argument":  gemm(func(c *kernel.Contract) { c.Arguments[3].Name = "d" }),
		"twice":             gemm(func(c *kernel.Contract) { c.Arguments[3].Name = "a" }),
		"f64":               gemm(func(c *kernel.Contract) { c.Arguments[0].Format, c.Arguments[0].Bytes = element.F64, 160 }),
		"format of later":   gemm(func(c *kernel.Contract) { c.Arguments[0].Format = 99 }),
		"no format":         gemm(func(c *kernel.Contract) { c.Arguments[0].Format = 0 }),
		"scalar a":          gemm(func(c *kernel.Contract) { c.Arguments[0].Kind = kernel.ScalarArgument }),
		"c is read":         gemm(func(c *kernel.Contract) { c.Arguments[2].Role = kernel.Activation }),
		"a is written":      gemm(func(c *kernel.Contract) { c.Arguments[0].Role = kernel.Output }),
		"extent of a":       gemm(func(c *kernel.Contract) { c.Arguments[0].Layout.Axes[1].Extent = 4 }),
		"extent of shape":   gemm(func(c *kernel.Contract) { c.Shape[0].Extent = 3 }),
		"axes of a":         gemm(func(c *kernel.Contract) { c.Arguments[0].Layout.Axes[0].Name = 'P' }),
		"bias is a matrix":  gemm(func(c *kernel.Contract) { c.Arguments[3].Layout = c.Arguments[2].Layout; c.Arguments[3].Bytes = 96 }),
		"an enormous axis": gemm(func(c *kernel.Contract) {
			c.Arguments[0] = kernel.Buffer("a", 0, kernel.Activation, element.F32, resolved(t, "M* K*", shape("MK", 4, 1<<50)))
		}),
		"epilogue of ADD": func(tb testing.TB) *kernel.Contract {
			tb.Helper()
			c := addContract(tb)
			c.Epilogue = kernel.GELUEpilogue
			return c
		},
		"shape of ADD": func(tb testing.TB) *kernel.Contract {
			tb.Helper()
			c := addContract(tb)
			c.Shape = c.Shape[:1]
			return c
		},
		"vector for matrix": func(tb testing.TB) *kernel.Contract {
			tb.Helper()
			return contract(tb, kernel.GELU, shape("N", 6), "x f32 N*", "y f32 N*")
		},
		"no z": func(tb testing.TB) *kernel.Contract {
			tb.Helper()
			return contract(tb, kernel.Add, shape("MN", 4, 6), "x f32 M* N*", "y f32 M* N*")
		},
		"no scale": func(tb testing.TB) *kernel.Contract {
			tb.Helper()
			return contract(tb, kernel.Scale, shape("MN", 4, 6), "x f32 M* N*", "y f32 M* N*")
		},
		"scale is a buffer": func(tb testing.TB) *kernel.Contract {
			tb.Helper()
			return contract(tb, kernel.Scale, shape("MN", 4, 6), "x f32 M* N*", "y f32 M* N*", "scale f32 N*")
		},
	} {
		refused(t, name, build(t))
	}
}

func TestArgumentErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{}, gemmContract(t))
	g := newFixture(t, Options{}, contract(t, kernel.Scale, shape("MN", 4, 6), "x f32 M* N*", "y f32 M* N*", "scale"))
	h := newFixture(t, Options{}, contract(t, kernel.LayerNorm, shape("MN", 4, 6), "x f32 M* N*", "y f32 M* N*", "eps"))
	short := must(f.args["a"].Buffer.View(0, 8))
	mapped := must(f.device.Map(make([]byte, f.args["c"].Buffer.Len()), kernel.NoGroup))
	defer mapped.Close()
	for name, test := range map[string]struct {
		fixture  *fixture
		argument string
		value    device.Value
	}{
		"missing":             {f, "a", device.Value{}},
		"short":               {f, "a", device.Value{Buffer: short}},
		"unknown":             {f, "zz", device.Value{Buffer: short}},
		"mapped output":       {f, "c", device.Value{Buffer: mapped}},
		"buffer for a scalar": {g, "scale", device.Value{Buffer: short}},
		"negative eps":        {h, "eps", device.Value{Scalar: -1}},
		"scalar for a buffer": {g, "x", device.Value{Scalar: 1}},
	} {
		args := maps.Clone(test.fixture.args)
		args[test.argument] = test.value
		if name == "missing" {
			delete(args, "a")
		}
		_, err := test.fixture.kernel.Run(context.Background(), args)
		if !errors.Is(err, device.ErrArgument) {
			t.Errorf("%s: error %v", name, err)
			continue
		}
		for _, word := range []string{`kernel "test"`, `argument "` + test.argument + `"`} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: error %q does not name %s", name, err, word)
			}
		}
	}
}

// Arguments that only a compiled kernel has may be given or left out.
func TestInstructionsAreIgnored(t *testing.T) {
	t.Parallel()
	c := gemmContract(t)
	c.Arguments = append(c.Arguments, kernel.Scalar("opcode", 4), kernel.Argument{
		Name: "instructions", Index: 5, Role: kernel.Instructions, Bytes: 64, MemoryGroup: 1,
	})
	f := newFixture(t, Options{}, c)
	want := f.run("c")
	delete(f.args, "opcode")
	delete(f.args, "instructions")
	sameBits(t, f.run("c"), want)
	f.args["instructions"] = f.args["a"]
	if _, err := f.kernel.Run(context.Background(), f.args); !errors.Is(err, device.ErrArgument) {
		t.Errorf("instructions of a wrong length: error %v", err)
	}
}

// An output may be an input only where each value depends on its own place or row.
func TestOverlaps(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{}, addContract(t))
	want := make([]float32, len(f.inputs["x"]))
	for i := range want {
		want[i] = f.inputs["x"][i] + f.inputs["z"][i]
	}
	f.args["y"] = f.args["x"]
	sameBits(t, f.run("y"), want)

	whole := must(f.device.Allocate(200, kernel.NoGroup))
	defer whole.Close()
	f.args["x"] = device.Value{Buffer: must(whole.View(0, 96))}
	f.args["y"] = device.Value{Buffer: must(whole.View(4, 96))}
	if _, err := f.kernel.Run(context.Background(), f.args); !errors.Is(err, device.ErrArgument) {
		t.Errorf("x and y overlap: error %v", err)
	}
	f.args["y"] = device.Value{Buffer: must(whole.View(96, 96))}
	if _, err := f.kernel.Run(context.Background(), f.args); err != nil {
		t.Errorf("x and y side by side: error %v", err)
	}

	c := contract(t, kernel.Add, shape("MN", 4, 6), "x f32 M* N*", "z f32 M* N*", "y f32 N* M*")
	turned := newFixture(t, Options{}, c)
	turned.args["y"] = turned.args["x"]
	if _, err := turned.kernel.Run(context.Background(), turned.args); !errors.Is(err, device.ErrArgument) {
		t.Errorf("y is x in another layout: error %v", err)
	}
	gemm := newFixture(t, Options{}, contract(t, kernel.GEMM, shape("MKN", 4, 4, 4), "a f32 M* K*", "b f32 K* N*", "c f32 M* N*"))
	gemm.args["c"] = gemm.args["a"]
	if _, err := gemm.kernel.Run(context.Background(), gemm.args); !errors.Is(err, device.ErrArgument) {
		t.Errorf("c is a: error %v", err)
	}
}
