package cpu

import (
	"fmt"
	"testing"

	"npuw/artifact/kernel"
)

// convLoop is CONV as its contract defines it: a is [P,C], b [N,C,X], the result [Q,N].
func convLoop(a, b, bias []float32, p, c, x, s, n int) []float32 {
	q := (p-1)/s + 1
	out := make([]float32, 0, q*n)
	for i := range q {
		for j := range n {
			sum := float32(0)
			for channel := range c {
				for tap := range x {
					value := float32(0)
					if at := i*s + tap - x/2; at >= 0 && at < p {
						value = a[at*c+channel]
					}
					product := float32(value * b[(j*c+channel)*x+tap])
					sum = float32(sum + product)
				}
			}
			if bias != nil {
				sum += bias[j]
			}
			out = append(out, sum)
		}
	}
	return out
}

func TestConv(t *testing.T) {
	t.Parallel()
	for _, size := range []struct{ p, c, x, s, n uint64 }{
		{1, 1, 1, 1, 1}, {1, 3, 5, 2, 2}, {40, 16, 3, 1, 24}, {41, 110, 3, 2, 70}, {300, 8, 3, 2, 5}, {9, 4, 7, 3, 4}, {3, 2, 255, 1, 3},
	} {
		for i, arguments := range [][]string{
			{"a f32 P* C*", "b f32 N* C* X*", "c f32 Q* N*", "bias f32 N*"},
			{"a f32 C* P*", "b bf16 K* N*", "c bf16 Q* N* N8", "bias bf16 N*"},
			{"a bf16 P* C* C8", "b bf16 N* K* K8 N8 K8 N4", "c f32 N* Q* N64"},
			{"a f16 C* P* P4", "b f16 X* C* N*", "c f32 N* Q*"},
		} {
			t.Run(fmt.Sprintf("%v/%d", size, i), func(t *testing.T) {
				t.Parallel()
				q := (size.p-1)/size.s + 1
				sizes := shape("PCXSQNK", size.p, size.c, size.x, size.s, q, size.n, size.c*size.x)
				c := contract(t, kernel.Conv, sizes, arguments...)
				f := newFixture(t, Options{Workers: 1 + i%2}, c)
				b := weightNCX(f, int(size.c), int(size.x), int(size.n))
				want := convLoop(f.inputs["a"], b, f.inputs["bias"], int(size.p), int(size.c), int(size.x), int(size.s), int(size.n))
				// a is in the order of the shape's axes, P then C.
				sameBits(t, f.run("c"), rounded(t, want, c.Argument("c").Format))
			})
		}
	}
}

// weightNCX gives the weight of a convolution in the order N, C, X, whichever form it has.
func weightNCX(f *fixture, c, x, n int) []float32 {
	b := f.inputs["b"]
	axes := f.contract.Argument("b").Layout.Axes
	out := make([]float32, n*c*x)
	for j := range n {
		for channel := range c {
			for tap := range x {
				at := (channel*x+tap)*n + j // C, X, N
				if len(axes) == 2 {
					at = j*c*x + channel*x + tap // N, K
				}
				out[(j*c+channel)*x+tap] = b[at]
			}
		}
	}
	return out
}

func TestConvRefusals(t *testing.T) {
	t.Parallel()
	arguments := []string{"a f32 P* C*", "b f32 N* C* X*", "c f32 Q* N*"}
	for name, sizes := range map[string]struct{ p, c, x, s, q, n uint64 }{
		"even width":    {8, 2, 2, 1, 8, 3},
		"wide":          {8, 2, 257, 1, 8, 3},
		"no stride":     {8, 2, 3, 0, 8, 3},
		"long stride":   {8, 2, 3, 256, 1, 3},
		"wrong outputs": {8, 2, 3, 2, 5, 3},
		"no positions":  {0, 2, 3, 1, 1, 3},
	} {
		c := contract(t, kernel.Conv, shape("PCXSQN", sizes.p, sizes.c, sizes.x, sizes.s, sizes.q, sizes.n), arguments...)
		refused(t, name, c)
	}
	c := contract(t, kernel.Conv, shape("PCXSQNK", 8, 2, 3, 1, 8, 4, 5), "a f32 P* C*", "b f32 K* N*", "c f32 Q* N*")
	refused(t, "K is not C times X", c)
}
