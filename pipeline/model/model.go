// Package model gives the tensors of a source file their canonical names: the families of models npuw knows (one package
// each below this one), the parameters each is made of, with named axes, and its built-in recipes.
package model

import "npuw/pipeline/source"

// Parameter is one trained tensor under its canonical name (Hugging Face state-dict name without the leading "model.").
type Parameter struct {
	Name string // "encoder.layers.0.self_attn.q_proj.weight"
	// Axes has one letter an axis, in the order of PyTorch's state dict: a linear weight is "NK" (N out, K in), a conv1d
	// weight "NCX" (N out, C in, X the kernel's width), a vector "N", positions "PN" (P position, N model dimension).
	Axes  string
	Shape []uint64 // in the order of Axes
	// Tensor holds the values. Axis i of the parameter is axis Perm[i] of the tensor: a MatMul weight stored [K,N] has
	// Perm [1,0].
	Tensor source.Tensor
	Perm   []int
	Origin string // where the name comes from, for listings: a node path and operator, or an initializer name
}

// Attribute is one size or constant of a model ("layers", "d_model", "heads", "ffn", "mels", "positions", "eps").
// Exactly one of Int and Real counts, told by IsReal.
type Attribute struct {
	Name   string
	Int    int64
	Real   float64
	IsReal bool
}

// Model is a recognised model: its parameters in canonical order.
type Model struct {
	Family     string // "whisper-encoder"
	Attributes []Attribute
	Parameters []Parameter
}
