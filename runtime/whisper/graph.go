package whisper

import (
	"context"
	"fmt"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
)

// build makes the steps of the encoder:
//
//	mel [2P,mels] -> conv1 -> GELU -> conv2 (stride 2) -> GELU -> + positions -> x [P,D]
//	each layer:   x + out_proj(softmax(q k') v),  q, k, v of LayerNorm(x), a head at a time
//	              x + fc2(GELU(fc1(LayerNorm(x))))
//	output [P,D] = LayerNorm(x)
func (b *builder) build(ctx context.Context) (mel, output tensor, err error) {
	s := &b.sizes
	if mel, err = b.tensor("mel", b.format, 2*s.Positions, s.Mels, 1); err != nil {
		return mel, output, err
	}
	x, err := b.stem(mel)
	if err != nil {
		return mel, output, err
	}
	for i := range s.Layers {
		if err := ctx.Err(); err != nil {
			return mel, output, err
		}
		if x, err = b.layer(fmt.Sprintf("encoder.layers.%d.", i), x); err != nil {
			return mel, output, err
		}
	}
	if output, err = b.tensor("output", element.F32, s.Positions, s.DModel, s.DModel); err != nil {
		return mel, output, err
	}
	return mel, output, b.layerNorm("encoder.layer_norm", x, output, false)
}

// residual gives one of the two buffers that the residual stream has in turns.
func (b *builder) residual(turn string) (tensor, error) {
	return b.tensor("residual "+turn, element.F32, b.sizes.Positions, b.sizes.DModel, b.sizes.DModel)
}

// stem adds the convolutions and the positions.
func (b *builder) stem(mel tensor) (tensor, error) {
	s := &b.sizes
	hidden, err := b.tensor("conv1", b.format, mel.rows, s.DModel, s.DModel)
	if err != nil {
		return hidden, err
	}
	if err := b.conv("encoder.conv1", mel, hidden, 1); err != nil {
		return hidden, err
	}
	branch, err := b.tensor("branch", element.F32, s.Positions, s.DModel, s.DModel)
	if err != nil {
		return hidden, err
	}
	if err := b.conv("encoder.conv2", hidden, branch, convStride); err != nil {
		return hidden, err
	}
	x, err := b.residual("a")
	if err != nil {
		return x, err
	}
	positions, err := b.positions(s)
	if err != nil {
		return x, err
	}
	return x, b.elementwise("encoder.embed_positions", kernel.Add, branch, x, positions)
}

// conv adds y = GELU(conv(x)).
func (b *builder) conv(name string, x, y tensor, stride uint64) error {
	w, err := b.convWeight(name+".weight", y.cols, x.cols)
	if err != nil {
		return err
	}
	bias, err := b.whole("bias", name+".bias", y.cols)
	if err != nil {
		return err
	}
	shape := []layout.Axis{
		size('P', x.rows), size('C', x.cols), size('X', convWidth), size('S', stride), size('Q', y.rows), size('N', y.cols),
	}
	return b.add(name, kernel.Conv, kernel.GELUEpilogue, shape,
		x.argument("a", kernel.Activation, 'P', 'C'), w, bias, y.argument("c", kernel.Output, 'Q', 'N'))
}

// layerNorm adds y = LayerNorm(x); without gamma and beta where these are folded into what reads y.
func (b *builder) layerNorm(name string, x, y tensor, folded bool) error {
	eps := scalar("eps", b.sizes.Eps)
	if folded {
		return b.elementwise(name, kernel.LayerNorm, x, y, eps)
	}
	gamma, err := b.whole("gamma", name+".weight", x.cols)
	if err != nil {
		return err
	}
	beta, err := b.whole("beta", name+".bias", x.cols)
	if err != nil {
		return err
	}
	return b.elementwise(name, kernel.LayerNorm, x, y, gamma, beta, eps)
}

// input gives the tensor, d columns wide, that the GEMMs read as a: with columns of ones beyond where their operands hold biases.
// Panels are panel columns wide, of which d is a multiple. 0 is row-major, unless there are columns beyond: then those begin a panel of
// their own, so that what is written is a view.
func (b *builder) input(use string, d, panel uint64, linears ...*linear) (whole, written tensor, err error) {
	cols := d
	var ones []uint64
	for _, x := range linears {
		cols = max(cols, x.k)
		ones = append(ones, x.ones...)
	}
	switch {
	case panel == 0 && cols == d:
		panel = d
	case panel == 0:
		panel = powerOfTwo(d)
	}
	if whole, err = b.tensor(use, b.format, b.sizes.Positions, cols, panel, ones...); err != nil {
		return whole, written, err
	}
	written, err = whole.columns(0, d)
	return whole, written, err
}

// powerOfTwo is the largest power of two, at most 64, that divides n.
func powerOfTwo(n uint64) uint64 { return min(n&-n, 64) }

// gemm adds c = epilogue(a * operand + bias), the operand's rows being the first columns of a.
func (b *builder) gemm(x *linear, a, c tensor, epilogue kernel.Epilogue) error {
	a, err := a.columns(0, x.k)
	if err != nil {
		return err
	}
	args := []argument{a.argument("a", kernel.Activation, 'M', 'K'), x.b}
	if len(x.vector) > 0 {
		bias, err := b.vector("bias", x.n, x.vector...)
		if err != nil {
			return err
		}
		args = append(args, bias)
	}
	args = append(args, c.argument("c", kernel.Output, 'M', 'N'))
	return b.add(x.name, kernel.GEMM, epilogue, []layout.Axis{size('M', c.rows), size('K', x.k), size('N', x.n)}, args...)
}

// layer adds one layer, from x to what it returns: the same buffer, as the residual stream goes there and back.
func (b *builder) layer(name string, x tensor) (tensor, error) {
	s := &b.sizes
	branch, err := b.attend(name, x)
	if err != nil {
		return x, err
	}
	y, err := b.residual("b")
	if err != nil {
		return x, err
	}
	if err := b.elementwise(name+"self_attn.add", kernel.Add, x, y, branch.argument("z", kernel.Activation, 'M', 'N')); err != nil {
		return x, err
	}
	norm, wide := name+"final_layer_norm", member{name: name + "fc1", n: s.FFN, bias: true}
	folded, err := b.foldedInto(norm, wide)
	if err != nil {
		return x, err
	}
	fc1, err := b.only(s.DModel, norm, folded, wide)
	if err != nil {
		return x, err
	}
	fc2, err := b.only(s.FFN, "", false, member{name: name + "fc2", n: s.DModel, bias: true})
	if err != nil {
		return x, err
	}
	normed, to, err := b.input("normed", s.DModel, 0, fc1)
	if err != nil {
		return x, err
	}
	hidden, hiddenTo, err := b.input("hidden", s.FFN, 0, fc2)
	if err != nil {
		return x, err
	}
	if err := b.layerNorm(norm, y, to, folded); err != nil {
		return x, err
	}
	if err := b.gemm(fc1, normed, hiddenTo, kernel.GELUEpilogue); err != nil {
		return x, err
	}
	if err := b.gemm(fc2, hidden, branch, kernel.NoEpilogue); err != nil {
		return x, err
	}
	return x, b.elementwise(name+"add", kernel.Add, y, x, branch.argument("z", kernel.Activation, 'M', 'N'))
}

// attend adds the self-attention of a layer and gives its result, to be added to the residual stream.
func (b *builder) attend(name string, x tensor) (tensor, error) {
	s := &b.sizes
	attention, err := b.projections(name, s)
	if err != nil {
		return x, err
	}
	var all []*linear
	for i := range attention.linears {
		all = append(all, &attention.linears[i])
	}
	normed, to, err := b.input("normed", s.DModel, 0, all...)
	if err != nil {
		return x, err
	}
	if err := b.layerNorm(name+"self_attn_layer_norm", x, to, attention.folded); err != nil {
		return x, err
	}
	projected := make(map[string]tensor, len(all))
	for i, lin := range all {
		c, err := b.tensor(fmt.Sprint("projected ", i), b.format, s.Positions, lin.n, s.headDim())
		if err != nil {
			return x, err
		}
		if err := b.gemm(lin, normed, c, kernel.NoEpilogue); err != nil {
			return x, err
		}
		for _, m := range lin.members {
			if projected[m.name], err = c.columns(m.col, m.n); err != nil {
				return x, err
			}
		}
	}
	q, err := b.scaled(name+"self_attn.q_scale", projected[name+"self_attn.q_proj"], attention.scale)
	if err != nil {
		return x, err
	}
	out, err := b.only(s.DModel, "", false, member{name: name + "self_attn.out_proj", n: s.DModel, bias: true})
	if err != nil {
		return x, err
	}
	mixed, mixedTo, err := b.input("mixed", s.DModel, s.headDim(), out)
	if err != nil {
		return x, err
	}
	for h := range s.Heads {
		if err := b.head(fmt.Sprintf("%sself_attn.head.%d", name, h), h, q, projected[name+"self_attn.k_proj"], projected[name+"self_attn.v_proj"], mixedTo); err != nil {
			return x, err
		}
	}
	branch, err := b.tensor("branch", element.F32, s.Positions, s.DModel, s.DModel)
	if err != nil {
		return x, err
	}
	return branch, b.gemm(out, mixed, branch, kernel.NoEpilogue)
}

// scaled gives q times scale, or q itself where the weights are scaled already.
func (b *builder) scaled(name string, q tensor, scale float64) (tensor, error) {
	if one(scale) {
		return q, nil
	}
	to, err := b.tensor("scaled", q.format, q.rows, q.cols, q.panel)
	if err != nil {
		return q, err
	}
	return to, b.elementwise(name, kernel.Scale, q, to, scalar("scale", scale))
}

// head adds softmax(q k') v of one head, into its columns of mixed.
func (b *builder) head(name string, h uint64, q, k, v, mixed tensor) error {
	p, d := b.sizes.Positions, b.sizes.headDim()
	scores, err := b.tensor("scores", element.F32, p, p, p)
	if err != nil {
		return err
	}
	weights, err := b.tensor("probabilities", b.format, p, p, p)
	if err != nil {
		return err
	}
	for _, t := range []*tensor{&q, &k, &v, &mixed} {
		if *t, err = t.columns(h*d, d); err != nil {
			return err
		}
	}
	if err := b.add(name+".scores", kernel.GEMM, kernel.NoEpilogue, []layout.Axis{size('M', p), size('K', d), size('N', p)},
		q.argument("a", kernel.Activation, 'M', 'K'), k.argument("b", kernel.Activation, 'N', 'K'), scores.argument("c", kernel.Output, 'M', 'N')); err != nil {
		return err
	}
	if err := b.elementwise(name+".softmax", kernel.Softmax, scores, weights); err != nil {
		return err
	}
	return b.add(name+".mixed", kernel.GEMM, kernel.NoEpilogue, []layout.Axis{size('M', p), size('K', p), size('N', d)},
		weights.argument("a", kernel.Activation, 'M', 'K'), v.argument("b", kernel.Activation, 'K', 'N'), mixed.argument("c", kernel.Output, 'M', 'N'))
}
