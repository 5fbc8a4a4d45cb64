package source

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with a source file. Every *Error unwraps to one of these or, where the operating system refused, to
// its error (so errors.Is(err, fs.ErrNotExist) works).
var (
	ErrNotRecognised = errors.New("not recognised")                 // not a kind of file, or not a family of models, that npuw knows
	ErrTruncated     = errors.New("truncated")                      // ends before what it announces
	ErrCorrupt       = errors.New("corrupt")                        // breaks the rules of its own format
	ErrUnsupported   = errors.New("unsupported")                    // valid, and holds what this version cannot read
	ErrLimit         = errors.New("over a limit")                   // asks for more than a stated bound
	ErrUnsafePath    = errors.New("not a plain file in the folder") // refers to what is not a plain file below its own folder
	ErrMismatch      = errors.New("contradiction")                  // names, shapes or sizes that disagree with one another
	ErrParameters    = errors.New("parameters do not fit")          // a parameter is missing, left over, or of the wrong shape
	ErrNotFinite     = errors.New("not finite")                     // a value that is infinite or NaN, or becomes infinite when it is encoded
	ErrChanged       = errors.New("changed")                        // was written to while it was read
	ErrMisuse        = errors.New("misuse")                         // a caller's mistake, never a file's
)

// Error is anything wrong with a source file.
type Error struct {
	File    string // path of the file at fault
	Offset  int64  // byte offset in File, -1 where there is none
	Thing   string // the tensor, node or field, as a person would look for it; "" for the file as a whole
	Problem string // what was found, and what was expected
	Next    string // what to do about it; "" where nothing better than the problem can be said
	Err     error  // one of the sentinels above, or the operating system's error
}

// Error gives one line: file, thing, offset, problem, next step.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Thing != "" {
		b.WriteString(": ")
		b.WriteString(e.Thing)
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, ": at byte %d", e.Offset)
	}
	b.WriteString(": ")
	b.WriteString(e.Problem)
	if e.Next != "" {
		b.WriteString("; ")
		b.WriteString(e.Next)
	}
	return b.String()
}

// Unwrap gives the sentinel, or the operating system's error.
func (e *Error) Unwrap() error { return e.Err }
