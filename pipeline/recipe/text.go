package recipe

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxText is the longest recipe or release file, in bytes.
const maxText = 1 << 20

// document is a file that was parsed: what its messages hold is in generated types, where they stand is here.
type document struct {
	file string
	root *field
}

// fault makes the error for something at a place of the file.
func (d *document) fault(at position, format string, args ...any) *Error {
	return &Error{File: d.file, Line: at.line, Column: at.column, Message: printable(fmt.Sprintf(format, args...))}
}

// unmarshal parses protobuf text into m. Errors are of type *Error.
func unmarshal(file string, text []byte, m proto.Message) (*document, error) {
	d := &document{file: file}
	if len(text) > maxText {
		return nil, d.fault(position{}, "the file has %d bytes, at most %d are allowed", len(text), maxText)
	}
	if err := prototext.Unmarshal(text, m); err != nil {
		return nil, syntaxError(file, text, m, err)
	}
	d.root = scan(text)
	return d, nil
}

// meaning is a digest of what a text says, however it was written.
func meaning(m proto.Message) ([sha256.Size]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return sha256.Sum256(b), err
}

var (
	placed       = regexp.MustCompile(`(?s)^\(line (\d+):(\d+)\): (.*)$`)
	unknownField = regexp.MustCompile(`^unknown field: (\w+)$`)
)

// syntaxError gives an error of prototext, which has its position in its text, as an *Error.
func syntaxError(file string, text []byte, m proto.Message, err error) *Error {
	_, message, found := strings.Cut(err.Error(), ":") // what comes before is the package's name
	if !found {
		message = err.Error()
	}
	message = strings.TrimPrefix(strings.TrimLeft(message, " \u00a0"), "syntax error ")
	e := &Error{File: file, Message: message}
	if parts := placed.FindStringSubmatch(message); parts != nil {
		e.Line, _ = strconv.Atoi(parts[1])
		e.Column, _ = strconv.Atoi(parts[2])
		e.Message = parts[3]
	} else if strings.HasSuffix(message, io.ErrUnexpectedEOF.Error()) {
		e.Line = bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n")) + 1
		e.Message = "the file ends where a value, a brace or a bracket should follow"
	}
	if parts := unknownField.FindStringSubmatch(e.Message); parts != nil {
		if names := fieldNames(m.ProtoReflect().Descriptor()); slices.Contains(names, parts[1]) {
			e.Message += "; it belongs elsewhere, or a brace before it is missing"
		} else {
			e.Message += near([]byte(parts[1]), names)
		}
	}
	if value, found := strings.CutPrefix(e.Message, "invalid value for enum type: "); found {
		e.Message += "; write " + allowed(text, e.Line, value, m.ProtoReflect().Descriptor())
	}
	e.Message = printable(e.Message)
	return e
}

// allowed lists the words that a field may have whose value, in a line of the text, is none of them.
func allowed(text []byte, line int, value string, m protoreflect.MessageDescriptor) string {
	lines := bytes.Split(text, []byte("\n"))
	if line < 1 || line > len(lines) {
		return formats
	}
	named := regexp.MustCompile(`(\w+)\s*:\s*` + regexp.QuoteMeta(value)).FindSubmatch(lines[line-1])
	if named == nil {
		return formats
	}
	e := enumOf(m, string(named[1]))
	if e == nil || e.Name() == "ElementFormat" {
		return formats
	}
	var words []string
	for i := range e.Values().Len() {
		if name := string(e.Values().Get(i).Name()); !strings.HasSuffix(name, "NONE") {
			words = append(words, name)
		}
	}
	return strings.Join(words, " or ")
}

// enumOf finds the enumeration of a field of a message or of those in it.
func enumOf(m protoreflect.MessageDescriptor, name string) protoreflect.EnumDescriptor {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if f.Enum() != nil && f.TextName() == name {
			return f.Enum()
		}
		if f.Message() != nil {
			if e := enumOf(f.Message(), name); e != nil {
				return e
			}
		}
	}
	return nil
}

// fieldNames returns the names of the fields of a message and of those in it.
func fieldNames(m protoreflect.MessageDescriptor) []string {
	var names []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		names = append(names, f.TextName())
		if f.Message() != nil {
			names = append(names, fieldNames(f.Message())...)
		}
	}
	return names
}
