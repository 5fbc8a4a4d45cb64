package recipe

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
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

var placed = regexp.MustCompile(`(?s)^\(line (\d+):(\d+)\): (.*)$`)

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
	e.Message = printable(explain(e, text, m.ProtoReflect().Descriptor()))
	return e
}
