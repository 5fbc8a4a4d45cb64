package onnx

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"npuw/pipeline/source"
)

// external is a constant whose data stands in another file.
type external struct {
	graph    *Graph // that has the constant
	constant int    // index in its Constants
	at       int64  // of its TensorProto
	location string // path below the model's folder, as the model gives it
	offset   int64
	length   int64 // -1 if not given: as many bytes as the shape needs
}

// outside reads the external_data entries of t, the constant with the given index.
func (p *parser) outside(t *tensor, constant int) external {
	e := external{constant: constant, at: t.at, length: -1}
	if t.raw != nil || t.typed.num != 0 {
		p.fail(t.at, t.String(), source.ErrCorrupt, "values both in the model and in an external file", exportAgain)
	}
	seen := map[string]bool{}
	for _, x := range t.entries {
		if seen[x.key] {
			p.fail(x.at, t.String(), source.ErrCorrupt, fmt.Sprintf("external_data gives %.100q twice", x.key), exportAgain)
		}
		seen[x.key] = true
		switch x.key { // others, such as a checksum, say nothing about where the data is
		case "location":
			e.location = x.value
		case "offset":
			e.offset = p.decimal(t, x)
		case "length":
			e.length = p.decimal(t, x)
		}
	}
	if !seen["location"] {
		p.fail(t.at, t.String(), source.ErrCorrupt, "external data without a location", exportAgain)
	}
	return e
}

// decimal reads a number of an external_data entry: digits only.
func (p *parser) decimal(t *tensor, x entry) int64 {
	v, err := strconv.ParseUint(x.value, 10, 63)
	if err != nil {
		p.fail(x.at, t.String(), source.ErrCorrupt, fmt.Sprintf("external_data gives %s as %.100q, expected a number of bytes", x.key, x.value), exportAgain)
	}
	return int64(v)
}

// locate opens the external files and points the constants in list to their data. m.Files[0] is the model's own.
func (m *Model) locate(list []external) error {
	if len(list) == 0 {
		return nil
	}
	root, err := os.OpenRoot(filepath.Dir(m.Path))
	if err != nil {
		return &source.Error{File: m.Path, Offset: -1, Thing: "the model's folder", Problem: "cannot be opened: " + err.Error(), Next: "check its permissions", Err: err}
	}
	defer root.Close()
	index := map[string]int{}
	for _, e := range list {
		key := path.Clean(e.location)
		i, ok := index[key]
		if !ok {
			if len(m.Files) > maxFiles {
				return m.fail(e, source.ErrLimit, fmt.Sprintf("more than %d external files", maxFiles), overLimit)
			}
			f, err := source.OpenBeside(root, e.location)
			if err != nil {
				return m.cannotOpen(e, err)
			}
			i = len(m.Files)
			m.Files = append(m.Files, f)
			index[key] = i
		}
		if err := m.place(e, i); err != nil {
			return err
		}
	}
	return nil
}

// cannotOpen names the model and the first tensor that wants the file which cannot be opened.
func (m *Model) cannotOpen(e external, err error) error {
	var fault *source.Error
	if !errors.As(err, &fault) {
		return err
	}
	file := fault.File
	if fault.Thing != "" {
		file = fault.Thing
	}
	return m.fail(e, fault.Err, fmt.Sprintf("its data in %s: %s", file, fault.Problem), fault.Next)
}

// place points one constant to its data in file i, or reads it if it is a shape.
func (m *Model) place(e external, i int) error {
	c, f := &e.graph.Constants[e.constant], m.Files[i]
	size, ok := int64(c.Elements)*c.Type.integerSize(), true // of at most maxInts elements, unless it is one of the following
	switch {
	case c.Tensor >= 0:
		size, ok = source.Bytes(c.Shape, c.Type.Format())
	case c.Raw != nil:
		size, ok = c.Type.rawSize(c.Elements)
	}
	if !ok {
		return m.fail(e, source.ErrCorrupt, fmt.Sprintf("shape %v has more than 2^63 bytes", c.Shape), exportAgain)
	}
	if e.length >= 0 && e.length != size {
		return m.fail(e, source.ErrCorrupt, fmt.Sprintf("external data of %d bytes, expected %d for %s %v", e.length, size, c.Type, c.Shape), exportAgain)
	}
	if e.offset > f.Size || size > f.Size-e.offset {
		return m.fail(e, source.ErrTruncated, fmt.Sprintf("%d bytes at %d of %s, which has %d bytes", size, e.offset, f.Path, f.Size), "download or export the data file again")
	}
	data := source.Data{File: i, Offset: e.offset, Size: size}
	if c.Tensor >= 0 {
		m.Tensors[c.Tensor].Data = data
		return nil
	}
	if c.Raw != nil {
		*c.Raw = data
	}
	if !c.Type.integral() || c.Elements > maxInts {
		return nil
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, e.offset); n < len(b) {
		if errors.Is(err, io.EOF) {
			err = source.ErrTruncated
		}
		return m.fail(e, err, fmt.Sprintf("its data in %s cannot be read: %v", f.Path, err), "check the disk, or copy the files elsewhere")
	}
	c.Ints = appendInts(make([]int64, 0, c.Elements), b, c.Type)
	return nil
}

func (m *Model) fail(e external, sentinel error, problem, next string) error {
	c := &e.graph.Constants[e.constant]
	return &source.Error{File: m.Path, Offset: e.at, Thing: fmt.Sprintf("tensor %.200q", c.Name), Problem: problem, Next: next, Err: sentinel}
}
