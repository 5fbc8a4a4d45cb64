// Package onnx reads the catalogue and the graph of an ONNX model: which constants it holds, where their bytes lie, and
// which node takes which of them as what. Protobuf's wire format is walked over pread; the bytes of weights are passed
// over, so a model of any size, past protobuf's 2 GiB too, costs microseconds a tensor and little memory.
//
//	ModelProto
//	  graph ── initializer ── raw_data ........ located: offset in the file
//	    │           │    └─── float_data ...... located if packed in one piece, else decoded (bounded)
//	    │           └──────── external_data ... located: file in the model's folder, offset, length
//	    └─ node ── attribute
//	         │        └────── t (Constant nodes) as an initializer
//	         └─ input, output: names of values
//
// Weights may be codes, of which an operator makes values with scales and zero points: then their values are computed as they are
// read (quantized.go, coding.go), a few KiB at a time.
//
// Graphs nested in nodes (If, Loop) are part of it: their nodes see the values around them. Functions are walked too; weights
// inside them are refused, not skipped.
// The wire format is that of protobuf.dev/programming-guides/encoding, the fields those of schema/onnx.proto.
package onnx

import (
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"npuw/pipeline/source"
)

// Model is an open ONNX file. Close it when its tensors have been read.
type Model struct {
	source.Catalogue
	Graph   *Graph
	Opsets  map[string]int64 // operator set versions by domain, "" for ONNX's own
	Version int64            // ir_version
}

// Open reads the catalogue and graph of the ONNX file at path and opens its external data files, which must lie in the
// same folder. Every error is a *source.Error.
func Open(path string) (*Model, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	m, external, err := walk(f, f.Size, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	m.Files = []*source.File{f}
	if err := m.locate(external); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Recognise reports whether a file that begins with prefix, of at least one byte, may be an ONNX model: whether its first
// byte is the tag of one of ModelProto's fields.
func Recognise(prefix []byte) bool {
	if len(prefix) == 0 {
		return false
	}
	switch num, typ := prefix[0]>>3, protowire.Type(prefix[0]&7); num {
	case 1, 5: // ir_version, model_version
		return typ == protowire.VarintType
	case 2, 3, 4, 6, 7, 8, 14: // strings, graph, opset_import, metadata_props
		return typ == protowire.BytesType
	}
	return false
}

// walk reads all that stands in the model's own file, of size bytes and called path in errors. What it gives has no open
// file; tensors with external data are still to be located.
func walk(src io.ReaderAt, size int64, path string) (*Model, []external, error) {
	p := &parser{reader: newReader(src, size, path)}
	m := p.model()
	if p.err != nil {
		return nil, nil, p.err
	}
	if m.Graph == nil {
		return nil, nil, &source.Error{
			File: path, Offset: -1, Problem: "no graph in it: not an ONNX model", Next: "give an .onnx file", Err: source.ErrNotRecognised,
		}
	}
	external := m.adopt()
	if err := m.Graph.link(); err != nil {
		return nil, nil, err
	}
	return m, external, nil
}

// adopt puts the tensors of all graphs into one catalogue, those of the main graph first, and gives the constants whose data
// is in other files. Graphs that do not see each other may have constants of the same name; in the catalogue a name is one
// tensor's.
func (m *Model) adopt() []external {
	var all []external
	taken, copies := map[string]bool{}, map[string]int{}
	unique := func(name string) string {
		full := name
		for taken[full] {
			copies[name]++
			full = fmt.Sprintf("%s (%d)", name, copies[name]+1)
		}
		taken[full] = true
		return full
	}
	m.Graph.Walk(func(g *Graph) {
		for i := range g.Constants {
			if c := &g.Constants[i]; c.Tensor >= 0 {
				c.Tensor += len(m.Tensors)
			}
		}
		for _, t := range g.tensors {
			t.Name = unique(t.Name)
			m.Tensors = append(m.Tensors, t)
		}
		for _, e := range g.external {
			e.graph = g
			all = append(all, e)
		}
		g.tensors, g.external = nil, nil
	})
	return all
}
