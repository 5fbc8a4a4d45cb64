package recipe

import "unicode/utf8"

// position is a place in a file: line and column counted from 1, columns in characters. The zero position is none.
type position struct{ line, column int }

// field is a field of protobuf text and where it stands. A list, `name: [a, b]`, is as many fields as it has values, each
// where its value is.
type field struct {
	name    string
	at, end position // of its first character, and of the closing brace if it is a message
	fields  []field  // of a message
}

// all returns the fields of a name, in order.
func (f *field) all(name string) []*field {
	var found []*field
	for i := range f.fields {
		if f.fields[i].name == name {
			found = append(found, &f.fields[i])
		}
	}
	return found
}

// child returns the first field of a name, the field itself if there is none.
func (f *field) child(name string) *field {
	for i := range f.fields {
		if f.fields[i].name == name {
			return &f.fields[i]
		}
	}
	return f
}

// where returns the place of the i-th field of a name, the field's own if there is none.
func (f *field) where(name string, i int) position {
	for k := range f.fields {
		if f.fields[k].name != name {
			continue
		}
		if i == 0 {
			return f.fields[k].at
		}
		i--
	}
	return f.at
}

// scan finds where the fields of a text stand. The text must be one that prototext takes (which checks it, but does not tell
// positions); of any other, the result is of no use. The root is a message that ends where the text does.
func scan(text []byte) *field {
	s := scanner{text: text, here: position{1, 1}}
	root := &field{at: s.here}
	s.message(root)
	return root
}

type scanner struct {
	text []byte
	i    int
	here position // of text[i]
}

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.i == len(s.text) {
		return 0
	}
	return s.text[s.i]
}

func (s *scanner) next() {
	if s.i == len(s.text) {
		return
	}
	switch c := s.text[s.i]; {
	case c == '\n':
		s.here = position{s.here.line + 1, 1}
	case utf8.RuneStart(c):
		s.here.column++
	}
	s.i++
}

// space moves past white space and comments.
func (s *scanner) space() {
	for {
		switch s.peek() {
		case ' ', '\n', '\r', '\t':
			s.next()
		case '#':
			for s.i < len(s.text) && s.peek() != '\n' {
				s.next()
			}
		default:
			return
		}
	}
}

// word moves past a name or a number and returns it.
func (s *scanner) word() string {
	begin := s.i
	for {
		switch c := s.peek(); {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '+', c == '-':
			s.next()
		default:
			return string(s.text[begin:s.i])
		}
	}
}

// quoted moves past a string, which begins here.
func (s *scanner) quoted() {
	quote := s.peek()
	for s.next(); s.i < len(s.text) && s.peek() != quote; s.next() {
		if s.peek() == '\\' {
			s.next()
		}
	}
	s.next()
}

// message reads fields up to the closing brace or the end of the text.
func (s *scanner) message(into *field) {
	for {
		s.space()
		into.end = s.here
		begin := s.i
		switch s.peek() {
		case 0:
			return
		case '}', '>':
			s.next()
			return
		case ',', ';':
			s.next()
			continue
		}
		f := field{at: s.here}
		f.name = s.word()
		s.space()
		if s.peek() == ':' {
			s.next()
			s.space()
		}
		if s.peek() == '[' {
			s.list(into, f.name)
		} else {
			s.value(into, f)
		}
		if s.i == begin {
			return // not protobuf text
		}
	}
}

// list reads the values of a list, whose bracket opens here, as fields of a name.
func (s *scanner) list(into *field, name string) {
	s.next()
	for {
		s.space()
		begin := s.i
		switch s.peek() {
		case 0:
			return
		case ']':
			s.next()
			return
		case ',':
			s.next()
			continue
		}
		s.value(into, field{at: s.here, name: name})
		if s.i == begin {
			return // not protobuf text
		}
	}
}

// value reads the value of a field and adds the field.
func (s *scanner) value(into *field, f field) {
	switch s.peek() {
	case '{', '<':
		s.next()
		s.message(&f)
	case '"', '\'':
		for s.peek() == '"' || s.peek() == '\'' {
			s.quoted()
			s.space()
		}
	case '-':
		s.next()
		s.space()
		s.word()
	default:
		s.word()
	}
	into.fields = append(into.fields, f)
}
