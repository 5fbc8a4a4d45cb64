package recipe

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"npuw/artifact"
)

// Error says what is wrong with a recipe or a release, and where.
type Error struct {
	File string
	// Line and Column are where the fault is, both counted from 1, columns in characters. Line 0: the file as a whole;
	// column 0: the whole line.
	Line, Column int
	Message      string // what was found, and what to write instead
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
}

// maxName is the longest name, in bytes, that the index of an artifact holds.
const maxName = 1024

// checkName refuses what cannot be a name in the index of an artifact. The result completes a sentence that begins with what
// the name is for; it is empty when the name is right.
func checkName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(name), maxName)
	case !utf8.ValidString(name):
		return "is not UTF-8"
	case strings.ContainsFunc(name, artifact.IsControl):
		return fmt.Sprintf("%q has a control character", name)
	}
	return ""
}

// printable makes a message safe to print: one line of bounded length, whatever of a file it quotes.
func printable(message string) string {
	const most = 1000
	if len(message) > most {
		message = message[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if artifact.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, message)
}
