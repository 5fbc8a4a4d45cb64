package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckOutput refuses a path at which a new file would replace what is wanted: a folder, a device or the like, or one of the files
// that are read to make it. A symbolic link is judged by what it leads to. Create does the same, but knows of no inputs.
func CheckOutput(path string, inputs ...string) error { return checkOutput(os.Stat, path, inputs...) }

func checkOutput(stat func(string) (fs.FileInfo, error), path string, inputs ...string) error {
	fail := func(err error, format string, args ...any) error {
		return &Error{File: path, Offset: -1, Detail: fmt.Sprintf(format, args...), Err: err}
	}
	dir, base := filepath.Split(path)
	there, err := stat(path)
	if err != nil {
		switch {
		case base == "":
			return fail(fs.ErrInvalid, "an output must have the name of a file")
		case dir == "":
			return nil
		}
		if _, err := stat(dir); errors.Is(err, fs.ErrNotExist) {
			return fail(fs.ErrNotExist, "there is no folder %s; create the folder first", filepath.Clean(dir))
		}
		return nil // nothing there, or the attempt to write will tell
	}
	switch {
	case there.IsDir():
		return fail(fs.ErrExist, "is a folder; give the output the name of a file in it")
	case !there.Mode().IsRegular():
		return fail(fs.ErrExist, "is not a regular file (%v); give the output another name", there.Mode().Type())
	}
	for _, input := range inputs {
		if read, err := stat(input); err == nil && os.SameFile(there, read) {
			return fail(fs.ErrExist, "would be overwritten while it is read; give the output another name")
		}
	}
	return nil
}
