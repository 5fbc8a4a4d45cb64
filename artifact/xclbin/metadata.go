package xclbin

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// readMetadata reads the kernels that EMBEDDED_METADATA names, nothing when there is no such section.
//
//	<project><platform><device><core>
//	  <kernel name type="dpu">
//	    <extended-data subtype functional dpu_kernel_id/>
//	    <arg name addressQualifier id size offset hostOffset hostSize type/>...
//	    <instance name/>...
//
// Of several elements where one is expected, the first counts. What must be there is what XRT asks for.
func (f *File) readMetadata(r io.ReaderAt) error {
	p, ok := f.part(r, EmbeddedMetadata)
	switch {
	case !ok:
		return nil
	case p.size > maxMetadataBytes:
		return p.tooLarge(0, "%d bytes of XML", p.size, maxMetadataBytes)
	}
	text, err := p.read(0, p.size)
	if err != nil {
		return err
	}
	if end := bytes.IndexByte(text, 0); end >= 0 { // some writers end it like a string in C, and XRT's parser stops there
		text = text[:end]
	}
	x := metadata{part: p, d: xml.NewDecoder(bytes.NewReader(text))}
	for _, name := range []string{"project", "platform", "device", "core"} {
		if err := x.enter(name); err != nil {
			return err
		}
	}
	if f.Kernels, err = x.kernels(); err != nil {
		return err
	}
	for { // to the end: what follows the core must be XML too
		if _, err := x.token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// metadata walks the XML.
type metadata struct {
	part

	d     *xml.Decoder
	depth int
	at    uint64 // where the last token begins
}

// token is the next token; io.EOF itself at the end.
func (x *metadata) token() (xml.Token, error) {
	x.at = uint64(x.d.InputOffset())
	t, err := x.d.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, x.corrupt(uint64(x.d.InputOffset()), "%v", err)
	}
	switch t.(type) {
	case xml.StartElement:
		if x.depth++; x.depth > maxMetadataDepth {
			return nil, x.tooLarge(x.at, "elements nested %d deep", x.depth, maxMetadataDepth)
		}
	case xml.EndElement:
		x.depth--
	}
	return t, nil
}

// child is the next element within the one that stands open at a depth, nil when that ends. What is left open below is skipped.
func (x *metadata) child(depth int) (*xml.StartElement, error) {
	for {
		t, err := x.token()
		if errors.Is(err, io.EOF) && depth == 0 {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if x.depth == depth+1 {
				return &t, nil
			}
		case xml.EndElement:
			if x.depth < depth {
				return nil, nil
			}
		}
	}
}

// enter goes to the first child of a name.
func (x *metadata) enter(name string) error {
	depth := x.depth
	for {
		e, err := x.child(depth)
		switch {
		case err != nil:
			return err
		case e == nil:
			return x.corrupt(x.at, "there is no element project/platform/device/core: no %s", name)
		case e.Name.Local == name:
			return nil
		}
	}
}

func (x *metadata) kernels() ([]Kernel, error) {
	var kernels []Kernel
	seen := map[string]bool{}
	for depth := x.depth; ; {
		e, err := x.child(depth)
		if err != nil || e == nil {
			return kernels, err
		}
		if e.Name.Local != "kernel" {
			continue
		}
		at := x.at
		k, err := x.kernel(e)
		switch {
		case err != nil:
			return nil, err
		case seen[k.Name]:
			return nil, x.corrupt(at, "kernel %q is there twice", k.Name)
		}
		seen[k.Name] = true
		kernels = append(kernels, k)
	}
}

func (x *metadata) kernel(e *xml.StartElement) (Kernel, error) {
	at, depth := x.at, x.depth
	a := attributes{x, e}
	k := Kernel{Type: "pl"}
	if kind, ok := a.get("type"); ok {
		k.Type = kind
	}
	var err error
	if k.Name, err = a.need("name"); err != nil {
		return k, err
	}
	for {
		e, err := x.child(depth)
		if err != nil {
			return k, err
		}
		if e == nil {
			break
		}
		if err := k.add(attributes{x, e}); err != nil {
			return k, err
		}
	}
	if k.Arguments, err = ordered(k.Arguments); err != nil {
		return k, x.corrupt(at, "kernel %q: %v", k.Name, err)
	}
	return k, nil
}

// add takes in one element of a kernel.
func (k *Kernel) add(a attributes) error {
	switch a.e.Name.Local {
	case "arg":
		argument, err := a.argument()
		k.Arguments = append(k.Arguments, argument)
		return err
	case "instance":
		name, _ := a.get("name")
		k.Instances = append(k.Instances, Instance{name, NoIP})
	case "extended-data":
		if k.hasID {
			return nil
		}
		k.hasID = true
		return cmp.Or(a.number("functional", &k.Functional), a.number("dpu_kernel_id", &k.ID))
	}
	return nil
}

// attributes are those of an element.
type attributes struct {
	x *metadata
	e *xml.StartElement
}

func (a attributes) argument() (Argument, error) {
	arg := Argument{Index: NoIndex, MemoryGroup: NoGroup}
	var err error
	if arg.Name, err = a.need("name"); err != nil {
		return arg, err
	}
	id, err := a.need("id")
	if err != nil {
		return arg, err
	}
	if id != "" {
		index, err := number(id)
		if err != nil || index > math.MaxInt32 {
			return arg, a.fail("id %q is not an index", id)
		}
		arg.Index = int(index)
	}
	var qualifier uint64
	err = cmp.Or(a.number("addressQualifier", &qualifier), a.number("offset", &arg.Offset), a.number("size", &arg.Size), a.number("hostSize", &arg.HostSize))
	if err != nil {
		return arg, err
	}
	if qualifier > uint64(Stream) {
		return arg, a.fail("addressQualifier %d is not known", qualifier)
	}
	arg.Qualifier = Qualifier(qualifier)
	arg.Type, _ = a.get("type")
	if _, ok := a.get("hostOffset"); ok {
		err = a.number("hostOffset", &arg.HostOffset)
	}
	return arg, err
}

func (a attributes) get(name string) (string, bool) {
	for _, at := range a.e.Attr {
		if at.Name.Local == name && at.Name.Space == "" {
			return at.Value, true
		}
	}
	return "", false
}

func (a attributes) need(name string) (string, error) {
	v, ok := a.get(name)
	if !ok {
		return "", a.fail("has no attribute %s", name)
	}
	return v, nil
}

func (a attributes) number(name string, to *uint64) error {
	v, err := a.need(name)
	if err != nil {
		return err
	}
	if *to, err = number(v); err != nil {
		return a.fail("%s %q is not a number", name, v)
	}
	return nil
}

func (a attributes) fail(format string, args ...any) error {
	return a.x.corrupt(a.x.at, "<%s>: %s", a.e.Name.Local, fmt.Sprintf(format, args...))
}

// number reads a number as C does: hexadecimal after 0x, octal after 0, else decimal. Nothing is 0, as for XRT.
func number(s string) (uint64, error) {
	switch digits, isHex := strings.CutPrefix(strings.ToLower(s), "0x"); {
	case s == "":
		return 0, nil
	case isHex:
		return strconv.ParseUint(digits, 16, 64)
	case s[0] == '0':
		return strconv.ParseUint(s, 8, 64)
	}
	return strconv.ParseUint(s, 10, 64)
}

// ordered sorts arguments by index, those without one last, and joins those that share one: the components of an OpenCL argument such
// as a global size. Indices must count up from 0, as XRT wants it.
func ordered(arguments []Argument) ([]Argument, error) {
	slices.SortStableFunc(arguments, func(a, b Argument) int { return cmp.Compare(uint(a.Index), uint(b.Index)) }) // NoIndex is the largest
	var joined []Argument
	for _, a := range arguments {
		n := len(joined)
		switch {
		case a.Index != NoIndex && n > 0 && joined[n-1].Index == a.Index:
			first := &joined[n-1]
			if first.Size+a.Size < a.Size || first.HostSize+a.HostSize < a.HostSize {
				return nil, fmt.Errorf("the sizes of argument %d add up to more than 64 bits", a.Index)
			}
			first.Size, first.HostSize = first.Size+a.Size, first.HostSize+a.HostSize
			first.Offset = min(first.Offset, a.Offset)
		case a.Index != NoIndex && a.Index != n:
			return nil, fmt.Errorf("argument %q has index %d, %d was expected", a.Name, a.Index, n)
		default:
			joined = append(joined, a)
		}
	}
	return joined, nil
}
