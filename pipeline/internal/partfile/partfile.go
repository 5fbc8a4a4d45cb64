// Package partfile makes the output files of tests, those that appear at their path when they are complete.
package partfile

import "os"

// File is a file under construction, at its path with ".part" after it. It takes no care of other programs, nor of the disk.
type File struct {
	*os.File
	path string
}

// Create begins a file that is to be at path.
func Create(path string) (*File, error) {
	f, err := os.OpenFile(path+".part", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return &File{f, path}, nil
}

// Reserve makes the file n zero bytes long.
func (f *File) Reserve(n int64) error { return f.Truncate(n) }

// Commit gives the file its name.
func (f *File) Commit(bool) error {
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), f.path)
}

// Abort removes what has no name yet.
func (f *File) Abort() {
	f.Close()
	os.Remove(f.Name())
}
