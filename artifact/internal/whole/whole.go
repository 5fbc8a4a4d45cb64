// Package whole puts files in place whole: complete and, if asked, on the disk before they have their name, or not at all. Whatever
// happens, a full disk, a signal that kills, or two programs that write the same path, the path leads to what was there before or
// to all of a new file.
//
//	.NAME.npuw-tmp-RANDOM   in the folder of NAME, locked while its builder lives
//	  | reserve, write, sync
//	  v rename, sync the folder
//	NAME
//
// A program that is killed leaves its temporary file. The next that writes the same path finds that nobody holds its lock, and
// removes it.
package whole

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// File is a file under construction. Its methods are safe from several goroutines.
type File struct {
	system System
	h      Handle
	path   string
	once   sync.Once
}

// Prefix begins the names of temporary files for a target of the name base.
func Prefix(base string) string { return "." + base + ".npuw-tmp-" }

// Create begins a file that is to be at path, and removes the temporary files that dead builders of the same path left. A symbolic
// link at path will be replaced itself, not what it leads to.
func Create(s System, path string) (*File, error) {
	dir, base := split(path)
	removeStale(s, dir, Prefix(base))
	for range 100 {
		h, err := s.Create(filepath.Join(dir, Prefix(base)+strconv.FormatUint(rand.Uint64(), 36)))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Between creation and lock another builder may take the file for stale and remove it: then try again. Where the file system
		// has no locks, nobody gets one, and nothing is ever taken for stale.
		if !errors.Is(h.Lock(), ErrHeld) && stillThere(s, h) {
			return &File{system: s, h: h, path: path}, nil
		}
		discard(s, h)
	}
	return nil, errors.New("other programs remove the temporary files in this folder as soon as they are made")
}

// discard removes a file of ours.
func discard(s System, h Handle) {
	h.Close() // some systems remove no open files
	s.Remove(h.Name())
}

// split gives the folder of a path and the name in it.
func split(path string) (dir, base string) {
	dir, base = filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	return dir, base
}

func stillThere(s System, h Handle) bool {
	a, err1 := h.Stat()
	b, err2 := s.Stat(h.Name())
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// removeStale removes temporary files whose builder is gone: nobody holds their lock. What cannot be removed stays.
func removeStale(s System, dir, prefix string) {
	entries, err := s.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		h, err := s.Open(name)
		if err != nil {
			continue
		}
		if h.Lock() != nil {
			h.Close()
			continue
		}
		if removesOpenFiles { // a builder that has made it and not locked it yet is to see that
			s.Remove(name)
			h.Close()
		} else {
			discard(s, h)
		}
	}
}

// Name is the path of the temporary file.
func (f *File) Name() string { return f.h.Name() }

// Reserve makes the file n zero bytes long, so that a full disk shows before the work and not after it.
func (f *File) Reserve(n int64) error { return f.h.Allocate(n) }

// ReadAt reads back what has been written.
func (f *File) ReadAt(b []byte, off int64) (int, error) { return f.h.ReadAt(b, off) }

// WriteAt writes b at off.
func (f *File) WriteAt(b []byte, off int64) (int, error) { return f.h.WriteAt(b, off) }

// Commit puts the file in place of whatever is at its path; with sync, it is on the disk then. After an error the path is as it was,
// unless all that failed was to make the new name durable. After Abort, or a second time, it is an error.
func (f *File) Commit(sync bool) error {
	err := errors.New("already closed")
	f.once.Do(func() { err = f.commit(sync) })
	return err
}

func (f *File) commit(sync bool) (err error) {
	if sync {
		err = f.h.Sync()
	}
	if removesOpenFiles {
		// The lock is held until after the rename: the file must not look stale while it waits for its name.
		defer f.h.Close()
	} else if closed := f.h.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = f.system.Rename(f.h.Name(), f.path)
	}
	if err != nil {
		f.system.Remove(f.h.Name())
		return err
	}
	if sync {
		dir, _ := split(f.path)
		return f.system.SyncFolder(dir)
	}
	return nil
}

// Abort removes what has been written. After Commit, or a second time, it does nothing.
func (f *File) Abort() {
	f.once.Do(func() { discard(f.system, f.h) })
}
