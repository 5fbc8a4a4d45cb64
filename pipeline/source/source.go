// Package source is the catalogue of a model file: which constant tensors it holds, of which element type and shape, and
// where their bytes lie. Reading a catalogue touches no weight byte. Each kind of file has a package of its own below this
// one; each yields a Catalogue.
package source

import "npuw/artifact/element"

// Tensor is one constant of a source file, row-major, little-endian.
type Tensor struct {
	Name  string // as the file has it; unique in the catalogue
	Type  element.Format
	Shape []uint64 // as the file has it, outermost first; empty for a scalar
	Data  Data
}

// Data says where the bytes of a tensor are. Inline, when not nil, holds them: a file may store values in a form that has
// to be decoded (protobuf varints). Otherwise they are Size bytes at Offset of Catalogue.Files[File].
type Data struct {
	File         int
	Offset, Size int64
	Inline       []byte
}
