// Package openvino reads the catalogue of a model in OpenVINO's intermediate representation, versions 10 and 11: a graph in XML and,
// beside it under the same name, a .bin file with the data of its constants.
//
//	<layer id name type="Const"> <data element_type shape offset size/> ── bytes of the .bin: located
//	<layer type="Convert"> <data destination_type/>                     ┐
//	<layer type="Subtract">, "Multiply"                                 │ computed as they are read, each step rounded to its type
//	<layer type="Reshape">, "Transpose"                                 ┘
//	<layer type="MatMul"> <data transpose_b/>, "Convolution", "Add" ...... what has the values as an operand
//	<edge from-layer from-port to-layer to-port/>
//
// A tensor is what an operator of the network takes as a constant operand, of more than one value. It has the name of the constant where
// that is one of a state dict, and else that of the module by whose path the operator is called: PyTorch's frontend calls it
// "__module.layers.0.fc1/aten::linear/MatMul" and the constants of biases "Constant_1731"; the ONNX frontend "/layers.0/fc1/MatMul".
// Names, and how weights are compressed, are those of models that optimum-intel and NNCF have saved.
package openvino

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"npuw/pipeline/source"
)

// What a file may ask for. Each is far above what OpenVINO writes and far below what would hurt.
const (
	maxXML     = 64 << 20 // bytes of the XML file, and so of all names
	maxToken   = 1 << 20  // bytes of a tag with its attributes, and of a text between tags
	maxDepth   = 64       // elements in one another
	maxLayers  = 1 << 16
	maxEdges   = 1 << 17
	maxPorts   = 1 << 11 // inputs of a layer
	maxName    = 1024    // bytes of a layer's name
	maxRank    = 8       // axes of a constant
	maxSteps   = 16      // operators between a constant's bytes and what takes the values
	chunk      = 4096
	binSuffix  = ".bin"
	netElement = "<net"
)

// What to do about most faults.
const (
	exportAgain = "download or export the model again"
	exportPlain = "export the model without optimizations, or from PyTorch to safetensors"
)

// Model is an open model. Close it when its tensors have been read.
type Model struct {
	source.Catalogue
	// Transposed has the names of the weights of MatMuls that are [K,N], the transpose of PyTorch's [N,K].
	Transposed map[string]bool
}

// Recognise reports whether a file that begins with prefix may be the XML of a model.
func Recognise(prefix []byte) bool {
	text := bytes.TrimLeft(bytes.TrimPrefix(prefix, []byte("\xef\xbb\xbf")), " \t\r\n")
	return (bytes.HasPrefix(text, []byte("<?xml")) || bytes.HasPrefix(text, []byte(netElement))) && bytes.Contains(text, []byte(netElement))
}

// Open reads the catalogue of the model whose XML file is at path, and opens its .bin file. Every error is a *source.Error.
func Open(path string) (*Model, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	m := &Model{Catalogue: source.Catalogue{Kind: "openvino", Path: path, Files: []*source.File{f}, Others: map[string]string{}}, Transposed: map[string]bool{}}
	if err := m.read(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Model) read() error {
	net, err := parse(m.Files[0])
	if err != nil {
		return err
	}
	bin, err := openBin(m.Path)
	if err != nil {
		return err
	}
	m.Files = append(m.Files, bin)
	g := &graph{net: net, m: m, bin: bin, known: map[*layer]*constant{}}
	return g.tensors()
}

// openBin opens the .bin file beside the XML file at path.
func openBin(path string) (*source.File, error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &source.Error{File: path, Offset: -1, Thing: "the model's folder", Problem: "cannot be opened: " + err.Error(), Next: "check its permissions", Err: err}
	}
	defer root.Close()
	return source.OpenBeside(root, strings.TrimSuffix(name, filepath.Ext(name))+binSuffix)
}
