package recipe

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	unknownField = regexp.MustCompile(`^unknown field: (\w+)$`)
	invalidValue = regexp.MustCompile(`(?s)^(invalid value for (\w+) type: )(.*)$`)
)

// explain gives the message of an error of prototext in a text of type m, with what to write instead.
func explain(e *Error, text []byte, m protoreflect.MessageDescriptor) string {
	if parts := unknownField.FindStringSubmatch(e.Message); parts != nil {
		return e.Message + otherField(e, text, m, parts[1])
	}
	if parts := invalidValue.FindStringSubmatch(e.Message); parts != nil {
		value := firstToken(parts[3])
		return parts[1] + value + "; write " + otherValue(e, text, m, parts[2], value)
	}
	switch {
	case strings.HasPrefix(e.Message, "invalid scalar value: "):
		return e.Message + "; text stands in double quotes"
	case e.Message == `invalid character '\n' in string`:
		return "the text has no closing quote in its line"
	}
	return e.Message
}

// firstToken is the beginning of a text up to white space outside quotes: prototext shows a value with what follows it.
func firstToken(text string) string {
	if text != "" && (text[0] == '"' || text[0] == '\'') {
		if i := strings.IndexByte(text[1:], text[0]); i >= 0 {
			return text[:i+2]
		}
	}
	if i := strings.IndexAny(text, " \t\r\n"); i > 0 {
		return text[:i]
	}
	return text
}

// otherField says what may stand instead of an unknown field.
func otherField(e *Error, text []byte, m protoreflect.MessageDescriptor, name string) string {
	all := fieldNames(m)
	if slices.Contains(all, name) {
		return "; it belongs elsewhere, or a brace before it is missing"
	}
	here := m
	if found := enclosing(scan(upTo(text, e, name)), m, position{e.Line, e.Column}); found != nil {
		here = found
	}
	var names []string
	for i := range here.Fields().Len() {
		names = append(names, here.Fields().Get(i).TextName())
	}
	for _, list := range [][]string{names, all} {
		if nearest := near([]byte(name), list); nearest != "" {
			return nearest
		}
	}
	return "; there are " + strings.Join(names, ", ")
}

// upTo cuts a text behind the name at which prototext found an error. Up to there it is well-formed, and nested as deep as the messages are.
func upTo(text []byte, e *Error, name string) []byte {
	at := 0
	for range e.Line - 1 {
		at += bytes.IndexByte(text[at:], '\n') + 1
	}
	for range e.Column - 1 {
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	return text[:min(at+len(name), len(text))]
}

// enclosing finds the message of whose fields the one at a place of the text is, nil where that is not known.
func enclosing(f *field, m protoreflect.MessageDescriptor, at position) protoreflect.MessageDescriptor {
	for i := range f.fields {
		inner := &f.fields[i]
		if inner.at == at {
			return m
		}
		if d := m.Fields().ByTextName(inner.name); d != nil && d.Message() != nil {
			if found := enclosing(inner, d.Message(), at); found != nil {
				return found
			}
		}
	}
	return nil
}

// otherValue says what may stand instead of a value that is not of the field's type.
func otherValue(e *Error, text []byte, m protoreflect.MessageDescriptor, kind, value string) string {
	quotes := ""
	if strings.HasPrefix(value, `"`) || strings.HasPrefix(value, "'") {
		quotes = ", without quotes"
	}
	switch kind {
	case "enum":
		return allowed(text, e.Line, value, m) + quotes
	case "string":
		return "text in double quotes"
	case "bool":
		return "true or false" + quotes
	case "double":
		return "a number" + quotes
	}
	return "a whole number" + quotes
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
