package onnx

// What a file may ask for. Each is far above what exporters write and far below what would hurt.
const (
	windowSize    = 16 << 10  // bytes read at a time; the walker holds one window
	maxMemory     = 128 << 20 // bytes of names, nodes, attributes and shapes kept of a file
	maxInline     = 64 << 20  // bytes of tensor data that had to be decoded, a file
	maxNodes      = 1 << 16   // nodes, nested graphs and functions included
	maxConstants  = 1 << 16   // initializers and Constant nodes, nested ones included
	maxName       = 64 << 10  // bytes of a name or of a string
	maxRank       = 32        // axes of a tensor
	maxAttributes = 256       // attributes of a node
	maxOperands   = 1 << 16   // inputs of a node; outputs of a node
	maxDepth      = 32        // graphs within graphs
	maxFiles      = 4096      // external data files
	maxInts       = 4096      // elements of an integer constant whose values are kept
	maxShapeInts  = 64        // of which a shape is put together
	maxChain      = 64        // nodes between a Gather and the list of its indices
	maxZeros      = 1 << 16   // zero points that are looked at to find that all of them are 0, of one tensor
	maxExamined   = 1 << 26   // zero points and groups that are looked at, of all tensors
)
