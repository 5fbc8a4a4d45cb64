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
	// Stored tells a person how the file holds values that are computed as they are read ("4-bit codes, scales of 32"); "" where it
	// holds them as they are.
	Stored string
	Codes  *Codes // of which the values are made; nil where they are not, or not so that an operand could hold the same
}

// Data says where the bytes of a tensor are. Inline, when not nil, holds them: a file may store values in a form that has
// to be decoded (protobuf varints). Decoder, when not nil, computes them; File and Offset then tell where that begins to read.
// Otherwise they are Size bytes of Catalogue.Files[File], from Offset on: all of them one
// after another or, where Run is not 0, in pieces of Run bytes that begin Apart bytes from one another. A tensor that is a
// part of another one is read so.
//
//	Offset ─┬─ Run ─┬───────┬─ Run ─┬───────┬─ Run ─┐
//	        └──── Apart ────┴──── Apart ────┘
type Data struct {
	File         int
	Offset, Size int64
	Run, Apart   int64
	Inline       []byte
	Decoder      Decoder
}

// Part gives the pieces of d's bytes that begin first, first+apart, first+2*apart... bytes into them, each of run bytes and all
// of them whole: count pieces. d itself has no pieces.
func (d Data) Part(first, run, apart, count int64) Data {
	part := Data{File: d.File, Offset: d.Offset + first, Size: run * count}
	if count > 1 && run != apart {
		part.Run, part.Apart = run, apart
	}
	if d.Decoder != nil {
		return Data{File: d.File, Offset: d.Offset, Size: run * count, Decoder: pieces{d.Decoder, first, run, apart}}
	}
	if d.Inline == nil {
		return part
	}
	part.Offset, part.Run, part.Apart = d.Offset, 0, 0
	part.Inline = make([]byte, 0, part.Size)
	for i := range count {
		part.Inline = append(part.Inline, d.Inline[first+i*apart:][:run]...)
	}
	return part
}
