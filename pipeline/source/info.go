package source

import "io/fs"

// Info asks what the open file is now: not what its path leads to.
func (f *File) Info() (fs.FileInfo, error) {
	info, err := f.f.Stat()
	if err != nil {
		return nil, openError(f.Path, err)
	}
	return info, nil
}
