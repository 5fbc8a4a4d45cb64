package whisper

import "fmt"

// checkParameters checks that every parameter of an encoder of these sizes is there and lies in some operand, or those of a LayerNorm
// are folded into one: before anything is allocated for sizes that only attributes have stated.
func (l *locator) checkParameters(s *Sizes) error {
	c := parameterChecker{locator: l}
	d := s.DModel
	c.conv("conv1", d, s.Mels)
	c.conv("conv2", d, d)
	c.check("embed_positions.weight", "PN", s.Positions, d)
	for i := range s.Layers {
		if c.err != nil {
			return c.err
		}
		layer := fmt.Sprintf("layers.%d.", i)
		c.norm(layer+"self_attn_layer_norm", d)
		c.linear(layer+"self_attn.q_proj", d, d)
		c.check(layer+"self_attn.k_proj.weight", "NK", d, d)
		c.linear(layer+"self_attn.v_proj", d, d)
		c.linear(layer+"self_attn.out_proj", d, d)
		c.norm(layer+"final_layer_norm", d)
		c.linear(layer+"fc1", s.FFN, d)
		c.linear(layer+"fc2", d, s.FFN)
	}
	c.norm("layer_norm", d)
	return c.err
}

// parameterChecker keeps the first error.
type parameterChecker struct {
	*locator
	err error
}

func (c *parameterChecker) check(name, axes string, shape ...uint64) {
	if c.err == nil {
		w := wanted{name: "encoder." + name, axes: axes, shape: shape, either: true}
		_, c.err = find(c.locator, w, func(at place) (place, error) { return at, nil })
	}
}

// vector is check for one that may be folded into others.
func (c *parameterChecker) vector(name string, n uint64) {
	if c.err != nil {
		return
	}
	var i int
	if i, c.err = c.parameter(vectorOf("encoder."+name, n)); c.err == nil && c.folds.of[i] == nil {
		c.check(name, "N", n)
	}
}

func (c *parameterChecker) linear(name string, n, k uint64) {
	c.check(name+".weight", "NK", n, k)
	c.check(name+".bias", "N", n)
}

func (c *parameterChecker) conv(name string, n, channels uint64) {
	c.check(name+".weight", "NCX", n, channels, convWidth)
	c.check(name+".bias", "N", n)
}

func (c *parameterChecker) norm(name string, n uint64) {
	c.vector(name+".weight", n)
	c.vector(name+".bias", n)
}
