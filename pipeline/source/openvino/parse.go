package openvino

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"npuw/pipeline/source"
)

// net is what the XML says.
type net struct {
	file   *source.File
	layers []*layer
	byID   map[uint64]*layer
}

// layer is an operator.
type layer struct {
	at         int64 // of it in the XML
	id         uint64
	name, kind string
	data       map[string]string // of the attributes of <data>, those in dataAttributes
	ports      []uint64          // of its inputs
	inputs     []*layer          // that feed them; nil where no edge does
	consumers  []use
}

// use is one input of a layer, counted from 0.
type use struct {
	*layer
	input int
}

func (l *layer) String() string { return fmt.Sprintf("%.50s layer %.200q", l.kind, l.name) }

// dataAttributes are those attributes of <data> that are looked at.
var dataAttributes = map[string]bool{
	"element_type": true, "shape": true, "offset": true, "size": true, "destination_type": true, "special_zero": true, "transpose_b": true,
}

// tokenReader reads the XML, of one token at most maxToken bytes: the decoder keeps a whole tag, its attributes taken apart.
type tokenReader struct {
	io.Reader
	left int // bytes that may be read before the next token begins
}

var errToken = fmt.Errorf("a tag, or a text between tags, of more than %d bytes", maxToken)

func (r *tokenReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, errToken
	}
	n, err := r.Reader.Read(b[:min(len(b), r.left)])
	r.left -= n
	return n, err
}

// parser is the XML while it is read.
type parser struct {
	*xml.Decoder
	text  *tokenReader
	net   *net
	path  []string // of elements
	layer *layer   // that is being read
	edges int
	err   *source.Error
}

// parse reads the XML of f.
func parse(f *source.File) (*net, error) {
	text := &tokenReader{Reader: io.NewSectionReader(f, 0, f.Size)}
	p := &parser{Decoder: xml.NewDecoder(text), text: text, net: &net{file: f, byID: map[uint64]*layer{}}}
	if f.Size > maxXML {
		p.fail("", source.ErrLimit, fmt.Sprintf("%d bytes of XML, limit %d", f.Size, maxXML), exportAgain)
	}
	for p.err == nil {
		p.text.left = maxToken
		token, err := p.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.broken(err)
			break
		}
		p.token(token)
	}
	if p.err == nil && len(p.net.layers) == 0 {
		p.fail("", source.ErrNotRecognised, "no layer in it: not a model of OpenVINO", "give the .xml file of a model")
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.net, nil
}

// fail notes a fault of thing where the parser is, unless there was one before.
func (p *parser) fail(thing string, sentinel error, problem, next string) {
	if p.err == nil {
		p.err = &source.Error{File: p.net.file.Path, Offset: p.InputOffset(), Thing: thing, Problem: problem, Next: next, Err: sentinel}
	}
}

// broken is a fault of the XML itself, or of reading it.
func (p *parser) broken(err error) {
	var syntax *xml.SyntaxError
	switch {
	case errors.Is(err, errToken):
		p.fail("", source.ErrLimit, err.Error(), exportAgain)
	case errors.As(err, &syntax) && strings.Contains(syntax.Msg, "unexpected EOF"):
		p.fail("", source.ErrTruncated, "the XML ends early", exportAgain)
	case errors.As(err, &syntax):
		p.fail("", source.ErrCorrupt, fmt.Sprintf("no well-formed XML: %.200s (line %d)", syntax.Msg, syntax.Line), exportAgain)
	default: // an encoding other than UTF-8, or the operating system
		p.fail("", source.ErrUnsupported, fmt.Sprintf("cannot be read as XML: %.200v", err), exportAgain)
	}
}

func (p *parser) token(token xml.Token) {
	switch t := token.(type) {
	case xml.Directive:
		p.fail("", source.ErrUnsupported, "a document type or another directive, which no model has", exportAgain)
	case xml.StartElement:
		if len(p.path) == maxDepth {
			p.fail("", source.ErrLimit, fmt.Sprintf("more than %d elements in one another", maxDepth), exportAgain)
			return
		}
		p.path = append(p.path, t.Name.Local)
		p.start(strings.Join(p.path, "/"), t)
	case xml.EndElement: // of the element that was begun last: the decoder sees to that
		p.path = p.path[:len(p.path)-1]
		if len(p.path) == 2 {
			p.layer = nil
		}
	}
}

// start reads the element at a path.
func (p *parser) start(path string, e xml.StartElement) {
	switch path {
	case "net":
		if v := attribute(e, "version"); v != "10" && v != "11" {
			p.fail("", source.ErrUnsupported, fmt.Sprintf("version %.50q of the representation; 10 and 11 are read", v), "export the model with a newer OpenVINO")
		}
	case "net/layers/layer":
		p.begin(e)
	case "net/layers/layer/data":
		for _, a := range e.Attr {
			if dataAttributes[a.Name.Local] {
				p.layer.data[a.Name.Local] = a.Value
			}
		}
	case "net/layers/layer/input/port":
		if len(p.layer.ports) == maxPorts {
			p.fail(p.layer.String(), source.ErrLimit, fmt.Sprintf("more than %d inputs", maxPorts), exportAgain)
		}
		p.layer.ports = append(p.layer.ports, p.number(p.layer.String(), e, "id"))
	case "net/edges/edge":
		p.edge(e)
	default:
		if e.Name.Local == "layer" {
			p.fail(fmt.Sprintf("layer %.200q", attribute(e, "name")), source.ErrUnsupported, "is part of a graph within a layer, which is not read", exportPlain)
		}
	}
	if len(p.path) == 1 && path != "net" {
		p.fail("", source.ErrNotRecognised, fmt.Sprintf("an element %.50q, expected net", path), "give the .xml file of a model")
	}
}

// begin begins a layer.
func (p *parser) begin(e xml.StartElement) {
	l := &layer{at: p.InputOffset(), name: attribute(e, "name"), kind: attribute(e, "type"), data: map[string]string{}}
	l.id = p.number(l.String(), e, "id")
	switch {
	case len(p.net.layers) == maxLayers:
		p.fail(l.String(), source.ErrLimit, fmt.Sprintf("more than %d layers", maxLayers), exportAgain)
	case len(l.name) > maxName:
		p.fail(l.String(), source.ErrLimit, fmt.Sprintf("a name of %d bytes, limit %d", len(l.name), maxName), exportAgain)
	case p.net.byID[l.id] != nil:
		p.fail(l.String(), source.ErrCorrupt, fmt.Sprintf("two layers have the id %d", l.id), exportAgain)
	}
	p.net.layers, p.net.byID[l.id], p.layer = append(p.net.layers, l), l, l
}

// edge connects two layers, both of which come before it.
func (p *parser) edge(e xml.StartElement) {
	const thing = "an edge"
	if p.edges++; p.edges > maxEdges {
		p.fail(thing, source.ErrLimit, fmt.Sprintf("more than %d edges", maxEdges), exportAgain)
	}
	from, to, port := p.net.byID[p.number(thing, e, "from-layer")], p.net.byID[p.number(thing, e, "to-layer")], p.number(thing, e, "to-port")
	if from == nil || to == nil {
		p.fail(thing, source.ErrCorrupt, "connects a layer that is not there", exportAgain)
		return
	}
	if to.inputs == nil {
		to.inputs = make([]*layer, len(to.ports))
	}
	for i, id := range to.ports {
		if id == port && to.inputs[i] == nil {
			to.inputs[i] = from
			from.consumers = append(from.consumers, use{to, i})
			return
		}
	}
	p.fail(thing, source.ErrCorrupt, fmt.Sprintf("goes to port %d of %s, which has no such input or has it already", port, to), exportAgain)
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// number is an attribute that is a number.
func (p *parser) number(thing string, e xml.StartElement, name string) uint64 {
	text := attribute(e, name)
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		p.fail(thing, source.ErrCorrupt, fmt.Sprintf("%s is %.50q, expected a number", name, text), exportAgain)
	}
	return n
}
