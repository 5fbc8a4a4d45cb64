package whisper

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// network is an encoder's sizes and parameters, by canonical name, in PyTorch's order.
type network struct {
	Sizes
	names      []string // in canonical order
	parameters map[string]*parameter
}

type parameter struct {
	axes   string
	shape  []uint64
	values []float64
}

// newNetwork makes a network of these sizes with random weights of the magnitude that training gives them.
func newNetwork(s Sizes, seed uint64) *network {
	n := &network{Sizes: s, parameters: map[string]*parameter{}}
	r := rand.New(rand.NewPCG(seed, 1))
	add := func(name, axes string, mean, deviation float64, shape ...uint64) {
		p := &parameter{axes, shape, nil}
		total := uint64(1)
		for _, x := range shape {
			total *= x
		}
		for range total {
			p.values = append(p.values, float64(float32(mean+deviation*r.NormFloat64())))
		}
		n.names = append(n.names, "encoder."+name)
		n.parameters["encoder."+name] = p
	}
	linear := func(name string, out, in uint64, bias bool) {
		add(name+".weight", "NK", 0, 1/math.Sqrt(float64(in)), out, in)
		if bias {
			add(name+".bias", "N", 0, 0.1, out)
		}
	}
	norm := func(name string) {
		add(name+".weight", "N", 1, 0.1, s.DModel)
		add(name+".bias", "N", 0, 0.1, s.DModel)
	}
	for i, c := range []uint64{s.Mels, s.DModel} {
		add(fmt.Sprintf("conv%d.weight", i+1), "NCX", 0, 1/math.Sqrt(float64(3*c)), s.DModel, c, 3)
		add(fmt.Sprintf("conv%d.bias", i+1), "N", 0, 0.1, s.DModel)
	}
	add("embed_positions.weight", "PN", 0, 0.5, s.Positions, s.DModel)
	for i := range s.Layers {
		layer := fmt.Sprintf("layers.%d.", i)
		linear(layer+"self_attn.q_proj", s.DModel, s.DModel, true)
		linear(layer+"self_attn.k_proj", s.DModel, s.DModel, false)
		linear(layer+"self_attn.v_proj", s.DModel, s.DModel, true)
		linear(layer+"self_attn.out_proj", s.DModel, s.DModel, true)
		norm(layer + "self_attn_layer_norm")
		linear(layer+"fc1", s.FFN, s.DModel, true)
		linear(layer+"fc2", s.DModel, s.FFN, true)
		norm(layer + "final_layer_norm")
	}
	norm("layer_norm")
	return n
}

// rounded is the network with all weights rounded to bfloat16, to nearest, ties to even.
func (n *network) rounded() *network {
	out := &network{n.Sizes, n.names, map[string]*parameter{}}
	for name, p := range n.parameters {
		q := &parameter{p.axes, p.shape, make([]float64, len(p.values))}
		for i, x := range p.values {
			// 8 significant bits: RoundToEven of the significand scaled to 128..256.
			fraction, exponent := math.Frexp(x)
			q.values[i] = math.Ldexp(math.RoundToEven(fraction*256), exponent-8)
		}
		out.parameters[name] = q
	}
	return out
}

// input makes a mel spectrogram.
func (n *network) input(seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 2))
	mel := make([]float32, n.Mels*2*n.Positions)
	for i := range mel {
		mel[i] = float32(r.NormFloat64())
	}
	return mel
}

// matrix is row-major.
type matrix struct {
	rows, cols int
	values     []float64
}

func newMatrix(rows, cols int) matrix { return matrix{rows, cols, make([]float64, rows*cols)} }

func (m matrix) row(i int) []float64 { return m.values[i*m.cols:][:m.cols] }

// encode is the encoder, in float64, as its definition has it.
func (n *network) encode(mel []float32) []float64 {
	x := newMatrix(int(2*n.Positions), int(n.Mels))
	for c := range x.cols {
		for i := range x.rows {
			x.row(i)[c] = float64(mel[c*x.rows+i])
		}
	}
	x = n.conv("encoder.conv1", x, 1)
	x = n.conv("encoder.conv2", x, 2)
	for i, p := range n.parameters["encoder.embed_positions.weight"].values {
		x.values[i] += p
	}
	for i := range n.Layers {
		layer := fmt.Sprintf("encoder.layers.%d.", i)
		y := n.attention(layer+"self_attn.", n.norm(layer+"self_attn_layer_norm", x))
		add(x, y)
		y = n.linear(layer+"fc1", n.norm(layer+"final_layer_norm", x))
		for i, v := range y.values {
			y.values[i] = v / 2 * (1 + math.Erf(v/math.Sqrt2))
		}
		add(x, n.linear(layer+"fc2", y))
	}
	return n.norm("encoder.layer_norm", x).values
}

func add(x, y matrix) {
	for i, v := range y.values {
		x.values[i] += v
	}
}

func (n *network) conv(name string, x matrix, stride int) matrix {
	w, bias := n.parameters[name+".weight"], n.parameters[name+".bias"]
	y := newMatrix(x.rows/stride, int(w.shape[0]))
	for q := range y.rows {
		for o := range y.cols {
			sum := bias.values[o]
			for c := range x.cols {
				for k := range 3 {
					if p := q*stride + k - 1; p >= 0 && p < x.rows {
						sum += x.row(p)[c] * w.values[(o*x.cols+c)*3+k]
					}
				}
			}
			y.row(q)[o] = sum / 2 * (1 + math.Erf(sum/math.Sqrt2))
		}
	}
	return y
}

func (n *network) norm(name string, x matrix) matrix {
	gamma, beta := n.parameters[name+".weight"].values, n.parameters[name+".bias"].values
	y := newMatrix(x.rows, x.cols)
	for i := range x.rows {
		mean, variance := 0.0, 0.0
		for _, v := range x.row(i) {
			mean += v / float64(x.cols)
		}
		for _, v := range x.row(i) {
			variance += (v - mean) * (v - mean) / float64(x.cols)
		}
		for j, v := range x.row(i) {
			y.row(i)[j] = (v-mean)/math.Sqrt(variance+n.Eps)*gamma[j] + beta[j]
		}
	}
	return y
}

func (n *network) linear(name string, x matrix) matrix {
	w := n.parameters[name+".weight"]
	y := newMatrix(x.rows, int(w.shape[0]))
	for i := range x.rows {
		for o := range y.cols {
			for k, v := range x.row(i) {
				y.row(i)[o] += v * w.values[o*x.cols+k]
			}
			if bias := n.parameters[name+".bias"]; bias != nil {
				y.row(i)[o] += bias.values[o]
			}
		}
	}
	return y
}

func (n *network) attention(name string, x matrix) matrix {
	q, k, v := n.linear(name+"q_proj", x), n.linear(name+"k_proj", x), n.linear(name+"v_proj", x)
	d := int(n.headDim())
	y := newMatrix(x.rows, x.cols)
	for h := range int(n.Heads) {
		for i := range x.rows {
			scores, sum := make([]float64, x.rows), 0.0
			for j := range scores {
				for e := range d {
					scores[j] += q.row(i)[h*d+e] * k.row(j)[h*d+e] / math.Sqrt(float64(d))
				}
				scores[j] = math.Exp(scores[j])
				sum += scores[j]
			}
			for j, s := range scores {
				for e := range d {
					y.row(i)[h*d+e] += s / sum * v.row(j)[h*d+e]
				}
			}
		}
	}
	return n.linear(name+"out_proj", y)
}

// maxError is the largest absolute difference.
func maxError[A, B float32 | float64](t testing.TB, got []A, want []B) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	worst := 0.0
	for i, x := range got {
		d := math.Abs(float64(x) - float64(want[i]))
		if math.IsNaN(d) {
			t.Fatalf("value %d is %v, want %v", i, x, want[i])
		}
		worst = max(worst, d)
	}
	return worst
}
