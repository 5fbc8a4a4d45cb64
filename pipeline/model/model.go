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
	Part   string // of the file's tensor, where that holds other parameters too: "N 0:64 of 192"
	// Ways are those by which the name was found; all of them gave this name.
	Ways []Way
	Note string // a name in the file that is another one and does not count, and why; "" for none
	// Copies are other tensors of an ONNX file that are this parameter too, equal in every value: in the other branch of a decoder that
	// was merged of two, or as the projection to logits.
	Copies []Copy
}

// Copy is another tensor that holds a parameter, and the order of its axes, as Parameter has them.
type Copy struct {
	Tensor source.Tensor
	Perm   []int
}

// Way is a way in which a parameter gets its name.
type Way string

// The ways there are.
const (
	ByPath      Way = "path"      // the path of modules by which the node is called that has the parameter as an operand
	ByValue     Way = "value"     // the name of the tensor, which is one of a state dict
	ByStructure Way = "structure" // what the operand is to the graph
	ByState     Way = "state"     // the name of the tensor, in a file that holds a state dict and no graph
	ByTensor    Way = "tensor"    // the name of the tensor, whatever it is: in a model of no known family
)

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
	Notes      []string // what a person may want to know who names are for
	// Guessed is set where nothing told an attribute: it is what the published model of the same size has, or left out. A note says which.
	Guessed bool
}
