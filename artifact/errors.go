package artifact

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with a file. Every *Error unwraps to one of these, or to the error of the operating system.
var (
	ErrNotArtifact = errors.New("not a .npuw artifact")
	ErrVersion     = errors.New("a version or feature this program does not know")
	ErrTruncated   = errors.New("truncated")
	ErrCorrupt     = errors.New("corrupt")
	ErrUnsupported = errors.New("unsupported")
	ErrNotFound    = errors.New("not found")
	ErrInvalid     = errors.New("not a valid index") // what a program asked Create to write
)

// Error says what is wrong with a file, and where.
type Error struct {
	File   string
	Offset int64  // in the file, in bytes; -1 where none applies
	Thing  string // "header", `operand "encoder.layers.0.fc1.weight"`, ...
	Detail string // what was found and what was expected
	Err    error  // a sentinel of this package, or the operating system's error
}

// Error prints "FILE: at byte N: THING: DETAIL (SENTINEL)", parts that are unknown left out.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, "at byte %d: ", e.Offset)
	}
	if e.Thing != "" {
		fmt.Fprintf(&b, "%s: ", e.Thing)
	}
	switch {
	case e.Detail == "":
		fmt.Fprint(&b, e.Err)
	case e.Err == nil:
		b.WriteString(e.Detail)
	default:
		fmt.Fprintf(&b, "%s (%v)", e.Detail, e.Err)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// inFile fills in the file's name where err is an *Error without one.
func inFile(err error, file string) error {
	var e *Error
	if errors.As(err, &e) && e.File == "" {
		e.File = file
	}
	return err
}
