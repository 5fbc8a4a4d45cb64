// Package portable says which paths of files can be made, and mean the same, on every system that a set of files may be sent to.
package portable

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// Limits of a path, in bytes: those of file systems that hold the least.
const (
	MaxName = 200  // of one name in it; the longest in ext4, NTFS and APFS is 255, and temporary files have longer ones
	MaxPath = 1024 // of all
)

// MaxDepth is how many names a path may have.
const MaxDepth = 32

// Check says what is wrong with a slash-separated path, below a folder, of a file that is to be made: nil if every system takes it.
// Windows refuses the names of devices (CON, NUL, COM1...), with any extension, the characters <>:"\|?* and names that end in a dot or a
// space (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
func Check(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > MaxPath:
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(name), MaxPath)
	case !utf8.ValidString(name):
		return errors.New("is not UTF-8")
	case path.IsAbs(name) || path.Clean(name) != name || name == "." || name == ".." || strings.HasPrefix(name, "../"):
		return errors.New("is not a clean path below the folder")
	}
	if n := strings.Count(name, "/") + 1; n > MaxDepth {
		return fmt.Errorf("has %d names one below the other, at most %d are allowed", n, MaxDepth)
	}
	for part := range strings.SplitSeq(name, "/") {
		if err := checkName(part); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("has a name of %d bytes, at most %d are allowed", len(name), MaxName)
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f || strings.ContainsRune(`<>:"\|?*`, c) {
			return fmt.Errorf("has %q in a name, which not every system takes", c)
		}
	}
	if last := name[len(name)-1]; last == '.' || last == ' ' {
		return fmt.Errorf("has the name %q, which ends in a dot or a space: Windows drops it", name)
	}
	base, _, _ := strings.Cut(name, ".")
	if isDevice(strings.ToUpper(strings.TrimRight(base, " "))) {
		return fmt.Errorf("has the name %q, which is a device to Windows", name)
	}
	return nil
}

// isDevice reports whether an upper-case name is one that Windows reserves.
func isDevice(name string) bool {
	switch name {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	digit, ok := strings.CutPrefix(name, "COM")
	if !ok {
		digit, ok = strings.CutPrefix(name, "LPT")
	}
	return ok && utf8.RuneCountInString(digit) == 1 && strings.Contains("0123456789¹²³", digit)
}

// Fold gives the same for two paths that a system may take for one file: those that differ in the case of letters only.
func Fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }
