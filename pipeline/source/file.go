package source

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxLocation bounds the length of a file name that a model gives, in bytes.
const maxLocation = 4096

// File is one open file of a catalogue.
type File struct {
	Path string // as given, or the model's folder joined with the name in the model
	Size int64  // bytes, when it was opened
	f    *os.File
	time time.Time // of its last change then
}

// OpenFile opens a regular file for reading. A device, FIFO, socket or directory is refused without waiting for it.
func OpenFile(name string) (*File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|dontWait, 0)
	if err != nil {
		return nil, openError(name, err)
	}
	return newFile(name, f)
}

// OpenBeside opens the regular file called name, a slash-separated path that a model in the folder root gave. Absolute
// paths, "..", and symbolic links that lead out of the folder are refused with ErrUnsafePath.
func OpenBeside(root *os.Root, name string) (*File, error) {
	full := filepath.Join(root.Name(), filepath.FromSlash(name))
	if err := checkLocation(name); err != "" {
		return nil, &Error{
			File: root.Name(), Offset: -1, Thing: fmt.Sprintf("external data file %.200q", name), Problem: err,
			Next: "keep data files in the model's folder and refer to them by a relative path", Err: ErrUnsafePath,
		}
	}
	// Asked first, since opening some devices has effects; asked again of what was opened, since it may have changed.
	info, err := root.Stat(name)
	if err != nil {
		return nil, besideError(full, err)
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(full, info.Mode())
	}
	f, err := root.OpenFile(name, os.O_RDONLY|dontWait, 0)
	if err != nil {
		return nil, besideError(full, err)
	}
	return newFile(full, f)
}

// checkLocation says what is wrong with name as a path below a folder, "" if nothing is.
func checkLocation(name string) string {
	switch {
	case name == "":
		return "no location given"
	case len(name) > maxLocation:
		return fmt.Sprintf("location of %d bytes, limit %d", len(name), maxLocation)
	case strings.ContainsRune(name, 0):
		return "location contains a zero byte"
	case path.IsAbs(name):
		return "location is an absolute path"
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return `location contains ".."`
		}
	}
	return ""
}

// newFile takes over f, once it is known to be a regular file.
func newFile(name string, f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, openError(name, err)
	}
	if !info.Mode().IsRegular() {
		f.Close()
		return nil, notRegular(name, info.Mode())
	}
	return &File{Path: name, Size: info.Size(), f: f, time: info.ModTime()}, nil
}

// Unchanged fails when the file's size or time is not what it was when the file was opened: then what has been read of it may
// be of two minds.
func (f *File) Unchanged() error {
	info, err := f.f.Stat()
	if err != nil {
		return openError(f.Path, err)
	}
	if info.Size() != f.Size || !info.ModTime().Equal(f.time) {
		return &Error{
			File: f.Path, Offset: -1, Problem: "was changed while it was read", Next: "run again when nothing writes to it", Err: ErrChanged,
		}
	}
	return nil
}

// ReadAt reads as io.ReaderAt does.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

func openError(name string, err error) *Error {
	return &Error{File: name, Offset: -1, Problem: "cannot be opened: " + cause(err).Error(), Next: "check the path and its permissions", Err: err}
}

// besideError tells a link that leaves the folder from a file that is not there.
func besideError(name string, err error) *Error {
	e := openError(name, err)
	if _, isErrno := cause(err).(syscall.Errno); !isErrno {
		// os.Root's refusal to leave the folder is the one error here that no system call made.
		e.Err = ErrUnsafePath
		e.Next = "keep data files in the model's folder (a download cache holds links: copy the files out of it)"
	} else {
		e.Next = "keep the model's external data files beside it, under the names the model gives"
	}
	return e
}

func notRegular(name string, mode fs.FileMode) *Error {
	return &Error{
		File: name, Offset: -1, Problem: fmt.Sprintf("not a regular file (%s)", mode.Type()),
		Next: "give a plain file", Err: ErrUnsafePath,
	}
}

// cause strips the operation and path that the os package adds, which the message has already.
func cause(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}
