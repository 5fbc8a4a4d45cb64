package cpu

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/artifact/plane/planetest"
)

// groups are how many indices of an axis share a scale.
type groups = map[byte]uint64

// forms are ways for a matrix [K,N] to lie.
var forms = map[string]planetest.Form{
	"bf16":                      {Format: element.BF16, Layout: "N* K* K8 N8 K8 N4"},
	"bfp16 along K":             {Format: element.BFP16, Layout: "N* K* N8 K8"},
	"bfp16 along N":             {Format: element.BFP16, Layout: "K* N* K4 N16"},
	"i8, a scale":               {Format: element.I8, Layout: "K* N*", Scales: element.F32},
	"i8, a scale a column":      {Format: element.I8, Layout: "N* K* K8 N8 K8 N8", Scales: element.F32, Group: groups{'N': 1}},
	"i8, a scale a row":         {Format: element.I8, Layout: "N* K*", Scales: element.F16, Group: groups{'K': 1}, Align: 64},
	"i8, powers of two":         {Format: element.I8, Layout: "K* N* K8 N8", Scales: element.E8M0, Group: groups{'K': 32, 'N': 1}},
	"i8 with zeros":             {Format: element.I8, Layout: "K* N*", Scales: element.F32, Zeros: true, Group: groups{'N': 1}},
	"u8 with zeros":             {Format: element.U8, Layout: "N* K* N16 K64", Scales: element.BF16, Zeros: true, Group: groups{'K': 64, 'N': 1}, Shared: "N* K*"},
	"u8 with minimums":          {Format: element.U8, Layout: "K* N*", Scales: element.F32, Minimums: element.F32, Group: groups{'K': 16, 'N': 4}},
	"i4, groups of 32":          {Format: element.I4, Layout: "K* N* N2", Scales: element.BF16, Group: groups{'K': 32, 'N': 1}},
	"i4, high half first":       {Format: element.I4, Layout: "N* K* K2", Scales: element.F32, Group: groups{'K': 128, 'N': 1}, HighFirst: true},
	"i4 with zeros":             {Format: element.I4, Layout: "K* N* N4 K2", Scales: element.F16, Zeros: true, Group: groups{'K': 32, 'N': 2}, HighFirst: true, Shared: "N* K*"},
	"u4 with zeros, in records": {Format: element.U4, Layout: "N* K* K32 N8", Scales: element.BF16, Zeros: true, Group: groups{'K': 32, 'N': 1}, Shared: "N* K* N8", Record: 256, Align: 64, Swapped: true},
	"u4 with minimums, q4nx":    {Format: element.U4, Layout: "N* K* K32 N32", Scales: element.BF16, Minimums: element.BF16, Group: groups{'K': 32, 'N': 1}, Shared: "N* K* N32", Record: 1024, Align: 4},
	"nf4, groups of 64":         {Format: element.NF4, Layout: "N* K* K2 N4", Scales: element.F32, Group: groups{'K': 64, 'N': 1}},
	"records across tiles":      {Format: element.I8, Layout: "K* N8", Scales: element.F32, Group: groups{'K': 3, 'N': 1}, Shared: "K* N8", Record: 24},
	"records that cut rows":     {Format: element.I8, Layout: "K* N8", Scales: element.F32, Group: groups{'K': 3, 'N': 4}, Shared: "K* N2", Record: 12, Align: 64},
}

// replace lays an argument as a form does.
func replace(tb testing.TB, c *kernel.Contract, name string, f planetest.Form) {
	tb.Helper()
	a := c.Argument(name)
	var axes []layout.Axis
	for _, axis := range a.Layout.Axes {
		axes = append(axes, layout.Axis{Name: axis.Name, Extent: axis.Extent})
	}
	s, err := f.Storage(axes)
	if err != nil {
		tb.Fatalf("%+v: %v", f, err)
	}
	*a = kernel.Stored(name, a.Index, kernel.Weight, s)
}

// Every encoding gives the bits of the triple loop over what FORMAT.md's formulas decode.
func TestGEMMOfEncodings(t *testing.T) {
	t.Parallel()
	for name, form := range forms {
		for i, size := range [][3]uint64{{1, 1, 1}, {3, 5, 7}, {37, 300, 50}, {70, 66, 129}, {5, 24, 8}} {
			t.Run(fmt.Sprintf("%s/%v", name, size), func(t *testing.T) {
				t.Parallel()
				if size[2]%8 != 0 && strings.HasPrefix(name, "records") {
					size = [3]uint64{size[0], (size[1] + 5) / 6 * 6, 8}
				}
				c := contract(t, kernel.GEMM, shape("MKN", size[0], size[1], size[2]), "a f32 M* K*", "b f32 K* N*", "c f32 M* N*")
				replace(t, c, "b", form)
				f := newFixture(t, Options{Workers: 1 + i%2}, c)
				want := tripleLoop(f.inputs["a"], f.inputs["b"], nil, int(size[0]), int(size[1]), int(size[2]))
				sameBits(t, f.run("c"), want)
			})
		}
	}
}

// Every input may have an encoding of its own, and axes in any order.
func TestGEMMOfEncodedInputs(t *testing.T) {
	t.Parallel()
	c := contract(t, kernel.GEMM, shape("MKN", 21, 40, 50), "a f32 M* K*", "b f32 K* N*", "c bf16 M* N*", "bias f32 N*")
	c.Arguments[1].Layout = resolved(t, "N* K*", shape("NK", 50, 40))
	replace(t, c, "a", planetest.Form{Format: element.BFP16, Layout: "M* K* M8 K8"})
	replace(t, c, "b", planetest.Form{Format: element.I4, Layout: "N* K* N4 K2", Scales: element.F16, Group: groups{'N': 3, 'K': 7}})
	replace(t, c, "bias", planetest.Form{Format: element.U8, Layout: "N*", Scales: element.F32, Zeros: true, Group: groups{'N': 16}})
	f := newFixture(t, Options{}, c)
	b := make([]float32, 40*50)
	for i, x := range f.inputs["b"] { // [N,K]
		b[i%40*50+i/40] = x
	}
	want := tripleLoop(f.inputs["a"], b, f.inputs["bias"], 21, 40, 50)
	sameBits(t, f.run("c"), rounded(t, want, element.BF16))
}

func TestConvOfEncodings(t *testing.T) {
	t.Parallel()
	const p, c, x, s, n = 41, 20, 3, 2, 24
	for name, test := range map[string]struct {
		b    string
		form planetest.Form
	}{
		"merged, bfp16 along K":   {"b f32 K* N*", planetest.Form{Format: element.BFP16, Layout: "N* K* N8 K8"}},
		"merged, i8":              {"b f32 K* N*", planetest.Form{Format: element.I8, Layout: "K* N*", Scales: element.F32, Group: groups{'N': 1}}},
		"merged, u4":              {"b f32 K* N*", planetest.Form{Format: element.U4, Layout: "N* K* N4 K2", Scales: element.BF16, Minimums: element.BF16, Group: groups{'K': 15, 'N': 1}}},
		"three axes, bfp16 on C":  {"b f32 N* C* X*", planetest.Form{Format: element.BFP16, Layout: "X* N* C* C8"}},
		"three axes, bfp16 on N":  {"b f32 N* C* X*", planetest.Form{Format: element.BFP16, Layout: "C* X* N*"}},
		"three axes, bfp16 on X":  {"b f32 N* C* X*", planetest.Form{Format: element.BFP16, Layout: "N* C* X* X8"}},
		"three axes, i4 in taps":  {"b f32 N* C* X*", planetest.Form{Format: element.I4, Layout: "X* N* C* C4", Scales: element.F32, Group: groups{'N': 1, 'X': 2}}},
		"three axes, i8, records": {"b f32 N* C* X*", planetest.Form{Format: element.I8, Layout: "X* C* N* N8 C4", Scales: element.F32, Zeros: true, Group: groups{'N': 1, 'C': 4, 'X': 1}, Shared: "X* C* N*", Record: 32, Align: 64}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contract := contract(t, kernel.Conv, shape("PCXSQNK", p, c, x, s, 21, n, c*x), "a f32 P* C*", test.b, "c f32 Q* N*")
			replace(t, contract, "b", test.form)
			f := newFixture(t, Options{}, contract)
			sameBits(t, f.run("c"), convLoop(f.inputs["a"], weightNCX(f, c, x, n), nil, p, c, x, s, n))
		})
	}
}

// gamma, beta and z in any encoding give the bits of the same values in f32.
func TestRowsOfEncodings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		op        kernel.Operation
		arguments []string
	}{
		{kernel.LayerNorm, []string{"x f32 M* N*", "y f32 M* N*", "eps", "gamma f32 N*", "beta f32 N*"}},
		{kernel.Add, []string{"x f32 M* N*", "y f32 M* N*", "z f32 M* N*"}},
		{kernel.Scale, []string{"x f32 M* N*", "y f32 M* N*", "scale"}},
	} {
		c := contract(t, test.op, shape("MN", 50, 1100), test.arguments...)
		for i, a := range c.Arguments {
			switch a.Name {
			case "gamma":
				replace(t, c, a.Name, planetest.Form{Format: element.BFP16, Layout: "N* N8"})
			case "beta":
				replace(t, c, a.Name, planetest.Form{Format: element.I4, Layout: "N* N2", Scales: element.F32, Group: groups{'N': 32}})
			case "z":
				replace(t, c, a.Name, planetest.Form{Format: element.I8, Layout: "M* N* M4", Scales: element.F16, Zeros: true, Group: groups{'M': 3, 'N': 50}})
			case "x":
				replace(t, c, a.Name, planetest.Form{Format: element.BFP16, Layout: "N* M* M8"})
				c.Arguments[i].Role = kernel.Activation
			}
		}
		f := newFixture(t, Options{}, c)
		p := contract(t, test.op, shape("MN", 50, 1100), test.arguments...)
		g := newFixture(t, Options{}, p)
		for name, values := range f.inputs {
			check(t, element.Encode(must(g.args[name].Buffer.Host()), values, element.F32))
		}
		sameBits(t, f.run("y"), g.run("y"))
	}
}

// What a contract may not say of planes, and why.
func TestRefusedEncodings(t *testing.T) {
	t.Parallel()
	i8 := planetest.Form{Format: element.I8, Layout: "K* N*", Scales: element.F32, Group: groups{'N': 1}}
	for name, test := range map[string]struct {
		why  string
		edit func(c *kernel.Contract)
	}{
		"bfp16 output": {`argument "c" in bfp16, which this device reads but does not write; known for outputs are f32, f16 and bf16`, func(c *kernel.Contract) {
			replace(t, c, "c", planetest.Form{Format: element.BFP16, Layout: "M* N*"})
			c.Argument("c").Role = kernel.Output
		}},
		"codes as an output": {`argument "c" in i8, which this device reads but does not write`, func(c *kernel.Contract) {
			replace(t, c, "c", planetest.Form{Format: element.I8, Layout: "M* N*", Scales: element.F32})
			c.Argument("c").Role = kernel.Output
		}},
		"codes without scales":  {`bytes for 1920 elements of i8`, func(c *kernel.Contract) { c.Argument("b").Encoding, c.Argument("b").Planes = plane.Plain, nil }},
		"scales alone":          {`encoding 1 has `, func(c *kernel.Contract) { c.Argument("b").Planes = c.Argument("b").Planes[:1] }},
		"encoding of later":     {`argument "b" in encoding 2; known are 0 and 1`, func(c *kernel.Contract) { c.Argument("b").Encoding = 2 }},
		"format of later":       {`argument "b" in format(99)`, func(c *kernel.Contract) { c.Argument("b").Format, c.Argument("b").Planes[0].Format = 99, 99 }},
		"another first plane":   {`i8 in K40 N48, but its first plane is i8 in N48 K40`, func(c *kernel.Contract) { c.Argument("b").Planes[0].Layout = resolved(t, "N* K*", shape("KN", 40, 48)) }},
		"planes that overlap":   {`where planes before end at`, func(c *kernel.Contract) { c.Argument("b").Planes[1].Offset = 8 }},
		"bytes":                 {`bytes at`, func(c *kernel.Contract) { c.Argument("b").Bytes-- }},
		"an extent of K":        {`argument "b" has 39 on axis K, others 40`, func(c *kernel.Contract) { shorten(c.Argument("b")) }},
		"a record of no length": {`in records`, func(c *kernel.Contract) { c.Argument("b").Planes[1].RecordElements = 8 }},
	} {
		c := contract(t, kernel.GEMM, shape("MKN", 16, 40, 48), "a f32 M* K*", "b f32 K* N*", "c f32 M* N*")
		replace(t, c, "b", i8)
		test.edit(c)
		refused(t, name, c)
		d := New(Options{})
		if _, err := d.Open(c); err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: error %v, want %q", name, err, test.why)
		}
		check(t, d.Close())
	}
}

// shorten takes an index of K off an argument [K,N].
func shorten(a *kernel.Argument) {
	s := a.Storage()
	axes := slices.Clone(s.Axes)
	axes[0].Extent--
	*a = kernel.Stored(a.Name, a.Index, a.Role, s.On(axes))
}

// Random layouts, blocks, records and orders of halves.
func TestRandomEncodings(t *testing.T) {
	t.Parallel()
	made, scaled := 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 9))
		m, k, n := 1+r.Uint64N(20), 1+r.Uint64N(300), 1+r.Uint64N(70)
		axes := planetest.Axes("KN", k, n)
		if r.IntN(2) == 0 {
			axes = planetest.Axes("NK", n, k)
		}
		l := planetest.RandomLayout(r, axes)
		form := planetest.RandomForm(r, l)
		s, err := form.Over(l)
		if err != nil {
			continue
		}
		made++
		if s.Encoding == plane.Scaled {
			scaled++
		}
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			c := contract(t, kernel.GEMM, shape("MKN", m, k, n), "a f32 M* K*", "b f32 K* N*", "c f32 M* N*")
			c.Arguments[1] = kernel.Stored("b", 1, kernel.Weight, s)
			f := newFixture(t, Options{Workers: 1}, c)
			b := f.inputs["b"]
			if axes[0].Name == 'N' {
				b = make([]float32, k*n)
				for i, x := range f.inputs["b"] {
					b[uint64(i)%k*n+uint64(i)/k] = x
				}
			}
			sameBits(t, f.run("c"), tripleLoop(f.inputs["a"], b, nil, int(m), int(k), int(n)))
			if t.Failed() {
				t.Log(s.String())
			}
		})
	}
	if made < 150 || scaled < 60 {
		t.Errorf("%d forms are sound, %d scaled: too few", made, scaled)
	}
}
